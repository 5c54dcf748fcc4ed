// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! The harness of the end-to-end tests.
//!
//! A test starts a [`Device`](harness::Device), which is the HAL in a process of its own under
//! Android's uid `system`, and [`Client`](harness::Client)s, which are processes under uids of their
//! choice (`berth-peer`) that do what the test asks and report what they saw. `protocol` is what
//! the two say to each other; `shared` is that between the tests of shared structures, which need no
//! HAL, and their peer. `facilities` says what of the kernel a test needs.

#![forbid(unsafe_code)]

pub mod chance;
pub mod harness;
pub mod pools;
pub mod protocol;
pub mod shared;

pub use berth_facilities as facilities;
