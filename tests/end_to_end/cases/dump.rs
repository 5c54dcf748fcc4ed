// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! The dump, for people and for programs.

use berth_end_to_end::harness::{Client, Device, APP, OTHER_APP};
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
        ["sessions: 1, buffers: 4, memory: 1 MiB", "camera provider", "uid 10001", "still capture"]
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
fn the_dump_shows_what_it_is_asked_for() {
    let device = Device::start();
    let (one, other) = (device.client(APP).with_session(), device.client(OTHER_APP).with_session());
    one.allocate(&Descriptor::region(5000).named("small"), 2).unwrap();
    other.allocate(&Descriptor::region(1 << 20).named("large"), 1).unwrap();
    let json = |args: &[&str]| -> Value {
        serde_json::from_str(&device.dump(&[&["--json"], args].concat())).unwrap()
    };
    let sessions = json(&["--sessions"]);
    assert_eq!(sessions["sessions"].as_array().map(Vec::len), Some(2));
    assert!(sessions["sessions"][0].get("buffers").is_none(), "{sessions}");
    let buffers = json(&["--buffers"]);
    assert_eq!(buffers["buffers"][0]["name"], "large");
    assert_eq!(buffers["buffers"][0]["uid"], OTHER_APP);
    assert_eq!(buffers["buffers"].as_array().map(Vec::len), Some(3));
    let of_one = json(&["--buffers", "--uid", &APP.to_string()]);
    assert_eq!(of_one["buffers"].as_array().map(Vec::len), Some(2));
    assert_eq!(buffers["uids"][0]["uid"], OTHER_APP, "the largest first");
    let heaps = buffers["heaps"].as_array().unwrap();
    let in_use: i64 = heaps.iter().filter_map(|heap| heap["bytes"].as_i64()).sum();
    assert_eq!(in_use, (1 << 20) + 2 * 8192);
    assert_eq!(buffers["totals"]["bytes"], in_use);
}

#[test]
fn refusals_are_counted_by_their_cause() {
    let device = Device::start();
    let client = device.client(APP).with_session();
    for _ in 0..2 {
        client.free(&[999]).unwrap_err();
    }
    client.allocate(&Descriptor::linear(1 << 50), 1).unwrap_err();
    let json: Value = serde_json::from_str(&device.dump(&["--json"])).unwrap();
    assert_eq!(json["refusals_by_cause"]["NOT_FOUND"], 2);
    assert_eq!(json["refusals_by_cause"]["TOO_LARGE"], 1);
    assert_eq!(json["totals"]["refusals"], 3);
    assert!(device.dump(&[]).contains("refused for NOT_FOUND: 2"));
}

#[test]
fn the_dump_helps_and_knows_what_it_does_not_know() {
    let device = Device::start();
    assert!(device.dump(&["--help"]).contains("--json"));
    let unknown = device.client(0).fails(Ask::Dump(vec!["--jsno".to_owned()]));
    assert!(unknown.contains("does not understand"), "{unknown}");
}

#[test]
fn an_application_may_not_dump() {
    let device = Device::start();
    let client = device.shell_client(APP);
    client.open("secret project").unwrap();
    client.begin(&Ask::Dump(Vec::new()));
    assert_refused(&client);
}

fn assert_refused(client: &Client) {
    match client.finish() {
        Answer::Failed(message) => assert!(message.contains("may not dump"), "{message}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn applications_that_ask_for_dumps_and_do_not_read_hold_nobody() {
    let device = Device::start();
    // More than the service has threads.
    let clients: Vec<_> = (0..12).map(|_| device.shell_client(APP)).collect();
    for client in &clients {
        client.begin(&Ask::DumpIntoFullPipe);
    }
    for client in &clients {
        assert_refused(client);
    }
    assert_eq!(device.figures().buffers, 0);
}
