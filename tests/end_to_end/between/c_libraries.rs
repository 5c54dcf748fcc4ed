// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! The structures between programs of two C libraries, this one's glibc and the peer's musl: each
//! lays out its own mutexes and threads as it likes, registers robust mutexes with the kernel in its own
//! way, and has no part in ours.

use std::os::fd::AsFd;

use berth_client::shared::mutex::{self, Condition, Mutex, Protocol};
use berth_client::shared::ring::{self, Consumer, Layout, RingError};
use berth_end_to_end::chance::Chance;
use berth_end_to_end::facilities::{missing, Facility, OTHER_LIBC_FOLDER};
use berth_end_to_end::shared::{check, CONDITION, LENGTHS, MUTEX};

use super::killed::{lock, steps};
use super::{Memory, Peer, PATIENCE};

fn foreign(memory: &Memory, role: &str, number: u64) -> Peer {
    memory.peer_in(OTHER_LIBC_FOLDER, role, number)
}

/// Those of both libraries count under the mutex, and are killed in turns.
fn kill_those_who_count(protocol: Protocol) {
    let memory = Memory::new();
    mutex::create(memory.memfd.as_fd(), MUTEX, 64, protocol).unwrap();
    let mutex = Mutex::attach(memory.memfd.as_fd(), MUTEX).unwrap();
    let mut chance = Chance::new(6);
    let mut deaths = [0, 0];
    for round in 0..250 {
        let start = |own| match own {
            true => memory.peer("count", 0),
            false => foreign(&memory, "count", 0),
        };
        let since = memory.steps();
        let dies = start(round % 2 == 0);
        // It is at work by then, however slowly the other starts.
        memory.await_steps(since, 1, || ());
        let lives = start(round % 2 == 1);
        memory.await_steps(memory.steps(), steps(&mut chance), || ());
        dies.kill();
        let (guard, died) = lock(&mutex);
        deaths[round % 2] += u32::from(died);
        assert_eq!(guard.load::<u64>(0), guard.load::<u64>(8));
        drop(guard);
        // The other is not stopped by it.
        memory.await_steps(memory.steps(), 1, || ());
        lives.kill();
        // Whose turn it is now.
        drop(lock(&mutex).0);
    }
    assert!(deaths.iter().all(|deaths| *deaths > 0), "killed with the mutex: {deaths:?}");
}

#[test]
fn a_mutex_outlives_owners_of_both_c_libraries() {
    if missing(Facility::OtherLibc) {
        return;
    }
    kill_those_who_count(Protocol::Plain);
}

#[test]
fn a_mutex_that_lends_priority_outlives_owners_of_both_c_libraries() {
    if missing(Facility::OtherLibc) {
        return;
    }
    kill_those_who_count(Protocol::Inherit);
}

#[test]
fn a_condition_wakes_across_c_libraries() {
    if missing(Facility::OtherLibc) {
        return;
    }
    let memory = Memory::new();
    mutex::create(memory.memfd.as_fd(), MUTEX, 64, Protocol::Plain).unwrap();
    Condition::create(memory.memfd.as_fd(), CONDITION).unwrap();
    let mutex = Mutex::attach(memory.memfd.as_fd(), MUTEX).unwrap();
    let condition = Condition::attach(memory.memfd.as_fd(), CONDITION).unwrap();
    let _other = foreign(&memory, "play", 0);
    for served in 0..1000u64 {
        let (mut guard, _) = lock(&mutex);
        guard.store(0, 2 * served + 1).unwrap();
        condition.notify_one();
        while guard.load::<u64>(0).unwrap() != 2 * served + 2 {
            guard = condition.wait(guard, PATIENCE).unwrap().0;
        }
    }
}

#[test]
fn a_ring_carries_records_from_one_c_library_to_the_other_until_its_end() {
    if missing(Facility::OtherLibc) {
        return;
    }
    let memory = Memory::new();
    ring::create(memory.memfd.as_fd(), 0, Layout::of_capacity(256).unwrap()).unwrap();
    let mut consumer = Consumer::attach(memory.memfd.as_fd(), 0).unwrap();
    let peer = foreign(&memory, "produce", 0);
    let mut into = [0; LENGTHS];
    for expected in 0..10_000 {
        let length = consumer.read(&mut into, PATIENCE).unwrap();
        assert_eq!(check(&into[..length]), Some(expected));
    }
    peer.kill();
    let end = loop {
        if let Err(end) = consumer.read(&mut into, PATIENCE) {
            break end;
        }
    };
    assert_eq!(end, RingError::Died);
}
