// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! What a client gets when it allocates, and that nothing stays behind when it frees.

use std::collections::HashSet;

use berth_end_to_end::facilities::{missing, Facility};
use berth_end_to_end::harness::{Device, APP};
use berth_end_to_end::protocol::{Ask, Descriptor, Shape};

use crate::format;

#[test]
fn a_client_finds_the_service_and_gets_a_named_zeroed_dma_buf_of_the_heap() {
    if missing(Facility::DmaHeapSystem) {
        return;
    }
    let device = Device::start();
    let client = device.client(APP).with_session();
    let buffer = client.allocate_one(&Descriptor::linear(1 << 20).named("preview"));
    assert_eq!((buffer.info.size, buffer.info.allocation), (1 << 20, 1 << 20));
    let proof = client.proof(buffer.handle);
    assert_eq!(proof.identity, (buffer.info.device as u64, buffer.info.inode as u64));
    assert!(proof.close_on_exec);
    assert!(buffer.info.dma_buf && buffer.info.heap == "system", "{:?}", buffer.info);
    let (size, _, exporter, name) = proof.dma_buf.expect("a dma-buf");
    assert_eq!(size, 1 << 20);
    assert!(["system", "heap_helpers"].contains(&exporter.as_str()), "{exporter}");
    assert_eq!(name.as_deref(), Some("preview"));
    assert!(proof.mapped_as.starts_with("/dmabuf:preview"), "{}", proof.mapped_as);
    assert!(client.all_bytes_are(buffer.handle, 0));
}

#[test]
fn what_was_asked_for_can_be_read_back() {
    let device = Device::start();
    let client = device.client(APP).with_session();
    let asked = [
        Descriptor::linear(5000).named("linear"),
        Descriptor::region(123).named("region").for_usage(0),
        Descriptor { shape: Shape::Image(17, 9, 3, format::RGB_565), ..Descriptor::linear(0) },
        Descriptor::image(1920, 1080, format::YCBCR_420_888).for_usage(0x33 | 1 << 16),
    ];
    for descriptor in &asked {
        let info = client.allocate_one(descriptor).info;
        assert_eq!(info.descriptor, *descriptor);
        assert!(info.allocation >= info.size && info.allocation % 4096 == 0, "{info:?}");
        assert!(!info.read_only);
    }
    let listed: Vec<_> = client.list().unwrap().into_iter().map(|info| info.descriptor).collect();
    assert_eq!(listed, asked);
}

#[test]
fn buffers_of_a_batch_are_distinct() {
    let device = Device::start();
    let client = device.client(APP).with_session();
    let batch = client.allocate(&Descriptor::linear(4096), 64).unwrap();
    assert_eq!(batch.len(), 64);
    let ids: HashSet<i64> = batch.iter().map(|held| held.info.id).collect();
    let inodes: HashSet<_> = batch.iter().map(|held| client.proof(held.handle).identity).collect();
    assert_eq!((ids.len(), inodes.len()), (64, 64));
    client.fill(batch[0].handle, 0, 4096, 0xff);
    assert!(batch[1..].iter().all(|held| client.all_bytes_are(held.handle, 0)));
}

#[test]
fn get_gives_another_descriptor_of_the_same_memory() {
    let device = Device::start();
    let client = device.client(APP).with_session();
    let first = client.allocate_one(&Descriptor::linear(4096));
    let second = client.get(first.info.id, false).unwrap();
    assert_eq!(client.proof(first.handle).identity, client.proof(second.handle).identity);
    client.write(first.handle, 100, b"through one");
    assert_eq!(client.read(second.handle, 100, 11), b"through one");
    // A second handle frees nothing.
    client.drop_buffer(second.handle);
    assert_eq!(client.session_figures().unwrap().buffers, 1);
    client.drop_buffer(first.handle);
    assert_eq!(client.session_figures().unwrap().buffers, 0);
}

#[test]
fn a_long_name_is_kept_whole_by_the_service_and_cut_by_the_kernel() {
    let device = Device::start();
    let client = device.client(APP).with_session();
    let name = "ImageReader-1080x1920f23m3-12345-0 €";
    let buffer = client.allocate_one(&Descriptor::linear(4096).named(name));
    assert_eq!(buffer.info.descriptor.name, name);
    if let Some((.., kernel_name)) = client.proof(buffer.handle).dma_buf {
        assert_eq!(kernel_name.as_deref(), Some(&name[..31]));
    }
}

#[test]
fn a_long_list_is_read_in_parts() {
    let device = Device::start();
    let client = device.client(APP).with_session();
    let mut ids = Vec::new();
    for count in [64, 64, 22] {
        let batch = client.allocate(&Descriptor::region(1), count).unwrap();
        ids.extend(batch.iter().map(|held| held.info.id));
    }
    let listed: Vec<i64> = client.list().unwrap().iter().map(|info| info.id).collect();
    assert_eq!(listed, ids);
}

#[test]
fn planes_of_an_image_lie_apart_and_hold_what_is_written() {
    let device = Device::start();
    let client = device.client(APP).with_session();
    for format in [format::YV12, format::YCRCB_420_SP, format::YCBCR_420_888, format::RGBA_8888] {
        let image = client.allocate_one(&Descriptor::image(322, 242, format));
        let planes = image.info.planes.clone();
        for (value, plane) in (1..).zip(&planes) {
            let (start, length) = (plane.offset as usize, plane.size as usize);
            client.fill(image.handle, start, length, value);
        }
        for (value, plane) in (1..).zip(&planes) {
            let last_row = (plane.offset + plane.stride * (plane.height - 1)) as usize;
            assert_eq!(client.read(image.handle, plane.offset as usize, 1), [value]);
            let row = client.read(image.handle, last_row, plane.stride as usize);
            assert!(row.iter().all(|byte| *byte == value), "format {format:#x}");
        }
        client.drop_buffer(image.handle);
    }
    let blob = client.allocate_one(&Descriptor::image(100_000, 1, format::BLOB));
    assert_eq!(blob.info.size, 100_000);
}

#[test]
fn the_size_of_a_small_image_is_that_of_its_rows() {
    // What Gralloc's VTS asserts of 64x64 RGBA_8888 with CPU use.
    let device = Device::start();
    let client = device.client(APP).with_session();
    let image = client.allocate_one(&Descriptor::image(64, 64, format::RGBA_8888));
    let plane = image.info.planes[0];
    assert!(plane.stride >= 64 * 4);
    assert!(plane.stride * 64 <= image.info.allocation);
    assert!(image.info.allocation < 2 * plane.stride * 64);
}

#[test]
fn a_thousand_allocations_of_each_size_leave_nothing_behind() {
    let device = Device::start();
    let client = device.client(APP).with_session();
    let (descriptors, own) = (device.service_descriptors(), client.count(Ask::OpenDescriptors));
    for (bytes, rounds) in [(4 << 10, 512), (64 << 10, 512), (1 << 20, 32), (2 << 20, 16)] {
        client.ask(Ask::Churn(Descriptor::linear(bytes), 2, rounds)).unwrap();
    }
    let figures = device.figures();
    assert_eq!((figures.buffers, figures.bytes), (0, 0));
    device.await_descriptors(descriptors);
    assert_eq!(client.count(Ask::OpenDescriptors), own);
}

#[test]
fn a_hundred_threads_and_eight_processes_allocate_at_once() {
    let device = Device::start();
    let descriptors = device.service_descriptors();
    let clients: Vec<_> = (0..8).map(|n| device.client(APP + n).with_session()).collect();
    for client in &clients {
        client.begin(&Ask::Churn(Descriptor::linear(4096), 13, 4));
    }
    for client in &clients {
        let answer = client.finish();
        assert_eq!(answer, berth_end_to_end::protocol::Answer::Done);
    }
    assert_eq!(device.figures().buffers, 0);
    drop(clients);
    device.await_figures("all sessions end", |now| now.sessions == 0);
    device.await_descriptors(descriptors);
}
