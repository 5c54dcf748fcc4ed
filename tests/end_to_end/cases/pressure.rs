// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! That tasks wait for memory, whoever took it, is told to clients on every kernel that measures it,
//! with the rights that the service has there.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use berth_end_to_end::facilities::shortage::Shortage;
use berth_end_to_end::facilities::{missing_any, Facility};
use berth_end_to_end::harness::{Device, APP};
use berth_end_to_end::protocol::Ask;
use nix::sys::utsname::uname;
use serde_json::Value;

/// Where the kernel tells it.
const FILE: &str = "/proc/pressure/memory";
/// Nothing but stalls counts.
const NO_RESERVE: &str = "limit reserve-bytes 1M\n";

/// The file's mode while this is alive.
struct Mode(fs::Permissions);

impl Mode {
    fn set(mode: u32) -> Mode {
        let before = fs::metadata(FILE).expect(FILE).permissions();
        fs::set_permissions(FILE, fs::Permissions::from_mode(mode)).expect("a mode");
        Mode(before)
    }
}

impl Drop for Mode {
    fn drop(&mut self) {
        let _ = fs::set_permissions(FILE, self.0.clone());
    }
}

/// What the dump says of pressure, once the service knows what tells it.
fn told(device: &Device) -> Value {
    let dump: Value = serde_json::from_str(&device.dump(&["--json"])).expect("a dump in JSON");
    dump["pressure"].clone()
}

/// Whether a trigger needs a window of 2 seconds here, for those without privileges.
fn has_coarse_windows() -> bool {
    let release = uname().expect("a kernel").release().to_string_lossy().into_owned();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    let mut number = || numbers.next().and_then(Result::ok).expect("a version");
    (number(), number()) >= (6, 4)
}

/// What it takes to make memory short, and to change the file that tells it.
const SHORTAGE: &[Facility] =
    &[Facility::OwnMachine, Facility::Pressure, Facility::MemoryController];

#[test]
fn clients_hear_that_tasks_wait_for_memory_by_the_trigger_that_the_kernel_gives() {
    if missing_any(SHORTAGE) {
        return;
    }
    let device = Device::start_with_policy(NO_RESERVE);
    let window = if has_coarse_windows() { 2000 } else { 1000 };
    device.await_true("a trigger", || {
        let told = told(&device);
        (told["source"] == "trigger" && told["window_ms"] == window).then_some(())
    });
    assert_pressure_is_told(&device);
}

#[test]
fn clients_hear_it_too_where_the_service_may_only_read() {
    if missing_any(SHORTAGE) {
        return;
    }
    let _mode = Mode::set(0o444);
    let device = Device::start_with_policy(NO_RESERVE);
    device.await_true("readings", || (told(&device)["source"] == "readings").then_some(()));
    assert_pressure_is_told(&device);
}

#[test]
fn where_stalls_cannot_be_known_the_service_says_so() {
    if missing_any(&[Facility::OwnMachine, Facility::Pressure]) {
        return;
    }
    let _mode = Mode::set(0);
    let device = Device::start();
    device.await_true("nothing", || {
        let dump = device.dump(&[]);
        dump.contains("told by MemAvailable alone; changes: none").then_some(())
    });
    assert_eq!(told(&device)["source"], "available");
}

fn assert_pressure_is_told(device: &Device) {
    let client = device.client(APP).with_session();
    assert_eq!(told(device)["changes"].as_array().map(Vec::len), Some(0));
    let mut shortage = Shortage::new();
    shortage.suffer();
    let level = client.count(Ask::AwaitPressure(60_000));
    assert!(level > 0, "level {level}");
    shortage.relieve();
    // It may have become worse before it became better.
    while client.count(Ask::AwaitPressure(60_000)) != 0 {}
    let told = told(device);
    let levels: Vec<_> =
        told["changes"].as_array().expect("changes").iter().map(|one| &one["level"]).collect();
    assert!(levels.len() > 1 && levels[0] == "normal", "{told}");
}
