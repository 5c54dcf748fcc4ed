// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! What `/proc/self/fdinfo` says of a dma-buf: its size, exporter and name, and how many holders it
//! has (`dma_buf_show_fdinfo` in `drivers/dma-buf/dma-buf.c`).

use std::fs::{self, File};
use std::io::{Cursor, Read, Write};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::str;

use crate::KernelError;

/// A dma-buf as the kernel sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DmaBufInfo {
    /// Bytes.
    pub size: u64,
    /// References to the open file: descriptors, mappings and attachments of all processes.
    pub count: u64,
    /// Who made it: the heap's name on 6.12, `heap_helpers` or `ion` on 5.10.
    pub exporter: String,
    /// The name that was set, if any.
    pub name: Option<String>,
}

impl DmaBufInfo {
    /// Asks the kernel about a descriptor of this process; `None` if it is no dma-buf.
    pub fn of(fd: BorrowedFd<'_>) -> Result<Option<DmaBufInfo>, KernelError> {
        let path = format!("/proc/self/fdinfo/{}", fd.as_raw_fd());
        let text = fs::read(&path).map_err(KernelError::io(|| format!("read {path}")))?;
        Ok(DmaBufInfo::parse(&String::from_utf8_lossy(&text)))
    }

    /// Reads the text of an fdinfo file; `None` if it is not that of a dma-buf.
    pub fn parse(text: &str) -> Option<DmaBufInfo> {
        let field = |key: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
            line.map(str::trim)
        };
        Some(DmaBufInfo {
            size: field("size")?.parse().ok()?,
            count: field("count")?.parse().ok()?,
            exporter: field("exp_name")?.to_owned(),
            name: field("name").map(str::to_owned),
        })
    }
}

/// The bytes of an fdinfo file that are looked at: `count:` is in the seventh line.
const LOOKED_AT: usize = 512;

/// How many references to a dma-buf there are: descriptors, mappings and attachments of all
/// processes, the descriptor asked about among them. `None` if it is no dma-buf. Costs an open, a
/// read and a close.
pub fn holders(fd: BorrowedFd<'_>) -> Result<Option<u64>, KernelError> {
    let refuse = || format!("read the fdinfo of descriptor {}", fd.as_raw_fd());
    // "/proc/self/fdinfo/" and ten digits.
    let mut path = Cursor::new([0u8; 32]);
    write!(path, "/proc/self/fdinfo/{}", fd.as_raw_fd()).map_err(KernelError::io(refuse))?;
    let length = usize::try_from(path.position()).unwrap_or_default();
    let path = path.get_ref().get(..length).and_then(|path| str::from_utf8(path).ok());
    let mut file = File::open(path.unwrap_or_default()).map_err(KernelError::io(refuse))?;
    let mut bytes = [0u8; LOOKED_AT];
    let read = file.read(&mut bytes).map_err(KernelError::io(refuse))?;
    Ok(count(bytes.get(..read).unwrap_or_default()))
}

/// The number behind `count:` at the start of a line.
fn count(text: &[u8]) -> Option<u64> {
    let mut lines = text.split(|byte| *byte == b'\n');
    let value = lines.find_map(|line| line.strip_prefix(b"count:"))?;
    str::from_utf8(value).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dma_heap::DmaHeap;
    use crate::mapping::{Mapping, ReadOnly};
    use crate::memfd::Memfd;
    use berth_facilities::{missing, Facility};
    use proptest::prelude::*;
    use std::os::fd::AsFd;

    #[test]
    fn the_fields_of_a_dma_buf_are_read() {
        let text = "pos:\t0\nflags:\t02000002\nmnt_id:\t10\nino:\t7\nsize:\t1048576\ncount:\t2\n\
                    exp_name:\tsystem\nname:\tcamera preview\n";
        let info = DmaBufInfo::parse(text).unwrap();
        assert_eq!((info.size, info.count), (1_048_576, 2));
        assert_eq!(info.exporter, "system");
        assert_eq!(info.name.as_deref(), Some("camera preview"));
        let unnamed = text.replace("name:\tcamera preview\n", "");
        assert_eq!(DmaBufInfo::parse(&unnamed).map(|info| info.name), Some(None));
    }

    #[test]
    fn a_memfd_is_no_dma_buf() {
        let memfd = Memfd::create("no dma-buf", 4096).unwrap();
        assert_eq!(DmaBufInfo::of(memfd.as_fd()).unwrap(), None);
    }

    #[test]
    #[ignore = "needs dma-heap-system"]
    fn every_holder_of_a_dma_buf_counts_until_it_lets_go() {
        if missing(Facility::DmaHeapSystem) {
            return;
        }
        let buffer = DmaHeap::open("system").unwrap().allocate(4096).unwrap();
        let holders = || DmaBufInfo::of(buffer.as_fd()).unwrap().unwrap().count;
        assert_eq!(holders(), 1);
        let duplicate = buffer.as_fd().try_clone_to_owned().unwrap();
        assert_eq!(holders(), 2);
        let mapping: Mapping<ReadOnly> = Mapping::new(duplicate.as_fd(), 4096).unwrap();
        assert_eq!(holders(), 3);
        drop(duplicate);
        assert_eq!(holders(), 2, "a mapping holds without a descriptor");
        drop(mapping);
        assert_eq!(holders(), 1);
    }

    #[test]
    fn a_memfd_has_no_count_of_holders() {
        let memfd = Memfd::create("no dma-buf", 4096).unwrap();
        assert_eq!(holders(memfd.as_fd()).unwrap(), None);
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text: String) {
            let _ = DmaBufInfo::parse(&text);
            let _ = count(text.as_bytes());
        }

        #[test]
        fn the_count_is_that_of_the_whole_file(size: u64, count: u64, name in "[a-z]{0,31}") {
            let text = format!(
                "pos:\t0\nflags:\t02\nmnt_id:\t10\nino:\t7\nsize:\t{size}\ncount:\t{count}\n\
                 exp_name:\tsystem\nname:\t{name}\n"
            );
            let whole = DmaBufInfo::parse(&text).map(|info| info.count);
            prop_assert_eq!(super::count(text.as_bytes()), whole);
        }
    }
}
