// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! The second look at a pool's table, on a thread of its own. What contradicts the claims at first may
//! be somebody's unfinished act; what is still the same a little later is put right.

use std::io;
use std::sync::mpsc::{channel, Receiver, Sender};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use berth_shared::pool::GRACE;

use crate::pool::Pool;
use crate::service::Service;

/// Before each look.
const PAUSE: Duration = GRACE.saturating_add(Duration::from_millis(10));
/// How often a pool is looked at that always has something suspicious: somebody may be writing to it
/// all the time.
const MOST_LOOKS: u32 = 4;

/// The way to the mender's thread. What waits there is bounded by the number of pools: none is there
/// twice.
#[derive(Debug)]
pub(crate) struct Mender(Sender<Weak<Pool>>);

/// The mender's end of the way, until the thread starts.
pub(crate) type Suspicions = Receiver<Weak<Pool>>;

impl Mender {
    pub(crate) fn new() -> (Mender, Suspicions) {
        let (sender, receiver) = channel();
        (Mender(sender), receiver)
    }

    /// Starts the thread for a service; it ends with the service.
    pub(crate) fn start(suspicions: Suspicions, service: Weak<Service>) -> io::Result<()> {
        thread::Builder::new().name("mender".to_owned()).spawn(move || {
            while let Ok(first) = suspicions.recv() {
                let mut waiting = vec![(first, 0)];
                while !waiting.is_empty() {
                    thread::sleep(PAUSE);
                    let Some(service) = service.upgrade() else { return };
                    waiting.retain_mut(|(pool, looks)| look_at(&service, pool, looks));
                    // Those that came meanwhile have not waited for long enough.
                    waiting.extend(suspicions.try_iter().map(|pool| (pool, 0)));
                }
            }
        })?;
        Ok(())
    }

    /// Has a pool looked at again, if that is not to come already.
    pub(crate) fn suspect(&self, pool: &Arc<Pool>) {
        if pool.begin_mending() && self.0.send(Arc::downgrade(pool)).is_err() {
            log::debug!("pool {} outlived the service", pool.id);
        }
    }
}

/// Whether a pool has to be looked at again.
fn look_at(service: &Service, pool: &Weak<Pool>, looks: &mut u32) -> bool {
    let Some(pool) = pool.upgrade() else { return false };
    *looks = looks.saturating_add(1);
    // Before the look: what somebody finds after it is news.
    pool.end_mending();
    let mended = pool.restore();
    if mended.slots > 0 {
        log::info!("{} slots of pool {} were put right", mended.slots, pool.id);
    }
    service.give_up_of_pool(&pool, mended.gone);
    mended.suspicious && *looks < MOST_LOOKS && pool.begin_mending()
}
