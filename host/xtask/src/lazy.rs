// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! The lazy service, in a VM: `tests/lazy` shows that it comes and goes.

use std::time::Duration;

use anyhow::{ensure, Result};

use crate::image::{Command, Payload, Start};
use crate::lane::Lane;
use crate::vm::{self, Prepared};

/// How long it may take in the guest.
const TIMEOUT: Duration = Duration::from_secs(600);

/// Runs it in a lane's VM.
pub fn in_the_vm(lane: Lane) -> Result<()> {
    let prepared = Prepared::new(lane)?;
    let files = vm::programs(&["-p", "berth_service", "-p", "berth_lazy"])?;
    let command = Command::Script("/vendor/bin/berth-lazy".to_owned());
    let payload = Payload { start: Start::Nothing, command, files, links: vec![] };
    let (out, err) = (Box::new(std::io::stdout()), Box::new(std::io::stderr()));
    let code = prepared.run(&payload, Some(TIMEOUT), out, err)?;
    ensure!(code == 0, "berth-lazy ended with {code}; what it said is above");
    Ok(())
}
