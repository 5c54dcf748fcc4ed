// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! The end of a session, however it comes: what it held is given back, once.

use berth_end_to_end::facilities::{missing, Facility};
use berth_end_to_end::harness::{free_memory, Device, APP, OTHER_APP};
use berth_end_to_end::protocol::{Ask, Descriptor};

use crate::code;

#[test]
fn a_killed_client_with_64_buffers_leaves_nothing_in_ledger_or_service() {
    let device = Device::start();
    let descriptors = device.service_descriptors();
    let client = device.client(APP).with_session();
    let batch = client.allocate(&Descriptor::linear(1 << 20), 64).unwrap();
    for held in &batch {
        client.fill(held.handle, 0, 1 << 20, 0xaa);
    }
    assert_eq!(device.figures().bytes, 64 << 20);
    assert!(device.service_descriptors() >= descriptors + 64);
    client.kill();
    device.await_figures("the ledger", |now| {
        (now.sessions, now.buffers, now.bytes, now.abandoned) == (0, 0, 0, 1)
    });
    device.await_descriptors(descriptors);
}

#[test]
fn the_dma_bufs_of_a_killed_client_are_free_memory_again() {
    // Without the heap this may be anybody's machine, where others allocate too. A lane's VM is
    // quiet: of 64 MiB nothing may be missing but what the HAL's own tables grew.
    if missing(Facility::DmaHeapSystem) {
        return;
    }
    let device = Device::start();
    let free_before = free_memory();
    let client = device.client(APP).with_session();
    let batch = client.allocate(&Descriptor::linear(1 << 20), 64).unwrap();
    assert!(batch.iter().all(|held| held.info.dma_buf));
    assert!(free_memory() + (32 << 20) < free_before);
    client.kill();
    device.await_true("MemFree", || (free_memory() + (8 << 20) > free_before).then_some(()));
}

#[test]
fn clients_killed_again_and_again_leave_nothing() {
    let device = Device::start();
    let descriptors = device.service_descriptors();
    for round in 0..20 {
        let client = device.client(APP).with_session();
        client.allocate(&Descriptor::linear(64 << 10), 8).unwrap();
        // Killed in the middle of whatever it does.
        client.begin(&Ask::Churn(Descriptor::linear(4096), 4, 1_000_000));
        device.await_figures("it is at work", |now| now.buffers > 8);
        client.kill();
        device.await_figures("the session ends", |now| now.abandoned == round + 1);
        device.await_figures("the buffers go", |now| now.buffers == 0 && now.sessions == 0);
    }
    device.assert_alive();
    device.await_descriptors(descriptors);
}

#[test]
fn a_session_ends_with_its_last_reference() {
    let device = Device::start();
    let client = device.client(APP).with_session();
    client.allocate(&Descriptor::linear(4096), 8).unwrap();
    client.drop_session();
    let figures = device.await_figures("it ends", |now| now.sessions == 0 && now.buffers == 0);
    assert_eq!(figures.abandoned, 0);
    client.open("again").unwrap();
    client.allocate(&Descriptor::linear(4096), 1).unwrap();
    client.exit();
    device.await_figures("it ends with its process", |now| now.sessions == 0);
}

#[test]
fn a_closed_session_answers_that_it_is_closed() {
    let device = Device::start();
    let client = device.client(APP).with_session();
    let buffer = client.allocate_one(&Descriptor::linear(4096));
    client.write(buffer.handle, 0, b"mapped");
    client.close();
    client.close();
    assert_eq!((device.figures().sessions, device.figures().buffers), (0, 0));
    let closed = [
        client.allocate(&Descriptor::linear(4096), 1).unwrap_err(),
        client.free(&[buffer.info.id]).unwrap_err(),
        client.get(buffer.info.id, false).unwrap_err(),
        client.list().unwrap_err(),
        client.share_for(buffer.handle, OTHER_APP as i32, 1, 1000, false).unwrap_err(),
        client.acquire([7; 16]).unwrap_err(),
        client.session_figures().unwrap_err(),
    ];
    for refusal in closed {
        assert_eq!(refusal.code, code::SESSION_CLOSED, "{refusal:?}");
    }
    // The memory is the client's as long as it holds the descriptor.
    assert_eq!(client.read(buffer.handle, 0, 6), b"mapped");
}
