// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Waiting until a time has passed, or somebody says that it is enough.

use std::io::{self, IsTerminal, Read};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::termios::{tcgetattr, tcsetattr, LocalFlags, SetArg, Termios};

use crate::failure::Failure;

/// The signals that end a wait in good order.
const ENOUGH: [Signal; 3] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];

/// Hears Ctrl-C, and what else tells a program to end.
#[derive(Debug)]
pub struct Stop {
    sender: Sender<()>,
    receiver: Receiver<()>,
}

impl Stop {
    /// Listens from here on. Threads that are there already would take the signals, so this comes
    /// first.
    pub fn listen() -> Result<Stop, Failure> {
        let signals: SigSet = ENOUGH.into_iter().collect();
        let blocked = signals.thread_block();
        blocked.map_err(|errno| Failure::Other(format!("signals: {errno}")))?;
        let (sender, receiver) = mpsc::channel();
        let heard = sender.clone();
        start_thread("signals", move || while signals.wait().is_ok() && heard.send(()).is_ok() {})?;
        Ok(Stop { sender, receiver })
    }

    /// Waits for at most so long; whether it was told to stop.
    pub fn wait(&self, at_most: Duration) -> bool {
        self.receiver.recv_timeout(at_most).is_ok()
    }

    /// Stops at the key `q` too, if standard input is a terminal.
    pub fn at_key(&self) -> Result<Option<KeyByKey>, Failure> {
        if !io::stdin().is_terminal() {
            return Ok(None);
        }
        let Some(terminal) = KeyByKey::new() else { return Ok(None) };
        let heard = self.sender.clone();
        start_thread("keys", move || {
            let keys = io::stdin().lock().bytes().map_while(Result::ok);
            for _ in keys.filter(|key| b"qQ".contains(key)) {
                let _ = heard.send(());
            }
        })?;
        Ok(Some(terminal))
    }
}

fn start_thread(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), Failure> {
    let started = thread::Builder::new().name(name.to_owned()).spawn(work);
    started.map(drop).map_err(|error| Failure::Other(format!("no thread: {error}")))
}

/// A terminal that gives each key at once and shows none; as it was when dropped.
#[derive(Debug)]
pub struct KeyByKey {
    before: Termios,
}

impl KeyByKey {
    fn new() -> Option<KeyByKey> {
        let before = tcgetattr(io::stdin()).ok()?;
        let mut changed = before.clone();
        changed.local_flags.remove(LocalFlags::ICANON | LocalFlags::ECHO);
        tcsetattr(io::stdin(), SetArg::TCSANOW, &changed).ok()?;
        Some(KeyByKey { before })
    }
}

impl Drop for KeyByKey {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing.
        let _ = tcsetattr(io::stdin(), SetArg::TCSANOW, &self.before);
    }
}
