// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! The algorithm of the mutex: a word that is 0 or holds the id of the process that has it, and one
//! that says whether what it guards is consistent.
//!
//! The kernel marks the first word if that process dies and wakes one who waits. Whoever is woken
//! may be killed before it has done anything, and takes the wake-up with it: so nobody sleeps longer
//! than [`LONGEST_SLEEP`] without looking again.

use std::time::Duration;

use crate::atomics::{AtomicU32, Ordering};
use crate::futex;

const WAITERS: u32 = 0x8000_0000;
const DIED: u32 = 0x4000_0000;
const ID: u32 = 0x3fff_ffff;

/// What is guarded is as its last owner wanted it.
const CONSISTENT: u32 = 0;
/// Its last owner gave it up in the middle of something, alive.
const ABANDONED: u32 = 1;
/// Nobody brought it in order: the mutex is of no more use. So is any other value.
const UNRECOVERABLE: u32 = 2;

/// How long a wake-up that died with the woken can stay unnoticed.
pub const LONGEST_SLEEP: Duration = Duration::from_millis(200);

/// How often the word may change while one step is tried: a peer that keeps storing breaks the rules.
const MOST_CHANGES: u32 = 1000;

/// The words of a mutex.
#[derive(Debug, Clone, Copy)]
pub struct Words<'m> {
    /// Whose it is.
    pub lock: &'m AtomicU32,
    /// How what it guards was left.
    pub state: &'m AtomicU32,
}

/// How a mutex was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acquired {
    /// In order.
    Clean,
    /// Its owner died, or gave it up in the middle.
    Orphaned,
}

/// Why a mutex was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// It was not free in time.
    TimedOut,
    /// It is of no more use.
    Unrecoverable,
}

impl Words<'_> {
    /// Takes the mutex for the process with `id`. `left` says how long it may still wait.
    pub fn lock(
        &self,
        id: u32,
        left: impl FnMut() -> Option<Duration>,
    ) -> Result<Acquired, Refused> {
        let died = match self.lock.compare_exchange(0, id, Ordering::Acquire, Ordering::Relaxed) {
            Ok(_) => false,
            Err(_) => self.lock_contended(id, left)?,
        };
        self.admit(died)
    }

    /// Whether its owner died.
    fn lock_contended(
        &self,
        id: u32,
        mut left: impl FnMut() -> Option<Duration>,
    ) -> Result<bool, Refused> {
        // Who has slept cannot tell whether others still do, and says that they may.
        let mut others = 0;
        loop {
            let seen = self.lock.load(Ordering::Relaxed);
            if seen & ID == 0 {
                let taken = id | seen & WAITERS | others;
                let (success, failure) = (Ordering::Acquire, Ordering::Relaxed);
                if self.lock.compare_exchange(seen, taken, success, failure).is_ok() {
                    return Ok(seen & DIED != 0);
                }
                // Another was faster; against one that breaks the rules the deadline holds.
                left().ok_or(Refused::TimedOut)?;
                continue;
            }
            // Before it gives up, too: it may have been woken in another's place.
            let marked = seen | WAITERS;
            let (success, failure) = (Ordering::Relaxed, Ordering::Relaxed);
            let is_marked = seen == marked
                || self.lock.compare_exchange(seen, marked, success, failure).is_ok();
            let left = left().ok_or(Refused::TimedOut)?;
            if is_marked {
                futex::wait(self.lock, marked, left.min(LONGEST_SLEEP));
                others = WAITERS;
            }
        }
    }

    /// What becomes of whoever has just got the lock.
    pub fn admit(&self, died: bool) -> Result<Acquired, Refused> {
        match self.state.load(Ordering::Relaxed) {
            CONSISTENT if died => Ok(Acquired::Orphaned),
            CONSISTENT => Ok(Acquired::Clean),
            ABANDONED => Ok(Acquired::Orphaned),
            _ => Err(Refused::Unrecoverable),
        }
    }

    /// Gives the mutex up and wakes one who waits, if somebody does.
    pub fn unlock(&self) {
        if self.lock.swap(0, Ordering::Release) & WAITERS != 0 {
            futex::wake_one(self.lock);
        }
    }

    /// The id of whoever has it, if anybody does.
    pub fn owner(&self) -> Option<u32> {
        let seen = self.lock.load(Ordering::Relaxed);
        Some(seen & ID).filter(|id| *id != 0 && seen & DIED == 0)
    }

    /// Marks the death of the owner with `id` as the kernel does, and wakes one who waits. `false` if
    /// it has not got the mutex.
    pub fn bury(&self, id: u32) -> bool {
        // Whoever comes to wait meanwhile stores its mark once.
        for _ in 0..MOST_CHANGES {
            let seen = self.lock.load(Ordering::Relaxed);
            if id == 0 || seen & (ID | DIED) != id {
                return false;
            }
            let marked = seen & WAITERS | DIED;
            let (success, failure) = (Ordering::AcqRel, Ordering::Relaxed);
            if self.lock.compare_exchange(seen, marked, success, failure).is_ok() {
                if seen & WAITERS != 0 {
                    futex::wake_one(self.lock);
                }
                return true;
            }
        }
        false
    }

    /// Whether the owner died and nobody has taken the mutex since.
    pub fn is_orphaned(&self) -> bool {
        let seen = self.lock.load(Ordering::Relaxed);
        seen & DIED != 0 && seen & ID == 0
    }

    /// The owner has brought what is guarded in order.
    pub fn recover(&self) {
        self.state.store(CONSISTENT, Ordering::Relaxed);
    }

    /// The owner leaves what is guarded in the middle of something; the next is told.
    pub fn abandon(&self) {
        self.state.store(ABANDONED, Ordering::Relaxed);
    }

    /// The owner was told and did not bring it in order; all who come are refused.
    pub fn condemn(&self) {
        self.state.store(UNRECOVERABLE, Ordering::Relaxed);
    }
}
