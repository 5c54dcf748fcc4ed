// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Records from one process to another through a ring in shared memory, without a system call while
//! neither end waits for the other.
//!
//! One [`Producer`] and one [`Consumer`] are attached at a time. A record is any number of bytes up
//! to [`Layout::largest_record`]; it may wrap around the end. Records become visible when they are
//! committed, several at once if wanted, and their bytes come back when they are released. An end that
//! has to wait looks again for a microsecond or two, lets others run a few times and then sleeps. Each end
//! sees whether the other has left in order or died, after what it did before; another can then take
//! its place and goes on where it stopped.
//!
//! An end keeps its own index in private memory and reads the other's once at a time; one that no
//! honest peer can have stored, and a record that is longer than what was published, end the ring
//! with [`RingError::Corrupt`]. No reference to shared bytes is made: they are copied, from and to
//! where the caller wants them, so that what was copied is what is looked at.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use berth_kernel::mapping::{Mapping, OutOfRange, ReadWrite};
use berth_kernel::KernelError;

use crate::block::{self, BlockError, Header, Kind};
use crate::presence::{Presence, PresenceError, Standing};
use crate::unsuitable::{self, UnsuitableMemory};

mod consumer;
pub(crate) mod cursor;
mod period;
mod producer;

pub use consumer::{Consumer, ReadBatch, Record};
pub use cursor::Corrupt;
pub use period::{Heard, PeriodConsumer, PeriodProducer, Sent, Slips};
pub use producer::{Producer, Reservation, WriteBatch};

use cursor::{Bytes, Ended, Words};

const KIND: Kind = Kind { name: "ring", magic: *b"brRG", version: 3 };

// Offsets in the block. What the two ends store lies in different cache lines, and what an end stores
// with every record in none that the other looks at with every record: its presence, which hardly
// ever changes, stays in the caches of both.
const PERIOD: usize = 16;
const LIMIT: usize = 20;
const TAIL: usize = 64;
const OVERRUNS: usize = 72;
const HEAD: usize = 128;
const UNDERRUNS: usize = 136;
const PRODUCER: usize = 192;
const CONSUMER: usize = 256;
/// Where the first prefix is; the record behind it begins at a cache line.
const RECORDS: usize = 320 + (cursor::LINE - cursor::PREFIX) as usize;

/// The least capacity of a ring in bytes.
pub const MIN_CAPACITY: u32 = 64;
/// The largest capacity of a ring in bytes: indices of 32 bits tell full from empty.
pub const MAX_CAPACITY: u32 = 1 << 30;
/// What the offset of a ring in its memory is a multiple of: a cache line.
pub const ALIGNMENT: u64 = 64;

/// Why something was not done with a ring.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RingError {
    /// The capacity of a ring is a power of two.
    #[error("a ring of {0} bytes; it has a power of two, {MIN_CAPACITY} to {MAX_CAPACITY}")]
    Capacity(u32),
    /// Its limit or its period does not go with its capacity.
    #[error("a ring of {capacity} bytes that holds {limit} at once, in periods of {period}")]
    Shape {
        /// Bytes for records.
        capacity: u32,
        /// How many may be in use.
        limit: u32,
        /// Bytes of each record, 0 if they vary.
        period: u32,
    },
    /// Rings begin at a cache line.
    #[error("a ring at offset {0}, which is no multiple of {ALIGNMENT}")]
    Misaligned(u64),
    /// The memory is not of a kind that holds any.
    #[error(transparent)]
    Memory(#[from] UnsuitableMemory),
    /// There is no ring, or not one of this version.
    #[error(transparent)]
    Block(#[from] BlockError),
    /// This end of the ring is somebody's, or cannot be watched.
    #[error(transparent)]
    Presence(#[from] PresenceError),
    /// The memory could not be mapped.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// No record is that long.
    #[error("a record of {length} bytes; this ring takes {largest}")]
    TooLarge {
        /// Bytes of the record.
        length: usize,
        /// The most.
        largest: usize,
    },
    /// In a ring of periods every record is one.
    #[error("a record of {length} bytes in a ring whose periods have {period}")]
    NotAPeriod {
        /// Bytes of the record.
        length: usize,
        /// Bytes of each record of the ring, 0 if they vary.
        period: u32,
    },
    /// There is no room now.
    #[error("no room for a record of {0} bytes")]
    Full(usize),
    /// The place to copy a record to is too short; the record stays.
    #[error("a record of {length} bytes does not fit {room}")]
    TooSmall {
        /// Bytes of the record.
        length: usize,
        /// Bytes to copy it to.
        room: usize,
    },
    /// A part that is not of the record.
    #[error(transparent)]
    OutOfRange(#[from] OutOfRange),
    /// No room came, or no record, in the time given.
    #[error("the other end did nothing for {0:?}")]
    TimedOut(Duration),
    /// The other end left in order. A consumer is told so when it has read everything.
    #[error("the other end has left")]
    Closed,
    /// The process of the other end ended while it was attached. A consumer is told so when it has
    /// read everything.
    #[error("the other end's process has died")]
    Died,
    /// The other end broke the rules.
    #[error(transparent)]
    Corrupt(#[from] Corrupt),
    /// This end belongs to the process that this one was forked from.
    #[error("this end of the ring belongs to the process that this one was forked from")]
    Forked,
}

/// How large a ring is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    capacity: u32,
    limit: u32,
    /// 0: records vary.
    period: u32,
}

impl Layout {
    /// Records of any length in `capacity` bytes, each with 4 more for its length and padded to a
    /// multiple of 4, or from 256 bytes on to one of 64.
    pub fn of_capacity(capacity: u32) -> Result<Layout, RingError> {
        if !capacity.is_power_of_two() || !(MIN_CAPACITY..=MAX_CAPACITY).contains(&capacity) {
            return Err(RingError::Capacity(capacity));
        }
        Ok(Layout { capacity, limit: capacity, period: 0 })
    }

    /// Records of `period` bytes each, 1 or more, of which `periods` lie in the ring at most: so far
    /// can what is heard be behind what is sent.
    pub fn of_periods(period: u32, periods: u32) -> Result<Layout, RingError> {
        let each = cursor::space_of_each(period);
        let limit = each.and_then(|space| space.checked_mul(periods)).unwrap_or(0);
        let capacity = limit.max(MIN_CAPACITY).checked_next_power_of_two().unwrap_or(0);
        Layout { capacity, limit, period }.checked()
    }

    fn checked(self) -> Result<Layout, RingError> {
        let Layout { capacity, limit, period } = self;
        Layout::of_capacity(capacity)?;
        let least = match period {
            0 => capacity,
            period => cursor::space_of_each(period).unwrap_or(u32::MAX),
        };
        if (least..=capacity).contains(&limit) {
            Ok(self)
        } else {
            Err(RingError::Shape { capacity, limit, period })
        }
    }

    /// Bytes of memory that such a ring takes.
    pub fn bytes(&self) -> usize {
        bytes(self.capacity).saturating_add(RECORDS)
    }

    /// The longest record in bytes.
    pub fn largest_record(&self) -> usize {
        bytes(match self.period {
            0 => cursor::longest(self.limit),
            period => period,
        })
    }

    /// Whether a ring takes records of `length` bytes.
    ///
    /// # Errors
    ///
    /// [`RingError::TooLarge`] or, in a ring of periods, [`RingError::NotAPeriod`] if it does not.
    pub fn check(&self, length: usize) -> Result<(), RingError> {
        self.length_of(length).map(drop)
    }

    /// The length of a record as the ring has it, if it takes such a one.
    fn length_of(&self, length: usize) -> Result<u32, RingError> {
        if self.period != 0 && length != bytes(self.period) {
            return Err(RingError::NotAPeriod { length, period: self.period });
        }
        let largest = self.largest_record();
        let taken = u32::try_from(length).ok().filter(|_| length <= largest);
        taken.ok_or(RingError::TooLarge { length, largest })
    }
}

/// Makes an empty ring at `offset` of what `fd` is open on, where nobody uses one. Both ends then
/// [attach](Producer::attach), in this process or in others.
pub fn create(fd: BorrowedFd<'_>, offset: u64, layout: Layout) -> Result<(), RingError> {
    let memory = map(fd, offset, layout.bytes())?;
    let set = |at, value| -> Result<(), BlockError> {
        memory.word(at)?.store(value, std::sync::atomic::Ordering::Relaxed);
        Ok(())
    };
    for at in (0..RECORDS).step_by(4) {
        set(at, 0)?;
    }
    set(PERIOD, layout.period)?;
    set(LIMIT, layout.limit)?;
    let header = Header { bytes: layout.bytes(), shape: layout.capacity };
    Ok(block::publish(&memory, 0, KIND, header)?)
}

fn map(fd: BorrowedFd<'_>, offset: u64, bytes: usize) -> Result<Mapping<ReadWrite>, RingError> {
    if offset % ALIGNMENT != 0 {
        return Err(RingError::Misaligned(offset));
    }
    unsuitable::check(fd)?;
    Ok(Mapping::of_range(fd, offset, u64::try_from(bytes).unwrap_or(u64::MAX))?)
}

/// One end's share: the memory, and that it is there.
#[derive(Debug)]
struct End {
    memory: Mapping<ReadWrite>,
    layout: Layout,
    presence: Presence,
}

impl End {
    /// Marks the death of whoever has the end whose word is at `at`, if that is the process with `id`.
    fn bury(fd: BorrowedFd<'_>, offset: u64, at: usize, id: u32) -> Result<bool, RingError> {
        let (start, _) = End::look(fd, offset)?;
        Ok(crate::presence::bury(start.word(at)?, id))
    }

    fn attach(fd: BorrowedFd<'_>, offset: u64, at: usize) -> Result<End, RingError> {
        let (_, layout) = End::look(fd, offset)?;
        let memory = map(fd, offset, layout.bytes())?;
        let place = offset.saturating_add(u64::try_from(at).unwrap_or(u64::MAX));
        let presence = Presence::succeed(fd, place)?;
        Ok(End { memory, layout, presence })
    }

    /// What comes before the records, and the layout that it tells of.
    fn look(fd: BorrowedFd<'_>, offset: u64) -> Result<(Mapping<ReadWrite>, Layout), RingError> {
        let start = map(fd, offset, RECORDS)?;
        // The length is that of the header, which the memory must have; the rest is mapped after.
        let there = berth_kernel::identity::size(fd)?.saturating_sub(offset);
        let there = usize::try_from(there).unwrap_or(usize::MAX);
        let header = block::check_within(&start, 0, KIND, RECORDS, there)?;
        let word = |at| -> Result<u32, BlockError> {
            Ok(start.word(at)?.load(std::sync::atomic::Ordering::Relaxed))
        };
        let layout = Layout { capacity: header.shape, limit: word(LIMIT)?, period: word(PERIOD)? };
        let layout = layout.checked()?;
        if layout.bytes() != header.bytes {
            let Layout { capacity, limit, period } = layout;
            return Err(RingError::Shape { capacity, limit, period });
        }
        Ok((start, layout))
    }

    /// The words of both ends.
    fn words(&self) -> Result<Words<'_>, RingError> {
        if !self.presence.is_ours() {
            return Err(RingError::Forked);
        }
        Ok(Words {
            tail: self.memory.word(TAIL)?,
            head: self.memory.word(HEAD)?,
            producer: self.memory.word(PRODUCER)?,
            consumer: self.memory.word(CONSUMER)?,
        })
    }

    fn standing(&self, at: usize) -> Standing {
        self.memory.word(at).map_or(Standing::Vacant, crate::presence::standing)
    }

    /// Marks the death of the other end's process.
    fn bury_other(&self, at: usize, id: u32) -> bool {
        self.memory.word(at).is_ok_and(|word| crate::presence::bury(word, id))
    }
}

/// The records' bytes in a mapping.
#[derive(Debug, Clone, Copy)]
struct Mapped<'a>(&'a Mapping<ReadWrite>);

impl Bytes for Mapped<'_> {
    fn copy_out(&self, offset: u32, into: &mut [u8]) {
        let copied = self.0.read(RECORDS.saturating_add(bytes(offset)), into);
        debug_assert_eq!(copied, Ok(()));
    }

    fn copy_in(&self, offset: u32, from: &[u8]) {
        let copied = self.0.write(RECORDS.saturating_add(bytes(offset)), from);
        debug_assert_eq!(copied, Ok(()));
    }
}

fn bytes(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// How long is left of `within`, counted from the second time that it is asked: who only looks again
/// after the first is done sooner than the clock is read.
fn countdown(within: Duration) -> impl FnMut() -> Option<Duration> {
    let mut asked = false;
    let mut began = None;
    move || {
        let passed = match std::mem::replace(&mut asked, true) {
            true => began.get_or_insert_with(Instant::now).elapsed(),
            false => Duration::ZERO,
        };
        within.checked_sub(passed).filter(|left| !left.is_zero())
    }
}

fn ended(ended: Ended, within: Duration) -> RingError {
    match ended {
        Ended::Left => RingError::Closed,
        Ended::Died => RingError::Died,
        Ended::TimedOut => RingError::TimedOut(within),
        Ended::Corrupt(corrupt) => RingError::Corrupt(corrupt),
    }
}

#[cfg(test)]
mod tests;
