// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Keeping memory that may go otherwise: by a word of the control block, against the least that a
//! system call costs and, where the kernel has ashmem, against its ioctls.

use std::os::fd::AsFd;

use anyhow::{ensure, Result};
use berth_client::{Allocator, BufferRequest, Contents, PurgeableRegion};
use berth_kernel::ashmem::{self, Ashmem, PinOutcome};
use berth_kernel::mapping::{Mapping, ReadWrite};
use nix::unistd::getppid;

use crate::measure::in_turns;
use crate::table::{Table, Target};

/// Bytes of a chunk, and how many there are.
const CHUNK: u64 = 64 << 10;
const CHUNKS: u64 = 16;
/// Of each in one round: the clock itself costs as much as one.
const TIMES: u32 = 1000;
const ROUNDS: u32 = 200;

const WHAT: &str = "pin + unpin, 1000 times";

pub fn measure(allocator: &Allocator, table: &mut Table) -> Result<()> {
    let session = allocator.open_session("bench")?;
    let request = BufferRequest::region(CHUNKS * CHUNK).purgeable_in_chunks_of(CHUNK);
    let request = request.heap("memfd").strict_heap().name("bench");
    let region = PurgeableRegion::new(session.allocate_one(&request)?)?;
    let filled = region.pin(0..CHUNKS * CHUNK)?;
    filled.fill(0, filled.size(), 0x5a)?;
    filled.set_filled();
    drop(filled);
    let ours = || {
        for _ in 0..TIMES {
            let pinned = region.pin(3 * CHUNK..4 * CHUNK)?;
            ensure!(pinned.contents() == Contents::Kept, "it was purged: memory is short");
        }
        Ok(())
    };
    let system_calls = || {
        for _ in 0..TIMES {
            getppid();
        }
        Ok(())
    };
    table.comparison(WHAT, "getppid 1000 times", &in_turns(ROUNDS, ours, system_calls)?);
    if !ashmem::is_available() {
        return Ok(());
    }

    let old = Ashmem::create("bench", CHUNKS * CHUNK)?;
    let memory: Mapping<ReadWrite> = Mapping::new(old.as_fd(), CHUNKS * CHUNK)?;
    memory.fill(0, memory.size(), 0x5a)?;
    // Each by itself, as those of the region are.
    for chunk in 0..CHUNKS {
        ashmem::unpin(old.as_fd(), chunk * CHUNK..(chunk + 1) * CHUNK)?;
    }
    let ioctls = || {
        for _ in 0..TIMES {
            let pinned = ashmem::pin(old.as_fd(), 3 * CHUNK..4 * CHUNK)?;
            ensure!(pinned == PinOutcome::Kept, "it was purged: memory is short");
            ashmem::unpin(old.as_fd(), 3 * CHUNK..4 * CHUNK)?;
        }
        Ok(())
    };
    let pair = in_turns(ROUNDS, ours, ioctls)?;
    table.pair(WHAT, "ashmem's ioctls", &pair, Target::FasterBy(10.0));
    Ok(())
}
