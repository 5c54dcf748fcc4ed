// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! The hoarder: takes much, uses all of it, and never gives it back.

use std::time::Duration;

use anyhow::Result;
use berth_client::{Allocator, BufferRequest};

use crate::script::{cue, fact};

/// How many buffers it takes.
pub const BUFFERS: usize = 64;
/// How large each is, in bytes.
pub const BYTES_EACH: u64 = 1 << 20;

pub fn play() -> Result<()> {
    let allocator = Allocator::connect_within(Duration::from_secs(30))?;
    let session = allocator.open_session("demo hoarder")?;
    // Not kept to be used again: the director looks for all of it in the kernel's own books.
    let request = BufferRequest::linear(BYTES_EACH).no_pool().name("demo hoard");
    let buffers = session.allocate(&request, BUFFERS)?;
    for buffer in &buffers {
        let mapped = buffer.map()?;
        mapped.begin_write()?.fill(0, mapped.size(), 0xaa)?;
    }
    fact("holding", buffers.len())?;
    // Killed here.
    cue()?;
    Ok(())
}
