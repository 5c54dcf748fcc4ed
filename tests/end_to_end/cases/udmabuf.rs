// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! One memory with two faces: a dma-buf and a memfd of the same pages.

use berth_end_to_end::facilities::{missing, missing_any, Facility};
use berth_end_to_end::harness::{Client, Device, APP, OTHER_APP};
use berth_end_to_end::protocol::{Ask, Descriptor, Handle, Held};

use crate::{code, format};

/// `AllocationFlag.STRICT_HEAP`.
const STRICT: i32 = 1;
/// `AllocationFlag.READ_ONLY_VIEW`.
const VIEW: i32 = 2;
/// `BufferInfo.FLAG_FALLBACK_HEAP`.
const FALLBACK: i32 = 1 << 1;
const EPERM: i32 = 1;
const EBADF: i32 = 9;
const EACCES: i32 = 13;

fn start() -> (Device, Client) {
    let device = Device::start();
    let client = device.client(APP).with_session();
    (device, client)
}

fn assert_cannot_be_written(client: &Client, handle: Handle) {
    let roads = client.write_roads(handle);
    assert_eq!((roads.map, roads.write), (EACCES, EBADF), "{roads:?}");
    assert!([EACCES, EPERM].contains(&roads.reopen) && roads.grow != 0, "{roads:?}");
}

#[test]
fn a_region_of_udmabuf_is_a_memfd_and_a_dma_buf_of_the_same_pages() {
    if missing(Facility::Udmabuf) {
        return;
    }
    let (device, client) = start();
    let before = device.service_descriptors();
    let asked = Descriptor::region(10_000).named("both").from_heap("udmabuf").with_flags(STRICT);
    let region = client.allocate_one(&asked);
    assert!(!region.info.dma_buf && region.info.allocation == 12_288, "{region:?}");
    let memfd = client.proof(region.handle);
    assert!(memfd.link.starts_with("/memfd:both") && memfd.dma_buf.is_none(), "{memfd:?}");
    let face = client.second(region.handle);
    let dma_buf = client.proof(face);
    let (size, _, exporter, name) = dma_buf.dma_buf.expect("a dma-buf");
    assert_eq!((size, exporter.as_str(), name.as_deref()), (12_288, "udmabuf", Some("both")));
    assert!(dma_buf.close_on_exec);
    assert_ne!(dma_buf.identity, memfd.identity);
    client.write(region.handle, 5000, b"by the CPU");
    assert_eq!(client.read(face, 5000, 10), b"by the CPU");
    client.write(face, 9000, b"by a device");
    assert_eq!(client.read(region.handle, 9000, 11), b"by a device");
    // One buffer, and two descriptors that the service keeps of it.
    assert_eq!(device.figures().buffers, 1);
    device.await_descriptors(before + 2);
    client.drop_buffer(face);
    client.drop_buffer(region.handle);
    device.await_descriptors(before);
}

#[test]
fn a_read_only_view_shows_what_is_written_and_cannot_be_written() {
    if missing(Facility::Udmabuf) {
        return;
    }
    let (device, producer) = start();
    let consumer = device.client(OTHER_APP).with_session();
    let image = Descriptor::image(64, 64, format::RGBA_8888).with_flags(VIEW);
    let image = producer.allocate_one(&image);
    assert!(image.info.dma_buf && image.info.heap == "udmabuf", "{image:?}");
    assert_eq!(image.info.flags & FALLBACK, 0, "it is the heap that views come from");
    // The producer's own view first.
    let view = producer.second(image.handle);
    assert_cannot_be_written(&producer, view);
    producer.write(image.handle, 0, b"first frame");
    assert_eq!(producer.read(view, 0, 11), b"first frame");
    // Then a consumer of another uid, who never sees the dma-buf.
    let token = producer.share_for(image.handle, OTHER_APP as i32, 1, 60_000, true).unwrap();
    let seen = consumer.acquire(token).unwrap();
    assert!(seen.info.read_only && !seen.info.dma_buf, "{seen:?}");
    let proof = consumer.proof(seen.handle);
    assert_eq!(proof.dma_buf, None);
    assert_eq!((seen.info.device as u64, seen.info.inode as u64), proof.identity);
    assert_eq!(consumer.read(seen.handle, 0, 11), b"first frame");
    assert_cannot_be_written(&consumer, seen.handle);
    producer.write(image.handle, 0, b"next  frame");
    assert_eq!(consumer.read(seen.handle, 0, 11), b"next  frame");
    let refusal = consumer.get(seen.info.id, false).unwrap_err();
    assert_eq!(refusal.code, code::UNSUPPORTED, "{}", refusal.message);
    // What the consumer holds outlives the producer.
    producer.kill();
    device.await_figures("the producer's session ends", |now| now.sessions == 1);
    assert_eq!(consumer.read(seen.handle, 0, 11), b"next  frame");
}

#[test]
fn a_second_get_gives_the_view_again_and_nothing_more() {
    if missing(Facility::Udmabuf) {
        return;
    }
    let (_device, client) = start();
    let Held { handle, info } = client.allocate_one(&Descriptor::linear(4096).with_flags(VIEW));
    client.write(handle, 0, b"once");
    let view = client.get(info.id, true).unwrap();
    assert!(!view.info.dma_buf && view.info.read_only, "{view:?}");
    assert_eq!(client.read(view.handle, 0, 4), b"once");
    assert_cannot_be_written(&client, view.handle);
    let whole = client.get(info.id, false).unwrap();
    assert!(whole.info.dma_buf);
    assert_eq!(client.read(client.second(whole.handle), 0, 4), b"once");
    assert_eq!(client.proof(whole.handle).identity, client.proof(handle).identity);
}

#[test]
fn a_view_of_a_region_and_sealing_of_a_dma_buf_are_refused() {
    let (_device, client) = start();
    let region = client.allocate(&Descriptor::region(4096).with_flags(VIEW), 1).unwrap_err();
    assert_eq!(region.code, code::UNSUPPORTED, "{}", region.message);
    if missing(Facility::Udmabuf) {
        return;
    }
    for asked in [
        Descriptor::linear(4096).with_flags(VIEW),
        Descriptor::linear(4096).from_heap("udmabuf"),
        Descriptor::region(4096).from_heap("udmabuf"),
    ] {
        let held = client.allocate_one(&asked);
        let refusal = client.seal(held.handle).unwrap_err();
        assert_eq!(refusal.code, code::UNSUPPORTED, "{}", refusal.message);
    }
}

#[test]
fn more_than_the_driver_takes_is_refused_by_name_or_comes_from_another_heap() {
    if missing(Facility::Udmabuf) {
        return;
    }
    let (_device, client) = start();
    let heaps = client.capabilities().heaps;
    let told = heaps.iter().find(|heap| heap.name == "udmabuf").expect("the heap").max_buffer;
    let larger = Descriptor::linear(told + 1).from_heap("udmabuf");
    let refusal = client.allocate(&larger.clone().with_flags(STRICT), 1).unwrap_err();
    assert_eq!(refusal.code, code::TOO_LARGE);
    let limit = format!("at most {told} in one buffer of heap udmabuf");
    assert!(refusal.message.contains(&limit), "{}", refusal.message);
    let instead = client.allocate_one(&larger).info;
    assert!(instead.heap != "udmabuf" && instead.flags & FALLBACK != 0, "{instead:?}");
    let view = client.allocate(&larger.with_flags(VIEW), 1).unwrap_err();
    assert_eq!(view.code, code::TOO_LARGE, "a view has no other heap: {}", view.message);
}

#[test]
fn a_region_of_which_only_the_memfd_is_held_is_not_taken_for_forgotten() {
    if missing_any(&[Facility::Udmabuf, Facility::DmaHeapSystem]) {
        return;
    }
    let (device, client) = start();
    let region = client.allocate_one(&Descriptor::region(4096).from_heap("udmabuf"));
    client.write(region.handle, 0, b"in use");
    // A mapping of the memfd is left; of the dma-buf there is nothing but the service's.
    client.ask(Ask::KeepMapped(region.handle)).unwrap();
    client.ask(Ask::Forget(region.handle)).unwrap();
    for round in 1..=2 {
        // When this one is taken back, the region has been looked at as often.
        let forgotten = client.allocate_one(&Descriptor::linear(4096));
        client.ask(Ask::Forget(forgotten.handle)).unwrap();
        device.await_figures("it is taken back", |now| now.taken_back >= round);
    }
    let again = client.get(region.info.id, false).unwrap();
    assert_eq!(client.read(again.handle, 0, 6), b"in use");
    assert_eq!(device.figures().taken_back, 2);
}
