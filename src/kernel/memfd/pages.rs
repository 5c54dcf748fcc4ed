// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Which parts of a memfd have pages.

use std::ops::Range;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::libc::{c_int, lseek, off_t};

use super::Memfd;
use crate::KernelError;

/// What to look for (`include/uapi/linux/fs.h`): nix has it, but not for Android.
#[derive(Debug, Clone, Copy)]
enum Part {
    Data = 3,
    Hole = 4,
}

/// An open file of a memfd by which its pages are looked for: one of its own, as looking moves its
/// offset.
#[derive(Debug)]
pub struct Pages(OwnedFd);

impl Memfd {
    /// Opens it to look for its pages.
    pub fn pages(&self) -> Result<Pages, KernelError> {
        self.open_read_only().map(Pages)
    }
}

impl Pages {
    /// The bytes of a range whose pages were written, in memory or in the swap, by whole pages.
    /// (lseek(2), `SEEK_DATA` and `SEEK_HOLE`, which `mm/shmem.c` has since Linux 3.8. Pages that were
    /// only reserved, by fallocate(2), are holes to it.) At most two calls for each run of pages.
    pub fn written_bytes(&self, range: Range<u64>) -> Result<u64, KernelError> {
        let (mut written, mut at) = (0u64, range.start);
        while at < range.end {
            let Some(begin) = self.seek(at, Part::Data)?.filter(|begin| *begin < range.end) else {
                break;
            };
            let end = self.seek(begin, Part::Hole)?.unwrap_or(range.end);
            written = written.saturating_add(end.min(range.end).saturating_sub(begin));
            // A page that went between the two calls is a hole at `begin` itself.
            at = end.max(begin.saturating_add(1));
        }
        Ok(written)
    }

    /// Where what is looked for begins, from here on; `None` if it does not come any more.
    fn seek(&self, from: u64, part: Part) -> Result<Option<u64>, KernelError> {
        let refuse =
            |errno| KernelError::new(format!("look for pages of a memfd from {from} on"), errno);
        let offset = off_t::try_from(from).map_err(|_| refuse(Errno::EOVERFLOW))?;
        // SAFETY: the descriptor is open as long as its owner is; the rest are numbers.
        match Errno::result(unsafe { lseek(self.0.as_raw_fd(), offset, part as c_int) }) {
            Ok(found) => Ok(u64::try_from(found).ok()),
            Err(Errno::ENXIO) => Ok(None),
            Err(errno) => Err(refuse(errno)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page_size;
    use nix::unistd::Whence;

    #[test]
    fn what_was_written_counts_by_whole_pages() {
        let page = page_size();
        let memfd = Memfd::create("pages", 16 * page).unwrap();
        let pages = memfd.pages().unwrap();
        assert_eq!(pages.written_bytes(0..16 * page).unwrap(), 0);
        for number in [1, 2, 5, 15] {
            memfd.write_at(number * page, &[1]).unwrap();
        }
        assert_eq!(pages.written_bytes(0..16 * page).unwrap(), 4 * page);
        assert_eq!(pages.written_bytes(2 * page..6 * page).unwrap(), 2 * page);
        assert_eq!(pages.written_bytes(6 * page..15 * page).unwrap(), 0);
        assert_eq!(pages.written_bytes(15 * page..16 * page).unwrap(), page);
        assert_eq!(pages.written_bytes(16 * page..17 * page).unwrap(), 0, "behind the end");
        assert_eq!(pages.written_bytes(page..page).unwrap(), 0);
        memfd.punch_range(2 * page..3 * page).unwrap();
        assert_eq!(pages.written_bytes(0..16 * page).unwrap(), 3 * page);
    }

    #[test]
    fn looking_moves_nobody_elses_offset() {
        let memfd = Memfd::create("pages", 4 * page_size()).unwrap();
        memfd.write_at(page_size(), &[1]).unwrap();
        let shared = memfd.duplicate().unwrap();
        memfd.pages().unwrap().written_bytes(0..4 * page_size()).unwrap();
        let offset = nix::unistd::lseek(shared.as_raw_fd(), 0, Whence::SeekCur);
        assert_eq!(offset.unwrap(), 0);
    }
}
