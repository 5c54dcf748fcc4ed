// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Whether a filter of system calls (seccomp(2)) forbids to register a list.

use std::mem::size_of;
use std::ptr;

use nix::errno::Errno;
use nix::libc;

use super::keeper::Head;

/// Whether the kernel would kill this process for registering a list.
pub(super) fn is_forbidden() -> bool {
    // glibc does so in each thread that it starts, before anything else.
    if cfg!(target_env = "gnu") {
        return false;
    }
    // SAFETY: takes no pointer.
    let mode = unsafe { libc::prctl(libc::PR_GET_SECCOMP, 0, 0, 0, 0) };
    mode == SECCOMP_MODE_FILTER && child_dies_of_registering()
}

/// `include/uapi/linux/seccomp.h`.
pub(super) const SECCOMP_MODE_FILTER: libc::c_int = 2;

/// A filter cannot be asked, and may answer with a signal: a child tries.
pub(super) fn child_dies_of_registering() -> bool {
    // SAFETY: the child calls nothing but system calls that are safe after a fork of a process with
    // threads, and ends.
    let child = unsafe { libc::fork() };
    match child {
        -1 => true,
        0 => {
            // SAFETY: as above. A null list is no list, which is what the child has.
            unsafe {
                libc::signal(libc::SIGSYS, libc::SIG_DFL);
                let none: *const Head = ptr::null();
                let done = libc::syscall(libc::SYS_set_robust_list, none, size_of::<Head>());
                libc::_exit(libc::c_int::from(done != 0))
            }
        }
        child => {
            let mut status = 0;
            loop {
                // SAFETY: `status` lives across the call. Only this child is waited for.
                let waited = unsafe { libc::waitpid(child, &mut status, 0) };
                if waited == child {
                    return status != 0;
                }
                // Ignored children cannot be waited for, so nothing is known.
                if Errno::last() != Errno::EINTR {
                    return true;
                }
            }
        }
    }
}
