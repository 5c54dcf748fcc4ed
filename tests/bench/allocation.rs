// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Allocation against a bare call that returns one descriptor and the kernel's own work.

use anyhow::Result;
use berth_client::{Allocator, BufferRequest};
use berth_kernel::dma_heap::DmaHeap;
use berth_kernel::memfd::Memfd;
use hal_binder::Strong;

use crate::bare::IBare;
use crate::measure::in_turns;
use crate::table::{Table, Target};

const SIZES: [(u64, u32, &str); 4] = [
    (4 << 10, 400, "4 KiB"),
    (64 << 10, 200, "64 KiB"),
    (1 << 20, 60, "1 MiB"),
    (16 << 20, 20, "16 MiB"),
];

pub fn measure(allocator: &Allocator, bare: &Strong<dyn IBare>, table: &mut Table) -> Result<()> {
    let session = allocator.open_session("bench")?;
    let call = || bare.give();
    if let Ok(heap) = DmaHeap::open("system") {
        for (bytes, rounds, name) in SIZES {
            let request = BufferRequest::linear(bytes).name("bench");
            let pair = in_turns(
                rounds,
                || Ok(session.allocate_one(&request)?),
                || Ok((call()?, heap.allocate(bytes)?)),
            )?;
            let what = format!("allocate {name}, cold");
            table.pair(&what, "bare call + ioctl", &pair, Target::AtMost(1.15));
        }
    }
    let request = BufferRequest::region(1 << 20).name("bench");
    let pair = in_turns(
        400,
        || Ok(session.allocate_one(&request)?),
        || Ok((call()?, Memfd::create("bench", 1 << 20)?)),
    )?;
    table.pair("allocate a region", "bare call + memfd", &pair, Target::AtMost(1.15));

    let request = BufferRequest::linear(4 << 10).name("bench");
    let pair = in_turns(
        100,
        || Ok(session.allocate(&request, 16)?),
        || (0..16).map(|_| Ok(session.allocate_one(&request)?)).collect::<Result<Vec<_>>>(),
    )?;
    table.pair("allocate 16 x 4 KiB in one call", "16 calls", &pair, Target::FasterBy(5.0));
    Ok(())
}
