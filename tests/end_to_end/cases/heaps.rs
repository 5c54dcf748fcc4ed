// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Which heap serves, what is said of it, and what happens when it cannot.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use berth_end_to_end::facilities::{missing, Facility, CMA_HEAPS};
use berth_end_to_end::harness::{dma_heaps, Client, Device, APP, OTHER_APP};
use berth_end_to_end::protocol::{Descriptor, Handle, HeapTold};
use nix::sys::stat::{mknod, Mode, SFlag};

use crate::flag::{FALLBACK_HEAP, STRICT_HEAP};
use crate::{code, format};

/// `BufferUsage.GPU_TEXTURE`, without any use by the CPU.
const GPU: i64 = 1 << 8;
/// `BufferUsage.PROTECTED` of Gralloc.
const PROTECTED: i64 = 1 << 14;
/// `HeapClass.SHMEM`.
const SHMEM: i32 = 4;

fn start(policy: &str) -> (Device, Client) {
    let device = Device::start_with_policy(policy);
    let client = device.client(APP).with_session();
    (device, client)
}

fn strict(descriptor: Descriptor) -> Descriptor {
    descriptor.with_flags(STRICT_HEAP)
}

fn contiguous() -> String {
    let found = dma_heaps().into_iter().find(|name| CMA_HEAPS.contains(&name.as_str()));
    found.expect("the contiguous heap")
}

#[test]
fn every_heap_serves_by_its_name_and_the_kernel_agrees() {
    let (_device, client) = start("");
    for HeapTold { name, class, dma_buf, .. } in client.capabilities().heaps {
        let asked = match class {
            SHMEM => Descriptor::region(8192),
            _ => Descriptor::linear(8192),
        };
        let held = client.allocate_one(&strict(asked.from_heap(&name)));
        assert_eq!((&held.info.heap, held.info.flags & FALLBACK_HEAP), (&name, 0));
        let proof = client.proof(held.handle);
        assert_eq!(proof.dma_buf.is_some(), dma_buf, "{name}: {proof:?}");
        if let Some((size, _, exporter, label)) = proof.dma_buf {
            assert_eq!((size, label.as_deref()), (8192, Some("test")), "{name}");
            // 6.x names the heap; 5.10 only the facility.
            let known = [name.as_str(), "heap_helpers", "ion", "udmabuf"];
            assert!(known.contains(&exporter.as_str()), "{name}: {exporter}");
        }
        client.fill(held.handle, 0, 8192, 0x5a);
        assert!(client.all_bytes_are(held.handle, 0x5a), "{name}");
    }
}

#[test]
fn a_missing_heap_is_replaced_and_said_to_be_unless_the_request_is_strict() {
    let (_device, client) = start("");
    let there = client.capabilities().heaps;
    let is_there = |name: &str| there.iter().any(|heap| heap.name == name);
    let known = ["system", "udmabuf", "ashmem", "ion_dma_heap", "system-uncached", "system-secure"];
    let mut missing = known.into_iter().filter(|name| !is_there(name)).peekable();
    assert!(missing.peek().is_some(), "no kernel has them all");
    for name in missing {
        let asked = Descriptor::linear(4096).from_heap(name);
        // ION's uncached heap is of the class that `system-uncached` means.
        let Err(refusal) = client.allocate(&strict(asked.clone()), 1) else { continue };
        assert_eq!(refusal.code, code::HEAP_UNAVAILABLE, "{name}: {}", refusal.message);
        assert!(refusal.message.contains(name), "{}", refusal.message);
        let instead = client.allocate_one(&asked).info;
        assert!(instead.heap != name && instead.flags & FALLBACK_HEAP != 0, "{instead:?}");
    }
}

#[test]
fn a_name_that_means_no_heap_is_refused_in_either_case() {
    let (_device, client) = start("");
    for name in ["sistem", "", "System", "system ", "/dev/dma_heap/system"] {
        for flags in [0, STRICT_HEAP] {
            let asked = Descriptor::linear(4096).from_heap(name).with_flags(flags);
            let refusal = client.allocate(&asked, 1).unwrap_err();
            assert_eq!(refusal.code, code::HEAP_UNKNOWN, "{name:?}: {}", refusal.message);
            assert!(!client.is_supported(&asked));
        }
    }
}

#[test]
fn a_heap_that_is_full_refuses_or_is_replaced_and_gives_again_what_was_freed() {
    if missing(Facility::Cma) {
        return;
    }
    let name = contiguous();
    let (_device, client) = start("");
    let piece = Descriptor::linear(8 << 20).from_heap(&name);
    let mut held: Vec<Handle> = Vec::new();
    let refusal = loop {
        match client.allocate(&strict(piece.clone()), 1) {
            Ok(one) => held.push(one[0].handle),
            Err(refusal) => break refusal,
        }
    };
    assert!(!held.is_empty(), "the area has room for one piece: {}", refusal.message);
    assert_eq!(refusal.code, code::HEAP_REFUSED, "{}", refusal.message);
    assert!(refusal.message.contains(&name), "{}", refusal.message);
    assert!(client.is_supported(&strict(piece.clone())), "it is full, and not too small");
    let instead = client.allocate_one(&piece);
    assert_eq!(
        (instead.info.heap.as_str(), instead.info.flags & FALLBACK_HEAP),
        ("system", FALLBACK_HEAP)
    );
    // A batch is of one heap: what there was room for is given back before the next is tried.
    client.drop_buffer(held.pop().expect("a piece"));
    let batch = client.allocate(&piece, 3).unwrap();
    assert!(batch.iter().all(|one| one.info.heap == "system"), "{batch:?}");
    let again = client.allocate_one(&strict(piece));
    assert_eq!(again.info.heap, name);
}

#[test]
fn what_no_cpu_touches_comes_from_uncached_memory_where_there_is_any() {
    let (_device, client) = start("");
    let heaps = client.capabilities().heaps;
    let uncached = heaps.iter().find(|heap| heap.class == 1).map(|heap| heap.name.as_str());
    let system = heaps.iter().find(|heap| heap.class == 0).map(|heap| heap.name.as_str());
    let expected = uncached.or(system);
    let image = Descriptor::image(64, 64, format::RGBA_8888).for_usage(GPU);
    let info = client.allocate_one(&image).info;
    match expected {
        Some(name) => assert_eq!((info.heap.as_str(), info.flags & FALLBACK_HEAP), (name, 0)),
        None => assert_ne!(info.flags & FALLBACK_HEAP, 0),
    }
}

#[test]
fn a_heap_that_appears_is_offered_and_one_that_goes_is_not() {
    if missing(Facility::DmaHeapSystem) {
        return;
    }
    let node = fs::metadata("/dev/dma_heap/system").expect("the system heap's node");
    let (device, client) = start("");
    // Another node of the same driver, as a module that is loaded late would make.
    let late = Path::new("/dev/dma_heap/berth-late");
    let _ = fs::remove_file(late);
    let mode = Mode::from_bits_truncate(0o444);
    mknod(late, SFlag::S_IFCHR, mode, node.rdev()).expect("a node");
    let offered = || client.capabilities().heaps.iter().any(|heap| heap.name == "berth-late");
    device.await_true("the heap is offered", || offered().then_some(()));
    let held = client.allocate_one(&strict(Descriptor::linear(4096).from_heap("berth-late")));
    assert_eq!(held.info.heap, "berth-late");
    fs::remove_file(late).expect("its end");
    device.await_true("the heap is gone", || (!offered()).then_some(()));
    let asked = Descriptor::linear(4096).from_heap("berth-late");
    assert_eq!(client.allocate(&asked, 1).unwrap_err().code, code::HEAP_UNKNOWN);
    // What it gave stays, and can be shared.
    client.write(held.handle, 0, b"still here");
    let reader = device.client(OTHER_APP).with_session();
    let seen = reader.acquire(client.share(held.handle, OTHER_APP)).unwrap();
    assert_eq!(reader.read(seen.handle, 0, 10), b"still here");
}

#[test]
fn the_device_says_how_much_a_heap_gives_at_once() {
    let (_device, client) = start("heap memfd max-buffer 64K");
    let told = client.capabilities().heaps.into_iter().find(|heap| heap.name == "memfd").unwrap();
    assert_eq!(told.max_buffer, 64 << 10);
    client.allocate_one(&Descriptor::region(64 << 10));
    let asked = strict(Descriptor::region((64 << 10) + 1).from_heap("memfd"));
    let refusal = client.allocate(&asked, 1).unwrap_err();
    assert_eq!(refusal.code, code::TOO_LARGE);
    assert!(refusal.message.contains("65537 bytes, at most 65536"), "{}", refusal.message);
    assert!(!client.is_supported(&asked));
}

#[test]
fn the_device_says_which_heap_is_protected() {
    if missing(Facility::Cma) {
        return;
    }
    let name = contiguous();
    let (_device, client) = start(&format!("heap {name} class secure"));
    assert_ne!(client.capabilities().usage & PROTECTED, 0);
    let protected = Descriptor::linear(4096).for_usage(PROTECTED);
    let info = client.allocate_one(&protected).info;
    assert_eq!((info.heap, info.flags & FALLBACK_HEAP), (name.clone(), 0));
    // Nobody else gets any of it, and who asks for it gets no other.
    let readable = Descriptor::linear(4096).from_heap(&name);
    assert_eq!(client.allocate(&readable, 1).unwrap_err().code, code::UNSUPPORTED);
    let other = protected.from_heap("system");
    assert_eq!(client.allocate(&other, 1).unwrap_err().code, code::UNSUPPORTED);
}

#[test]
fn the_device_says_where_a_usage_is_served_from() {
    if missing(Facility::Cma) {
        return;
    }
    let name = contiguous();
    let (_device, client) = start("usage COMPOSER_OVERLAY contiguous system");
    // COMPOSER_OVERLAY
    let image = Descriptor::image(64, 64, format::RGBA_8888).for_usage(1 << 11 | 0x33);
    let info = client.allocate_one(&image).info;
    assert_eq!((info.heap, info.flags & FALLBACK_HEAP), (name, 0));
    let other = Descriptor::image(64, 64, format::RGBA_8888);
    assert_eq!(client.allocate_one(&other).info.heap, "system");
}

#[test]
fn the_device_says_how_rows_are_aligned() {
    let (_device, client) = start("stride base 512");
    let image = client.allocate_one(&Descriptor::image(64, 2, format::RGBA_8888)).info;
    assert_eq!(image.planes[0].stride, 512);
}

#[test]
fn with_a_mistake_in_its_policy_the_service_does_not_start_and_names_line_and_key() {
    for (policy, parts) in [
        ("# a comment\nheap memfd max-bufer 1M", ["line 2", "heap memfd: \"max-bufer\""]),
        ("heap linux,cma class contigous", ["line 1", "heap linux,cma class"]),
        ("stride gpu 100", ["line 1", "stride gpu"]),
        ("limit uid-bytes 1K\nlimit session-bytes 1M", ["line 2", "limit session-bytes"]),
        // Nothing is wrong with the line, but for the machine.
        ("limit reserve-bytes 1000000G", ["line 1", "limit reserve-bytes"]),
    ] {
        let ended = Device::fails_to_start(policy);
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(1), "{policy:?}: {said}");
        for part in parts {
            assert!(said.contains(part), "{policy:?}: {said}");
        }
    }
}

#[test]
fn a_uid_with_limits_of_its_own_has_those() {
    let (device, client) = start(&format!("uid {APP} buffers 3"));
    assert_eq!(client.allocate(&Descriptor::region(4096), 3).unwrap().len(), 3);
    let refusal = client.allocate(&Descriptor::region(4096), 1).unwrap_err();
    assert_eq!(refusal.code, code::TOO_MANY_BUFFERS);
    let limit = format!("uid {APP} uses 3 buffers of at most 3");
    assert!(refusal.message.contains(&limit), "{}", refusal.message);
    let other = device.client(OTHER_APP).with_session();
    assert_eq!(other.allocate(&Descriptor::region(4096), 4).unwrap().len(), 4);
}
