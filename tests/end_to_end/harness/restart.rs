// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! The HAL dies and is started again, as init would.

use crate::harness::{Client, Device};
use crate::protocol::{Answer, Ask, Forgery, Handle, Restart, Restored};

impl Device {
    /// Kills the service as nobody can prevent, and waits until it is gone.
    pub fn kill_service(&self) {
        let mut service = self.service.borrow_mut();
        service.kill().expect("SIGKILL");
        service.wait().expect("its end");
    }

    /// Starts the service that follows one that was killed.
    pub fn start_service(&self) {
        *self.service.borrow_mut() = self.stage.service().spawn().expect("the HAL");
    }

    /// Kills the service and starts the one that follows it.
    pub fn restart_service(&self) {
        self.kill_service();
        self.start_service();
    }
}

/// Clients that the service dies under.
impl Client {
    /// Opens a session that looks for the service no longer than that, in milliseconds.
    pub fn open_reconnecting(&self, name: &str, milliseconds: u64) {
        self.done(Ask::Restart(Restart::Open(name.to_owned(), milliseconds))).expect("a session");
    }

    /// Waits until the session is told that the service died.
    pub fn await_lost(&self) {
        self.done(Ask::Restart(Restart::AwaitLost)).expect("the news");
    }

    /// Waits until the session is told that it has a service again.
    pub fn await_restored(&self) -> Restored {
        match self.ask(Ask::Restart(Restart::AwaitRestored)).expect("the news") {
            Answer::Restored(restored) => restored,
            other => panic!("{other:?}"),
        }
    }

    /// Waits until the session is told that it is over.
    pub fn await_given_up(&self) {
        self.done(Ask::Restart(Restart::AwaitGivenUp)).expect("the news");
    }

    /// How many threads the client has that look for the service.
    pub fn reconnecting_threads(&self) -> usize {
        self.count(Ask::Restart(Restart::Threads))
    }

    /// Presents a buffer to the service in a way in which it is not: the error, 0 if there is none.
    pub fn forge(&self, handle: Handle, forgery: Forgery) -> i32 {
        self.count(Ask::Restart(Restart::Forge(handle, forgery))) as i32
    }
}
