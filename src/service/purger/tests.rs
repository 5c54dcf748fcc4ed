// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

use super::*;
use crate::memory::Place;
use berth_kernel::identity;
use berth_kernel::mapping::{Mapping, ReadWrite};
use berth_shared::purge::{ChunkState, Chunks, Contents, Pinner, Priority, PurgeBlock};
use nix::fcntl::posix_fallocate;
use proptest::prelude::*;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::AtomicBool;
use vendor_berth_allocator::aidl::vendor::berth::allocator::AllocatorError::AllocatorError;

const PAGE: u64 = 4096;
const UID: u32 = 10_001;
const OTHER_UID: u32 = 10_002;

/// What stands for a client: the region's and the block's mappings.
struct Client {
    region: Arc<Purgeable>,
    block: PurgeBlock,
    memory: Mapping<ReadWrite>,
}

impl Client {
    fn new(purger: &Arc<Purger>, uid: u32, chunks: u64) -> Client {
        Client::of(purger, uid, Chunks::of(chunks * PAGE, PAGE).unwrap())
    }

    fn of(purger: &Arc<Purger>, uid: u32, chunks: Chunks) -> Client {
        let region = Arc::new(Purgeable::create("test", chunks).unwrap());
        purger.register(uid, &region).unwrap();
        let block = PurgeBlock::map(region.block(), &chunks).unwrap();
        let memory = Mapping::new(region.as_fd(), chunks.region_bytes()).unwrap();
        Client { region, block, memory }
    }

    fn pin(&self, chunk: u32) -> Contents {
        self.block.try_pin(chunk, Pinner::OWNER).unwrap().unwrap()
    }

    /// Fills a chunk and leaves it unpinned, `age` units of time ago.
    fn leave(&self, chunk: u32, priority: u8, age: u32) {
        self.pin(chunk);
        let bytes = self.region.chunks.bytes_of(chunk);
        self.memory.fill(bytes.start as usize, bytes.count(), 0xaa).unwrap();
        self.block.set_filled(chunk, true).unwrap();
        let since = Stamp::of_bits(Stamp::now().bits().wrapping_sub(age));
        let priority = Priority::new(priority).unwrap();
        self.block.unpin(chunk, Pinner::OWNER, priority, since).unwrap();
    }

    fn is_there(&self, chunk: u32) -> bool {
        matches!(self.block.state(chunk).unwrap(), ChunkState::Unpinned { filled: true, .. })
    }

    fn left(&self) -> Vec<u32> {
        (0..self.region.chunks.count()).filter(|chunk| self.is_there(*chunk)).collect()
    }
}

fn purger() -> Arc<Purger> {
    Arc::new(Purger::default())
}

fn purge(purger: &Purger, chunks: u64) -> u64 {
    purger.purge(purger.candidates(None), chunks * PAGE) / PAGE
}

#[test]
fn the_lowest_priority_goes_first_and_of_one_priority_the_oldest() {
    let purger = purger();
    let client = Client::new(&purger, UID, 6);
    for (chunk, priority, age) in [(0, 3, 10), (1, 0, 1), (2, 3, 30), (3, 7, 99), (4, 0, 2)] {
        client.leave(chunk, priority, age);
    }
    let mut order = Vec::new();
    let mut before = client.left();
    while purge(&purger, 1) > 0 {
        let left = client.left();
        order.extend(before.iter().copied().filter(|chunk| !left.contains(chunk)));
        before = left;
    }
    assert_eq!(order, [4, 1, 2, 0, 3]);
    assert_eq!(purger.purged.load(Ordering::Relaxed), 5 * PAGE);
}

#[test]
fn of_one_priority_the_uid_that_has_the_most_gives_first() {
    let purger = purger();
    let large = Client::new(&purger, UID, 8);
    let small = Client::new(&purger, OTHER_UID, 8);
    (0..7).for_each(|chunk| large.leave(chunk, 3, 0));
    (0..3).for_each(|chunk| small.leave(chunk, 3, 1000));
    assert_eq!(purge(&purger, 4), 4);
    assert_eq!((large.left().len(), small.left().len()), (3, 3), "the younger, but more of them");
    assert_eq!(purge(&purger, 4), 4);
    assert_eq!((large.left().len(), small.left().len()), (1, 1), "then both in turns");
    // A uid's regions count together.
    let again = Client::new(&purger, OTHER_UID, 8);
    (0..2).for_each(|chunk| again.leave(chunk, 3, 0));
    assert_eq!(purge(&purger, 2), 2);
    assert_eq!((large.left().len(), small.left().len(), again.left().len()), (1, 0, 1));
}

#[test]
fn what_is_pinned_stays_and_its_memory_with_it() {
    let purger = purger();
    let client = Client::new(&purger, UID, 4);
    (0..4).for_each(|chunk| client.leave(chunk, 3, 0));
    assert_eq!(client.pin(2), Contents::Kept);
    assert_eq!(purge(&purger, 100), 3);
    let mut bytes = [0; 4 * PAGE as usize];
    client.memory.read(0, &mut bytes).unwrap();
    for (number, byte) in bytes.iter().enumerate() {
        assert_eq!(*byte, if number as u64 / PAGE == 2 { 0xaa } else { 0 }, "byte {number}");
    }
    assert_eq!(client.pin(0), Contents::Purged);
    assert_eq!(client.pin(2), Contents::Kept);
}

#[test]
fn what_was_taken_is_counted_though_its_owner_writes_elsewhere_meanwhile() {
    let purger = purger();
    const CHUNK: u64 = 256 * PAGE;
    let client = Client::of(&purger, UID, Chunks::of(2 * CHUNK, CHUNK).unwrap());
    let done = AtomicBool::new(false);
    let counted: Vec<u64> = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                for page in (CHUNK..2 * CHUNK).step_by(PAGE as usize) {
                    client.memory.fill(page as usize, 1, 1).unwrap();
                }
                // Pages of its own go as they came.
                client.region.memfd().punch_range(CHUNK..2 * CHUNK).unwrap();
            }
        });
        let purged = |_| {
            client.leave(0, 3, 0);
            purge(&purger, 256)
        };
        let counted = (0..200).map(purged).collect();
        done.store(true, Ordering::Relaxed);
        counted
    });
    assert_eq!(counted, [256; 200]);
}

#[test]
fn what_was_only_reserved_counts_as_well() {
    let purger = purger();
    let client = Client::new(&purger, UID, 2);
    client.leave(0, 3, 0);
    client.region.memfd().punch_range(0..PAGE).unwrap();
    posix_fallocate(client.region.as_fd().as_raw_fd(), 0, PAGE as i64).unwrap();
    assert_eq!(purge(&purger, 1), 1);
}

#[test]
fn a_uid_is_trimmed_and_no_other() {
    let purger = purger();
    let (own, others) = (Client::new(&purger, UID, 2), Client::new(&purger, OTHER_UID, 2));
    for client in [&own, &others] {
        (0..2).for_each(|chunk| client.leave(chunk, 3, 0));
    }
    assert_eq!(purger.unpinned_bytes(), 4 * PAGE);
    assert_eq!(purger.trim_of_uid(UID), 2 * PAGE);
    assert_eq!((own.left().len(), others.left().len()), (0, 2));
}

#[test]
fn room_is_made_as_asked_or_not_at_all() {
    let purger = purger();
    let client = Client::new(&purger, UID, 1024);
    (0..1024).for_each(|chunk| client.leave(chunk, 3, 0));
    assert_eq!(purger.make_room(1024 * PAGE + 1), 0);
    assert_eq!(purger.make_room(0), 0);
    assert_eq!(client.left().len(), 1024);
    let made = purger.make_room(16 * PAGE);
    assert_eq!((made, client.left().len()), (16 * PAGE, 1008));
}

#[test]
fn the_pins_of_a_session_that_left_go_and_its_number_is_free_again() {
    let purger = purger();
    let client = Client::new(&purger, UID, 2);
    let place = |session| Place { session, buffer: 1 };
    let numbers: Vec<Pinner> =
        (1..16).map(|session| client.region.seat(place(session)).unwrap()).collect();
    assert!(!numbers.contains(&Pinner::OWNER));
    assert_eq!(client.region.seat(place(99)), None);
    let dead = client.region.pinner_of(place(7)).unwrap();
    client.leave(0, 3, 0);
    client.block.try_pin(0, dead).unwrap();
    assert_eq!(purge(&purger, 1), 0);
    client.region.leave(dead);
    assert_eq!(client.region.seat(place(99)), None, "its pins are there still");
    client.region.forget_those_that_left().unwrap();
    assert_eq!(client.region.seat(place(99)), Some(dead));
    assert_eq!(purge(&purger, 1), 1);
}

#[test]
fn chunks_are_limited_by_uid_and_given_back_with_the_region() {
    let purger = purger();
    let half = || Chunks::of(UID_CHUNKS / 2 * PAGE, PAGE).unwrap();
    let region = || Arc::new(Purgeable::create("test", half()).unwrap());
    let (first, second) = (region(), region());
    purger.register(UID, &first).unwrap();
    purger.register(UID, &second).unwrap();
    let refusal = purger.register(UID, &region()).unwrap_err();
    assert_eq!(refusal.code(), AllocatorError::QUOTA_EXCEEDED);
    assert!(refusal.to_string().contains("65536 purgeable chunks of at most 65536"), "{refusal}");
    purger.register(OTHER_UID, &region()).unwrap();
    assert_eq!(purger.purgeable_bytes(), UID_CHUNKS * PAGE, "the third was not kept");
    drop(first);
    purger.register(UID, &region()).unwrap();
}

#[test]
fn regions_that_are_gone_leave_the_list() {
    let purger = purger();
    for _ in 0..4 * PART {
        Client::new(&purger, UID, 1);
    }
    assert!(lock(&purger.register).regions.len() <= PART);
    assert_eq!(purger.purgeable_bytes(), 0);
}

#[test]
fn the_thread_purges_what_is_wanted_and_ends() {
    let purger = Purger::start().unwrap();
    let client = Client::new(&purger, UID, 8);
    (0..8).for_each(|chunk| client.leave(chunk, 3, 0));
    purger.want(3 * PAGE);
    while purger.purged.load(Ordering::Relaxed) < 3 * PAGE {
        thread::yield_now();
    }
    assert_eq!(client.left().len(), 5);
    purger.end();
}

proptest! {
    #[test]
    fn whatever_is_in_a_block_harms_no_other(words in prop::collection::vec(any::<u32>(), 64)) {
        let purger = purger();
        let hostile = Client::new(&purger, UID, 64);
        hostile.memory.fill(0, 64 * PAGE as usize, 1).unwrap();
        let good = Client::new(&purger, OTHER_UID, 2);
        good.leave(0, 7, 0);
        good.leave(1, 7, 0);
        good.pin(1);
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let block = hostile.region.block();
        let block: Mapping<ReadWrite> =
            Mapping::new(block, identity::size(block).unwrap()).unwrap();
        block.write(0, &bytes).unwrap();
        let mut unpinned = 0;
        for word in &words {
            unpinned += u64::from(ChunkState::of(*word).is_purgeable());
        }
        hostile.region.leave(Pinner::new(3).unwrap());
        hostile.region.forget_those_that_left().unwrap();
        let most = purger.unpinned_bytes() / PAGE;
        prop_assert!((unpinned + 1..=65).contains(&most), "{} {}", unpinned, most);
        prop_assert_eq!(purge(&purger, 1000), most);
        prop_assert_eq!(good.pin(1), Contents::Kept);
        prop_assert_eq!(good.pin(0), Contents::Purged);
    }
}

#[test]
fn chunks_that_nobody_ever_touched_spare_nobody_elses() {
    let purger = purger();
    let hollow = Client::new(&purger, UID, 8);
    for chunk in 0..8 {
        hollow.pin(chunk);
        hollow.block.set_filled(chunk, true).unwrap();
        hollow.block.unpin(chunk, Pinner::OWNER, Priority::new(0).unwrap(), Stamp::now()).unwrap();
    }
    let honest = Client::new(&purger, OTHER_UID, 4);
    (0..3).for_each(|chunk| honest.leave(chunk, 7, 0));
    assert_eq!(purger.make_room(4 * PAGE), 0, "there are three pages");
    assert_eq!(honest.left().len(), 3);
    assert_eq!(purger.make_room(2 * PAGE), 2 * PAGE);
    assert_eq!(honest.left().len(), 1);
    assert_eq!(purger.trim_of_uid(UID), 0, "nothing was given back");
    assert_eq!(purger.purged.load(Ordering::Relaxed), 2 * PAGE);
}

#[test]
fn a_region_is_looked_at_once_however_many_left_it() {
    let purger = purger();
    let client = Client::new(&purger, UID, 1);
    for _ in 0..1000 {
        purger.look_who_left(&client.region);
    }
    assert_eq!(lock(&purger.work).left.len(), 1);
    purger.forget_who_left(&[Arc::downgrade(&client.region)]);
    purger.look_who_left(&client.region);
    assert_eq!(lock(&purger.work).left.len(), 2, "who leaves from now on may not be seen");
}
