// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! The programs that the README shows.

use berth_end_to_end::harness::{Device, APP};

#[test]
fn the_ring_of_the_readme_passes_its_records_from_one_process_to_another() {
    let device = Device::start();
    let output = device.program_of("berth-readme-ring", APP).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let printed = String::from_utf8_lossy(&output.stdout);
    assert_eq!(printed, "1000 records, and the writer has left\n");
    device.await_figures("nothing is left", |now| (now.sessions, now.buffers) == (0, 0));
}
