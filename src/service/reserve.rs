// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! The part of the machine's memory that no allocation may touch.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use berth_kernel::meminfo::MemInfo;

use crate::lock::lock;
use crate::refusal::Refusal;

/// So much of `MemAvailable` stays, whoever asks.
#[derive(Debug)]
pub(crate) struct Reserve {
    bytes: u64,
    gauge: Mutex<Gauge>,
}

impl Reserve {
    pub(crate) fn new(bytes: u64) -> Reserve {
        Reserve { bytes, gauge: Mutex::default() }
    }

    /// Notes that so many bytes will be taken from the system now, unless the reserve would be smaller.
    pub(crate) fn take(&self, asked: u64, now: Instant) -> Result<(), Refusal> {
        let taken = lock(&self.gauge).take(asked, self.bytes, now);
        let Err(reading) = taken else { return Ok(()) };
        // The kernel is asked without the lock, by one at a time while there is plenty.
        let memory = MemInfo::read().map_err(Refusal::of_kernel)?;
        let mut gauge = lock(&self.gauge);
        gauge.renew(reading, &memory);
        gauge.subtract(asked, self.bytes).map_err(|available| Refusal::BelowReserve {
            asked,
            available,
            reserve: self.bytes,
        })
    }

    /// Notes that at most so many bytes of shared memory were just given back to the kernel.
    pub(crate) fn note_purged(&self, bytes: u64) {
        match MemInfo::read() {
            Ok(memory) => lock(&self.gauge).credit(&memory, bytes),
            Err(error) => log::warn!("what was purged is not counted: {error}"),
        }
    }
}

/// `MemAvailable`, read anew only when it could matter: asking the kernel costs more than a small
/// allocation does.
#[derive(Debug, Default)]
struct Gauge {
    /// Which reading this is.
    reading: u64,
    read: Option<Instant>,
    /// What was available then, less what was admitted since.
    left: u64,
    /// `Shmem` then.
    shared: u64,
    /// Since when somebody has been asking the kernel.
    asking: Option<Instant>,
    /// What was admitted since then, by the reading before.
    meanwhile: u64,
}

impl Gauge {
    /// How long a reading is good for while there is plenty.
    const MAX_AGE: Duration = Duration::from_millis(100);
    /// How long it is while somebody asks for the next.
    const MAX_AGE_MEANWHILE: Duration = Duration::from_millis(200);
    /// How long one is good to say what there is after a purge.
    const MAX_PURGE: Duration = Duration::from_secs(10);

    /// Counts `asked` as taken; or the number of the reading that is too old, or too low, to say. One
    /// that is a little too old does for others while somebody asks for the next.
    fn take(&mut self, asked: u64, reserve: u64, now: Instant) -> Result<(), u64> {
        let is_within = |then: Option<Instant>, age: Duration| {
            then.is_some_and(|then| now.saturating_duration_since(then) < age)
        };
        let is_asked = is_within(self.asking, Self::MAX_AGE);
        let max_age = if is_asked { Self::MAX_AGE_MEANWHILE } else { Self::MAX_AGE };
        if is_within(self.read, max_age) && self.subtract(asked, reserve).is_ok() {
            return Ok(());
        }
        if !is_asked {
            self.asking = Some(now);
            self.meanwhile = 0;
        }
        Err(self.reading)
    }

    /// Takes what the kernel says now. If somebody else has asked it since `reading`, theirs counts:
    /// what was taken of it is not in this one.
    fn renew(&mut self, reading: u64, memory: &MemInfo) {
        if self.reading == reading {
            self.set(memory, memory.available.saturating_sub(self.meanwhile));
        }
    }

    /// Adds what a purge gave back, as `Shmem` tells: at most `purged`. Freed pages stay on lists of
    /// the processors for a while, since Linux 6.7 together up to an eighth of a zone (`zone_highsize`
    /// in `mm/page_alloc.c`), and are not in `MemAvailable`; whoever allocates has them all the same.
    fn credit(&mut self, memory: &MemInfo, purged: u64) {
        let recent = self.read.is_some_and(|read| read.elapsed() < Self::MAX_PURGE);
        let freed = self.shared.saturating_sub(memory.shared).min(purged);
        let left = if recent { self.left.saturating_add(freed) } else { 0 };
        self.set(memory, left.max(memory.available));
    }

    fn set(&mut self, memory: &MemInfo, left: u64) {
        self.reading = self.reading.wrapping_add(1);
        self.read = Some(Instant::now());
        self.left = left;
        self.shared = memory.shared;
        self.asking = None;
        self.meanwhile = 0;
    }

    /// Counts `asked` as taken; or what is left, if it is too much.
    fn subtract(&mut self, asked: u64, reserve: u64) -> Result<(), u64> {
        match self.left.checked_sub(asked) {
            Some(rest) if rest >= reserve => {
                self.left = rest;
                if self.asking.is_some() {
                    self.meanwhile = self.meanwhile.saturating_add(asked);
                }
                Ok(())
            }
            _ => Err(self.left),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vendor_berth_allocator::aidl::vendor::berth::allocator::AllocatorError::AllocatorError;

    fn memory(available: u64, shared: u64) -> MemInfo {
        MemInfo { total: 1000, free: available, available, shared, contiguous: None }
    }

    #[test]
    fn the_reserve_is_never_given_away() {
        let refusal = Reserve::new(u64::MAX / 2).take(1, Instant::now()).unwrap_err();
        assert_eq!(refusal.code(), AllocatorError::NO_MEMORY);
    }

    #[test]
    fn a_reading_that_came_second_does_not_forget_what_was_taken() {
        let (mut gauge, now) = (Gauge::default(), Instant::now());
        let [first, second] = [10, 20].map(|asked| gauge.take(asked, 0, now).unwrap_err());
        gauge.renew(first, &memory(100, 0));
        assert_eq!(gauge.subtract(10, 0), Ok(()));
        gauge.renew(second, &memory(100, 0));
        assert_eq!(gauge.subtract(20, 0), Ok(()));
        assert_eq!(gauge.left, 70);
        assert_eq!(gauge.take(65, 10, now), Err(1), "too little is left to say without asking");
    }

    #[test]
    fn while_one_asks_others_are_served_by_the_reading_before() {
        let mut gauge = Gauge::default();
        let start = Instant::now();
        assert_eq!(gauge.take(10, 20, start), Err(0), "nothing is known");
        assert_eq!(gauge.take(10, 20, start), Err(0), "not by the other either");
        gauge.renew(0, &memory(100, 0));
        let old = start + Gauge::MAX_AGE;
        gauge.read = Some(start);
        assert_eq!(gauge.take(5, 20, old), Err(1), "one asks");
        assert_eq!(gauge.take(30, 20, old), Ok(()));
        assert_eq!(gauge.take(60, 20, old), Err(1), "there is not so much");
        gauge.renew(1, &memory(90, 0));
        gauge.read = Some(old);
        assert_eq!(gauge.left, 60, "what the others took may not be gone yet");
        assert_eq!(gauge.subtract(5, 20), Ok(()));
        assert_eq!(gauge.take(10, 20, old), Ok(()));
        assert_eq!((gauge.left, gauge.meanwhile), (45, 0));
    }

    #[test]
    fn a_reading_of_long_ago_does_for_nobody_whoever_asks() {
        let mut gauge = Gauge::default();
        let start = Instant::now();
        gauge.renew(0, &memory(100, 0));
        gauge.read = Some(start);
        // Others may have taken everything since.
        let much_later = start + 2 * Gauge::MAX_AGE;
        assert_eq!(gauge.take(1, 0, much_later), Err(1));
        assert_eq!(gauge.take(1, 0, much_later), Err(1));
    }

    #[test]
    fn who_asked_and_never_came_back_is_not_waited_for() {
        let mut gauge = Gauge::default();
        let start = Instant::now();
        gauge.renew(0, &memory(100, 0));
        gauge.read = Some(start);
        let old = start + Gauge::MAX_AGE;
        assert_eq!(gauge.take(1, 0, old), Err(1));
        assert_eq!(gauge.take(1, 0, old), Ok(()));
        let older = old + Gauge::MAX_AGE;
        assert_eq!(gauge.take(1, 0, older), Err(1), "another asks");
        gauge.renew(1, &memory(50, 0));
        assert_eq!(gauge.left, 50, "what was taken before that is in the reading");
    }

    #[test]
    fn what_is_refused_is_not_taken() {
        let mut gauge = Gauge::default();
        gauge.renew(0, &memory(100, 0));
        assert_eq!(gauge.subtract(91, 10), Err(100));
        assert_eq!(gauge.subtract(90, 10), Ok(()));
    }

    #[test]
    fn what_was_purged_is_there_before_the_kernel_counts_it() {
        let mut gauge = Gauge::default();
        gauge.renew(0, &memory(100, 60));
        assert_eq!(gauge.subtract(30, 0), Ok(()));
        gauge.credit(&memory(100, 40), 25);
        assert_eq!(gauge.left, 100, "the kernel's own figure, which is more");
        gauge.credit(&memory(101, 0), 25);
        assert_eq!(gauge.left, 125, "no more than was purged");
        gauge.credit(&memory(90, 0), 25);
        assert_eq!(gauge.left, 125, "nothing that was not there: pages that nobody had touched");
    }

    #[test]
    fn what_was_read_long_before_a_purge_says_nothing() {
        let mut gauge = Gauge::default();
        gauge.renew(0, &memory(100, 60));
        gauge.read = Instant::now().checked_sub(Gauge::MAX_PURGE);
        gauge.credit(&memory(20, 0), 60);
        assert_eq!(gauge.left, 20);
    }
}
