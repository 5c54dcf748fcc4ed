// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Pools between processes of different uids: frames, waiting, death, size, and participants that keep
//! to no rule.

use std::collections::{BTreeSet, VecDeque};
use std::thread;
use std::time::Duration;

use berth_end_to_end::harness::{Client, Device, APP, OTHER_APP, THIRD_APP};
use berth_end_to_end::pools::{AskPool, PoolAnswer, PoolHandle, Said};
use berth_end_to_end::protocol::{Answer, Ask, Descriptor};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::{code, kills};

/// Longer than anything takes.
const LONG: u64 = 60_000;

fn frame() -> Descriptor {
    Descriptor::region(4096).named("frame")
}

/// Slots, participants, and slots that each may hold.
fn sizes(slots: u32) -> (u32, u32, u32) {
    (slots, 4, 0)
}

/// A client of another uid that takes part.
fn participant(
    device: &Device,
    uid: u32,
    owner: &Client,
    pool: PoolHandle,
) -> (Client, PoolHandle) {
    let client = device.client(uid).with_session();
    let pool = client.join_pool(owner.share_pool(pool, uid));
    (client, pool)
}

/// Sees that the frames of both go on, and stops them.
fn stop_mills_that_go_on(device: &Device, owner: &Client, client: &Client) {
    let before = (owner.milled(), client.milled());
    device.await_true("both go on", || {
        let now = (owner.milled(), client.milled());
        (now.0 > before.0 + 20 && now.1 > before.1 + 20).then_some(())
    });
    owner.stop_mill();
    client.stop_mill();
}

fn numbered(sequence: u64) -> Said {
    Said { sequence, ..Said::default() }
}

fn begin(client: &Client, ask: AskPool) {
    client.begin(&Ask::Pool(ask));
}

/// Begins what has to wait, and sees it sleep.
fn begin_waiting(device: &Device, client: &Client, ask: AskPool) {
    begin(client, ask);
    client.await_sleep_in(device, "futex_");
}

#[test]
fn frames_go_from_process_to_process_in_order_with_what_is_said_of_them() {
    let device = Device::start();
    let camera = device.client(APP).with_session();
    let at_camera = camera.create_pool(&frame(), sizes(3));
    let (encoder, at_encoder) = participant(&device, OTHER_APP, &camera, at_camera);
    let mut identities = Vec::new();
    for sequence in 0..3 {
        let (lease, slot) = camera.acquire_slot(at_camera, LONG).leased();
        identities.push((slot, camera.slot_identity(lease)));
        let said = Said { timestamp: -7, sequence, crop: [1, 2, 3, 4], tag: 0xdead_beef };
        camera.submit_slot(lease, sequence as u8 + 1, said);
    }
    assert_eq!(camera.acquire_slot(at_camera, 0), PoolAnswer::TimedOut, "all are filled");
    for sequence in 0..3 {
        let PoolAnswer::Taken(lease, slot, producer, said) = encoder.take_slot(at_encoder, LONG)
        else {
            panic!("no frame")
        };
        assert_eq!(said, Said { timestamp: -7, sequence, crop: [1, 2, 3, 4], tag: 0xdead_beef });
        assert_eq!(producer, 0, "the creator is the first participant");
        assert!(encoder.slot_has(lease, sequence as u8 + 1));
        assert!(identities.contains(&(slot, encoder.slot_identity(lease))), "the same memory");
        encoder.release_slot(lease);
    }
    assert_eq!(encoder.take_slot(at_encoder, 0), PoolAnswer::TimedOut);
    assert_eq!(camera.take_everything(at_camera), [0, 1, 2]);
}

#[test]
fn an_event_loop_has_every_frame_by_a_descriptor_and_hears_of_the_pools_end() {
    let device = Device::start();
    let camera = device.client(APP).with_session();
    let at_camera = camera.create_pool(&frame(), sizes(3));
    let (display, at_display) = participant(&device, OTHER_APP, &camera, at_camera);
    begin(&display, AskPool::Watch(at_display, 100));
    // Many more than there are slots: each comes back.
    for sequence in 0..100 {
        let (lease, _) = camera.acquire_slot(at_camera, LONG).leased();
        camera.submit_slot(lease, sequence as u8, numbered(sequence));
    }
    let all: Vec<_> = (0..3).map(|_| camera.acquire_slot(at_camera, LONG).leased()).collect();
    assert_eq!(all.len(), 3, "all came back");
    camera.leave_pool(at_camera);
    assert_eq!(display.finish(), Answer::Count(100));
}

#[test]
fn an_event_loop_has_every_free_slot_by_a_descriptor() {
    let device = Device::start();
    let camera = device.client(APP).with_session();
    let at_camera = camera.create_pool(&frame(), sizes(3));
    let (display, at_display) = participant(&device, OTHER_APP, &camera, at_camera);
    begin(&camera, AskPool::Serve(at_camera, 100));
    for sequence in 0..100 {
        let (lease, said) = display.take_slot(at_display, LONG).taken();
        assert_eq!(said.sequence, sequence);
        assert!(display.slot_has(lease, sequence as u8));
        display.release_slot(lease);
    }
    assert_eq!(camera.finish(), Answer::Count(100));
    assert_eq!(display.take_everything(at_display), [0, 1, 2]);
}

#[test]
fn an_event_loop_has_its_turn_among_those_who_wait() {
    let device = Device::start();
    let holder = device.client(APP).with_session();
    let pool = holder.create_pool(&frame(), sizes(1));
    let (looping, at_looping) = participant(&device, OTHER_APP, &holder, pool);
    let (waiter, at_waiter) = participant(&device, THIRD_APP, &holder, pool);
    let (held, _) = holder.acquire_slot(pool, LONG).leased();
    begin(&looping, AskPool::Serve(at_looping, 1));
    looping.await_sleep_of(&device, "feed", "futex_");
    begin_waiting(&device, &waiter, AskPool::Acquire(at_waiter, LONG));
    // Longer than a feed waits at a time.
    thread::sleep(Duration::from_millis(1200));
    holder.release_slot(held);
    assert_eq!(looping.finish(), Answer::Count(1), "it came first");
    let (lease, _) = holder.take_slot(pool, LONG).taken();
    holder.release_slot(lease);
    waiter.finish().of_pool().leased();
}

#[test]
fn whoever_waits_has_the_slots_that_somebody_hid() {
    for dies in [true, false] {
        let device = Device::start();
        let owner = device.client(APP).with_session();
        let pool = owner.create_pool(&frame(), sizes(2));
        let (looping, theirs) = participant(&device, OTHER_APP, &owner, pool);
        let hostile = device.client(THIRD_APP);
        let token = owner.share_pool(pool, THIRD_APP);
        assert_eq!(hostile.ask(Ask::Pool(AskPool::Hide(token))), Ok(Answer::Done));
        begin(&looping, AskPool::Serve(theirs, 1));
        if dies {
            hostile.kill();
        }
        assert_eq!(looping.finish(), Answer::Count(1));
        let (first, _) = owner.acquire_slot(pool, 5_000).leased();
        owner.release_slot(first);
        let (frame, _) = owner.take_slot(pool, LONG).taken();
        owner.release_slot(frame);
        if !dies {
            // One wait is enough, and it need not be a feed's.
            assert_eq!(hostile.ask(Ask::Pool(AskPool::Hide(token))), Ok(Answer::Done));
            owner.acquire_slot(pool, 5_000).leased();
        }
    }
}

#[test]
fn participants_go_on_without_the_service_and_no_wait_hangs() {
    let device = Device::start();
    let owner = device.client(APP);
    owner.open_reconnecting("owner", 30_000);
    let pool = owner.create_pool(&frame(), (2, 8, 0));
    let (client, theirs) = participant(&device, OTHER_APP, &owner, pool);
    let token = owner.share_pool(pool, THIRD_APP);
    let pass = |sequence: u64| {
        let (lease, _) = owner.acquire_slot(pool, LONG).leased();
        owner.submit_slot(lease, sequence as u8, numbered(sequence));
        let (lease, said) = client.take_slot(theirs, LONG).taken();
        assert_eq!(said.sequence, sequence);
        assert!(client.slot_has(lease, sequence as u8));
        client.release_slot(lease);
    };
    pass(1);
    begin_waiting(&device, &client, AskPool::Take(theirs, LONG));
    device.kill_service();
    owner.await_lost();
    let (lease, _) = owner.acquire_slot(pool, LONG).leased();
    owner.submit_slot(lease, 2, numbered(2));
    let (lease, said) = client.finish().of_pool().taken();
    assert_eq!(said.sequence, 2, "it waited when the service died");
    client.release_slot(lease);
    pass(3);
    // Long enough to ask the service, which is not there.
    assert_eq!(client.take_slot(theirs, 1_500), PoolAnswer::TimedOut);
    device.start_service();
    owner.await_restored();
    pass(4);
    assert_eq!(client.take_slot(theirs, 1_500), PoolAnswer::TimedOut);
    // The service that follows knows of no pools, and says so.
    let refused = owner.try_share_pool(pool, THIRD_APP, 1, false).unwrap_err();
    assert_eq!(refused.code, code::NOT_FOUND, "{refused:?}");
    assert_eq!(owner.resize_pool(pool, 3).unwrap_err().code, code::NOT_FOUND);
    let third = device.client(THIRD_APP).with_session();
    assert_eq!(third.try_join_pool(token).unwrap_err().code, code::BAD_TOKEN);
    // What one held that died meanwhile stays away. Who waits for it is not kept beyond its time.
    client.acquire_slot(theirs, LONG).leased();
    client.acquire_slot(theirs, LONG).leased();
    client.kill();
    assert_eq!(owner.acquire_slot(pool, 1_500), PoolAnswer::TimedOut);
    owner.leave_pool(pool);
}

#[test]
fn whoever_has_to_ask_a_service_that_died_is_told() {
    let device = Device::start();
    let owner = device.client(APP).with_session();
    let pool = owner.create_pool(&frame(), sizes(1));
    let (lease, _) = owner.acquire_slot(pool, LONG).leased();
    participant(&device, OTHER_APP, &owner, pool);
    device.kill_service();
    let why = owner.fails(Ask::Pool(AskPool::Take(pool, LONG)));
    assert!(why.contains("service died"), "{why}");
    let why = owner.fails(Ask::Pool(AskPool::Watch(pool, 1)));
    assert!(why.contains("service died"), "{why}");
    // This needs no service, whoever came.
    owner.submit_slot(lease, 1, numbered(1));
    device.start_service();
}

#[test]
fn a_slot_that_is_discarded_is_free_and_brings_no_frame() {
    let device = Device::start();
    let camera = device.client(APP).with_session();
    let pool = camera.create_pool(&frame(), sizes(1));
    let (display, at_display) = participant(&device, OTHER_APP, &camera, pool);
    let (lease, slot) = camera.acquire_slot(pool, LONG).leased();
    begin_waiting(&device, &display, AskPool::Acquire(at_display, LONG));
    camera.release_slot(lease);
    let (lease, freed) = display.finish().of_pool().leased();
    assert_eq!(freed, slot, "whoever waited has it");
    display.release_slot(lease);
    assert_eq!(display.take_slot(at_display, 10), PoolAnswer::TimedOut);
    let (lease, _) = camera.acquire_slot(pool, LONG).leased();
    camera.submit_slot(lease, 3, numbered(7));
    assert_eq!(display.take_slot(at_display, LONG).taken().1.sequence, 7, "the first there is");
}

#[test]
fn a_frame_goes_through_the_stages_of_a_pipeline_in_one_slot() {
    let device = Device::start();
    let camera = device.client(APP).with_session();
    let at_camera = camera.create_pool(&frame(), sizes(2));
    let (encoder, at_encoder) = participant(&device, OTHER_APP, &camera, at_camera);
    let (display, at_display) = participant(&device, THIRD_APP, &camera, at_camera);
    // Whoever waits for another stage has no right to a frame of this one.
    begin(&display, AskPool::TakeFrom(at_display, 1, LONG));
    for sequence in 0..2 {
        let (lease, _) = camera.acquire_slot(at_camera, LONG).leased();
        camera.submit_slot(lease, 10 + sequence as u8, numbered(sequence));
    }
    assert_eq!(encoder.take_slot_from(at_encoder, 2, 0), PoolAnswer::TimedOut);
    for sequence in 0..2 {
        let (lease, said) = encoder.take_slot(at_encoder, LONG).taken();
        assert_eq!(said.sequence, sequence);
        assert!(encoder.slot_has(lease, 10 + sequence as u8));
        let identity = encoder.slot_identity(lease);
        encoder.pass_slot_on(lease, 20 + sequence as u8, 1, numbered(100 + sequence));
        let shown = match sequence {
            0 => display.finish().of_pool(),
            _ => display.take_slot_from(at_display, 1, LONG),
        };
        let PoolAnswer::Taken(lease, _, producer, said) = shown else { panic!("{shown:?}") };
        assert_eq!((producer, said.sequence), (1, 100 + sequence), "the encoder's");
        assert!(display.slot_has(lease, 20 + sequence as u8));
        assert_eq!(display.slot_identity(lease), identity, "the same memory");
        display.release_slot(lease);
    }
    assert_eq!(camera.take_everything(at_camera), [0, 1]);
}

#[test]
fn whoever_waits_is_woken_by_whoever_has_what_it_waits_for() {
    let device = Device::start();
    let producer = device.client(APP).with_session();
    let ours = producer.create_pool(&frame(), sizes(1));
    let (consumer, theirs) = participant(&device, OTHER_APP, &producer, ours);
    begin_waiting(&device, &consumer, AskPool::Take(theirs, LONG));
    let (lease, _) = producer.acquire_slot(ours, LONG).leased();
    producer.submit_slot(lease, 1, numbered(9));
    let (lease, said) = consumer.finish().of_pool().taken();
    begin_waiting(&device, &producer, AskPool::Acquire(ours, LONG));
    assert_eq!(said.sequence, 9);
    consumer.release_slot(lease);
    producer.finish().of_pool().leased();
}

#[test]
fn pools_have_several_producers_and_consumers_and_two_never_hold_one_slot() {
    let device = Device::start();
    let owner = device.client(APP).with_session();
    let pool = owner.create_pool(&frame(), (3, 4, 2));
    let others = [OTHER_APP, THIRD_APP, APP].map(|uid| participant(&device, uid, &owner, pool));
    owner.mill(pool, 2);
    for (client, pool) in &others {
        client.mill(*pool, 1);
    }
    device.await_true("many frames", || {
        let others: usize = others.iter().map(|(client, _)| client.milled()).sum();
        (owner.milled() + others > 2000).then_some(())
    });
    for (client, _) in &others {
        client.stop_mill();
    }
    owner.stop_mill();
    assert_eq!(owner.take_everything(pool).len(), 2, "as many as it may hold");
    let (client, pool) = &others[0];
    assert_eq!(client.take_everything(*pool).len(), 2);
}

#[test]
fn all_who_compete_for_one_slot_go_on() {
    let device = Device::start();
    let owner = device.client(APP).with_session();
    let pool = owner.create_pool(&frame(), (1, 4, 1));
    let others = [OTHER_APP, THIRD_APP, APP].map(|uid| participant(&device, uid, &owner, pool));
    for (client, pool) in &others {
        client.mill(*pool, 1);
    }
    let milled = || others.iter().map(|(client, _)| client.milled()).collect::<Vec<_>>();
    // What was done before all were at work says nothing.
    let before = device.await_true("all are at work", || {
        Some(milled()).filter(|counts| counts.iter().all(|count| *count > 0))
    });
    // Who has the CPU alone goes round a thousand times while nobody stands in line, and the scheduler
    // says how often that is. Who comes next of those who do, the models of the pool say.
    device.await_true("each has had many turns", || {
        let since = milled().iter().zip(&before).map(|(now, then)| now - then).collect::<Vec<_>>();
        assert!(since.iter().sum::<usize>() < 100_000, "{since:?}");
        since.iter().all(|turns| *turns > 200).then_some(())
    });
    others.iter().for_each(|(client, _)| assert!(client.stop_mill() > 0));
}

#[test]
fn a_killed_participant_gives_back_its_slots_and_wakes_who_waits() {
    let device = Device::start();
    let owner = device.client(APP).with_session();
    let pool = owner.create_pool(&frame(), sizes(2));
    let (victim, theirs) = participant(&device, OTHER_APP, &owner, pool);
    let (submitted, _) = victim.acquire_slot(theirs, LONG).leased();
    victim.submit_slot(submitted, 5, numbered(5));
    victim.acquire_slot(theirs, LONG).leased();
    assert_eq!(owner.acquire_slot(pool, 0), PoolAnswer::TimedOut);
    begin_waiting(&device, &owner, AskPool::Acquire(pool, LONG));
    victim.kill();
    owner.finish().of_pool().leased();
    let (lease, said) = owner.take_slot(pool, LONG).taken();
    assert_eq!(said.sequence, 5, "what it had submitted is there");
    assert!(owner.slot_has(lease, 5));
    // Its seat is free, too.
    for uid in [OTHER_APP, THIRD_APP, APP] {
        participant(&device, uid, &owner, pool);
    }
}

#[test]
fn a_participant_that_leaves_gives_back_its_slots() {
    let device = Device::start();
    let owner = device.client(APP).with_session();
    let pool = owner.create_pool(&frame(), sizes(1));
    let (client, theirs) = participant(&device, OTHER_APP, &owner, pool);
    client.acquire_slot(theirs, LONG).leased();
    client.leave_pool(theirs);
    owner.acquire_slot(pool, LONG).leased();
    let (client, theirs) = participant(&device, OTHER_APP, &owner, pool);
    assert_eq!(client.take_slot(theirs, 0), PoolAnswer::TimedOut);
}

#[test]
fn a_pool_ends_with_its_creator_and_what_others_hold_stays_readable() {
    let device = Device::start();
    let owner = device.client(APP).with_session();
    let pool = owner.create_pool(&frame(), sizes(2));
    let (client, theirs) = participant(&device, OTHER_APP, &owner, pool);
    let token = owner.share_pool(pool, OTHER_APP);
    let (lease, _) = owner.acquire_slot(pool, LONG).leased();
    owner.submit_slot(lease, 7, numbered(0));
    let (held, _) = client.take_slot(theirs, LONG).taken();
    begin_waiting(&device, &client, AskPool::Take(theirs, LONG));
    owner.kill();
    assert_eq!(client.finish().of_pool(), PoolAnswer::Closed);
    assert_eq!(client.acquire_slot(theirs, 0), PoolAnswer::Closed);
    assert!(client.slot_has(held, 7));
    assert_eq!(client.try_join_pool(token).unwrap_err().code, code::BAD_TOKEN);
    client.leave_pool(theirs);
    device.await_figures("all is given back", |now| {
        now.buffers == 0 && now.bytes == 0 && now.pools == 0 && now.others == 0
    });
}

#[test]
fn every_token_that_opens_no_pool_fails_alike() {
    let device = Device::start();
    let owner = device.client(APP).with_session();
    let client = device.client(OTHER_APP).with_session();
    let thief = device.client(THIRD_APP).with_session();
    let pool = owner.create_pool(&frame(), sizes(1));
    let token = owner.try_share_pool(pool, OTHER_APP, 1, false).unwrap();
    let mut wrong = token;
    wrong[9] ^= 4;
    let bad = |refused: Result<PoolHandle, _>| {
        let refusal: berth_end_to_end::harness::Refusal = refused.unwrap_err();
        assert_eq!((refusal.code, refusal.message.as_str()), (code::BAD_TOKEN, "bad token"));
    };
    bad(thief.try_join_pool(token));
    bad(client.try_join_pool(wrong));
    assert_eq!(client.acquire(token).unwrap_err().code, code::BAD_TOKEN, "it is no buffer's");
    let buffer = owner.allocate_one(&frame());
    bad(client.try_join_pool(owner.share(buffer.handle, OTHER_APP)));
    let joined = client.join_pool(token);
    bad(client.try_join_pool(token));
    client.leave_pool(joined);
    let orphan = owner.share_pool(pool, OTHER_APP);
    owner.leave_pool(pool);
    bad(client.try_join_pool(orphan));
}

#[test]
fn a_pool_is_charged_to_its_creator_within_its_limits() {
    let device = Device::start_with_policy("limit session-buffers 6\n");
    let owner = device.client(APP).with_session();
    let refusal = owner.try_create_pool(&frame(), sizes(7)).unwrap_err();
    assert_eq!(refusal.code, code::TOO_MANY_BUFFERS);
    assert_eq!(device.figures().buffers, 0);
    let pool = owner.create_pool(&frame(), sizes(4));
    assert_eq!(owner.session_figures().unwrap().buffers, 4);
    assert_eq!(device.figures().buffers, 5, "and its pages");
    let (client, theirs) = participant(&device, OTHER_APP, &owner, pool);
    assert_eq!(client.session_figures().unwrap().buffers, 0);
    assert_eq!(owner.resize_pool(pool, 7).unwrap_err().code, code::TOO_MANY_BUFFERS);
    assert_eq!(client.take_everything(theirs), [0, 1, 2, 3], "nothing came of that");
    for (sizes, limits) in
        [((0, 4, 0), "1 to 32"), ((1, 17, 0), "1 to 16"), ((1, 4, 33), "0 to 32")]
    {
        let refusal = owner.try_create_pool(&frame(), sizes).unwrap_err();
        assert_eq!(refusal.code, code::BAD_ARGUMENT);
        assert!(refusal.message.contains(limits), "{refusal:?}");
    }
    let refusal = client.resize_pool(theirs, 5).unwrap_err();
    assert_eq!(refusal.code, code::UNSUPPORTED, "it is another's");
    owner.leave_pool(pool);
    device.await_figures("all is given back", |now| now.bytes == 0 || now.lingering > 0);
    client.leave_pool(theirs);
    device.await_figures("all is given back", |now| now.bytes == 0 && now.lingering == 0);
}

#[test]
fn nobody_holds_more_than_it_may_and_so_nobody_can_keep_all() {
    let device = Device::start();
    let owner = device.client(APP).with_session();
    let pool = owner.create_pool(&frame(), (3, 2, 2));
    let (client, theirs) = participant(&device, OTHER_APP, &owner, pool);
    client.acquire_slot(theirs, LONG).leased();
    client.acquire_slot(theirs, LONG).leased();
    assert_eq!(client.acquire_slot(theirs, LONG), PoolAnswer::TooMany);
    owner.acquire_slot(pool, LONG).leased();
    let third = device.client(THIRD_APP).with_session();
    let refusal = third.try_join_pool(owner.share_pool(pool, THIRD_APP)).unwrap_err();
    assert_eq!(refusal.code, code::QUOTA_EXCEEDED);
    assert!(refusal.message.contains("2 participants of at most 2"), "{refusal:?}");
}

#[test]
fn a_pool_grows_and_shrinks_under_use() {
    let device = Device::start();
    let owner = device.client(APP).with_session();
    let pool = owner.create_pool(&frame(), sizes(2));
    let (client, theirs) = participant(&device, OTHER_APP, &owner, pool);
    client.mill(theirs, 2);
    let mut before = client.milled();
    for slots in [8, 1, 5, 2, 32, 3, 6, 1, 4] {
        owner.resize_pool(pool, slots).unwrap();
        before = device.await_true("frames with another number of slots", || {
            Some(client.milled()).filter(|now| *now > before + 20)
        });
    }
    assert!(client.stop_mill() > 0);
    assert_eq!(client.take_everything(theirs).len(), 4);
    owner.restore_pool(pool);
    device.await_figures("what was taken away is gone", |now| now.buffers == 5);
}

#[test]
fn a_slot_that_is_held_is_taken_away_when_it_is_free() {
    let device = Device::start();
    let owner = device.client(APP).with_session();
    let pool = owner.create_pool(&frame(), sizes(3));
    let (client, theirs) = participant(&device, OTHER_APP, &owner, pool);
    let leases: Vec<_> = (0..3).map(|_| client.acquire_slot(theirs, LONG).leased()).collect();
    owner.resize_pool(pool, 1).unwrap();
    assert_eq!(device.figures().buffers, 4, "all are held");
    for (lease, slot) in leases {
        client.submit_slot(lease, 3, numbered(slot.into()));
    }
    for _ in 0..3 {
        let (lease, _) = owner.take_slot(pool, LONG).taken();
        assert!(owner.slot_has(lease, 3), "its memory is there still");
        owner.release_slot(lease);
    }
    assert_eq!(owner.take_everything(pool), [0]);
    assert_eq!(client.take_everything(theirs), [0]);
    device.await_figures("two are gone", |now| now.buffers == 2 && now.lingering == 0);
}

#[test]
fn a_participant_that_may_only_read_cannot_write() {
    let device = Device::start();
    let owner = device.client(APP).with_session();
    let pool = owner.create_pool(&frame(), sizes(1));
    let reader = device.client(OTHER_APP).with_session();
    let token = owner.try_share_pool(pool, OTHER_APP, 1, true).unwrap();
    let theirs = reader.join_pool(token);
    let (lease, _) = owner.acquire_slot(pool, LONG).leased();
    owner.submit_slot(lease, 6, numbered(0));
    let (lease, _) = reader.take_slot(theirs, LONG).taken();
    assert!(reader.slot_has(lease, 6));
    begin(&reader, AskPool::Fill(lease, 1));
    let wrote = reader.finish();
    assert!(matches!(&wrote, Answer::Failed(why) if why.contains("may only be read")), "{wrote:?}");
}

#[test]
fn whoever_scribbles_over_a_pool_gives_nobody_what_another_holds() {
    let device = Device::start();
    let owner = device.client(APP).with_session();
    let pool = owner.create_pool(&frame(), (4, 4, 2));
    let (client, theirs) = participant(&device, OTHER_APP, &owner, pool);
    let token = owner.share_pool(pool, THIRD_APP);
    owner.mill_among_enemies(pool);
    client.mill_among_enemies(theirs);
    for (seed, lies) in [(1, false), (2, true), (3, false), (4, true)] {
        let hostile = device.client(THIRD_APP);
        let ask = Ask::Pool(AskPool::Scribble(token, 2_000_000, seed, lies));
        assert_eq!(hostile.ask(ask), Ok(Answer::Done));
    }
    stop_mills_that_go_on(&device, &owner, &client);
    device.assert_alive();
    // What contradicted itself is put right, and no slot is lost.
    device.await_true("all slots are back", || {
        owner.restore_pool(pool);
        let everything = owner.take_everything(pool);
        let (first, _) = owner.acquire_slot(pool, 0).leased_or_none()?;
        let (second, _) = owner.acquire_slot(pool, 0).leased_or_none()?;
        let rest = client.take_everything(theirs);
        owner.release_slot(first);
        owner.release_slot(second);
        (everything.len() == 2 && rest.len() == 2).then_some(())
    });
}

#[test]
fn participants_killed_at_any_moment_lose_no_slot_and_the_others_go_on() {
    let device = Device::start();
    let owner = device.client(APP).with_session();
    let slots = 4;
    let pool = owner.create_pool(&frame(), (slots, 16, 0));
    let (client, theirs) = participant(&device, OTHER_APP, &owner, pool);
    let cycles = kills();
    let tokens = (0..cycles / 16).map(|_| owner.share_pool(pool, THIRD_APP)).collect();
    owner.mill(pool, 1);
    client.mill(theirs, 1);
    let killer = device.client(THIRD_APP);
    let killed = killer.ask(Ask::Pool(AskPool::KillMills(tokens, cycles, 8)));
    assert_eq!(killed, Ok(Answer::Count(cycles)));
    stop_mills_that_go_on(&device, &owner, &client);
    device.await_figures("the killed are gone", |now| now.abandoned >= cycles as i64);
    assert_eq!(client.take_everything(theirs).len(), slots as usize, "no slot is lost");
    assert_eq!(owner.restore_pool(pool), 0, "there is nothing to be put right");
}

/// What a test does with a pool, by chance.
#[derive(Debug, Clone)]
enum Act {
    Acquire(usize),
    Submit(usize, usize),
    Take(usize),
    Release(usize, usize),
    Restart(usize),
    Resize(u32),
}

fn act() -> impl Strategy<Value = Act> {
    let who = 0usize..3;
    prop_oneof![
        4 => who.clone().prop_map(Act::Acquire),
        3 => (who.clone(), any::<usize>()).prop_map(|(who, which)| Act::Submit(who, which)),
        3 => who.clone().prop_map(Act::Take),
        3 => (who.clone(), any::<usize>()).prop_map(|(who, which)| Act::Release(who, which)),
        1 => (1usize..3).prop_map(Act::Restart),
        1 => (1u32..8).prop_map(Act::Resize),
    ]
}

/// A client, its part in the pool, and what it holds: whether it can submit it, how it calls it, and
/// the slot.
struct Actor(Client, PoolHandle, Vec<(bool, u64, u32)>);

#[test]
fn a_pool_of_processes_does_what_a_model_says() {
    let device = Device::start();
    let mut runner =
        TestRunner::new(Config { failure_persistence: None, ..Config::with_cases(24) });
    let acts = proptest::collection::vec(act(), 1..80);
    let result = runner.run(&acts, |acts| play(&device, acts));
    result.unwrap_or_else(|error| panic!("{error}"));
}

fn play(device: &Device, acts: Vec<Act>) -> Result<(), TestCaseError> {
    const MAX_HELD: usize = 3;
    let owner = device.client(APP).with_session();
    // Seats for those who live and one for each frame: a newcomer never has to take the seat of one who
    // left frames behind, which would take them along.
    let pool = owner.create_pool(&frame(), (4, 16, MAX_HELD as u32));
    let token = |owner: &Client| owner.share_pool(pool, OTHER_APP);
    let join = |token| {
        let client = device.client(OTHER_APP).with_session();
        let pool = client.join_pool(token);
        Actor(client, pool, Vec::new())
    };
    let (second, third) = (join(token(&owner)), join(token(&owner)));
    let mut actors = [Actor(owner, pool, Vec::new()), second, third];
    let mut filled: VecDeque<(u32, u64)> = VecDeque::new();
    let mut next = 0u64;
    // Which slots there are, and which of them go as soon as nobody has them.
    let mut there: BTreeSet<u32> = (0..4).collect();
    let mut going: BTreeSet<u32> = BTreeSet::new();
    for act in acts {
        let used: Vec<u32> = actors
            .iter()
            .flat_map(|Actor(.., held)| held.iter().map(|(_, _, slot)| *slot))
            .chain(filled.iter().map(|(slot, _)| *slot))
            .collect();
        there.retain(|slot| !going.contains(slot) || used.contains(slot));
        going.retain(|slot| there.contains(slot));
        let may_be_had = |slot: &u32| !going.contains(slot) && !used.contains(slot);
        let is_free = there.iter().any(may_be_had);
        match act {
            Act::Acquire(who) => {
                let Actor(client, pool, held) = &mut actors[who];
                match client.acquire_slot(*pool, 0) {
                    PoolAnswer::Leased(lease, slot) => {
                        prop_assert!(there.contains(&slot) && may_be_had(&slot));
                        held.push((true, lease, slot));
                    }
                    PoolAnswer::TimedOut => prop_assert!(!is_free),
                    other => {
                        prop_assert_eq!(other, PoolAnswer::TooMany);
                        prop_assert_eq!(held.len(), MAX_HELD);
                    }
                }
            }
            Act::Take(who) => {
                let Actor(client, pool, held) = &mut actors[who];
                match client.take_slot(*pool, 0) {
                    PoolAnswer::Taken(lease, slot, _, said) => {
                        prop_assert_eq!(Some((slot, said.sequence)), filled.pop_front());
                        prop_assert!(client.slot_has(lease, said.sequence as u8));
                        held.push((false, lease, slot));
                    }
                    PoolAnswer::TimedOut => prop_assert!(filled.is_empty()),
                    other => {
                        prop_assert_eq!(other, PoolAnswer::TooMany);
                        prop_assert_eq!(held.len(), MAX_HELD);
                    }
                }
            }
            Act::Submit(who, which) => {
                let Actor(client, _, held) = &mut actors[who];
                let ready: Vec<usize> = (0..held.len()).filter(|index| held[*index].0).collect();
                if !ready.is_empty() {
                    let (_, lease, slot) = held.swap_remove(ready[which % ready.len()]);
                    client.submit_slot(lease, next as u8, numbered(next));
                    filled.push_back((slot, next));
                    next += 1;
                }
            }
            Act::Release(who, which) => {
                let Actor(client, _, held) = &mut actors[who];
                if !held.is_empty() {
                    let (_, lease, _) = held.swap_remove(which % held.len());
                    client.release_slot(lease);
                }
            }
            Act::Restart(who) => {
                let abandoned = device.figures().abandoned;
                actors[who].0.kill();
                device.await_figures("its end is known", |now| now.abandoned > abandoned);
                actors[who] = join(token(&actors[0].0));
            }
            Act::Resize(slots) => {
                actors[0].0.resize_pool(pool, slots).unwrap();
                // Those that stay, those that were to go, new ones: the lowest of each.
                let wanted = slots as usize;
                let mut kept: Vec<u32> = there.difference(&going).copied().take(wanted).collect();
                kept.extend(there.intersection(&going).take(wanted - kept.len()));
                let new: Vec<u32> =
                    (0..).filter(|slot| !there.contains(slot)).take(wanted - kept.len()).collect();
                going = there.iter().copied().filter(|slot| !kept.contains(slot)).collect();
                there.extend(new);
            }
        }
    }
    Ok(())
}
