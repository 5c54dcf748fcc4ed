// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Buffers that a client forgot: it closed every descriptor and mapping and never freed them. The
//! kernel's count tells, and they are taken back.
//!
//! A buffer is forgotten if two looks find nobody but the service holding it, if no other session
//! takes part in it and no token could let one in. Of a memfd nothing tells.

use std::collections::HashSet;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use crate::service::Service;
use crate::session::{Holding, Role, Session};

/// Between two looks. A buffer is never forgotten before one has passed since it was handed out.
const INTERVAL: Duration = Duration::from_secs(2);
/// How many buffers one look asks the kernel about: the rest has its turn later.
const MOST_LOOKS: usize = 1024;

/// A buffer by session and id.
type Name = (i64, i64);

/// Starts the thread that looks; it ends with the service.
pub(crate) fn start(service: Weak<Service>) -> io::Result<()> {
    thread::Builder::new().name("abandoned".to_owned()).spawn(move || {
        let mut look = Look::default();
        loop {
            thread::sleep(INTERVAL);
            let Some(service) = service.upgrade() else { return };
            look.at(&service);
        }
    })?;
    Ok(())
}

/// What the last look found, and where the next one goes on.
#[derive(Debug, Default)]
struct Look {
    suspected: HashSet<Name>,
    next: Option<Name>,
}

impl Look {
    fn at(&mut self, service: &Service) {
        let mut suspected = HashSet::new();
        let mut left = MOST_LOOKS;
        let start = self.next.take().unwrap_or((0, 0));
        for session in service.sessions() {
            if session.id < start.0 {
                continue;
            }
            let after = if session.id == start.0 { start.1 } else { 0 };
            // A session that ended meanwhile has nothing to forget.
            let part = session.list(after, left).unwrap_or_default();
            for (id, holding) in &part {
                let name = (session.id, *id);
                if !is_forgotten(service, holding) {
                    continue;
                }
                if self.suspected.contains(&name) {
                    take_back(service, &session, *id);
                } else {
                    suspected.insert(name);
                }
            }
            left = left.saturating_sub(part.len());
            if left == 0 {
                self.next = part.last().map(|(id, _)| (session.id, *id));
                break;
            }
        }
        // What is suspected beyond the part that this look saw keeps its first mark.
        let seen_all = self.next.is_none() && start == (0, 0);
        if !seen_all {
            suspected.extend(self.suspected.drain());
        }
        self.suspected = suspected;
    }
}

fn is_forgotten(service: &Service, holding: &Holding) -> bool {
    let memory = &holding.memory;
    let alone = match &holding.role {
        Role::Taker(_) => false,
        Role::Owner(tokens) => memory.takers() == 0 && !service.tokens.is_any_usable(tokens),
    };
    alone
        && memory.since.elapsed() > INTERVAL
        && memory.has_countable_holders()
        && !memory.is_held_by_others()
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
