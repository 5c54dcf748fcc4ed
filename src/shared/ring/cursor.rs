// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! The ring's algorithm: two indices, each stored by one end and read by the other.
//!
//! Indices count bytes and wrap at 2³², a multiple of every capacity. Each end keeps its own index in
//! private memory, so what a peer stores over it changes nothing; the peer's index is read once at a
//! time and must lie where an honest peer can have moved it: never back, never past the other.

use crate::atomics::{AtomicU32, Ordering};
use crate::futex;
use crate::presence::word::{self, Standing};

/// Bytes in front of each record, which hold its length. Records are padded to a multiple of it.
pub const PREFIX: u32 = 4;
/// From this length on a record begins where a cache line does: copied across the lines, 4 KiB took 1.6
/// times as long between two processors that share a cache. For shorter ones the gap would be too much.
pub const ALIGNED: u32 = 256;
/// Bytes of a cache line. A record that is prefixed at a multiple of it begins at one.
pub const LINE: u32 = 64;

/// The words that both ends look at.
#[derive(Debug, Clone, Copy)]
pub struct Words<'m> {
    /// Bytes ever published; the producer's.
    pub tail: &'m AtomicU32,
    /// Bytes ever released; the consumer's.
    pub head: &'m AtomicU32,
    /// The producer's presence.
    pub producer: &'m AtomicU32,
    /// The consumer's presence.
    pub consumer: &'m AtomicU32,
}

/// The bytes between the indices. An offset is less than the capacity, and `offset` plus the length
/// of what is copied is no more.
pub trait Bytes {
    /// Copies out.
    fn copy_out(&self, offset: u32, into: &mut [u8]);
    /// Copies in.
    fn copy_in(&self, offset: u32, from: &[u8]);
}

/// What the other end did that no honest end does. The ring is of no more use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Corrupt {
    /// It moved its index back, or past ours, or further than the ring is long.
    #[error("the other end's index is {found}; it can be {from} to {to}")]
    Index {
        /// What was read.
        found: u32,
        /// Where it was last.
        from: u32,
        /// Where it can be at most.
        to: u32,
    },
    /// It announced a record that is longer than what it published.
    #[error("a record that calls itself {length} bytes long in {published} published bytes")]
    Record {
        /// What was read.
        length: u32,
        /// What is published from its start on, its length included.
        published: u32,
    },
}

/// Bytes from the prefix of a record of `length` to the record, if the prefix is at `index`.
fn lead(index: u32, length: u32) -> u32 {
    let gap = if length < ALIGNED { 0 } else { index.wrapping_neg() % LINE };
    PREFIX.saturating_add(gap)
}

/// Bytes that a record of `length` takes, its prefix included, if that is at `index`; `None` if no ring
/// is that long.
fn space(index: u32, length: u32) -> Option<u32> {
    length.checked_next_multiple_of(PREFIX)?.checked_add(lead(index, length))
}

/// Bytes that each of many records of `length` takes at most; `None` if no ring is that long.
pub fn space_of_each(length: u32) -> Option<u32> {
    let behind_another = space(0, length)?;
    space(behind_another, length)
}

/// The longest record that an empty ring takes wherever it stands, if `limit` bytes may be in use.
pub fn longest(limit: u32) -> u32 {
    let short = limit.saturating_sub(PREFIX).min(ALIGNED.saturating_sub(1));
    // A line is what leads to a record at most.
    short.max(limit.saturating_sub(LINE))
}

/// Where an end stands. Of both ends, `mine` runs from the last index that was made known to the
/// other; `at` is ahead of it by what was done since.
#[derive(Debug, Clone, Copy)]
pub struct Cursor {
    /// A power of two.
    capacity: u32,
    /// What the other end has been told.
    mine: u32,
    /// Where this end is.
    at: u32,
    /// Where the other end was when it was last looked at.
    theirs: u32,
}

impl Cursor {
    fn span(&self, from: u32, to: u32) -> u32 {
        to.wrapping_sub(from)
    }

    /// Takes a fresh value of the other end's index, which may be `most` ahead of where it was.
    fn look(&mut self, index: &AtomicU32, most: u32) -> Result<(), Corrupt> {
        let found = index.load(Ordering::Acquire);
        let (from, to) = (self.theirs, self.theirs.wrapping_add(most));
        if self.span(from, found) > most {
            return Err(Corrupt::Index { found, from, to });
        }
        self.theirs = found;
        Ok(())
    }

    /// Whether a producer can put a record of `length` in, if `limit` may lie between the ends.
    fn has_room(&mut self, words: &Words<'_>, limit: u32, length: u32) -> Result<bool, Corrupt> {
        let Some(space) = space(self.at, length) else { return Ok(false) };
        let fits = |cursor: &Cursor| {
            let used = cursor.span(cursor.theirs, cursor.at);
            limit.checked_sub(used).is_some_and(|free| space <= free)
        };
        if fits(self) {
            return Ok(true);
        }
        // What is not published cannot be released.
        self.look(words.head, self.span(self.theirs, self.mine))?;
        Ok(fits(self))
    }

    /// Whether a record is there for a consumer.
    fn has_record(&mut self, words: &Words<'_>) -> Result<bool, Corrupt> {
        if self.unread() > 0 {
            return Ok(true);
        }
        // A full ring is one whose capacity lies between the ends.
        let filled = self.span(self.mine, self.theirs);
        self.look(words.tail, self.capacity.saturating_sub(filled))?;
        Ok(self.unread() > 0)
    }

    /// Published bytes that a consumer did not pass yet, as far as it has looked.
    fn unread(&self) -> u32 {
        self.span(self.at, self.theirs)
    }

    /// Where byte `from` of a record of `length` lies that is next, and how many follow there without
    /// a wrap.
    fn place_in(&self, length: u32, from: u32) -> (u32, u32) {
        self.place(self.at.wrapping_add(lead(self.at, length)).wrapping_add(from))
    }

    /// Goes on behind a record of `length`, which was seen to fit.
    fn pass(&mut self, length: u32) {
        self.at = self.at.wrapping_add(space(self.at, length).unwrap_or(0));
    }

    /// Where an index points among the bytes, and how many follow there without a wrap.
    fn place(&self, index: u32) -> (u32, u32) {
        // A power of two is 1 or more.
        let offset = index & self.capacity.wrapping_sub(1);
        (offset, self.capacity.wrapping_sub(offset))
    }
}

/// The producing end.
#[derive(Debug, Clone, Copy)]
pub struct Writer {
    cursor: Cursor,
    /// How many bytes may lie between the ends.
    limit: u32,
    looks: Looks,
}

impl Writer {
    /// Goes on where the last producer stopped. `limit` is the capacity or less.
    pub fn attach(words: &Words<'_>, capacity: u32, limit: u32) -> Result<Writer, Corrupt> {
        let (head, tail) = indices(words, capacity)?;
        let cursor = Cursor { capacity, mine: tail, at: tail, theirs: head };
        Ok(Writer { cursor, limit, looks: Looks::default() })
    }

    /// Whether a record of `length` can be put in.
    pub fn has_room(&mut self, words: &Words<'_>, length: u32) -> Result<bool, Corrupt> {
        self.cursor.has_room(words, self.limit, length)
    }

    /// Puts the length of a record in; [`Writer::has_room`] said that there is room for it.
    pub fn begin(&self, bytes: &impl Bytes, length: u32) {
        // Its place is a multiple of 4, so it does not wrap.
        bytes.copy_in(self.cursor.place(self.cursor.at).0, &length.to_ne_bytes());
    }

    /// Puts a part of the record of `length` in, `from` bytes into it.
    pub fn fill(&self, bytes: &impl Bytes, length: u32, from: u32, part: &[u8]) {
        let (offset, run) = self.cursor.place_in(length, from);
        let run = usize::try_from(run).unwrap_or(usize::MAX).min(part.len());
        let (first, rest) = part.split_at(run);
        bytes.copy_in(offset, first);
        if !rest.is_empty() {
            bytes.copy_in(0, rest);
        }
    }

    /// The record of `length` is whole, but not seen yet.
    pub fn end(&mut self, length: u32) {
        self.cursor.pass(length);
    }

    /// Shows all whole records to the consumer and wakes it if it waits.
    pub fn publish(&mut self, words: &Words<'_>) {
        if self.cursor.mine != self.cursor.at {
            self.cursor.mine = self.cursor.at;
            words.tail.store(self.cursor.at, Ordering::Release);
            word::notify_if_awaited(words.producer);
        }
    }

    /// Forgets whole records that were not published.
    pub fn discard(&mut self) {
        self.cursor.at = self.cursor.mine;
    }

    /// Waits until there is room for a record of `length`. `left` says how long it may still wait.
    pub fn wait(
        &mut self,
        words: &Words<'_>,
        length: u32,
        left: impl FnMut() -> Option<std::time::Duration>,
    ) -> Result<(), Ended> {
        // To whoever has gone nothing is written, room or not.
        if let Some(ended) = Ended::of(words.consumer) {
            return Err(ended);
        }
        let Writer { cursor, limit, looks } = self;
        wait(words.consumer, looks, || Ok(cursor.has_room(words, *limit, length)?), left)
    }
}

/// The consuming end.
#[derive(Debug, Clone, Copy)]
pub struct Reader {
    cursor: Cursor,
    looks: Looks,
}

impl Reader {
    /// Goes on where the last consumer stopped.
    pub fn attach(words: &Words<'_>, capacity: u32) -> Result<Reader, Corrupt> {
        let (head, tail) = indices(words, capacity)?;
        let cursor = Cursor { capacity, mine: head, at: head, theirs: tail };
        Ok(Reader { cursor, looks: Looks::default() })
    }

    /// Whether a record is there.
    pub fn has_record(&mut self, words: &Words<'_>) -> Result<bool, Corrupt> {
        self.cursor.has_record(words)
    }

    /// The length of the record that is next; [`Reader::has_record`] said that there is one. Read
    /// once: whoever copies it goes by this answer.
    pub fn length(&self, bytes: &impl Bytes) -> Result<u32, Corrupt> {
        let published = self.cursor.unread();
        let mut length = [0; PREFIX as usize];
        bytes.copy_out(self.cursor.place(self.cursor.at).0, &mut length);
        let length = u32::from_ne_bytes(length);
        match space(self.cursor.at, length) {
            Some(space) if space <= published => Ok(length),
            _ => Err(Corrupt::Record { length, published }),
        }
    }

    /// Copies a part of the record of `length` that is next, `from` bytes into it.
    pub fn copy(&self, bytes: &impl Bytes, length: u32, from: u32, into: &mut [u8]) {
        let (offset, run) = self.cursor.place_in(length, from);
        let run = usize::try_from(run).unwrap_or(usize::MAX).min(into.len());
        let (first, rest) = into.split_at_mut(run);
        bytes.copy_out(offset, first);
        if !rest.is_empty() {
            bytes.copy_out(0, rest);
        }
    }

    /// Goes on to the record after one of `length`.
    pub fn pass(&mut self, length: u32) {
        self.cursor.pass(length);
    }

    /// Gives the bytes of all passed records back to the producer and wakes it if it waits.
    pub fn release(&mut self, words: &Words<'_>) {
        if self.cursor.mine != self.cursor.at {
            self.cursor.mine = self.cursor.at;
            words.head.store(self.cursor.at, Ordering::Release);
            word::notify_if_awaited(words.consumer);
        }
    }

    /// Goes back to the first record that was not released.
    pub fn rewind(&mut self) {
        self.cursor.at = self.cursor.mine;
    }

    /// Waits until a record is there. `left` says how long it may still wait.
    pub fn wait(
        &mut self,
        words: &Words<'_>,
        left: impl FnMut() -> Option<std::time::Duration>,
    ) -> Result<(), Ended> {
        let Reader { cursor, looks } = self;
        wait(words.producer, looks, || Ok(cursor.has_record(words)?), left)
    }
}

/// Both indices of a ring, which may be up to its capacity apart and are multiples of 4.
fn indices(words: &Words<'_>, capacity: u32) -> Result<(u32, u32), Corrupt> {
    let head = words.head.load(Ordering::Acquire);
    let found = words.tail.load(Ordering::Acquire);
    let to = head.wrapping_add(capacity);
    if found.wrapping_sub(head) > capacity || head % PREFIX != 0 || found % PREFIX != 0 {
        return Err(Corrupt::Index { found, from: head, to });
    }
    Ok((head, found))
}

/// Why a wait ended without what was waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The other end left in order.
    Left,
    /// The other end died.
    Died,
    /// There was no more time.
    TimedOut,
    /// The other end breaks the rules.
    Corrupt(Corrupt),
}

impl From<Corrupt> for Ended {
    fn from(corrupt: Corrupt) -> Ended {
        Ended::Corrupt(corrupt)
    }
}

impl Ended {
    fn of(other: &AtomicU32) -> Option<Ended> {
        match Standing::of(other.load(Ordering::Acquire)) {
            Standing::Left => Some(Ended::Left),
            Standing::Died => Some(Ended::Died),
            Standing::Vacant | Standing::Present(_) => None,
        }
    }
}

/// How often an end looks again before it gives up the processor: a peer that is at work on another is
/// done sooner than a system call is. Where that was in vain, as on a single processor, it looks less
/// often the next time.
#[derive(Debug, Clone, Copy)]
struct Looks(u32);

impl Looks {
    const FEWEST: u32 = 2;
    const MOST: u32 = 128;

    fn were(&mut self, in_vain: bool) {
        let next = if in_vain { self.0 / 2 } else { self.0.saturating_mul(2) };
        self.0 = next.clamp(Looks::FEWEST, Looks::MOST);
    }
}

impl Default for Looks {
    fn default() -> Looks {
        Looks(Looks::MOST)
    }
}

/// How often an end lets others run before it asks the kernel to put it to sleep: a peer that waits for
/// this processor fills or empties the ring meanwhile. One that had to wake this end would make way for
/// it after its first record.
const YIELDS: u32 = 4;

/// Waits until `ready`, or until the other end can no longer make it so. The other end's word of
/// presence is what is slept on: it changes when that end has done something or is gone.
fn wait(
    other: &AtomicU32,
    looks: &mut Looks,
    mut ready: impl FnMut() -> Result<bool, Ended>,
    mut left: impl FnMut() -> Option<std::time::Duration>,
) -> Result<(), Ended> {
    if ready()? {
        return Ok(());
    }
    // Who may not wait at all is not kept.
    if left().is_some() {
        for _ in 0..crate::atomics::most_looks(looks.0) {
            crate::atomics::spin_loop();
            if ready()? {
                looks.were(false);
                return Ok(());
            }
        }
        looks.were(true);
        for _ in 0..crate::atomics::most_looks(YIELDS) {
            std::thread::yield_now();
            if ready()? {
                return Ok(());
            }
        }
    }
    loop {
        // What an end did before it went counts.
        let ended = Ended::of(other);
        if ready()? {
            return Ok(());
        }
        if let Some(ended) = ended {
            return Err(ended);
        }
        let left = left().ok_or(Ended::TimedOut)?;
        let expected = word::expect(other);
        let gone = matches!(Standing::of(expected), Standing::Left | Standing::Died);
        if gone || ready()? {
            continue;
        }
        futex::wait(other, expected, left.min(word::LONGEST_SLEEP));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_looks_in_vain_looks_less_and_who_finds_something_looks_more() {
        let mut looks = Looks::default();
        let mut after = |in_vain| {
            for _ in 0..10 {
                looks.were(in_vain);
            }
            looks.0
        };
        assert_eq!([after(true), after(false)], [Looks::FEWEST, Looks::MOST]);
    }
}
