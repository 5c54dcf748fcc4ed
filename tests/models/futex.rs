// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! A model of the kernel's futex: sleepers by the word that they sleep on, in the order in which they
//! came, and a thread's end as the kernel tells it to the words on its robust list.

use std::time::Duration;

use loom::sync::{Condvar, Mutex};

use crate::atomics::{fence, AtomicU32, Ordering};

loom::lazy_static! {
    static ref SLEEPERS: Mutex<Sleepers> = Mutex::new(Sleepers::default());
    static ref WOKEN: Condvar = Condvar::new();
}

#[derive(Default)]
struct Sleepers {
    next: u32,
    /// The word that each sleeps on, and its number.
    asleep: Vec<(usize, u32)>,
}

fn name(word: &AtomicU32) -> usize {
    std::ptr::addr_of!(*word) as usize
}

/// Sleeps while the word holds `expected`, until woken.
pub fn wait(word: &AtomicU32, expected: u32, _timeout: Duration) {
    let mut sleepers = SLEEPERS.lock().unwrap();
    fence(Ordering::SeqCst);
    if word.load(Ordering::SeqCst) != expected {
        return;
    }
    let number = sleepers.next;
    sleepers.next += 1;
    sleepers.asleep.push((name(word), number));
    while sleepers.asleep.iter().any(|(_, asleep)| *asleep == number) {
        sleepers = WOKEN.wait(sleepers).unwrap();
    }
}

/// Wakes the one that came first.
pub fn wake_one(word: &AtomicU32) {
    fence(Ordering::SeqCst);
    let mut sleepers = SLEEPERS.lock().unwrap();
    if let Some(first) = sleepers.asleep.iter().position(|(asleep, _)| *asleep == name(word)) {
        sleepers.asleep.remove(first);
        WOKEN.notify_all();
    }
}

/// Wakes all.
pub fn wake_all(word: &AtomicU32) {
    fence(Ordering::SeqCst);
    let mut sleepers = SLEEPERS.lock().unwrap();
    sleepers.asleep.retain(|(asleep, _)| *asleep != name(word));
    WOKEN.notify_all();
}

/// What the kernel does to a word on the list of a thread with `id` that ends.
pub fn end_of(word: &AtomicU32, id: u32) {
    const WAITERS: u32 = 0x8000_0000;
    const DIED: u32 = 0x4000_0000;
    let mut seen = word.load(Ordering::SeqCst);
    while seen & 0x3fff_ffff == id {
        let marked = seen & WAITERS | DIED;
        match word.compare_exchange(seen, marked, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(_) if seen & WAITERS != 0 => return wake_one(word),
            Ok(_) => return,
            Err(now) => seen = now,
        }
    }
}
