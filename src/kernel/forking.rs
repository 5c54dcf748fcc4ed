// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Tests whose children have copies of every descriptor and mapping of this process take turns with
//! those that are about who else has them.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// This test's turn, until it is dropped. A test that failed keeps nobody from theirs.
pub(crate) fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}
