// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! The control block of a purgeable region: memory of one word for each chunk of the region, which
//! says whether the chunk is in use, may be taken when memory is short, or was taken.
//!
//! A client pins a chunk before it touches it and unpins it after, each by a compare-and-swap of the
//! chunk's word and without a system call. The service takes the memory of chunks that nobody pins,
//! by the same word, so that a pin and a purge of one chunk exclude each other: a pin either comes
//! first, and the chunk stays, or it finds the chunk taken and says so.
//!
//! A chunk is *filled* once somebody said so who pinned it and wrote it ([`PurgeBlock::set_filled`]).
//! Until then every pin of it says that its contents are gone, also to a second one who pins it while
//! the first has not written it again. Fresh memory reads zero: a new block has nothing but empty
//! chunks.
//!
//! Each session that may pin has a number of its own, its [`Pinner`], and a bit in each word. So the
//! service can take away the pins of a session that ended, and no others. Pins of one session on one
//! chunk count as one here: the client counts its own.
//!
//! Everybody who may write to the region may write to the block, and may as well have overwritten the
//! contents: whoever stores nonsense here harms the contents of this region and nothing else. No
//! state is trusted for more than that, and no step is tried for ever.

pub mod word;

#[cfg(test)]
mod tests;

use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use berth_kernel::mapping::{Mapping, OutOfRange, ReadWrite};
use berth_kernel::{clock, futex, page_size, KernelError};

use word::Attempt;
pub use word::ChunkState;

/// Bytes of a chunk's word.
const WORD: u64 = 4;

/// What a pin finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contents {
    /// What was written is there.
    Kept,
    /// It is gone, or was never written: the memory reads zero, or what somebody wrote who did not
    /// say that it was whole.
    Purged,
}

impl Contents {
    fn of(filled: bool) -> Contents {
        if filled {
            Contents::Kept
        } else {
            Contents::Purged
        }
    }
}

/// How long contents are kept in comparison with others: the lowest go first. 0 to 7.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Priority(u8);

impl Priority {
    /// Goes before anything else.
    pub const LOWEST: Priority = Priority(0);
    /// What nobody asked anything else for.
    pub const NORMAL: Priority = Priority(3);
    /// Goes last.
    pub const HIGHEST: Priority = Priority(7);

    /// A priority of 0 to 7; `None` for any other number.
    pub fn new(level: u8) -> Option<Priority> {
        (level <= Self::HIGHEST.0).then_some(Priority(level))
    }

    /// 0 to 7.
    pub fn level(self) -> u8 {
        self.0
    }

    fn of_bits(bits: u32) -> Priority {
        // Three bits.
        Priority((bits & 7) as u8)
    }

    fn bits(self) -> u32 {
        u32::from(self.0)
    }
}

/// A moment, to tell what was unpinned before what: in units of 8 ms of the time since boot, modulo
/// six days. Chunks that nobody touched for longer than that count as younger than they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp(u32);

impl Stamp {
    const BITS: u32 = 26;
    const MASK: u32 = (1 << Self::BITS) - 1;
    /// 2²³ ns, about 8 ms.
    const SHIFT: u32 = 23;

    /// The present. No system call: the kernel writes this clock into every process.
    pub fn now() -> Stamp {
        Stamp::of_bits((clock::coarse_nanoseconds() >> Self::SHIFT) as u32)
    }

    /// The moment that these bits stand for, those above 25 left out.
    pub fn of_bits(bits: u32) -> Stamp {
        Stamp(bits & Self::MASK)
    }

    /// The bits that stand for it: the lower 26.
    pub fn bits(self) -> u32 {
        self.0
    }

    /// How long this was before `now`, in its own units.
    pub fn age(self, now: Stamp) -> u32 {
        now.0.wrapping_sub(self.0) & Self::MASK
    }
}

/// The number of a session that may pin chunks of a region. The one that allocated the region has
/// [`Pinner::OWNER`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pinner(u8);

impl Pinner {
    /// How many sessions may pin chunks of one region.
    pub const COUNT: usize = 16;
    /// The session that allocated it.
    pub const OWNER: Pinner = Pinner(0);

    /// A pinner of 0 to 15; `None` for any other number.
    pub fn new(number: usize) -> Option<Pinner> {
        let number = u8::try_from(number).ok()?;
        (usize::from(number) < Self::COUNT).then_some(Pinner(number))
    }

    /// 0 to 15.
    pub fn number(self) -> usize {
        usize::from(self.0)
    }

    fn bit(self) -> u16 {
        1 << self.0
    }
}

/// How a region is divided into chunks. The last one may be shorter than the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunks {
    region_bytes: u64,
    chunk_bytes: u64,
    count: u32,
}

impl Chunks {
    /// The chunks of a region, both in bytes; `None` if there are none, or more than 2³² of them.
    pub fn of(region_bytes: u64, chunk_bytes: u64) -> Option<Chunks> {
        if region_bytes == 0 || chunk_bytes == 0 {
            return None;
        }
        let count = u32::try_from(region_bytes.div_ceil(chunk_bytes)).ok()?;
        Some(Chunks { region_bytes, chunk_bytes, count })
    }

    /// How many there are: 1 or more.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Bytes of each but the last.
    pub fn chunk_bytes(&self) -> u64 {
        self.chunk_bytes
    }

    /// Bytes of the region.
    pub fn region_bytes(&self) -> u64 {
        self.region_bytes
    }

    /// Bytes of the control block: whole pages.
    pub fn block_bytes(&self) -> u64 {
        let words = u64::from(self.count).saturating_mul(WORD);
        words.checked_next_multiple_of(page_size()).unwrap_or(words)
    }

    /// The bytes of a chunk; an empty range for one that there is not.
    pub fn bytes_of(&self, chunk: u32) -> Range<u64> {
        let start = u64::from(chunk).saturating_mul(self.chunk_bytes).min(self.region_bytes);
        start..start.saturating_add(self.chunk_bytes).min(self.region_bytes)
    }

    /// The chunks that a range of bytes touches; `None` if it is empty or leaves the region.
    pub fn touched_by(&self, bytes: &Range<u64>) -> Option<Range<u32>> {
        if bytes.start >= bytes.end || bytes.end > self.region_bytes {
            return None;
        }
        let first = u32::try_from(bytes.start / self.chunk_bytes).ok()?;
        let end = u32::try_from(bytes.end.div_ceil(self.chunk_bytes)).ok()?;
        Some(first..end)
    }
}

/// A mapped control block.
#[derive(Debug)]
pub struct PurgeBlock(Mapping<ReadWrite>);

impl PurgeBlock {
    /// Maps the block of a region with such chunks. The descriptor is not kept.
    pub fn map(fd: BorrowedFd<'_>, chunks: &Chunks) -> Result<PurgeBlock, KernelError> {
        Ok(PurgeBlock(Mapping::new(fd, chunks.block_bytes())?))
    }

    fn word(&self, chunk: u32) -> Result<&std::sync::atomic::AtomicU32, OutOfRange> {
        let offset = usize::try_from(u64::from(chunk).saturating_mul(WORD)).unwrap_or(usize::MAX);
        self.0.word(offset)
    }

    /// What a chunk is now. It may be something else at once.
    pub fn state(&self, chunk: u32) -> Result<ChunkState, OutOfRange> {
        Ok(ChunkState::of(word::Word::load(self.word(chunk)?)))
    }

    /// Pins a chunk, and says whether its contents are there; `None` while its memory is being taken.
    pub fn try_pin(&self, chunk: u32, pinner: Pinner) -> Result<Option<Contents>, OutOfRange> {
        match word::pin(self.word(chunk)?, pinner) {
            Attempt::Pinned(contents) => Ok(Some(contents)),
            Attempt::Wait => Ok(None),
        }
    }

    /// Waits until a chunk's memory is not being taken any more, or for so long. It may also return
    /// for no reason.
    pub fn await_purge(&self, chunk: u32, timeout: Duration) -> Result<(), OutOfRange> {
        let word = self.word(chunk)?;
        let seen = word::Word::load(word);
        if ChunkState::of(seen) == ChunkState::Purging {
            futex::wait(word, seen, timeout);
        }
        Ok(())
    }

    /// Takes a pin away. If it was the last, the chunk may be purged from now on, after those of a
    /// lower priority and those that were unpinned before it.
    pub fn unpin(
        &self,
        chunk: u32,
        pinner: Pinner,
        priority: Priority,
        since: Stamp,
    ) -> Result<(), OutOfRange> {
        word::unpin(self.word(chunk)?, pinner, priority, since);
        Ok(())
    }

    /// Says of a chunk that one has pinned whether its contents are whole, and are worth to be kept.
    pub fn set_filled(&self, chunk: u32, filled: bool) -> Result<(), OutOfRange> {
        word::set_filled(self.word(chunk)?, filled);
        Ok(())
    }

    /// For the service: takes away the pins of a session that ended.
    pub fn forget(&self, chunk: u32, pinner: Pinner) -> Result<(), OutOfRange> {
        word::forget(self.word(chunk)?, pinner);
        Ok(())
    }

    /// For a service: ends the purge that another began and did not live to end. `punch` as in
    /// [`purge`](PurgeBlock::purge); if it fails, nothing changes.
    pub fn end_purge<E>(
        &self,
        chunk: u32,
        punch: impl FnOnce() -> Result<(), E>,
    ) -> Result<Result<(), E>, OutOfRange> {
        let word = self.word(chunk)?;
        let punched = punch();
        if punched.is_ok() {
            word::end_purge(word, ChunkState::Empty.word());
            // Waking fails only for an address that is no word; this one is.
            let _ = futex::wake_all(word);
        }
        Ok(punched)
    }

    /// For the service: purges a chunk, if its word still is `seen` and that may be purged. `punch`
    /// takes the memory; if it fails, the contents are there and the chunk stays what it was. Says
    /// whether the memory was taken.
    pub fn purge<E>(
        &self,
        chunk: u32,
        seen: u32,
        punch: impl FnOnce() -> Result<(), E>,
    ) -> Result<Option<Result<(), E>>, OutOfRange> {
        let word = self.word(chunk)?;
        if !word::begin_purge(word, seen) {
            return Ok(None);
        }
        let punched = punch();
        let next = if punched.is_ok() { ChunkState::Empty.word() } else { seen };
        word::end_purge(word, next);
        // Waking fails only for an address that is no word; this one is.
        let _ = futex::wake_all(word);
        Ok(Some(punched))
    }
}
