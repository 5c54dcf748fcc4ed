// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! What `/proc/self/fdinfo` says of a dma-buf: its size, exporter and name, and how many holders it
//! has (`dma_buf_show_fdinfo` in `drivers/dma-buf/dma-buf.c`).

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;

use nix::errno::Errno;

use crate::open_file::remove_locks;
use crate::KernelError;

/// Room for the longest path of an fdinfo file.
const PATH_BYTES: usize = 32;
/// What is read at once: more than a dma-buf's whole text, if nobody locks it.
const CHUNK_BYTES: usize = 1024;
/// How many chunks are read. Each lock on the open file is a line, ahead of the rest, and whoever
/// holds the buffer can put locks on it.
const MOST_CHUNKS: usize = 64;

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

/// How many hold a dma-buf: [`DmaBufInfo::count`] alone, for whoever asks often. `None` if the
/// descriptor is no dma-buf. It costs an open, a read and a close, and no allocation.
///
/// A holder that puts a thousand locks or so on the open file would hide the count, also when it is
/// long gone: such locks are removed.
///
/// # Errors
///
/// `E2BIG` if a holder puts locks on it faster than that. It is held, then.
pub fn holders(fd: BorrowedFd<'_>) -> Result<Option<u64>, KernelError> {
    if let Some(found) = find_holders_of(fd)? {
        return Ok(found);
    }
    remove_locks(fd)?;
    find_holders_of(fd)?.ok_or_else(|| too_many_locks(fd))
}

/// Who exported a dma-buf, for a descriptor that anybody may have sent: `None` if it is none. It reads
/// no more than [`holders`] does, and asks nothing of what the descriptor is open on: a file system
/// in its sender's hands need never answer.
///
/// # Errors
///
/// `E2BIG` if it is locked so often that nothing can be seen of it.
pub fn exporter(fd: BorrowedFd<'_>) -> Result<Option<String>, KernelError> {
    if find_holders_of(fd)?.ok_or_else(|| too_many_locks(fd))?.is_none() {
        return Ok(None);
    }
    let path = format!("/proc/self/fdinfo/{}", fd.as_raw_fd());
    let read = File::open(&path).and_then(|file| {
        let mut text = Vec::new();
        file.take((CHUNK_BYTES * MOST_CHUNKS) as u64).read_to_end(&mut text).map(|_| text)
    });
    let text = read.map_err(KernelError::io(|| format!("read {path}")))?;
    Ok(DmaBufInfo::parse(&String::from_utf8_lossy(&text)).map(|info| info.exporter))
}

fn too_many_locks(fd: BorrowedFd<'_>) -> KernelError {
    let operation = format!("find out what descriptor {} is among its locks", fd.as_raw_fd());
    KernelError::new(operation, Errno::E2BIG)
}

/// The count of a descriptor's fdinfo; `None` if it did not come soon enough.
fn find_holders_of(fd: BorrowedFd<'_>) -> Result<Option<Option<u64>>, KernelError> {
    let operation = || format!("read the fdinfo of descriptor {}", fd.as_raw_fd());
    let mut path = [0; PATH_BYTES];
    let mut room = path.as_mut_slice();
    write!(room, "/proc/self/fdinfo/{}", fd.as_raw_fd()).map_err(KernelError::io(operation))?;
    let length = PATH_BYTES.saturating_sub(room.len());
    let path = OsStr::from_bytes(path.get(..length).unwrap_or_default());
    File::open(path).and_then(find_holders).map_err(KernelError::io(operation))
}

/// Reads an fdinfo file as far as it has to; `None` if that was not far enough.
fn find_holders(mut file: impl Read) -> std::io::Result<Option<Option<u64>>> {
    let mut text = [0; CHUNK_BYTES];
    let mut kept = 0;
    let mut fields = Fields::default();
    for _ in 0..MOST_CHUNKS {
        let read = file.read(text.get_mut(kept..).unwrap_or_default())?;
        if read == 0 {
            return Ok(Some(None));
        }
        let mut rest = text.get(..kept.saturating_add(read)).unwrap_or_default();
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (line, after) = rest.split_at(end);
            if fields.take(line) {
                return Ok(Some(fields.count));
            }
            rest = after.get(1..).unwrap_or_default();
        }
        // The beginning of a line; one that fills the chunk is none of a dma-buf's.
        let begun = if rest.len() < CHUNK_BYTES { rest.len() } else { 0 };
        let end = kept.saturating_add(read);
        text.copy_within(end.saturating_sub(begun)..end, 0);
        kept = begun;
    }
    Ok(None)
}

/// The fields of a dma-buf, in the order in which the kernel writes them. The name is not among
/// them, it comes last: whoever gave it cannot pass a line of it for another field.
#[derive(Default)]
struct Fields {
    has_size: bool,
    count: Option<u64>,
}

impl Fields {
    /// Takes a line; true if it was the last that is needed.
    fn take(&mut self, line: &[u8]) -> bool {
        if line.starts_with(b"size:") {
            self.has_size = true;
        } else if let Some(count) = line.strip_prefix(b"count:".as_slice()) {
            let number = std::str::from_utf8(count).ok().and_then(|text| text.trim().parse().ok());
            self.count = number.filter(|_| self.has_size);
        }
        line.starts_with(b"exp_name:")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dma_heap::DmaHeap;
    use crate::mapping::{Mapping, ReadOnly};
    use crate::memfd::Memfd;
    use berth_facilities::{missing, Facility};
    use nix::fcntl::{fcntl, FcntlArg};
    use nix::libc::{c_short, flock, F_WRLCK, SEEK_SET};
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
        assert_eq!(holders(memfd.as_fd()).unwrap(), None);
    }

    #[test]
    fn a_descriptor_that_is_not_open_is_an_error() {
        // SAFETY: nothing is done to the descriptor of this number but ask /proc about it.
        let closed = unsafe { BorrowedFd::borrow_raw(i32::MAX) };
        let error = holders(closed).unwrap_err();
        assert_eq!(error.errno, Errno::ENOENT);
        assert!(error.to_string().contains("descriptor 2147483647"), "{error}");
    }

    /// What a file says that gives so many bytes at each read.
    fn found(text: &str, at_once: usize) -> Option<Option<u64>> {
        struct Slow<'a>(&'a [u8], usize);
        impl Read for Slow<'_> {
            fn read(&mut self, room: &mut [u8]) -> std::io::Result<usize> {
                let length = self.1.min(room.len());
                self.0.read(&mut room[..length])
            }
        }
        find_holders(Slow(text.as_bytes(), at_once)).unwrap()
    }

    #[test]
    fn the_count_is_found_behind_locks_and_no_name_is_taken_for_it() {
        let lock = "lock:\t1: OFDLCK ADVISORY  WRITE -1 00:0c:2 0 0\n";
        let rest = "size:\t4096\ncount:\t2\nexp_name:\tsystem\n\
                    name:\tx\nsize:\t1\ncount:\t1\nexp_name:\tx\n";
        assert_eq!(found(rest, CHUNK_BYTES), Some(Some(2)));
        assert_eq!(found(&(lock.repeat(1000) + rest), CHUNK_BYTES), Some(Some(2)));
        assert_eq!(found(&(lock.repeat(10_000) + rest), CHUNK_BYTES), None, "too far");
        assert_eq!(found(&("x".repeat(CHUNK_BYTES * 3) + "\n" + rest), CHUNK_BYTES), Some(Some(2)));
        assert_eq!(found("pos:\t0\neventfd-count: 1\n", CHUNK_BYTES), Some(None));
        assert_eq!(found("count:\t1\nexp_name:\tno size\n", CHUNK_BYTES), Some(None));
    }

    fn lock(fd: BorrowedFd<'_>, start: i64) {
        let byte = flock {
            l_type: F_WRLCK as c_short,
            l_whence: SEEK_SET as c_short,
            l_start: start,
            l_len: 1,
            l_pid: 0,
        };
        fcntl(fd.as_raw_fd(), FcntlArg::F_OFD_SETLK(&byte)).unwrap();
    }

    #[test]
    fn what_is_no_dma_buf_is_told_by_its_text_and_keeps_its_locks() {
        let memfd = Memfd::create("any file", 4096).unwrap();
        assert_eq!(exporter(memfd.as_fd()).unwrap(), None);
        (0..2000).for_each(|number| lock(memfd.as_fd(), number * 2));
        let path = format!("/proc/self/fdinfo/{}", memfd.as_fd().as_raw_fd());
        let before = fs::read(&path).unwrap();
        assert_eq!(exporter(memfd.as_fd()).unwrap_err().errno, Errno::E2BIG);
        assert_eq!(fs::read(&path).unwrap().len(), before.len());
    }

    #[test]
    #[ignore = "needs dma-heap-system"]
    fn locks_of_a_holder_do_not_hide_that_it_holds() {
        if missing(Facility::DmaHeapSystem) {
            return;
        }
        let buffer = DmaHeap::open("system").unwrap().allocate(4096).unwrap();
        let client = buffer.as_fd().try_clone_to_owned().unwrap();
        let lock = |start| lock(client.as_fd(), start);
        let path = format!("/proc/self/fdinfo/{}", buffer.as_fd().as_raw_fd());
        let find = || find_holders(File::open(&path).unwrap()).unwrap();
        // Not next to each other: the kernel would make one of them.
        (0..100).for_each(|number| lock(number * 2));
        let text = fs::read(&path).unwrap();
        assert!(text.len() > 4 * CHUNK_BYTES, "{}", String::from_utf8_lossy(&text));
        assert_eq!(holders(buffer.as_fd()).unwrap(), Some(2));
        (100..2000).for_each(|number| lock(number * 2));
        assert_eq!(find(), None, "so many hide it");
        assert_eq!(holders(buffer.as_fd()).unwrap(), Some(2));
        // They are the open file's, so they outlive who put them there.
        (0..2000).for_each(|number| lock(number * 2));
        drop(client);
        assert_eq!(find(), None);
        assert_eq!(holders(buffer.as_fd()).unwrap(), Some(1));
    }

    #[test]
    #[ignore = "needs dma-heap-system"]
    fn every_holder_of_a_dma_buf_counts_until_it_lets_go() {
        if missing(Facility::DmaHeapSystem) {
            return;
        }
        let buffer = DmaHeap::open("system").unwrap().allocate(4096).unwrap();
        let holders = || {
            let count = DmaBufInfo::of(buffer.as_fd()).unwrap().unwrap().count;
            assert_eq!(holders(buffer.as_fd()).unwrap(), Some(count));
            count
        };
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

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text: String) {
            let _ = DmaBufInfo::parse(&text);
            let _ = found(&text, CHUNK_BYTES);
        }

        #[test]
        fn both_ways_to_read_agree(
            size: u64,
            count: u64,
            exporter in "[a-z_]{1,20}",
            name in "\\PC{0,31}",
            locks in 0..40_usize,
            at_once in 1..CHUNK_BYTES,
        ) {
            let text = "lock:\t1: OFDLCK ADVISORY  WRITE -1 00:0c:2 0 0\n".repeat(locks)
                + &format!("size:\t{size}\ncount:\t{count}\nexp_name:\t{exporter}\nname:\t{name}\n");
            let whole = DmaBufInfo::parse(&text).map(|info| info.count);
            // With less at once it may be too far.
            if let Some(found) = found(&text, at_once) {
                prop_assert_eq!(found, whole);
            }
            prop_assert_eq!(found(&text, CHUNK_BYTES), Some(whole));
        }
    }
}
