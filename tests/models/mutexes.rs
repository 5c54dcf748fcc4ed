// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

use crate::atomics::{AtomicU32, Ordering};
use crate::mutex::lock::{Acquired, Refused, Words};
use crate::mutex::signal;
use crate::{explore, futex, patience};

struct Shared {
    lock: AtomicU32,
    state: AtomicU32,
    count: AtomicU32,
    sleepers: AtomicU32,
    /// Loom reports it if two are at it at once.
    guarded: UnsafeCell<u32>,
}

impl Shared {
    fn new() -> Arc<Shared> {
        Arc::new(Shared {
            lock: AtomicU32::new(0),
            state: AtomicU32::new(0),
            count: AtomicU32::new(0),
            sleepers: AtomicU32::new(0),
            guarded: UnsafeCell::new(0),
        })
    }

    fn words(&self) -> Words<'_> {
        Words { lock: &self.lock, state: &self.state }
    }

    fn condition(&self) -> signal::Words<'_> {
        signal::Words { count: &self.count, sleepers: &self.sleepers }
    }

    fn lock(&self, id: u32) -> Result<Acquired, Refused> {
        self.words().lock(id, patience)
    }

    fn add(&self) {
        // SAFETY: that the caller alone is at it is what loom checks.
        self.guarded.with_mut(|guarded| unsafe { *guarded += 1 });
    }

    fn get(&self) -> u32 {
        // SAFETY: as above.
        self.guarded.with(|guarded| unsafe { *guarded })
    }

    /// Waits for what is guarded to be `wanted`, as the process with `id`.
    fn wait_for(&self, id: u32, wanted: u32) -> Acquired {
        let mut found = self.lock(id).unwrap();
        while found == Acquired::Clean && self.get() != wanted {
            let seen = self.condition().prepare();
            self.words().unlock();
            self.condition().wait(seen, patience, || self.words().is_orphaned());
            found = self.lock(id).unwrap();
        }
        found
    }
}

/// A process for each of these, which has its own id.
fn processes(
    shared: &Arc<Shared>,
    works: impl IntoIterator<Item = fn(&Shared, u32)>,
) -> Vec<thread::JoinHandle<()>> {
    let start = |(id, work): (u32, fn(&Shared, u32))| {
        let shared = Arc::clone(shared);
        thread::spawn(move || work(&shared, id))
    };
    (1..).zip(works).map(start).collect()
}

fn add_once(shared: &Shared, id: u32) {
    assert_eq!(shared.lock(id), Ok(Acquired::Clean));
    shared.add();
    shared.words().unlock();
}

#[test]
fn three_processes_exclude_each_other_and_none_sleeps_for_ever() {
    explore(2, || {
        let shared = Shared::new();
        let others = processes(&shared, [add_once as fn(&Shared, u32), add_once]);
        add_once(&shared, 9);
        others.into_iter().for_each(|other| other.join().unwrap());
        assert_eq!(shared.get(), 3);
    });
}

#[test]
fn one_of_those_who_wait_is_told_of_a_death_and_brings_it_in_order() {
    // Marked by the kernel, or by one who heard of it.
    one_is_told_of_a_death(|shared| futex::end_of(&shared.lock, 9));
    one_is_told_of_a_death(|shared| assert!(shared.words().bury(9)));
}

fn one_is_told_of_a_death(die: fn(&Shared)) {
    explore(2, move || {
        let shared = Shared::new();
        assert_eq!(shared.lock(9), Ok(Acquired::Clean));
        let wait: fn(&Shared, u32) = |shared, id| {
            if shared.lock(id).unwrap() == Acquired::Orphaned {
                shared.add();
                shared.words().recover();
            }
            shared.words().unlock();
        };
        let others = processes(&shared, [wait, wait]);
        shared.get();
        die(&shared);
        others.into_iter().for_each(|other| other.join().unwrap());
        assert_eq!(shared.get(), 1, "told once");
    });
}

#[test]
fn whoever_recovers_may_die_too() {
    explore(2, || {
        let shared = Shared::new();
        shared.lock.store(0x4000_0000, Ordering::Relaxed);
        let recover: fn(&Shared, u32) = |shared, id| {
            assert_eq!(shared.lock(id), Ok(Acquired::Orphaned));
            futex::end_of(&shared.lock, id);
        };
        let others = processes(&shared, [recover, recover]);
        others.into_iter().for_each(|other| other.join().unwrap());
        assert_eq!(shared.lock(9), Ok(Acquired::Orphaned));
    });
}

#[test]
fn a_condemned_mutex_is_refused_to_all_who_wait() {
    explore(2, || {
        let shared = Shared::new();
        assert_eq!(shared.lock(9), Ok(Acquired::Clean));
        let wait: fn(&Shared, u32) = |shared, id| {
            assert_eq!(shared.lock(id), Err(Refused::Unrecoverable));
            shared.words().unlock();
        };
        let others = processes(&shared, [wait, wait]);
        shared.words().condemn();
        shared.words().unlock();
        others.into_iter().for_each(|other| other.join().unwrap());
    });
}

#[test]
fn a_notification_after_the_mutex_was_given_up_is_not_lost() {
    explore(3, || {
        let shared = Shared::new();
        let wait: fn(&Shared, u32) = |shared, id| {
            assert_eq!(shared.wait_for(id, 1), Acquired::Clean);
            shared.words().unlock();
        };
        let others = processes(&shared, [wait]);
        add_once(&shared, 9);
        shared.condition().notify_one();
        others.into_iter().for_each(|other| other.join().unwrap());
    });
}

#[test]
fn a_notification_for_all_reaches_two_who_wait() {
    explore(2, || {
        let shared = Shared::new();
        let wait: fn(&Shared, u32) = |shared, id| {
            assert_eq!(shared.wait_for(id, 1), Acquired::Clean);
            shared.words().unlock();
        };
        let others = processes(&shared, [wait, wait]);
        add_once(&shared, 9);
        shared.condition().notify_all();
        others.into_iter().for_each(|other| other.join().unwrap());
    });
}

#[test]
fn a_notification_without_the_mutex_does_not_hide_a_waiter_from_the_next() {
    explore(3, || {
        let shared = Shared::new();
        let wait: fn(&Shared, u32) = |shared, id| {
            assert_eq!(shared.wait_for(id, 1), Acquired::Clean);
            shared.words().unlock();
        };
        let others = processes(&shared, [wait]);
        // Somebody else slept here before.
        shared.condition().prepare();
        shared.condition().notify_all();
        add_once(&shared, 9);
        shared.condition().notify_all();
        others.into_iter().for_each(|other| other.join().unwrap());
    });
}
