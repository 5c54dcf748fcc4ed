// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Who is told next.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::mailbox::Mailbox;

/// The mailboxes of one uid.
#[derive(Debug, Default)]
struct OfUid {
    waiting: VecDeque<Arc<Mailbox>>,
    /// Since when a thread has been sending to it.
    served_since: Option<Instant>,
}

/// Mailboxes with something in them, each once: as many as there are sessions, at most.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// Those with news and those that are served.
    uids: HashMap<u32, OfUid>,
    /// Those with news that nobody serves, the one that waits longest first.
    ready: VecDeque<u32>,
    /// What was refused, and when it is to be tried again.
    later: Vec<(Instant, Arc<Mailbox>)>,
}

impl Line {
    /// Puts a mailbox behind the others of its uid.
    pub(super) fn add(&mut self, mailbox: Arc<Mailbox>) {
        let uid = mailbox.uid;
        let own = self.uids.entry(uid).or_default();
        if own.waiting.is_empty() && own.served_since.is_none() {
            self.ready.push_back(uid);
        }
        own.waiting.push_back(mailbox);
    }

    /// Puts a mailbox back for some time.
    pub(super) fn add_later(&mut self, at: Instant, mailbox: Arc<Mailbox>) {
        self.later.push((at, mailbox));
    }

    /// Takes a mailbox out of the line; false if it is in a thread's hands.
    pub(super) fn remove(&mut self, mailbox: &Arc<Mailbox>) -> bool {
        let is_other = |one: &Arc<Mailbox>| !Arc::ptr_eq(one, mailbox);
        let mut found = self.later.len();
        self.later.retain(|(_, one)| is_other(one));
        found = found.saturating_sub(self.later.len());
        if let Some(own) = self.uids.get_mut(&mailbox.uid) {
            found = found.saturating_add(own.waiting.len());
            own.waiting.retain(is_other);
            found = found.saturating_sub(own.waiting.len());
            if own.waiting.is_empty() && own.served_since.is_none() {
                self.uids.remove(&mailbox.uid);
                self.ready.retain(|uid| *uid != mailbox.uid);
            }
        }
        found > 0
    }

    /// Does not let a mailbox wait until it is to be tried again.
    pub(super) fn hasten(&mut self, mailbox: &Arc<Mailbox>) {
        let found = self.later.iter().position(|(_, one)| Arc::ptr_eq(one, mailbox));
        if let Some(place) = found {
            let (_, mailbox) = self.later.swap_remove(place);
            self.add(mailbox);
        }
    }

    /// Lets those stand in line whose time has come; answers when the next one's comes.
    pub(super) fn add_due(&mut self, now: Instant) -> Option<Instant> {
        while let Some(place) = self.later.iter().position(|(at, _)| *at <= now) {
            let (_, mailbox) = self.later.swap_remove(place);
            self.add(mailbox);
        }
        self.later.iter().map(|(at, _)| *at).min()
    }

    /// How many mailboxes can be taken.
    pub(super) fn ready(&self) -> usize {
        self.ready.len()
    }

    /// The next mailbox of a uid that nobody serves; it is served until [`served`](Self::served).
    pub(super) fn take(&mut self, now: Instant) -> Option<Arc<Mailbox>> {
        let own = self.uids.get_mut(&self.ready.pop_front()?)?;
        own.served_since = Some(now);
        own.waiting.pop_front()
    }

    /// Ends the service of a uid.
    pub(super) fn served(&mut self, uid: u32) {
        let Some(own) = self.uids.get_mut(&uid) else { return };
        own.served_since = None;
        match own.waiting.is_empty() {
            true => drop(self.uids.remove(&uid)),
            false => self.ready.push_back(uid),
        }
    }

    /// How many mailboxes wait.
    pub(super) fn waiting(&self) -> usize {
        let waiting = self.uids.values().map(|own| own.waiting.len());
        waiting.fold(self.later.len(), usize::saturating_add)
    }

    /// How many uids have been served for longer than this.
    pub(super) fn held_up(&self, patience: Duration) -> usize {
        let since = self.uids.values().filter_map(|own| own.served_since);
        since.filter(|since| since.elapsed() > patience).count()
    }
}
