// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! What the service says it can do, held against what it then does.

use std::path::Path;

use berth_end_to_end::facilities::{missing, Facility, CMA_HEAPS};
use berth_end_to_end::harness::{dma_heaps, Device, APP};
use berth_end_to_end::protocol::{Descriptor, HeapTold, Shape};

use crate::flag::FALLBACK_HEAP;
use crate::format;

/// `HeapClass.SECURE`, which takes a usage of its own.
const SECURE: i32 = 3;
/// `BufferUsage.GPU_CUBE_MAP`, which wants six square layers.
const GPU_CUBE_MAP: i64 = 1 << 25;

#[test]
fn the_heaps_are_those_of_the_kernel() {
    let device = Device::start();
    let client = device.client(APP).with_session();
    let heaps = client.capabilities().heaps;
    let image = client.allocate_one(&Descriptor::image(64, 64, format::RGBA_8888)).info;
    let is_there = |name: &str| heaps.iter().any(|heap| heap.name == name);
    for name in dma_heaps() {
        assert!(is_there(&name), "{name} is not in {heaps:?}");
    }
    // None is made up: each that is no dma-heap has its driver, and every one of those is there.
    let of_driver = |heap: &HeapTold| match heap.name.as_str() {
        "memfd" => None,
        "ashmem" => Some("/dev/ashmem"),
        "udmabuf" => Some("/dev/udmabuf"),
        name if name.starts_with("ion_") || name.starts_with("ion-") => Some("/dev/ion"),
        _ => Some("/dev/dma_heap"),
    };
    let drivers: Vec<_> = heaps.iter().filter_map(of_driver).collect();
    for driver in ["/dev/ashmem", "/dev/udmabuf", "/dev/ion", "/dev/dma_heap"] {
        assert_eq!(drivers.contains(&driver), Path::new(driver).exists(), "{driver}: {heaps:?}");
    }
    assert!(is_there("memfd"));
    if Facility::DmaHeapSystem.is_here() {
        assert_eq!((heaps[0].name.as_str(), heaps[0].dma_buf), ("system", true));
        assert!(image.dma_buf && image.flags & FALLBACK_HEAP == 0, "{image:?}");
    } else {
        assert!(!image.dma_buf && image.flags & FALLBACK_HEAP != 0, "{image:?}");
    }
    let region = client.allocate_one(&Descriptor::region(4096)).info;
    assert!(!region.dma_buf && region.flags & FALLBACK_HEAP == 0, "{region:?}");
}

#[test]
fn every_listed_heap_format_and_usage_allocates() {
    let device = Device::start();
    let client = device.client(APP).with_session();
    let capabilities = client.capabilities();
    let usages: Vec<i64> =
        (0..64).map(|bit| 1 << bit).filter(|bit| capabilities.usage & bit != 0).collect();
    let check = |descriptor: Descriptor| {
        // A lone bit of a CPU field may be no value of it.
        let supported = client.is_supported(&descriptor);
        let allocated = client.allocate(&descriptor, 1);
        assert_eq!(supported, allocated.is_ok(), "{descriptor:?}: {allocated:?}");
        if let Ok(held) = allocated {
            client.drop_buffer(held[0].handle);
        }
        supported
    };
    for HeapTold { name: heap, class, .. } in &capabilities.heaps {
        if *class == SECURE {
            continue;
        }
        for &format in &capabilities.formats {
            let height = if format == format::BLOB { 1 } else { 48 };
            let image = Descriptor::image(48, height, format).from_heap(heap);
            assert!(check(image), "format {format:#x} of heap {heap}");
        }
        for &usage in &usages {
            let layers = if usage == GPU_CUBE_MAP { 6 } else { 1 };
            let shape = Shape::Image(32, 32, layers, format::RGBA_8888);
            let image = Descriptor { shape, ..Descriptor::linear(0) };
            let supported = check(image.for_usage(usage).from_heap(heap));
            assert!(supported || [1, 1 << 4].contains(&usage), "usage {usage:#x} of heap {heap}");
        }
        check(Descriptor::linear(4096).from_heap(heap));
        check(Descriptor::region(4096).from_heap(heap));
    }
}

#[test]
fn what_is_not_supported_does_not_allocate() {
    let device = Device::start();
    let client = device.client(APP).with_session();
    let unsupported = [
        Descriptor::linear(0),
        Descriptor::linear(-1),
        Descriptor::region(i64::MAX),
        Descriptor::image(0, 1, format::RGBA_8888),
        Descriptor::image(64, 64, 0),
        Descriptor::image(64, 2, format::BLOB),
        Descriptor::linear(4096).for_usage(1 << 40),
        Descriptor::linear(4096).from_heap("no such heap"),
        Descriptor { options: vec![("tiling".to_owned(), 1)], ..Descriptor::linear(4096) },
        Descriptor::linear(4096).named("a\nb"),
    ];
    for descriptor in unsupported {
        assert!(!client.is_supported(&descriptor), "{descriptor:?}");
        assert!(client.allocate(&descriptor, 1).is_err(), "{descriptor:?}");
    }
}

#[test]
fn the_contiguous_heap_answers_to_every_name_it_has_had() {
    if missing(Facility::Cma) {
        return;
    }
    let device = Device::start();
    let client = device.client(APP).with_session();
    let there = dma_heaps().into_iter().find(|name| CMA_HEAPS.contains(&name.as_str()));
    for name in CMA_HEAPS {
        let asked = client.allocate(&Descriptor::linear(4096).from_heap(name), 1);
        assert_eq!(Some(asked.unwrap()[0].info.heap.clone()), there, "{name}");
    }
}

#[test]
fn for_everything_that_can_be_asked_the_service_does_what_it_says() {
    let device = Device::start();
    let client = device.client(APP).with_session();
    let descriptors = device.service_descriptors();
    let sweep = client.sweep();
    assert!(sweep.wrong.is_empty(), "{} of {}: {:#?}", sweep.wrong.len(), sweep.asked, sweep.wrong);
    assert!(sweep.allocated > 0 && sweep.allocated < sweep.asked, "{sweep:?}");
    device.await_descriptors(descriptors);
    assert_eq!(device.figures().buffers, 0);
}
