// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Tokens: who may use them, how often, how long, and what is left when the owner is gone.

use berth_end_to_end::harness::{Device, Refusal, APP, OTHER_APP, THIRD_APP};
use berth_end_to_end::protocol::Descriptor;

use crate::code;
use crate::flag::ACQUIRED;

#[test]
fn another_uid_acquires_the_same_memory() {
    let device = Device::start();
    let owner = device.client(APP).with_session();
    let taker = device.client(OTHER_APP).with_session();
    let ours = owner.allocate_one(&Descriptor::linear(4096).named("shared"));
    let theirs = taker.acquire(owner.share(ours.handle, OTHER_APP)).unwrap();
    assert_eq!(owner.proof(ours.handle).identity, taker.proof(theirs.handle).identity);
    assert_eq!(theirs.info.descriptor, ours.info.descriptor);
    assert_ne!(theirs.info.flags & ACQUIRED, 0);
    assert_eq!(device.figures().buffers, 1, "one buffer, whoever takes part");
    assert_eq!(taker.session_figures().unwrap().others, 1);
    assert_eq!(taker.session_figures().unwrap().bytes, 0, "the owner pays");
    taker.drop_buffer(theirs.handle);
    assert_eq!(taker.session_figures().unwrap().others, 0);
    owner.write(ours.handle, 0, b"still there");
}

#[test]
fn every_failure_of_a_token_looks_the_same() {
    let device = Device::start();
    let owner = device.client(APP).with_session();
    let taker = device.client(OTHER_APP).with_session();
    let thief = device.client(THIRD_APP).with_session();
    let buffer = owner.allocate_one(&Descriptor::linear(4096));
    let bad = Refusal { code: code::BAD_TOKEN, message: "bad token".to_owned() };
    let share = |uses, milliseconds| {
        owner.share_for(buffer.handle, OTHER_APP as i32, uses, milliseconds, false).unwrap()
    };

    let token = share(2, 60_000);
    assert_eq!(thief.acquire(token).unwrap_err(), bad, "another uid");
    assert_eq!(owner.acquire(token).unwrap_err(), bad, "the owner's uid");
    let mut wrong = token;
    wrong[3] ^= 0x10;
    assert_eq!(taker.acquire(wrong).unwrap_err(), bad, "a wrong token");
    assert_eq!(taker.acquire([0; 16]).unwrap_err(), bad, "no token");
    // None of that used it up.
    taker.acquire(token).unwrap();
    taker.acquire(token).unwrap();
    assert_eq!(taker.acquire(token).unwrap_err(), bad, "used up");

    let expired = share(1, 1);
    device.await_true("the token expires", || taker.acquire(expired).err());
    assert_eq!(taker.acquire(expired).unwrap_err(), bad, "expired");

    let orphan = share(1, 60_000);
    owner.free(&[buffer.info.id]).unwrap();
    assert_eq!(taker.acquire(orphan).unwrap_err(), bad, "its buffer was freed");

    let survivor = owner.allocate_one(&Descriptor::linear(4096));
    let inherited = owner.share(survivor.handle, OTHER_APP);
    owner.kill();
    device.await_figures("the owner's session ends", |now| now.abandoned == 1);
    assert_eq!(taker.acquire(inherited).unwrap_err(), bad, "its owner died");
}

#[test]
fn share_options_out_of_range_are_refused() {
    let device = Device::start();
    let client = device.client(APP).with_session();
    let buffer = client.allocate_one(&Descriptor::region(4096));
    for (uid, uses, milliseconds, part) in [
        (OTHER_APP as i32, 0, 1000, "uses is 0, 1 to 64"),
        (OTHER_APP as i32, 65, 1000, "uses is 65, 1 to 64"),
        (OTHER_APP as i32, 1, 0, "lifetimeMillis is 0, 1 to 3600000"),
        (OTHER_APP as i32, 1, 3_600_001, "lifetimeMillis is 3600001, 1 to 3600000"),
        (-1, 1, 1000, "recipientUid is -1"),
    ] {
        let refusal = client.share_for(buffer.handle, uid, uses, milliseconds, false).unwrap_err();
        assert_eq!(refusal.code, code::BAD_ARGUMENT, "{refusal:?}");
        assert!(refusal.message.contains(part), "{part:?} in {refusal:?}");
    }
    assert_eq!(device.figures().others, 0, "no token was made");
}

#[test]
fn a_taker_cannot_share_on() {
    let device = Device::start();
    let owner = device.client(APP).with_session();
    let taker = device.client(OTHER_APP).with_session();
    let ours = owner.allocate_one(&Descriptor::region(4096));
    let theirs = taker.acquire(owner.share(ours.handle, OTHER_APP)).unwrap();
    let refusal = taker.share_for(theirs.handle, THIRD_APP as i32, 1, 1000, false).unwrap_err();
    assert_eq!(refusal.code, code::UNSUPPORTED);
    assert_eq!(device.figures().others, 0);
}

#[test]
fn takers_are_told_when_an_owner_frees_or_dies_and_keep_what_they_mapped() {
    let device = Device::start();
    let owner = device.client(APP).with_session();
    let taker = device.client(OTHER_APP).with_session();
    let freed = owner.allocate_one(&Descriptor::linear(4096));
    let orphaned = owner.allocate_one(&Descriptor::linear(4096));
    owner.write(orphaned.handle, 0, b"last words");
    let first = taker.acquire(owner.share(freed.handle, OTHER_APP)).unwrap();
    let second = taker.acquire(owner.share(orphaned.handle, OTHER_APP)).unwrap();

    owner.free(&[freed.info.id]).unwrap();
    assert_eq!(taker.await_gone(), [first.info.id]);
    owner.kill();
    assert_eq!(taker.await_gone(), [second.info.id]);
    assert_eq!(taker.read(second.handle, 0, 10), b"last words");
    assert_eq!(taker.list().unwrap().len(), 2, "they stay until they are freed");
    // Charged to the dead owner's uid until the last one lets go.
    assert_eq!(device.figures().buffers, 2);
    taker.free(&[first.info.id, second.info.id]).unwrap();
    device.await_figures("all is given back", |now| now.buffers == 0 && now.bytes == 0);
}
