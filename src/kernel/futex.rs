// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Waiting for a word of shared memory to change, between processes (futex(2), without
//! `FUTEX_PRIVATE_FLAG`).

use std::sync::atomic::AtomicU32;
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use nix::sys::time::TimeSpec;

/// Sleeps while `word` holds `expected`, until it is woken or `timeout` has passed. It may also
/// return for no reason: the caller looks at the word again.
pub fn wait(word: &AtomicU32, expected: u32, timeout: Duration) {
    let timeout = TimeSpec::from_duration(timeout);
    let timeout: *const libc::timespec = timeout.as_ref();
    // SAFETY: FUTEX_WAIT reads the aligned word and the timespec, which both live across the call,
    // and writes neither. Whatever it answers, the caller checks the word itself.
    unsafe {
        libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT, expected, timeout);
    }
}

/// Wakes everybody who waits for `word`, in every process.
pub fn wake_all(word: &AtomicU32) -> Result<(), Errno> {
    // SAFETY: FUTEX_WAKE only takes the address of the word as a name.
    let woken = unsafe {
        libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, libc::c_int::MAX)
    };
    Errno::result(woken).map(|_| ())
}
