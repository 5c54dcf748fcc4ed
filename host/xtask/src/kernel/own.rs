// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! A kernel of our own configuration, built from Debian's source: `make tinyconfig`, the lane's
//! options over it, no modules. It takes minutes, once; an interrupted build goes on where it was.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use anyhow::{Context, Result};

use super::config::Config;
use crate::cache::Cache;
use crate::lane::Own;
use crate::progress::Step;
use crate::suite::Suite;
use crate::{machine, process, workspace};

/// Bumped when the same source and options make another kernel.
const RECIPE: u32 = 1;

/// What building a kernel takes on a machine of Debian's or Ubuntu's.
const PACKAGES: &[&str] =
    &["bc", "bison", "flex", "gcc", "libc6-dev", "libelf-dev", "make", "xz-utils"];

/// What a build takes from our environment: a kernel's makefiles would take dozens of variables.
const ENVIRONMENT: &[&str] = &["HOME", "PATH", "TMPDIR"];

/// Who built it, where and when: the same for everybody, so that the kernel is too.
const BUILT_BY: &[(&str, &str)] = &[
    ("KBUILD_BUILD_USER", "berth"),
    ("KBUILD_BUILD_HOST", "berth"),
    ("KBUILD_BUILD_VERSION", "1"),
    ("KBUILD_BUILD_TIMESTAMP", "Thu Jan  1 00:00:00 UTC 1970"),
];

/// The kernel's cache entry, there already or built.
pub fn ensure(cache: &Cache, kernel: &Own) -> Result<PathBuf> {
    let wanted = wanted(kernel)?;
    let inputs = format!("recipe {RECIPE}\n{} {}\n{}", kernel.suite, kernel.package, wanted.text());
    let name = format!("kernel-{}", kernel.package);
    cache.entry(&name, &inputs, |into| {
        machine::ensure_packages(PACKAGES)?;
        let work = cache.scratch(&format!("{name}-build"))?;
        let source = Source::ensure(cache, kernel, &work)?;
        source.configure(&wanted)?;
        source.compile().with_context(|| {
            format!("the kernel does not build; to start anew remove {}", work.display())
        })?;
        source.take(into)?;
        fs::remove_dir_all(&work).with_context(|| format!("cannot remove {}", work.display()))
    })
}

/// The options that the lane's file in the checkout asks for.
fn wanted(kernel: &Own) -> Result<Config> {
    let fragment = workspace::root()?.join("tests/vm").join(kernel.config);
    let text = fs::read_to_string(&fragment)
        .with_context(|| format!("cannot read {}", fragment.display()))?;
    Config::parse(&text).with_context(|| format!("cannot understand {}", fragment.display()))
}

/// An unpacked source, perhaps with a build that was interrupted.
struct Source {
    /// The source's root, in which it is built.
    tree: PathBuf,
    /// Package, version and architecture.
    package: String,
}

impl Source {
    /// Goes on in `work` if an earlier run left a source there, else fetches and unpacks it.
    fn ensure(cache: &Cache, kernel: &Own, work: &Path) -> Result<Self> {
        let tree = work.join("tree");
        // Written when all is unpacked.
        let complete = work.join("PACKAGE");
        if let Ok(package) = fs::read_to_string(&complete) {
            eprintln!("xtask: going on with the kernel in {}", tree.display());
            return Ok(Self { tree, package });
        }
        let suite = Suite::open_with_security(cache, kernel.suite)?;
        let unpacked = tempfile::tempdir_in(cache.empty_scratch("unpacked")?)?;
        let package = suite.unpack(&[kernel.package], unpacked.path())?;
        let step = Step::start(format!("unpacking {}", package.trim_end()));
        if tree.exists() {
            fs::remove_dir_all(&tree)
                .with_context(|| format!("cannot remove {}", tree.display()))?;
        }
        fs::create_dir(&tree).with_context(|| format!("cannot create {}", tree.display()))?;
        let archive = unpacked.path().join(format!("usr/src/{}.tar.xz", kernel.package));
        let mut tar = Command::new("tar");
        tar.arg("--extract").arg("--file").arg(archive).arg("--strip-components=1");
        process::run(&step, tar.arg("--directory").arg(&tree))?;
        fs::write(&complete, &package)
            .with_context(|| format!("cannot write {}", complete.display()))?;
        step.done();
        Ok(Self { tree, package })
    }

    /// Writes `.config`, and makes sure that it has what is wanted.
    fn configure(&self, wanted: &Config) -> Result<()> {
        let step = Step::start("configuring the kernel");
        process::run(&step, self.program("make").arg("tinyconfig"))?;
        let fragment = self.tree.join("berth.config");
        fs::write(&fragment, wanted.text())
            .with_context(|| format!("cannot write {}", fragment.display()))?;
        let mut merge = self.program("scripts/kconfig/merge_config.sh");
        process::run(&step, merge.args(["-m", ".config"]).arg(&fragment))?;
        process::run(&step, self.program("make").arg("olddefconfig"))?;
        wanted.ensure_kept(&Config::parse(&self.config()?)?)?;
        step.done();
        Ok(())
    }

    fn config(&self) -> Result<String> {
        let path = self.tree.join(".config");
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    }

    fn compile(&self) -> Result<()> {
        let jobs = thread::available_parallelism().map_or(1, usize::from);
        let version = self.package.split_whitespace().nth(1).unwrap_or("?");
        let step = Step::start(format!("building Linux {version}, {jobs} files at a time"));
        let mut make = self.program("make");
        let mut objects = 0;
        process::run_noting(&step, make.arg(format!("--jobs={jobs}")).arg("vmlinux"), |line| {
            let compiled = ["  CC ", "  AS "].iter().any(|start| line.starts_with(start));
            objects += usize::from(compiled);
            format!("{objects} objects: {}", line.trim_start())
        })?;
        step.done();
        Ok(())
    }

    /// Puts what is kept into the cache's entry.
    fn take(&self, into: &Path) -> Result<()> {
        // The symbols that backtraces need are in the kernel itself.
        let mut strip = self.program("strip");
        strip.args(["--strip-all", "-o"]).arg(into.join("vmlinux")).arg("vmlinux");
        process::output(&mut strip)?;
        fs::create_dir(into.join("modules"))?;
        fs::write(into.join("config"), self.config()?)?;
        fs::write(into.join("PACKAGES"), &self.package)?;
        Ok(())
    }

    /// A program that runs in the source, and no longer than we do: two of them at work in one
    /// folder would spoil each other's.
    fn program(&self, program: &str) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "TERM", program]).current_dir(&self.tree).env_clear();
        for name in ENVIRONMENT {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command.env("LC_ALL", "C").envs(BUILT_BY.iter().copied());
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lane::{Kernel, Kind, LANES};

    #[test]
    fn every_own_kernel_has_binder_and_a_way_to_tell_its_exit_code() {
        let owns = LANES.iter().filter_map(|lane| match lane.kind {
            Kind::Vm(machine) => match machine.kernel {
                Kernel::Own(own) => Some(own),
                Kernel::Stock(_) => None,
            },
            Kind::Host => None,
        });
        for own in owns {
            let text = wanted(&own).unwrap().text();
            for option in ["CONFIG_ANDROID_BINDERFS=y\n", "CONFIG_DEVPORT=y\n"] {
                assert!(text.contains(option), "{} lacks {option}", own.config);
            }
        }
    }
}
