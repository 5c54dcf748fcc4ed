// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! What this machine must have: Debian or Ubuntu packages by name, Rust targets and components.

use std::io::IsTerminal;
use std::path::Path;
use std::process::Command;

use anyhow::{bail, Context, Result};

use crate::process;
use crate::progress::Step;

/// Makes sure that the packages are installed, and installs those that are missing.
pub fn ensure_packages(packages: &[&str]) -> Result<()> {
    let mut missing = Vec::new();
    for package in packages {
        if !installed(package)? {
            missing.push(*package);
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.join(" ");
    let install = format!("apt-get install --no-install-recommends {names}");
    let Some(prefix) = root_prefix() else {
        bail!(
            "this machine lacks the packages {names}, and there is neither root nor a sudo that needs \
             no password here to install them; as root run:\n    apt-get update && {install}"
        );
    };
    let step = Step::start(format!("installing {names}"));
    let as_root = |line: &[&str]| {
        let mut words = prefix.iter().copied().chain(["env", "DEBIAN_FRONTEND=noninteractive"]);
        let mut command = Command::new(words.next().unwrap_or("env"));
        command.args(words).args(line);
        command
    };
    let apt = |arguments: &[&str]| {
        let mut command = as_root(&["apt-get", "-q", "-y", "-o", "DPkg::Lock::Timeout=120"]);
        command.args(arguments);
        command
    };
    let options = [&["install", "--no-install-recommends"], missing.as_slice()].concat();
    // The package lists of a fresh machine or container are empty or old: try, update, try again.
    if process::run(&step, &mut apt(&options)).is_err() {
        process::with_retry(&step, || {
            // An installation that was killed half way stops every other one until this has run.
            process::run(&step, &mut as_root(&["dpkg", "--configure", "-a"]))?;
            process::run(&step, &mut apt(&["update"]))?;
            process::run(&step, &mut apt(&options))
        })
        .with_context(|| format!("cannot install {names}; as root try:\n    {install}"))?;
    }
    step.done();
    Ok(())
}

/// Makes sure that Rust's standard library for `target` is there.
pub fn ensure_target(target: &str) -> Result<()> {
    let sysroot = process::output(Command::new(rustc()).args(["--print", "sysroot"]))?;
    if Path::new(sysroot.trim()).join("lib/rustlib").join(target).join("lib").is_dir() {
        return Ok(());
    }
    rustup(&["target", "add", target])
}

/// Makes sure that one of Cargo's subcommands is there, and adds rustup's component if it is not.
pub fn ensure_component(component: &str, subcommand: &str) -> Result<()> {
    let mut probe = Command::new(crate::workspace::cargo_program());
    if process::succeeds(probe.args([subcommand, "--version"])) {
        return Ok(());
    }
    rustup(&["component", "add", component])
}

/// Makes sure that rustup has a tool chain.
pub fn ensure_toolchain(name: &str) -> Result<()> {
    if process::succeeds(Command::new("rustup").args(["run", name, "rustc", "--version"])) {
        return Ok(());
    }
    rustup(&["toolchain", "install", "--profile", "minimal", name])
}

/// Makes sure that rustup has a tool chain with components. Which of them it may be is left to rustup:
/// not every nightly has every component.
pub fn ensure_toolchain_with(name: &str, components: &[&str]) -> Result<()> {
    let mut list = Command::new("rustup");
    list.args(["component", "list", "--installed", "--toolchain", name]);
    let installed = process::output(&mut list).unwrap_or_default();
    if components.iter().all(|component| has_component(&installed, component)) {
        return Ok(());
    }
    let mut arguments = vec!["toolchain", "install", "--profile", "minimal", name];
    arguments.extend(components.iter().flat_map(|component| ["--component", component]));
    rustup(&arguments)
}

/// Whether rustup's list of components has one, with the target that it is for or without.
fn has_component(list: &str, component: &str) -> bool {
    let is_it = |rest: &str| rest.is_empty() || rest.starts_with('-');
    list.lines().any(|line| line.trim_end().strip_prefix(component).is_some_and(is_it))
}

fn rustc() -> std::ffi::OsString {
    std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into())
}

fn rustup(arguments: &[&str]) -> Result<()> {
    let step = Step::start(format!("rustup {}", arguments.join(" ")));
    process::with_retry(&step, || process::run(&step, Command::new("rustup").args(arguments)))
        .context("this needs a Rust tool chain that rustup manages")?;
    step.done();
    Ok(())
}

/// Whether dpkg knows the package as installed.
fn installed(package: &str) -> Result<bool> {
    let output = Command::new("dpkg-query")
        .args(["--show", "--showformat=${db:Status-Abbrev}", package])
        .output()
        .with_context(|| {
            format!("cannot ask dpkg-query for the package {package}: this needs Debian or Ubuntu")
        })?;
    Ok(output.status.success() && is_installed(&String::from_utf8_lossy(&output.stdout)))
}

/// dpkg's abbreviation: what is wanted, what is so, and whether something is wrong with it.
fn is_installed(abbreviation: &str) -> bool {
    matches!(abbreviation.trim_end().as_bytes(), [_, b'i'])
}

/// The words that make a command run as root: none for root itself; `None` if there is no way. May
/// ask for a password.
pub fn root_prefix() -> Option<&'static [&'static str]> {
    if nix::unistd::geteuid().is_root() {
        return Some(&[]);
    }
    if process::succeeds(Command::new("sudo").args(["-n", "true"])) {
        return Some(&["sudo", "-n"]);
    }
    // sudo may ask for the password only where somebody can answer.
    let asked = std::io::stdin().is_terminal()
        && Command::new("sudo").arg("-v").status().is_ok_and(|status| status.success());
    asked.then_some(&["sudo", "-n"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components_with_and_without_a_target() {
        let list = "miri-x86_64-unknown-linux-gnu\nrust-src\nrustfmt-x86_64-unknown-linux-gnu\n";
        assert!(has_component(list, "miri"));
        assert!(has_component(list, "rust-src"));
        assert!(!has_component(list, "rustf"), "rustfmt is another");
        assert!(!has_component("", "miri"));
    }

    #[test]
    fn dpkg_states() {
        assert!(is_installed("ii "));
        assert!(is_installed("hi "));
        assert!(!is_installed("rc "));
        assert!(!is_installed("un "));
        assert!(!is_installed("iU "));
        assert!(!is_installed("iiR"));
        assert!(!is_installed(""));
    }
}
