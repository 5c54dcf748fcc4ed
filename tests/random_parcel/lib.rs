// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! What AOSP's crate of this name does, over rsbinder: bytes become transactions with parcels, and
//! these go to a Binder object of this process as if a client had sent them.
//!
//! The objects that an answer carries become targets too: a session that was opened is called like
//! the allocator that opened it.

#![forbid(unsafe_code)]

mod input;
mod line;
pub mod seeds;
mod target;

pub use input::{Call, Input, Item};

use rsbinder::SIBinder;

/// How many calls one input may make, so that each ends.
const MOST_CALLS: usize = 64;

/// Sends what the bytes say to the object. AOSP's function of this name and these parameters reads
/// its bytes in another way: a corpus is good for one of them.
pub fn fuzz_service(binder: &mut SIBinder, data: &[u8]) {
    let mut seen = target::Seen::new(line::remote(binder));
    for call in Input::new(data).take(MOST_CALLS) {
        seen.send(&call);
    }
}

#[cfg(test)]
mod tests;
