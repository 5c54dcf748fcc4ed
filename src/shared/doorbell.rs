// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! A counter in shared memory that one process rings and others wait for, with a deadline and
//! without a call to any service.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use berth_kernel::futex;
use berth_kernel::mapping::{Mapping, OutOfRange, ReadWrite};

/// Nobody rang in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("nobody rang within {0:?}")]
pub struct NotRung(pub Duration);

/// A doorbell in a mapped word. Its value means nothing but "rung since": it wraps, and a hostile
/// peer that stores to it only rings.
#[derive(Debug, Clone, Copy)]
pub struct Doorbell<'mapping>(&'mapping AtomicU32);

impl<'mapping> Doorbell<'mapping> {
    /// The doorbell in the word at `offset` bytes, a multiple of 4; all who use it agree on that.
    /// Fresh memory, which reads zero, is a doorbell that was never rung.
    pub fn at(mapping: &'mapping Mapping<ReadWrite>, offset: usize) -> Result<Self, OutOfRange> {
        Ok(Doorbell(mapping.word(offset)?))
    }

    /// How often it was rung, modulo 2³². What was written before a ring is seen by whoever counts
    /// it.
    pub fn rings(&self) -> u32 {
        self.0.load(Ordering::Acquire)
    }

    /// Rings, and wakes all who wait in any process.
    pub fn ring(&self) {
        self.0.fetch_add(1, Ordering::Release);
        // Waking fails only for an address that is no word; this one is.
        let _ = futex::wake_all(self.0);
    }

    /// Waits until the count is no longer `seen` and returns it.
    pub fn wait(&self, seen: u32, within: Duration) -> Result<u32, NotRung> {
        let began = Instant::now();
        loop {
            let rings = self.rings();
            if rings != seen {
                return Ok(rings);
            }
            let left = within.checked_sub(began.elapsed()).filter(|left| !left.is_zero());
            futex::wait(self.0, seen, left.ok_or(NotRung(within))?);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use berth_kernel::memfd::Memfd;
    use std::os::fd::AsFd;
    use std::sync::Barrier;

    fn page() -> (Memfd, Mapping<ReadWrite>) {
        let memfd = Memfd::create("doorbell", 4096).unwrap();
        let mapping = Mapping::new(memfd.as_fd(), 4096).unwrap();
        (memfd, mapping)
    }

    #[test]
    #[cfg_attr(miri, ignore = "needs a kernel")]
    fn what_was_written_before_the_ring_is_read_after_it() {
        let (memfd, ours) = page();
        let theirs: Mapping<ReadWrite> = Mapping::new(memfd.as_fd(), 4096).unwrap();
        let together = Barrier::new(2);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let bell = Doorbell::at(&theirs, 64).unwrap();
                for round in 0..1000u32 {
                    theirs.write(128, &round.to_ne_bytes()).unwrap();
                    bell.ring();
                    together.wait();
                }
            });
            let bell = Doorbell::at(&ours, 64).unwrap();
            for round in 0..1000u32 {
                assert_eq!(bell.wait(round, Duration::from_secs(30)), Ok(round + 1));
                let mut bytes = [0; 4];
                ours.read(128, &mut bytes).unwrap();
                assert_eq!(u32::from_ne_bytes(bytes), round);
                together.wait();
            }
        });
    }

    #[test]
    #[cfg_attr(miri, ignore = "needs a kernel")]
    fn a_bell_that_nobody_rings_ends_the_wait_at_the_deadline() {
        let (_memfd, mapping) = page();
        let bell = Doorbell::at(&mapping, 0).unwrap();
        let within = Duration::from_millis(5);
        assert_eq!(bell.wait(0, within), Err(NotRung(within)));
        assert_eq!(bell.wait(0, Duration::ZERO), Err(NotRung(Duration::ZERO)));
    }

    #[test]
    #[cfg_attr(miri, ignore = "needs a kernel")]
    fn the_count_wraps() {
        let (_memfd, mapping) = page();
        mapping.word(0).unwrap().store(u32::MAX, Ordering::Relaxed);
        let bell = Doorbell::at(&mapping, 0).unwrap();
        bell.ring();
        assert_eq!(bell.wait(u32::MAX, Duration::ZERO), Ok(0));
    }

    #[test]
    #[cfg_attr(miri, ignore = "needs a kernel")]
    fn a_bell_outside_of_the_mapping_is_refused() {
        let (_memfd, mapping) = page();
        for offset in [4096, 4094, 2, usize::MAX] {
            assert!(Doorbell::at(&mapping, offset).is_err(), "offset {offset}");
        }
    }
}
