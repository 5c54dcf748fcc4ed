// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! The search for the service that follows one that died, and what is presented to it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use hal_binder::Strong;
use vendor_berth_allocator::aidl::vendor::berth::allocator::{
    AllocatorError::AllocatorError,
    IAllocator::{IAllocator, MAX_BATCH},
    ReattachEntry::ReattachEntry,
};

use super::{Connection, Link, Live};
use crate::allocator::SERVICE_NAME;
use crate::session::{Binder, Restored};
use crate::Error;

/// How soon the service is looked for again; each further look waits twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// The longest time between two looks.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
impl Connection {
    /// Opens a session at the service that is there now, if any, and presents all buffers to it.
    fn restore(&self) -> Result<Outcome, Error> {
        let allocator: Strong<dyn IAllocator> = hal_binder::check_interface(SERVICE_NAME)?;
        let binder = Arc::new(allocator.openSession(&self.config, &self.callback)?);
        let mut outcome = Outcome::default();
        loop {
            let ids = self.holdings.not_in(&outcome.presented);
            self.present(&binder, &ids, &mut outcome)?;
            let mut state = self.state();
            if !matches!(state.link, Link::Lost(_)) {
                // It was closed meanwhile.
                drop(state);
                let _ = binder.close();
                return Err(Error::ServiceDied("and the session was closed".to_owned()));
            }
            if !self.holdings.not_in(&outcome.presented).is_empty() {
                continue;
            }
            state.generation = state.generation.saturating_add(1);
            let generation = state.generation;
            state.link = Link::Live(Live { binder: binder.clone(), death: None });
            // From here on who drops a buffer frees it.
            let dropped: Vec<i64> =
                outcome.restored.iter().copied().filter(|id| !self.holdings.has(*id)).collect();
            outcome.failed.keys().for_each(|id| {
                self.holdings.remove(*id);
            });
            drop(state);
            self.changed.notify_all();
            self.watch(&binder, generation);
            outcome.restored.retain(|id| !dropped.contains(id));
            for part in dropped.chunks(MAX_BATCH as usize) {
                if let Err(status) = binder.free(part) {
                    log::debug!("not freed: {}", hal_binder::message(&status));
                }
            }
            return Ok(outcome);
        }
    }

    /// Presents buffers, as many at a time as a call takes.
    pub(super) fn present(
        &self,
        binder: &Binder,
        ids: &[i64],
        outcome: &mut Outcome,
    ) -> Result<(), Error> {
        for part in ids.chunks(MAX_BATCH as usize) {
            let (mut presented, mut entries): (Vec<i64>, Vec<ReattachEntry>) = Default::default();
            for &id in part {
                outcome.presented.insert(id);
                match self.holdings.entry(id) {
                    None => {}
                    Some(Ok(entry)) => {
                        presented.push(id);
                        entries.push(entry);
                    }
                    Some(Err(error)) => {
                        outcome.failed.insert(id, error);
                    }
                }
            }
            if entries.is_empty() {
                continue;
            }
            let results = binder.reattach(&entries)?;
            if results.len() != presented.len() {
                let (due, given) = (presented.len(), results.len());
                return Err(Error::BadAnswer(format!("{given} results for {due} buffers")));
            }
            for (id, result) in presented.into_iter().zip(results) {
                match AllocatorError(result.error) {
                    AllocatorError(0) => outcome.restored.push(id),
                    AllocatorError::OWNER_MISSING => outcome.missing.push(id),
                    code => {
                        let refused = Error::Refused { code, message: result.message };
                        outcome.failed.insert(id, refused);
                    }
                }
            }
        }
        Ok(())
    }

    /// Presents the buffers again whose owners were not back; what is left of them is to be presented
    /// later.
    fn present_missing(&self, outcome: &mut Outcome) {
        let live = match &self.state().link {
            Link::Live(live) => live.binder.clone(),
            Link::Lost(_) | Link::Over => return,
        };
        let ids: Vec<i64> = std::mem::take(&mut outcome.missing)
            .into_iter()
            .filter(|id| self.holdings.has(*id))
            .collect();
        let before = outcome.restored.len();
        if let Err(error) = self.present(&live, &ids, outcome) {
            log::debug!("not presented: {error}");
            outcome.missing = ids;
            return;
        }
        // Freed meanwhile: it was not in the session then.
        for id in outcome.restored.split_off(before) {
            match self.holdings.has(id) {
                true => outcome.restored.push(id),
                false => drop(live.free(&[id])),
            }
        }
    }

    /// Those whose owners never came are in no books.
    fn forget_missing(&self, outcome: &mut Outcome) {
        for id in outcome.missing.drain(..) {
            let message = format!("the owner of buffer {id} did not come back");
            let code = AllocatorError::OWNER_MISSING;
            outcome.failed.insert(id, Error::Refused { code, message });
        }
        outcome.failed.keys().for_each(|id| {
            self.holdings.remove(*id);
        });
    }
}

/// What became of the buffers that were presented.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    presented: BTreeSet<i64>,
    restored: Vec<i64>,
    pub(super) failed: BTreeMap<i64, Error>,
    /// To be presented again when their owners are there.
    pub(super) missing: Vec<i64>,
}

/// A thread of the session's own, for what must not be done on the transport's.
pub(super) fn spawn(connection: &Weak<Connection>, work: impl FnOnce() + Send + 'static) {
    let thread = thread::Builder::new().name("berth-reconnect".to_owned());
    if let Err(error) = thread.spawn(work) {
        log::warn!("no thread to reconnect: {error}");
        if let Some(connection) = connection.upgrade() {
            connection.give_up();
        }
    }
}

/// Looks for the service that follows, until it is found, it is too late, or nobody wants it.
pub(super) fn reconnect(connection: &Weak<Connection>, lost: Live) {
    drop(lost);
    let Some((stop, events, within)) = connection.upgrade().map(|connection| {
        (connection.stop.clone(), connection.events.clone(), connection.reconnect_within)
    }) else {
        return;
    };
    if stop.within(Duration::ZERO) {
        return;
    }
    events.lost();
    if within.is_zero() {
        events.gave_up();
        return;
    }
    let began = Instant::now();
    let mut pauses = Pauses(FIRST_PAUSE);
    let mut outcome = loop {
        match connection.upgrade().map(|connection| connection.restore()) {
            None => return,
            Some(Ok(outcome)) => break outcome,
            Some(Err(error)) => log::debug!("no service yet: {error}"),
        }
        if began.elapsed() >= within {
            if let Some(connection) = connection.upgrade() {
                connection.give_up();
            }
            events.gave_up();
            return;
        }
        if stop.within(pauses.next(within.saturating_sub(began.elapsed()))) {
            return;
        }
    };
    pauses = Pauses(FIRST_PAUSE);
    while !outcome.missing.is_empty() && began.elapsed() < within {
        if stop.within(pauses.next(within.saturating_sub(began.elapsed()))) {
            return;
        }
        let Some(connection) = connection.upgrade() else { return };
        connection.present_missing(&mut outcome);
    }
    if let Some(connection) = connection.upgrade() {
        connection.forget_missing(&mut outcome);
    }
    let Outcome { restored, failed, .. } = outcome;
    events.restored(&Restored { buffers: restored, failed: failed.into_iter().collect() });
}

struct Pauses(Duration);

impl Pauses {
    fn next(&mut self, most: Duration) -> Duration {
        let pause = self.0.min(most);
        self.0 = self.0.saturating_mul(2).min(LONGEST_PAUSE);
        pause
    }
}
