// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! News for clients: nobody waits for a client that does not listen, and its silence keeps no news
//! from others.
//!
//! Each session has a [`Mailbox`]. Mailboxes with something in them stand in line by uid, and sending
//! threads empty them, never two those of one uid. The calls are oneway, which does not mean that
//! they return at once: over a socket the caller waits while nobody reads at the other end, until the
//! transport gives the client up for dead (10 seconds; its session then ends as by any death). The
//! kernel's driver never waits: it refuses a call whose receiver has no room left, and the news stay
//! in the mailbox for a later time.
//!
//! So a client can hold up one thread, and the news of its own uid. While all threads are held up one
//! more is started, up to [`MOST_THREADS`]; it ends when it is not needed any more.

mod line;
mod mailbox;

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;
use vendor_berth_allocator::aidl::vendor::berth::allocator::PressureLevel::PressureLevel;

use crate::lock::{lock, wait};
use line::Line;
pub(crate) use mailbox::Mailbox;
use mailbox::Then;

/// Threads that are there when nobody is held up.
const THREADS: usize = 2;
/// The most threads. Where so many uids hold one up each, others' news wait for the transport's
/// time-out.
const MOST_THREADS: usize = 64;
/// How long news may wait while all threads are at work before one more is started.
const PATIENCE: Duration = Duration::from_millis(50);

/// What happened to notices, and what is going on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Figures {
    /// Calls that clients' transports took since the service started.
    pub(crate) sent: u64,
    /// Calls that they refused: what was in them waits for a later time, or the client is dead.
    pub(crate) refused: u64,
    /// Sessions whose news wait.
    pub(crate) waiting: u64,
    /// Threads that a client holds up.
    pub(crate) held_up: u64,
}

#[derive(Debug)]
struct Work {
    line: Line,
    threads: usize,
    idle: usize,
    /// When a thread last took something up.
    progress: Instant,
    ended: bool,
}

#[derive(Debug)]
struct Senders {
    work: Mutex<Work>,
    /// For the threads that send.
    news: Condvar,
    /// For the thread that sees to it that they get on.
    delay: Condvar,
    sent: AtomicU64,
    refused: AtomicU64,
}

/// The way to the threads that send notices; they end with it.
#[derive(Debug)]
pub(crate) struct Notices(Arc<Senders>);

impl Notices {
    /// Starts the threads.
    pub(crate) fn start() -> io::Result<Notices> {
        let work = Work {
            line: Line::default(),
            threads: THREADS,
            idle: 0,
            progress: Instant::now(),
            ended: false,
        };
        let notices = Notices(Arc::new(Senders {
            work: Mutex::new(work),
            news: Condvar::new(),
            delay: Condvar::new(),
            sent: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }));
        for _ in 0..THREADS {
            notices.0.start_sender()?;
        }
        let senders = notices.0.clone();
        thread::Builder::new().name("notices".to_owned()).spawn(move || senders.oversee())?;
        Ok(notices)
    }

    /// Tells a client that owners gave up `buffers` of its session.
    pub(crate) fn shared_gone(&self, mailbox: &Arc<Mailbox>, buffers: &[i64]) {
        if mailbox.put_gone(buffers) {
            self.enqueue(mailbox);
        }
    }

    /// Tells a client how short memory is.
    pub(crate) fn pressure(&self, mailbox: &Arc<Mailbox>, level: PressureLevel) {
        if mailbox.put_pressure(level) {
            self.enqueue(mailbox);
        }
    }

    /// Lets go of a client, with what it was not told. To release a callback can take as long as to
    /// call it: a thread that may not wait leaves that to the threads here.
    pub(crate) fn end(&self, mailbox: &Arc<Mailbox>, may_wait: bool) {
        if mailbox.end() {
            match may_wait {
                true => {
                    mailbox.deliver();
                }
                false => self.enqueue(mailbox),
            }
            return;
        }
        // It is in line already, or in a thread's hands.
        let mut work = lock(&self.0.work);
        if may_wait && work.line.remove(mailbox) {
            drop(work);
            mailbox.deliver();
        } else {
            work.line.hasten(mailbox);
            self.0.announce(&work);
        }
    }

    /// How it goes.
    pub(crate) fn figures(&self) -> Figures {
        let work = lock(&self.0.work);
        Figures {
            sent: self.0.sent.load(Ordering::Relaxed),
            refused: self.0.refused.load(Ordering::Relaxed),
            waiting: work.line.waiting() as u64,
            held_up: work.line.held_up(PATIENCE) as u64,
        }
    }

    fn enqueue(&self, mailbox: &Arc<Mailbox>) {
        let mut work = lock(&self.0.work);
        work.line.add(mailbox.clone());
        self.0.announce(&work);
    }
}

impl Drop for Notices {
    fn drop(&mut self) {
        lock(&self.0.work).ended = true;
        self.0.news.notify_all();
        self.0.delay.notify_all();
    }
}

impl Senders {
    /// Says that somebody is ready; to the overseer too if that may be more than idle threads take.
    fn announce(&self, work: &Work) {
        self.news.notify_one();
        if work.idle == 0 || work.line.ready() > 1 {
            self.delay.notify_one();
        }
    }

    /// Starts a thread that is counted already.
    fn start_sender(self: &Arc<Self>) -> io::Result<()> {
        let senders = self.clone();
        let name = "notice-sender".to_owned();
        thread::Builder::new().name(name).spawn(move || senders.send()).map(drop)
    }

    /// Empties one mailbox after the other; returns when there are threads enough without this one.
    fn send(&self) {
        while let Some(mailbox) = self.await_mailbox() {
            let (then, calls) = mailbox.deliver();
            self.sent.fetch_add(calls.sent, Ordering::Relaxed);
            self.refused.fetch_add(calls.refused, Ordering::Relaxed);
            let mut work = lock(&self.work);
            work.line.served(mailbox.uid);
            match then {
                Then::Rest => {}
                Then::GoOn => work.line.add(mailbox),
                Then::TryAgain(pause) => {
                    let now = Instant::now();
                    work.line.add_later(now.checked_add(pause).unwrap_or(now), mailbox.clone());
                    if mailbox.has_ended() {
                        // It was not in line yet when its end came.
                        work.line.hasten(&mailbox);
                    }
                    self.delay.notify_one();
                }
            }
        }
    }

    /// Waits for a mailbox that can be emptied; `None` if the thread is not needed any more.
    fn await_mailbox(&self) -> Option<Arc<Mailbox>> {
        let mut work = lock(&self.work);
        loop {
            let now = Instant::now();
            match work.line.take(now) {
                Some(mailbox) if !work.ended => {
                    work.progress = now;
                    if work.line.ready() > 0 {
                        self.announce(&work);
                    }
                    return Some(mailbox);
                }
                _ if work.ended || work.idle >= THREADS => {
                    work.threads = work.threads.saturating_sub(1);
                    return None;
                }
                _ => {
                    work.idle = work.idle.saturating_add(1);
                    work = wait(&self.news, work, None);
                    work.idle = work.idle.saturating_sub(1);
                }
            }
        }
    }

    /// Has what was refused tried again, and starts a thread when those that there are do not get on.
    fn oversee(self: &Arc<Self>) {
        let mut work = lock(&self.work);
        while !work.ended {
            let now = Instant::now();
            let next = work.line.add_due(now).map(|at| at.saturating_duration_since(now));
            let mut pause = next;
            if work.line.ready() > 0 {
                if work.idle > 0 {
                    self.news.notify_one();
                } else if work.threads < MOST_THREADS {
                    let left =
                        PATIENCE.saturating_sub(now.saturating_duration_since(work.progress));
                    if left.is_zero() {
                        work.threads = work.threads.saturating_add(1);
                        work.progress = now;
                        drop(work);
                        let started = self.start_sender();
                        work = lock(&self.work);
                        if let Err(error) = started {
                            log::warn!("no thread for notices: {error}");
                            work.threads = work.threads.saturating_sub(1);
                        }
                        continue;
                    }
                    pause = Some(next.map_or(left, |next| next.min(left)));
                }
            }
            work = wait(&self.delay, work, pause);
        }
    }
}

#[cfg(test)]
mod tests;
