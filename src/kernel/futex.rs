// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Waiting for a word of shared memory to change, between processes (futex(2), without
//! `FUTEX_PRIVATE_FLAG`).

use std::sync::atomic::AtomicU32;
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;

/// Sleeps while `word` holds `expected`, until it is woken or `timeout` has passed. It may also
/// return for no reason: the caller looks at the word again.
pub fn wait(word: &AtomicU32, expected: u32, timeout: Duration) {
    let seconds = libc::time_t::try_from(timeout.as_secs()).unwrap_or(libc::time_t::MAX);
    // Below a thousand million, so it fits any `c_long`.
    let nanoseconds = timeout.subsec_nanos() as libc::c_long;
    let timeout = libc::timespec { tv_sec: seconds, tv_nsec: nanoseconds };
    // SAFETY: FUTEX_WAIT reads the aligned word and the timespec, which both live across the call,
    // and writes neither. Whatever it answers, the caller checks the word itself.
    unsafe {
        libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT, expected, &timeout);
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
