// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! CPU access, between processes and nested.

use berth_end_to_end::harness::{Device, APP, OTHER_APP};
use berth_end_to_end::protocol::{Answer, Ask, Descriptor};

#[test]
fn what_is_written_under_one_access_is_read_under_the_next_and_by_another_process() {
    let device = Device::start();
    let writer = device.client(APP).with_session();
    let reader = device.client(OTHER_APP).with_session();
    let ours = writer.allocate_one(&Descriptor::linear(1 << 16));
    let theirs = reader.acquire(writer.share(ours.handle, OTHER_APP)).unwrap();
    for round in 1..=20u8 {
        writer.fill(ours.handle, 0, 1 << 16, round);
        assert!(writer.all_bytes_are(ours.handle, round));
        assert!(reader.all_bytes_are(theirs.handle, round));
        reader.write(theirs.handle, 777, b"and back");
        assert_eq!(writer.read(ours.handle, 777, 8), b"and back");
    }
}

#[test]
fn brackets_of_cpu_access_nest() {
    let device = Device::start();
    let client = device.client(APP).with_session();
    let buffer = client.allocate_one(&Descriptor::linear(4096));
    client.ask(Ask::NestAccess(buffer.handle)).unwrap();
    assert_eq!(client.read(buffer.handle, 0, 10), b"still open");
}

#[test]
fn no_access_leaves_the_buffer() {
    let device = Device::start();
    let client = device.client(APP).with_session();
    // Asked for 5000 bytes, given two pages: what was not asked for is not mapped.
    let buffer = client.allocate_one(&Descriptor::linear(5000));
    for ask in [
        Ask::Write(buffer.handle, 4999, vec![1, 2]),
        Ask::Fill(buffer.handle, 0, 5001, 1),
        Ask::Read(buffer.handle, 5000, 1),
        Ask::Read(buffer.handle, usize::MAX, 2),
    ] {
        client.begin(&ask);
        match client.finish() {
            Answer::Failed(message) => assert!(message.contains("leave a mapping"), "{message}"),
            other => panic!("{ask:?}: {other:?}"),
        }
    }
    assert!(client.all_bytes_are(buffer.handle, 0));
}
