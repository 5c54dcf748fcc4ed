// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! A keeper and participants in one process, each with mappings of its own.

use std::collections::VecDeque;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Barrier, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use berth_kernel::mapping::{Mapping, ReadWrite};
use nix::errno::Errno;
use nix::fcntl::{fcntl, FcntlArg, SealFlag};
use proptest::prelude::*;

use super::*;

const LONG: Duration = Duration::from_secs(60);
/// Later than any grace.
const MUCH_LATER: Duration = Duration::from_secs(1);

pub(crate) fn keeper(slots: u32, held: u32) -> Keeper {
    let bounds = Bounds { participants: MAX_PARTICIPANTS, held };
    let mut keeper = Keeper::new("pool", bounds).unwrap();
    keeper.add(below(slots));
    keeper
}

fn below(slots: u32) -> u32 {
    bit(slots).wrapping_sub(1)
}

fn join(keeper: &mut Keeper) -> Participant {
    let number = keeper.seat("claims").unwrap().expect("a seat");
    let (board, table) = (keeper.open_board().unwrap(), keeper.open_table().unwrap());
    let claims = keeper.open_own_claims(number).unwrap().unwrap();
    let (board, table, claims) = (board.as_fd(), table.as_fd(), claims.as_fd());
    let participant = Participant::new(&Pages { board, table, claims, number }).unwrap();
    learn(keeper, &participant);
    participant
}

fn learn(keeper: &Keeper, participant: &Participant) {
    let (me, known) = (participant.number(), participant.known_epoch());
    participant.learn(keeper.epoch(), &keeper.open_claims(me, known).unwrap()).unwrap();
}

/// So many participants that know each other.
pub(crate) fn crowd<const N: usize>(keeper: &mut Keeper) -> [Participant; N] {
    let all = [(); N].map(|()| join(keeper));
    all.iter().for_each(|one| learn(keeper, one));
    all
}

/// The table and the claims as a hostile participant has them.
fn scribble_on(fd: OwnedFd, bytes: u64) -> Mapping<ReadWrite> {
    Mapping::new(fd.as_fd(), bytes).unwrap()
}

fn numbered(sequence: u64) -> Metadata {
    Metadata { sequence, ..Metadata::default() }
}

#[test]
#[cfg_attr(miri, ignore = "needs a kernel")]
fn a_frame_goes_from_producer_to_consumer_with_what_is_said_of_it() {
    let mut keeper = keeper(2, 2);
    let [producer, consumer] = crowd(&mut keeper);
    let crop = Crop { left: 1, top: 2, right: 30, bottom: 40 };
    let metadata = Metadata { timestamp_ns: -7, sequence: 3, crop, tag: 9 };
    assert_eq!(consumer.try_take(Queue::First), Ok(None));
    let slot = producer.acquire(LONG).unwrap();
    assert_eq!(consumer.try_take(Queue::First), Ok(None), "it is not submitted yet");
    producer.submit(slot, Queue::First, &metadata).unwrap();
    let frame = consumer.take(Queue::First, LONG).unwrap();
    assert_eq!(frame, Frame { slot, producer: producer.number(), metadata });
    let other = producer.try_acquire().unwrap().expect("the other slot");
    assert_ne!(other, slot);
    assert_eq!(producer.try_acquire(), Ok(None), "the consumer has the first");
    assert!(!consumer.release(slot));
    assert_eq!(producer.try_acquire(), Ok(Some(slot)));
}

#[test]
#[cfg_attr(miri, ignore = "needs a kernel")]
fn frames_are_taken_in_the_order_of_their_submission_even_when_tickets_wrap() {
    let mut keeper = keeper(8, 8);
    let [producer, consumer] = crowd(&mut keeper);
    let table = scribble_on(keeper.open_table().unwrap(), 4096);
    table.word(board::TICKETS_AT).unwrap().store(u32::MAX - 3, Ordering::Relaxed);
    let mut slots: Vec<u32> = (0..8).map(|_| producer.acquire(LONG).unwrap()).collect();
    slots.reverse();
    for (sequence, slot) in (0..).zip(slots) {
        producer.submit(slot, Queue::First, &numbered(sequence)).unwrap();
    }
    let taken = [(); 8].map(|()| consumer.take(Queue::First, LONG).unwrap().metadata.sequence);
    assert_eq!(taken, [0, 1, 2, 3, 4, 5, 6, 7]);
}

#[test]
#[cfg_attr(miri, ignore = "needs a kernel")]
fn frames_are_taken_in_their_order_while_more_are_submitted() {
    const FRAMES: u64 = 20_000;
    let mut keeper = keeper(4, 2);
    let [producer, consumer] = crowd(&mut keeper);
    thread::scope(|scope| {
        scope.spawn(|| {
            for sequence in 0..FRAMES {
                let slot = producer.acquire(LONG).unwrap();
                producer.submit(slot, Queue::First, &numbered(sequence)).unwrap();
            }
        });
        for sequence in 0..FRAMES {
            let frame = consumer.take(Queue::First, LONG).unwrap();
            assert_eq!(frame.metadata.sequence, sequence);
            let _ = consumer.release(frame.slot);
        }
    });
}

#[test]
#[cfg_attr(miri, ignore = "needs a kernel")]
fn a_slot_goes_through_the_stages_of_a_pipeline() {
    let mut keeper = keeper(2, 2);
    let [camera, encoder, display] = crowd(&mut keeper);
    thread::scope(|scope| {
        let shown = scope.spawn(|| display.take(Queue::Second, LONG));
        while !keeper.somebody_stands(display.number()) {
            thread::yield_now();
        }
        let slot = camera.acquire(LONG).unwrap();
        camera.submit(slot, Queue::First, &numbered(1)).unwrap();
        assert_eq!(display.try_take(Queue::Third), Ok(None));
        let raw = encoder.take(Queue::First, LONG).unwrap();
        assert_eq!((raw.producer, raw.metadata.sequence), (camera.number(), 1));
        encoder.submit(raw.slot, Queue::Second, &numbered(2)).unwrap();
        assert_eq!(encoder.try_take(Queue::First), Ok(None));
        let shown = shown.join().unwrap().unwrap();
        assert_eq!((shown.slot, shown.producer), (slot, encoder.number()));
        assert_eq!(shown.metadata.sequence, 2);
        assert!(!display.release(slot));
    });
}

#[test]
#[cfg_attr(miri, ignore = "needs a kernel")]
fn nobody_holds_more_than_it_may() {
    let mut keeper = keeper(4, 2);
    let [one, other] = crowd(&mut keeper);
    let (first, _second) = (one.acquire(LONG).unwrap(), one.acquire(LONG).unwrap());
    assert_eq!(one.try_acquire(), Err(Halt::TooManyHeld(2)));
    assert_eq!(one.try_take(Queue::First), Err(Halt::TooManyHeld(2)));
    assert!(other.try_acquire().unwrap().is_some());
    one.submit(first, Queue::First, &Metadata::default()).unwrap();
    assert!(one.try_acquire().unwrap().is_some(), "what was submitted is held no longer");
}

#[test]
#[cfg_attr(miri, ignore = "needs a kernel")]
fn a_wait_without_a_slot_ends_at_the_deadline() {
    let mut keeper = keeper(1, 1);
    let [one, other] = crowd(&mut keeper);
    one.acquire(LONG).unwrap();
    let short = Duration::from_millis(5);
    assert_eq!(other.acquire(short), Err(Fault::TimedOut(short)));
    assert_eq!(other.take(Queue::First, Duration::ZERO), Err(Fault::TimedOut(Duration::ZERO)));
}

#[test]
#[cfg_attr(miri, ignore = "needs a kernel")]
fn what_was_not_held_is_neither_submitted_nor_released() {
    let mut keeper = keeper(2, 2);
    let [one, other] = crowd(&mut keeper);
    let slot = one.acquire(LONG).unwrap();
    assert_eq!(other.submit(slot, Queue::First, &Metadata::default()), Err(Lost(slot)));
    assert!(!other.release(slot));
    assert!(!other.release(u32::MAX));
    one.submit(slot, Queue::First, &Metadata::default()).unwrap();
    assert_eq!(one.submit(slot, Queue::First, &Metadata::default()), Err(Lost(slot)));
}

#[test]
#[cfg_attr(miri, ignore = "needs a kernel")]
fn whoever_waited_first_has_the_first_slot() {
    let mut keeper = keeper(1, 1);
    let all: [Participant; 4] = crowd(&mut keeper);
    let [holder, waiters @ ..] = &all;
    let slot = holder.acquire(LONG).unwrap();
    let order = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for (index, waiter) in waiters.iter().enumerate() {
            let (order, keeper) = (&order, &keeper);
            scope.spawn(move || {
                let slot = waiter.acquire(LONG).unwrap();
                order.lock().unwrap().push(index);
                let _ = waiter.release(slot);
            });
            // The next one comes when this one stands in line.
            while !keeper.somebody_stands(waiter.number()) {
                thread::yield_now();
            }
        }
        assert!(!holder.release(slot));
    });
    assert_eq!(order.into_inner().unwrap(), [0, 1, 2]);
}

#[test]
#[cfg_attr(miri, ignore = "needs a kernel")]
fn all_who_wait_get_what_comes_at_once() {
    const ROUNDS: u64 = 3_000;
    let mut keeper = keeper(3, 3);
    let all: [Participant; 4] = crowd(&mut keeper);
    let [producer, consumers @ ..] = &all;
    let together = Barrier::new(all.len());
    thread::scope(|scope| {
        for consumer in consumers {
            scope.spawn(|| {
                for _ in 0..ROUNDS {
                    together.wait();
                    let frame = consumer.take(Queue::First, LONG).unwrap();
                    let _ = consumer.release(frame.slot);
                }
            });
        }
        for _ in 0..ROUNDS {
            let slots = [(); 3].map(|()| producer.acquire(LONG).unwrap());
            together.wait();
            for slot in slots {
                producer.submit(slot, Queue::First, &numbered(1)).unwrap();
            }
        }
    });
}

#[test]
#[cfg_attr(miri, ignore = "needs a kernel")]
fn whoever_leaves_the_line_with_a_slot_wakes_the_next_if_there_is_another() {
    for (slots, wakes) in [(1, false), (2, true)] {
        let mut keeper = keeper(slots, 2);
        let all: [Participant; 2] = crowd(&mut keeper);
        let [first, second] = [&all[0], &all[1]].map(|one| Machine::new(one.view()));
        let [turn, next] = [&first, &second].map(|one| one.stand(Line::Free));
        assert!(first.try_acquire(Some(&turn)).unwrap().is_some());
        assert_eq!(second.try_acquire(Some(&next)), Ok(None), "the first stands there still");
        assert_eq!(first.leave(&turn, false), wakes);
        assert_eq!(second.try_acquire(Some(&next)).unwrap().is_some(), wakes);
    }
}

#[test]
#[cfg_attr(miri, ignore = "needs a kernel")]
fn whoever_finds_no_place_in_the_line_has_the_next_and_is_woken() {
    let mut keeper = keeper(1, 1);
    let [holder, crowded] = crowd(&mut keeper);
    let slot = holder.acquire(LONG).unwrap();
    let places: Vec<_> =
        (0..MAX_WAITERS).map(|_| Machine::new(crowded.view()).stand(Line::Free)).collect();
    let tickets = keeper.tickets();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| crowded.acquire(LONG));
        while keeper.tickets() == tickets {
            thread::yield_now();
        }
        // Perhaps it sleeps by now. Nobody rings for it as long as it has no place.
        thread::sleep(Duration::from_millis(50));
        for place in places {
            // With a slot that was there for each of them, and no more: nobody else need be woken.
            crowded.step_out(place, false);
        }
        while !keeper.somebody_stands(crowded.number()) {
            thread::yield_now();
        }
        thread::sleep(Duration::from_millis(50));
        assert!(!holder.release(slot));
        assert_eq!(waiting.join().unwrap(), Ok(slot));
    });
}

#[test]
#[cfg_attr(miri, ignore = "needs a kernel")]
fn more_threads_of_one_participant_than_there_are_places_all_have_their_turn() {
    let threads = MAX_WAITERS as usize * 2;
    let mut keeper = keeper(2, 2);
    let all: [Participant; 2] = crowd(&mut keeper);
    let together = Barrier::new(all.len() * threads);
    thread::scope(|scope| {
        for index in 0..all.len() * threads {
            let (one, together) = (&all[index % 2], &together);
            scope.spawn(move || {
                together.wait();
                for _ in 0..20 {
                    let slot = loop {
                        match one.acquire(LONG) {
                            Ok(slot) => break slot,
                            Err(Fault::Halt(Halt::TooManyHeld(_))) => thread::yield_now(),
                            Err(fault) => panic!("{fault}"),
                        }
                    };
                    thread::yield_now();
                    let _ = one.release(slot);
                }
            });
        }
    });
}

#[test]
#[cfg_attr(miri, ignore = "needs a kernel")]
fn a_turn_that_is_kept_stays_before_those_who_came_later() {
    let short = Duration::from_millis(1);
    let mut keeper = keeper(1, 1);
    let [holder, patient, later] = crowd(&mut keeper);
    let slot = holder.acquire(LONG).unwrap();
    let mut turn = None;
    assert_eq!(patient.acquire_in_turn(&mut turn, short), Err(Fault::TimedOut(short)));
    let next = Machine::new(later.view()).stand(Line::Free);
    assert_eq!(patient.acquire_in_turn(&mut turn, short), Err(Fault::TimedOut(short)));
    assert!(!holder.release(slot));
    assert_eq!(Machine::new(later.view()).try_acquire(Some(&next)), Ok(None));
    assert_eq!(patient.acquire_in_turn(&mut turn, LONG), Ok(slot));
    assert_eq!(turn, None);
    assert!(!keeper.somebody_stands(patient.number()));
    // Who needs no more of it makes room, and who waits for something else stands elsewhere.
    assert_eq!(patient.acquire_in_turn(&mut turn, short), Err(Fault::Halt(Halt::TooManyHeld(1))));
    assert_eq!(turn, None);
    assert!(!patient.release(slot));
    let taken = patient.take_in_turn(Queue::First, &mut turn, short);
    assert_eq!(taken, Err(Fault::TimedOut(short)));
    assert_eq!(patient.acquire_in_turn(&mut turn, short), Err(Fault::TimedOut(short)));
    patient.leave(turn.take().unwrap());
    assert!(!keeper.somebody_stands(patient.number()));
    assert_eq!(Machine::new(later.view()).try_acquire(Some(&next)), Ok(Some(slot)));
}

#[test]
#[cfg_attr(miri, ignore = "needs a kernel")]
fn a_dead_participant_gives_back_what_it_held_and_leaves_what_it_submitted() {
    let mut keeper = keeper(2, 2);
    let [dead, survivor] = crowd(&mut keeper);
    let (submitted, _held) = (dead.acquire(LONG).unwrap(), dead.acquire(LONG).unwrap());
    dead.submit(submitted, Queue::First, &numbered(5)).unwrap();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| survivor.acquire(LONG));
        while !keeper.somebody_stands(survivor.number()) {
            thread::yield_now();
        }
        assert_eq!(keeper.unseat(dead.number()).slots, 1);
        waiting.join().unwrap().unwrap();
    });
    assert_eq!(survivor.take(Queue::First, LONG).unwrap().metadata.sequence, 5);
    assert_eq!(dead.try_acquire(), Err(Halt::Ended));
}

#[test]
#[cfg_attr(miri, ignore = "needs a kernel")]
fn whoever_has_ended_takes_nothing_from_those_who_came_after() {
    for submits in [false, true] {
        let mut keeper = keeper(1, 1);
        let [ended, producer] = crowd(&mut keeper);
        let slot = ended.acquire(LONG).unwrap();
        keeper.unseat(ended.number());
        assert_eq!(producer.try_acquire(), Ok(Some(slot)));
        producer.submit(slot, Queue::First, &numbered(7)).unwrap();
        if submits {
            assert_eq!(ended.submit(slot, Queue::First, &numbered(8)), Err(Lost(slot)));
        } else {
            assert!(!ended.release(slot));
        }
        let frame = producer.try_take(Queue::First).unwrap().expect("the frame is there still");
        assert_eq!((frame.producer, frame.metadata.sequence), (producer.number(), 7));
    }
}

#[test]
#[cfg_attr(miri, ignore = "needs a kernel")]
fn whoever_has_ended_takes_nothing_from_an_heir_with_its_number() {
    for submits in [false, true] {
        let mut keeper = keeper(1, 1);
        let ended = join(&mut keeper);
        let slot = ended.acquire(LONG).unwrap();
        keeper.unseat(ended.number());
        let heir = join(&mut keeper);
        assert_eq!(heir.number(), ended.number());
        assert_eq!(heir.try_acquire(), Ok(Some(slot)));
        if submits {
            assert_eq!(ended.submit(slot, Queue::First, &numbered(8)), Err(Lost(slot)));
        } else {
            assert!(!ended.release(slot));
        }
        heir.submit(slot, Queue::First, &numbered(7)).unwrap();
        let frame = heir.try_take(Queue::First).unwrap().expect("the frame is there still");
        assert_eq!(frame.metadata.sequence, 7);
    }
}

#[test]
#[cfg_attr(miri, ignore = "needs a kernel")]
fn a_waiter_that_dies_lets_the_next_one_have_its_turn() {
    let mut keeper = keeper(1, 1);
    let [holder, dead, heir] = crowd(&mut keeper);
    let slot = holder.acquire(LONG).unwrap();
    // It stands in line and never looks again.
    Machine::new(dead.view()).stand(Line::Free);
    thread::scope(|scope| {
        let waiting = scope.spawn(|| heir.acquire(LONG));
        while !keeper.somebody_stands(heir.number()) {
            thread::yield_now();
        }
        let _ = holder.release(slot);
        assert_eq!(holder.try_acquire(), Ok(None), "two have an older right to it");
        keeper.unseat(dead.number());
        assert_eq!(waiting.join().unwrap(), Ok(slot));
    });
}

#[test]
#[cfg_attr(miri, ignore = "needs a kernel")]
fn a_number_is_used_again_and_its_page_is_not() {
    let mut keeper = keeper(2, 2);
    let [gone, stays] = crowd(&mut keeper);
    let old_page = scribble_on(keeper.open_own_claims(gone.number()).unwrap().unwrap(), 8192);
    keeper.unseat(gone.number());
    let heir = join(&mut keeper);
    assert_eq!(heir.number(), gone.number());
    assert_eq!(stays.try_acquire(), Err(Halt::Stale), "there is somebody that it does not know");
    learn(&keeper, &stays);
    // The page that the one that left can still write claims nothing any more.
    old_page.word(claims::HELD_AT).unwrap().store(1, Ordering::Relaxed);
    assert_eq!(stays.try_acquire(), Ok(Some(0)));
    assert_eq!(heir.try_acquire(), Ok(Some(1)));
}

#[test]
#[cfg_attr(miri, ignore = "needs a kernel")]
fn what_threads_of_one_participant_release_and_acquire_at_once_is_not_lost() {
    let mut keeper = keeper(2, 2);
    let [one, _other] = crowd(&mut keeper);
    for _ in 0..100 {
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        if let Ok(Some(slot)) = one.try_acquire() {
                            let _ = one.release(slot);
                        }
                    }
                });
            }
        });
        let both = [(); 2].map(|()| one.try_acquire());
        assert!(both.iter().all(|slot| matches!(slot, Ok(Some(_)))), "{both:?}");
        for slot in both.into_iter().flatten().flatten() {
            let _ = one.release(slot);
        }
    }
}

#[test]
#[cfg_attr(miri, ignore = "needs a kernel")]
fn what_a_slow_thread_learns_does_not_undo_what_another_learnt() {
    let mut keeper = keeper(1, 1);
    let [gone, stays] = crowd(&mut keeper);
    let (before, old_pages) = (keeper.epoch(), keeper.open_claims(stays.number(), 0).unwrap());
    keeper.unseat(gone.number());
    let heir = join(&mut keeper);
    learn(&keeper, &stays);
    stays.learn(before, &old_pages).unwrap();
    assert_eq!(stays.known_epoch(), keeper.epoch());
    // Its claim is on the page that it has, and not on that of the one whose number it has.
    heir.acquire(LONG).unwrap();
    let table = scribble_on(keeper.open_table().unwrap(), 4096);
    table.write(board::SLOTS_AT, &SlotWord(0).0.to_ne_bytes()).unwrap();
    assert_eq!(stays.try_acquire(), Ok(None));
}

#[test]
#[cfg_attr(miri, ignore = "needs a kernel")]
fn whoever_waits_is_woken_by_one_that_does_not_know_it_yet() {
    let filled = Line::Filled(Queue::First);
    for number_is_used_again in [false, true] {
        let mut keeper = keeper(2, 2);
        let [veteran, gone] = crowd(&mut keeper);
        let held = [(); 2].map(|()| veteran.acquire(LONG).unwrap());
        if number_is_used_again {
            keeper.unseat(gone.number());
        }
        let newcomer = join(&mut keeper);
        let turns = [Line::Free, filled].map(|line| Machine::new(newcomer.view()).stand(line));
        assert_eq!(newcomer.try_take(Queue::First), Ok(None), "it would sleep from here on");
        // The veteran has not asked the service who came: none of this needs that.
        let machine = Machine::new(veteran.view());
        assert_eq!(machine.submit(held[0], Queue::First, &numbered(1)), Ok(true));
        assert!(machine.release(held[1]).wake);
        let turn = machine.stand(filled);
        assert!(machine.leave(&turn, true), "whoever leaves empty-handed, too");
        let taken = Machine::new(newcomer.view()).try_take(Queue::First, Some(&turns[1]));
        assert_eq!(taken.unwrap().map(|frame| frame.slot), Some(held[0]));
    }
}

#[test]
#[cfg_attr(miri, ignore = "needs a kernel")]
fn all_seats_can_be_taken_and_frames_of_those_who_left_make_room_last() {
    let mut keeper = keeper(2, 2);
    let first = join(&mut keeper);
    let slot = first.acquire(LONG).unwrap();
    first.submit(slot, Queue::First, &numbered(1)).unwrap();
    keeper.unseat(first.number());
    let others: Vec<Participant> = (1..MAX_PARTICIPANTS).map(|_| join(&mut keeper)).collect();
    assert!(others.iter().all(|other| other.number() != first.number()), "a frame keeps the page");
    let last = join(&mut keeper);
    assert_eq!(last.number(), first.number());
    assert_eq!(keeper.seat("claims").unwrap(), None);
    assert_eq!(last.try_take(Queue::First), Ok(None), "the frame went with the page");
    assert!(last.try_acquire().unwrap().is_some());
}

#[test]
#[cfg_attr(miri, ignore = "needs a kernel")]
fn no_more_pages_are_kept_than_participants_may_be_whatever_the_table_says() {
    let mut keeper = Keeper::new("pool", Bounds { participants: 2, held: 1 }).unwrap();
    keeper.add(below(32));
    let table = scribble_on(keeper.open_table().unwrap(), 4096);
    let resident = join(&mut keeper);
    for slot in 0..32 {
        // A frame of each number that there can be.
        let forged = 2 | u64::from(slot % MAX_PARTICIPANTS) << 2;
        table.write(board::SLOTS_AT + slot as usize * 8, &forged.to_ne_bytes()).unwrap();
    }
    for _ in 0..4 {
        let guest = join(&mut keeper);
        assert_eq!(keeper.seat("claims").unwrap(), None);
        assert_eq!(keeper.open_claims(resident.number(), 0).unwrap().len(), 1);
        keeper.unseat(guest.number());
    }
}

#[test]
#[cfg_attr(miri, ignore = "needs a kernel")]
fn frames_that_go_with_a_seat_make_room_for_those_who_wait() {
    let mut keeper = Keeper::new("pool", Bounds { participants: 2, held: 1 }).unwrap();
    keeper.add(below(1));
    let [gone, _waiter] = crowd(&mut keeper);
    let slot = gone.acquire(LONG).unwrap();
    gone.submit(slot, Queue::First, &numbered(1)).unwrap();
    keeper.unseat(gone.number());
    let table = scribble_on(keeper.open_table().unwrap(), 4096);
    let rings = || table.word(board::FREE_BELL_AT).unwrap().load(Ordering::Relaxed);
    let before = rings();
    let heir = join(&mut keeper);
    assert_ne!(rings(), before, "whoever sleeps on the bell looks again");
    assert_eq!(heir.try_acquire(), Ok(Some(slot)));
}

#[test]
#[cfg_attr(miri, ignore = "needs a kernel")]
fn no_participant_can_keep_others_from_joining_by_a_seal() {
    let mut keeper = keeper(2, 1);
    let hostile = join(&mut keeper);
    let own = keeper.open_own_claims(hostile.number()).unwrap().unwrap();
    for page in [keeper.open_table().unwrap(), own] {
        // What a participant holds is as good for this as what the service does.
        for seal in [SealFlag::F_SEAL_FUTURE_WRITE, SealFlag::F_SEAL_WRITE] {
            let sealed = fcntl(page.as_raw_fd(), FcntlArg::F_ADD_SEALS(seal));
            assert_eq!(sealed, Err(Errno::EPERM));
        }
    }
    let joined = join(&mut keeper);
    assert!(joined.try_acquire().unwrap().is_some());
}

#[test]
#[cfg_attr(miri, ignore = "needs a kernel")]
fn free_slots_are_withdrawn_at_once_and_used_ones_when_they_are_free() {
    let mut keeper = keeper(3, 3);
    let [producer, consumer] = crowd(&mut keeper);
    let slots = [(); 2].map(|()| producer.acquire(LONG).unwrap());
    producer.submit(slots[0], Queue::First, &numbered(1)).unwrap();
    assert_eq!(keeper.retire(0b111), 0b100);
    assert_eq!(producer.try_acquire(), Err(Halt::Stale), "a buffer is gone");
    learn(&keeper, &producer);
    learn(&keeper, &consumer);
    assert_eq!(producer.try_acquire(), Ok(None), "nothing that is to go is handed out");
    assert_eq!(consumer.take(Queue::First, LONG).unwrap().slot, slots[0], "a frame is not lost");
    assert!(consumer.release(slots[0]), "the service is to be told");
    assert!(producer.release(slots[1]));
    assert_eq!(keeper.restore(Instant::now()).withdrawn, 0b011);
    assert_eq!(keeper.present(), 0);
    assert_eq!(keeper.add(0b10), 0b10);
    assert_eq!(producer.try_acquire(), Err(Halt::Stale), "there is a buffer that it does not know");
    learn(&keeper, &producer);
    assert_eq!(producer.try_acquire(), Ok(Some(1)));
}

#[test]
#[cfg_attr(miri, ignore = "needs a kernel")]
fn a_closed_pool_wakes_all_who_wait() {
    let mut keeper = keeper(1, 1);
    let [waiter] = crowd(&mut keeper);
    thread::scope(|scope| {
        let waiting = scope.spawn(|| waiter.take(Queue::First, LONG));
        while !keeper.somebody_stands(waiter.number()) {
            thread::yield_now();
        }
        keeper.close();
        assert_eq!(waiting.join().unwrap(), Err(Fault::Halt(Halt::Closed)));
    });
}

#[test]
#[cfg_attr(miri, ignore = "needs a kernel")]
fn a_board_that_is_none_is_refused() {
    let keeper = keeper(1, 1);
    let table = keeper.open_table().unwrap();
    let fd = || table.as_fd();
    let pages = Pages { board: fd(), table: fd(), claims: fd(), number: 0 };
    assert!(Participant::new(&pages).is_err());
}

#[test]
#[cfg_attr(miri, ignore = "needs a kernel")]
fn whoever_claims_more_than_it_may_claims_nothing() {
    let mut keeper = keeper(4, 2);
    let [liar, honest] = crowd(&mut keeper);
    let page = scribble_on(keeper.open_own_claims(liar.number()).unwrap().unwrap(), 8192);
    page.word(claims::HELD_AT).unwrap().store(u32::MAX, Ordering::Relaxed);
    page.word(claims::WAITING_AT).unwrap().store(u32::MAX, Ordering::Relaxed);
    for _ in 0..2 {
        assert!(honest.try_acquire().unwrap().is_some());
    }
    assert_eq!(keeper.restore(Instant::now()).liars, bit(liar.number()));
}

#[test]
#[cfg_attr(miri, ignore = "needs a kernel")]
fn nobody_can_free_what_another_holds() {
    let mut keeper = keeper(1, 1);
    let [holder, victim] = crowd(&mut keeper);
    let slot = holder.acquire(LONG).unwrap();
    let table = scribble_on(keeper.open_table().unwrap(), 4096);
    // It says that the slot is free, and then that it holds a frame of the holder's.
    for word in [0u64, 2 | u64::from(holder.number()) << 2] {
        table.write(board::SLOTS_AT, &word.to_ne_bytes()).unwrap();
        assert_eq!(victim.try_acquire(), Ok(None));
        assert_eq!(victim.try_take(Queue::First), Ok(None));
    }
    assert!(!holder.release(slot));
    assert_eq!(victim.try_acquire(), Ok(Some(slot)));
}

#[test]
#[cfg_attr(miri, ignore = "needs a kernel")]
fn slots_that_were_hidden_are_found_again() {
    let mut keeper = keeper(4, 4);
    let [one] = crowd(&mut keeper);
    let held = one.acquire(LONG).unwrap();
    let table = scribble_on(keeper.open_table().unwrap(), 4096);
    table.fill(board::SLOTS_AT, 4 * 8, 0xff).unwrap();
    assert_eq!(one.try_acquire(), Ok(None));
    let now = Instant::now();
    let noted = Restored { suspects: 0b1111, ..Restored::default() };
    assert_eq!(keeper.restore(now), noted, "somebody may be at work");
    assert_eq!(keeper.restore(now + GRACE / 2), noted);
    let restored = Restored { slots: 4, ..Restored::default() };
    assert_eq!(keeper.restore(now + MUCH_LATER), restored);
    assert!(!one.release(held));
    for _ in 0..4 {
        assert!(one.try_acquire().unwrap().is_some());
    }
}

/// Works with a pool until told to stop; answers how many frames it made or took.
fn work(one: &Participant, holders: &[AtomicU64], stop: &AtomicBool, hostile: bool) -> u64 {
    let mut done = 0;
    let enter = |slot: u32| {
        let before = holders[slot as usize].swap(u64::from(one.number()) + 1, Ordering::SeqCst);
        assert_eq!(before, 0, "two hold slot {slot}");
    };
    let leave = |slot: u32| holders[slot as usize].store(0, Ordering::SeqCst);
    while !stop.load(Ordering::Relaxed) {
        match one.try_acquire() {
            Ok(Some(slot)) => {
                enter(slot);
                leave(slot);
                let submitted = one.submit(slot, Queue::First, &numbered(done));
                assert!(hostile || submitted.is_ok());
            }
            Ok(None) | Err(Halt::TooManyHeld(_)) => thread::yield_now(),
            Err(halt) => panic!("{halt}"),
        }
        if let Ok(Some(frame)) = one.try_take(Queue::First) {
            enter(frame.slot);
            leave(frame.slot);
            let _ = one.release(frame.slot);
            done += 1;
        }
    }
    done
}

fn none() -> Vec<AtomicU64> {
    (0..MAX_SLOTS).map(|_| AtomicU64::new(0)).collect()
}

#[test]
#[cfg_attr(miri, ignore = "needs a kernel")]
fn no_two_ever_hold_one_slot() {
    let mut keeper = keeper(3, 2);
    let all: [Participant; 4] = crowd(&mut keeper);
    let (holders, stop, together) = (none(), AtomicBool::new(false), Barrier::new(4));
    let (done, all_done) = channel();
    thread::scope(|scope| {
        for one in &all {
            let (holders, stop, together, done) = (&holders, &stop, &together, done.clone());
            scope.spawn(move || {
                together.wait();
                done.send(work(one, holders, stop, false)).unwrap();
            });
        }
        // So many changes of hands that every order comes up.
        while keeper.tickets() < 100_000 {
            thread::yield_now();
        }
        stop.store(true, Ordering::Relaxed);
    });
    drop(done);
    assert!(all_done.iter().sum::<u64>() > 1000);
}

#[test]
#[cfg_attr(miri, ignore = "needs a kernel")]
fn no_two_hold_one_slot_while_a_third_scribbles_over_everything_it_can_reach() {
    let mut keeper = keeper(4, 2);
    let all: [Participant; 3] = crowd(&mut keeper);
    let [hostile, honest @ ..] = &all;
    let table = scribble_on(keeper.open_table().unwrap(), 4096);
    let own = scribble_on(keeper.open_own_claims(hostile.number()).unwrap().unwrap(), 8192);
    let (holders, stop) = (none(), AtomicBool::new(false));
    thread::scope(|scope| {
        for one in honest {
            let (holders, stop) = (&holders, &stop);
            scope.spawn(move || work(one, holders, stop, true));
        }
        let mut random = 0x2545_f491_4f6c_dd1du64;
        for round in 0..300_000u32 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let (page, bytes) = if random & 7 == 0 { (&own, 8192) } else { (&table, 512) };
            let offset = ((random >> 8) as usize % bytes) & !3;
            // Words that mean something are worse than noise.
            let value = match random >> 60 {
                0..=7 => (random >> 32) as u32 & 0x3f,
                8..=11 => 0,
                _ => (random >> 24) as u32,
            };
            page.word(offset).unwrap().store(value, Ordering::Relaxed);
            if round % 1000 == 0 {
                keeper.restore(Instant::now() + MUCH_LATER * round);
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    // With its end its harm ends.
    keeper.unseat(hostile.number());
    let now = Instant::now() + MUCH_LATER * 1_000_000;
    keeper.restore(now);
    keeper.restore(now + MUCH_LATER);
    let survivor = &honest[0];
    while let Ok(Some(frame)) = survivor.try_take(Queue::First) {
        let _ = survivor.release(frame.slot);
    }
    keeper.restore(now + MUCH_LATER * 2);
    keeper.restore(now + MUCH_LATER * 3);
    let mut got: Vec<u32> = honest
        .iter()
        .flat_map(|one| [(); 2].map(|()| one.try_acquire().unwrap().expect("no slot is lost")))
        .collect();
    got.sort_unstable();
    assert_eq!(got, [0, 1, 2, 3]);
}

/// What a test does with a pool.
#[derive(Debug, Clone)]
enum Act {
    Acquire(usize),
    Submit(usize, usize),
    Take(usize),
    Release(usize, usize),
    Die(usize),
    Join,
    Resize(u32),
}

fn act() -> impl Strategy<Value = Act> {
    let who = 0usize..4;
    prop_oneof![
        4 => who.clone().prop_map(Act::Acquire),
        3 => (who.clone(), any::<usize>()).prop_map(|(who, which)| Act::Submit(who, which)),
        3 => who.clone().prop_map(Act::Take),
        3 => (who.clone(), any::<usize>()).prop_map(|(who, which)| Act::Release(who, which)),
        1 => who.prop_map(Act::Die),
        1 => Just(Act::Join),
        1 => (0u32..9).prop_map(Act::Resize),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    #[cfg_attr(miri, ignore = "needs a kernel")]
    fn a_pool_does_what_a_model_says(acts in proptest::collection::vec(act(), 1..120)) {
        const MAX_HELD: u32 = 3;
        let mut keeper = keeper(4, MAX_HELD);
        let mut all: Vec<(Participant, Vec<u32>)> = Vec::new();
        let mut filled: VecDeque<(u32, u64)> = VecDeque::new();
        let (mut next, mut wanted) = (0, 4u32);
        for act in acts {
            for (one, _) in &all {
                learn(&keeper, one);
            }
            let used: Vec<u32> = all.iter().flat_map(|(_, held)| held.iter().copied())
                .chain(filled.iter().map(|(slot, _)| *slot)).collect();
            let free = (0..wanted).filter(|slot| !used.contains(slot)).count();
            match act {
                Act::Acquire(who) => if let Some((one, held)) = all.get_mut(who) {
                    match one.try_acquire() {
                        Ok(Some(slot)) => {
                            prop_assert!(slot < wanted && !used.contains(&slot));
                            held.push(slot);
                        }
                        Ok(None) => prop_assert_eq!(free, 0),
                        Err(halt) => {
                            prop_assert_eq!(halt, Halt::TooManyHeld(MAX_HELD));
                            prop_assert_eq!(held.len(), MAX_HELD as usize);
                        }
                    }
                },
                Act::Take(who) => if let Some((one, held)) = all.get_mut(who) {
                    if held.len() < MAX_HELD as usize {
                        let frame = one.try_take(Queue::First).unwrap();
                        let seen = frame.map(|frame| (frame.slot, frame.metadata.sequence));
                        prop_assert_eq!(seen, filled.pop_front());
                        held.extend(frame.map(|frame| frame.slot));
                    }
                },
                Act::Submit(who, which) => if let Some((one, held)) = all.get_mut(who) {
                    if !held.is_empty() {
                        let slot = held.swap_remove(which % held.len());
                        one.submit(slot, Queue::First, &numbered(next)).unwrap();
                        filled.push_back((slot, next));
                        next += 1;
                    }
                },
                Act::Release(who, which) => if let Some((one, held)) = all.get_mut(who) {
                    if !held.is_empty() {
                        let slot = held.swap_remove(which % held.len());
                        prop_assert_eq!(one.release(slot), slot >= wanted);
                    }
                },
                Act::Die(who) => if who < all.len() {
                    let (one, held) = all.swap_remove(who);
                    prop_assert_eq!(keeper.unseat(one.number()).slots as usize, held.len());
                },
                Act::Join => if all.len() < 4 {
                    all.push((join(&mut keeper), Vec::new()));
                },
                Act::Resize(slots) => {
                    wanted = slots;
                    keeper.add(below(slots));
                    keeper.retire(!below(slots));
                }
            }
        }
        keeper.restore(Instant::now());
        let held = all.iter().flat_map(|(_, held)| held.iter().copied());
        let used = held.chain(filled.iter().map(|(slot, _)| *slot)).fold(0, |a, b| a | bit(b));
        prop_assert_eq!(keeper.present(), below(wanted) | used, "what is used stays, and no more");
    }
}
