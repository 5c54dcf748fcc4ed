// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Locking without a panic.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks a mutex. The tables here are whole at every step, so a thread that panicked while it held
/// one (only a test can: device builds abort) leaves nothing that must be mended.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
