// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! This process's pins on the chunks of a region, for as long as its session may pin.

use std::ops::Range;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use berth_kernel::ashmem::{self, PinOutcome};
use berth_kernel::mapping::OutOfRange;
use berth_kernel::owner_process::OwnerProcess;
use berth_shared::purge::{Chunks, Contents, Pinner, Priority, PurgeBlock, Stamp};

use crate::Error;

/// Where pins are kept.
#[derive(Debug)]
pub(super) enum Keeping {
    /// In a control block, under a number.
    Block(PurgeBlock, Pinner),
    /// In the kernel, which has ashmem and counts no pins.
    Kernel,
}

/// What is pinned of a region. The session has it too, and ends it: the number that a session pins
/// with is another's afterwards, whose pins would be taken away with ours.
#[derive(Debug)]
pub(crate) struct Pins {
    id: i64,
    chunks: Chunks,
    keeping: Keeping,
    /// A forked child pins nothing and unpins nothing: all of it is its parent's.
    owner: OwnerProcess,
    /// The session pins nothing any more. Looked at with the chunk's lock, see [`Pins::end`].
    over: AtomicBool,
    /// One for each chunk.
    own: Box<[Mutex<OwnPins>]>,
}

/// This process's pins on a chunk: the first of them is one to the others, and the last ends it.
#[derive(Debug, Default)]
struct OwnPins {
    count: u32,
    /// For ashmem, which tells of a purge once: the contents are whole since.
    filled: bool,
}

impl Pins {
    /// None yet, on the region of a buffer with this id.
    pub(super) fn new(id: i64, chunks: Chunks, keeping: Keeping) -> Result<Pins, Error> {
        let own = (0..chunks.count()).map(|_| Mutex::default()).collect();
        let (owner, over) = (OwnerProcess::this()?, AtomicBool::new(false));
        Ok(Pins { id, chunks, keeping, owner, over, own })
    }

    /// Whether what is pinned stays.
    pub(super) fn check(&self) -> Result<(), Error> {
        self.check_owner()?;
        self.check_session()
    }

    #[inline]
    fn check_owner(&self) -> Result<(), Error> {
        match self.owner.is_this() {
            true => Ok(()),
            false => Err(Error::Forked),
        }
    }

    #[inline]
    fn check_session(&self) -> Result<(), Error> {
        match self.over.load(Ordering::Acquire) {
            true => Err(Error::PinsEnded(self.id)),
            false => Ok(()),
        }
    }

    /// The session is about to give its number back. When this returns nobody is at work with it,
    /// and nobody will be.
    pub(crate) fn end(&self) {
        self.over.store(true, Ordering::Release);
        self.own.iter().for_each(|own| drop(lock(own)));
    }

    /// The session has kept its number after all: what was unpinned meanwhile is unpinned now.
    pub(crate) fn resume(&self) {
        self.over.store(false, Ordering::Release);
        let Keeping::Block(block, pinner) = &self.keeping else { return };
        for (chunk, own) in (0..).zip(self.own.iter()) {
            let own = lock(own);
            if own.count == 0 {
                // The block has a word for each chunk; one that is not pinned stays as it is.
                let _ = block.unpin(chunk, *pinner, Priority::NORMAL, Stamp::now());
            }
        }
    }

    #[inline]
    fn own(&self, chunk: u32) -> Result<MutexGuard<'_, OwnPins>, Error> {
        let own = usize::try_from(chunk).ok().and_then(|chunk| self.own.get(chunk));
        let nowhere = || OutOfRange { offset: chunk as usize, length: 1, size: self.own.len() };
        Ok(lock(own.ok_or_else(nowhere)?))
    }

    /// Pins a chunk of the memory that `fd` is open on.
    #[inline]
    pub(super) fn pin(
        &self,
        fd: &impl AsFd,
        chunk: u32,
        within: Duration,
    ) -> Result<Contents, Error> {
        if let Some(contents) = self.try_pin(fd, chunk)? {
            return Ok(contents);
        }
        let began = Instant::now();
        loop {
            let left = within.saturating_sub(began.elapsed());
            if left.is_zero() {
                return Err(Error::BeingPurged { chunk, within });
            }
            if let Keeping::Block(block, _) = &self.keeping {
                block.await_purge(chunk, left)?;
            }
            if let Some(contents) = self.try_pin(fd, chunk)? {
                return Ok(contents);
            }
        }
    }

    /// `None` while the service is taking its memory.
    #[inline]
    fn try_pin(&self, fd: &impl AsFd, chunk: u32) -> Result<Option<Contents>, Error> {
        // Before the lock, which a forked child may find locked for ever.
        self.check_owner()?;
        let mut own = self.own(chunk)?;
        self.check_session()?;
        let contents = match &self.keeping {
            // Also where it is pinned: what others say of its contents is in the block.
            Keeping::Block(block, pinner) => match block.try_pin(chunk, *pinner)? {
                Some(contents) => contents,
                None => return Ok(None),
            },
            Keeping::Kernel => {
                if own.count == 0 {
                    let pinned = ashmem::pin(fd.as_fd(), self.kernel_range(chunk))?;
                    own.filled &= pinned == PinOutcome::Kept;
                }
                match own.filled {
                    true => Contents::Kept,
                    false => Contents::Purged,
                }
            }
        };
        own.count = own.count.saturating_add(1);
        Ok(Some(contents))
    }

    /// Unpins a chunk, if nobody else here has it pinned.
    #[inline]
    pub(super) fn unpin(
        &self,
        fd: &impl AsFd,
        chunk: u32,
        priority: Priority,
    ) -> Result<(), Error> {
        if !self.owner.is_this() {
            return Ok(());
        }
        let mut own = self.own(chunk)?;
        own.count = own.count.saturating_sub(1);
        if own.count > 0 {
            return Ok(());
        }
        match &self.keeping {
            // The service took the pins away with the number.
            Keeping::Block(..) if self.over.load(Ordering::Acquire) => Ok(()),
            Keeping::Block(block, pinner) => {
                Ok(block.unpin(chunk, *pinner, priority, Stamp::now())?)
            }
            Keeping::Kernel => self.unpin_in_kernel(fd, chunk),
        }
    }

    /// Says of a pinned chunk whether its contents are whole.
    pub(super) fn set_filled(&self, chunk: u32, filled: bool) -> Result<(), Error> {
        self.check_owner()?;
        let mut own = self.own(chunk)?;
        self.check_session()?;
        match &self.keeping {
            Keeping::Block(block, _) => block.set_filled(chunk, filled)?,
            Keeping::Kernel => own.filled = filled,
        }
        Ok(())
    }

    /// ashmem begins with everything pinned: that is ended. One chunk at a time: what is unpinned at
    /// once is purged at once.
    pub(super) fn begin(&self, fd: &impl AsFd) -> Result<(), Error> {
        match self.keeping {
            Keeping::Block(..) => Ok(()),
            Keeping::Kernel => {
                (0..self.chunks.count()).try_for_each(|chunk| self.unpin_in_kernel(fd, chunk))
            }
        }
    }

    fn unpin_in_kernel(&self, fd: &impl AsFd, chunk: u32) -> Result<(), Error> {
        Ok(ashmem::unpin(fd.as_fd(), self.kernel_range(chunk))?)
    }

    /// A chunk in whole pages.
    fn kernel_range(&self, chunk: u32) -> Range<u64> {
        let range = self.chunks.bytes_of(chunk);
        let end = range.end.checked_next_multiple_of(berth_kernel::page_size());
        range.start..end.unwrap_or(range.end)
    }
}

/// A count is whole at every step.
fn lock(own: &Mutex<OwnPins>) -> MutexGuard<'_, OwnPins> {
    own.lock().unwrap_or_else(PoisonError::into_inner)
}
