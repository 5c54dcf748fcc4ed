// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Two things measured in turns.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use hdrhistogram::Histogram;

/// Rounds before any is counted: caches, lazily mapped pages, the first growth of tables.
const WARM_UP: u32 = 3;

/// What one side took.
#[derive(Debug, Clone, Copy)]
pub struct Spread {
    /// Half of the rounds were faster.
    pub median: Duration,
    /// Nine of ten rounds were faster.
    pub p90: Duration,
}

/// Both sides.
#[derive(Debug, Clone, Copy)]
pub struct Pair {
    /// What is measured.
    pub ours: Spread,
    /// What it is held against.
    pub reference: Spread,
}

impl Pair {
    /// How many times the reference ours takes.
    pub fn ratio(&self) -> f64 {
        self.ours.median.as_secs_f64() / self.reference.median.as_secs_f64()
    }
}

/// Measures two things in turns. Each returns what must not be timed: it is dropped after the clock
/// stopped.
pub fn in_turns<T, U>(
    rounds: u32,
    ours: impl FnMut() -> Result<T>,
    reference: impl FnMut() -> Result<U>,
) -> Result<Pair> {
    in_turns_after(rounds, || Ok(()), ours, reference)
}

/// The same with something that comes before each, and is not timed.
pub fn in_turns_after<T, U>(
    rounds: u32,
    mut prepare: impl FnMut() -> Result<()>,
    mut ours: impl FnMut() -> Result<T>,
    mut reference: impl FnMut() -> Result<U>,
) -> Result<Pair> {
    let (mut our_times, mut reference_times) = (histogram()?, histogram()?);
    for round in 0..WARM_UP + rounds {
        prepare()?;
        let our_time = timed(&mut ours)?;
        prepare()?;
        let reference_time = timed(&mut reference)?;
        if round >= WARM_UP {
            our_times.record(our_time).context("a time")?;
            reference_times.record(reference_time).context("a time")?;
        }
    }
    Ok(Pair { ours: spread(&our_times), reference: spread(&reference_times) })
}

/// The same of things that are timed elsewhere, in another process: each answers nanoseconds.
pub fn told_in_turns(
    rounds: u32,
    mut ours: impl FnMut() -> Result<u64>,
    mut reference: impl FnMut() -> Result<u64>,
) -> Result<Pair> {
    let (mut our_times, mut reference_times) = (histogram()?, histogram()?);
    for round in 0..WARM_UP + rounds {
        let (our_time, reference_time) = (ours()?, reference()?);
        if round >= WARM_UP {
            our_times.record(our_time).context("a time")?;
            reference_times.record(reference_time).context("a time")?;
        }
    }
    Ok(Pair { ours: spread(&our_times), reference: spread(&reference_times) })
}

fn timed<T>(act: &mut impl FnMut() -> Result<T>) -> Result<u64> {
    // A service goes on after its answer (it closes, it waits for the next call). That belongs to
    // the call before this one, which may be the other side's.
    thread::yield_now();
    let began = Instant::now();
    let kept = act()?;
    let elapsed = began.elapsed();
    drop(kept);
    Ok(elapsed.as_nanos() as u64)
}

/// Nanoseconds up to ten minutes, to three digits.
fn histogram() -> Result<Histogram<u64>> {
    Histogram::new_with_bounds(1, 600_000_000_000, 3).context("a histogram")
}

fn spread(times: &Histogram<u64>) -> Spread {
    Spread {
        median: Duration::from_nanos(times.value_at_quantile(0.5)),
        p90: Duration::from_nanos(times.value_at_quantile(0.9)),
    }
}
