// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! How long what a killed client held takes to come back.

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{ensure, Context, Result};
use berth_client::{Allocator, BufferRequest};

use crate::table::Table;

const BUFFERS: usize = 64;
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
    let before = allocator.stats()?;
    let mut child = crate::role("hoard")?.stdout(Stdio::piped()).spawn()?;
    let mut line = String::new();
    let output = child.stdout.take().context("the hoarder's output")?;
    BufReader::new(output).read_line(&mut line)?;
    let holding = allocator.stats()?.buffers - before.buffers;
    ensure!(holding as usize == BUFFERS, "the hoarder holds {holding} buffers");
    let began = Instant::now();
    child.kill()?;
    while allocator.stats()?.buffers != before.buffers {
        ensure!(began.elapsed() < Duration::from_secs(10), "the buffers do not come back");
    }
    let took = began.elapsed();
    child.wait()?;
    Ok(took)
}

/// Holds buffers until killed.
pub fn hoard() -> Result<()> {
    let session =
        Allocator::connect_within(Duration::from_secs(30))?.open_session("bench hoarder")?;
    let request = BufferRequest::linear(1 << 20).name("bench hoard");
    let _buffers = session.allocate(&request, BUFFERS)?;
    println!("holding");
    std::io::stdout().flush()?;
    loop {
        std::thread::park();
    }
}
