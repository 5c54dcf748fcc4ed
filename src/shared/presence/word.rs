// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! What a word of presence holds, and how it changes.
//!
//! ```text
//! 0                   vacant: nobody came
//! 1 .. 0x3ffffffe     the id of whoever is present
//! 0x3fffffff          left in order
//! 0x40000000 is set   died: the kernel's mark, in place of the id
//! 0x80000000 is set   somebody waits for the word to change
//! ```

use std::time::Duration;

use crate::atomics::{fence, AtomicU32, Ordering};
use crate::futex;

/// How long to sleep on a word before looking again. Whoever is killed between taking the mark of those
/// who wait and waking them leaves them asleep, and the kernel wakes nobody then; so does one whom the
/// kernel woke alone and who dies before it could wake the others.
pub const LONGEST_SLEEP: Duration = Duration::from_secs(1);

const WAITERS: u32 = 0x8000_0000;
const DIED: u32 = 0x4000_0000;
const ID: u32 = 0x3fff_ffff;
const LEFT: u32 = ID;

/// How it stands with whoever a word is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Nobody came yet.
    Vacant,
    /// There, under this id.
    Present(u32),
    /// Went in order.
    Left,
    /// The process ended while it was present.
    Died,
}

impl Standing {
    /// What a value of the word means; each value means something.
    pub fn of(value: u32) -> Standing {
        match value & ID {
            _ if value & DIED != 0 => Standing::Died,
            0 => Standing::Vacant,
            LEFT => Standing::Left,
            id => Standing::Present(id),
        }
    }
}

/// Puts `id` into a word whose standing `may_replace` accepts. Answers how it stood before, or how it
/// stands.
pub fn enter(
    word: &AtomicU32,
    id: u32,
    may_replace: impl Fn(Standing) -> bool,
) -> Result<Standing, Standing> {
    let mut seen = word.load(Ordering::Relaxed);
    // Another may come or go meanwhile, but not for ever: a peer that keeps storing is a stranger's.
    for _ in 0..MOST_CHANGES {
        let standing = Standing::of(seen);
        if !may_replace(standing) {
            return Err(standing);
        }
        let entered = seen & WAITERS | id;
        match word.compare_exchange(seen, entered, Ordering::AcqRel, Ordering::Relaxed) {
            Ok(_) => {
                // Whoever waits for the word looks again.
                if seen & WAITERS != 0 {
                    notify(word);
                }
                return Ok(standing);
            }
            Err(now) => seen = now,
        }
    }
    Err(Standing::of(seen))
}

/// How often a word may change under one step here before the step is given up.
const MOST_CHANGES: u32 = 1000;

/// Leaves in order, and wakes whoever waits.
pub fn leave(word: &AtomicU32) {
    replace(word, LEFT);
}

/// Marks a death that the kernel did not see, and wakes whoever waits; only if the word still holds
/// `id`.
pub fn bury(word: &AtomicU32, id: u32) -> bool {
    for waiters in [0, WAITERS] {
        let alive = id | waiters;
        if word.compare_exchange(alive, DIED, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            futex::wake_all(word);
            return true;
        }
    }
    false
}

/// Makes a word vacant again after a death, once what the dead left is in order.
pub fn clear_dead(word: &AtomicU32) -> bool {
    let seen = word.load(Ordering::Relaxed);
    Standing::of(seen) == Standing::Died
        && word.compare_exchange(seen, 0, Ordering::AcqRel, Ordering::Relaxed).is_ok()
}

fn replace(word: &AtomicU32, value: u32) {
    if word.swap(value, Ordering::AcqRel) & WAITERS != 0 {
        futex::wake_all(word);
    }
}

/// Says that the caller is about to wait for the word, and what it must hold until then. Between this
/// and the wait the caller looks once more at what it waits for: whoever changes that calls
/// [`notify`] after.
pub fn expect(word: &AtomicU32) -> u32 {
    let seen = word.fetch_or(WAITERS, Ordering::Relaxed);
    // The other half of `notify_if_awaited`: what the caller looks at next is looked at after this.
    fence(Ordering::SeqCst);
    seen | WAITERS
}

/// Wakes whoever waits for the word, if somebody does: no system call otherwise. What the caller
/// stored before is seen by whoever is woken, and by whoever comes to wait after.
pub fn notify_if_awaited(word: &AtomicU32) {
    // Either the waiter's mark is seen here, or what was stored before is seen by the waiter.
    fence(Ordering::SeqCst);
    if word.load(Ordering::Relaxed) & WAITERS != 0 {
        notify(word);
    }
}

fn notify(word: &AtomicU32) {
    word.fetch_and(!WAITERS, Ordering::Relaxed);
    futex::wake_all(word);
}
