// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! The two pages of a watched word.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;

use nix::errno::Errno;
// Not nix's mmap, whose types changed with each of the versions that Android carries.
use nix::libc::{
    self, c_void, off_t, MAP_ANONYMOUS, MAP_FAILED, MAP_FIXED, MAP_PRIVATE, MAP_SHARED,
};
use nix::libc::{PROT_READ, PROT_WRITE};

use crate::{identity, page_size, private_pages, KernelError};

/// Two pages: a private one, then a shared one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slot(pub(super) NonNull<c_void>);

// SAFETY: the pages belong to the process, and are reached by atomics only.
unsafe impl Send for Slot {}
// SAFETY: as above.
unsafe impl Sync for Slot {}

impl Slot {
    pub(super) fn new() -> Result<Slot, KernelError> {
        Ok(Slot(private_pages::map(page().saturating_mul(2), page())?))
    }

    pub(super) fn private(&self) -> *mut u8 {
        self.0.as_ptr().cast()
    }

    pub(super) fn shared(&self) -> *mut u8 {
        self.private().wrapping_add(page())
    }

    /// Maps the page at `offset` of what `fd` is open on. It ends, or the slot is unmapped.
    pub(super) fn show(&self, fd: BorrowedFd<'_>, offset: u64) -> Result<(), KernelError> {
        let refuse = |errno| KernelError::new(format!("map a word's page at {offset}"), errno);
        let there = identity::size(fd)?;
        if offset >= there {
            self.unmap();
            return Err(refuse(Errno::EOVERFLOW));
        }
        let from = off_t::try_from(offset).unwrap_or(off_t::MAX);
        let flags = MAP_SHARED | MAP_FIXED;
        let mode = PROT_READ | PROT_WRITE;
        // SAFETY: the second page of the slot, which is ours and which nobody uses while the slot
        // shows no word.
        let mapped =
            unsafe { libc::mmap(self.shared().cast(), page(), mode, flags, fd.as_raw_fd(), from) };
        if mapped == MAP_FAILED {
            let errno = Errno::last();
            self.unmap();
            return Err(refuse(errno));
        }
        Ok(())
    }

    /// Puts private zeros in the place of the shared page. A walk of the kernel that is on its way
    /// through an old node finds no id there, where an unmapped page would end it.
    pub(super) fn hide(&self) -> bool {
        let flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
        let mode = PROT_READ | PROT_WRITE;
        // SAFETY: as in `show`.
        let mapped = unsafe { libc::mmap(self.shared().cast(), page(), mode, flags, -1, 0) };
        mapped != MAP_FAILED
    }

    pub(super) fn unmap(&self) {
        // SAFETY: both pages are the slot's own; who calls this forgets them.
        unsafe { libc::munmap(self.0.as_ptr(), page().saturating_mul(2)) };
    }
}

/// The bytes of a page.
pub(super) fn page() -> usize {
    usize::try_from(page_size()).unwrap_or(4096)
}
