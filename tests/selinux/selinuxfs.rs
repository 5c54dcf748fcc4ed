// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! The kernel's interface to SELinux: `/sys/fs/selinux` (security/selinux/selinuxfs.c).

use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;

use anyhow::{ensure, Context, Result};

const ROOT: &str = "/sys/fs/selinux";

/// Where a process says in which context its next program is to run (proc(5)).
const NEXT_CONTEXT: &str = "/proc/thread-self/attr/exec";

/// Gives the kernel a compiled policy. It is in force when this returns.
pub fn load(policy: &[u8]) -> Result<()> {
    // The kernel takes it in one piece only.
    let mut file = open("load")?;
    let taken = file.write(policy).context("the kernel refuses the policy")?;
    ensure!(taken == policy.len(), "the kernel took {taken} of {} bytes", policy.len());
    Ok(())
}

/// Whether what the policy does not allow is denied.
pub fn is_enforcing() -> bool {
    fs::read_to_string(Path::new(ROOT).join("enforce")).is_ok_and(|text| text.trim() == "1")
}

/// From now on what the policy does not allow is denied.
pub fn enforce() -> Result<()> {
    open("enforce")?.write_all(b"1").context("the kernel does not enforce")?;
    ensure!(is_enforcing(), "the kernel still does not enforce");
    Ok(())
}

/// The next program that this thread becomes runs in this context.
pub fn set_next_context(context: &str) -> Result<()> {
    // Not created: that would be another permission.
    let file = OpenOptions::new().write(true).open(NEXT_CONTEXT);
    let written = file.and_then(|mut file| file.write_all(context.as_bytes()));
    written.with_context(|| format!("cannot go over to {context}"))
}

/// A class that a program enforces, not the kernel.
#[derive(Debug)]
pub struct Class {
    index: u32,
    name: &'static str,
}

impl Class {
    /// A class of the policy that is loaded.
    pub fn find(name: &'static str) -> Result<Self> {
        Ok(Self { index: number(&format!("class/{name}/index"))?, name })
    }

    /// The bit of a permission of this class.
    pub fn permission(&self, permission: &str) -> Result<u32> {
        let position = number(&format!("class/{}/perms/{permission}", self.name))?;
        1u32.checked_shl(position.wrapping_sub(1)).context("a permission beyond 32")
    }

    /// What the policy allows a subject to do with an object, as bits.
    pub fn allowed(&self, subject: &str, object: &str) -> Result<u32> {
        let mut file = open("access")?;
        let question = format!("{subject} {object} {}", self.index);
        file.write_all(question.as_bytes())
            .with_context(|| format!("the kernel does not know {subject} or {object}"))?;
        let mut answer = String::new();
        file.read_to_string(&mut answer).context("the kernel does not answer")?;
        let first = answer.split_whitespace().next().context("the kernel's answer is empty")?;
        u32::from_str_radix(first, 16).with_context(|| format!("the kernel answers {answer}"))
    }
}

fn open(name: &str) -> Result<fs::File> {
    let path = Path::new(ROOT).join(name);
    let file = OpenOptions::new().read(name == "access").write(true).open(&path);
    file.with_context(|| format!("cannot open {}", path.display()))
}

fn number(name: &str) -> Result<u32> {
    let path = Path::new(ROOT).join(name);
    let text =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    text.trim().parse().with_context(|| format!("{} has {text}", path.display()))
}
