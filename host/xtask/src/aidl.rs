// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! `cargo xtask aidl`: AOSP's own AIDL compiler, which decides what is good AIDL. It comes from
//! Debian sid and needs sid's C library: unpacked beside, and started with its own loader.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{ensure, Context, Result};

use crate::cache::Cache;
use crate::process;
use crate::progress::Step;
use crate::suite::Suite;
use crate::workspace;

const SUITE: &str = "sid";

/// The compiler and what its loader needs.
const PACKAGES: &[&str] = &[
    "aidl",
    "android-libbase",
    "android-libcutils",
    "android-liblog",
    "libatomic1",
    "libc6",
    "libgcc-s1",
    "libstdc++6",
];

/// The back ends, and whether they write headers.
const BACK_ENDS: &[(&str, bool)] =
    &[("rust", false), ("ndk", true), ("cpp", true), ("java", false)];

/// What the interface must be: stable, structured, and without a single warning but the one about
/// permissions, which a vendor HAL has no use for.
const FLAGS: &[&str] = &[
    "--structured",
    "--stability",
    "vintf",
    "-Weverything",
    "-Wno-missing-permission-annotation",
    "-Werror",
];

/// What `cargo xtask aidl` was asked for; `freeze` will be another.
#[derive(Clone, Copy, Debug, clap::Subcommand)]
pub enum Action {
    /// Compile the interface for all back ends and dump its API
    Check,
}

/// Runs it; answers the exit code.
pub fn run(action: Action) -> Result<u8> {
    match action {
        Action::Check => check()?,
    }
    Ok(0)
}

/// Compiles the interface for all back ends, without a warning, and dumps its API.
pub fn check() -> Result<()> {
    let folder = workspace::root()?.join("aidl");
    check_folder(&Compiler::ensure(&Cache::open()?)?, &folder)
}

fn check_folder(compiler: &Compiler, folder: &Path) -> Result<()> {
    let sources = sources(folder)?;
    ensure!(!sources.is_empty(), "there is no .aidl file in {}", folder.join("vendor").display());
    let step = Step::start(format!("compiling {} AIDL files", sources.len()));
    for (language, headers) in BACK_ENDS {
        let out = tempfile::tempdir().context("cannot make a folder for generated code")?;
        let mut command = compiler.command(folder);
        command
            .arg(format!("--lang={language}"))
            .args(["--min_sdk_version", "current"])
            .args(FLAGS)
            .arg("--out")
            .arg(out.path());
        if *headers {
            command.arg("--header_out").arg(out.path());
        }
        process::run(&step, command.args(&sources))
            .with_context(|| format!("the interface is not good for the {language} back end"))?;
    }
    let out = tempfile::tempdir().context("cannot make a folder for the API's dump")?;
    compiler.dump(&step, folder, &sources, out.path())?;
    ensure!(out.path().join("vendor").is_dir(), "aidl --dumpapi ended well but wrote no dump");
    step.done();
    Ok(())
}

/// AOSP's AIDL compiler in the cache.
struct Compiler {
    folder: PathBuf,
}

impl Compiler {
    fn ensure(cache: &Cache) -> Result<Self> {
        let inputs = format!("recipe 1\n{SUITE}\n{}\n", PACKAGES.join("\n"));
        let folder = cache.entry("aidl", &inputs, |into| {
            let unpacked = tempfile::tempdir_in(cache.empty_scratch("unpacked")?)?;
            let suite = Suite::open(cache, SUITE)?;
            fs::write(into.join("PACKAGES"), suite.unpack(PACKAGES, unpacked.path())?)?;
            for part in ["usr/bin", "usr/lib"] {
                let parent = into.join("usr");
                fs::create_dir_all(&parent)?;
                // Only the loader's part: documentation and locales stay behind.
                fs::rename(unpacked.path().join(part), into.join(part))
                    .with_context(|| format!("the packages have no {part}"))?;
            }
            let step = Step::start("trying the AIDL compiler");
            process::run(&step, Self { folder: into.to_owned() }.command(into).arg("--help"))?;
            step.done();
            Ok(())
        })?;
        Ok(Self { folder })
    }

    fn command(&self, sources: &Path) -> Command {
        let libraries = self.folder.join("usr/lib/x86_64-linux-gnu");
        let path = format!("{}:{}", libraries.display(), libraries.join("android").display());
        let mut command = Command::new(libraries.join("ld-linux-x86-64.so.2"));
        command.arg("--library-path").arg(path).arg(self.folder.join("usr/bin/aidl"));
        command.args(["--include", "."]).current_dir(sources);
        command
    }

    fn dump(&self, step: &Step, folder: &Path, sources: &[PathBuf], into: &Path) -> Result<()> {
        let mut command = self.command(folder);
        command.arg("--dumpapi").args(FLAGS).arg("--out").arg(into).args(sources);
        process::run(step, &mut command).context("the interface's API cannot be dumped")
    }
}

/// The interface's files, relative to `folder`, in order.
fn sources(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut pending = vec![folder.join("vendor")];
    while let Some(next) = pending.pop() {
        for entry in
            fs::read_dir(&next).with_context(|| format!("cannot list {}", next.display()))?
        {
            let path = entry?.path();
            if path.is_dir() {
                pending.push(path);
            } else if path.extension().is_some_and(|extension| extension == "aidl") {
                found.push(path.strip_prefix(folder).unwrap_or(&path).to_owned());
            }
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_found_in_order_and_relative() {
        let folder = tempfile::tempdir().unwrap();
        let package = folder.path().join("vendor/a/b");
        fs::create_dir_all(&package).unwrap();
        for name in ["IThing.aidl", "Access.aidl", "notes.md"] {
            fs::write(package.join(name), "").unwrap();
        }
        let found = sources(folder.path()).unwrap();
        let expected = ["vendor/a/b/Access.aidl", "vendor/a/b/IThing.aidl"];
        assert_eq!(found, expected.map(PathBuf::from));
        assert!(sources(&package).is_err());
    }
}
