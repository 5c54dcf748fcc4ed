// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! berthctl, as a person calls it.

use berth_end_to_end::harness::Device;
use serde_json::Value;

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn berthctl_shows_allocates_and_says_why_not() {
    let device = Device::start();
    let heaps = device.berthctl(&["heaps"]);
    assert!(heaps.status.success(), "{heaps:?}");
    assert!(text(&heaps.stdout).contains("heap memfd"), "{heaps:?}");
    let images = device
        .berthctl(&["alloc", "--image", "640x480", "--format", "YV12", "--count", "2", "--json"]);
    let lines: Vec<Value> =
        text(&images.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2, "{images:?}");
    assert_eq!(lines[0]["size_bytes"], 640 * 480 * 3 / 2);
    assert_eq!(lines[0]["planes"].as_array().map(Vec::len), Some(3));
    let refused = device.berthctl(&["alloc", "--size", "999999G"]);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(text(&refused.stderr).contains("too large"), "{refused:?}");
    assert_eq!(device.berthctl(&["alloc"]).status.code(), Some(2));
    let dump = device.berthctl(&["dump", "--json"]);
    let dump: Value = serde_json::from_str(&text(&dump.stdout)).unwrap();
    assert_eq!(dump["totals"]["allocated_buffers"], 2);
    let stats = device.berthctl(&["stats"]);
    assert!(text(&stats.stdout).contains("0 buffers"), "{stats:?}");
}
