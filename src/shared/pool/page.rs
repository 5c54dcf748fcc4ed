// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! A page of words that processes share.

use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use berth_kernel::mapping::{Mapping, Protection, ReadWrite};
use berth_kernel::KernelError;

/// The first `BYTES` of a descriptor, a power of two, mapped.
#[derive(Debug)]
pub(crate) struct Page<P: Protection, const BYTES: usize>(Mapping<P>);

impl<P: Protection, const BYTES: usize> Page<P, BYTES> {
    /// Otherwise a masked offset could leave the page.
    const CAN_BE_MASKED: () = assert!(BYTES.is_power_of_two() && BYTES >= 8);

    /// Maps it; a descriptor of less is refused.
    pub(crate) fn map(fd: BorrowedFd<'_>) -> Result<Self, KernelError> {
        let () = Self::CAN_BE_MASKED;
        Mapping::new(fd, BYTES as u64).map(Page)
    }

    /// Reads the word at an offset, which wraps at the page's end.
    ///
    /// Relaxed, as memory that may only be read bears no other: who needs an order has a fence.
    pub(crate) fn load(&self, offset: usize) -> u32 {
        let word = self.0.as_ptr().wrapping_add(offset & (BYTES - 4)).cast::<AtomicU32>();
        // SAFETY: the mask leaves an offset that is a multiple of 4 and at most BYTES - 4, and the
        // mapping has BYTES, begins with a page and lives as long as `self`. Others write the word,
        // which an atomic permits; a relaxed load of a word writes nothing on any target, so that
        // memory mapped to be read bears it.
        unsafe { (*word).load(Ordering::Relaxed) }
    }
}

impl<const BYTES: usize> Page<ReadWrite, BYTES> {
    /// The word at an offset, which wraps at the page's end.
    pub(crate) fn word(&self, offset: usize) -> &AtomicU32 {
        let word = self.0.as_ptr().wrapping_add(offset & (BYTES - 4)).cast::<AtomicU32>();
        // SAFETY: as in `load`; the mapping is writable by its type, any bits are a valid `u32`, and
        // the reference does not outlive the mapping.
        unsafe { &*word }
    }

    /// The double word at an offset, which wraps at the page's end.
    pub(crate) fn wide_word(&self, offset: usize) -> &AtomicU64 {
        let word = self.0.as_ptr().wrapping_add(offset & (BYTES - 8)).cast::<AtomicU64>();
        // SAFETY: as in `word`, with a multiple of 8 of at most BYTES - 8.
        unsafe { &*word }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use berth_kernel::mapping::ReadOnly;
    use berth_kernel::memfd::Memfd;
    use std::os::fd::AsFd;

    #[test]
    #[cfg_attr(miri, ignore = "needs a kernel")]
    fn no_offset_leaves_the_page() {
        let memfd = Memfd::create("page", 4096).unwrap();
        let page: Page<ReadWrite, 4096> = Page::map(memfd.as_fd()).unwrap();
        let reader_fd = memfd.open_read_only().unwrap();
        let reader: Page<ReadOnly, 4096> = Page::map(reader_fd.as_fd()).unwrap();
        page.word(8).store(7, Ordering::Relaxed);
        page.wide_word(4088).store(9 << 32, Ordering::Relaxed);
        for offset in [8, 9, 4096 + 8, usize::MAX & !4095 | 8] {
            assert_eq!(reader.load(offset), 7, "{offset}");
            assert_eq!(page.word(offset).load(Ordering::Relaxed), 7, "{offset}");
        }
        assert_eq!(reader.load(usize::MAX), 9);
        assert_eq!(page.wide_word(usize::MAX).load(Ordering::Relaxed), 9 << 32);
    }

    #[test]
    #[cfg_attr(miri, ignore = "needs a kernel")]
    fn less_than_a_page_is_refused() {
        let memfd = Memfd::create("page", 4095).unwrap();
        assert!(Page::<ReadWrite, 4096>::map(memfd.as_fd()).is_err());
    }
}
