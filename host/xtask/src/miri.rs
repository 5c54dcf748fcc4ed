// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! `cargo xtask miri`: the tests of `src/shared` that need no kernel, by Rust's interpreter, which
//! reports undefined behaviour and data races that a processor happens to let pass. Those that need a
//! kernel say so by `cfg_attr(miri, ignore)`.

use anyhow::{Context, Result};

use crate::libtest;
use crate::report::Tally;
use crate::{machine, process, workspace};

const TOOLCHAIN: &str = "nightly";
/// The interpreter, and the standard library's source, which it interprets too.
const COMPONENTS: [&str; 2] = ["miri", "rust-src"];
const PACKAGE: &str = "berth_shared";

/// What `cargo xtask miri` was asked for.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Passed to the tests: part of a test's name, or libtest's options
    #[arg(last = true, value_name = "FILTER")]
    filter: Vec<String>,
}

/// Runs it; answers the exit code.
pub fn run(options: &Options) -> Result<u8> {
    let tally = tests(&options.filter)?;
    for note in &tally.notes {
        eprintln!("xtask: {note}");
    }
    Ok(u8::from(tally.failed > 0))
}

/// The tests, counted.
pub fn tests(filter: &[String]) -> Result<Tally> {
    machine::ensure_toolchain_with(TOOLCHAIN, &COMPONENTS).with_context(|| {
        format!("miri needs Rust's {TOOLCHAIN} tool chain with {}", COMPONENTS.join(" and "))
    })?;
    let mut command = workspace::cargo_of(TOOLCHAIN);
    command.args(["miri", "test", "-p", PACKAGE, "--lib", "--"]).args(filter);
    let (output, success) = process::watched(&mut command)?;
    Ok(Tally::tests(libtest::summary(&output), success, Some(1), !filter.is_empty()))
}
