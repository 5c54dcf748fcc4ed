// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Rings of periods, as audio wants them: neither end waits for the other, and who was late is
//! counted.

use std::os::fd::BorrowedFd;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{bytes, Consumer, End, Producer, RingError, OVERRUNS, UNDERRUNS};
use crate::presence::Standing;

/// How often one end found the other late, modulo 2³², since the ring was made. Each number is stored
/// by one end; a peer that breaks the rules makes it mean nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slips {
    /// Periods that the producer had and found no room for.
    pub overruns: u32,
    /// Periods that the consumer needed and did not find.
    pub underruns: u32,
}

/// What became of a period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// It is in the ring.
    Stored,
    /// The ring was full: it is lost, and an overrun is counted.
    Overrun,
}

/// Where the bytes came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// From the ring.
    Period,
    /// The ring was empty: they are silence, and an underrun is counted.
    Underrun,
}

/// The end that sends periods.
#[derive(Debug)]
pub struct PeriodProducer(Producer);

impl PeriodProducer {
    /// As [`Producer::attach`], to a ring of periods.
    pub fn attach(fd: BorrowedFd<'_>, offset: u64) -> Result<PeriodProducer, RingError> {
        let producer = Producer::attach(fd, offset)?;
        of_periods(&producer.end)?;
        Ok(PeriodProducer(producer))
    }

    /// How it stands with the consumer.
    pub fn consumer(&self) -> Standing {
        self.0.consumer()
    }

    /// As [`Producer::is_watched`].
    pub fn is_watched(&self) -> bool {
        self.0.is_watched()
    }

    /// As [`Producer::bury_consumer`].
    pub fn bury_consumer(&self, id: u32) -> bool {
        self.0.bury_consumer(id)
    }

    /// Sends a period now or loses it.
    pub fn send(&mut self, period: &[u8]) -> Result<Sent, RingError> {
        let mut batch = self.0.batch();
        match batch.push(period) {
            Ok(()) => batch.commit().map(|()| Sent::Stored),
            Err(RingError::Full(_)) => {
                drop(batch);
                count(&self.0.end, OVERRUNS)?;
                Ok(Sent::Overrun)
            }
            Err(error) => Err(error),
        }
    }

    /// Waits until a period can be sent. Errors as those of [`Producer::write`].
    pub fn wait(&mut self, within: Duration) -> Result<(), RingError> {
        let period = bytes(self.0.end.layout.period);
        self.0.reserve(period, within).map(drop)
    }

    /// How often one end was late.
    pub fn slips(&self) -> Result<Slips, RingError> {
        slips(&self.0.end)
    }
}

/// The end that receives periods.
#[derive(Debug)]
pub struct PeriodConsumer {
    consumer: Consumer,
    silence: u8,
}

impl PeriodConsumer {
    /// As [`Consumer::attach`], to a ring of periods. `silence` is the byte that stands for nothing
    /// heard: 0 for signed samples and floats, 128 for unsigned ones of 8 bits.
    pub fn attach(
        fd: BorrowedFd<'_>,
        offset: u64,
        silence: u8,
    ) -> Result<PeriodConsumer, RingError> {
        let consumer = Consumer::attach(fd, offset)?;
        of_periods(&consumer.end)?;
        Ok(PeriodConsumer { consumer, silence })
    }

    /// How it stands with the producer. What it sent before it went is still heard.
    pub fn producer(&self) -> Standing {
        self.consumer.producer()
    }

    /// As [`Consumer::is_watched`].
    pub fn is_watched(&self) -> bool {
        self.consumer.is_watched()
    }

    /// As [`Consumer::bury_producer`].
    pub fn bury_producer(&self, id: u32) -> bool {
        self.consumer.bury_producer(id)
    }

    /// Fills `into`, which has a period's length, from the ring or with silence.
    pub fn receive(&mut self, into: &mut [u8]) -> Result<Heard, RingError> {
        let period = self.consumer.end.layout.period;
        if into.len() != bytes(period) {
            return Err(RingError::NotAPeriod { length: into.len(), period });
        }
        let mut batch = self.consumer.batch();
        if batch.next(into)?.is_some() {
            batch.release()?;
            return Ok(Heard::Period);
        }
        drop(batch);
        into.fill(self.silence);
        count(&self.consumer.end, UNDERRUNS)?;
        Ok(Heard::Underrun)
    }

    /// Waits until a period is there. Errors as those of [`Consumer::read`].
    pub fn wait(&mut self, within: Duration) -> Result<(), RingError> {
        self.consumer.peek(within).map(drop)
    }

    /// How often one end was late.
    pub fn slips(&self) -> Result<Slips, RingError> {
        slips(&self.consumer.end)
    }
}

fn of_periods(end: &End) -> Result<(), RingError> {
    match end.layout.period {
        0 => Err(RingError::NotAPeriod { length: end.layout.largest_record(), period: 0 }),
        _ => Ok(()),
    }
}

fn count(end: &End, at: usize) -> Result<(), RingError> {
    end.memory.word(at)?.fetch_add(1, Ordering::Relaxed);
    Ok(())
}

fn slips(end: &End) -> Result<Slips, RingError> {
    let read = |at| -> Result<u32, RingError> { Ok(end.memory.word(at)?.load(Ordering::Relaxed)) };
    Ok(Slips { overruns: read(OVERRUNS)?, underruns: read(UNDERRUNS)? })
}
