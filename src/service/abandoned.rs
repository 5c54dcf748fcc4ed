// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Buffers that a client forgot: it closed every descriptor and mapping and never freed them. The
//! kernel's count tells, and they are taken back.
//!
//! A buffer is forgotten if two looks at it, one after the other, find nobody but the service holding
//! it, if no other session takes part in it and no token could let one in. Of a memfd nothing tells.

use std::collections::HashSet;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use crate::service::Service;
use crate::session::{Holding, Role, Session};

/// Between two looks. A buffer is never forgotten before one has passed since it was handed out.
const INTERVAL: Duration = Duration::from_secs(2);
/// How many buffers one look asks the kernel about: the rest has its turn later.
const MOST_ASKED: usize = 1024;
/// How many it goes through, those included that it need not ask about.
const MOST_SEEN: usize = 16 * MOST_ASKED;
/// How many are copied under one lock of their session.
const PIECE: usize = 128;

/// A buffer by session and id.
type Name = (i64, i64);

/// Starts the thread that looks; it ends with the service.
pub(crate) fn start(service: Weak<Service>) -> io::Result<()> {
    thread::Builder::new().name("abandoned".to_owned()).spawn(move || {
        let mut look = Look::default();
        loop {
            thread::sleep(INTERVAL);
            let Some(service) = service.upgrade() else { return };
            look.at(&service, |holding| see(&service, holding));
        }
    })?;
    Ok(())
}

/// What a look at one buffer tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    /// It cannot be forgotten, whatever the kernel says, which was not asked.
    InUse,
    /// Somebody holds it.
    Held,
    /// Nobody but the service does.
    Unheld,
}

/// What the last look at each buffer found, and where the next one goes on.
#[derive(Debug, Default)]
struct Look {
    /// Nobody held them.
    suspected: HashSet<Name>,
    /// The last that was seen; before the first, no buffer at all.
    last: Name,
}

impl Look {
    fn at(&mut self, service: &Service, mut see: impl FnMut(&Holding) -> Seen) {
        let (mut asked, mut seen) = (0usize, 0usize);
        let mut unheld = Vec::new();
        let mut end = None;
        'all: for session in service.sessions() {
            if session.id < self.last.0 {
                continue;
            }
            let mut after = if session.id == self.last.0 { self.last.1 } else { 0 };
            loop {
                // A session that ended meanwhile has nothing to forget.
                let piece = session.list(after, PIECE).unwrap_or_default();
                let Some((last, _)) = piece.last() else { break };
                after = *last;
                for (id, holding) in &piece {
                    let name = (session.id, *id);
                    let found = see(holding);
                    seen = seen.saturating_add(1);
                    asked = asked.saturating_add(usize::from(found != Seen::InUse));
                    match found {
                        Seen::InUse | Seen::Held => {}
                        Seen::Unheld if self.suspected.contains(&name) => {
                            take_back(service, &session, *id);
                        }
                        Seen::Unheld => unheld.push(name),
                    }
                    if asked >= MOST_ASKED || seen >= MOST_SEEN {
                        end = Some(name);
                        break 'all;
                    }
                }
            }
        }
        // A mark is for the next look at the same buffer and no other. What is gone leaves none.
        let part = (Bound::Excluded(self.last), end.map_or(Bound::Unbounded, Bound::Included));
        self.suspected.retain(|name| !part.contains(name));
        self.suspected.extend(unheld);
        self.last = end.unwrap_or_default();
    }
}

fn see(service: &Service, holding: &Holding) -> Seen {
    let memory = &holding.memory;
    let alone = match &holding.role {
        Role::Taker(_) => false,
        Role::Owner(tokens) => memory.takers() == 0 && !service.tokens.is_any_usable(tokens),
    };
    match alone && memory.since.elapsed() > INTERVAL && memory.has_countable_holders() {
        false => Seen::InUse,
        true if memory.is_held_by_others() => Seen::Held,
        true => Seen::Unheld,
    }
}

fn take_back(service: &Service, session: &Arc<Session>, id: i64) {
    let Ok(holding) = session.get(id) else { return };
    let (name, bytes) = (holding.memory.request.name.clone(), holding.memory.bytes);
    drop(holding);
    if service.give_up(session, id).is_ok() {
        service.counters.taken_back.fetch_add(1, Ordering::Relaxed);
        let (uid, owner) = (session.uid, &session.name);
        log::warn!(
            "buffer {id} {name:?} of {bytes} bytes: uid {uid}, session {owner:?}, closed it and \
             never freed it; it is taken back"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounts::Limits;
    use crate::reaper::Cause;
    use crate::refusal::Refusal;
    use crate::testing::{self, logged, region};
    use vendor_berth_allocator::aidl::vendor::berth::allocator::BufferDescriptor::BufferDescriptor;

    const UID: u32 = 10_001;

    /// A service with a session that has more buffers than one look asks about.
    fn crowded() -> (Arc<Service>, Arc<Session>, Vec<i64>) {
        let limits = Limits { session_buffers: 1 << 20, uid_buffers: 1 << 20, ..testing::limits() };
        let service = Service::with_limits(limits).unwrap();
        let session = testing::session(&service, UID);
        let ids = allocate(&service, &session, "", MOST_ASKED + PIECE);
        (service, session, ids)
    }

    fn allocate(service: &Service, session: &Session, name: &str, count: usize) -> Vec<i64> {
        let descriptor = BufferDescriptor { name: name.to_owned(), ..region(1) };
        let mut ids = Vec::new();
        while ids.len() < count {
            let batch = (count - ids.len()).min(64) as i32;
            let (fresh, _) = service.allocate(session, &descriptor, batch).unwrap();
            ids.extend(fresh.into_iter().map(|fresh| fresh.id));
        }
        ids
    }

    /// Looks once at every buffer, and says which of them nobody holds.
    fn look_at_all(look: &mut Look, service: &Service, unheld: &[i64]) {
        loop {
            look.at(service, |holding| match unheld.contains(&holding.memory.owner) {
                true => Seen::Unheld,
                false => Seen::Held,
            });
            if look.last == Name::default() {
                return;
            }
        }
    }

    #[test]
    fn of_many_buffers_too_one_is_taken_back_only_if_two_looks_in_a_row_find_nobody() {
        let (service, session, ids) = crowded();
        let (first, last) = (ids[0], ids[ids.len() - 1]);
        let mut look = Look::default();
        look_at_all(&mut look, &service, &[first, last]);
        look_at_all(&mut look, &service, &[]);
        look_at_all(&mut look, &service, &[first, last]);
        assert_eq!(session.held().unwrap().owned, ids.len() as u64, "held in between");
        look_at_all(&mut look, &service, &[first, last]);
        assert_eq!(session.held().unwrap().owned, ids.len() as u64 - 2);
        assert_eq!(session.get(first).unwrap_err(), Refusal::NotFound(first));
        assert_eq!(session.get(last).unwrap_err(), Refusal::NotFound(last));
    }

    #[test]
    fn what_is_gone_leaves_no_mark() {
        let (service, session, ids) = crowded();
        let other = testing::session(&service, UID);
        let mut look = Look::default();
        look_at_all(&mut look, &service, &ids);
        assert_eq!(look.suspected.len(), ids.len());
        service.end_session(session.id, Cause::Closed);
        let ids = allocate(&service, &other, "", MOST_ASKED + PIECE);
        look_at_all(&mut look, &service, &ids[..2]);
        assert_eq!(look.suspected, HashSet::from([(other.id, ids[0]), (other.id, ids[1])]));
        // Taken back.
        look_at_all(&mut look, &service, &ids[..2]);
        assert_eq!(look.suspected.len(), 0);
    }

    #[test]
    fn what_need_not_be_asked_about_takes_no_others_turn() {
        let (service, session, ids) = crowded();
        let last = ids[ids.len() - 1];
        let mut look = Look::default();
        for _ in 0..2 {
            look.at(&service, |holding| match holding.memory.owner == last {
                true => Seen::Unheld,
                false => Seen::InUse,
            });
        }
        assert_eq!(session.get(last).unwrap_err(), Refusal::NotFound(last));
        // The kernel tells nothing of who holds a region.
        assert_eq!(see(&service, &session.get(ids[0]).unwrap()), Seen::InUse);
    }

    #[test]
    fn what_is_taken_back_is_logged_once_by_name() {
        let log = logged();
        let service = testing::service();
        let session = testing::session(&service, UID);
        let ids = allocate(&service, &session, "a forgotten thumbnail", 1);
        let mut look = Look::default();
        for _ in 0..4 {
            look_at_all(&mut look, &service, &ids);
        }
        let lines = log.with("\"a forgotten thumbnail\"");
        let [line] = &lines[..] else { panic!("{lines:?}") };
        let expected = format!(
            "buffer {} \"a forgotten thumbnail\" of 4096 bytes: uid {UID}, session \"\", closed it \
             and never freed it; it is taken back",
            ids[0]
        );
        assert_eq!(*line, expected);
        assert_eq!(service.counters.taken_back.load(Ordering::Relaxed), 1);
    }
}
