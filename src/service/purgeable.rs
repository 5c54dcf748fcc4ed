// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! A purgeable region: a memfd whose chunks the service may take when memory is short, and the
//! control block by which clients say which of them they need.
//!
//! Clients write to the block, so it is only a wish list. It is read in one go without a mapping,
//! which also leaves pages alone that no client touched, and mapped for as long as it is worked on.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock};

use berth_kernel::memfd::{Memfd, Pages};
use berth_kernel::KernelError;
use berth_shared::purge::{ChunkState, Chunks, Pinner, PurgeBlock};

use crate::lock::lock;
use crate::memory::Place;
use crate::purger::ChunkCharge;

/// Who may pin: the owner, who has the first place, and those that acquired the region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seat {
    Free,
    Taken(Place),
    /// A session of a former service may pin by it.
    Former,
    /// Its session is gone, and its pins are to be taken away.
    Leaving,
}

/// A memfd with its control block.
#[derive(Debug)]
pub(crate) struct Purgeable {
    memfd: Memfd,
    block: Memfd,
    pub(crate) chunks: Chunks,
    seats: Mutex<[Seat; Pinner::COUNT]>,
    /// The kernel refused to take its memory: it is left alone.
    stuck: AtomicBool,
    /// What its chunks count against its owner's limit.
    pub(crate) charge: OnceLock<ChunkCharge>,
    /// The purger was told that a session left, and has not looked yet.
    pub(crate) looks_pending: AtomicBool,
}

/// A region that is being purged.
pub(crate) struct Opened {
    block: PurgeBlock,
    /// `None` if there was no descriptor for it.
    pages: Option<Pages>,
}

/// A chunk that nobody pinned when it was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unpinned {
    pub(crate) chunk: u32,
    /// Its word then; the chunk is purged only if it is the same still.
    pub(crate) word: u32,
    pub(crate) state: ChunkState,
}

impl Purgeable {
    /// Makes a region of `bytes`, whole pages, in such chunks.
    pub(crate) fn create(name: &str, chunks: Chunks) -> Result<Purgeable, KernelError> {
        let memfd = Memfd::create(name, chunks.region_bytes())?;
        // Sealed against writing by a client, nothing of it could be taken any more.
        memfd.seal_seals()?;
        let block = Memfd::create("berth-purge-control", chunks.block_bytes())?;
        block.seal_seals()?;
        Ok(Purgeable {
            memfd,
            block,
            chunks,
            seats: Mutex::new([Seat::Free; Pinner::COUNT]),
            stuck: AtomicBool::new(false),
            charge: OnceLock::new(),
            looks_pending: AtomicBool::new(false),
        })
    }

    /// Takes what may be a region of the service before this one, and does nothing to it. Which session
    /// had which number nobody knows any more: none is given out again, so that nobody unpins what
    /// another needs.
    pub(crate) fn adopt(memfd: Memfd, block: Memfd, chunks: Chunks) -> Purgeable {
        Purgeable {
            memfd,
            block,
            chunks,
            seats: Mutex::new([Seat::Former; Pinner::COUNT]),
            stuck: AtomicBool::new(false),
            charge: OnceLock::new(),
            looks_pending: AtomicBool::new(false),
        }
    }

    /// Ends what a service that died was about to purge: whoever wants to pin it waits.
    pub(crate) fn end_purges(&self) -> Result<(), KernelError> {
        let words = self.words()?.unwrap_or_default();
        let mut block = None;
        for (chunk, word) in (0..).zip(words) {
            if ChunkState::of(word) != ChunkState::Purging {
                continue;
            }
            let mapped = match block.take() {
                Some(mapped) => mapped,
                None => self.map_block()?,
            };
            let range = self.chunks.bytes_of(chunk);
            // The block has a word for each chunk.
            let _ = mapped.end_purge(chunk, || self.memfd.punch_range(range));
            block = Some(mapped);
        }
        Ok(())
    }

    /// The region itself.
    pub(crate) fn memfd(&self) -> &Memfd {
        &self.memfd
    }

    /// The control block, for those who may pin.
    pub(crate) fn block(&self) -> BorrowedFd<'_> {
        self.block.as_fd()
    }

    /// Gives a session that acquired the region a number to pin with; `None` if all are given.
    pub(crate) fn seat(&self, place: Place) -> Option<Pinner> {
        let mut seats = lock(&self.seats);
        let owner = Pinner::OWNER.number();
        let free = seats
            .iter()
            .enumerate()
            .position(|(number, seat)| number != owner && *seat == Seat::Free)?;
        if let Some(seat) = seats.get_mut(free) {
            *seat = Seat::Taken(place);
        }
        Pinner::new(free)
    }

    /// The number that a session was given.
    pub(crate) fn pinner_of(&self, place: Place) -> Option<Pinner> {
        let taken = Seat::Taken(place);
        Pinner::new(lock(&self.seats).iter().position(|seat| *seat == taken)?)
    }

    /// Notes that a session pins no more; its number is free again when its pins are gone.
    pub(crate) fn leave(&self, pinner: Pinner) {
        if let Some(seat) = lock(&self.seats).get_mut(pinner.number()) {
            *seat = Seat::Leaving;
        }
    }

    /// Takes away the pins of those that left.
    pub(crate) fn forget_those_that_left(&self) -> Result<(), KernelError> {
        let leaving: Vec<Pinner> = {
            let seats = lock(&self.seats);
            let numbers = seats.iter().enumerate().filter(|(_, seat)| **seat == Seat::Leaving);
            numbers.filter_map(|(number, _)| Pinner::new(number)).collect()
        };
        let words = self.words()?.unwrap_or_default();
        let block = PurgeBlock::map(self.block.as_fd(), &self.chunks)?;
        for (chunk, word) in (0..).zip(words) {
            if !matches!(ChunkState::of(word), ChunkState::Pinned { .. }) {
                continue;
            }
            for pinner in &leaving {
                // The block has a word for each chunk.
                let _ = block.forget(chunk, *pinner);
            }
        }
        let mut seats = lock(&self.seats);
        for pinner in leaving {
            if let Some(seat) = seats.get_mut(pinner.number()) {
                *seat = Seat::Free;
            }
        }
        Ok(())
    }

    /// The chunks that may be purged now.
    pub(crate) fn unpinned(&self) -> Result<Vec<Unpinned>, KernelError> {
        if self.stuck.load(Ordering::Relaxed) {
            return Ok(Vec::new());
        }
        let Some(words) = self.words()? else { return Ok(Vec::new()) };
        let all = (0..).zip(words).map(|(chunk, word)| {
            let state = ChunkState::of(word);
            Unpinned { chunk, word, state }
        });
        Ok(all.filter(|unpinned| unpinned.state.is_purgeable()).collect())
    }

    /// All words of the block; `None` if there is none that says anything.
    fn words(&self) -> Result<Option<Vec<u32>>, KernelError> {
        // At most as many as one uid may have.
        let length = usize::try_from(self.chunks.count()).unwrap_or(usize::MAX);
        let mut bytes = vec![0; length.saturating_mul(4)];
        let mut read = 0;
        while let Some(rest) = bytes.get_mut(read..).filter(|rest| !rest.is_empty()) {
            match self.block.read_at(read as u64, rest)? {
                0 => break,
                more => read = more.saturating_add(read),
            }
        }
        if bytes.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let word = |bytes: &[u8]| bytes.try_into().map_or(0, u32::from_ne_bytes);
        Ok(Some(bytes.chunks_exact(4).map(word).collect()))
    }

    /// Opens it to be purged.
    pub(crate) fn open_to_purge(&self) -> Result<Opened, KernelError> {
        let block = self.map_block()?;
        // For want of a descriptor nobody is to keep memory.
        Ok(Opened { block, pages: self.memfd.pages().ok() })
    }

    fn map_block(&self) -> Result<PurgeBlock, KernelError> {
        PurgeBlock::map(self.block.as_fd(), &self.chunks)
    }

    /// Takes the memory of a chunk, if nobody pinned it since it was looked at. Answers the bytes that
    /// were given back: none if nobody had touched it, whatever was said of it. A page in the swap
    /// counts as one in memory.
    pub(crate) fn purge(&self, opened: &Opened, unpinned: &Unpinned) -> u64 {
        let Opened { block, pages } = opened;
        let range = self.chunks.bytes_of(unpinned.chunk);
        let bytes = range.end.saturating_sub(range.start);
        let taken = || self.memfd.taken_bytes().unwrap_or(0);
        let (before, mut written) = (taken(), 0);
        let punched = block.purge(unpinned.chunk, unpinned.word, || {
            let counted = pages.as_ref().and_then(|pages| pages.written_bytes(range.clone()).ok());
            written = counted.unwrap_or(0);
            self.memfd.punch_range(range)
        });
        match punched {
            // By how much the region shrank tells of pages that were only reserved, and not of those
            // that others touch meanwhile.
            Ok(Some(Ok(()))) => before.saturating_sub(taken()).max(written).min(bytes),
            Ok(Some(Err(error))) => {
                if !self.stuck.swap(true, Ordering::Relaxed) {
                    log::warn!("a purgeable region is left alone: {error}");
                }
                0
            }
            // Somebody needs it.
            Ok(None) | Err(_) => 0,
        }
    }
}

impl AsFd for Purgeable {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.memfd.as_fd()
    }
}
