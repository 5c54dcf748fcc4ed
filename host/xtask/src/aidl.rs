// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! `cargo xtask aidl`: AOSP's own AIDL compiler, which decides what is good AIDL. It comes from
//! Debian sid and needs sid's C library: unpacked beside, and started with its own loader.

mod api;
mod ndk;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{ensure, Context, Result};

use self::api::Api;
use crate::cache::Cache;
use crate::process;
use crate::progress::Step;
use crate::suite::Suite;
use crate::workspace;

const SUITE: &str = "sid";

/// The interface's name, which is its package's.
const NAME: &str = "vendor.berth.allocator";

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

/// What `cargo xtask aidl` was asked for.
#[derive(Clone, Copy, Debug, clap::Subcommand)]
pub enum Action {
    /// Compile the interface for all back ends; compare its API with the dumps in `aidl_api`
    Check,
    /// Write what the sources say into `aidl_api`, as Soong's `update-api` does
    Update,
    /// Make the interface as it is a version that never changes again
    Freeze,
}

/// Runs it; answers the exit code.
pub fn run(action: Action) -> Result<u8> {
    let interface = Interface::open()?;
    match action {
        Action::Check => interface.check()?,
        Action::Update => interface.update()?,
        Action::Freeze => interface.freeze()?,
    }
    Ok(0)
}

/// Compiles the interface for all back ends, without a warning, and compares its API.
pub fn check() -> Result<()> {
    Interface::open()?.check()
}

/// The interface of this checkout, and who judges it.
struct Interface {
    compiler: Compiler,
    folder: PathBuf,
    api: Api,
}

impl Interface {
    fn open() -> Result<Self> {
        let folder = workspace::root()?.join("aidl");
        let compiler = Compiler::ensure(&Cache::open()?)?;
        Ok(Self { compiler, api: Api::of(&folder, NAME), folder })
    }

    fn check(&self) -> Result<()> {
        let sources = files(&self.folder, &self.folder.join("vendor"))?;
        ensure!(!sources.is_empty(), "there is no .aidl file in {}", self.folder.display());
        let step = Step::start(format!("compiling {} AIDL files", sources.len()));
        let generated = tempfile::tempdir().context("cannot make a folder for generated code")?;
        for (language, headers) in BACK_ENDS {
            let out = generated.path().join(language);
            self.compiler.generate(&step, &self.folder, (language, *headers), &sources, &out)?;
        }
        step.done();
        ndk::look_at_suite(&generated.path().join("ndk"))?;
        let dump = self.dump()?;
        self.api.is_current(dump.path())?;
        let step = Step::start("comparing the API with its dumps");
        self.compiler.compare(&step, "equal", &self.api.current(), dump.path())?;
        for number in self.api.versions()? {
            self.api.verify(number)?;
            let next = self.api.version(number + 1);
            let next = if next.is_dir() { next } else { self.api.current() };
            self.compiler.compare(&step, "compatible", &self.api.version(number), &next)?;
        }
        step.done();
        Ok(())
    }

    fn update(&self) -> Result<()> {
        self.api.update(self.dump()?.path())
    }

    fn freeze(&self) -> Result<()> {
        self.check()?;
        let (number, hash) = self.api.freeze()?;
        println!(
            "version {number} of {NAME} is frozen, hash {hash}\naidl/Android.bp has to say so: frozen: \
             true, and in versions_with_info:\n    {{\n        version: \"{number}\",\n        \
             imports: [],\n    }},"
        );
        Ok(())
    }

    /// The API that the sources have, in a folder of its own.
    fn dump(&self) -> Result<tempfile::TempDir> {
        let sources = files(&self.folder, &self.folder.join("vendor"))?;
        let out = tempfile::tempdir().context("cannot make a folder for the API's dump")?;
        let step = Step::start("dumping the API");
        self.compiler.dump(&step, &self.folder, &sources, out.path())?;
        ensure!(out.path().join("vendor").is_dir(), "aidl --dumpapi ended well but wrote no dump");
        step.done();
        Ok(out)
    }
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
        command.current_dir(sources);
        command
    }

    /// Compiles for one back end into a folder.
    fn generate(
        &self,
        step: &Step,
        folder: &Path,
        (language, headers): (&str, bool),
        sources: &[PathBuf],
        out: &Path,
    ) -> Result<()> {
        let mut command = self.command(folder);
        command.arg(format!("--lang={language}")).args(["--min_sdk_version", "current"]);
        command.args(["--include", "."]);
        // As Soong calls it: without a version the code that tells it is not generated.
        command.args(["--version", "1", "--hash", "notfrozen"]);
        command.args(FLAGS).arg("--out").arg(out);
        if headers {
            command.arg("--header_out").arg(out);
        }
        process::run(step, command.args(sources))
            .with_context(|| format!("the interface is not good for the {language} back end"))
    }

    fn dump(&self, step: &Step, folder: &Path, sources: &[PathBuf], into: &Path) -> Result<()> {
        let mut command = self.command(folder);
        command
            .args(["--dumpapi", "--include", "."])
            .args(FLAGS)
            .arg("--out")
            .arg(into)
            .args(sources);
        process::run(step, &mut command).context("the interface's API cannot be dumped")
    }

    /// Compares two dumps: `level` is `equal` or `compatible`.
    fn compare(&self, step: &Step, level: &str, old: &Path, new: &Path) -> Result<()> {
        let mut command = self.command(new);
        command.arg(format!("--checkapi={level}")).args(FLAGS).args([old, new]);
        process::run(step, &mut command)
            .with_context(|| format!("the API is not {level} to that in {}", old.display()))
    }
}

/// The .aidl files below `folder`, relative to `root`, in order.
fn files(root: &Path, folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut pending = vec![folder.to_owned()];
    while let Some(next) = pending.pop() {
        for entry in
            fs::read_dir(&next).with_context(|| format!("cannot list {}", next.display()))?
        {
            let path = entry?.path();
            if path.is_dir() {
                pending.push(path);
            } else if path.extension().is_some_and(|extension| extension == "aidl") {
                found.push(path.strip_prefix(root).unwrap_or(&path).to_owned());
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
        let found = files(folder.path(), &folder.path().join("vendor")).unwrap();
        let expected = ["vendor/a/b/Access.aidl", "vendor/a/b/IThing.aidl"];
        assert_eq!(found, expected.map(PathBuf::from));
        assert!(files(folder.path(), &folder.path().join("none")).is_err());
    }
}
