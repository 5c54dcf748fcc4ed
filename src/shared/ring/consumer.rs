// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! The end that reads.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use berth_kernel::mapping::OutOfRange;

use super::cursor::Reader;
use super::{bytes, countdown, ended, End, Layout, Mapped, RingError, CONSUMER, PRODUCER};
use crate::presence::Standing;

/// The end of a ring that reads; it leaves the ring when dropped.
#[derive(Debug)]
pub struct Consumer {
    pub(super) end: End,
    reader: Reader,
}

impl Consumer {
    /// Takes the reading end of the ring at `offset` of what `fd` is open on, if nobody has it. After
    /// a consumer that left or died, this one goes on behind the last record that it released.
    pub fn attach(fd: BorrowedFd<'_>, offset: u64) -> Result<Consumer, RingError> {
        let end = End::attach(fd, offset, CONSUMER)?;
        let reader = Reader::attach(&end.words()?, end.layout.capacity)?;
        Ok(Consumer { end, reader })
    }

    /// Marks the death of the consumer with `id`, which the caller is sure of, at `offset` of what `fd` is
    /// open on, so that another can attach: for one that was [not watched](Self::is_watched) and whom
    /// [`attach`](Self::attach) finds [present](Standing::Present) for ever. `false` if somebody else
    /// is there, or nobody.
    pub fn bury(fd: BorrowedFd<'_>, offset: u64, id: u32) -> Result<bool, RingError> {
        End::bury(fd, offset, CONSUMER, id)
    }

    /// How large the ring is.
    pub fn layout(&self) -> Layout {
        self.end.layout
    }

    /// How it stands with the producer. One that is gone may have left records.
    pub fn producer(&self) -> Standing {
        self.end.standing(PRODUCER)
    }

    /// Whether the kernel marks the death of this process, so that the producer is told. Where it does
    /// not, as in an application of Android, the id of this end is the process id, and whoever hears of
    /// the death otherwise buries it.
    pub fn is_watched(&self) -> bool {
        self.end.presence.is_watched()
    }

    /// Marks the death of the producer with `id`, as [`producer`](Self::producer) told it, of which the
    /// caller is sure: what the kernel does by itself where it [watches](Self::is_watched). This end is
    /// then told as of any death, and another producer can attach. `false` if somebody else is there, or
    /// nobody.
    pub fn bury_producer(&self, id: u32) -> bool {
        self.end.bury_other(PRODUCER, id)
    }

    /// Copies the next record to the start of `into`, once there is one, and releases it; answers its
    /// length.
    ///
    /// # Errors
    ///
    /// [`RingError::TimedOut`] if no record came within that time, which may be zero;
    /// [`RingError::Closed`] or [`RingError::Died`] if there is none and the producer is gone;
    /// [`RingError::TooSmall`] if it does not fit, in which case it stays.
    pub fn read(&mut self, into: &mut [u8], within: Duration) -> Result<usize, RingError> {
        let record = self.peek(within)?;
        let length = record.length();
        let room = into.len();
        let part = into.get_mut(..length).ok_or(RingError::TooSmall { length, room })?;
        record.read(0, part)?;
        record.release()?;
        Ok(length)
    }

    /// The next record, once there is one, to be copied from where it lies. Errors as those of
    /// [`Consumer::read`].
    pub fn peek(&mut self, within: Duration) -> Result<Record<'_>, RingError> {
        let words = self.end.words()?;
        self.reader.wait(&words, countdown(within)).map_err(|e| ended(e, within))?;
        let length = self.length()?;
        Ok(Record { consumer: self, length })
    }

    /// The records that are there, to be released together.
    pub fn batch(&mut self) -> ReadBatch<'_> {
        ReadBatch(self)
    }

    /// The length of the next record, read once.
    fn length(&self) -> Result<u32, RingError> {
        let length = self.reader.length(&Mapped(&self.end.memory))?;
        let period = self.end.layout.period;
        if period != 0 && length != period {
            return Err(RingError::NotAPeriod { length: bytes(length), period });
        }
        Ok(length)
    }

    fn copy(&self, from: usize, into: &mut [u8], length: u32) -> Result<(), OutOfRange> {
        let size = bytes(length);
        let inside = from.checked_add(into.len()).is_some_and(|end| end <= size);
        match u32::try_from(from) {
            Ok(from) if inside => {
                self.reader.copy(&Mapped(&self.end.memory), length, from, into);
                Ok(())
            }
            _ => Err(OutOfRange { offset: from, length: into.len(), size }),
        }
    }

    fn release(&mut self) -> Result<(), RingError> {
        let words = self.end.words()?;
        self.reader.release(&words);
        Ok(())
    }
}

/// A record that lies in the ring. It stays there, and is the next one again, unless it is
/// [released](Record::release).
#[derive(Debug)]
pub struct Record<'c> {
    consumer: &'c mut Consumer,
    length: u32,
}

impl Record<'_> {
    /// Bytes of the record, as it was when it was first looked at.
    pub fn length(&self) -> usize {
        bytes(self.length)
    }

    /// Copies the bytes from `offset` of the record. A producer that breaks the rules may change them
    /// meanwhile, so check what was copied.
    pub fn read(&self, offset: usize, into: &mut [u8]) -> Result<(), OutOfRange> {
        self.consumer.copy(offset, into, self.length)
    }

    /// Gives its bytes back to the producer, and wakes it if it waits.
    pub fn release(self) -> Result<(), RingError> {
        self.consumer.reader.pass(self.length);
        self.consumer.release()
    }
}

/// Records that are read one after another and released together; dropped without
/// [`release`](ReadBatch::release), they are all there again.
#[derive(Debug)]
pub struct ReadBatch<'c>(&'c mut Consumer);

impl ReadBatch<'_> {
    /// Copies the next record to the start of `into` and answers its length; `None` if no more are
    /// there. [`RingError::TooSmall`] if it does not fit, in which case it is still the next.
    pub fn next(&mut self, into: &mut [u8]) -> Result<Option<usize>, RingError> {
        let words = self.0.end.words()?;
        if !self.0.reader.has_record(&words)? {
            return Ok(None);
        }
        let length = self.0.length()?;
        let room = into.len();
        let part = into.get_mut(..bytes(length));
        let part = part.ok_or(RingError::TooSmall { length: bytes(length), room })?;
        self.0.copy(0, part, length)?;
        self.0.reader.pass(length);
        Ok(Some(bytes(length)))
    }

    /// Gives the bytes of all that were read back to the producer, and wakes it if it waits.
    pub fn release(self) -> Result<(), RingError> {
        self.0.release()
    }
}

impl Drop for ReadBatch<'_> {
    fn drop(&mut self) {
        // Nothing is left to go back over after a release.
        self.0.reader.rewind();
    }
}
