// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! The word of a chunk of a purgeable region.
//!
//! Every way in which threads on the steps of one word can follow each other, tried by loom. The
//! chunk's memory is a cell that loom watches: whoever looks at it while another writes it, or
//! without having seen that it was written, fails the model.

use berth_shared::purge::word::{self, Attempt, Word};
use berth_shared::purge::{ChunkState, Contents, Pinner, Priority, Stamp};
use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicU32, Ordering};
use loom::sync::Arc;
use loom::thread;

/// A word that loom watches.
struct Watched(AtomicU32);

impl Word for Watched {
    fn load(&self) -> u32 {
        self.0.load(Ordering::Acquire)
    }

    fn step(&self, from: u32, to: u32) -> bool {
        self.0.compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }
}

const WRITTEN: u32 = 0x5a;

fn somewhen() -> Stamp {
    Stamp::of_bits(7)
}

/// Tries every order in which a thread is interrupted no more than twice where it did not ask for
/// it: all of them are too many to try.
fn model(steps: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(2);
    builder.check(steps);
}

/// A chunk: its word and its memory.
struct Chunk {
    word: Watched,
    memory: UnsafeCell<u32>,
}

// SAFETY: that the word keeps accesses to the memory apart is what the models prove; loom checks it.
unsafe impl Sync for Chunk {}

impl Chunk {
    fn new(state: ChunkState) -> Arc<Chunk> {
        Arc::new(Chunk {
            word: Watched(AtomicU32::new(state.word())),
            memory: UnsafeCell::new(WRITTEN),
        })
    }

    fn filled() -> Arc<Chunk> {
        let (priority, since) = (Priority::NORMAL, somewhen());
        Chunk::new(ChunkState::Unpinned { priority, since, filled: true })
    }

    fn read(&self) -> u32 {
        // SAFETY: loom tells the model if it is not.
        self.memory.with(|memory| unsafe { *memory })
    }

    fn write(&self, value: u32) {
        // SAFETY: as in `read`.
        self.memory.with_mut(|memory| unsafe { *memory = value });
    }

    fn pin(&self, pinner: Pinner) -> Contents {
        loop {
            match word::pin(&self.word, pinner) {
                Attempt::Pinned(contents) => return contents,
                Attempt::Wait => thread::yield_now(),
            }
        }
    }

    fn unpin(&self, pinner: Pinner) {
        word::unpin(&self.word, pinner, Priority::NORMAL, somewhen());
    }

    /// What the service does with what it has seen.
    fn purge(&self) {
        let seen = self.word.load();
        if word::begin_purge(&self.word, seen) {
            self.write(0);
            word::end_purge(&self.word, ChunkState::Empty.word());
        }
    }

    fn state(&self) -> ChunkState {
        ChunkState::of(self.word.load())
    }
}

fn pinner(number: usize) -> Pinner {
    Pinner::new(number).unwrap()
}

#[test]
fn a_pin_that_says_kept_finds_what_was_written_while_the_service_purges() {
    model(|| {
        let chunk = Chunk::filled();
        let service = thread::spawn({
            let chunk = chunk.clone();
            move || chunk.purge()
        });
        match chunk.pin(Pinner::OWNER) {
            Contents::Kept => assert_eq!(chunk.read(), WRITTEN),
            Contents::Purged => {
                assert_eq!(chunk.read(), 0);
                chunk.write(WRITTEN);
                word::set_filled(&chunk.word, true);
            }
        }
        assert_eq!(chunk.read(), WRITTEN, "nothing was taken while it was pinned");
        chunk.unpin(Pinner::OWNER);
        service.join().unwrap();
        assert!(chunk.state().is_purgeable() || chunk.state() == ChunkState::Empty);
    });
}

#[test]
fn two_sessions_pin_beside_the_service_and_neither_believes_what_is_gone() {
    model(|| {
        let chunk = Chunk::filled();
        let threads = [1, 2].map(|number| {
            let chunk = chunk.clone();
            thread::spawn(move || {
                let pinner = pinner(number);
                // Only read: two that write at once have to agree among themselves. And not waited
                // for: that two wait for a third is more orders than anybody can try.
                match word::pin(&chunk.word, pinner) {
                    Attempt::Pinned(Contents::Kept) => assert_eq!(chunk.read(), WRITTEN),
                    Attempt::Pinned(Contents::Purged) => assert_eq!(chunk.read(), 0),
                    Attempt::Wait => return,
                }
                chunk.unpin(pinner);
            })
        });
        chunk.purge();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

#[test]
fn what_is_written_again_is_believed_only_when_it_is_whole() {
    model(|| {
        let chunk = Chunk::new(ChunkState::Empty);
        let reader = thread::spawn({
            let chunk = chunk.clone();
            move || {
                if chunk.pin(pinner(1)) == Contents::Kept {
                    assert_eq!(chunk.read(), WRITTEN);
                }
                chunk.unpin(pinner(1));
            }
        });
        assert_eq!(chunk.pin(Pinner::OWNER), Contents::Purged);
        chunk.write(1);
        chunk.write(WRITTEN);
        word::set_filled(&chunk.word, true);
        chunk.unpin(Pinner::OWNER);
        reader.join().unwrap();
        let kept =
            ChunkState::Unpinned { priority: Priority::NORMAL, since: somewhen(), filled: true };
        assert_eq!(chunk.state(), kept);
    });
}

#[test]
fn the_pins_of_the_dead_go_and_those_of_the_living_stay() {
    model(|| {
        let dead = pinner(3);
        let chunk = Chunk::filled();
        assert_eq!(chunk.pin(dead), Contents::Kept);
        let service = thread::spawn({
            let chunk = chunk.clone();
            move || {
                word::forget(&chunk.word, dead);
                chunk.purge();
            }
        });
        // Pinned by the dead until the service forgets it, so that it may be gone by now.
        if chunk.pin(Pinner::OWNER) == Contents::Kept {
            assert_eq!(chunk.read(), WRITTEN);
        }
        let ChunkState::Pinned { pinners, .. } = chunk.state() else { panic!("it is pinned") };
        assert_eq!(pinners & 1, 1);
        chunk.unpin(Pinner::OWNER);
        service.join().unwrap();
        if let ChunkState::Pinned { pinners, .. } = chunk.state() {
            panic!("{pinners:#x} are left");
        }
    });
}
