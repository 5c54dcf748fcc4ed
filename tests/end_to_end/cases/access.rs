// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! CPU access, between processes and nested.

use berth_end_to_end::harness::{Client, Device, APP, OTHER_APP};
use berth_end_to_end::protocol::{Answer, Ask, Descriptor, Handle};

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
fn a_range_is_mapped_to_read_at_any_offset_and_nothing_beside_it() {
    let device = Device::start();
    let owner = device.client(APP).with_session();
    let reader = device.client(OTHER_APP).with_session();
    let bytes: Vec<u8> = (0..10_000).map(|at: u32| (at % 251) as u8).collect();
    for asked in [Descriptor::linear(10_000), Descriptor::region(10_000)] {
        let ours = owner.allocate_one(&asked);
        owner.write(ours.handle, 0, &bytes);
        // Whoever may only read can, too; of a dma-buf everybody may write.
        let read_only = !ours.info.dma_buf;
        let token = owner.share_for(ours.handle, OTHER_APP as i32, 1, 60_000, read_only).unwrap();
        let theirs = reader.acquire(token).unwrap();
        look_at_ranges(&owner, ours.handle, &bytes);
        look_at_ranges(&reader, theirs.handle, &bytes);
    }
}

fn look_at_ranges(client: &Client, handle: Handle, bytes: &[u8]) {
    for range in [0..10_000, 0..1, 4095..4097, 4097..10_000, 8191..9999, 9999..10_000] {
        let (from, to) = (range.start as usize, range.end as usize);
        let read = client.ask(Ask::ReadRange(handle, range, 0, to - from)).unwrap();
        assert_eq!(read, Answer::Bytes(bytes[from..to].to_vec()), "{from}..{to}");
    }
    for (offset, length) in [(0, 101), (99, 2), (usize::MAX, 1)] {
        let message = client.fails(Ask::ReadRange(handle, 100..200, offset, length));
        assert!(message.contains("leave a mapping of 100"), "{message}");
    }
    for range in [0..10_001, 9_999..10_001, 10_001..10_002, 1..u64::MAX] {
        let message = client.fails(Ask::ReadRange(handle, range.clone(), 0, 1));
        assert!(message.contains("leave a buffer of 10000"), "{range:?}: {message}");
    }
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
