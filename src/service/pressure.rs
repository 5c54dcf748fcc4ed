// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! How short the machine is of memory, watched on a thread of its own.
//!
//! Two things tell. `MemAvailable` against the reserve that is never given away: dma-bufs take memory
//! that nobody can reclaim, so that this falls before anything stalls. And the kernel's pressure
//! stall information, where there is any: that tasks already wait for memory, whoever took it.

use std::io;
use std::sync::Weak;
use std::thread;
use std::time::{Duration, Instant};

use berth_kernel::meminfo::MemInfo;
use berth_kernel::pressure::{Pressure, PressureTrigger, Stalled};

use crate::service::Service;

/// How often is looked at what is available.
const INTERVAL: Duration = Duration::from_secs(1);
/// How much time of [`WINDOW`] some task loses before it counts as pressure; lmkd's own threshold
/// for it is of this order (`psi_partial_stall_ms` of AOSP's lmkd).
const STALL: Duration = Duration::from_millis(150);
/// The window of the kernel's trigger.
const WINDOW: Duration = Duration::from_secs(1);
/// How much of the last ten seconds all tasks lost, in percent, when pressure is critical.
const CRITICAL_STALL: f32 = 10.0;
/// How long it must have been better before it counts as better: what is given back comes again.
const RELIEF: Duration = Duration::from_secs(5);

/// How short memory is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// There is enough.
    #[default]
    Normal,
    /// Less than twice the reserve is left, or tasks wait for memory now and then.
    Moderate,
    /// Less than one and a quarter of the reserve is left, or all tasks wait for memory.
    Critical,
}

impl Level {
    /// What is left against what is kept.
    fn of_available(available: u64, reserve: u64) -> Level {
        if available < reserve.saturating_add(reserve / 4) {
            Level::Critical
        } else if available < reserve.saturating_mul(2) {
            Level::Moderate
        } else {
            Level::Normal
        }
    }
}

/// Starts the thread; it ends with the service.
pub(crate) fn start(service: Weak<Service>) -> io::Result<()> {
    thread::Builder::new().name("pressure".to_owned()).spawn(move || {
        let mut gauge = Gauge::default();
        let mut stalls = Stalls::watch();
        loop {
            let stalled = stalls.wait(INTERVAL);
            let Some(service) = service.upgrade() else { return };
            let Ok(memory) = MemInfo::read() else { continue };
            let reserve = service.accounts.limits().reserve_bytes;
            let level = Level::of_available(memory.available, reserve).max(stalled);
            if let Some(level) = gauge.read(level, Instant::now()) {
                service.feel(level);
            }
        }
    })?;
    Ok(())
}

/// The kernel's word that tasks wait for memory; `None` where it gives none.
struct Stalls(Option<PressureTrigger>);

impl Stalls {
    fn watch() -> Stalls {
        let trigger = PressureTrigger::new(Stalled::Some, STALL, WINDOW);
        Stalls(trigger.map_err(|error| log::info!("only MemAvailable tells: {error}")).ok())
    }

    /// Waits for such a word, so long at most.
    fn wait(&mut self, most: Duration) -> Level {
        let Some(trigger) = &self.0 else {
            thread::sleep(most);
            return Level::Normal;
        };
        match trigger.wait(Some(most)) {
            Ok(false) => Level::Normal,
            Ok(true) => match Pressure::read() {
                Ok(pressure) if pressure.full.avg10 >= CRITICAL_STALL => Level::Critical,
                _ => Level::Moderate,
            },
            Err(error) => {
                log::warn!("only MemAvailable tells from now on: {error}");
                self.0 = None;
                Level::Normal
            }
        }
    }
}

/// Tells changes: for the worse at once, for the better when they have lasted.
#[derive(Debug, Default)]
struct Gauge {
    told: Level,
    better_since: Option<Instant>,
}

impl Gauge {
    /// The level to be told, if it is another than the last.
    fn read(&mut self, level: Level, now: Instant) -> Option<Level> {
        if level >= self.told {
            self.better_since = None;
        } else {
            let since = *self.better_since.get_or_insert(now);
            if now.saturating_duration_since(since) < RELIEF {
                return None;
            }
            self.better_since = None;
        }
        (std::mem::replace(&mut self.told, level) != level).then_some(level)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_decides_the_level() {
        for (available, level) in [
            (2000, Level::Normal),
            (1999, Level::Moderate),
            (1250, Level::Moderate),
            (1249, Level::Critical),
            (0, Level::Critical),
        ] {
            assert_eq!(Level::of_available(available, 1000), level, "{available}");
        }
        assert_eq!(Level::of_available(0, 0), Level::Normal);
    }

    #[test]
    fn worse_is_told_at_once_and_better_when_it_lasts() {
        let mut gauge = Gauge::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(gauge.read(Level::Normal, at(0)), None);
        assert_eq!(gauge.read(Level::Moderate, at(1)), Some(Level::Moderate));
        assert_eq!(gauge.read(Level::Critical, at(2)), Some(Level::Critical));
        assert_eq!(gauge.read(Level::Critical, at(3)), None);
        assert_eq!(gauge.read(Level::Normal, at(4)), None);
        assert_eq!(gauge.read(Level::Critical, at(6)), None, "it was no relief");
        assert_eq!(gauge.read(Level::Moderate, at(7)), None);
        assert_eq!(gauge.read(Level::Normal, at(12)), Some(Level::Normal));
        assert_eq!(gauge.read(Level::Normal, at(13)), None);
    }
}
