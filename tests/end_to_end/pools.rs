// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! What a test asks of pools, in terms of the protocol.

use serde::{Deserialize, Serialize};

use crate::harness::{Client, Refusal};
use crate::protocol::{Answer, Ask, Descriptor, Fence};

/// A pool that the client takes part in, by a number of its own.
pub type PoolHandle = u64;

/// A slot that the client holds, by a number of its own.
pub type LeaseHandle = u64;

/// What is said of a frame: timestamp, sequence, crop and tag.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// Nanoseconds.
    pub timestamp: i64,
    /// A number.
    pub sequence: u64,
    /// Left, top, right, bottom.
    pub crop: [i32; 4],
    /// A word.
    pub tag: u32,
}

/// What a test asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum AskPool {
    /// Make one: slots, participants, and slots that each may hold, 0 for all.
    Create(Descriptor, u32, u32, u32),
    /// A token for a uid, of so many uses, read-only or not.
    Share(PoolHandle, u32, u32, bool),
    /// Join.
    Join([u8; 16]),
    /// Take a free slot, waiting so many milliseconds.
    Acquire(PoolHandle, u64),
    /// Fill the slot's buffer with a value.
    Fill(LeaseHandle, u8),
    /// Hand it over.
    Submit(LeaseHandle, Said),
    /// Take a filled slot, waiting so many milliseconds.
    Take(PoolHandle, u64),
    /// Take a filled slot from the queue of a stage, 0 to 2, waiting so many milliseconds.
    TakeFrom(PoolHandle, u8, u64),
    /// Take so many filled slots by a descriptor that is polled, numbered from 0, and give each back;
    /// then wait for the pool's end. How many frames?
    Watch(PoolHandle, u64),
    /// Take so many free slots by a descriptor that is polled, and fill and hand over each, numbered from
    /// 0. How many frames?
    Serve(PoolHandle, u64),
    /// Hand one that was taken on to the queue of a stage.
    PassOn(LeaseHandle, u8, Said),
    /// Whether all bytes of the slot's buffer have this value.
    AllBytesAre(LeaseHandle, u8),
    /// The identity of the slot's buffer.
    Identity(LeaseHandle),
    /// The fences of the slot's buffer, as a writer waits for them or a reader.
    Fences(LeaseHandle, bool),
    /// Have a device write the slot's buffer, or read it, until told that it is done.
    DeviceBegins(LeaseHandle, bool),
    /// The device is done with the buffer of the slot of this number, and has set all of it to a value.
    DeviceEnds(u32, Option<u8>),
    /// Give it back.
    Release(LeaseHandle),
    /// Have so many slots.
    Resize(PoolHandle, u32),
    /// Have the table put right: how many slots were?
    Restore(PoolHandle),
    /// Drop the pool, with all slots of it.
    Leave(PoolHandle),
    /// In as many threads make and take frames from now on, and check what is in each; among enemies,
    /// who make frames get lost or come again, or not.
    Mill(PoolHandle, usize, bool),
    /// How many frames that were, until now.
    Milled,
    /// End it: how many frames were they?
    StopMill,
    /// Join and write nonsense to all that can be written, so many words, from this seed; with claims
    /// of its own beyond what it may, or without.
    Scribble([u8; 16], u64, u64, bool),
    /// Join, say of all slots that there are none, and stay.
    Hide([u8; 16]),
    /// Fork so many processes that join by one of the tokens and mill, so many at a time, and kill
    /// each at a moment of chance. The client must not have been asked for anything before.
    KillMills(Vec<[u8; 16]>, usize, usize),
}

/// What the client answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PoolAnswer {
    /// A pool, and the client's number in it.
    Joined(PoolHandle, u32),
    /// A slot to fill, and its number.
    Leased(LeaseHandle, u32),
    /// A frame: its slot's number, its producer and what that one said.
    Taken(LeaseHandle, u32, u32, Said),
    /// There was nothing in time.
    TimedOut,
    /// The client holds as many slots as it may.
    TooMany,
    /// The pool has ended.
    Closed,
}

/// The questions, as calls.
impl Client {
    fn pool(&self, ask: AskPool) -> Result<PoolAnswer, Refusal> {
        self.ask(Ask::Pool(ask)).map(|answer| answer.of_pool())
    }

    fn pool_done(&self, ask: AskPool) -> Result<(), Refusal> {
        self.ask(Ask::Pool(ask)).map(|answer| assert_eq!(answer, Answer::Done))
    }

    fn pool_count(&self, ask: AskPool) -> usize {
        match self.ask(Ask::Pool(ask)).expect("an answer") {
            Answer::Count(count) => count,
            other => panic!("{other:?}"),
        }
    }

    /// Makes a pool of slots, participants, and slots that each may hold.
    pub fn try_create_pool(
        &self,
        descriptor: &Descriptor,
        (slots, participants, max_held): (u32, u32, u32),
    ) -> Result<PoolHandle, Refusal> {
        let ask = AskPool::Create(descriptor.clone(), slots, participants, max_held);
        self.pool(ask).map(PoolAnswer::joined)
    }

    /// The same where it cannot be refused.
    pub fn create_pool(&self, descriptor: &Descriptor, sizes: (u32, u32, u32)) -> PoolHandle {
        self.try_create_pool(descriptor, sizes).expect("a pool")
    }

    /// A token for a pool.
    pub fn share_pool(&self, pool: PoolHandle, uid: u32) -> [u8; 16] {
        self.try_share_pool(pool, uid, 64, false).expect("a token")
    }

    /// The same of so many uses, read-only or not.
    pub fn try_share_pool(
        &self,
        pool: PoolHandle,
        uid: u32,
        uses: u32,
        read_only: bool,
    ) -> Result<[u8; 16], Refusal> {
        match self.ask(Ask::Pool(AskPool::Share(pool, uid, uses, read_only)))? {
            Answer::Token(token) => Ok(token),
            other => panic!("{other:?}"),
        }
    }

    /// Joins.
    pub fn try_join_pool(&self, token: [u8; 16]) -> Result<PoolHandle, Refusal> {
        self.pool(AskPool::Join(token)).map(PoolAnswer::joined)
    }

    /// Joins where it cannot be refused.
    pub fn join_pool(&self, token: [u8; 16]) -> PoolHandle {
        self.try_join_pool(token).expect("a part in the pool")
    }

    /// Takes a free slot.
    pub fn acquire_slot(&self, pool: PoolHandle, milliseconds: u64) -> PoolAnswer {
        self.pool(AskPool::Acquire(pool, milliseconds)).expect("an answer")
    }

    /// Takes a filled slot.
    pub fn take_slot(&self, pool: PoolHandle, milliseconds: u64) -> PoolAnswer {
        self.pool(AskPool::Take(pool, milliseconds)).expect("an answer")
    }

    /// Takes a filled slot from the queue of a stage.
    pub fn take_slot_from(&self, pool: PoolHandle, queue: u8, milliseconds: u64) -> PoolAnswer {
        self.pool(AskPool::TakeFrom(pool, queue, milliseconds)).expect("an answer")
    }

    /// Fills a slot that was taken and hands it on to the queue of a stage.
    pub fn pass_slot_on(&self, lease: LeaseHandle, value: u8, queue: u8, said: Said) {
        self.pool_done(AskPool::Fill(lease, value)).expect("bytes");
        self.pool_done(AskPool::PassOn(lease, queue, said)).expect("a frame");
    }

    /// Fills a slot's buffer and hands it over.
    pub fn submit_slot(&self, lease: LeaseHandle, value: u8, said: Said) {
        self.pool_done(AskPool::Fill(lease, value)).expect("bytes");
        self.pool_done(AskPool::Submit(lease, said)).expect("a frame");
    }

    /// Gives a slot back.
    pub fn release_slot(&self, lease: LeaseHandle) {
        self.pool_done(AskPool::Release(lease)).expect("a release");
    }

    /// Whether all bytes of a slot's buffer have a value.
    pub fn slot_has(&self, lease: LeaseHandle, value: u8) -> bool {
        self.ask(Ask::Pool(AskPool::AllBytesAre(lease, value))) == Ok(Answer::Yes(true))
    }

    /// The identity of a slot's buffer.
    pub fn slot_identity(&self, lease: LeaseHandle) -> (u64, u64) {
        match self.ask(Ask::Pool(AskPool::Identity(lease))).expect("an identity") {
            Answer::Identity(device, inode) => (device, inode),
            other => panic!("{other:?}"),
        }
    }

    /// Hands a slot over as it is.
    pub fn submit_unfilled(&self, lease: LeaseHandle, said: Said) {
        self.pool_done(AskPool::Submit(lease, said)).expect("a frame");
    }

    /// The fences of a slot's buffer, as a writer waits for them or a reader.
    pub fn slot_fences(&self, lease: LeaseHandle, for_writer: bool) -> Fence {
        match self.ask(Ask::Pool(AskPool::Fences(lease, for_writer))).expect("fences") {
            Answer::Fence(fence) => fence,
            other => panic!("{other:?}"),
        }
    }

    /// Has a device write a slot's buffer, or read it.
    pub fn device_begins(&self, lease: LeaseHandle, writes: bool) {
        self.pool_done(AskPool::DeviceBegins(lease, writes)).expect("a device");
    }

    /// The device is done with the buffer of a slot, and has set all of it to a value.
    pub fn device_ends(&self, slot: u32, value: Option<u8>) {
        self.pool_done(AskPool::DeviceEnds(slot, value)).expect("a device's end");
    }

    /// Has so many slots from here on.
    pub fn resize_pool(&self, pool: PoolHandle, slots: u32) -> Result<(), Refusal> {
        self.pool_done(AskPool::Resize(pool, slots))
    }

    /// Has the table put right.
    pub fn restore_pool(&self, pool: PoolHandle) -> usize {
        self.pool_count(AskPool::Restore(pool))
    }

    /// Leaves a pool.
    pub fn leave_pool(&self, pool: PoolHandle) {
        self.pool_done(AskPool::Leave(pool)).expect("an end");
    }

    /// Makes and takes frames from now on.
    pub fn mill(&self, pool: PoolHandle, threads: usize) {
        self.pool_done(AskPool::Mill(pool, threads, false)).expect("a mill");
    }

    /// The same where somebody writes nonsense to the table.
    pub fn mill_among_enemies(&self, pool: PoolHandle) {
        self.pool_done(AskPool::Mill(pool, 1, true)).expect("a mill");
    }

    /// How many frames it made and took until now.
    pub fn milled(&self) -> usize {
        self.pool_count(AskPool::Milled)
    }

    /// Ends that.
    pub fn stop_mill(&self) -> usize {
        self.pool_count(AskPool::StopMill)
    }

    /// Takes and gives back frames until there is none, and then takes every free slot there is:
    /// their numbers.
    pub fn take_everything(&self, pool: PoolHandle) -> Vec<u32> {
        while let PoolAnswer::Taken(lease, ..) = self.take_slot(pool, 0) {
            self.release_slot(lease);
        }
        let mut all = Vec::new();
        let mut leases = Vec::new();
        while let PoolAnswer::Leased(lease, slot) = self.acquire_slot(pool, 0) {
            all.push(slot);
            leases.push(lease);
        }
        leases.into_iter().for_each(|lease| self.release_slot(lease));
        all.sort_unstable();
        all
    }
}

impl PoolAnswer {
    /// The pool that was joined.
    fn joined(self) -> PoolHandle {
        match self {
            PoolAnswer::Joined(pool, _) => pool,
            other => panic!("{other:?}"),
        }
    }

    /// The slot that was acquired: how it is called, and its number.
    pub fn leased(self) -> (LeaseHandle, u32) {
        match self {
            PoolAnswer::Leased(lease, slot) => (lease, slot),
            other => panic!("{other:?}"),
        }
    }

    /// The same, or nothing.
    pub fn leased_or_none(self) -> Option<(LeaseHandle, u32)> {
        match self {
            PoolAnswer::Leased(lease, slot) => Some((lease, slot)),
            _ => None,
        }
    }

    /// The frame that was taken, and what is said of it.
    pub fn taken(self) -> (LeaseHandle, Said) {
        match self {
            PoolAnswer::Taken(lease, _, _, said) => (lease, said),
            other => panic!("{other:?}"),
        }
    }
}

impl Answer {
    /// An answer of a pool.
    pub fn of_pool(self) -> PoolAnswer {
        match self {
            Answer::Pool(answer) => answer,
            other => panic!("{other:?}"),
        }
    }
}
