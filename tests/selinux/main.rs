// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! What Android's init, restorecon and runcon do of SELinux, for the VM:
//!
//! * `berth-selinux load POLICY` loads a policy;
//! * `berth-selinux label CONTEXTS DIRECTORY` labels all files of a file system in a directory;
//! * `berth-selinux enforce`;
//! * `berth-selinux run CONTEXT PROGRAM ARGUMENT...` becomes a program in a context.

#![forbid(unsafe_code)]

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::{bail, Context, Result};
use berth_selinux::contexts::FileContexts;
use berth_selinux::selinuxfs;

/// Where a file's label is.
const LABEL: &str = "security.selinux";

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["load", policy] => selinuxfs::load(&read(policy)?),
        ["label", contexts, directory] => {
            let text = String::from_utf8(read(contexts)?).context("the contexts are no text")?;
            let contexts = FileContexts::parse(&text)?;
            let device = fs::symlink_metadata(directory).context("no such directory")?.dev();
            label(&contexts, Path::new(directory), device)
        }
        ["enforce"] => selinuxfs::enforce(),
        ["run", context, program, ref rest @ ..] => {
            selinuxfs::set_next_context(context)?;
            let error = Command::new(program).args(rest).exec();
            Err(error).with_context(|| format!("cannot become {program} in {context}"))
        }
        _ => bail!("one of: load POLICY; label CONTEXTS DIRECTORY; enforce; run CONTEXT PROGRAM…"),
    }
}

fn read(path: &str) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {path}"))
}

/// Labels a file, and what is in it if it is a directory, as far as that lies on one device.
fn label(contexts: &FileContexts, path: &Path, device: u64) -> Result<()> {
    let metadata =
        fs::symlink_metadata(path).with_context(|| format!("cannot look at {}", path.display()))?;
    if metadata.dev() != device {
        return Ok(());
    }
    let name = path.to_str().with_context(|| format!("{} is no text", path.display()))?;
    if let Some(label) = contexts.label(name) {
        let value = [label.as_bytes(), b"\0"].concat();
        rustix::fs::lsetxattr(path, LABEL, &value, rustix::fs::XattrFlags::empty())
            .with_context(|| format!("cannot label {name} as {label}"))?;
    }
    if metadata.is_dir() {
        for entry in fs::read_dir(path).with_context(|| format!("cannot list {name}"))? {
            self::label(contexts, &entry?.path(), device)?;
        }
    }
    Ok(())
}
