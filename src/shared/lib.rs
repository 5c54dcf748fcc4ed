// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Data structures that live in memory shared by processes.
//!
//! Whoever can write to the memory may write anything: every word is read once and checked, and a
//! peer that breaks the rules can at worst make a caller wait until its deadline.

#![deny(unsafe_op_in_unsafe_fn)]

pub mod block;
pub mod mutex;
pub mod pool;
pub mod presence;
pub mod purge;
pub mod ring;

mod atomics;
mod doorbell;
mod futex;
#[cfg(test)]
mod quiet;
mod unsuitable;

pub use doorbell::{Doorbell, NotRung};
pub use unsuitable::UnsuitableMemory;
