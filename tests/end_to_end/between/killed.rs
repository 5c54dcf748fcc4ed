// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! 10,000 peers are killed on the host, each after a number of steps that chance says: in the middle
//! of whatever it then does.

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use berth_client::shared::mutex::{self, Condition, Guard, LockError, Mutex, Protocol};
use berth_client::shared::ring::{self, Consumer, Layout, Producer, RingError};
use berth_end_to_end::chance::Chance;
use berth_end_to_end::shared::{check, fill, CONDITION, LENGTHS, MUTEX};

use super::{rounds, Memory, Peer, PATIENCE};

/// How far a peer may come before it is killed: often it has only just begun.
pub(super) fn steps(chance: &mut Chance) -> u32 {
    1 << chance.below(8)
}

/// Kills the peer after some steps while this end goes on `each` time, asleep where there is nothing
/// to do, or never asleep; hears of the death.
fn outlive(
    memory: &Memory,
    (since, wanted): (u32, u32),
    peer: Peer,
    chance: &mut Chance,
    each: &mut (impl FnMut(Duration) -> Result<(), RingError> + Send),
) {
    let killed = AtomicBool::new(false);
    let until_it_ends = |each: &mut dyn FnMut(Duration) -> Result<(), RingError>| loop {
        let dead = killed.load(Ordering::Acquire);
        match each(PATIENCE) {
            Ok(()) => {}
            // Of the one before, until the next has come.
            Err(RingError::Died) if !dead => std::thread::yield_now(),
            Err(end) => break end,
        }
    };
    let kill = |peer: Peer| {
        killed.store(true, Ordering::Release);
        peer.kill();
    };
    let end = if chance.below(2) == 0 {
        std::thread::scope(|scope| {
            let going_on = scope.spawn(|| until_it_ends(each));
            memory.await_steps(since, wanted, std::thread::yield_now);
            kill(peer);
            going_on.join().unwrap()
        })
    } else {
        memory.await_steps(since, wanted, || match each(Duration::ZERO) {
            Ok(()) | Err(RingError::TimedOut(_) | RingError::Died) => {}
            Err(error) => panic!("{error}"),
        });
        kill(peer);
        until_it_ends(each)
    };
    assert_eq!(end, RingError::Died);
}

#[test]
fn a_consumer_outlives_its_producers() {
    let memory = Memory::new();
    ring::create(memory.memfd.as_fd(), 0, Layout::of_capacity(256).unwrap()).unwrap();
    let mut consumer = Consumer::attach(memory.memfd.as_fd(), 0).unwrap();
    let mut chance = Chance::new(1);
    let mut into = [0; LENGTHS];
    let mut expected = 0;
    for _ in 0..rounds(3500) {
        let since = memory.steps();
        let peer = memory.peer("produce", expected);
        let mut read = |within| match consumer.read(&mut into, within) {
            Ok(length) => {
                assert_eq!(check(&into[..length]), Some(expected));
                expected += 1;
                Ok(())
            }
            Err(error) => Err(error),
        };
        outlive(&memory, (since, steps(&mut chance)), peer, &mut chance, &mut read);
    }
}

#[test]
fn a_producer_outlives_its_consumers() {
    let memory = Memory::new();
    ring::create(memory.memfd.as_fd(), 0, Layout::of_capacity(256).unwrap()).unwrap();
    let mut producer = Producer::attach(memory.memfd.as_fd(), 0).unwrap();
    let mut chance = Chance::new(2);
    let mut record = [0; LENGTHS];
    let mut number = 0;
    for _ in 0..rounds(3500) {
        let since = memory.steps();
        let peer = memory.peer("consume", chance.draw() >> 1);
        let mut write = |within| {
            let length = 8 + number as usize % (LENGTHS - 8);
            fill(&mut record[..length], number);
            producer.write(&record[..length], within).map(|()| number += 1)
        };
        outlive(&memory, (since, steps(&mut chance)), peer, &mut chance, &mut write);
    }
}

/// The mutex, whether or not its last owner was killed with it, and whether it was.
pub(super) fn lock(mutex: &Mutex) -> (Guard<'_>, bool) {
    match mutex.lock(PATIENCE) {
        Ok(guard) => (guard, false),
        Err(LockError::Orphaned(mut orphan)) => {
            let first: u64 = orphan.guard().load(0).unwrap();
            orphan.guard().store(8, first).unwrap();
            (orphan.recover(), true)
        }
        Err(error) => panic!("{error}"),
    }
}

/// Two count under the mutex; one is killed, and the other and this process go on.
fn kill_those_who_count(protocol: Protocol, count: u32, seed: u64) {
    let memory = Memory::new();
    mutex::create(memory.memfd.as_fd(), MUTEX, 64, protocol).unwrap();
    let mutex = Mutex::attach(memory.memfd.as_fd(), MUTEX).unwrap();
    let mut chance = Chance::new(seed);
    let mut deaths = 0;
    let mut survivor = memory.peer("count", 0);
    for _ in 0..count {
        let since = memory.steps();
        let next = memory.peer("count", 0);
        memory.await_steps(since, steps(&mut chance), || ());
        std::mem::replace(&mut survivor, next).kill();
        let (guard, died) = lock(&mutex);
        deaths += u32::from(died);
        assert_eq!(guard.load::<u64>(0), guard.load::<u64>(8));
        drop(guard);
        // The other is not stopped by it.
        memory.await_steps(memory.steps(), 1, || ());
    }
    assert!(deaths > 0, "nobody was ever killed with the mutex");
}

#[test]
fn a_mutex_outlives_its_owners() {
    kill_those_who_count(Protocol::Plain, rounds(1500), 3);
}

#[test]
fn a_mutex_that_lends_priority_outlives_its_owners() {
    kill_those_who_count(Protocol::Inherit, rounds(500), 4);
}

#[test]
fn two_go_on_playing_while_others_who_wait_are_killed() {
    let memory = Memory::new();
    mutex::create(memory.memfd.as_fd(), MUTEX, 64, Protocol::Plain).unwrap();
    Condition::create(memory.memfd.as_fd(), CONDITION).unwrap();
    let mutex = Mutex::attach(memory.memfd.as_fd(), MUTEX).unwrap();
    let condition = Condition::attach(memory.memfd.as_fd(), CONDITION).unwrap();
    let mut chance = Chance::new(5);
    let _other = memory.peer("play", 0);
    // Serves, and waits until the ball is back.
    let serve = || {
        let (mut guard, _) = lock(&mutex);
        let ball: u64 = guard.load(0).unwrap();
        assert_eq!(ball % 2, 0);
        guard.store(0, ball + 1).unwrap();
        condition.notify_one();
        while guard.load::<u64>(0).unwrap() != ball + 2 {
            guard = match condition.wait(guard, PATIENCE) {
                Ok((guard, _)) => guard,
                Err(LockError::Orphaned(orphan)) => orphan.recover(),
                Err(error) => panic!("{error}"),
            };
        }
    };
    for _ in 0..rounds(1000) {
        let since = memory.steps();
        let peer = memory.peer("wait", 0);
        memory.await_steps(since, 1 << chance.below(3), serve);
        peer.kill();
        serve();
    }
}
