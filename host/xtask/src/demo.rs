// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! `cargo xtask demo`: the whole of it from nothing, in the VM or on this machine.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{bail, ensure, Context, Result};
use berth_facilities::Facility;
use clap::ValueEnum;

use crate::image::{self, Command as GuestCommand, Payload, Start};
use crate::lane::{Kind, Lane};
use crate::vm::{self, Prepared};
use crate::{machine, process, workspace};

/// How long a demo may take in the guest.
const TIMEOUT: Duration = Duration::from_secs(300);

/// What can be shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
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

/// Runs each of them on this machine, as a test.
pub fn check_on_this_machine() -> Result<()> {
    // Built with what the other tests on this machine run, not as the demo is.
    let host = Host::build(&["build", "--bins"])?;
    for subject in Subject::value_variants() {
        let code = host.run(*subject)?;
        ensure!(code == 0, "the demo {subject:?} ended with {code}; what it said is above");
    }
    Ok(())
}

/// Runs each of them in a lane's VM, one after the other in one boot, as a test.
pub fn check_in_the_vm(lane: Lane) -> Result<()> {
    let line = |subject: &Subject| guest_line(lane, *subject).join(" ");
    let lines: Vec<String> = Subject::value_variants().iter().map(line).collect();
    let timeout = lines.iter().map(|_| TIMEOUT).sum();
    let code = boot(lane, GuestCommand::Script(lines.join(" &&\n")), timeout)?;
    ensure!(code == 0, "the demos ended with {code}; what they said is above");
    Ok(())
}

fn in_the_vm(lane: Lane, subject: Subject) -> Result<u8> {
    let words: Vec<String> = guest_line(lane, subject).into_iter().map(str::to_owned).collect();
    boot(lane, GuestCommand::from_words(&words), TIMEOUT)
}

fn boot(lane: Lane, command: GuestCommand, timeout: Duration) -> Result<u8> {
    let prepared = Prepared::new(lane)?;
    let files = vm::programs(&["-p", "berth_service", "-p", "berth_demo"])?;
    let payload = Payload { start: Start::Nothing, command, files, links: vec![] };
    let (out, err) = (Box::new(std::io::stdout()), Box::new(std::io::stderr()));
    prepared.run(&payload, Some(timeout), out, err)
}

/// The guest's command for a demo that starts service manager and HAL itself.
fn guest_line(lane: Lane, subject: Subject) -> Vec<&'static str> {
    let mut words = vec![
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
    let has = |facility| match lane.kind {
        Kind::Vm(machine) => !machine.without.contains(&facility),
        Kind::Host => false,
    };
    if has(Facility::Vgem) && has(Facility::SyncFiles) {
        words.push("--fences");
    }
    words
}

fn on_this_machine(subject: Subject) -> Result<u8> {
    Host::build(&["build", "--release", "--bins"])?.run(subject)
}

/// What the demos need on this machine.
struct Host {
    demo: PathBuf,
    service: PathBuf,
}

impl Host {
    fn build(arguments: &[&str]) -> Result<Host> {
        let packages = ["-p", "berth_service", "-p", "berth_demo"];
        let built = workspace::build(&[arguments, &packages].concat())?;
        Ok(Host {
            demo: workspace::named(&built, "berth-demo")?.to_owned(),
            service: workspace::named(&built, "berth-allocator-service")?.to_owned(),
        })
    }

    fn run(&self, subject: Subject) -> Result<u8> {
        let mut words = vec![self.demo.display().to_string()];
        words.extend([
            subject.role().to_owned(),
            "--service".to_owned(),
            self.service.display().to_string(),
        ]);
        words.extend(["--transport", "rpc"].map(str::to_owned));
        // The demo's processes run under user ids of their own, which takes root.
        let Some(prefix) = machine::root_prefix() else {
            let line: Vec<String> = words.iter().map(|word| process::quoted(word)).collect();
            bail!(
                "the demo gives each of its processes a user id of its own, which takes root, and \
                 there is no sudo here that works without being asked; as root run:\n    {}",
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
}
