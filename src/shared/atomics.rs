// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! The atomics of the algorithms. A model checker puts its own in this module's place.

pub use std::sync::atomic::{fence, AtomicU32, Ordering};
