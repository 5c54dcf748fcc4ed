// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Our buffers in the hands of drivers that are not ours: vgem takes them and attaches fences, the
//! fences of sw_sync are signalled by the test, and vkms is a display (`display`).

mod display;

use std::panic::{self, AssertUnwindSafe};
use std::time::{Duration, Instant};

use berth_end_to_end::facilities::{missing, missing_any, Facility};
use berth_end_to_end::harness::{Client, Device, APP, OTHER_APP};
use berth_end_to_end::pools::{AskPool, Said};
use berth_end_to_end::protocol::{Answer, Ask, Descriptor, FenceState, Fences, Held, SwSync, Vgem};
use nix::time::{clock_gettime, ClockId};

const ENOENT: i32 = 2;

/// What vgem, and a dma-buf to give it, take.
pub const VGEM: &[Facility] = &[Facility::DmaHeapSystem, Facility::Vgem];
pub const VGEM_AND_FENCES: &[Facility] =
    &[Facility::DmaHeapSystem, Facility::Vgem, Facility::SyncFiles];
pub const SW_SYNC_AND_FENCES: &[Facility] =
    &[Facility::DmaHeapSystem, Facility::SwSync, Facility::SyncFiles];
/// After so long a fence of vgem's is over by itself (`VGEM_FENCE_TIMEOUT` in
/// `drivers/gpu/drm/vgem/vgem_fence.c`).
const VGEM_WAITS: Duration = Duration::from_secs(10);

/// A test with fences of vgem's. It begins again where they were over before it had ended, which a
/// machine that is busy brings about.
pub fn while_vgem_waits(test: impl Fn()) {
    for _ in 0..2 {
        let began = Instant::now();
        match panic::catch_unwind(AssertUnwindSafe(&test)) {
            Ok(()) => return,
            Err(failure) if began.elapsed() < VGEM_WAITS => panic::resume_unwind(failure),
            Err(_) => {}
        }
    }
    test();
}

/// The time that fences have.
fn now() -> Duration {
    clock_gettime(ClockId::CLOCK_MONOTONIC).expect("a clock").into()
}

/// References to the buffer that the kernel counts.
fn holders(client: &Client, held: &Held) -> u64 {
    client.proof(held.handle).dma_buf.expect("a dma-buf").1
}

#[test]
fn vgem_takes_a_buffer_gives_out_the_same_memory_and_lets_go() {
    if missing_any(VGEM) {
        return;
    }
    let device = Device::start();
    let client = device.client(APP).with_session();
    let buffer = client.allocate_one(&Descriptor::linear(1 << 16));
    let before = holders(&client, &buffer);
    client.vgem(Vgem::Import(buffer.handle));
    let held = holders(&client, &buffer);
    assert!(held > before, "{held} holders, {before} before");
    let memory = client.proof(buffer.handle).identity;
    assert_eq!(client.exported_by_vgem(buffer.handle), memory);
    assert_eq!(holders(&client, &buffer), held, "what was given out is closed");
    client.vgem(Vgem::Drop(buffer.handle));
    assert_eq!(holders(&client, &buffer), before);
}

#[test]
fn memory_that_a_driver_holds_outlives_the_buffer() {
    if missing_any(VGEM) {
        return;
    }
    let device = Device::start();
    let client = device.client(APP).with_session();
    let buffer = client.allocate_one(&Descriptor::linear(1 << 16));
    let memory = client.proof(buffer.handle).identity;
    client.vgem(Vgem::Import(buffer.handle));
    client.drop_buffer(buffer.handle);
    assert_eq!(client.session_figures().unwrap().buffers, 0);
    assert_eq!(client.exported_by_vgem(buffer.handle), memory);
}

#[test]
fn memory_that_a_driver_has_not_finished_with_is_not_used_again() {
    if missing_any(VGEM_AND_FENCES) {
        return;
    }
    while_vgem_waits(|| {
        let device = Device::start_with_policy("limit idle-seconds 3600");
        let client = device.client(APP).with_session();
        let held = client.allocate_one(&Descriptor::linear(4096));
        let buffer = held.handle;
        client.vgem(Vgem::Import(buffer));
        client.vgem(Vgem::Attach(buffer, true));
        client.vgem(Vgem::Drop(buffer));
        client.drop_buffer(buffer);
        // Nothing waits for the driver, or it would be kept once that is done.
        device.await_figures("it is closed", |now| (now.lingering, now.idle) == (0, 0));
        let plain = client.allocate_one(&Descriptor::linear(4096));
        assert_ne!(plain.info.inode, held.info.inode);
        client.drop_buffer(plain.handle);
        device.await_figures("the next one is cleared", |now| (now.idle, now.cleared) == (1, 1));
    });
}

#[test]
fn a_writing_driver_holds_readers_and_writers_until_it_is_done() {
    if missing_any(VGEM_AND_FENCES) {
        return;
    }
    while_vgem_waits(|| {
        let device = Device::start();
        let client = device.client(APP).with_session();
        let buffer = client.allocate_one(&Descriptor::linear(4096)).handle;
        client.vgem(Vgem::Import(buffer));
        for for_writer in [false, true] {
            assert_eq!(client.fence_state_of(buffer, for_writer), FenceState::Signalled, "idle");
        }
        client.vgem(Vgem::Attach(buffer, true));
        let both = [client.fences_of(buffer, false), client.fences_of(buffer, true)];
        for fence in both {
            let fence = client.fence(fence);
            let part = ("vgem".to_owned(), "unbound".to_owned(), FenceState::Pending, None);
            assert_eq!((fence.state, fence.parts), (FenceState::Pending, vec![part]));
            assert_eq!(fence.over_at, None);
        }
        let refusal = client.fails(Ask::Vgem(Vgem::Attach(buffer, false)));
        assert!(refusal.contains("EBUSY"), "{refusal}");
        let before = now();
        client.vgem(Vgem::Signal(buffer));
        let after = now();
        for fence in both {
            let fence = client.fence(fence);
            assert_eq!(fence.state, FenceState::Signalled);
            let over_at = fence.over_at.expect("a time");
            assert_eq!(fence.parts[0].3, Some(over_at));
            assert!((before..=after).contains(&over_at), "{over_at:?}: {before:?} to {after:?}");
        }
    });
}

#[test]
fn a_reading_driver_holds_writers_only() {
    if missing_any(VGEM_AND_FENCES) {
        return;
    }
    while_vgem_waits(|| {
        let device = Device::start();
        let client = device.client(APP).with_session();
        let buffer = client.allocate_one(&Descriptor::linear(4096)).handle;
        client.write(buffer, 0, b"shown");
        client.vgem(Vgem::Import(buffer));
        client.vgem(Vgem::Attach(buffer, false));
        let writer = client.fences_of(buffer, true);
        assert_eq!(client.fence_state_of(buffer, false), FenceState::Signalled);
        assert_eq!(client.read(buffer, 0, 5), b"shown");
        assert_eq!(client.fence(writer).state, FenceState::Pending, "the CPU read did not wait");
        client.vgem(Vgem::Signal(buffer));
        assert_eq!(client.fence(writer).state, FenceState::Signalled);
    });
}

#[test]
fn cpu_and_fence_wait_for_the_driver_of_another_process() {
    if missing_any(VGEM_AND_FENCES) {
        return;
    }
    while_vgem_waits(|| {
        let device = Device::start();
        let owner = device.client(APP).with_session();
        let taker = device.client(OTHER_APP).with_session();
        let ours = owner.allocate_one(&Descriptor::linear(4096)).handle;
        owner.write(ours, 0, b"drawn");
        let theirs = taker.acquire(owner.share(ours, OTHER_APP)).unwrap().handle;
        owner.vgem(Vgem::Import(ours));

        owner.vgem(Vgem::Attach(ours, true));
        let fence = taker.fences_of(theirs, false);
        taker.begin(&Ask::Fences(Fences::Await(fence, 60_000)));
        taker.await_sleep_in(&device, "poll");
        owner.vgem(Vgem::Signal(ours));
        let Answer::Fence(over) = taker.finish() else { panic!("no fence") };
        assert_eq!(over.state, FenceState::Signalled);

        owner.vgem(Vgem::Attach(ours, true));
        taker.begin(&Ask::Read(theirs, 0, 5));
        taker.await_sleep_in(&device, "dma_fence");
        owner.vgem(Vgem::Signal(ours));
        assert_eq!(taker.finish(), Answer::Bytes(b"drawn".to_vec()));
    });
}

#[test]
fn a_slot_of_a_pool_brings_the_fences_of_its_buffer_along() {
    if missing_any(VGEM_AND_FENCES) {
        return;
    }
    while_vgem_waits(|| {
        let device = Device::start();
        let camera = device.client(APP).with_session();
        let display = device.client(OTHER_APP).with_session();
        let at_camera = camera.create_pool(&Descriptor::linear(4096), (1, 2, 0));
        let at_display = display.join_pool(camera.share_pool(at_camera, OTHER_APP));
        let (lease, slot) = camera.acquire_slot(at_camera, 0).leased();
        assert_eq!(camera.slot_fences(lease, true).state, FenceState::Signalled, "idle");

        // The camera hands on what its device has yet to write.
        camera.device_begins(lease, true);
        camera.submit_unfilled(lease, Said::default());
        let (taken, _) = display.take_slot(at_display, 0).taken();
        for for_writer in [false, true] {
            let fence = display.slot_fences(taken, for_writer);
            assert_eq!((fence.state, fence.parts[0].0.as_str()), (FenceState::Pending, "vgem"));
        }
        // Whoever looks waits, and sees what the device wrote at the end.
        display.begin(&Ask::Pool(AskPool::AllBytesAre(taken, 0x5a)));
        display.await_sleep_in(&device, "dma_fence");
        camera.device_ends(slot, Some(0x5a));
        assert_eq!(display.finish(), Answer::Yes(true));
        for for_writer in [false, true] {
            let fence = display.slot_fences(taken, for_writer);
            assert_eq!(fence.state, FenceState::Signalled);
        }

        // The display gives back what its device still reads.
        display.device_begins(taken, false);
        display.release_slot(taken);
        let (lease, again) = camera.acquire_slot(at_camera, 0).leased();
        assert_eq!(again, slot);
        assert_eq!(camera.slot_fences(lease, false).state, FenceState::Signalled, "for readers");
        assert_eq!(camera.slot_fences(lease, true).state, FenceState::Pending, "for writers");
        // Neither the camera's device begins before that is over,
        let refusal = camera.fails(Ask::Pool(AskPool::DeviceBegins(lease, true)));
        assert!(refusal.contains("EBUSY"), "{refusal}");
        // nor its CPU.
        camera.begin(&Ask::Pool(AskPool::Fill(lease, 0x6b)));
        camera.await_sleep_in(&device, "dma_fence");
        display.device_ends(slot, None);
        assert_eq!(camera.finish(), Answer::Done);
        assert_eq!(camera.slot_fences(lease, true).state, FenceState::Signalled);
    });
}

#[test]
fn a_buffer_says_whether_its_kernel_has_sync_files() {
    let device = Device::start();
    let client = device.client(APP).with_session();
    let buffer = client.allocate_one(&Descriptor::linear(4096));
    for for_writer in [false, true] {
        let ask = Fences::Of(buffer.handle, for_writer);
        let refusal = match (buffer.info.dma_buf, Facility::SyncFiles.is_here()) {
            (true, true) => {
                let state = client.fence_state_of(buffer.handle, for_writer);
                assert_eq!(state, FenceState::Signalled);
                continue;
            }
            (true, false) => "take Linux 6.0",
            (false, _) => "no dma-buf has no fences",
        };
        let message = client.fails(Ask::Fences(ask));
        assert!(message.contains(refusal), "{message}");
    }
}

#[test]
fn fences_merge_and_fail_with_their_timeline() {
    if missing(Facility::SwSync) {
        return;
    }
    let device = Device::start();
    // debugfs is root's.
    let client = device.client(0);
    let (early, late) = (client.sw_sync_fence(1), client.sw_sync_fence(2));
    let merged = client.merge_fences(early, late, "both");
    client.sw_sync(SwSync::Advance(1));
    assert_eq!(client.fence(early).state, FenceState::Signalled);
    let both = client.fence(merged);
    assert_eq!((both.name.as_str(), both.state), ("both", FenceState::Pending));
    // The name of the timeline is its process's.
    let (driver, timeline, ..) = &both.parts[0];
    assert_eq!((driver.as_str(), timeline.as_str()), ("sw_sync", "berth-peer"));
    // One of two is over: all of it is not.
    assert_eq!((both.over_at, client.fence(late).over_at), (None, None));
    let early_at = client.fence(early).over_at.expect("a time");
    let before = now();
    client.sw_sync(SwSync::Close);
    for fence in [late, merged] {
        let fence = client.fence(fence);
        assert_eq!(fence.state, FenceState::Failed(ENOENT));
        // That of the last, not of the first.
        assert!(fence.over_at.expect("a time") >= before && early_at <= before, "{fence:?}");
    }
    assert_eq!(client.fence(early).state, FenceState::Signalled, "what is over stays so");
}

#[test]
fn a_fence_from_elsewhere_holds_the_users_of_a_buffer() {
    if missing_any(SW_SYNC_AND_FENCES) {
        return;
    }
    let device = Device::start();
    let client = device.client(0).with_session();
    let buffer = client.allocate_one(&Descriptor::linear(4096)).handle;
    client.import_fence(client.sw_sync_fence(1), buffer, false);
    assert_eq!(client.fence_state_of(buffer, false), FenceState::Signalled);
    assert_eq!(client.fence_state_of(buffer, true), FenceState::Pending);
    client.import_fence(client.sw_sync_fence(2), buffer, true);
    let both = [client.fences_of(buffer, false), client.fences_of(buffer, true)];
    for fence in both {
        let fence = client.fence(fence);
        assert_eq!(fence.state, FenceState::Pending);
        assert!(fence.parts.iter().all(|part| part.0 == "sw_sync"), "{fence:?}");
    }
    client.sw_sync(SwSync::Advance(1));
    assert_eq!(client.fence_state_of(buffer, false), FenceState::Pending);
    client.sw_sync(SwSync::Advance(1));
    assert!(both.iter().all(|fence| client.fence(*fence).state == FenceState::Signalled));
    assert_eq!(client.fence_state_of(buffer, true), FenceState::Signalled);
}

#[test]
fn vgem_does_not_begin_before_a_fence_from_elsewhere_is_over() {
    if missing_any(VGEM_AND_FENCES) || missing(Facility::SwSync) {
        return;
    }
    while_vgem_waits(|| {
        let device = Device::start();
        let client = device.client(0).with_session();
        let buffer = client.allocate_one(&Descriptor::linear(4096)).handle;
        client.vgem(Vgem::Import(buffer));
        client.import_fence(client.sw_sync_fence(1), buffer, false);
        let refusal = client.fails(Ask::Vgem(Vgem::Attach(buffer, true)));
        assert!(refusal.contains("EBUSY"), "{refusal}");
        client.sw_sync(SwSync::Advance(1));
        client.vgem(Vgem::Attach(buffer, true));
        assert_eq!(client.fence_state_of(buffer, false), FenceState::Pending);
        client.vgem(Vgem::Signal(buffer));
    });
}
