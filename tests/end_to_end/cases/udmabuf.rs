// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! One memory with two faces: a dma-buf and a memfd of the same pages.

use berth_end_to_end::facilities::{missing, missing_any, Facility};
use berth_end_to_end::harness::{Client, Device, APP, OTHER_APP};
use berth_end_to_end::protocol::{Answer, Ask, Descriptor, Handle, Held, Hold};
use berth_kernel::memfd::Memfd;
use nix::sys::signal::{kill, Signal};
use nix::unistd::Pid;

use crate::flag::{FALLBACK_HEAP, READ_ONLY_VIEW, STRICT_HEAP};
use crate::{code, format};

const EPERM: i32 = 1;
const EACCES: i32 = 13;

fn start() -> (Device, Client) {
    let device = Device::start();
    let client = device.client(APP).with_session();
    (device, client)
}

fn assert_cannot_be_written(client: &Client, handle: Handle) {
    let roads = client.write_roads(handle);
    // The memfd is sealed, whatever the descriptor is open for.
    assert_eq!((roads.map, roads.write), (EPERM, EPERM), "{roads:?}");
    assert!([EACCES, EPERM].contains(&roads.reopen) && roads.grow != 0, "{roads:?}");
}

#[test]
fn a_region_of_udmabuf_is_a_memfd_and_a_dma_buf_of_the_same_pages() {
    if missing(Facility::Udmabuf) {
        return;
    }
    let (device, client) = start();
    let before = device.service_descriptors();
    let asked =
        Descriptor::region(10_000).named("both").from_heap("udmabuf").with_flags(STRICT_HEAP);
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
    let image = Descriptor::image(64, 64, format::RGBA_8888).with_flags(READ_ONLY_VIEW);
    let image = producer.allocate_one(&image);
    assert!(image.info.dma_buf && image.info.heap == "udmabuf", "{image:?}");
    assert_eq!(image.info.flags & FALLBACK_HEAP, 0, "it is the heap that views come from");
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
    let Held { handle, info } =
        client.allocate_one(&Descriptor::linear(4096).with_flags(READ_ONLY_VIEW));
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
    let region =
        client.allocate(&Descriptor::region(4096).with_flags(READ_ONLY_VIEW), 1).unwrap_err();
    assert_eq!(region.code, code::UNSUPPORTED, "{}", region.message);
    if missing(Facility::Udmabuf) {
        return;
    }
    for asked in [
        Descriptor::linear(4096).with_flags(READ_ONLY_VIEW),
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
    let refusal = client.allocate(&larger.clone().with_flags(STRICT_HEAP), 1).unwrap_err();
    assert_eq!(refusal.code, code::TOO_LARGE);
    let limit = format!("at most {told} in one buffer of heap udmabuf");
    assert!(refusal.message.contains(&limit), "{}", refusal.message);
    let instead = client.allocate_one(&larger).info;
    assert!(instead.heap != "udmabuf" && instead.flags & FALLBACK_HEAP != 0, "{instead:?}");
    let view = client.allocate(&larger.with_flags(READ_ONLY_VIEW), 1).unwrap_err();
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

/// A client that may have one buffer, and one that is a memfd and a dma-buf.
fn start_with_one(asked: &Descriptor) -> (Device, Client, Held) {
    let device = Device::start_with_policy(&format!("uid {APP} buffers 1"));
    let client = device.client(APP).with_session();
    let held = client.allocate_one(asked);
    (device, client, held)
}

/// That a buffer counts, which was freed, until `let_go`.
fn assert_counts_until(device: &Device, client: &Client, let_go: impl FnOnce()) {
    device.await_figures("it lingers", |now| (now.buffers, now.lingering) == (0, 1));
    let refusal = client.allocate(&Descriptor::region(4096), 1).unwrap_err();
    assert_eq!(refusal.code, code::TOO_MANY_BUFFERS, "{}", refusal.message);
    let_go();
    let next = client.allocate_one(&Descriptor::region(4096));
    device.await_figures("it is gone", |now| (now.buffers, now.lingering) == (1, 0));
    client.drop_buffer(next.handle);
}

#[test]
fn a_freed_region_with_a_dma_buf_counts_while_only_its_memfd_is_held() {
    if missing(Facility::Udmabuf) {
        return;
    }
    let asked = Descriptor::region(4096).from_heap("udmabuf").with_flags(STRICT_HEAP);
    for hold in [Hold::Duplicate, Hold::Map] {
        let (device, client, region) = start_with_one(&asked);
        let held = client.hold(hold(region.handle));
        client.drop_buffer(region.handle);
        assert_counts_until(&device, &client, || {
            client.hold(Hold::LetGo(held));
        });
    }
    // In a process that the service knows nothing of, and that outlives its client.
    let (device, client, region) = start_with_one(&asked);
    let child = Pid::from_raw(client.hold(Hold::Fork) as i32);
    client.drop_buffer(region.handle);
    device.await_figures("it lingers", |now| (now.buffers, now.lingering) == (0, 1));
    kill(child, Signal::SIGKILL).expect("SIGKILL");
    device.await_figures("it is gone", |now| (now.buffers, now.lingering) == (0, 0));
}

#[test]
fn a_freed_buffer_counts_while_only_its_view_is_held() {
    if missing(Facility::Udmabuf) {
        return;
    }
    let asked = Descriptor::linear(4096).with_flags(READ_ONLY_VIEW);
    let (device, client, buffer) = start_with_one(&asked);
    let view = client.get(buffer.info.id, true).unwrap();
    let held = client.hold(Hold::Duplicate(view.handle));
    client.drop_buffer(view.handle);
    client.drop_buffer(buffer.handle);
    assert_counts_until(&device, &client, || {
        client.hold(Hold::LetGo(held));
    });

    let buffer = client.allocate_one(&asked);
    let view = client.second(buffer.handle);
    client.write(buffer.handle, 0, b"seen");
    client.ask(Ask::KeepMapped(view)).unwrap();
    client.drop_buffer(view);
    client.drop_buffer(buffer.handle);
    assert_counts_until(&device, &client, || {
        assert_eq!(client.ask(Ask::ReadKept(4)), Ok(Answer::Bytes(b"seen".to_vec())));
        client.ask(Ask::Unmap).unwrap();
    });
}

#[test]
fn a_buffer_with_a_view_that_a_client_closed_and_never_freed_is_taken_back() {
    if missing(Facility::Udmabuf) {
        return;
    }
    let (device, client, buffer) =
        start_with_one(&Descriptor::linear(4096).with_flags(READ_ONLY_VIEW));
    client.ask(Ask::Forget(buffer.handle)).unwrap();
    device.await_figures("it is taken back", |now| now.taken_back == 1);
    client.allocate_one(&Descriptor::region(4096));
}

/// Whether this kernel tells that a memfd is open to be read (CONFIG_IMA).
fn are_readers_seen() -> bool {
    let memfd = Memfd::create("probe", 4096).expect("a memfd");
    let _reader = memfd.open_read_only().expect("a reader");
    memfd.has_other_writers().expect("a lease or none")
}

#[test]
fn who_only_reads_a_freed_region_with_a_dma_buf_keeps_it_charged_or_reads_zeros() {
    if missing(Facility::Udmabuf) {
        return;
    }
    let asked = Descriptor::region(4096).from_heap("udmabuf").with_flags(STRICT_HEAP);
    let (device, client, region) = start_with_one(&asked);
    client.write(region.handle, 0, b"contents");
    let reader = client.get(region.info.id, true).unwrap();
    client.ask(Ask::KeepMapped(reader.handle)).unwrap();
    let sealed = client.ask(Ask::SealAlone(region.handle)).unwrap();
    assert_eq!(sealed, Answer::Count(EPERM as usize), "it could not be emptied");
    client.drop_buffer(reader.handle);
    client.drop_buffer(region.handle);
    let kept = || client.ask(Ask::ReadKept(8)).unwrap();
    if are_readers_seen() {
        assert_counts_until(&device, &client, || {
            assert_eq!(kept(), Answer::Bytes(b"contents".to_vec()));
            client.ask(Ask::Unmap).unwrap();
        });
    } else {
        device.await_true("its pages are gone", || {
            (kept() == Answer::Bytes(vec![0; 8])).then_some(())
        });
        device.await_figures("it is gone", |now| (now.buffers, now.lingering) == (0, 0));
    }
}
