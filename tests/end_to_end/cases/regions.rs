// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Regions: sealed memory for CPUs, and payloads that no Binder call could carry.

use berth_end_to_end::facilities::{missing, Facility};
use berth_end_to_end::harness::{Client, Device, APP, OTHER_APP};
use berth_end_to_end::protocol::{Ask, Descriptor, WriteRoads};

use crate::code;
use crate::flag::{FALLBACK_HEAP, SEALED, STRICT_HEAP};

/// `HeapClass.SHMEM`.
const SHMEM: i32 = 4;

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
    assert_eq!(proof.touched, 0, "its pages are charged to whoever touches them first");
    assert!(client.all_bytes_are(region.handle, 0));
    client.write(region.handle, 8192, b"the last page");
    assert_eq!(client.proof(region.handle).touched, 12_288);
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

/// Regions of every heap that gives memory of CPUs and no dma-buf: they behave alike.
fn kinds(client: &Client) -> Vec<(String, bool)> {
    let heaps = client.capabilities().heaps;
    let of_cpus = heaps.into_iter().filter(|heap| heap.class == SHMEM);
    let kinds: Vec<_> = of_cpus.map(|heap| (heap.name, heap.read_only)).collect();
    assert_eq!(kinds.iter().any(|(name, _)| name == "ashmem"), Facility::Ashmem.is_here());
    kinds
}

fn region(bytes: i64, heap: &str) -> Descriptor {
    Descriptor::region(bytes).from_heap(heap).with_flags(STRICT_HEAP)
}

#[test]
fn a_region_of_any_kind_has_its_name_and_size_and_keeps_them() {
    let device = Device::start();
    let client = device.client(APP).with_session();
    for (heap, _) in kinds(&client) {
        let region = client.allocate_one(&region(10_000, &heap).named("payload"));
        assert!(!region.info.dma_buf && region.info.heap == heap, "{region:?}");
        assert_eq!((region.info.size, region.info.allocation), (10_000, 12_288), "{heap}");
        let proof = client.proof(region.handle);
        let told = (region.info.device as u64, region.info.inode as u64);
        assert!(told != (0, 0) && told == proof.identity, "{heap}: {told:?}, {proof:?}");
        assert!(proof.close_on_exec, "{heap}");
        assert!(proof.mapped_as.contains("payload"), "{heap}: {}", proof.mapped_as);
        assert!(client.all_bytes_are(region.handle, 0), "{heap}");
        client.fill(region.handle, 0, 10_000, 0x77);
        assert!(client.all_bytes_are(region.handle, 0x77), "{heap}");
        assert_ne!(client.write_roads(region.handle).grow, 0, "{heap}");
    }
}

#[test]
fn processes_share_a_region_of_any_kind_and_regions_share_nothing() {
    let device = Device::start();
    let sender = device.client(APP).with_session();
    let receiver = device.client(OTHER_APP).with_session();
    for (heap, _) in kinds(&sender) {
        let regions = sender.allocate(&region(4096, &heap), 16).unwrap();
        for (number, region) in regions.iter().enumerate() {
            sender.fill(region.handle, 0, 4096, number as u8);
        }
        let chosen = &regions[7];
        let seen = receiver.acquire(sender.share(chosen.handle, OTHER_APP)).unwrap();
        assert!(receiver.all_bytes_are(seen.handle, 7), "{heap}");
        receiver.write(seen.handle, 100, b"answer");
        assert_eq!(sender.read(chosen.handle, 100, 6), b"answer", "{heap}");
        for (number, region) in regions.iter().enumerate().filter(|(number, _)| *number != 7) {
            assert!(sender.all_bytes_are(region.handle, number as u8), "{heap}: {number}");
        }
        receiver.drop_buffer(seen.handle);
    }
}

#[test]
fn a_sealed_region_of_any_kind_is_read_only_for_everybody_and_for_good() {
    let device = Device::start();
    let owner = device.client(APP).with_session();
    let reader = device.client(OTHER_APP).with_session();
    for (heap, _) in kinds(&owner) {
        let region = owner.allocate_one(&region(8192, &heap));
        let early = reader.acquire(owner.share(region.handle, OTHER_APP)).unwrap();
        // The mapping that was there before writes on; no other ever will.
        let written = b"published".to_vec();
        owner.ask(Ask::SealWhileMapped(region.handle, written)).unwrap();
        assert_eq!(reader.read(early.handle, 0, 9), b"published", "{heap}");
        for (client, handle) in [(&owner, region.handle), (&reader, early.handle)] {
            let roads = client.write_roads(handle);
            assert!(roads.map == EPERM && roads.write != 0, "{heap}: {roads:?}");
            let reopened = client.proof(handle).link;
            assert!(roads.reopen != 0 || reopened.contains("ashmem"), "{heap}: {roads:?}");
        }
        owner.seal(region.handle).unwrap();
        let listed = &owner.list().unwrap()[0];
        assert!(listed.read_only && listed.flags & SEALED != 0, "{heap}: {listed:?}");
        let late = reader.acquire(owner.share(region.handle, OTHER_APP)).unwrap();
        assert!(late.info.read_only, "{heap}: {late:?}");
        assert_eq!(reader.read(late.handle, 0, 9), b"published", "{heap}");
        let refusal = owner.get(region.info.id, false).unwrap_err();
        assert_eq!(refusal.code, code::UNSUPPORTED, "{heap}: {}", refusal.message);
        owner.drop_buffer(region.handle);
        for held in [early, late] {
            reader.drop_buffer(held.handle);
        }
    }
}

#[test]
fn only_its_owner_seals_a_region() {
    let device = Device::start();
    let owner = device.client(APP).with_session();
    let taker = device.client(OTHER_APP).with_session();
    for (heap, _) in kinds(&owner) {
        let region = owner.allocate_one(&region(4096, &heap));
        let taken = taker.acquire(owner.share(region.handle, OTHER_APP)).unwrap();
        let refusal = taker.seal(taken.handle).unwrap_err();
        assert_eq!(refusal.code, code::UNSUPPORTED, "{heap}: {}", refusal.message);
        owner.write(region.handle, 0, b"still mine to write");
    }
}

#[test]
fn a_kind_of_region_says_whether_it_has_read_only_descriptors() {
    let device = Device::start();
    let client = device.client(APP).with_session();
    for (heap, read_only) in kinds(&client) {
        let region = client.allocate_one(&region(4096, &heap));
        match client.get(region.info.id, true) {
            Ok(reader) => {
                assert!(read_only, "{heap}");
                assert_eq!(client.write_roads(reader.handle).map, EACCES, "{heap}");
            }
            Err(refusal) => {
                assert!(!read_only && refusal.code == code::UNSUPPORTED, "{heap}: {refusal:?}");
                assert!(refusal.message.contains("ashmem"), "{}", refusal.message);
            }
        }
    }
}

#[test]
fn ashmem_serves_regions_where_there_is_no_memfd() {
    if missing(Facility::Ashmem) {
        return;
    }
    let device = Device::start_with_policy("heap memfd off");
    let client = device.client(APP).with_session();
    let region = client.allocate_one(&Descriptor::region(5000));
    assert_eq!((region.info.heap.as_str(), region.info.flags & FALLBACK_HEAP), ("ashmem", 0));
    client.write(region.handle, 4990, b"the end...");
    assert_eq!(client.read(region.handle, 4990, 10), b"the end...");
}
