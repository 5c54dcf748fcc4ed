// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Sleeping and waking in the algorithms. A model checker puts its own in this module's place.

use std::sync::atomic::AtomicU32;
use std::time::Duration;

/// Sleeps while `word` holds `expected`, for `timeout` at most, or for no time.
pub fn wait(word: &AtomicU32, expected: u32, timeout: Duration) {
    berth_kernel::futex::wait(word, expected, timeout);
}

/// Wakes all who sleep on `word`, in every process.
pub fn wake_all(word: &AtomicU32) {
    // Fails only for an address that is no word; this one is.
    let _ = berth_kernel::futex::wake_all(word);
}

/// Wakes one who sleeps on `word`, in whatever process.
pub fn wake_one(word: &AtomicU32) {
    // As above.
    let _ = berth_kernel::futex::wake_one(word);
}
