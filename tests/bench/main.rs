// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! What the allocator costs.
//!
//! Each figure is a ratio to what cannot be done without: a bare Binder call, the kernel's own work,
//! a copy of the bytes. Both sides are measured in turns in one run, so that whatever else the
//! machine does falls on both; medians are compared. The HAL must be running.

#![forbid(unsafe_code)]

mod allocation;
mod bare;
mod books;
mod cleanup;
mod crowd;
mod floor;
mod measure;
mod payload;
mod pins;
mod pixels;
mod pools;
mod records;
mod table;

use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use berth_client::Allocator;
use clap::{Parser, Subcommand, ValueEnum};

use allocation::Sides;
use table::Table;

#[derive(Debug, Parser)]
#[command(about = "Measure the Berth allocator")]
struct Arguments {
    #[command(subcommand)]
    role: Role,
}

#[derive(Debug, Clone, Subcommand)]
enum Role {
    /// Measure and print a table.
    Run {
        /// What to measure; everything without it.
        parts: Vec<Part>,
    },
    /// Answer bare calls; started by `run`.
    #[command(hide = true)]
    Bare,
    /// Hold many buffers until killed; started by `run`.
    #[command(hide = true)]
    Hoard,
    /// Allocate when told to; started by `run`.
    #[command(hide = true)]
    Crowd,
    /// Do the same without the allocator; started by `run`.
    #[command(hide = true)]
    RawCrowd,
    /// Do the same with memory that the allocator kept; started by `run`.
    #[command(hide = true)]
    PooledCrowd,
    /// Do the same with its parcels and without it; started by `run`.
    #[command(hide = true)]
    FloorCrowd,
    /// Read records from a ring; started by `run`.
    #[command(hide = true)]
    RingPeer {
        /// The memory that it is in.
        memory: String,
    },
    /// Copy records and count them; started by `run`.
    #[command(hide = true)]
    CopyPeer {
        /// The memory that they are in.
        memory: String,
    },
    /// Read records from a pipe; started by `run`.
    #[command(hide = true)]
    PipePeer {
        /// Nothing.
        memory: String,
    },
    /// Read records from a message queue; started by `run`.
    #[command(hide = true)]
    QueuePeer {
        /// The memory that it is in.
        memory: String,
        /// Offset and length of each part.
        regions: Vec<String>,
    },
    /// Fill the books of a service and allocate there when told to; started by `run`.
    #[command(hide = true)]
    Books {
        /// Sessions in the books.
        sessions: usize,
        /// Buffers in the books.
        buffers: usize,
        /// The service's pid.
        service: u32,
    },
}

fn main() -> ExitCode {
    let result = match Arguments::parse().role {
        Role::Run { parts } => run(&parts),
        Role::Bare => bare::serve(),
        Role::Hoard => cleanup::hoard(),
        Role::Crowd => crowd::client(),
        Role::RawCrowd => crowd::raw(),
        Role::PooledCrowd => crowd::pooled_client(),
        Role::FloorCrowd => crowd::floor(),
        Role::RingPeer { memory } => records::ring_peer(&memory),
        Role::CopyPeer { memory } => records::copy_peer(&memory),
        Role::PipePeer { .. } => records::pipe_peer(),
        Role::QueuePeer { memory, regions } => records::queue_peer(&memory, &regions),
        Role::Books { sessions, buffers, service } => books::role(sessions, buffers, service),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// A part of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    Allocation,
    Payload,
    Records,
    Cleanup,
    Crowd,
    Books,
    Pixels,
    Pools,
    Pins,
}

fn run(parts: &[Part]) -> Result<()> {
    let mut bare = role("bare")?.spawn().context("start the bare service")?;
    let measured = measure(parts);
    bare.kill().context("end the bare service")?;
    bare.wait().context("end the bare service")?;
    println!("{}", measured?);
    Ok(())
}

fn measure(parts: &[Part]) -> Result<Table> {
    let allocator = &Allocator::connect_within(Duration::from_secs(30))?;
    let (bare, floor) = (&bare::find(bare::NAME)?, &bare::find(floor::NAME)?);
    let mut table = Table::default();
    let parts = if parts.is_empty() { Part::value_variants() } else { parts };
    for part in parts {
        match part {
            Part::Allocation => Sides { allocator, bare, floor }.measure(&mut table)?,
            Part::Payload => payload::measure(allocator, bare, &mut table)?,
            Part::Records => records::measure(&mut table)?,
            Part::Cleanup => cleanup::measure(allocator, &mut table)?,
            Part::Crowd => crowd::measure(&mut table)?,
            Part::Books => books::measure(&mut table)?,
            Part::Pixels => pixels::measure(&mut table)?,
            Part::Pools => pools::measure(allocator, &mut table)?,
            Part::Pins => pins::measure(allocator, &mut table)?,
        }
    }
    Ok(table)
}

/// This program in another role.
fn role(name: &str) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe().context("find this program")?);
    command.arg(name).stdin(Stdio::null());
    Ok(command)
}
