// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! `cargo xtask bench`: the allocator's figures as ratios, on this machine over RPC Binder and in
//! the VM over kernel Binder.

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sched::{sched_getaffinity, CpuSet};
use nix::unistd::Pid;

use crate::image::{Command as GuestCommand, Payload, Start};
use crate::lane::{self, Choice, Kind, Lane, Machine};
use crate::vm::{self, Prepared};
use crate::workspace::{self, Executable};

/// How long the measurements may take in the guest.
const TIMEOUT: Duration = Duration::from_secs(600);

/// Memory of the guest: a sixteenth of it is kept to be used again, and 64 MiB are to be.
const MEMORY_MIB: u32 = 1536;

/// The figures to reach were set on all that QEMU emulates, where clearing a page takes longer than on
/// the machine of the tests.
const MODEL: &str = "max";

/// The parts, in the table's order.
const PARTS: [&str; 9] =
    ["allocation", "payload", "records", "cleanup", "crowd", "books", "pixels", "pools", "pins"];

/// Measured with two processors in a VM: with one there is no lock that could be felt.
const AT_ONCE: &[&str] = &["crowd"];

/// Measured on one processor of this machine: a call that wakes somebody on another takes half as
/// long again or not, as the scheduler chooses.
const ONE_AFTER_THE_OTHER: &[&str] = &["allocation", "books"];

/// Asks no kernel for anything; its figure is this machine's.
const ARITHMETIC: &str = "pixels";

const PACKAGES: [&str; 4] = ["-p", "berth_service", "-p", "berth_bench"];

/// What `cargo xtask bench` was asked for.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// A lane to measure on; may be given again
    #[arg(long)]
    lane: Vec<Choice>,
    /// Only these parts of the table
    #[arg(last = true, value_name = "PART", value_parser = PARTS)]
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

/// Those that are wanted: all of them unless some are named; by whether they are `special`.
fn wanted(named: &[String], special: &[&str]) -> (Vec<&'static str>, Vec<&'static str>) {
    let is_wanted = |part: &&str| named.is_empty() || named.iter().any(|name| name == part);
    PARTS.into_iter().filter(is_wanted).partition(|part| special.contains(part))
}

fn on_this_machine(parts: &[String]) -> Result<u8> {
    let built = workspace::build(&[&["build", "--release", "--bins"][..], &PACKAGES].concat())?;
    let (single, others) = wanted(parts, ONE_AFTER_THE_OTHER);
    let first = first_processor()?.to_string();
    let pinned = ["taskset", "--cpu-list", &first];
    for (before, parts) in [(&pinned[..], single), (&[], others)] {
        if parts.is_empty() {
            continue;
        }
        let code = with_a_service(&built, before, &parts)?;
        if code != 0 {
            return Ok(code);
        }
    }
    Ok(0)
}

/// The first processor that this process may run on.
fn first_processor() -> Result<usize> {
    let allowed = sched_getaffinity(Pid::this()).context("cannot ask for processors")?;
    let is_allowed = |processor: &usize| allowed.is_set(*processor).unwrap_or(false);
    (0..CpuSet::count()).find(is_allowed).context("there is no processor")
}

/// Measures; `before` are the words before each program.
fn with_a_service(built: &[Executable], before: &[&str], parts: &[&str]) -> Result<u8> {
    let sockets = tempfile::tempdir().context("cannot make a folder for sockets")?;
    let transport = format!("unix:{}", sockets.path().display());
    let start = |name: &str| -> Result<Command> {
        let program = workspace::named(built, name)?;
        let mut command = match before {
            [first, rest @ ..] => {
                let mut command = Command::new(first);
                command.args(rest).arg(program);
                command
            }
            [] => Command::new(program),
        };
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
    let (at_once, mut others) = wanted(parts, AT_ONCE);
    others.retain(|part| !parts.is_empty() || *part != ARITHMETIC);
    for (processors, parts) in [(machine.processors, others), (2, at_once)] {
        if parts.is_empty() {
            continue;
        }
        let machine = Machine { memory_mib: MEMORY_MIB, model: MODEL, processors, ..machine };
        let code = in_a_vm(Lane { kind: Kind::Vm(machine), ..lane }, &parts)?;
        if code != 0 {
            return Ok(code);
        }
    }
    Ok(0)
}

fn in_a_vm(lane: Lane, parts: &[&str]) -> Result<u8> {
    let prepared = Prepared::new(lane)?;
    let files = vm::programs(&PACKAGES)?;
    let words = [&["/vendor/bin/berth-bench", "run"], parts].concat();
    let words: Vec<String> = words.into_iter().map(str::to_owned).collect();
    let command = GuestCommand::from_words(&words);
    let payload = Payload { start: Start::Hal, command, files, links: vec![] };
    let (out, err) = (Box::new(std::io::stdout()), Box::new(std::io::stderr()));
    prepared.run(&payload, Some(TIMEOUT), out, err)
}
