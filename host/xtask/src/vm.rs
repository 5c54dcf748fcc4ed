// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! `cargo xtask vm`, and what every run in the VM has in common: getting all that it needs,
//! building our programs for it, booting, and judging how it went.

use std::io::{IsTerminal, Read};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{bail, ensure, Context, Result};

use crate::cache::Cache;
use crate::exit::{Outcome, VM_FAILED};
use crate::image::{self, Command, Payload, Start};
use crate::lane::{Kind, Lane};
use crate::qemu::{self, Boot, Sink};
use crate::workspace::{self, Executable, GUEST_TARGET};
use crate::{guest_log, kernel, machine, selinux};

/// The packages that a VM needs.
const PACKAGES: &[&str] = &["qemu-system-x86", "xz-utils", "zstd"];

/// Lines of the console shown when the VM failed.
const CONSOLE_LINES: usize = 40;

/// What `cargo xtask vm` was asked for.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// The lane to boot
    #[arg(long, default_value = crate::lane::DEFAULT_VM)]
    lane: Lane,
    /// A file or folder to put into the guest's /data; may be given again
    #[arg(long, value_name = "PATH")]
    push: Vec<PathBuf>,
    /// What is started before the command
    #[arg(long, default_value = "hal")]
    start: Start,
    /// Seconds after which a COMMAND is given up (exit code 124)
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    timeout: u64,
    /// One word: a line for the guest's shell. Several: a program and its arguments. None: a shell
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// Runs it; answers the exit code.
pub fn run(options: &Options) -> Result<u8> {
    let command = command(options)?;
    let interactive = matches!(command, Command::Shell(..));
    let prepared = Prepared::new(options.lane)?;
    let mut files = programs(&["-p", "berth_service", "-p", "berthctl", "-p", "berth_demo"])?;
    for path in &options.push {
        let path =
            path.canonicalize().with_context(|| format!("cannot push {}", path.display()))?;
        let name = path.file_name().and_then(|name| name.to_str());
        let name =
            name.with_context(|| format!("cannot push {}: it has no name", path.display()))?;
        files.push((format!("/data/{name}"), path.clone()));
    }
    let payload = Payload { start: options.start, command, files, links: vec![] };
    let timeout = (!interactive).then(|| Duration::from_secs(options.timeout));
    let (out, err) = (Box::new(std::io::stdout()), Box::new(std::io::stderr()));
    prepared.run(&payload, timeout, out, err)
}

fn command(options: &Options) -> Result<Command> {
    if !options.command.is_empty() {
        return Ok(Command::from_words(&options.command));
    }
    if std::io::stdin().is_terminal() {
        let (rows, columns) = console::Term::stdout().size();
        return Ok(Command::Shell(rows, columns));
    }
    let mut script = String::new();
    std::io::stdin()
        .read_to_string(&mut script)
        .context("cannot read commands from standard input")?;
    ensure!(
        !script.trim().is_empty(),
        "nothing to run: name a COMMAND after `--`, or start this on a terminal for a shell"
    );
    Ok(Command::Script(script))
}

/// Builds programs of ours for the guest: where each goes in the guest, and where it is here.
pub fn programs(packages: &[&str]) -> Result<Vec<(String, PathBuf)>> {
    machine::ensure_target(GUEST_TARGET)?;
    let options = ["build", "--release", "--bins", "--target", GUEST_TARGET];
    let built = workspace::build(&[&options, packages].concat())?;
    let place = |executable: &Executable| match executable.name.as_str() {
        "berth-allocator-service" => image::SERVICE.to_owned(),
        name => format!("/vendor/bin/{name}"),
    };
    Ok(built.iter().map(|executable| (place(executable), executable.path.clone())).collect())
}

/// A lane whose VM can be booted.
pub struct Prepared {
    lane: Lane,
    vmlinux: PathBuf,
    base: PathBuf,
    selinux: Option<selinux::Files>,
}

impl Prepared {
    /// Gets all that the lane's VM needs.
    pub fn new(lane: Lane) -> Result<Self> {
        let Kind::Vm(vm) = &lane.kind else {
            bail!("lane {} is this machine itself, not a VM", lane.name);
        };
        ensure!(
            cfg!(target_arch = "x86_64"),
            "the VM's guest is x86-64 and is put together by running some of it: this machine is not"
        );
        machine::ensure_packages(PACKAGES)?;
        let cache = Cache::open()?;
        let kernel = kernel::ensure(&cache, &vm.kernel)?;
        let base = image::base(&cache, lane.name, &kernel)?;
        let selinux = vm.selinux.then(selinux::Files::prepare).transpose()?;
        Ok(Self { lane, vmlinux: kernel.vmlinux(), base, selinux })
    }

    /// Boots, runs, and answers the exit code. What the run means is said on standard error.
    pub fn run(
        &self,
        payload: &Payload,
        timeout: Option<Duration>,
        out: Sink,
        err: Sink,
    ) -> Result<u8> {
        let Kind::Vm(vm) = &self.lane.kind else {
            bail!("lane {} is not a VM", self.lane.name);
        };
        // Without a name, so that no end of ours leaves it behind; QEMU finds it by our descriptor.
        let mut file = tempfile::tempfile().context("cannot make a file for the guest's image")?;
        let further = self.selinux.as_ref().map_or([].as_slice(), selinux::Files::files);
        image::compose(&self.base, payload, further, &mut file)?;
        let image = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
        let boot = Boot {
            lane: self.lane.name,
            machine: vm,
            vmlinux: &self.vmlinux,
            image: Path::new(&image),
            timeout,
            interactive: matches!(payload.command, Command::Shell(..)),
        };
        let report = qemu::run(&boot, out, err)?;
        let logs = workspace::target_folder()?.join("vm").join(self.lane.name);
        qemu::keep(&report, &logs)?;
        let alarms = guest_log::alarms(&report.guest_log, &report.console);
        match &report.outcome {
            Outcome::Exit(0) => {}
            Outcome::Exit(_) => eprint!("{}", guest_log::of_programs(&report.guest_log)),
            Outcome::TimedOut => eprintln!("xtask: the VM was ended: time was up"),
            Outcome::Failed(reason) => {
                eprint!("{}", guest_log::of_programs(&report.guest_log));
                let console = guest_log::tail(&report.console, CONSOLE_LINES);
                eprintln!("--- the kernel's console:\n{console}\nxtask: the VM failed: {reason}");
            }
        }
        for line in &alarms {
            eprintln!("xtask: nobody expected this in the kernel's log: {line}");
        }
        let code = match report.outcome.code() {
            0 if !alarms.is_empty() => VM_FAILED,
            code => code,
        };
        if code != 0 {
            eprintln!("xtask: the logs of this run are in {}", logs.display());
        }
        Ok(code)
    }
}
