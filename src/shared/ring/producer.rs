// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! The end that writes.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use berth_kernel::mapping::OutOfRange;

use super::cursor::Writer;
use super::{bytes, countdown, ended, End, Layout, Mapped, RingError, CONSUMER, PRODUCER};
use crate::presence::Standing;

/// The end of a ring that writes; it leaves the ring when dropped.
#[derive(Debug)]
pub struct Producer {
    pub(super) end: End,
    writer: Writer,
}

impl Producer {
    /// Takes the writing end of the ring at `offset` of what `fd` is open on, if nobody has it. After
    /// a producer that left or died, this one goes on behind the last record that it committed.
    pub fn attach(fd: BorrowedFd<'_>, offset: u64) -> Result<Producer, RingError> {
        let end = End::attach(fd, offset, PRODUCER)?;
        let Layout { capacity, limit, .. } = end.layout;
        let writer = Writer::attach(&end.words()?, capacity, limit)?;
        Ok(Producer { end, writer })
    }

    /// Marks the death of the producer with `id`, which the caller is sure of, at `offset` of what `fd` is
    /// open on, so that another can attach: for one that was [not watched](Self::is_watched) and whom
    /// [`attach`](Self::attach) finds [present](Standing::Present) for ever. `false` if somebody else
    /// is there, or nobody.
    pub fn bury(fd: BorrowedFd<'_>, offset: u64, id: u32) -> Result<bool, RingError> {
        End::bury(fd, offset, PRODUCER, id)
    }

    /// How large the ring is.
    pub fn layout(&self) -> Layout {
        self.end.layout
    }

    /// How it stands with the consumer.
    pub fn consumer(&self) -> Standing {
        self.end.standing(CONSUMER)
    }

    /// Whether the kernel marks the death of this process, so that the consumer is told. Where it does
    /// not, as in an application of Android, the id of this end is the process id, and whoever hears of
    /// the death otherwise buries it.
    pub fn is_watched(&self) -> bool {
        self.end.presence.is_watched()
    }

    /// Marks the death of the consumer with `id`, as [`consumer`](Self::consumer) told it, of which the
    /// caller is sure: what the kernel does by itself where it [watches](Self::is_watched). This end is
    /// then told as of any death, and another consumer can attach. `false` if somebody else is there, or
    /// nobody.
    pub fn bury_consumer(&self, id: u32) -> bool {
        self.end.bury_other(CONSUMER, id)
    }

    /// Writes a record, once there is room, and commits it.
    ///
    /// # Errors
    ///
    /// [`RingError::TimedOut`] if no room came within that time, which may be zero;
    /// [`RingError::Closed`] or [`RingError::Died`] if the consumer is gone.
    pub fn write(&mut self, record: &[u8], within: Duration) -> Result<(), RingError> {
        let reservation = self.reserve(record.len(), within)?;
        reservation.write(0, record)?;
        reservation.commit()
    }

    /// Takes room for a record of `length` bytes, once there is some, to be filled in place. Errors
    /// as those of [`Producer::write`].
    pub fn reserve(
        &mut self,
        length: usize,
        within: Duration,
    ) -> Result<Reservation<'_>, RingError> {
        let length = self.end.layout.length_of(length)?;
        let words = self.end.words()?;
        self.writer.wait(&words, length, countdown(within)).map_err(|e| ended(e, within))?;
        Ok(Reservation { producer: self, length })
    }

    /// Records that are committed together.
    pub fn batch(&mut self) -> WriteBatch<'_> {
        WriteBatch(self)
    }

    /// Puts bytes into the record that is begun, of `length`.
    fn fill(&self, offset: usize, from: &[u8], length: u32) -> Result<(), OutOfRange> {
        let size = bytes(length);
        let inside = offset.checked_add(from.len()).is_some_and(|end| end <= size);
        match u32::try_from(offset) {
            Ok(offset) if inside => {
                self.writer.fill(&Mapped(&self.end.memory), length, offset, from);
                Ok(())
            }
            _ => Err(OutOfRange { offset, length: from.len(), size }),
        }
    }

    /// The record is whole.
    fn finish(&mut self, length: u32) {
        self.writer.begin(&Mapped(&self.end.memory), length);
        self.writer.end(length);
    }

    pub(super) fn publish(&mut self) -> Result<(), RingError> {
        let words = self.end.words()?;
        self.writer.publish(&words);
        Ok(())
    }

    /// Whether there is room now.
    pub(super) fn has_room(&mut self, length: u32) -> Result<bool, RingError> {
        let words = self.end.words()?;
        Ok(self.writer.has_room(&words, length)?)
    }
}

/// Room for a record; given back when dropped without [`commit`](Reservation::commit).
#[derive(Debug)]
pub struct Reservation<'p> {
    producer: &'p mut Producer,
    length: u32,
}

impl Reservation<'_> {
    /// Bytes of the record.
    pub fn length(&self) -> usize {
        bytes(self.length)
    }

    /// Copies bytes to `offset` in the record. What is never written is whatever was there before.
    pub fn write(&self, offset: usize, from: &[u8]) -> Result<(), OutOfRange> {
        self.producer.fill(offset, from, self.length)
    }

    /// Shows the record to the consumer, and wakes it if it waits.
    pub fn commit(self) -> Result<(), RingError> {
        self.producer.finish(self.length);
        self.producer.publish()
    }
}

/// Records that the consumer sees all at once or, dropped without [`commit`](WriteBatch::commit),
/// never.
#[derive(Debug)]
pub struct WriteBatch<'p>(&'p mut Producer);

impl WriteBatch<'_> {
    /// Adds a record; [`RingError::Full`] if there is no room for it beside what is already in.
    pub fn push(&mut self, record: &[u8]) -> Result<(), RingError> {
        let length = self.0.end.layout.length_of(record.len())?;
        if !self.0.has_room(length)? {
            return Err(RingError::Full(record.len()));
        }
        self.0.fill(0, record, length)?;
        self.0.finish(length);
        Ok(())
    }

    /// Shows the records to the consumer, and wakes it if it waits.
    pub fn commit(self) -> Result<(), RingError> {
        self.0.publish()
    }
}

impl Drop for WriteBatch<'_> {
    fn drop(&mut self) {
        // Nothing is left to discard after a commit.
        self.0.writer.discard();
    }
}
