// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

use super::*;
use berth_kernel::memfd::Memfd;
use proptest::prelude::*;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::channel;
use std::thread;

const SOON: Duration = Duration::from_millis(20);

fn block(count: u32) -> (Memfd, PurgeBlock) {
    let chunks = Chunks::of(u64::from(count) * 4096, 4096).unwrap();
    let memfd = Memfd::create("block", chunks.block_bytes()).unwrap();
    let block = PurgeBlock::map(memfd.as_fd(), &chunks).unwrap();
    (memfd, block)
}

fn store(block: &PurgeBlock, chunk: u32, word: u32) {
    block.0.write(chunk as usize * 4, &word.to_ne_bytes()).unwrap();
}

fn word_of(block: &PurgeBlock, chunk: u32) -> u32 {
    block.state(chunk).unwrap().word()
}

/// Pins, however often it takes.
fn pin(block: &PurgeBlock, chunk: u32, pinner: Pinner) -> Contents {
    loop {
        match block.try_pin(chunk, pinner).unwrap() {
            Some(contents) => return contents,
            None => block.await_purge(chunk, SOON).unwrap(),
        }
    }
}

fn purge(block: &PurgeBlock, chunk: u32) -> bool {
    let purged = block.purge(chunk, word_of(block, chunk), || Ok::<(), ()>(())).unwrap();
    purged.is_some()
}

#[test]
#[cfg_attr(miri, ignore = "needs a kernel")]
fn a_new_chunk_is_empty_until_somebody_says_that_it_is_filled() {
    let (_memfd, block) = block(2);
    let pin = || pin(&block, 1, Pinner::OWNER);
    assert_eq!(pin(), Contents::Purged);
    block.unpin(1, Pinner::OWNER, Priority::NORMAL, Stamp::now()).unwrap();
    assert_eq!(pin(), Contents::Purged, "nobody said that it was filled");
    block.set_filled(1, true).unwrap();
    block.unpin(1, Pinner::OWNER, Priority::NORMAL, Stamp::now()).unwrap();
    assert_eq!(pin(), Contents::Kept);
    assert_eq!(block.state(0).unwrap(), ChunkState::Empty);
}

#[test]
#[cfg_attr(miri, ignore = "needs a kernel")]
fn what_is_pinned_is_never_purged_and_what_is_purged_is_said_to_be() {
    let (_memfd, block) = block(1);
    let other = Pinner::new(5).unwrap();
    pin(&block, 0, Pinner::OWNER);
    block.set_filled(0, true).unwrap();
    assert_eq!(pin(&block, 0, other), Contents::Kept);
    assert!(!purge(&block, 0));
    block.unpin(0, Pinner::OWNER, Priority::NORMAL, Stamp::now()).unwrap();
    assert!(!purge(&block, 0), "the other has it pinned");
    block.unpin(0, other, Priority::NORMAL, Stamp::now()).unwrap();
    assert!(purge(&block, 0));
    assert!(!purge(&block, 0), "once");
    assert_eq!(pin(&block, 0, other), Contents::Purged);
}

#[test]
#[cfg_attr(miri, ignore = "needs a kernel")]
fn a_chunk_whose_memory_could_not_be_taken_stays_what_it_was() {
    let (_memfd, block) = block(1);
    pin(&block, 0, Pinner::OWNER);
    block.set_filled(0, true).unwrap();
    block.unpin(0, Pinner::OWNER, Priority::HIGHEST, Stamp::now()).unwrap();
    let before = word_of(&block, 0);
    assert_eq!(block.purge(0, before, || Err("refused")).unwrap(), Some(Err("refused")));
    assert_eq!(word_of(&block, 0), before);
    assert_eq!(pin(&block, 0, Pinner::OWNER), Contents::Kept);
}

#[test]
#[cfg_attr(miri, ignore = "needs a kernel")]
fn a_pin_waits_for_the_end_of_a_purge() {
    let (_memfd, block) = block(1);
    pin(&block, 0, Pinner::OWNER);
    block.set_filled(0, true).unwrap();
    block.unpin(0, Pinner::OWNER, Priority::NORMAL, Stamp::now()).unwrap();
    thread::scope(|scope| {
        let (block, seen) = (&block, word_of(&block, 0));
        let mut pinning = None;
        let punched = block.purge(0, seen, || {
            let (found, finds) = channel();
            pinning = Some(scope.spawn(move || {
                let at_once = block.try_pin(0, Pinner::OWNER).unwrap();
                found.send(at_once).unwrap();
                at_once.unwrap_or_else(|| pin(block, 0, Pinner::OWNER))
            }));
            assert_eq!(finds.recv(), Ok(None), "it is being purged");
            Ok::<(), ()>(())
        });
        assert_eq!(punched.unwrap(), Some(Ok(())));
        let pinned = pinning.unwrap().join().unwrap();
        assert_eq!(pinned, Contents::Purged);
    });
}

#[test]
#[cfg_attr(miri, ignore = "needs a kernel")]
fn a_purge_that_never_ends_keeps_nobody_waiting_beyond_the_deadline() {
    let (_memfd, block) = block(1);
    store(&block, 0, ChunkState::Purging.word());
    assert_eq!(block.try_pin(0, Pinner::OWNER), Ok(None));
    block.await_purge(0, SOON).unwrap();
    assert_eq!(block.state(0).unwrap(), ChunkState::Purging);
}

#[test]
#[cfg_attr(miri, ignore = "needs a kernel")]
fn no_chunk_leaves_the_block() {
    let (_memfd, block) = block(1024);
    assert!(block.try_pin(1023, Pinner::OWNER).is_ok());
    for chunk in [1024, 4096, u32::MAX] {
        assert!(block.try_pin(chunk, Pinner::OWNER).is_err(), "{chunk}");
        assert!(block.set_filled(chunk, true).is_err(), "{chunk}");
    }
}

#[test]
#[cfg_attr(miri, ignore = "needs a kernel")]
fn what_changes_without_end_ends_a_step_all_the_same() {
    let (_memfd, block) = block(1);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        // A peer that stores whatever it likes as fast as it can.
        scope.spawn(|| {
            let mut chance = 1u32;
            while !over.load(Ordering::Relaxed) {
                chance = chance.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                store(&block, 0, chance);
            }
        });
        for _ in 0..2000 {
            // Any outcome will do that comes.
            let _ = block.try_pin(0, Pinner::OWNER).unwrap();
            block.set_filled(0, true).unwrap();
            purge(&block, 0);
            block.forget(0, Pinner::OWNER).unwrap();
            block.unpin(0, Pinner::OWNER, Priority::NORMAL, Stamp::now()).unwrap();
        }
        over.store(true, Ordering::Relaxed);
    });
}

#[test]
fn an_age_is_counted_across_the_end_of_the_counter() {
    let now = Stamp::of_bits(5);
    assert_eq!(Stamp::of_bits(5).age(now), 0);
    assert_eq!(Stamp::of_bits(2).age(now), 3);
    assert_eq!(Stamp::of_bits(u32::MAX).age(now), 6);
}

/// What a session does to a chunk in the model.
#[derive(Debug, Clone, Copy)]
enum Step {
    Pin(usize),
    Fill(usize),
    Unpin(usize, u8),
    Forget(usize),
    Purge,
}

fn steps() -> impl Strategy<Value = Step> {
    let pinner = 0..Pinner::COUNT;
    prop_oneof![
        pinner.clone().prop_map(Step::Pin),
        pinner.clone().prop_map(Step::Fill),
        (pinner.clone(), 0..8u8).prop_map(|(pinner, priority)| Step::Unpin(pinner, priority)),
        pinner.prop_map(Step::Forget),
        Just(Step::Purge),
    ]
}

proptest! {
    #[test]
    #[cfg_attr(miri, ignore = "shares nothing")]
    fn every_word_is_a_state_and_every_state_a_word(word: u32) {
        let state = ChunkState::of(word);
        prop_assert_eq!(ChunkState::of(state.word()), state);
    }

    #[test]
    #[cfg_attr(miri, ignore = "needs a kernel")]
    fn a_chunk_does_what_a_set_of_pinners_would(steps in prop::collection::vec(steps(), 1..60)) {
        let (_memfd, block) = block(3);
        let mut pinners = std::collections::BTreeSet::new();
        let (mut filled, mut used) = (false, false);
        for step in steps {
            match step {
                Step::Pin(number) => {
                    let contents = pin(&block, 1, Pinner::new(number).unwrap());
                    prop_assert_eq!(contents, Contents::of(filled));
                    pinners.insert(number);
                    used = true;
                }
                // Only whoever pins it does any of these.
                Step::Fill(number) if pinners.contains(&number) => {
                    block.set_filled(1, true).unwrap();
                    filled = true;
                }
                Step::Unpin(number, priority) if pinners.contains(&number) => {
                    let priority = Priority::new(priority).unwrap();
                    block.unpin(1, Pinner::new(number).unwrap(), priority, Stamp::now()).unwrap();
                    pinners.remove(&number);
                    if pinners.is_empty() {
                        let left = block.state(1).unwrap();
                        let is_so = matches!(
                            left,
                            ChunkState::Unpinned { priority: now, filled: so, .. }
                                if now == priority && so == filled
                        );
                        prop_assert!(is_so, "{:?}", left);
                    }
                }
                Step::Forget(number) => {
                    block.forget(1, Pinner::new(number).unwrap()).unwrap();
                    pinners.remove(&number);
                }
                Step::Purge => {
                    prop_assert_eq!(purge(&block, 1), used && pinners.is_empty());
                    if pinners.is_empty() {
                        (filled, used) = (false, false);
                    }
                }
                Step::Fill(_) | Step::Unpin(..) => {}
            }
        }
        prop_assert_eq!(block.state(0).unwrap(), ChunkState::Empty);
        prop_assert_eq!(block.state(2).unwrap(), ChunkState::Empty);
    }

    #[test]
    #[cfg_attr(miri, ignore = "shares nothing")]
    fn chunks_cover_a_region_once(region in 1u64..10_000_000, chunk in 1u64..200_000) {
        let chunks = Chunks::of(region, chunk).unwrap();
        let mut end = 0;
        for number in 0..chunks.count() {
            let bytes = chunks.bytes_of(number);
            prop_assert_eq!(bytes.start, end);
            prop_assert!(!bytes.is_empty());
            prop_assert_eq!(chunks.touched_by(&bytes), Some(number..number + 1));
            end = bytes.end;
        }
        prop_assert_eq!(end, region);
        prop_assert!(chunks.bytes_of(chunks.count()).is_empty());
        prop_assert_eq!(chunks.touched_by(&(0..region)), Some(0..chunks.count()));
        prop_assert_eq!(chunks.touched_by(&(0..region + 1)), None);
    }
}

/// A chunk's contents as plain bytes; an access of two at once is one that miri reports.
struct Raced(std::cell::UnsafeCell<[u8; 4]>);

// SAFETY: what the test is about: pins and purges keep both threads from the bytes at once.
unsafe impl Sync for Raced {}

impl Raced {
    fn bytes(&self) -> *mut [u8; 4] {
        self.0.get()
    }
}

#[test]
fn a_purge_never_touches_what_is_pinned() {
    let (word, contents) = (AtomicU32::new(0), Raced([0; 4].into()));
    let over = AtomicBool::new(false);
    let rounds: u8 = if cfg!(miri) { 50 } else { 250 };
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let seen = word::Word::load(&word);
                if word::begin_purge(&word, seen) {
                    // SAFETY: as for `Sync`.
                    unsafe { *contents.bytes() = [0; 4] };
                    word::end_purge(&word, ChunkState::Empty.word());
                }
                thread::yield_now();
            }
        });
        let mut last = 0;
        for round in 1..=rounds {
            let found = loop {
                match word::pin(&word, Pinner::OWNER) {
                    Attempt::Pinned(found) => break found,
                    Attempt::Wait => thread::yield_now(),
                }
            };
            // SAFETY: as for `Sync`.
            let bytes = unsafe { &mut *contents.bytes() };
            let expected = if found == Contents::Kept { last } else { 0 };
            assert_eq!(*bytes, [expected; 4]);
            *bytes = [round; 4];
            last = round;
            word::set_filled(&word, true);
            word::unpin(&word, Pinner::OWNER, Priority::NORMAL, Stamp::of_bits(round.into()));
            thread::yield_now();
        }
        over.store(true, Ordering::Relaxed);
    });
}
