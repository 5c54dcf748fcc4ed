// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! `cargo xtask test`: the stages, one after another, all of them whatever becomes of the others.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::sync::mpsc::{self, Sender};
use std::time::{Duration, Instant};

use anyhow::{ensure, Context, Result};
use berth_facilities::{Facility, OTHER_LIBC_FOLDER, WITHOUT};

use crate::cache::Cache;
use crate::image::{self, Command as GuestCommand, Payload, Start};
use crate::lane::{self, Choice, Kind, Lane, Machine};
use crate::report::{Report, Tally};
use crate::vm::{self, Prepared};
use crate::workspace::{self, Executable, GUEST_TARGET};
use crate::{
    aidl, cuttlefish, demo, format, lazy, libgbinder, libtest, machine, miri, process, vts,
};

/// How long the tests of one stage may take on one lane.
const LANE_TIMEOUT: Duration = Duration::from_secs(1200);

/// The package of the fuzz target, a workspace of its own as cargo-fuzz wants it.
const FUZZ_PACKAGE: &str = "tests/fuzz/Cargo.toml";

const ANDROID_TARGETS: &[&str] = &["aarch64-linux-android", "x86_64-linux-android"];

/// What goes onto a device, and so must build for Android.
const DEVICE_PACKAGES: &[&str] = &[
    "vendor_berth_allocator",
    "hal_binder",
    "berth_kernel",
    "berth_layout",
    "berth_shared",
    "berth_service",
    "berth_client",
    "berthctl",
    "berth_demo",
];

const END_TO_END: &str = "berth_end_to_end";
/// The other process of its tests of shared structures.
const SHARED_PEER: &str = "berth-shared-peer";

/// Packages with unit tests that need a driver. They are ignored where the other unit tests run, and
/// run with those on the kernel of each VM.
const DRIVEN: &[&str] = &["berth_kernel", "berth_client"];

/// What `cargo xtask test` was asked for.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// A lane to run the kernel and end-to-end tests on; may be given again
    #[arg(long)]
    lane: Vec<Choice>,
    /// Leave out what does not depend on a lane: format, clippy, unit tests, Android, AIDL
    #[arg(long)]
    only_lanes: bool,
    /// Passed to the tests: part of a test's name, or libtest's options
    #[arg(last = true, value_name = "FILTER")]
    filter: Vec<String>,
}

/// Runs it; answers the exit code.
pub fn run(options: &Options) -> Result<u8> {
    let mut report = Report::default();
    let mut staged = |name: &str, lane: Option<Lane>, action: &dyn Fn() -> Result<Tally>| {
        eprintln!("xtask: === {name}");
        let started = Instant::now();
        let tally = action().unwrap_or_else(|error| Tally::failure(format!("{error:#}")));
        eprintln!("xtask: === {name}: {}", tally.result());
        report.add(name, lane.map(|lane| lane.name), tally, started.elapsed());
    };
    if !options.only_lanes {
        let mut stage = |name: &str, action: &dyn Fn() -> Result<Tally>| staged(name, None, action);
        stage("format", &|| Ok(Tally::check(format::check())));
        stage("clippy", &|| {
            machine::ensure_component("clippy", "clippy")?;
            let arguments = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
            Ok(Tally::check(cargo(&arguments)))
        });
        // Its package is no part of the workspace: without this nobody sees that it, or its lock file,
        // is out of date.
        stage("fuzz target", &|| {
            let target = workspace::target_folder()?.join("fuzz/check");
            let target = target.to_str().context("a target folder that is no text")?;
            let package = ["--locked", "--manifest-path", FUZZ_PACKAGE, "--target-dir", target];
            let arguments = [&["clippy"], &package[..], &["--", "-D", "warnings"]].concat();
            Ok(Tally::check(cargo(&arguments)))
        });
        stage("unit and property tests", &|| unit_tests(&options.filter));
        stage("shared memory under miri", &|| miri::tests(&options.filter));
        for target in ANDROID_TARGETS {
            stage(&format!("check for {target}"), &|| {
                machine::ensure_target(target)?;
                let mut arguments = vec!["check", "--target", target];
                arguments.extend(DEVICE_PACKAGES.iter().flat_map(|package| ["-p", package]));
                Ok(Tally::check(cargo(&arguments)))
            });
        }
        stage("aidl check", &|| Ok(Tally::check(aidl::check())));
    }
    for lane in lane::chosen(&options.lane) {
        if let Kind::Vm(vm) = &lane.kind {
            staged(
                &format!("kernel tests, lane {}", lane.name),
                Some(lane),
                &|| match vm.selinux {
                    false => drivers_in_the_vm(lane, vm, &options.filter),
                    true => Ok(Tally::left_out("the kernel is lane modern's, and these run there")),
                },
            );
        }
        // Its program takes one name at most, as AOSP's test runner gives it.
        for filter in options.filter.chunks(1).chain(options.filter.is_empty().then_some(&[][..])) {
            staged(&format!("VTS, lane {}", lane.name), Some(lane), &|| match &lane.kind {
                Kind::Host => vts::on_this_machine(filter),
                Kind::Vm(vm) => vts::in_the_vm(lane, vm, filter),
            });
        }
        if let (Kind::Vm(vm), true) = (&lane.kind, options.filter.is_empty()) {
            staged(
                &format!("lazy service, lane {}", lane.name),
                Some(lane),
                &|| {
                    match vm.selinux {
                false => Ok(Tally::check(lazy::in_the_vm(lane))),
                true => Ok(Tally::left_out(
                    "it takes rsbinder's service manager to start it, which asks nobody of SELinux",
                )),
            }
                },
            );
        }
        if (lane.kind == Kind::Host || lane.name == lane::DEFAULT_VM) && options.filter.is_empty() {
            staged(&format!("demos, lane {}", lane.name), Some(lane), &|| {
                Ok(Tally::check(match &lane.kind {
                    Kind::Host => demo::check_on_this_machine(),
                    Kind::Vm(_) => demo::check_in_the_vm(lane),
                }))
            });
        }
        if lane.name == lane::DEFAULT_VM && options.filter.is_empty() {
            staged(&format!("Cuttlefish's script, lane {}", lane.name), Some(lane), &|| {
                Ok(Tally::check(cuttlefish::in_the_vm(lane)))
            });
        }
        staged(&format!("end-to-end, lane {}", lane.name), Some(lane), &|| match &lane.kind {
            Kind::Host => on_this_machine(lane, &options.filter),
            Kind::Vm(vm) => in_the_vm(lane, vm, &options.filter),
        });
    }
    println!("\n{}", report.text());
    Ok(u8::from(report.failed()))
}

fn cargo(arguments: &[&str]) -> Result<()> {
    let line = format!("cargo {}", arguments.join(" "));
    eprintln!("xtask: {line}");
    let status = workspace::cargo()
        .args(arguments)
        .status()
        .with_context(|| format!("cannot start `{line}`"))?;
    ensure!(status.success(), "`{line}` failed ({status}); what it said is above");
    Ok(())
}

fn unit_tests(filter: &[String]) -> Result<Tally> {
    machine::ensure_packages(berth_platform_policy::PACKAGES)?;
    let arguments = ["test", "--workspace", "--exclude", END_TO_END];
    // Built without the limit.
    cargo(&[&arguments[..], &["--no-run"]].concat())?;
    let mut command = workspace::cargo_within(LANE_TIMEOUT);
    command.args(arguments).args(["--no-fail-fast", "--"]);
    let (output, success) = process::watched(command.args(filter))?;
    Ok(Tally::tests(libtest::summary(&output), success, None, !filter.is_empty()))
}

fn on_this_machine(lane: Lane, filter: &[String]) -> Result<Tally> {
    let packages = ["-p", "berth_service", "-p", "berthctl", "-p", END_TO_END];
    let programs = workspace::build(&[&["build", "--bins"], packages.as_slice()].concat())?;
    let service = workspace::named(&programs, "berth-allocator-service")?;
    let folder = service.parent().context("the HAL was built nowhere")?;
    let tests = tests(&[END_TO_END], &[])?;
    let foreign = folder_of_another_c_library()?;
    let mut everything = String::new();
    let mut all_succeeded = true;
    // The tests give each process a user id of its own.
    let root = machine::root_prefix().context(
        "these tests give each process a user id of its own, which takes root, and there is no \
         sudo here that works without being asked; run this as root",
    )?;
    for test in &tests {
        // timeout ends the test's children with it.
        let mut words: Vec<OsString> = root.iter().map(OsString::from).collect();
        words.extend(["timeout".into(), "--kill-after=10".into()]);
        words.extend([LANE_TIMEOUT.as_secs().to_string().into(), "env".into()]);
        words.extend([format!("BERTH_LANE={}", lane.name).into(), "BERTH_TRANSPORT=rpc".into()]);
        words.push([OsString::from("BERTH_BIN_DIR="), folder.into()].into_iter().collect());
        let variable = OsString::from(format!("{OTHER_LIBC_FOLDER}="));
        words.push([variable, foreign.clone().into()].into_iter().collect());
        words.extend([test.path.clone().into(), "--test-threads=1".into()]);
        words.extend(filter.iter().map(OsString::from));
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).current_dir(workspace::root()?);
        let (output, success) = process::watched(&mut command)?;
        everything += &output;
        all_succeeded &= success;
    }
    let sum = libtest::summary(&everything);
    Ok(Tally::tests(sum, all_succeeded, Some(tests.len()), !filter.is_empty()))
}

/// Builds the peer of the tests of shared structures with the guest's C library; its folder.
fn folder_of_another_c_library() -> Result<PathBuf> {
    machine::ensure_target(GUEST_TARGET)?;
    let options = ["build", "--bin", SHARED_PEER, "--target", GUEST_TARGET, "-p", END_TO_END];
    let peer = workspace::named(&workspace::build(&options)?, SHARED_PEER)?.to_owned();
    Ok(peer.parent().context("the peer was built nowhere")?.to_owned())
}

/// The tests of what stands closest to the kernel, with the drivers that they need.
fn drivers_in_the_vm(lane: Lane, vm: &Machine, filter: &[String]) -> Result<Tally> {
    let prepared = Prepared::new(lane)?;
    machine::ensure_target(GUEST_TARGET)?;
    let tests = tests(DRIVEN, &["--target", GUEST_TARGET])?;
    let mut options = filter.to_vec();
    if !options.iter().any(|option| option.ends_with("ignored")) {
        options.push("--include-ignored".to_owned());
    }
    let command = GuestCommand::Script(script(lane, vm, &tests, &options));
    let payload = Payload { start: Start::Nothing, command, files: vec![], links: vec![] };
    run_in_the_vm(&prepared, payload, &tests, filter)
}

fn in_the_vm(lane: Lane, vm: &Machine, filter: &[String]) -> Result<Tally> {
    let prepared = Prepared::new(lane)?;
    let packages = ["-p", "berth_service", "-p", "berthctl", "-p", END_TO_END];
    let mut files = vm::programs(&packages)?;
    files.extend(libgbinder::client(&Cache::open()?)?);
    // The tests themselves need no optimizer; what they test has had it.
    let tests = tests(&[END_TO_END], &["--target", GUEST_TARGET])?;
    let link = ("/vendor/bin/berth-allocator-service".to_owned(), image::SERVICE.to_owned());
    let command = GuestCommand::Script(script(lane, vm, &tests, filter));
    let payload = Payload { start: Start::Hub, command, files, links: vec![link] };
    run_in_the_vm(&prepared, payload, &tests, filter)
}

/// Boots a payload whose command runs the tests, and reads what they say.
pub fn run_in_the_vm(
    prepared: &Prepared,
    mut payload: Payload,
    tests: &[Executable],
    filter: &[String],
) -> Result<Tally> {
    payload.files.extend(tests.iter().map(|test| (guest_path(test), test.path.clone())));
    let (sender, receiver) = mpsc::channel();
    let out = Box::new(Tee(sender));
    let code = prepared.run(&payload, Some(LANE_TIMEOUT), out, Box::new(std::io::stderr()))?;
    let bytes: Vec<u8> = receiver.iter().flatten().collect();
    let sum = libtest::summary(&String::from_utf8_lossy(&bytes));
    let mut tally = Tally::tests(sum, code == 0, Some(tests.len()), !filter.is_empty());
    // 1 is a test that failed; everything else is told.
    if code > 1 {
        tally.failed = tally.failed.max(1);
        tally.notes.push(format!("the run in the VM ended with {code}"));
    }
    Ok(tally)
}

/// Builds the test programs of packages.
fn tests(packages: &[&str], options: &[&str]) -> Result<Vec<Executable>> {
    let mut arguments = vec!["test", "--no-run"];
    arguments.extend(packages.iter().flat_map(|package| ["-p", package]));
    arguments.extend(options);
    let mut tests: Vec<Executable> =
        workspace::build(&arguments)?.into_iter().filter(|built| built.test).collect();
    ensure!(!tests.is_empty(), "there are no tests in {}", packages.join(", "));
    tests.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(tests)
}

fn guest_path(test: &Executable) -> String {
    // With the hash that Cargo puts into the file's name: a library and a test may share theirs.
    let name = test.path.file_name().unwrap_or_default().to_string_lossy();
    format!("/data/tests/{name}")
}

/// What the guest runs: every test program, whatever becomes of the others.
pub fn script(lane: Lane, vm: &Machine, tests: &[Executable], options: &[String]) -> String {
    let without: Vec<&str> = vm.without.iter().copied().map(Facility::name).collect();
    let arguments: Vec<String> = options.iter().map(|word| process::quoted(word)).collect();
    let arguments = arguments.join(" ");
    let mut script = format!(
        "export BERTH_LANE={} BERTH_TRANSPORT=kernel BERTH_BIN_DIR=/vendor/bin {WITHOUT}={}\n\
         worst=0\n",
        lane.name,
        without.join(",")
    );
    if vm.selinux {
        // What the service reads has the label of its policy file's folder.
        script += &format!("export TMPDIR={}\n", image::policy_folder());
    }
    for test in tests {
        let program = process::quoted(&guest_path(test));
        script += &format!("echo; echo \"     Running {}\"\n", test.name);
        script += &format!("{program} --test-threads=1 {arguments} || worst=1\n");
    }
    script + "exit $worst"
}

/// Passes on to standard output and keeps a copy.
struct Tee(Sender<Vec<u8>>);

impl Write for Tee {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        // Nobody receives any more only when the run is over.
        let _ = self.0.send(bytes.to_vec());
        std::io::stdout().write_all(bytes).map(|()| bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stdout().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guest_runs_every_program() {
        let test = |name: &str| Executable {
            name: name.to_owned(),
            test: true,
            path: format!("/t/{name}-0f").into(),
        };
        let lane = lane::LANES[1];
        let Kind::Vm(vm) = &lane.kind else { panic!("lane {} is no VM", lane.name) };
        let vm = Machine { without: &[Facility::Ion, Facility::Vkms], ..*vm };
        let script = script(lane, &vm, &[test("a"), test("b")], &["my test".to_owned()]);
        assert!(script.contains("/data/tests/a-0f --test-threads=1 'my test' || worst=1\n"));
        assert!(script.contains("/data/tests/b-0f"));
        let exports = script.lines().next().unwrap();
        assert!(exports.starts_with("export BERTH_LANE=modern BERTH_TRANSPORT=kernel"));
        assert!(exports.ends_with(" BERTH_WITHOUT=ion,vkms"), "{exports}");
        assert!(script.ends_with("exit $worst"));
    }
}
