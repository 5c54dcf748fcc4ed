// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Locking and waiting without a panic.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Locks a mutex. The tables here are whole at every step, so a thread that panicked while it held
/// one (only a test can: device builds abort) leaves nothing that must be mended.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits for news, for so long if it is said.
pub(crate) fn wait<'a, T>(
    news: &Condvar,
    guard: MutexGuard<'a, T>,
    pause: Option<Duration>,
) -> MutexGuard<'a, T> {
    match pause {
        None => news.wait(guard).unwrap_or_else(PoisonError::into_inner),
        Some(pause) => news.wait_timeout(guard, pause).unwrap_or_else(PoisonError::into_inner).0,
    }
}
