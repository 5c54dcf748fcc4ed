// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! The VTS suite in Rust against a HAL that runs, as on a device: the same source is a `rust_test`
//! there.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{bail, Context, Result};

use crate::image::{Command as GuestCommand, Payload, Start};
use crate::lane::{Lane, Machine};
use crate::report::Tally;
use crate::stages::{run_in_the_vm, script};
use crate::vm::{self, Prepared};
use crate::workspace::{self, Executable, GUEST_TARGET};
use crate::{libtest, process};

const PACKAGE: &str = "berth_vts";
/// The suite's program.
pub const PROGRAM: &str = "VtsHalBerthAllocatorTargetTest";

/// How long the HAL may take until clients can reach it.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// How often it is looked for.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// Runs it on this machine, over RPC Binder.
pub fn on_this_machine(filter: &[String]) -> Result<Tally> {
    let built = workspace::build(&["build", "--bins", "-p", "berth_service", "-p", PACKAGE])?;
    let sockets = tempfile::tempdir().context("cannot make a folder for sockets")?;
    let transport = format!("unix:{}", sockets.path().display());
    let mut service = Command::new(workspace::named(&built, "berth-allocator-service")?);
    service.env("BERTH_BINDER", &transport).env("RUST_LOG", "error").stdin(Stdio::null());
    let service = Service::start(&mut service, sockets.path())?;
    let mut suite = Command::new(workspace::named(&built, PROGRAM)?);
    suite.env("BERTH_BINDER", &transport).arg("--test-threads=1").args(filter);
    let (output, success) = process::watched(&mut suite)?;
    let mut tally = Tally::tests(libtest::summary(&output), success, Some(1), !filter.is_empty());
    if let Err(error) = service.end() {
        tally.failed += 1;
        tally.notes.push(format!("{error:#}"));
    }
    Ok(tally)
}

/// Runs it in a lane's VM, where the HAL is found through the service manager.
pub fn in_the_vm(lane: Lane, vm: &Machine, filter: &[String]) -> Result<Tally> {
    let prepared = Prepared::new(lane)?;
    let files = vm::programs(&["-p", "berth_service"])?;
    let suite = [Executable { name: PROGRAM.to_owned(), test: false, path: for_the_guest()? }];
    let command = GuestCommand::Script(script(lane, vm, &suite, filter));
    let payload = Payload { start: Start::Hal, command, files, links: vec![] };
    run_in_the_vm(&prepared, payload, &suite, filter)
}

/// Builds the suite's program for the guest; it is here.
pub fn for_the_guest() -> Result<PathBuf> {
    // Not a release, which ends at the first test that fails.
    let built = workspace::build(&["build", "--bins", "--target", GUEST_TARGET, "-p", PACKAGE])?;
    Ok(workspace::named(&built, PROGRAM)?.to_owned())
}

/// The HAL on this machine; killed if this is dropped.
struct Service(Child);

impl Service {
    /// Starts it and waits for its socket.
    fn start(command: &mut Command, sockets: &Path) -> Result<Service> {
        let mut service = Service(command.spawn().context("cannot start the HAL")?);
        let began = Instant::now();
        while std::fs::read_dir(sockets)?.next().is_none() {
            if let Some(status) = service.0.try_wait()? {
                bail!("the HAL ended at its start ({status})");
            }
            if began.elapsed() > START_TIMEOUT {
                bail!("the HAL has no socket after {START_TIMEOUT:?}");
            }
            std::thread::sleep(LOOK_INTERVAL);
        }
        Ok(service)
    }

    /// Ends it; an error if it ended before.
    fn end(mut self) -> Result<()> {
        match self.0.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("the HAL ended during the tests ({status})"),
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
