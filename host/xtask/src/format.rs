// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Whether every Rust file is formatted: those that Cargo knows, and those that only Soong builds.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{ensure, Context, Result};

use crate::{machine, process, workspace};

/// The edition of what Cargo does not know, as the `Android.bp` files have it.
const EDITION: &str = "2021";

/// How rustfmt begins the line about a file that it looks at.
const LOOKS_AT: &str = "Formatting ";

/// Checks all of them.
pub fn check() -> Result<()> {
    machine::ensure_component("rustfmt", "fmt")?;
    let fmt = ["fmt", "--all", "--check"];
    let status = workspace::cargo().args(fmt).status().context("cannot start cargo fmt")?;
    ensure!(status.success(), "`cargo {}` found what is above", fmt.join(" "));
    let said = process::output(workspace::cargo().args(fmt).args(["--", "--verbose"]))?;
    let root = workspace::root()?.canonicalize().context("the checkout")?;
    let tracked =
        process::output(Command::new("git").args(["ls-files", "-z", "*.rs"]).current_dir(&root))?;
    let others = not_looked_at(&said, tracked.split_terminator('\0').map(|path| root.join(path)));
    if others.is_empty() {
        return Ok(());
    }
    let mut rustfmt = Command::new("rustfmt");
    rustfmt.args(["--check", "--edition", EDITION, "--config-path"]).arg(&root).args(&others);
    let status = rustfmt.status().context("cannot start rustfmt")?;
    ensure!(status.success(), "`{}` found what is above", process::shown(&rustfmt));
    Ok(())
}

/// Those files that rustfmt did not say it looked at.
fn not_looked_at(said: &str, files: impl Iterator<Item = PathBuf>) -> Vec<PathBuf> {
    let paths = said.lines().filter_map(|line| line.strip_prefix(LOOKS_AT));
    let seen: BTreeSet<PathBuf> =
        paths.filter_map(|path| Path::new(path).canonicalize().ok()).collect();
    files.filter(|file| file.exists() && !seen.contains(file)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_rustfmt_did_not_look_at_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let [known, other, deleted] = ["known.rs", "other.rs", "deleted.rs"].map(|f| root.join(f));
        for file in [&known, &other] {
            std::fs::write(file, "").unwrap();
        }
        let said = format!("Using rustfmt config file\nFormatting {}\n", known.display());
        assert_eq!(not_looked_at(&said, [known, other.clone(), deleted].into_iter()), [other]);
    }
}
