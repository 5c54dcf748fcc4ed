// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! The atomics of the algorithms. A model checker puts its own in this module's place.

pub use std::hint::spin_loop;
pub use std::sync::atomic::{fence, AtomicU32, Ordering};

/// How often to look before sleeping, where `wanted` are worth it.
pub fn most_looks(wanted: u32) -> u32 {
    wanted
}
