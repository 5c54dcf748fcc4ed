// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! `cargo xtask demo`: the whole of it from nothing, in the VM or on this machine.

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{bail, Context, Result};

use crate::image::{self, Command as GuestCommand, Payload, Start};
use crate::lane::{Kind, Lane};
use crate::vm::{self, Prepared};
use crate::{machine, process, workspace};

/// How long the demo may take in the guest.
const TIMEOUT: Duration = Duration::from_secs(300);

/// What can be shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
enum Subject {
    /// Everything that the allocator does
    #[default]
    All,
    /// Camera, encoder and display over one pool
    Camera,
    /// A player that streams to an audio server, through a ring and as a payload
    Audio,
    /// An image cache that survives memory pressure
    Cache,
}

impl Subject {
    /// The role of the demo's program that directs it.
    fn role(self) -> &'static str {
        match self {
            Subject::All => "run",
            Subject::Camera => "camera",
            Subject::Audio => "audio",
            Subject::Cache => "cache",
        }
    }
}

/// What `cargo xtask demo` was asked for.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// What to show
    #[arg(value_enum, default_value_t)]
    subject: Subject,
    /// Over RPC Binder on this machine's own kernel, without a VM
    #[arg(long, conflicts_with = "lane")]
    host: bool,
    /// The lane to boot
    #[arg(long, default_value = crate::lane::DEFAULT_VM)]
    lane: Lane,
}

/// Runs it; answers the exit code.
pub fn run(options: &Options) -> Result<u8> {
    if options.host || options.lane.kind == Kind::Host {
        on_this_machine(options.subject)
    } else {
        in_the_vm(options.lane, options.subject)
    }
}

fn in_the_vm(lane: Lane, subject: Subject) -> Result<u8> {
    let prepared = Prepared::new(lane)?;
    let files = vm::programs(&["-p", "berth_service", "-p", "berth_demo"])?;
    let words = [
        "/vendor/bin/berth-demo",
        subject.role(),
        "--service-manager",
        "/bin/rsb_hub",
        "--service-manager-policy",
        image::POLICY,
        "--service",
        image::SERVICE,
        "--transport",
        "kernel",
    ];
    let command = GuestCommand::from_words(&words.map(str::to_owned));
    let payload = Payload { start: Start::Nothing, command, files, links: vec![] };
    let (out, err) = (Box::new(std::io::stdout()), Box::new(std::io::stderr()));
    prepared.run(&payload, Some(TIMEOUT), out, err)
}

fn on_this_machine(subject: Subject) -> Result<u8> {
    let built = workspace::build(&[
        "build",
        "--release",
        "--bins",
        "-p",
        "berth_service",
        "-p",
        "berth_demo",
    ])?;
    let demo = workspace::named(&built, "berth-demo")?;
    let service = workspace::named(&built, "berth-allocator-service")?;
    let mut words = vec![demo.display().to_string()];
    words.extend([
        subject.role().to_owned(),
        "--service".to_owned(),
        service.display().to_string(),
    ]);
    words.extend(["--transport", "rpc"].map(str::to_owned));
    // The demo's processes run under user ids of their own, which takes root.
    let Some(prefix) = machine::root_prefix() else {
        let line: Vec<String> = words.iter().map(|word| process::quoted(word)).collect();
        bail!(
            "the demo gives each of its processes a user id of its own, which takes root, and there is \
             no sudo here that works without being asked; as root run:\n    {}",
            line.join(" ")
        );
    };
    words.splice(0..0, prefix.iter().map(|word| (*word).to_owned()));
    let mut command = Command::new(&words[0]);
    let status = command
        .args(&words[1..])
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("cannot start `{}`", words.join(" ")))?;
    // Ended by a signal: no code, and no pass.
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}
