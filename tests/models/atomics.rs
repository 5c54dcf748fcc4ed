// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Loom's atomics in the place of the machine's.

pub use loom::hint::spin_loop;
pub use loom::sync::atomic::{fence, AtomicU32, Ordering};

/// Looking twice finds nothing that sleeping and looking again does not.
pub fn most_looks(_wanted: u32) -> u32 {
    0
}
