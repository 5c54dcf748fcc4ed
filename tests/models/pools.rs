// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Pools: a slot or two, two or three participants, and somebody who writes nonsense to the table.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32 as Observed, AtomicU64 as Own, Ordering};
use std::sync::Arc;

use berth_shared::pool::{Board, Cells, Line, Machine, Metadata, Queue, Turn, Word};
use loom::cell::UnsafeCell;
use loom::model::Builder;
use loom::sync::atomic::{fence, AtomicU32, AtomicU64};
use loom::thread;

/// What loom checks every order of.
macro_rules! checked_word {
    ($name:ident, $atomic:ty, $value:ty) => {
        struct $name($atomic);

        impl Word<$value> for $name {
            fn load(&self, order: Ordering) -> $value {
                self.0.load(order)
            }
            fn store(&self, value: $value, order: Ordering) {
                self.0.store(value, order);
            }
            fn fetch_add(&self, value: $value, order: Ordering) -> $value {
                self.0.fetch_add(value, order)
            }
            fn fetch_and(&self, value: $value, order: Ordering) -> $value {
                self.0.fetch_and(value, order)
            }
            fn fetch_or(&self, value: $value, order: Ordering) -> $value {
                self.0.fetch_or(value, order)
            }
            fn compare_exchange(
                &self,
                now: $value,
                new: $value,
                ok: Ordering,
                failed: Ordering,
            ) -> Result<$value, $value> {
                self.0.compare_exchange(now, new, ok, failed)
            }
        }
    };
}

checked_word!(Narrow, AtomicU32, u32);
checked_word!(Wide, AtomicU64, u64);

fn narrow() -> Narrow {
    Narrow(AtomicU32::new(0))
}

/// A pool, of one slot where nothing else is said, and what is in the buffer of that.
struct Pool {
    slots: Vec<Wide>,
    tickets: Narrow,
    bell: Narrow,
    epoch: Narrow,
    alive: Narrow,
    /// By participant: its page, by offset.
    claims: Vec<BTreeMap<usize, Narrow>>,
    places: Vec<Narrow>,
    /// By participant and slot: the word by which it won the slot, which is its own affair.
    won: Vec<Vec<Own>>,
    /// Whoever joins under a number that another had before.
    newcomer: Option<u32>,
    buffer: UnsafeCell<u32>,
    /// Who holds the slot, seen from outside of the model.
    holders: Observed,
}

// SAFETY: the buffer is what the model checks: loom ends the test if two reach it unordered.
#[allow(unsafe_code)]
unsafe impl Sync for Pool {}

/// Offsets of a page that two slots and one waiter in each line touch.
fn offsets() -> impl Iterator<Item = usize> {
    let record = |slot: usize| (0..11).map(move |word| 4096 + slot * 64 + word * 4);
    [0, 4, 64, 64 + 8 * 4].into_iter().chain(record(0)).chain(record(1))
}

impl Pool {
    /// Participants, of whom the lower ones take part from the start.
    fn new(participants: usize, alive: u32) -> Arc<Pool> {
        Arc::new(Pool::of(1, participants, alive))
    }

    fn of(slots: usize, participants: usize, alive: u32) -> Pool {
        let page = || offsets().map(|offset| (offset, narrow())).collect();
        Pool {
            slots: (0..slots).map(|_| Wide(AtomicU64::new(0))).collect(),
            tickets: narrow(),
            bell: narrow(),
            epoch: Narrow(AtomicU32::new(1)),
            alive: Narrow(AtomicU32::new(alive)),
            claims: (0..participants).map(|_| page()).collect(),
            places: (0..participants).map(|_| narrow()).collect(),
            won: (0..participants).map(|_| (0..slots).map(|_| Own::new(0)).collect()).collect(),
            newcomer: None,
            buffer: UnsafeCell::new(0),
            holders: Observed::new(0),
        }
    }

    fn as_seen_by(self: &Arc<Self>, me: u32, known_epoch: u32) -> View {
        View { pool: self.clone(), me, known_epoch }
    }

    fn ring(&self) {
        self.bell.fetch_add(1, Ordering::Release);
    }

    /// Notes that somebody holds the slot, alone.
    fn enter(&self) {
        assert_eq!(self.holders.fetch_add(1, Ordering::SeqCst), 0, "two hold the slot");
    }

    fn leave(&self) {
        self.holders.fetch_sub(1, Ordering::SeqCst);
    }
}

struct View {
    pool: Arc<Pool>,
    me: u32,
    known_epoch: u32,
}

impl Cells for &View {
    type Word = Narrow;
    type Slot = Wide;

    fn full_barrier(&self) {
        fence(Ordering::SeqCst);
    }

    fn me(&self) -> u32 {
        self.me
    }

    fn known_epoch(&self) -> u32 {
        self.known_epoch
    }

    fn board(&self) -> Board {
        Board {
            epoch: self.epoch(),
            closed: false,
            alive: self.alive(),
            present: (1 << self.pool.slots.len()) - 1,
            retiring: 0,
            max_held: self.pool.slots.len() as u32,
        }
    }

    fn epoch(&self) -> u32 {
        self.pool.epoch.load(Ordering::Relaxed)
    }

    fn alive(&self) -> u32 {
        self.pool.alive.load(Ordering::Relaxed)
    }

    fn retiring(&self) -> u32 {
        0
    }

    fn slot(&self, slot: u32) -> &Wide {
        &self.pool.slots[slot as usize]
    }

    fn tickets(&self) -> &Narrow {
        &self.pool.tickets
    }

    fn own(&self, offset: usize) -> &Narrow {
        &self.pool.claims[self.me as usize][&offset]
    }

    fn others<const N: usize>(&self, participant: u32, offset: usize) -> Option<[u32; N]> {
        if self.known_epoch < 2 && self.pool.newcomer == Some(participant) {
            // The page of whoever had the number before.
            return Some([0; N]);
        }
        let page = &self.pool.claims[participant as usize];
        Some(std::array::from_fn(|word| page[&(offset + word * 4)].load(Ordering::Relaxed)))
    }

    fn places(&self) -> &Narrow {
        &self.pool.places[self.me as usize]
    }

    fn won(&self, slot: u32) -> &Own {
        &self.pool.won[self.me as usize][slot as usize]
    }
}

impl View {
    fn acquire(&self) -> bool {
        matches!(Machine::new(self).try_acquire(None), Ok(Some(_)))
    }

    /// Takes what the line is for, if it is this one's turn.
    fn try_in_turn(&self, line: Line, turn: &Turn) -> bool {
        let machine = Machine::new(self);
        match line {
            Line::Free => machine.try_acquire(Some(turn)).unwrap().is_some(),
            Line::Filled(queue) => machine.try_take(queue, Some(turn)).unwrap().is_some(),
        }
    }

    /// Waits as a participant does, up to the moment when it would sleep: how often the bell had rung
    /// by then. `None` if it got what it waited for.
    fn wait(&self, line: Line, turn: &Turn) -> Option<u32> {
        loop {
            let rings = self.pool.bell.load(Ordering::Acquire);
            if self.try_in_turn(line, turn) {
                if Machine::new(self).leave(turn, false) {
                    self.pool.ring();
                }
                return None;
            }
            if self.pool.bell.load(Ordering::SeqCst) == rings {
                return Some(rings);
            }
        }
    }

    /// Writes to the buffer, which only its holder may reach.
    #[allow(unsafe_code)]
    fn write(&self, value: u32) {
        // SAFETY: loom ends the test if anybody else reaches it at this moment.
        self.pool.buffer.with_mut(|bytes| unsafe { *bytes = value });
    }

    #[allow(unsafe_code)]
    fn read(&self) -> u32 {
        // SAFETY: as in `write`.
        self.pool.buffer.with(|bytes| unsafe { *bytes })
    }
}

fn check(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(3);
    builder.max_branches = 10_000;
    builder.check(model);
}

#[test]
fn two_that_acquire_and_release_never_meet_in_the_buffer() {
    check(|| {
        let pool = Pool::new(2, 0b11);
        let work = |me: u32| {
            let view = pool.as_seen_by(me, 1);
            move || {
                let got = view.acquire();
                if got {
                    view.pool.enter();
                    view.write(me);
                    assert_eq!(view.read(), me);
                    view.pool.leave();
                    Machine::new(&view).release(0);
                }
                got
            }
        };
        let other = thread::spawn(work(1));
        let ours = work(0)();
        assert!(other.join().unwrap() || ours, "somebody has it");
        assert!(pool.as_seen_by(0, 1).acquire(), "it is free again");
    });
}

#[test]
fn a_frame_is_taken_once_with_its_bytes_and_what_is_said_of_it() {
    check(|| {
        let pool = Pool::new(2, 0b11);
        let producer = pool.as_seen_by(0, 1);
        let filling = thread::spawn(move || {
            assert!(producer.acquire());
            producer.write(42);
            let said = Metadata { sequence: 7, ..Metadata::default() };
            Machine::new(&producer).submit(0, Queue::First, &said).unwrap();
        });
        let consumer = pool.as_seen_by(1, 1);
        let taken = Machine::new(&consumer).try_take(Queue::First, None).unwrap();
        if let Some(frame) = taken {
            assert_eq!((frame.metadata.sequence, frame.producer), (7, 0));
            assert_eq!(consumer.read(), 42);
            consumer.write(0);
            Machine::new(&consumer).release(0);
        }
        filling.join().unwrap();
        let left = Machine::new(&consumer).try_take(Queue::First, None).unwrap();
        assert_eq!(left.is_some(), taken.is_none(), "it is taken once and never lost");
    });
}

#[test]
fn the_frames_of_one_producer_are_taken_in_their_order() {
    check(|| {
        let pool = Arc::new(Pool::of(2, 2, 0b11));
        let producer = pool.as_seen_by(0, 1);
        assert!(producer.acquire() && producer.acquire());
        let filling = thread::spawn(move || {
            for (slot, sequence) in [(0, 0), (1, 1)] {
                let said = Metadata { sequence, ..Metadata::default() };
                Machine::new(&producer).submit(slot, Queue::First, &said).unwrap();
            }
        });
        let consumer = pool.as_seen_by(1, 1);
        let taken = Machine::new(&consumer).try_take(Queue::First, None).unwrap();
        if let Some(frame) = taken {
            assert_eq!(frame.metadata.sequence, 0, "the second before the first");
        }
        filling.join().unwrap();
        let next = Machine::new(&consumer).try_take(Queue::First, None).unwrap();
        let next = next.map(|frame| frame.metadata.sequence);
        assert_eq!(next, Some(taken.map_or(0, |_| 1)), "none is lost");
    });
}

#[test]
fn two_never_hold_a_slot_that_a_third_says_is_free() {
    check(|| {
        let pool = Pool::new(3, 0b111);
        let work = |me: u32| {
            let view = pool.as_seen_by(me, 1);
            move || {
                if view.acquire() {
                    view.pool.enter();
                    thread::yield_now();
                    view.pool.leave();
                    Machine::new(&view).release(0);
                }
            }
        };
        let other = thread::spawn(work(1));
        let hostile = pool.clone();
        let scribbling = thread::spawn(move || hostile.slots[0].store(0, Ordering::Relaxed));
        work(0)();
        other.join().unwrap();
        scribbling.join().unwrap();
    });
}

#[test]
fn whoever_joins_and_whoever_does_not_know_it_never_hold_one_slot() {
    check(|| {
        let pool = Arc::new(Pool { newcomer: Some(1), ..Pool::of(1, 2, 0b01) });
        // The service seats a participant; the table says that the slot is free, whatever happens.
        let newcomer = pool.as_seen_by(1, 2);
        let joining = thread::spawn(move || {
            let pool = newcomer.pool.clone();
            pool.epoch.store(2, Ordering::SeqCst);
            pool.alive.store(0b11, Ordering::SeqCst);
            pool.slots[0].store(0, Ordering::Relaxed);
            if newcomer.acquire() {
                pool.enter();
                thread::yield_now();
                pool.leave();
                Machine::new(&newcomer).release(0);
            }
        });
        let resident = pool.as_seen_by(0, 1);
        if resident.acquire() {
            pool.enter();
            thread::yield_now();
            pool.leave();
            Machine::new(&resident).release(0);
        }
        joining.join().unwrap();
    });
}

#[test]
fn nobody_sleeps_while_there_is_a_slot_for_it() {
    check(|| {
        let pool = Pool::new(2, 0b11);
        let holder = pool.as_seen_by(0, 1);
        assert!(holder.acquire());
        let releasing = thread::spawn(move || Machine::new(&holder).release(0).wake);
        let waiter = pool.as_seen_by(1, 1);
        let turn = Machine::new(&waiter).stand(Line::Free);
        let got = Machine::new(&waiter).try_acquire(Some(&turn)).unwrap().is_some();
        let is_woken = releasing.join().unwrap();
        assert!(got || is_woken, "it sleeps, and nobody wakes it");
    });
}

#[test]
fn a_newcomer_does_not_sleep_while_there_is_a_slot_for_it() {
    check(|| {
        let pool = Arc::new(Pool { newcomer: Some(1), ..Pool::of(1, 2, 0b01) });
        let resident = pool.as_seen_by(0, 1);
        assert!(resident.acquire());
        let releasing = thread::spawn(move || Machine::new(&resident).release(0).wake);
        // The service seats a participant, of which the resident does not ask.
        let newcomer = pool.as_seen_by(1, 2);
        pool.epoch.store(2, Ordering::SeqCst);
        pool.alive.store(0b11, Ordering::SeqCst);
        let turn = Machine::new(&newcomer).stand(Line::Free);
        let got = Machine::new(&newcomer).try_acquire(Some(&turn)).unwrap().is_some();
        let is_woken = releasing.join().unwrap();
        assert!(got || is_woken, "it sleeps, and nobody wakes it");
    });
}

#[test]
fn a_newcomer_does_not_sleep_while_there_is_a_frame_for_it() {
    check(|| {
        let pool = Arc::new(Pool { newcomer: Some(1), ..Pool::of(1, 2, 0b01) });
        let resident = pool.as_seen_by(0, 1);
        assert!(resident.acquire());
        let submitting = thread::spawn(move || {
            Machine::new(&resident).submit(0, Queue::First, &Metadata::default()).unwrap()
        });
        let newcomer = pool.as_seen_by(1, 2);
        pool.epoch.store(2, Ordering::SeqCst);
        pool.alive.store(0b11, Ordering::SeqCst);
        let turn = Machine::new(&newcomer).stand(Line::Filled(Queue::First));
        let taken = Machine::new(&newcomer).try_take(Queue::First, Some(&turn)).unwrap();
        let is_woken = submitting.join().unwrap();
        assert!(taken.is_some() || is_woken, "it sleeps, and nobody wakes it");
    });
}

/// Two stand in a line, one behind the other, and somebody puts two things there: both get one, or are
/// woken to find one. The second was asleep until both were there.
fn two_wait_for_two(line: Line, fill: impl Fn(&View)) {
    let pool = Arc::new(Pool::of(2, 3, 0b111));
    let filler = pool.as_seen_by(2, 1);
    assert!(filler.acquire() && filler.acquire());
    let waiters = [0, 1].map(|me| {
        let view = pool.as_seen_by(me, 1);
        let turn = Machine::new(&view).stand(line);
        (view, turn)
    });
    let [first, second] = waiters;
    let waiting = thread::spawn(move || {
        let slept = first.0.wait(line, &first.1);
        (first, slept)
    });
    fill(&filler);
    let slept = second.0.wait(line, &second.1);
    for ((view, turn), slept) in [waiting.join().unwrap(), (second, slept)] {
        let Some(rings) = slept else { continue };
        assert_ne!(pool.bell.load(Ordering::SeqCst), rings, "it sleeps, and nobody wakes it");
        assert_eq!(view.wait(line, &turn), None, "it was woken, and finds nothing");
    }
}

#[test]
fn of_two_who_wait_for_two_slots_none_sleeps_beside_one() {
    check(|| {
        two_wait_for_two(Line::Free, |filler| {
            for slot in [0, 1] {
                if Machine::new(filler).release(slot).wake {
                    filler.pool.ring();
                }
            }
        })
    });
}

#[test]
fn of_two_who_wait_for_two_frames_none_sleeps_beside_one() {
    let line = Line::Filled(Queue::First);
    check(move || {
        two_wait_for_two(line, |filler| {
            for slot in [0, 1] {
                let said = Metadata::default();
                if Machine::new(filler).submit(slot, Queue::First, &said).unwrap() {
                    filler.pool.ring();
                }
            }
        })
    });
}
