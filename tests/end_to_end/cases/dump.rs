// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! The dump, for people and for programs.

use berth_end_to_end::harness::{Client, Device, APP};
use berth_end_to_end::protocol::{Answer, Ask, Descriptor};
use serde_json::Value;

#[test]
fn text_and_json_show_every_buffer_with_owner_and_identity() {
    let device = Device::start();
    let client = device.client(APP);
    client.open("camera provider").unwrap();
    let buffer = client.allocate_one(&Descriptor::linear(1 << 20).named("still capture"));
    client.allocate(&Descriptor::region(5000), 3).unwrap();

    let text = device.dump(&[]);
    for part in
        ["sessions: 1, buffers: 4, KiB: 1048", "camera provider", "uid 10001", "still capture"]
    {
        assert!(text.contains(part), "{part:?} in\n{text}");
    }
    let json: Value = serde_json::from_str(&device.dump(&["--json"])).unwrap();
    assert_eq!(json["totals"]["buffers"], 4);
    assert_eq!(json["totals"]["bytes"], (1 << 20) + 3 * 8192);
    let session = &json["sessions"][0];
    assert_eq!((&session["name"], &session["uid"]), (&"camera provider".into(), &APP.into()));
    let shown = &session["buffers"][0];
    assert_eq!(shown["id"], buffer.info.id);
    assert_eq!(shown["inode"], buffer.info.inode);
    assert_eq!(shown["device"], buffer.info.device);
    assert_eq!(shown["name"], "still capture");
    assert_eq!(shown["charged_uid"], APP);
    assert_eq!(session["buffers"].as_array().map(Vec::len), Some(4));
}

#[test]
fn the_dump_helps_and_knows_what_it_does_not_know() {
    let device = Device::start();
    assert!(device.dump(&["--help"]).contains("--json"));
    let unknown = device.dump(&["--jsno"]);
    assert!(unknown.contains("unknown arguments [\"--jsno\"]") && unknown.contains("--json"));
}

#[test]
fn an_application_may_not_dump() {
    let device = Device::start();
    let client = device.client(APP);
    client.open("secret project").unwrap();
    client.begin(&Ask::Dump(Vec::new()));
    assert_refused(&client);
}

fn assert_refused(client: &Client) {
    match client.finish() {
        Answer::Failed(message) => assert!(message.contains("PermissionDenied"), "{message}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn applications_that_ask_for_dumps_and_do_not_read_hold_nobody() {
    let device = Device::start();
    // More than the service has threads.
    let clients: Vec<_> = (0..12).map(|_| device.client(APP)).collect();
    for client in &clients {
        client.begin(&Ask::DumpIntoFullPipe);
    }
    for client in &clients {
        assert_refused(client);
    }
    assert_eq!(device.figures().buffers, 0);
}
