// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Regions: sealed memory for CPUs, and payloads that no Binder call could carry.

use berth_end_to_end::harness::{Device, APP, OTHER_APP};
use berth_end_to_end::protocol::{Descriptor, WriteRoads};

use crate::code;

/// `F_SEAL_SHRINK | F_SEAL_GROW`; `F_SEAL_EXEC` comes with kernels that have it.
const SHRINK_AND_GROW: i32 = 0x2 | 0x4;
const EXEC: i32 = 0x20;
const EPERM: i32 = 1;
const EBADF: i32 = 9;
const EACCES: i32 = 13;

#[test]
fn a_region_is_a_sealed_memfd_of_exactly_the_size_asked_for() {
    let device = Device::start();
    let client = device.client(APP).with_session();
    let region = client.allocate_one(&Descriptor::region(10_000).named("payload"));
    let proof = client.proof(region.handle);
    assert!(proof.link.starts_with("/memfd:payload"), "{}", proof.link);
    assert_eq!(proof.identity, (region.info.device as u64, region.info.inode as u64));
    assert!(proof.close_on_exec);
    assert_eq!(proof.seals.expect("seals") & !EXEC, SHRINK_AND_GROW);
    assert!(!region.info.dma_buf && region.info.heap == "memfd");
    assert_eq!((region.info.size, region.info.allocation), (10_000, 12_288));
    assert!(client.all_bytes_are(region.handle, 0));
    let roads = client.write_roads(region.handle);
    // Of another uid than the service's, the client cannot open it anew, and nobody can grow it.
    assert_eq!(roads, WriteRoads { map: 0, reopen: EACCES, write: 0, grow: EPERM });
}

#[test]
fn ten_megabytes_cross_in_a_region() {
    let device = Device::start();
    let sender = device.client(APP).with_session();
    let receiver = device.client(OTHER_APP).with_session();
    let bytes: i64 = 10_000_000;
    let payload = sender.allocate_one(&Descriptor::region(bytes));
    sender.fill(payload.handle, 0, bytes as usize, 0xc3);
    sender.write(payload.handle, bytes as usize - 4, b"last");
    let received = receiver.acquire(sender.share(payload.handle, OTHER_APP)).unwrap();
    assert_eq!(received.info.size, bytes);
    assert_eq!(receiver.read(received.handle, bytes as usize - 6, 6), b"\xc3\xc3last");
    sender.write(payload.handle, bytes as usize - 4, &[0xc3; 4]);
    assert!(receiver.all_bytes_are(received.handle, 0xc3));
}

#[test]
fn a_read_only_region_is_turned_writable_by_no_road() {
    let device = Device::start();
    let owner = device.client(APP).with_session();
    let reader = device.client(OTHER_APP).with_session();
    let region = owner.allocate_one(&Descriptor::region(8192));
    owner.write(region.handle, 0, b"read me");
    let token = owner.share_for(region.handle, OTHER_APP as i32, 1, 60_000, true).unwrap();
    let seen = reader.acquire(token).unwrap();
    assert!(seen.info.read_only);
    assert_eq!(reader.read(seen.handle, 0, 7), b"read me");
    let roads = reader.write_roads(seen.handle);
    assert_eq!((roads.map, roads.reopen, roads.write), (EACCES, EACCES, EBADF), "{roads:?}");
    assert_ne!(roads.grow, 0);
    // Nor does the service help.
    let refusal = reader.get(seen.info.id, false).unwrap_err();
    assert_eq!(refusal.code, code::UNSUPPORTED, "{refusal:?}");
    let again = reader.get(seen.info.id, true).unwrap();
    assert_eq!(reader.write_roads(again.handle).map, EACCES);
    // The owner writes on, and the reader sees it.
    owner.write(region.handle, 0, b"changed");
    assert_eq!(reader.read(seen.handle, 0, 7), b"changed");
}

#[test]
fn a_dma_buf_is_never_said_to_be_read_only() {
    let device = Device::start();
    let client = device.client(APP).with_session();
    let buffer = client.allocate_one(&Descriptor::linear(4096));
    let share = client.share_for(buffer.handle, OTHER_APP as i32, 1, 1000, true);
    let get = client.get(buffer.info.id, true);
    if buffer.info.dma_buf {
        assert_eq!(share.unwrap_err().code, code::UNSUPPORTED);
        assert_eq!(get.unwrap_err().code, code::UNSUPPORTED);
    } else {
        // A memfd in its place can be.
        share.unwrap();
        assert_eq!(client.write_roads(get.unwrap().handle).map, EACCES);
    }
}
