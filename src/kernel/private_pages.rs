// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Pages of this process alone, that a forked child finds wiped (`MADV_WIPEONFORK`, Linux 4.14).

use std::ptr::{self, NonNull};

use nix::errno::Errno;
// Not nix's mmap, whose types changed with each of the versions that Android carries.
use nix::libc::{
    self, c_void, MADV_WIPEONFORK, MAP_ANONYMOUS, MAP_FAILED, MAP_PRIVATE, PROT_READ, PROT_WRITE,
};

use crate::KernelError;

/// Maps `bytes` of zeros, whole pages, of which the first `wiped` are zeros again in a forked child.
/// They stay mapped until the caller unmaps them.
pub(crate) fn map(bytes: usize, wiped: usize) -> Result<NonNull<c_void>, KernelError> {
    let flags = MAP_PRIVATE | MAP_ANONYMOUS;
    let refuse = |errno| KernelError::new(format!("map {bytes} private bytes"), errno);
    // SAFETY: without MAP_FIXED the kernel chooses an address range that nothing else uses.
    let mapped =
        unsafe { libc::mmap(ptr::null_mut(), bytes, PROT_READ | PROT_WRITE, flags, -1, 0) };
    if mapped == MAP_FAILED {
        return Err(refuse(Errno::last()));
    }
    let start = NonNull::new(mapped).ok_or(refuse(Errno::EFAULT))?;
    // SAFETY: the beginning of what was just mapped, which nothing uses yet.
    if unsafe { libc::madvise(start.as_ptr(), wiped.min(bytes), MADV_WIPEONFORK) } != 0 {
        let errno = Errno::last();
        // SAFETY: as above; nobody else has heard of it.
        unsafe { libc::munmap(start.as_ptr(), bytes) };
        return Err(KernelError::new("wipe a page on fork", errno));
    }
    Ok(start)
}
