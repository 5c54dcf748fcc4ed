// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! How long things take: a histogram that any thread adds to without a lock.
//!
//! Its buckets are those of an HDR histogram, of one width within a power of two. AOSP carries no
//! crate `hdrhistogram`, and that one has neither atomics nor a fixed size.

use std::array;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Buckets to a power of two, as a power of two itself: no quantile is off by more than a sixteenth.
const BITS: u32 = 4;
/// Below so many microseconds, each has a bucket of its own.
const FINE: usize = 1 << BITS;
/// The first power of two, in microseconds, that has no buckets: 2^26 µs are 67 s.
const END: u32 = 26;
const BUCKETS: usize = FINE * (1 + (END - BITS) as usize);

/// Durations, counted.
#[derive(Debug)]
pub(crate) struct Latency {
    buckets: [AtomicU64; BUCKETS],
    /// The longest, in nanoseconds.
    max: AtomicU64,
}

/// What a [`Latency`] counted until now.
///
/// A quantile is the shortest of the durations that so many of them do not exceed. What is said is
/// never less, and more by a sixteenth or a microsecond at most, whichever is more; it is never more
/// than [`max`](Quantiles::max). A quantile of 65 s or more is said as the maximum.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Quantiles {
    /// How many were recorded.
    pub(crate) count: u64,
    /// Half took no longer.
    pub(crate) p50: Duration,
    /// Nine of ten took no longer.
    pub(crate) p90: Duration,
    /// 99 of a hundred took no longer.
    pub(crate) p99: Duration,
    /// The longest, exactly.
    pub(crate) max: Duration,
}

impl Latency {
    /// An empty histogram.
    pub(crate) fn new() -> Latency {
        let buckets = array::from_fn(|_| AtomicU64::new(0));
        Latency { buckets, max: AtomicU64::new(0) }
    }

    /// Counts a duration.
    pub(crate) fn record(&self, duration: Duration) {
        let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        // Looked at first: a maximum is rare, and whoever changes a word takes it from all other CPUs.
        if nanoseconds > self.max.load(Ordering::Relaxed) {
            self.max.fetch_max(nanoseconds, Ordering::Relaxed);
        }
        if let Some(bucket) = self.buckets.get(bucket_of(nanoseconds / 1000)) {
            // With the maximum: who sees this one counted sees a maximum that is no less.
            bucket.fetch_add(1, Ordering::Release);
        }
    }

    /// What was counted. What other threads record meanwhile is in it or not, each as a whole.
    pub(crate) fn snapshot(&self) -> Quantiles {
        let counts: [u64; BUCKETS] = array::from_fn(|index| match self.buckets.get(index) {
            Some(bucket) => bucket.load(Ordering::Acquire),
            None => 0,
        });
        let max = Duration::from_nanos(self.max.load(Ordering::Relaxed));
        let count = counts.iter().fold(0, |sum: u64, count| sum.saturating_add(*count));
        let quantile = |percent| quantile(&counts, count, percent).unwrap_or(max).min(max);
        Quantiles { count, p50: quantile(50), p90: quantile(90), p99: quantile(99), max }
    }
}

/// The index of the bucket for so many microseconds; that of the last one if they are too many.
fn bucket_of(microseconds: u64) -> usize {
    let Some(power) = microseconds.checked_ilog2().filter(|power| *power >= BITS) else {
        return microseconds as usize;
    };
    if power >= END {
        return BUCKETS - 1;
    }
    // The bits after the first one: the place among the buckets of the power of two.
    let place = (microseconds >> (power - BITS)) as usize & (FINE - 1);
    FINE * (power - BITS + 1) as usize + place
}

/// What the durations in a bucket are less than, in microseconds; `None` of the last, which has no
/// end.
fn end_of(bucket: usize) -> Option<u64> {
    if bucket + 1 >= BUCKETS {
        return None;
    }
    let next = bucket as u64 + 1;
    let fine = FINE as u64;
    match (next / fine).checked_sub(1) {
        None => Some(next),
        Some(shift) => (fine + next % fine).checked_shl(u32::try_from(shift).ok()?),
    }
}

/// The end of the bucket that a quantile is in; `None` if nothing was counted, or if it has none.
fn quantile(counts: &[u64; BUCKETS], count: u64, percent: u128) -> Option<Duration> {
    let rank = (u128::from(count) * percent).div_ceil(100).max(1);
    let mut passed = 0;
    let bucket = counts.iter().position(|count| {
        passed += u128::from(*count);
        passed >= rank
    })?;
    end_of(bucket).map(Duration::from_micros)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use std::sync::Arc;
    use std::thread;

    const MICROSECOND: Duration = Duration::from_micros(1);

    /// Durations of every magnitude up to 64 s.
    fn durations() -> impl Strategy<Value = Vec<Duration>> {
        let nanoseconds = (0..64_000_000_000_u64, 0..36_u32).prop_map(|(n, shift)| n >> shift);
        vec(nanoseconds.prop_map(Duration::from_nanos), 1..300)
    }

    fn of(durations: &[Duration]) -> Quantiles {
        let latency = Latency::new();
        durations.iter().for_each(|duration| latency.record(*duration));
        latency.snapshot()
    }

    #[test]
    fn a_histogram_has_four_kibibytes_at_most() {
        assert!(std::mem::size_of::<Latency>() <= 4096);
    }

    #[test]
    fn nothing_recorded_is_nothing() {
        assert_eq!(Latency::new().snapshot(), Quantiles::default());
    }

    #[test]
    fn one_duration_is_every_quantile() {
        let once = Duration::from_nanos(123_456_789);
        let expected = Quantiles { count: 1, p50: once, p90: once, p99: once, max: once };
        assert_eq!(of(&[once]), expected, "never more than the maximum");
    }

    #[test]
    fn what_is_too_long_is_said_as_the_longest() {
        let (short, long) = (Duration::from_millis(1), Duration::MAX);
        let seen = of(&[short, Duration::from_secs(100), long]);
        let most = Duration::from_nanos(u64::MAX);
        assert_eq!((seen.count, seen.p50, seen.p99, seen.max), (3, most, most, most));
    }

    #[test]
    fn every_bucket_begins_where_the_one_before_ends() {
        for bucket in 0..BUCKETS - 1 {
            let end = end_of(bucket).unwrap();
            assert_eq!((bucket_of(end - 1), bucket_of(end)), (bucket, bucket + 1));
        }
        assert_eq!(bucket_of(0), 0);
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
        assert!(bucket_of(64_000_000) < BUCKETS - 1, "64 s are measured");
    }

    #[test]
    fn threads_that_record_at_once_lose_nothing() {
        let latency = Arc::new(Latency::new());
        let threads: Vec<_> = (1..=4)
            .map(|number| {
                let latency = latency.clone();
                let record = move || (0..10_000).for_each(|_| latency.record(number * MICROSECOND));
                thread::spawn(record)
            })
            .collect();
        while threads.iter().any(|thread| !thread.is_finished()) {
            let seen = latency.snapshot();
            assert!(seen.p50 <= seen.p90 && seen.p90 <= seen.p99 && seen.p99 <= seen.max);
        }
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        let seen = latency.snapshot();
        assert_eq!((seen.count, seen.max), (40_000, 4 * MICROSECOND));
        assert_eq!((seen.p50, seen.p90), (3 * MICROSECOND, 4 * MICROSECOND));
    }

    proptest! {
        #[test]
        fn quantiles_are_those_of_the_sorted_list_or_a_sixteenth_more(durations in durations()) {
            let seen = of(&durations);
            let mut sorted = durations;
            sorted.sort();
            prop_assert_eq!(seen.count, sorted.len() as u64);
            prop_assert_eq!(Some(&seen.max), sorted.last());
            for (percent, said) in [(50, seen.p50), (90, seen.p90), (99, seen.p99)] {
                let truth = sorted[(sorted.len() * percent).div_ceil(100) - 1];
                let error = said.checked_sub(truth);
                let bound = MICROSECOND.max(truth / 16);
                prop_assert!(
                    error.is_some_and(|error| error <= bound),
                    "p{} is said to be {:?} and is {:?}", percent, said, truth
                );
            }
        }

        #[test]
        fn any_duration_is_counted(seconds: u64, nanoseconds in 0..1_000_000_000_u32) {
            let seen = of(&[Duration::new(seconds, nanoseconds)]);
            prop_assert_eq!(seen.count, 1);
        }
    }
}
