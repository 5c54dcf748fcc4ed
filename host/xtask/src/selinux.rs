// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! What the guest gets of SELinux where that enforces: the policy, compiled here; the labels of files
//! and services; the programs that load, label and ask; and for the test of the rules the same policy
//! without each of them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use berth_platform_policy::{rules, Sources, PACKAGES};
use tempfile::TempDir;

use crate::progress::Step;
use crate::workspace::{self, GUEST_TARGET};
use crate::{image, machine};

/// Where all of it is in the guest.
const FOLDER: &str = "/etc/selinux";

/// The files for the guest.
pub struct Files {
    // Holds what the paths name.
    _folder: TempDir,
    files: Vec<(String, PathBuf)>,
}

impl Files {
    /// Compiles and builds.
    pub fn prepare() -> Result<Self> {
        machine::ensure_packages(PACKAGES)?;
        let root = workspace::root()?;
        let folder = tempfile::tempdir().context("cannot make a folder for the policy")?;
        let step = Step::start("compiling the SELinux policy".to_owned());
        policies(&root, folder.path())?;
        for name in ["file_contexts", "service_contexts"] {
            let text = read(&root.join("tests/platform_policy/policy").join(name))?
                + &read(&root.join("sepolicy").join(name))?;
            write(&folder.path().join(name), text.as_bytes())?;
        }
        step.done();
        let mut files = vec![(FOLDER.to_owned(), folder.path().to_owned())];
        files.extend(programs()?);
        // As on a device; the tests put theirs beside it.
        let policy = root.join("init/allocator.policy");
        files.push((image::POLICY_FILE.to_owned(), policy));
        Ok(Self { _folder: folder, files })
    }

    /// Where each goes in the guest, and where it is here.
    pub fn files(&self) -> &[(String, PathBuf)] {
        &self.files
    }
}

/// Writes `policy`, and for each rule and permission `without/NUMBER.policy` and `without/NUMBER.rule`,
/// its text; only the latter if nothing compiles without it.
fn policies(root: &Path, into: &Path) -> Result<()> {
    let sources = Sources::read(root)?;
    write(&into.join("policy"), &sources.compile()?)?;
    write(&into.join("barrier"), b"")?;
    let without = into.join("without");
    fs::create_dir(&without).with_context(|| format!("cannot create {}", without.display()))?;
    for (number, rule) in rules(&sources).iter().enumerate() {
        write(&without.join(format!("{number:03}.rule")), rule.to_string().as_bytes())?;
        let policy = sources.clone().without(rule).compile();
        let policy = policy.with_context(|| format!("the policy without {rule}"))?;
        write(&without.join(format!("{number:03}.policy")), &policy)?;
    }
    Ok(())
}

fn programs() -> Result<Vec<(String, PathBuf)>> {
    machine::ensure_target(GUEST_TARGET)?;
    let options = ["build", "--release", "--bins", "--target", GUEST_TARGET];
    let packages = ["-p", "berth_selinux", "-p", "berth_servicemanager"];
    let built = workspace::build(&[options.as_slice(), packages.as_slice()].concat())?;
    let place = |name: &str| -> Result<(String, PathBuf)> {
        Ok((format!("/bin/{name}"), workspace::named(&built, name)?.to_owned()))
    };
    Ok(vec![place("berth-selinux")?, place("servicemanager")?])
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}
