// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! `cargo xtask fuzz`: the fuzz targets, by cargo-fuzz and a nightly tool chain. What is found stays
//! in the target folder: the corpus for the next run, and the inputs that broke something.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{ensure, Context, Result};

use crate::cache::Cache;
use crate::progress::Step;
use crate::{machine, process, workspace};

const CARGO_FUZZ: &str = "cargo-fuzz@0.13.2";

/// The targets in `tests/fuzz`.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum Target {
    /// Any transactions to the service
    Service,
}

/// What `cargo xtask fuzz` was asked for.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// What to fuzz
    #[arg(long, value_enum, default_value = "service")]
    target: Target,
    /// How long
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    seconds: u64,
    /// Passed to libFuzzer: an input to run again, or its options
    #[arg(last = true, value_name = "ARGUMENT")]
    arguments: Vec<String>,
}

/// Runs it; answers the exit code.
pub fn run(options: &Options) -> Result<u8> {
    let Target::Service = options.target;
    let tool = cargo_fuzz(&Cache::open()?)?;
    machine::ensure_toolchain("nightly")?;
    let folder = workspace::target_folder()?.join("fuzz");
    let (corpus, artifacts) = (folder.join("corpus"), folder.join("artifacts/"));
    for folder in [&corpus, &artifacts] {
        fs::create_dir_all(folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
    }
    let mut seeds = workspace::cargo();
    seeds.args(["run", "-q", "-p", "binder_random_parcel_rs", "--bin", "write_seeds", "--"]);
    ensure!(seeds.arg(&corpus).status()?.success(), "the seeds cannot be written");
    let package = workspace::root()?.join("tests/fuzz");
    let mut command = Command::new(tool);
    command.args(["fuzz", "run", "service_fuzzer", "--fuzz-dir"]).arg(&package).arg(&corpus);
    command.arg("--").arg(format!("-max_total_time={}", options.seconds));
    command.arg(format!("-artifact_prefix={}", artifacts.display()));
    // Calls go over a socket, and what is not answered at once is not stuck.
    command.args(["-timeout=30", "-rss_limit_mb=4096"]).args(&options.arguments);
    command.env("RUSTUP_TOOLCHAIN", "nightly").env("CARGO_TARGET_DIR", folder.join("build"));
    for variable in ["CARGO", "RUSTC", "RUSTDOC"] {
        command.env_remove(variable);
    }
    let status = command.current_dir(&package).status().context("cannot start cargo-fuzz")?;
    eprintln!("xtask: corpus in {}, findings in {}", corpus.display(), artifacts.display());
    Ok(u8::from(!status.success()))
}

/// A cache entry with `bin/cargo-fuzz`.
fn cargo_fuzz(cache: &Cache) -> Result<PathBuf> {
    let entry = cache.entry("cargo-fuzz", &format!("recipe 1\n{CARGO_FUZZ}\n"), |into| {
        let step = Step::start(format!("building {CARGO_FUZZ}"));
        let build = cache.scratch("cargo-fuzz-build")?;
        process::with_retry(&step, || {
            let mut cargo = workspace::cargo();
            cargo.args(["install", "--locked", CARGO_FUZZ, "--root"]).arg(into);
            process::run(&step, cargo.env("CARGO_TARGET_DIR", &build).current_dir(into))
        })?;
        fs::remove_dir_all(&build).with_context(|| format!("cannot remove {}", build.display()))?;
        step.done();
        Ok(())
    })?;
    Ok(entry.join("bin/cargo-fuzz"))
}
