// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Memory that nobody can write any more: the one kind of shared memory that a slice may be had of.
//!
//! The proof is a memfd's seals (fcntl(2)). `F_SEAL_WRITE` is given only while no writable mapping
//! exists and nothing else uses the pages, and from then on none can be made, nothing can be written
//! and no hole punched; `F_SEAL_SHRINK` keeps the pages there. No seal is ever taken back.
//! `F_SEAL_FUTURE_WRITE` is not enough: a mapping that was writable stays so.

use std::ops::Deref;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::{self, NonNull};

use nix::errno::Errno;
use nix::libc::{c_void, mmap, munmap, off_t, MAP_FAILED, MAP_PRIVATE, PROT_READ};

use crate::memfd::{self, SealFlag};
use crate::{identity, page_size, KernelError};

/// Bytes of a memfd that change no more, mapped to read; unmapped when dropped. A slice without a
/// copy.
#[derive(Debug)]
pub struct FrozenMapping {
    /// Where the kernel mapped whole pages.
    pages: NonNull<c_void>,
    /// How far in them the range begins, less than a page.
    skew: usize,
    /// Bytes of the range, 1 or more.
    size: usize,
}

// SAFETY: the mapping belongs to the process, not to a thread, and its bytes change no more.
unsafe impl Send for FrozenMapping {}
// SAFETY: as for `Send`.
unsafe impl Sync for FrozenMapping {}

impl FrozenMapping {
    /// Whether memory is sealed as it must be. Once it is, it is for good.
    pub fn is_frozen(fd: BorrowedFd<'_>) -> bool {
        let needed = SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_SHRINK;
        memfd::seals(fd).is_ok_and(|seals| seals.contains(needed))
    }

    /// Maps `bytes` from `offset`, which need not be a multiple of anything. Pages that were never
    /// written come when they are first read, and are charged to the reader: bound `bytes` before.
    ///
    /// # Errors
    ///
    /// `EPERM` if somebody may still write it or make it smaller, `EOVERFLOW` if there are not as many
    /// bytes, `EINVAL` if none are asked for.
    pub fn of_range(
        fd: BorrowedFd<'_>,
        offset: u64,
        bytes: u64,
    ) -> Result<FrozenMapping, KernelError> {
        let refuse = |errno| {
            let what = format!("map {bytes} frozen bytes at offset {offset}");
            KernelError::new(what, errno)
        };
        if bytes == 0 {
            return Err(refuse(Errno::EINVAL));
        }
        if !FrozenMapping::is_frozen(fd) {
            return Err(refuse(Errno::EPERM));
        }
        // It may still grow, which does no harm.
        if !offset.checked_add(bytes).is_some_and(|end| identity::size(fd).is_ok_and(|s| end <= s))
        {
            return Err(refuse(Errno::EOVERFLOW));
        }
        let skew = offset % page_size();
        let length = bytes.checked_add(skew).and_then(|length| usize::try_from(length).ok());
        let length = length.ok_or_else(|| refuse(Errno::ENOMEM))?;
        let from = off_t::try_from(offset.saturating_sub(skew));
        let from = from.map_err(|_| refuse(Errno::EOVERFLOW))?;
        // MAP_SHARED of a descriptor that was opened to write is refused before Linux 6.7 once it is
        // sealed. Of what nobody writes a private mapping shows the same pages.
        // SAFETY: without MAP_FIXED the kernel chooses an address range that nothing else uses, so
        // no memory of this program changes.
        let pages =
            unsafe { mmap(ptr::null_mut(), length, PROT_READ, MAP_PRIVATE, fd.as_raw_fd(), from) };
        if pages == MAP_FAILED {
            return Err(refuse(Errno::last()));
        }
        let pages = NonNull::new(pages).ok_or_else(|| refuse(Errno::EFAULT))?;
        // Both are less than `length`.
        Ok(FrozenMapping { pages, skew: skew as usize, size: bytes as usize })
    }
}

impl Deref for FrozenMapping {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the range lies in the mapping, whose pages stay there as long as `self` does: the
        // memfd cannot shrink. Nobody writes them: not this program, to which they are read-only, and
        // no other, by the seal that `of_range` has seen and that cannot be taken back. The length is
        // that of a mapping, so it fits an `isize`.
        unsafe {
            let first = self.pages.as_ptr().cast_const().cast::<u8>().add(self.skew);
            std::slice::from_raw_parts(first, self.size)
        }
    }
}

impl Drop for FrozenMapping {
    fn drop(&mut self) {
        let length = self.skew.saturating_add(self.size);
        // SAFETY: the range is that of the mapping made in `of_range`, which this value owns alone; a
        // slice of it does not outlive it.
        let unmapped = unsafe { munmap(self.pages.as_ptr(), length) };
        debug_assert!(unmapped == 0, "munmap of an owned mapping");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memfd::Memfd;
    use nix::fcntl::{fcntl, FcntlArg};
    use nix::sys::memfd::{memfd_create, MemFdCreateFlag};
    use nix::unistd::ftruncate;
    use std::ffi::CString;
    use std::os::fd::AsFd;

    #[test]
    fn frozen_bytes_are_a_slice_from_any_offset() {
        let memfd = Memfd::create("frozen", 10_000).unwrap();
        memfd.write_at(5_000, b"0123456789").unwrap();
        memfd.freeze().unwrap();
        let all = FrozenMapping::of_range(memfd.as_fd(), 0, 10_000).unwrap();
        assert_eq!(all.len(), 10_000);
        assert_eq!(&all[4_999..5_011], b"\x000123456789\0");
        let part = FrozenMapping::of_range(memfd.as_fd(), 5_003, 4).unwrap();
        assert_eq!(&part[..], b"3456");
        let reader = memfd.open_read_only().unwrap();
        drop(memfd);
        let part = FrozenMapping::of_range(reader.as_fd(), 5_008, 4_992).unwrap();
        assert_eq!((&part[..3], part.len()), (&b"89\0"[..], 4_992));
    }

    #[test]
    fn what_somebody_may_write_or_shrink_is_no_slice() {
        let with = |seals: SealFlag| {
            let flags = MemFdCreateFlag::MFD_CLOEXEC | MemFdCreateFlag::MFD_ALLOW_SEALING;
            let fd = memfd_create(&CString::new("any").unwrap(), flags).unwrap();
            ftruncate(&fd, 4096).unwrap();
            fcntl(fd.as_raw_fd(), FcntlArg::F_ADD_SEALS(seals)).unwrap();
            FrozenMapping::of_range(fd.as_fd(), 0, 4096)
        };
        let (write, shrink) = (SealFlag::F_SEAL_WRITE, SealFlag::F_SEAL_SHRINK);
        for seals in [shrink, write, shrink | memfd::FUTURE_WRITE_SEAL, SealFlag::empty()] {
            assert_eq!(with(seals).unwrap_err().errno, Errno::EPERM, "{seals:?}");
        }
        with(write | shrink).unwrap();
        let file = std::fs::File::open(std::env::current_exe().unwrap()).unwrap();
        let error = FrozenMapping::of_range(file.as_fd(), 0, 1).unwrap_err();
        assert_eq!(error.errno, Errno::EPERM);
    }

    #[test]
    fn frozen_ranges_that_are_not_there_are_refused() {
        let memfd = Memfd::create("frozen", 10_000).unwrap();
        memfd.freeze().unwrap();
        let of_range = |offset, bytes| FrozenMapping::of_range(memfd.as_fd(), offset, bytes);
        for (offset, bytes) in [(1, 10_000), (10_000, 1), (u64::MAX, 2), (2, u64::MAX)] {
            assert_eq!(of_range(offset, bytes).unwrap_err().errno, Errno::EOVERFLOW);
        }
        assert_eq!(of_range(5, 0).unwrap_err().errno, Errno::EINVAL);
        assert_eq!(of_range(9_999, 1).unwrap().len(), 1);
    }
}
