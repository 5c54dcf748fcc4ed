// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! The checkout and its Cargo workspace: where it is, and building what is in it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{bail, Context, Result};
use serde::Deserialize;

/// The target of what runs in the guest: static, so that the image needs no libraries.
pub const GUEST_TARGET: &str = "x86_64-unknown-linux-musl";

/// The checkout's root.
pub fn root() -> Result<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = own.ancestors().nth(2).context("xtask is not two folders below the checkout")?;
    Ok(root.to_owned())
}

/// Cargo's folder for what it builds.
pub fn target_folder() -> Result<PathBuf> {
    let root = root()?;
    Ok(match std::env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => root.join(folder),
        None => root.join("target"),
    })
}

/// The Cargo that runs this.
pub fn cargo_program() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// A Cargo command in the checkout, without what `cargo run` put into our environment: build
/// scripts would see it as a change and run again.
pub fn cargo() -> Command {
    in_the_checkout(Command::new(cargo_program()))
}

/// The same, ended with all that it started when it takes longer.
pub fn cargo_within(limit: Duration) -> Command {
    let mut command = Command::new("timeout");
    command.args(["--kill-after=10", &limit.as_secs().to_string()]).arg(cargo_program());
    in_the_checkout(command)
}

/// As [`cargo`], of another tool chain of rustup's.
pub fn cargo_of(toolchain: &str) -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", toolchain, "cargo"]);
    for variable in ["CARGO", "RUSTC", "RUSTDOC", "RUSTUP_TOOLCHAIN"] {
        command.env_remove(variable);
    }
    in_the_checkout(command)
}

fn in_the_checkout(mut command: Command) -> Command {
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    if let Ok(root) = root() {
        command.current_dir(root);
    }
    command.stdin(Stdio::null());
    command
}

/// Something that Cargo built and that can be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Executable {
    /// The target's name.
    pub name: String,
    /// Whether it is a test harness.
    pub test: bool,
    /// Where it is.
    pub path: PathBuf,
}

/// Runs a Cargo build with the given arguments and answers what it made. Cargo's own progress and
/// messages go to standard error.
pub fn build(arguments: &[&str]) -> Result<Vec<Executable>> {
    let line = format!("cargo {}", arguments.join(" "));
    eprintln!("xtask: {line}");
    let output = cargo()
        .args(arguments)
        .arg("--message-format=json-render-diagnostics")
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start `{line}`"))?;
    if !output.status.success() {
        bail!("`{line}` failed ({}); its messages are above", output.status);
    }
    executables(&String::from_utf8_lossy(&output.stdout))
}

/// Finds one executable among those built.
pub fn named<'a>(built: &'a [Executable], name: &str) -> Result<&'a Path> {
    built
        .iter()
        .find(|executable| !executable.test && executable.name == name)
        .map(|executable| executable.path.as_path())
        .with_context(|| format!("Cargo built no program `{name}`"))
}

#[derive(Deserialize)]
struct Message {
    executable: Option<PathBuf>,
    target: Option<Target>,
    profile: Option<Profile>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

fn executables(messages: &str) -> Result<Vec<Executable>> {
    let mut found = Vec::new();
    for line in messages.lines().filter(|line| line.starts_with('{')) {
        let message: Message = serde_json::from_str(line)
            .with_context(|| format!("cannot read Cargo's message {line}"))?;
        if let (Some(path), Some(target), Some(profile)) =
            (message.executable, message.target, message.profile)
        {
            found.push(Executable { name: target.name, test: profile.test, path });
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executables_are_found_among_cargos_messages() {
        let messages = r#"
{"reason":"compiler-artifact","target":{"name":"lib"},"profile":{"test":false},"executable":null}
{"reason":"compiler-artifact","target":{"name":"tool"},"profile":{"test":false},"executable":"/t/tool"}
{"reason":"compiler-artifact","target":{"name":"tool"},"profile":{"test":true},"executable":"/t/tool-1"}
{"reason":"build-finished","success":true}
"#;
        let built = executables(messages).unwrap();
        assert_eq!(built.len(), 2);
        assert_eq!(named(&built, "tool").unwrap(), Path::new("/t/tool"));
        assert!(named(&built, "lib").is_err());
        assert!(built[1].test);
    }

    #[test]
    fn the_root_has_the_workspace() {
        assert!(root().unwrap().join("host/xtask/Cargo.toml").exists());
    }
}
