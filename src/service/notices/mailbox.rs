// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! What one session is to be told.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use hal_binder::{DeathLink, Strong};
use vendor_berth_allocator::aidl::vendor::berth::allocator::{
    IAllocatorCallback, PressureLevel::PressureLevel,
};

use crate::lock::lock;
use crate::session::Session;

/// After a refusal, when it is tried again; each further time after twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest time until it is tried again.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// The most ids that wait; when there are more, the client is told to look for itself.
const MOST_IDS: usize = IAllocatorCallback::MAX_GONE_IDS as usize;

type Callback = Strong<dyn IAllocatorCallback::IAllocatorCallback>;

/// The service's hold on a client.
struct Client {
    callback: Callback,
    death: Option<DeathLink>,
    /// Counts against its uid's limit until all of it is released.
    _session: Arc<Session>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("is_watched", &self.death.is_some()).finish()
    }
}

/// What a client is to be told: news of one kind become one.
#[derive(Debug, Default)]
struct News {
    gone: Vec<i64>,
    /// More than [`MOST_IDS`] are gone.
    too_many_gone: bool,
    pressure: Option<PressureLevel>,
}

#[derive(Debug)]
struct Content {
    /// `None` once it is released.
    client: Option<Client>,
    news: News,
    /// The level that the client knows of.
    told: PressureLevel,
    /// It stands in line, waits to be tried again, or is being emptied.
    in_line: bool,
    /// The session ended.
    ended: bool,
    pause: Duration,
}

/// What is to be done with a mailbox that was emptied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    /// Nothing.
    Rest,
    /// More came meanwhile.
    GoOn,
    /// The transport took no more: after so long.
    TryAgain(Duration),
}

/// How many calls were made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Calls {
    pub(super) sent: u64,
    pub(super) refused: u64,
}

/// What one session is to be told. It owns the service's hold on the client; the session does not,
/// so that the release of the session's object cannot race with the news of the client's death.
#[derive(Debug)]
pub(crate) struct Mailbox {
    pub(super) uid: u32,
    content: Mutex<Content>,
}

impl Mailbox {
    /// The mailbox of a session whose client listens at `callback`.
    pub(crate) fn new(session: Arc<Session>, callback: Callback) -> Mailbox {
        let uid = session.uid;
        let content = Content {
            client: Some(Client { callback, death: None, _session: session }),
            news: News::default(),
            told: PressureLevel::NORMAL,
            in_line: false,
            ended: false,
            pause: FIRST_PAUSE,
        };
        Mailbox { uid, content: Mutex::new(content) }
    }

    /// Keeps the watch over the client's life with the client.
    pub(crate) fn watch(&self, death: DeathLink) {
        let mut content = lock(&self.content);
        match content.client.as_mut() {
            Some(client) => client.death = Some(death),
            // It died and is released already. The link goes after the lock.
            None => drop((content, death)),
        }
    }

    /// Puts ids in; true if the mailbox is to be put in line.
    pub(super) fn put_gone(&self, buffers: &[i64]) -> bool {
        let mut content = lock(&self.content);
        content.news.add_gone(buffers);
        content.is_due()
    }

    /// Puts a level in, in place of one that waits; true if the mailbox is to be put in line.
    pub(super) fn put_pressure(&self, level: PressureLevel) -> bool {
        let mut content = lock(&self.content);
        content.news.pressure = (level != content.told).then_some(level);
        content.is_due()
    }

    /// Throws the news away; true if the mailbox is to be put in line, to be released.
    pub(super) fn end(&self) -> bool {
        let mut content = lock(&self.content);
        content.ended = true;
        content.is_due()
    }

    /// Whether the session ended.
    pub(super) fn has_ended(&self) -> bool {
        lock(&self.content).ended
    }

    /// Sends what is in it, or releases the client if the session ended. It takes as long as the
    /// client's transport likes.
    pub(super) fn deliver(&self) -> (Then, Calls) {
        let mut calls = Calls::default();
        let mut content = lock(&self.content);
        let callback = match &content.client {
            Some(client) if !content.ended => client.callback.clone(),
            _ => {
                let client = content.client.take();
                drop(content);
                drop(client);
                return (Then::Rest, calls);
            }
        };
        let news = std::mem::take(&mut content.news);
        let told_before = content.told;
        content.told = news.pressure.unwrap_or(told_before);
        drop(content);
        let left = news.send(&callback, &mut calls);
        drop(callback);
        (lock(&self.content).emptied(left, told_before), calls)
    }
}

impl Content {
    /// Whether it has to be put in line now; from then on it is there.
    fn is_due(&mut self) -> bool {
        let due = (self.ended || !self.news.is_empty()) && !self.in_line;
        self.in_line |= due;
        due
    }

    /// Takes back what was refused.
    fn emptied(&mut self, left: News, told_before: PressureLevel) -> Then {
        let refused = !left.is_empty();
        if left.pressure.is_some() {
            self.told = told_before;
            let latest = self.news.pressure.or(left.pressure);
            self.news.pressure = latest.filter(|level| *level != told_before);
        }
        self.news.too_many_gone |= left.too_many_gone;
        self.news.add_gone(&left.gone);
        if self.ended {
            return Then::GoOn;
        }
        if refused {
            let pause = self.pause;
            self.pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
            return Then::TryAgain(pause);
        }
        self.pause = FIRST_PAUSE;
        self.in_line = !self.news.is_empty();
        if self.in_line {
            Then::GoOn
        } else {
            Then::Rest
        }
    }
}

impl News {
    fn is_empty(&self) -> bool {
        self.gone.is_empty() && !self.too_many_gone && self.pressure.is_none()
    }

    fn add_gone(&mut self, buffers: &[i64]) {
        self.too_many_gone |= self.gone.len().saturating_add(buffers.len()) > MOST_IDS;
        match self.too_many_gone {
            true => self.gone = Vec::new(),
            false => self.gone.extend_from_slice(buffers),
        }
    }

    /// Tells it, and answers what was refused. Of a client that is dead nothing is left.
    fn send(mut self, callback: &Callback, calls: &mut Calls) -> News {
        if self.too_many_gone || !self.gone.is_empty() {
            match calls.count(callback.onSharedBufferGone(&self.gone)) {
                Call::Sent => (self.gone, self.too_many_gone) = (Vec::new(), false),
                Call::Refused => return self,
                Call::Dead => return News::default(),
            }
        }
        if let Some(level) = self.pressure {
            if calls.count(callback.onPressure(level)) != Call::Refused {
                self.pressure = None;
            }
        }
        self
    }
}

/// What became of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Call {
    Sent,
    Refused,
    Dead,
}

impl Calls {
    fn count(&mut self, told: hal_binder::Result<()>) -> Call {
        match told {
            Ok(()) => {
                self.sent = self.sent.saturating_add(1);
                Call::Sent
            }
            Err(status) => {
                log::debug!("a client was not told: {}", hal_binder::message(&status));
                self.refused = self.refused.saturating_add(1);
                if hal_binder::is_dead(&status) {
                    Call::Dead
                } else {
                    Call::Refused
                }
            }
        }
    }
}
