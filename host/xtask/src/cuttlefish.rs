// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! The script for Cuttlefish, run in the VM: `tests/cuttlefish/stand_in/adb` is its device.

use std::time::Duration;

use anyhow::{ensure, Result};

use crate::image::{Command, Payload, Start};
use crate::lane::Lane;
use crate::vm::{self, Prepared};
use crate::{vts, workspace};

/// How long it may take in the guest.
const TIMEOUT: Duration = Duration::from_secs(600);

/// The script and its stand-ins in the guest.
const SCRIPTS: &str = "/data/cuttlefish";
const STAND_IN: &str = "/data/cuttlefish/stand_in";
/// What a build for Android would have made, in the guest.
const PRODUCT: &str = "/data/product";

const NDK_SUITE: &str = "VtsHalBerthAllocatorNdkTargetTest";

/// Runs it in a lane's VM.
pub fn in_the_vm(lane: Lane) -> Result<()> {
    let prepared = Prepared::new(lane)?;
    let mut files = vm::programs(&["-p", "berth_service", "-p", "berthctl", "-p", "berth_demo"])?;
    files.push((SCRIPTS.to_owned(), workspace::root()?.join("tests/cuttlefish")));
    let suite = vts::PROGRAM;
    files.push((format!("{PRODUCT}/testcases/{suite}/{suite}"), vts::for_the_guest()?));
    // Without the tools that start a device, and without the suite in C++, which takes AOSP's NDK.
    let script = format!(
        "cd {PRODUCT}/testcases && mkdir -p {NDK_SUITE} /data/local/tmp &&
        for nothing in {NDK_SUITE}/{NDK_SUITE} {STAND_IN}/launch_cvd {STAND_IN}/stop_cvd; do
            echo '#!/bin/sh' >$nothing && chmod +x $nothing || exit
        done
        PATH={STAND_IN}:$PATH ANDROID_PRODUCT_OUT={PRODUCT} exec {SCRIPTS}/run.sh"
    );
    let command = Command::Script(script);
    let payload = Payload { start: Start::Hal, command, files, links: vec![] };
    let (out, err) = (Box::new(std::io::stdout()), Box::new(std::io::stderr()));
    let code = prepared.run(&payload, Some(TIMEOUT), out, err)?;
    ensure!(code == 0, "the script for Cuttlefish ended with {code}; what it said is above");
    Ok(())
}
