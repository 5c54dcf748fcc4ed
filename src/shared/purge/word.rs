// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! The word of one chunk, and the steps from one state to the next: each is one compare-and-swap.
//!
//! | bits | EMPTY | PINNED | UNPINNED | PURGING |
//! |---|---|---|---|---|
//! | 31–30 | 0 | 1 | 2 | 3 |
//! | 29 | – | filled | filled | – |
//! | 28–26 | – | – | priority | – |
//! | 25–0 | – | 15–0: who pins it | when it was unpinned | – |
//!
//! They are public for whoever makes a model of them; others use [`PurgeBlock`](super::PurgeBlock).
//!
//! Any bits at all are one of these states: a peer that stores nonsense has stored a state.

use std::sync::atomic::{AtomicU32, Ordering};

use super::{Contents, Pinner, Priority, Stamp};

/// How often a step is tried again because somebody else took one: enough for any number of threads
/// that keep to the rules, and an end for a peer that changes the word for ever.
const ATTEMPTS: u32 = 10_000;

const TAG_SHIFT: u32 = 30;
const FILLED: u32 = 1 << 29;
const PRIORITY_SHIFT: u32 = 26;
const PINNERS: u32 = 0xffff;

const PINNED: u32 = 1;
const UNPINNED: u32 = 2;
const PURGING: u32 = 3;

/// A word that several processes, or the threads of a model, step on.
pub trait Word {
    /// What it holds; what was written before it was stored is seen.
    fn load(&self) -> u32;
    /// One step, if nobody else took one since `from` was loaded.
    fn step(&self, from: u32, to: u32) -> bool;
}

impl Word for AtomicU32 {
    fn load(&self) -> u32 {
        self.load(Ordering::Acquire)
    }

    fn step(&self, from: u32, to: u32) -> bool {
        self.compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }
}

/// What a chunk's word says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChunkState {
    /// It holds nothing, and reads zero: never used, or purged.
    Empty,
    /// Somebody uses it.
    Pinned {
        /// One bit for each [`Pinner`].
        pinners: u16,
        /// Its contents are whole.
        filled: bool,
    },
    /// Nobody uses it: it may be purged.
    Unpinned {
        /// What goes first.
        priority: Priority,
        /// When it was unpinned.
        since: Stamp,
        /// Its contents are whole.
        filled: bool,
    },
    /// The service is taking its memory away.
    Purging,
}

impl ChunkState {
    /// The state that a word stands for.
    pub fn of(word: u32) -> ChunkState {
        let filled = word & FILLED != 0;
        match word >> TAG_SHIFT {
            // Cut to the bits that are pinners'.
            PINNED => ChunkState::Pinned { pinners: (word & PINNERS) as u16, filled },
            UNPINNED => ChunkState::Unpinned {
                priority: Priority::of_bits(word >> PRIORITY_SHIFT),
                since: Stamp::of_bits(word),
                filled,
            },
            PURGING => ChunkState::Purging,
            _ => ChunkState::Empty,
        }
    }

    /// The word that stands for it.
    pub fn word(self) -> u32 {
        let bit = |filled: bool| if filled { FILLED } else { 0 };
        match self {
            ChunkState::Empty => 0,
            ChunkState::Pinned { pinners, filled } => {
                PINNED << TAG_SHIFT | bit(filled) | u32::from(pinners)
            }
            ChunkState::Unpinned { priority, since, filled } => {
                let priority = priority.bits() << PRIORITY_SHIFT;
                UNPINNED << TAG_SHIFT | bit(filled) | priority | since.bits()
            }
            ChunkState::Purging => PURGING << TAG_SHIFT,
        }
    }

    /// Whether its memory may be taken. Whoever pinned it last may have died since: then there is no
    /// pinner left, and it goes as if it had been unpinned long ago.
    pub fn is_purgeable(self) -> bool {
        matches!(self, ChunkState::Unpinned { .. } | ChunkState::Pinned { pinners: 0, .. })
    }
}

/// What became of an attempt to pin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    /// It is pinned.
    Pinned(Contents),
    /// Its memory is being taken, or others change the word without end.
    Wait,
}

/// Pins for `pinner`.
pub fn pin(word: &impl Word, pinner: Pinner) -> Attempt {
    let mut seen = word.load();
    for _ in 0..ATTEMPTS {
        let (others, filled) = match ChunkState::of(seen) {
            ChunkState::Empty => (0, false),
            ChunkState::Pinned { pinners, filled } => (pinners, filled),
            ChunkState::Unpinned { filled, .. } => (0, filled),
            ChunkState::Purging => return Attempt::Wait,
        };
        let pinned = ChunkState::Pinned { pinners: others | pinner.bit(), filled };
        if word.step(seen, pinned.word()) {
            return Attempt::Pinned(Contents::of(filled));
        }
        seen = word.load();
    }
    Attempt::Wait
}

/// Takes `pinner`'s pin away. Whoever is the last leaves the chunk to be purged.
pub fn unpin(word: &impl Word, pinner: Pinner, priority: Priority, since: Stamp) {
    let mut seen = word.load();
    for _ in 0..ATTEMPTS {
        // In any other state a peer that may write here took the pin away.
        let ChunkState::Pinned { pinners, filled } = ChunkState::of(seen) else { return };
        let next = match pinners & !pinner.bit() {
            0 => ChunkState::Unpinned { priority, since, filled },
            pinners => ChunkState::Pinned { pinners, filled },
        };
        if word.step(seen, next.word()) {
            return;
        }
        seen = word.load();
    }
}

/// Says of a pinned chunk whether its contents are whole.
pub fn set_filled(word: &impl Word, filled: bool) {
    let mut seen = word.load();
    for _ in 0..ATTEMPTS {
        let ChunkState::Pinned { pinners, .. } = ChunkState::of(seen) else { return };
        let next = ChunkState::Pinned { pinners, filled };
        if word.step(seen, next.word()) {
            return;
        }
        seen = word.load();
    }
}

/// Takes the pin of a pinner away that is no more.
pub fn forget(word: &impl Word, pinner: Pinner) {
    let mut seen = word.load();
    for _ in 0..ATTEMPTS {
        let ChunkState::Pinned { pinners, filled } = ChunkState::of(seen) else { return };
        if pinners & pinner.bit() == 0 {
            return;
        }
        let next = ChunkState::Pinned { pinners: pinners & !pinner.bit(), filled };
        if word.step(seen, next.word()) {
            return;
        }
        seen = word.load();
    }
}

/// Begins to take a chunk's memory: false if it is not as it was when it was looked at.
pub fn begin_purge(word: &impl Word, seen: u32) -> bool {
    ChunkState::of(seen).is_purgeable() && word.step(seen, ChunkState::Purging.word())
}

/// Ends it: the chunk is empty, or what it was if its memory could not be taken.
pub fn end_purge(word: &impl Word, next: u32) {
    // Who stored anything else meanwhile keeps what it stored, and what it makes of it.
    let _ = word.step(ChunkState::Purging.word(), next);
}
