// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! What keeps the process of a lazy service: everything in the books, from open sessions to memory
//! that somebody still holds after its session. A process that ended before would forget who pays.
//!
//! Letting go of the last guard may ask the service manager and end the process, so a thread of its
//! own does it, where no lock is held.

use std::io;
use std::sync::mpsc::{channel, Sender};
use std::sync::OnceLock;
use std::thread;

use hal_binder::LazyServiceGuard;

/// Whether the process may end when nothing is in use; it may not until [`InUse::start`].
#[derive(Debug, Default)]
pub(crate) struct InUse(OnceLock<Sender<LazyServiceGuard>>);

impl InUse {
    /// From now on what is [`hold`](InUse::hold) keeps the process, and nothing else does.
    pub(crate) fn start(&self) -> io::Result<()> {
        let (to, guards) = channel();
        thread::Builder::new().name("in use".to_owned()).spawn(move || {
            guards.into_iter().for_each(drop::<LazyServiceGuard>);
        })?;
        // A second start changes nothing.
        let _ = self.0.set(to);
        Ok(())
    }

    /// Keeps the process, if it is one that ends.
    pub(crate) fn hold(&self) -> Option<Hold> {
        let to = self.0.get()?;
        Some(Hold { guard: Some(LazyServiceGuard::new()), to: to.clone() })
    }
}

/// Keeps the process.
#[derive(Debug, Clone)]
pub(crate) struct Hold {
    guard: Option<LazyServiceGuard>,
    to: Sender<LazyServiceGuard>,
}

impl Drop for Hold {
    fn drop(&mut self) {
        if let Some(guard) = self.guard.take() {
            // Without the thread it is dropped here.
            let _ = self.to.send(guard);
        }
    }
}
