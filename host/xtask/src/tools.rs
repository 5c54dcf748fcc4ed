// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! The programs of the guest that are not ours: the service manager (crate rsbinder-tools) and
//! busybox.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::cache::Cache;
use crate::progress::Step;
use crate::suite::Suite;
use crate::workspace::{self, GUEST_TARGET};
use crate::{machine, process};

const RSBINDER_TOOLS: &str = "rsbinder-tools@0.12.0";

/// Where busybox comes from; it is unpacked beside, because installing it would replace the
/// system's.
const BUSYBOX_SUITE: &str = "trixie";

/// The service manager and its command-line tool: a cache entry with `bin/rsb_hub`,
/// `bin/rsb_service`.
pub fn service_manager(cache: &Cache) -> Result<PathBuf> {
    let inputs = format!("recipe 1\n{RSBINDER_TOOLS}\n{GUEST_TARGET}\n");
    cache.entry("service-manager", &inputs, |into| {
        machine::ensure_target(GUEST_TARGET)?;
        let step = Step::start(format!("building the service manager ({RSBINDER_TOOLS})"));
        // A build folder that outlives an interrupted run lets the next one go on.
        let build = cache.scratch("service-manager-build")?;
        process::with_retry(&step, || {
            let mut cargo = workspace::cargo();
            cargo.args(["install", "--locked", RSBINDER_TOOLS, "--target", GUEST_TARGET]);
            cargo.args(["--bin", "rsb_hub", "--bin", "rsb_service", "--root"]).arg(into);
            cargo.env("CARGO_TARGET_DIR", &build).env("CARGO_PROFILE_RELEASE_STRIP", "true");
            // Away from the checkout, whose Cargo configuration is none of its business.
            process::run(&step, cargo.current_dir(into))
        })?;
        fs::remove_dir_all(&build).with_context(|| format!("cannot remove {}", build.display()))?;
        step.done();
        Ok(())
    })
}

/// A cache entry with `busybox`, and `APPLETS`, one a line.
pub fn busybox(cache: &Cache) -> Result<PathBuf> {
    let inputs = format!("recipe 1\n{BUSYBOX_SUITE} busybox-static\n");
    cache.entry("busybox", &inputs, |into| {
        let suite = Suite::open(cache, BUSYBOX_SUITE)?;
        let unpacked = tempfile::tempdir_in(cache.empty_scratch("unpacked")?)?;
        let packages = suite.unpack(&["busybox-static"], unpacked.path())?;
        let program = into.join("busybox");
        let places = ["usr/bin/busybox", "bin/busybox"].map(|place| unpacked.path().join(place));
        let found =
            places.iter().find(|place| place.is_file()).context("the package has no busybox")?;
        fs::copy(found, &program)?;
        fs::write(into.join("APPLETS"), applets(&program)?)?;
        fs::write(into.join("PACKAGES"), packages)?;
        Ok(())
    })
}

fn applets(busybox: &Path) -> Result<String> {
    process::output(Command::new(busybox).arg("--list"))
}
