// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Bytes to another process: in a region, in chunks of Binder calls, and as a bare copy.

use std::os::fd::AsFd;

use anyhow::Result;
use berth_client::{Allocator, BufferRequest};
use berth_kernel::mapping::{Mapping, ReadWrite};
use berth_kernel::memfd::Memfd;
use hal_binder::{ParcelFileDescriptor, Strong};

use crate::bare::IBare;
use crate::measure::in_turns;
use crate::table::{Table, Target};

const BYTES: usize = 10_000_000;
/// What fits a Binder transaction beside others in flight.
const CHUNK: usize = 256 << 10;
const ROUNDS: u32 = 20;

pub fn measure(allocator: &Allocator, bare: &Strong<dyn IBare>, table: &mut Table) -> Result<()> {
    let session = allocator.open_session("bench")?;
    let bytes = vec![0xa5; BYTES];
    let request = BufferRequest::region(BYTES as u64).name("bench");
    let send = || {
        let region = session.allocate_one(&request)?;
        let mapped = region.map()?;
        mapped.begin_write()?.write(0, &bytes)?;
        bare.take(&ParcelFileDescriptor::new(region.as_fd().try_clone_to_owned()?))?;
        drop(mapped);
        Ok(region)
    };
    let chunks = || {
        for chunk in bytes.chunks(CHUNK) {
            bare.swallow(chunk)?;
        }
        Ok(())
    };
    let pair = in_turns(ROUNDS, send, chunks)?;
    table.pair("10 MB to another process", "chunked calls", &pair, Target::FasterBy(20.0));

    let copy = || {
        let memfd = Memfd::create("bench", BYTES as u64)?;
        let mapping: Mapping<ReadWrite> = Mapping::new(memfd.as_fd(), BYTES as u64)?;
        mapping.write(0, &bytes)?;
        bare.take(&ParcelFileDescriptor::new(memfd.as_fd().try_clone_to_owned()?))?;
        Ok(memfd)
    };
    let pair = in_turns(ROUNDS, send, copy)?;
    table.pair("the same", "memfd, copy, bare call", &pair, Target::AtMost(1.15));
    Ok(())
}
