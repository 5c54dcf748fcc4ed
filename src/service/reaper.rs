// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! The end of sessions whose clients are gone, on a thread of its own: neither a Binder thread that
//! delivers the news of a death nor one that drops a last reference closes a client's buffers.

use std::io;
use std::sync::mpsc::{channel, Receiver, Sender};
use std::sync::Weak;
use std::thread;

use crate::service::Service;

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The client called `close`.
    Closed,
    /// The last reference to the session object was released.
    Released,
    /// The process of the callback died.
    Died,
}

/// The way to the reaper's thread. What waits there is bounded by the number of sessions: each is
/// reported at most twice, by its object and by its callback.
#[derive(Debug)]
pub(crate) struct Reaper(Sender<(i64, Cause)>);

/// The reaper's end of the way, until the thread starts.
pub(crate) type Reports = Receiver<(i64, Cause)>;

impl Reaper {
    pub(crate) fn new() -> (Reaper, Reports) {
        let (sender, receiver) = channel();
        (Reaper(sender), receiver)
    }

    /// Starts the thread for a service; it ends with the service.
    pub(crate) fn start(reports: Reports, service: Weak<Service>) -> io::Result<()> {
        thread::Builder::new().name("reaper".to_owned()).spawn(move || {
            for (session, cause) in reports {
                let Some(service) = service.upgrade() else { return };
                service.end_session(session, cause);
            }
        })?;
        Ok(())
    }

    /// Asks for the end of a session.
    pub(crate) fn report(&self, session: i64, cause: Cause) {
        if self.0.send((session, cause)).is_err() {
            log::debug!("session {session} outlived the service");
        }
    }
}
