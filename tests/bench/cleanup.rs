// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! How long what a killed client held takes to come back: to the books, where it is live, then given up
//! and still held, and then gone; and to the kernel.

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{ensure, Context, Result};
use berth_client::{Allocator, AllocatorStats, BufferRequest};
use berth_kernel::meminfo::MemInfo;

use crate::table::Table;

const BUFFERS: usize = 64;
const BYTES: u64 = 1 << 20;
/// How far free memory may be from where it should be: others take some and give some.
const SLACK: u64 = 8 << 20;
/// What the hoarder says when it holds dma-bufs, whose pages are taken when they are allocated.
const DMA_BUFS: &str = "holding dma-bufs";
const LIMIT: Duration = Duration::from_millis(100);
const ROUNDS: usize = 5;

pub fn measure(allocator: &Allocator, table: &mut Table) -> Result<()> {
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        times.push(once(allocator)?);
    }
    times.sort();
    let worst = times.last().copied().unwrap_or_default();
    table.time("64 x 1 MiB back after SIGKILL, worst of 5", worst, LIMIT);
    Ok(())
}

fn once(allocator: &Allocator) -> Result<Duration> {
    let (before, free_before) = (allocator.stats()?, MemInfo::read()?.free);
    let mut child = crate::role("hoard")?.stdout(Stdio::piped()).spawn()?;
    let mut line = String::new();
    let output = child.stdout.take().context("the hoarder's output")?;
    BufReader::new(output).read_line(&mut line)?;
    let holding = allocator.stats()?.buffers - before.buffers;
    ensure!(holding as usize == BUFFERS, "the hoarder holds {holding} buffers");
    let free = free_when_back(line.trim_end() == DMA_BUFS, free_before)?;
    let began = Instant::now();
    child.kill()?;
    while !is_back(&allocator.stats()?, &before) || MemInfo::read()?.free < free {
        ensure!(began.elapsed() < Duration::from_secs(10), "the buffers do not come back");
    }
    let took = began.elapsed();
    child.wait()?;
    Ok(took)
}

/// Whether the books have nothing more than before: neither live, nor given up and not yet gone.
fn is_back(now: &AllocatorStats, before: &AllocatorStats) -> bool {
    now.buffers == before.buffers && now.lingeringBuffers <= before.lingeringBuffers
}

/// How much memory is free at least when all of it is the kernel's again; 0 where that tells nothing:
/// of regions that nobody touched, and of buffers that had been somebody's before.
fn free_when_back(dma_bufs: bool, before: u64) -> Result<u64> {
    let all = BYTES * BUFFERS as u64;
    let now = MemInfo::read()?.free;
    let is_told = dma_bufs && before.saturating_sub(now) >= all - SLACK;
    Ok(if is_told { now + all - SLACK } else { 0 })
}

/// Holds buffers until killed.
pub fn hoard() -> Result<()> {
    let session =
        Allocator::connect_within(Duration::from_secs(30))?.open_session("bench hoarder")?;
    let request = BufferRequest::linear(BYTES).name("bench hoard");
    let buffers = session.allocate(&request, BUFFERS)?;
    let dma_bufs = buffers.iter().all(|buffer| buffer.layout().dmaBuf);
    println!("{}", if dma_bufs { DMA_BUFS } else { "holding regions" });
    std::io::stdout().flush()?;
    loop {
        std::thread::park();
    }
}
