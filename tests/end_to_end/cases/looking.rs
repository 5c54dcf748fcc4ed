// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! The CPU's access to a buffer that devices are at work on, and to the planes of an image.

use berth_client::PixelFormat;
use berth_end_to_end::facilities::{missing, missing_any, Facility};
use berth_end_to_end::harness::{Client, Device, APP, OTHER_APP};
use berth_end_to_end::protocol::{
    Answer, Ask, Descriptor, FenceHandle, FenceState, Handle, Look, SwSync, Vgem,
};

use crate::second_driver::{while_vgem_waits, SW_SYNC_AND_FENCES, VGEM, VGEM_AND_FENCES};

/// Time enough for anything, in milliseconds.
const LONG: u64 = 60_000;

fn read_is_late(client: &Client, handle: Handle, fence: Option<FenceHandle>) {
    let message = client.fails(Ask::Look(Look::ReadAfter(handle, fence, 3, 4)));
    assert_eq!(message, "still in use after 3ms");
}

fn write_is_late(client: &Client, handle: Handle, fence: Option<FenceHandle>) {
    let message = client.fails(Ask::Look(Look::WriteAfter(handle, fence, 3, b"late".to_vec())));
    assert_eq!(message, "still in use after 3ms");
}

#[test]
fn readers_and_writers_wait_for_a_writing_driver_and_no_longer_than_they_said() {
    if missing_any(VGEM) {
        return;
    }
    while_vgem_waits(|| {
        let device = Device::start();
        let client = device.client(APP).with_session();
        let buffer = client.allocate_one(&Descriptor::linear(4096)).handle;
        client.write_after(buffer, None, LONG, b"idle");
        client.vgem(Vgem::Import(buffer));
        client.vgem(Vgem::Attach(buffer, true));
        read_is_late(&client, buffer, None);
        write_is_late(&client, buffer, None);
        client.vgem(Vgem::Signal(buffer));
        assert_eq!(client.read_after(buffer, None, LONG, 4), b"idle", "nothing was written");
        client.write_after(buffer, None, LONG, b"done");
        assert_eq!(client.read_after(buffer, None, LONG, 4), b"done");
    });
}

#[test]
fn only_writers_wait_for_a_reading_driver() {
    if missing_any(VGEM) {
        return;
    }
    while_vgem_waits(|| {
        let device = Device::start();
        let client = device.client(APP).with_session();
        let buffer = client.allocate_one(&Descriptor::linear(4096)).handle;
        client.write_after(buffer, None, LONG, b"seen");
        client.vgem(Vgem::Import(buffer));
        client.vgem(Vgem::Attach(buffer, false));
        assert_eq!(client.read_after(buffer, None, LONG, 4), b"seen");
        write_is_late(&client, buffer, None);
        client.vgem(Vgem::Signal(buffer));
        client.write_after(buffer, None, LONG, b"next");
    });
}

#[test]
fn a_writer_is_woken_when_the_driver_of_another_process_has_read() {
    if missing_any(VGEM) {
        return;
    }
    while_vgem_waits(|| {
        let device = Device::start();
        let owner = device.client(APP).with_session();
        let taker = device.client(OTHER_APP).with_session();
        let ours = owner.allocate_one(&Descriptor::linear(4096)).handle;
        let theirs = taker.acquire(owner.share(ours, OTHER_APP)).unwrap().handle;
        owner.vgem(Vgem::Import(ours));
        owner.vgem(Vgem::Attach(ours, false));
        taker.begin(&Ask::Look(Look::WriteAfter(theirs, None, LONG, b"then".to_vec())));
        taker.await_sleep_in(&device, "poll");
        assert_eq!(owner.read_after(ours, None, LONG, 4), [0; 4]);
        owner.vgem(Vgem::Signal(ours));
        assert_eq!(taker.finish(), Answer::Done);
        assert_eq!(owner.read_after(ours, None, LONG, 4), b"then");
    });
}

#[test]
fn an_event_loop_waits_for_fences_and_buffers() {
    if missing_any(VGEM_AND_FENCES) {
        return;
    }
    while_vgem_waits(|| {
        let device = Device::start();
        let client = device.client(APP).with_session();
        let buffer = client.allocate_one(&Descriptor::linear(4096)).handle;
        client.vgem(Vgem::Import(buffer));
        for (writes, while_at_work) in
            [(false, (false, true, false)), (true, (false, false, false))]
        {
            client.vgem(Vgem::Attach(buffer, writes));
            let fence = client.fences_of(buffer, true);
            assert_eq!(client.ready(buffer, fence), while_at_work, "writes: {writes}");
            client.vgem(Vgem::Signal(buffer));
            assert_eq!(client.ready(buffer, fence), (true, true, true));
        }
    });
}

#[test]
fn a_bracket_ends_with_the_fence_that_the_next_one_waits_for() {
    if missing_any(VGEM_AND_FENCES) {
        return;
    }
    while_vgem_waits(|| {
        let device = Device::start();
        let client = device.client(APP).with_session();
        let buffer = client.allocate_one(&Descriptor::linear(4096)).handle;
        let idle = client.end_with_fence(buffer, true);
        assert_eq!(client.fence(idle).state, FenceState::Signalled, "the CPU's work is done");
        client.vgem(Vgem::Import(buffer));
        client.vgem(Vgem::Attach(buffer, false));
        let (for_reader, for_writer) =
            (client.end_with_fence(buffer, false), client.end_with_fence(buffer, true));
        assert_eq!(client.fence(for_reader).state, FenceState::Signalled);
        assert_eq!(client.fence(for_writer).state, FenceState::Pending);
        write_is_late(&client, buffer, Some(for_writer));
        client.vgem(Vgem::Signal(buffer));
        client.write_after(buffer, Some(for_writer), LONG, b"next");
    });
}

#[test]
fn a_bracket_begins_after_its_fence_and_not_after_one_that_failed() {
    if missing(Facility::SwSync) {
        return;
    }
    let device = Device::start();
    // debugfs is root's.
    let client = device.client(0).with_session();
    let buffer = client.allocate_one(&Descriptor::linear(4096)).handle;
    let (first, second) = (client.sw_sync_fence(1), client.sw_sync_fence(2));
    let both = client.merge_fences(first, second, "both");
    write_is_late(&client, buffer, Some(first));
    client.sw_sync(SwSync::Advance(1));
    client.write_after(buffer, Some(first), LONG, b"once");
    read_is_late(&client, buffer, Some(both));
    assert_eq!(client.read_after(buffer, Some(first), LONG, 4), b"once");
    client.sw_sync(SwSync::Close);
    let ask = Look::WriteAfter(buffer, Some(both), LONG, b"lost".to_vec());
    let message = client.fails(Ask::Look(ask));
    assert!(message.starts_with("a fence failed"), "{message}");
    assert_eq!(client.read_after(buffer, None, LONG, 4), b"once");
}

#[test]
fn a_bracket_is_followed_by_work_that_others_wait_for() {
    if missing_any(SW_SYNC_AND_FENCES) {
        return;
    }
    let device = Device::start();
    let client = device.client(0).with_session();
    let buffer = client.allocate_one(&Descriptor::linear(4096)).handle;
    client.end_before(buffer, client.sw_sync_fence(1), false);
    assert_eq!(client.read_after(buffer, None, LONG, 4), [0; 4], "the work only reads");
    write_is_late(&client, buffer, None);
    client.end_before(buffer, client.sw_sync_fence(2), true);
    read_is_late(&client, buffer, None);
    client.sw_sync(SwSync::Advance(2));
    client.write_after(buffer, None, LONG, b"free");
    assert_eq!(client.read_after(buffer, None, LONG, 4), b"free");
}

#[test]
fn a_kernel_that_is_too_old_for_fences_says_so_and_waits_all_the_same() {
    let device = Device::start();
    let client = device.client(APP).with_session();
    let buffer = client.allocate_one(&Descriptor::linear(4096));
    if buffer.info.dma_buf && !Facility::SyncFiles.is_here() {
        for _ in 0..2 {
            let message = client.fails(Ask::Look(Look::EndWithFence(buffer.handle, true)));
            assert_eq!(message, "fences of dma-bufs as descriptors take Linux 6.0");
        }
    }
    client.write_after(buffer.handle, None, LONG, b"same");
    assert_eq!(client.read_after(buffer.handle, None, LONG, 4), b"same");
}

#[test]
fn every_plane_of_every_format_is_painted_by_one_process_and_read_by_another() {
    let device = Device::start();
    let owner = device.client(APP).with_session();
    let taker = device.client(OTHER_APP).with_session();
    let mut painted = 0;
    for format in PixelFormat::ALL {
        let image = Descriptor::image(64, 18, format.value());
        if !owner.is_supported(&image) {
            continue;
        }
        let held = owner.allocate_one(&image);
        let theirs = taker.acquire(owner.share(held.handle, OTHER_APP)).unwrap().handle;
        assert!(!taker.is_painted(theirs), "{format:?}");
        let bytes = owner.paint(held.handle);
        assert!(bytes > 0 && bytes as i64 <= held.info.size, "{format:?}: {bytes}");
        assert!(taker.is_painted(theirs), "{format:?}");
        owner.drop_buffer(held.handle);
        taker.drop_buffer(theirs);
        painted += 1;
    }
    assert!(painted > 20, "{painted} formats");
}
