// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! A session's way to the service, which may die and be started again.
//!
//! A call that finds the service dead, and the news of its death, whichever comes first, start a
//! thread that looks for the service that follows, opens a session there and presents every buffer
//! that this process has. Until it is done the session has no service: calls wait for one, and the
//! buffers are used as before. The thread ends when it is done, when it was too long, or when nobody
//! has the session any more.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use berth_kernel::owner_process::OwnerProcess;
use hal_binder::{DeathLink, Status, Strong};
use vendor_berth_allocator::aidl::vendor::berth::allocator::{
    IAllocator::{IAllocator, MAX_BATCH},
    IAllocatorCallback::IAllocatorCallback,
    SessionConfig::SessionConfig,
};

use crate::buffer::Held;
use crate::holdings::Holdings;
use crate::kinds::Kinds;
use crate::session::{Binder, SessionEvents};
use crate::Error;

mod reconnect;

use reconnect::{reconnect, spawn, Outcome};

/// How often a call is made that may be made again. A service that dies of it is not asked for ever.
const TRIES: usize = 3;

/// Whether a call may be made a second time if the service died of the first, or with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Again {
    /// It asks, or what it made is gone with the service that made it.
    Yes,
    /// Its caller decides.
    No,
}

/// A session at a service.
struct Live {
    /// Shared: one more reference of Binder's own costs as much as half a call's parcel.
    binder: Arc<Binder>,
    /// Ends with it.
    death: Option<DeathLink>,
}

enum Link {
    Live(Live),
    /// The service died, and another is looked for until then.
    Lost(Instant),
    /// The session is over.
    Over,
}

struct State {
    link: Link,
    /// How many services the session has had.
    generation: u64,
}

/// The way of a session to the service.
pub(crate) struct Connection {
    state: Mutex<State>,
    changed: Condvar,
    pub(crate) holdings: Holdings,
    pub(crate) kinds: Kinds,
    config: SessionConfig,
    /// The death token: the service's reference to it dies with this process.
    callback: Arc<Strong<dyn IAllocatorCallback>>,
    events: Arc<dyn SessionEvents>,
    reconnect_within: Duration,
    stop: Arc<Stop>,
    /// Closed: nothing is pinned any more.
    pins_over: AtomicBool,
    /// What a forked child has of it is a copy of its parent's, and is left alone there.
    owner: OwnerProcess,
    this: Weak<Connection>,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let State { link, generation } = &*self.state();
        let link = match link {
            Link::Live(_) => "live",
            Link::Lost(_) => "lost",
            Link::Over => "over",
        };
        f.debug_struct("Connection").field("link", &link).field("generation", generation).finish()
    }
}

/// Wakes the thread that looks for the service.
#[derive(Debug, Default)]
struct Stop {
    stopped: Mutex<bool>,
    changed: Condvar,
}

impl Stop {
    fn stop(&self) {
        *self.stopped.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }

    /// Whether it was stopped, at once or within a time.
    fn within(&self, pause: Duration) -> bool {
        let stopped = self.stopped.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_timeout_while(stopped, pause, |stopped| !*stopped);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        let link = std::mem::replace(&mut state.link, Link::Over);
        if !self.owner.is_this() {
            // The transport is shared with the parent: what a child lets go of, its parent has lost.
            std::mem::forget((link, self.callback.clone()));
            return;
        }
        self.stop.stop();
        // Releasing the object would end the session too, but look like a client's death.
        if let Link::Live(live) = link {
            if let Err(status) = live.binder.close() {
                log::debug!("a session was not closed: {}", hal_binder::message(&status));
            }
        }
    }
}

impl Connection {
    /// Opens a session, for this process.
    pub(crate) fn open(
        owner: OwnerProcess,
        allocator: &Strong<dyn IAllocator>,
        config: SessionConfig,
        callback: Strong<dyn IAllocatorCallback>,
        events: Arc<dyn SessionEvents>,
        reconnect_within: Duration,
    ) -> Result<Arc<Connection>, Status> {
        let binder = Arc::new(allocator.openSession(&config, &callback)?);
        let live = Live { binder: binder.clone(), death: None };
        let connection = Arc::new_cyclic(|this: &Weak<Connection>| Connection {
            state: Mutex::new(State { link: Link::Live(live), generation: 0 }),
            changed: Condvar::new(),
            holdings: Holdings::default(),
            kinds: Kinds::default(),
            config,
            callback: Arc::new(callback),
            events,
            reconnect_within,
            stop: Arc::default(),
            pins_over: AtomicBool::new(false),
            owner,
            this: this.clone(),
        });
        connection.watch(&binder, 0);
        Ok(connection)
    }

    /// Watches over a service that is in use from now on.
    fn watch(&self, binder: &Binder, generation: u64) {
        let this = self.this.clone();
        let link = DeathLink::new(binder, move || {
            let dying = this.clone();
            // Not on the transport's thread: what is dropped here talks to the transport.
            spawn(&this, move || {
                let lost = dying.upgrade().and_then(|connection| connection.begin_lost(generation));
                if let Some(lost) = lost {
                    reconnect(&dying, lost);
                }
            });
        });
        match link {
            Ok(death) => {
                let mut state = self.state();
                let same = state.generation == generation;
                match &mut state.link {
                    Link::Live(live) if same => live.death = Some(death),
                    // The link goes after the lock.
                    _ => drop((state, death)),
                }
            }
            Err(status) if hal_binder::is_dead(&status) => self.lose(generation),
            // Its death is seen by the next call.
            Err(status) => log::debug!("unwatched: {}", hal_binder::message(&status)),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each change is one step: a panic elsewhere leaves nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Refuses what a forked child asks. The other threads of its parent are not there, nor will any
    /// lock be released that they had.
    pub(crate) fn check_owner(&self) -> Result<(), Error> {
        match self.owner.is_this() {
            true => Ok(()),
            false => Err(Error::Forked),
        }
    }

    /// Makes a call, when there is a service; again if it may be and the service died.
    pub(crate) fn call<T>(
        &self,
        again: Again,
        call: impl Fn(&Binder) -> Result<T, Status>,
    ) -> Result<T, Error> {
        self.call_noting(again, call).map(|(answer, _)| answer)
    }

    /// The same, with the number of the service that answered.
    pub(crate) fn call_noting<T>(
        &self,
        again: Again,
        call: impl Fn(&Binder) -> Result<T, Status>,
    ) -> Result<(T, u64), Error> {
        self.check_owner()?;
        let mut tries = 1;
        loop {
            let (binder, generation) = self.await_live()?;
            match call(&binder) {
                Ok(answer) => return Ok((answer, generation)),
                Err(status) if hal_binder::is_dead(&status) => {
                    self.lose(generation);
                    if again == Again::No || tries == TRIES {
                        return Err(status.into());
                    }
                    tries += 1;
                }
                Err(status) => return Err(status.into()),
            }
        }
    }

    /// Makes a call, once, and only to this one of the session's services: `None` if it is dead.
    pub(crate) fn call_of<T>(
        &self,
        generation: u64,
        call: impl FnOnce(&Binder) -> Result<T, Status>,
    ) -> Option<Result<T, Status>> {
        self.check_owner().ok()?;
        let binder = {
            let state = self.state();
            match &state.link {
                Link::Live(live) if state.generation == generation => live.binder.clone(),
                _ => return None,
            }
        };
        match call(&binder) {
            Err(status) if hal_binder::is_dead(&status) => {
                self.lose(generation);
                None
            }
            answer => Some(answer),
        }
    }

    /// Makes a call, once, and only if there is a service at this moment.
    pub(crate) fn at_once<T>(
        &self,
        call: impl Fn(&Binder) -> Result<T, Status>,
    ) -> Result<T, Error> {
        self.check_owner()?;
        let (binder, generation) = {
            let state = self.state();
            match &state.link {
                Link::Live(live) => (live.binder.clone(), state.generation),
                Link::Lost(_) | Link::Over => {
                    return Err(Error::ServiceDied("and another is not here yet".to_owned()))
                }
            }
        };
        call(&binder).map_err(|status| {
            if hal_binder::is_dead(&status) {
                self.lose(generation);
            }
            status.into()
        })
    }

    fn await_live(&self) -> Result<(Arc<Binder>, u64), Error> {
        let mut state = self.state();
        loop {
            let until = match &state.link {
                Link::Live(live) => return Ok((live.binder.clone(), state.generation)),
                Link::Lost(until) => *until,
                Link::Over => return Err(Error::ServiceDied("and the session with it".to_owned())),
            };
            let Some(left) = until.checked_duration_since(Instant::now()) else {
                return Err(Error::ServiceDied("and is not back in time".to_owned()));
            };
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Ends the session for good.
    pub(crate) fn close(&self) -> Result<(), Error> {
        self.check_owner()?;
        self.stop.stop();
        // Before the numbers are another's that this process pins with.
        self.pins_over.store(true, Ordering::SeqCst);
        self.holdings.held(None).iter().for_each(|held| held.end_pins());
        let binder = match &self.state().link {
            // It stays, so that further calls hear from the service that it is closed.
            Link::Live(live) => Some(live.binder.clone()),
            Link::Lost(_) | Link::Over => None,
        };
        match binder.map(|binder| binder.close()) {
            // Its service died and took it along.
            Some(Err(status)) if hal_binder::is_dead(&status) => {}
            Some(closed) => return Ok(closed?),
            None => {}
        }
        self.state().link = Link::Over;
        self.changed.notify_all();
        Ok(())
    }

    /// Notes a buffer that a service put into the session. If that service has died since, and another
    /// is here, the buffer is presented to it.
    pub(crate) fn hold(&self, held: &Arc<Held>, acquired_by: Option<[u8; 16]>, generation: u64) {
        let state = self.state();
        self.holdings.add(held, acquired_by);
        if self.pins_over.load(Ordering::SeqCst) {
            held.end_pins();
        }
        let late = match &state.link {
            Link::Live(live) if state.generation != generation => Some(live.binder.clone()),
            _ => None,
        };
        drop(state);
        if let Some(binder) = late {
            let mut outcome = Outcome::default();
            if self.present(&binder, &[held.id()], &mut outcome).is_err() {
                return;
            }
            outcome.missing.iter().chain(outcome.failed.keys()).for_each(|id| {
                self.holdings.remove(*id);
            });
        }
    }

    /// Frees buffers whose handles are gone, those that the session holds. Without a service there is
    /// nothing to do, nor if it dies of it: they will not be presented to the next.
    pub(crate) fn free_all(&self, ids: &[i64]) -> Result<(), Error> {
        ids.chunks(MAX_BATCH as usize).try_for_each(|part| self.free_part(part))
    }

    fn free_part(&self, ids: &[i64]) -> Result<(), Error> {
        self.check_owner()?;
        let (binder, generation, held) = {
            let state = self.state();
            // In one step with the look at the service: the next is given what is still held then.
            let held: Vec<i64> =
                ids.iter().copied().filter(|id| self.holdings.remove(*id)).collect();
            match &state.link {
                Link::Live(live) if !held.is_empty() => {
                    (live.binder.clone(), state.generation, held)
                }
                _ => return Ok(()),
            }
        };
        match binder.free(&held) {
            Err(status) if hal_binder::is_dead(&status) => {
                self.lose(generation);
                Ok(())
            }
            freed => Ok(freed?),
        }
    }

    /// Notes that a service died, and begins to look for the next; once for each.
    fn lose(&self, generation: u64) {
        let Some(lost) = self.begin_lost(generation) else { return };
        let this = self.this.clone();
        spawn(&self.this, move || reconnect(&this, lost));
    }

    fn begin_lost(&self, generation: u64) -> Option<Live> {
        let mut state = self.state();
        if state.generation != generation || !matches!(state.link, Link::Live(_)) {
            return None;
        }
        let until = Instant::now().checked_add(self.reconnect_within);
        let next = match until {
            Some(until)
                if !self.stop.within(Duration::ZERO) && !self.reconnect_within.is_zero() =>
            {
                Link::Lost(until)
            }
            _ => Link::Over,
        };
        let before = std::mem::replace(&mut state.link, next);
        drop(state);
        self.changed.notify_all();
        match before {
            Link::Live(live) => Some(live),
            Link::Lost(_) | Link::Over => None,
        }
    }

    fn give_up(&self) {
        let mut state = self.state();
        if matches!(state.link, Link::Lost(_)) {
            state.link = Link::Over;
        }
        drop(state);
        self.changed.notify_all();
    }
}
