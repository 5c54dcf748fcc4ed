// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! `cargo xtask bench`: the allocator's figures as ratios, on this machine over RPC Binder and in
//! the VM over kernel Binder.

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::image::{Command as GuestCommand, Payload, Start};
use crate::lane::{self, Choice, Kind, Lane, Machine};
use crate::vm::{self, Prepared};
use crate::workspace;

/// How long the measurements may take in the guest.
const TIMEOUT: Duration = Duration::from_secs(600);

/// Memory of the guest: a sixteenth of it is kept to be used again, and 64 MiB are to be.
const MEMORY_MIB: u32 = 1536;

/// The figures to reach were set on all that QEMU emulates, where clearing a page takes longer than on
/// the machine of the tests.
const MODEL: &str = "max";

const PACKAGES: [&str; 4] = ["-p", "berth_service", "-p", "berth_bench"];

/// What `cargo xtask bench` was asked for.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// A lane to measure on; may be given again
    #[arg(long)]
    lane: Vec<Choice>,
    /// Only these parts of the table: allocation, payload, records, cleanup, crowd, books, pixels, pools,
    /// pins
    #[arg(last = true, value_name = "PART")]
    parts: Vec<String>,
}

/// Runs it; answers the exit code of the first lane that failed.
pub fn run(options: &Options) -> Result<u8> {
    // The same kernel and the same machine as another's, with checks that the figures know nothing of.
    let is_measured = |lane: &Lane| !options.lane.is_empty() || !lane.enforces_selinux();
    for lane in lane::chosen(&options.lane).into_iter().filter(is_measured) {
        eprintln!("xtask: === bench, lane {}", lane.name);
        println!("\nlane {}: {}\n", lane.name, lane.about);
        let code = match lane.kind {
            Kind::Host => on_this_machine(&options.parts)?,
            Kind::Vm(machine) => in_the_vm(lane, machine, &options.parts)?,
        };
        if code != 0 {
            return Ok(code);
        }
    }
    Ok(0)
}

fn on_this_machine(parts: &[String]) -> Result<u8> {
    let built = workspace::build(&[&["build", "--release", "--bins"][..], &PACKAGES].concat())?;
    let sockets = tempfile::tempdir().context("cannot make a folder for sockets")?;
    let transport = format!("unix:{}", sockets.path().display());
    let start = |name: &str| -> Result<Command> {
        let mut command = Command::new(workspace::named(&built, name)?);
        command.env("BERTH_BINDER", &transport).env("RUST_LOG", "error").stdin(Stdio::null());
        Ok(command)
    };
    let mut service = start("berth-allocator-service")?.spawn().context("cannot start the HAL")?;
    let status = start("berth-bench")?.arg("run").args(parts).status();
    // Whatever became of the measurements.
    let ended = service.kill().and_then(|()| service.wait());
    ended.context("cannot end the HAL")?;
    let code = status.context("cannot start berth-bench")?.code();
    Ok(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}

fn in_the_vm(lane: Lane, machine: Machine, parts: &[String]) -> Result<u8> {
    let machine = Machine { memory_mib: MEMORY_MIB, model: MODEL, ..machine };
    let prepared = Prepared::new(Lane { kind: Kind::Vm(machine), ..lane })?;
    let files = vm::programs(&PACKAGES)?;
    let words = ["/vendor/bin/berth-bench", "run"].map(str::to_owned);
    let command = GuestCommand::from_words(&[&words, parts].concat());
    let payload = Payload { start: Start::Hal, command, files, links: vec![] };
    let (out, err) = (Box::new(std::io::stdout()), Box::new(std::io::stderr()));
    prepared.run(&payload, Some(TIMEOUT), out, err)
}
