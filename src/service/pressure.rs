// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! How short the machine is of memory, watched on a thread of its own.
//!
//! Two things tell. `MemAvailable` against the reserve that is never given away: dma-bufs take memory
//! that nobody can reclaim, so that this falls before anything stalls. And the kernel's pressure
//! stall information, where there is any: that tasks already wait for memory, whoever took it.
//!
//! How the latter is had depends on the kernel (`kernel/sched/psi.c`) and on the file's mode, which
//! is 0664 for `system` on Android (system/core's `rootdir/init.rc`). Up to Linux 5.12, and on
//! Android's kernels up to 6.1, whoever may write the file may have any trigger. From 5.13 to 6.3
//! only `CAP_SYS_RESOURCE` opens it to write, which this service has no other use for and does
//! without. From 6.4 on anybody has triggers with a window of 2 seconds. Where no trigger is had the
//! times in the file are read, which anybody may.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, Weak};
use std::thread;
use std::time::{Duration, Instant};

use berth_kernel::meminfo::MemInfo;
use berth_kernel::pressure::{Pressure, PressureTrigger, Stalled};

use crate::lock::lock;
use crate::service::Service;

/// The environment variable that has a service not look whether tasks wait for memory, except on
/// Android: on a machine that others work on it may happen at any time.
#[cfg(not(target_os = "android"))]
const UNWATCHED: &str = "BERTH_STALLS_UNWATCHED";
/// How often is looked at what is available.
const INTERVAL: Duration = Duration::from_secs(1);
/// How much time of [`WINDOW`] some task loses before it counts as pressure; lmkd's own threshold
/// for it is of this order (`psi_partial_stall_ms` of AOSP's lmkd).
const STALL: Duration = Duration::from_millis(150);
/// The window of the kernel's trigger.
const WINDOW: Duration = Duration::from_secs(1);
/// How much of the last ten seconds all tasks lost, in percent, when pressure is critical.
const CRITICAL_STALL: f32 = 10.0;
/// How many changes are remembered.
const REMEMBERED: usize = 16;
/// What is purged each time that tasks wait for memory: of all memory this part.
const STALL_SHARE: u64 = 64;
/// Of all memory at most this part is on the lists of [`Unseen`].
const LISTED_SHARE: u64 = 8;
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

/// What tells that tasks wait for memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Source {
    /// Nothing: only `MemAvailable` says how short memory is.
    #[default]
    Nothing,
    /// The times that tasks lost, read once in an [`INTERVAL`].
    Readings,
    /// A trigger of the kernel's with this window.
    Trigger(Duration),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Nothing => f.write_str("MemAvailable alone"),
            Source::Readings => {
                write!(f, "MemAvailable, and stalls of {STALL:?}, read every {INTERVAL:?}")
            }
            Source::Trigger(window) => {
                write!(f, "MemAvailable, and a trigger for stalls of {STALL:?} in {window:?}")
            }
        }
    }
}

/// How it was until now, for people.
#[derive(Debug, Default)]
pub(crate) struct History(Mutex<Past>);

#[derive(Debug, Default)]
struct Past {
    source: Source,
    changes: VecDeque<(Instant, Level)>,
}

impl History {
    /// What tells of stalls.
    pub(crate) fn source(&self) -> Source {
        lock(&self.0).source
    }

    /// The last changes, the latest first: how long ago, and to what.
    pub(crate) fn changes(&self) -> Vec<(Duration, Level)> {
        let past = lock(&self.0);
        past.changes.iter().rev().map(|(at, level)| (at.elapsed(), *level)).collect()
    }

    /// Notes a change.
    pub(crate) fn note(&self, level: Level) {
        let mut past = lock(&self.0);
        if past.changes.len() == REMEMBERED {
            past.changes.pop_front();
        }
        past.changes.push_back((Instant::now(), level));
    }

    fn tell_source(&self, source: Source) {
        lock(&self.0).source = source;
        log::info!("memory pressure is told by {source}");
    }
}

/// Starts the thread; it ends with the service.
pub(crate) fn start(service: Weak<Service>) -> io::Result<()> {
    thread::Builder::new().name("pressure".to_owned()).spawn(move || {
        let mut gauge = Gauge::default();
        let mut unseen = Unseen::default();
        let mut stalls = Stalls::watch();
        let mut source = None;
        loop {
            {
                let Some(service) = service.upgrade() else { return };
                if source.replace(stalls.source()) != Some(stalls.source()) {
                    service.pressure_history.tell_source(stalls.source());
                }
            }
            let stalled = stalls.wait(INTERVAL);
            let Some(service) = service.upgrade() else { return };
            let Ok(memory) = MemInfo::read() else { continue };
            let reserve = service.accounts.limits().reserve_bytes;
            let level = Level::of_available(memory.available, reserve).max(stalled);
            // Each of these is or will be there without a purge.
            let purged = service.purger.purged.load(Ordering::Relaxed);
            let idle = service.reclaimer.recycler.kept().bytes;
            let coming = unseen.after(&memory, purged).saturating_add(idle);
            service.purger.want(to_purge(&memory, reserve, stalled).saturating_sub(coming));
            if let Some(level) = gauge.read(level, Instant::now()) {
                service.feel(level);
            }
        }
    })?;
    Ok(())
}

/// How many bytes of purgeable regions are to go: as many as are missing to what is enough, with an
/// eighth of the reserve above it; where tasks wait for memory a little of it in any case.
fn to_purge(memory: &MemInfo, reserve: u64, stalled: Level) -> u64 {
    let enough = reserve.saturating_mul(2);
    let missing = match memory.available < enough {
        true => enough.saturating_add(reserve / 8).saturating_sub(memory.available),
        false => 0,
    };
    match stalled {
        Level::Normal => missing,
        _ => missing.max(memory.total / STALL_SHARE),
    }
}

/// What was purged and is not in `MemAvailable` yet, an estimate. Freed pages stay on lists of the
/// processors for seconds, since Linux 6.7 together up to an eighth of a zone (`zone_highsize` in
/// `mm/page_alloc.c`), from where whoever allocates has them all the same. Without it each look would
/// have the same bytes purged again.
#[derive(Debug, Default)]
struct Unseen {
    bytes: u64,
    /// At the last look.
    available: u64,
    shared: u64,
    purged: u64,
}

impl Unseen {
    /// The estimate at this look, with the bytes that were ever purged.
    ///
    /// Purged is what `Shmem` is less by, for not all of it was ever touched. What `MemAvailable` rose
    /// by came off the lists; what it fell by others took, and may have taken from the lists as well.
    /// The kernel empties them little by little, so that a quarter is forgotten each time.
    fn after(&mut self, memory: &MemInfo, purged: u64) -> u64 {
        let freed = self.shared.saturating_sub(memory.shared);
        let freed = freed.min(purged.saturating_sub(self.purged));
        let moved = self.available.abs_diff(memory.available);
        let bytes =
            self.bytes.saturating_sub(self.bytes / 4).saturating_add(freed).saturating_sub(moved);
        let bytes = bytes.min(memory.total / LISTED_SHARE);
        *self = Unseen { bytes, available: memory.available, shared: memory.shared, purged };
        bytes
    }
}

/// The kernel's word that tasks wait for memory.
enum Stalls {
    Trigger(PressureTrigger),
    /// What was read last.
    Readings(Pressure),
    Nothing,
}

impl Stalls {
    fn watch() -> Stalls {
        #[cfg(not(target_os = "android"))]
        if std::env::var_os(UNWATCHED).is_some() {
            return Stalls::Nothing;
        }
        match PressureTrigger::new(Stalled::Some, STALL, WINDOW) {
            Ok(trigger) => Stalls::Trigger(trigger),
            Err(error) => {
                log::info!("{error}");
                Stalls::by_reading()
            }
        }
    }

    fn by_reading() -> Stalls {
        match Pressure::read() {
            Ok(first) => Stalls::Readings(first),
            Err(error) => {
                log::info!("{error}");
                Stalls::Nothing
            }
        }
    }

    fn source(&self) -> Source {
        match self {
            Stalls::Trigger(trigger) => Source::Trigger(trigger.window()),
            Stalls::Readings(_) => Source::Readings,
            Stalls::Nothing => Source::Nothing,
        }
    }

    /// Waits for such a word, so long at most.
    fn wait(&mut self, most: Duration) -> Level {
        match self {
            Stalls::Nothing => {
                thread::sleep(most);
                Level::Normal
            }
            Stalls::Readings(last) => {
                thread::sleep(most);
                match Pressure::read() {
                    Ok(now) => {
                        let before = std::mem::replace(last, now);
                        level_of(&before, &now)
                    }
                    Err(error) => {
                        log::warn!("{error}");
                        *self = Stalls::Nothing;
                        Level::Normal
                    }
                }
            }
            Stalls::Trigger(trigger) => match trigger.wait(Some(most)) {
                Ok(false) => Level::Normal,
                Ok(true) => Pressure::read().map_or(Level::Moderate, |now| level_of_stalled(&now)),
                Err(error) => {
                    log::warn!("{error}");
                    *self = Stalls::by_reading();
                    Level::Normal
                }
            },
        }
    }
}

/// What two readings say of the time between them.
fn level_of(before: &Pressure, now: &Pressure) -> Level {
    match now.some.total.saturating_sub(before.some.total) < STALL {
        true => Level::Normal,
        false => level_of_stalled(now),
    }
}

/// What is the matter when tasks were stalled for [`STALL`].
fn level_of_stalled(now: &Pressure) -> Level {
    match now.full.avg10 >= CRITICAL_STALL {
        true => Level::Critical,
        false => Level::Moderate,
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
    use berth_kernel::pressure::Averages;

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
    fn what_was_purged_is_not_purged_again_while_the_kernel_does_not_count_it() {
        let memory = |available, shared| MemInfo {
            total: 4000,
            free: 0,
            available,
            shared,
            contiguous: None,
        };
        let missing = |memory: &MemInfo| to_purge(memory, 800, Level::Normal);
        let mut unseen = Unseen::default();
        let short = memory(1600 - 200, 900);
        assert_eq!((missing(&short), unseen.after(&short, 0)), (300, 0));
        // All of it is on lists: there is enough. Of another 100 nobody had touched any.
        let purged = memory(1400, 600);
        assert_eq!((missing(&purged), unseen.after(&purged, 400)), (300, 300));
        // A part came off them, and some is forgotten.
        assert_eq!(unseen.after(&memory(1600, 600), 400), 25);
        assert_eq!(unseen.after(&memory(1600, 600), 400), 19);
        // What others gave back is not ours.
        assert_eq!(unseen.after(&memory(1600, 0), 410), 25);
        // Others take all: nothing of it counts any more.
        assert_eq!(unseen.after(&memory(1000, 0), 410), 0);
        assert_eq!(
            Unseen { shared: 9000, ..unseen }.after(&memory(1000, 0), 9000),
            500,
            "too much"
        );
    }

    #[test]
    fn readings_tell_what_a_trigger_would() {
        let reading = |lost_ms: u64, full: f32| {
            let total = Duration::from_millis(lost_ms);
            let averages = |avg10| Averages { avg10, avg60: 0.0, avg300: 0.0, total };
            Pressure { some: averages(90.0), full: averages(full) }
        };
        let first = reading(1000, 0.0);
        assert_eq!(level_of(&first, &reading(1149, 50.0)), Level::Normal);
        assert_eq!(level_of(&first, &reading(1150, 9.9)), Level::Moderate);
        assert_eq!(level_of(&first, &reading(1150, 10.0)), Level::Critical);
        // It never falls; if it did, that would be no pressure.
        assert_eq!(level_of(&first, &reading(0, 50.0)), Level::Normal);
    }

    #[test]
    fn the_last_changes_are_remembered_and_no_more() {
        let history = History::default();
        for round in 0..REMEMBERED + 3 {
            let level = if round % 2 == 0 { Level::Moderate } else { Level::Critical };
            history.note(level);
        }
        let levels: Vec<Level> = history.changes().into_iter().map(|(_, level)| level).collect();
        assert_eq!(levels.len(), REMEMBERED);
        assert_eq!(levels[..2], [Level::Moderate, Level::Critical]);
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
