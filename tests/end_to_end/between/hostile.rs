// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! A peer writes words that it chose, and any, all over a structure while this process uses it: every
//! call comes back, within its deadline, with an error or with bytes that mean nothing.

use std::os::fd::AsFd;
use std::time::Duration;

use berth_client::shared::mutex::{self, Condition, Mutex, Protocol};
use berth_client::shared::ring::{self, Consumer, Layout, Producer};
use berth_end_to_end::shared::{CONDITION, MUTEX};

use super::{rounds, Memory};

const SHORT: Duration = Duration::from_micros(200);

#[test]
fn both_ends_of_a_ring_bear_whatever_is_written_into_it() {
    let memory = Memory::new();
    let (mut failed, mut passed) = (0, 0);
    for seed in 0..rounds(200) {
        ring::create(memory.memfd.as_fd(), 0, Layout::of_capacity(512).unwrap()).unwrap();
        let Ok(mut producer) = Producer::attach(memory.memfd.as_fd(), 0) else { continue };
        let Ok(mut consumer) = Consumer::attach(memory.memfd.as_fd(), 0) else { continue };
        let mut into = [0; 600];
        let mut use_both = |length: usize| {
            let wrote = producer.write(&into[..length], SHORT).is_ok();
            let read = consumer.read(&mut into, SHORT).is_ok();
            let mut batch = producer.batch();
            while batch.push(&[1; 20]).is_ok() {}
            drop(batch);
            let mut batch = consumer.batch();
            while let Ok(Some(length)) = batch.next(&mut into) {
                assert!(length <= 508);
            }
            drop(batch);
            passed += u32::from(wrote && read);
            failed += u32::from(!(wrote && read));
        };
        use_both(100);
        let since = memory.steps();
        let peer = memory.peer("scribble", seed.into());
        memory.await_steps(since, 1, || ());
        (0..300).for_each(use_both);
        peer.kill();
        // What it left there is refused or bears being used.
        drop((producer, consumer));
        drop(Producer::attach(memory.memfd.as_fd(), 0));
        drop(Consumer::attach(memory.memfd.as_fd(), 0));
    }
    assert!(failed > 0 && passed > 0, "{passed} passed and {failed} failed");
}

#[test]
fn a_mutex_and_a_condition_bear_whatever_is_written_into_them() {
    for protocol in [Protocol::Plain, Protocol::Inherit] {
        let memory = Memory::new();
        let (mut refused, mut locked) = (0, 0);
        for seed in 0..rounds(100) {
            mutex::create(memory.memfd.as_fd(), MUTEX, 64, protocol).unwrap();
            Condition::create(memory.memfd.as_fd(), CONDITION).unwrap();
            let mutex = Mutex::attach(memory.memfd.as_fd(), MUTEX).unwrap();
            let condition = Condition::attach(memory.memfd.as_fd(), CONDITION).unwrap();
            let mut use_both = || match mutex.lock(SHORT) {
                Ok(guard) => {
                    locked += 1;
                    drop(condition.wait(guard, SHORT));
                    condition.notify_one();
                    condition.notify_all();
                }
                Err(_) => refused += 1,
            };
            use_both();
            let since = memory.steps();
            let peer = memory.peer("scribble", seed.into());
            memory.await_steps(since, 1, || ());
            (0..300).for_each(|_| use_both());
            peer.kill();
        }
        assert!(refused > 0 && locked > 0, "{locked} locked and {refused} refused");
    }
}
