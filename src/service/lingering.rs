// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Memory that was given up and that somebody held when it was last looked at, in the order in which
//! it is to be looked at again. However much of it there is, nothing here goes through all of it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::memory::Memory;

/// How soon memory is looked at again that somebody held when it was given up: a process that ends
/// closes its descriptors within moments. Each further look waits twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
/// The longest time between two looks, for a uid that gave up little.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How many looks a second the memory of one uid is worth in the end: if it has more that stays held,
/// each waits longer for its turn. A look asks the kernel, and this is a hundredth of a processor.
const LOOKS_A_SECOND: u32 = 2000;

/// Memory by its address. It keeps nothing alive, and may come to name what came after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Address(usize);

impl Address {
    pub(crate) fn of(memory: &Arc<Memory>) -> Address {
        Address(Arc::as_ptr(memory) as usize)
    }
}

/// Memory that was given up.
#[derive(Debug)]
pub(crate) struct GivenUp {
    pub(crate) memory: Arc<Memory>,
    /// Whether it may be used again.
    pub(crate) reusable: bool,
    /// Whether its contents are still to be taken from those who hold it.
    pub(crate) revoke: bool,
    /// What the next look waits for if this one finds it held.
    pause: Duration,
    /// None before it was found held for the first time.
    ticket: Option<Ticket>,
}

impl GivenUp {
    /// What was never looked at.
    pub(crate) fn new(memory: Arc<Memory>, reusable: bool, revoke: bool) -> GivenUp {
        GivenUp { memory, reusable, revoke, pause: FIRST_PAUSE, ticket: None }
    }

    /// The memory alone, if nothing here has it any more.
    pub(crate) fn into_memory(self) -> Result<Memory, GivenUp> {
        Arc::try_unwrap(self.memory).map_err(|memory| GivenUp { memory, ..self })
    }
}

/// An entry's name, which it keeps while it is looked at; those that came later have larger ones.
pub(crate) type Ticket = u64;

#[derive(Debug)]
struct Entry {
    given_up: GivenUp,
    next_look: Instant,
    /// Who pays, as of when it came here.
    uid: u32,
}

/// All of it.
#[derive(Debug, Default)]
pub(crate) struct Lingering {
    entries: BTreeMap<Ticket, Entry>,
    tickets: HashMap<Address, Ticket>,
    by_time: BTreeSet<(Instant, Ticket)>,
    by_uid: BTreeMap<u32, BTreeSet<(Instant, Ticket)>>,
    next_ticket: Ticket,
    /// What is being looked at, and whether it was to be looked at once more meanwhile.
    out: HashMap<Address, bool>,
}

impl Lingering {
    /// When there is something to look at.
    pub(crate) fn next_look(&self) -> Option<Instant> {
        self.by_time.first().map(|(when, _)| *when)
    }

    /// Takes out what is to be looked at by now, at most `count`.
    pub(crate) fn take_due(&mut self, now: Instant, count: usize) -> Vec<GivenUp> {
        let due = self.by_time.iter().take_while(|(when, _)| *when <= now);
        let tickets: Vec<Ticket> = due.take(count).map(|(_, ticket)| *ticket).collect();
        tickets.into_iter().filter_map(|ticket| self.remove(ticket)).collect()
    }

    /// Takes out what a uid pays for, at most `count`, what is looked at next first.
    pub(crate) fn take_of_uid(&mut self, uid: u32, count: usize) -> Vec<GivenUp> {
        let all = self.by_uid.get(&uid).into_iter().flatten();
        let tickets: Vec<Ticket> = all.take(count).map(|(_, ticket)| *ticket).collect();
        tickets.into_iter().filter_map(|ticket| self.remove(ticket)).collect()
    }

    /// Notes that these are looked at, until the next [`put_back`](Self::put_back).
    pub(crate) fn look_at(&mut self, batch: &[GivenUp]) {
        self.out = batch.iter().map(|one| (Address::of(&one.memory), false)).collect();
    }

    /// Ends a look: these are held still.
    pub(crate) fn put_back(&mut self, now: Instant, held: Vec<GivenUp>) {
        let out = std::mem::take(&mut self.out);
        for mut given_up in held {
            let uid = given_up.memory.uid();
            let of_uid = self.by_uid.get(&uid).map_or(0, BTreeSet::len);
            let missed = out.get(&Address::of(&given_up.memory)).copied().unwrap_or(false);
            let pause = if missed { Duration::ZERO } else { given_up.pause };
            given_up.pause = match missed {
                true => FIRST_PAUSE,
                false => given_up.pause.saturating_mul(2).min(longest_pause(of_uid)),
            };
            let next_look = now.checked_add(pause).unwrap_or(now);
            self.insert(Entry { given_up, next_look, uid });
        }
    }

    /// Has memory looked at at once, if it is here, and as often from then on as when it was given up.
    pub(crate) fn look_again(&mut self, now: Instant, which: Address) {
        if let Some(missed) = self.out.get_mut(&which) {
            *missed = true;
        }
        let Some(&ticket) = self.tickets.get(&which) else { return };
        let Some(entry) = self.entries.get_mut(&ticket) else { return };
        let before = std::mem::replace(&mut entry.next_look, now);
        entry.given_up.pause = FIRST_PAUSE;
        self.by_time.remove(&(before, ticket));
        self.by_time.insert((now, ticket));
        if let Some(of_uid) = self.by_uid.get_mut(&entry.uid) {
            of_uid.remove(&(before, ticket));
            of_uid.insert((now, ticket));
        }
    }

    /// Takes memory out for good.
    pub(crate) fn forget(&mut self, which: Address) -> Option<GivenUp> {
        let ticket = *self.tickets.get(&which)?;
        self.remove(ticket)
    }

    /// What came after a ticket, at most `count`, with the last one's ticket.
    pub(crate) fn list(&self, after: Ticket, count: usize) -> (Vec<Arc<Memory>>, Option<Ticket>) {
        let part = self.entries.range(after.saturating_add(1)..).take(count);
        let mut last = None;
        let memories = part.map(|(ticket, entry)| {
            last = Some(*ticket);
            entry.given_up.memory.clone()
        });
        (memories.collect(), last)
    }

    fn insert(&mut self, mut entry: Entry) {
        let ticket = entry.given_up.ticket.unwrap_or_else(|| {
            self.next_ticket = self.next_ticket.saturating_add(1);
            self.next_ticket
        });
        entry.given_up.ticket = Some(ticket);
        let when = entry.next_look;
        self.tickets.insert(Address::of(&entry.given_up.memory), ticket);
        self.by_time.insert((when, ticket));
        self.by_uid.entry(entry.uid).or_default().insert((when, ticket));
        self.entries.insert(ticket, entry);
    }

    fn remove(&mut self, ticket: Ticket) -> Option<GivenUp> {
        let Entry { given_up, next_look, uid } = self.entries.remove(&ticket)?;
        self.tickets.remove(&Address::of(&given_up.memory));
        self.by_time.remove(&(next_look, ticket));
        if let Some(of_uid) = self.by_uid.get_mut(&uid) {
            of_uid.remove(&(next_look, ticket));
            if of_uid.is_empty() {
                self.by_uid.remove(&uid);
            }
        }
        Some(given_up)
    }
}

/// The longest time between two looks at what one uid has so much of.
fn longest_pause(of_uid: usize) -> Duration {
    let each = Duration::from_secs(1) / LOOKS_A_SECOND;
    each.saturating_mul(u32::try_from(of_uid).unwrap_or(u32::MAX)).max(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::Service;
    use crate::testing::{region, service, session};

    const UID: u32 = 10_001;
    const OTHER: u32 = 10_002;

    fn memories(service: &Service, uid: u32, count: i32) -> Vec<Arc<Memory>> {
        let session = session(service, uid);
        let (batch, _) = service.allocate(&session, &region(1), count).unwrap();
        batch.into_iter().map(|fresh| fresh.memory).collect()
    }

    fn given_up(memory: &Arc<Memory>) -> GivenUp {
        GivenUp::new(memory.clone(), true, false)
    }

    /// As found held at a moment, for the first time.
    fn held(now: Instant, memories: &[Arc<Memory>]) -> Lingering {
        let mut lingering = Lingering::default();
        lingering.put_back(now, memories.iter().map(given_up).collect());
        lingering
    }

    fn look(lingering: &mut Lingering, now: Instant) -> Vec<GivenUp> {
        let batch = lingering.take_due(now, 64);
        lingering.look_at(&batch);
        batch
    }

    fn are(taken: &[GivenUp], expected: &[&Arc<Memory>]) -> bool {
        taken.len() == expected.len()
            && taken.iter().zip(expected).all(|(one, other)| Arc::ptr_eq(&one.memory, other))
    }

    #[test]
    fn each_look_at_what_stays_held_waits_twice_as_long_up_to_a_second() {
        let service = service();
        let memories = memories(&service, UID, 1);
        let began = Instant::now();
        let mut lingering = held(began, &memories);
        let (mut now, mut pauses) = (began, Vec::new());
        for _ in 0..12 {
            let next = lingering.next_look().unwrap();
            assert!(lingering.take_due(next - Duration::from_micros(1), 64).is_empty());
            pauses.push((next - now).as_millis());
            now = next;
            let batch = look(&mut lingering, now);
            lingering.put_back(now, batch);
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000, 1000]);
    }

    #[test]
    fn one_uid_has_so_many_looks_a_second_and_another_as_often_as_ever() {
        assert_eq!(longest_pause(0), LONGEST_PAUSE);
        assert_eq!(longest_pause(LOOKS_A_SECOND as usize), LONGEST_PAUSE);
        assert_eq!(longest_pause(10 * LOOKS_A_SECOND as usize), 10 * LONGEST_PAUSE);
        assert!(longest_pause(usize::MAX) >= LONGEST_PAUSE);
        let service = service();
        let (hoard, few) = (memories(&service, UID, 64), memories(&service, OTHER, 1));
        let mut lingering = Lingering::default();
        // More of it than there is: it is not looked into here.
        let ids = 0..4 * u64::from(LOOKS_A_SECOND);
        let far = Instant::now() + Duration::from_secs(3600);
        lingering.by_uid.insert(UID, ids.map(|ticket| (far, u64::MAX - ticket)).collect());
        let mut now = Instant::now();
        lingering.put_back(now, vec![given_up(&hoard[0]), given_up(&few[0])]);
        for _ in 0..20 {
            now += Duration::from_secs(60);
            let batch = look(&mut lingering, now);
            lingering.put_back(now, batch);
        }
        let mut waits = Vec::new();
        for uid in [UID, OTHER] {
            let first = lingering.by_uid[&uid].first().unwrap().0;
            waits.push((first - now).as_secs());
        }
        assert_eq!(waits, [4, 1]);
    }

    #[test]
    fn only_what_was_let_go_of_is_looked_at_again() {
        let service = service();
        let memories = memories(&service, UID, 8);
        let now = Instant::now();
        let mut lingering = held(now, &memories);
        lingering.look_again(now, Address::of(&memories[5]));
        assert!(are(&lingering.take_due(now, 64), &[&memories[5]]));
        // What is not here is nothing.
        lingering.look_again(now, Address::of(&memories[5]));
        assert!(lingering.take_due(now, 64).is_empty());
        assert_eq!(lingering.take_due(now + LONGEST_PAUSE, 3).len(), 3, "the rest has its turn");
        assert_eq!(lingering.take_due(now + LONGEST_PAUSE, 64).len(), 4);
        assert_eq!(lingering.next_look(), None);
    }

    #[test]
    fn what_was_let_go_of_while_it_was_looked_at_is_looked_at_once_more() {
        let service = service();
        let memories = memories(&service, UID, 2);
        let now = Instant::now() + LONGEST_PAUSE;
        let mut lingering = held(Instant::now(), &memories);
        let batch = look(&mut lingering, now);
        assert_eq!(batch.len(), 2);
        lingering.look_again(now, Address::of(&memories[1]));
        lingering.put_back(now, batch);
        assert!(are(&lingering.take_due(now, 64), &[&memories[1]]));
    }

    #[test]
    fn a_uid_is_asked_for_its_own_only() {
        let service = service();
        let (own, others) = (memories(&service, UID, 3), memories(&service, OTHER, 2));
        let mut lingering = held(Instant::now(), &[&others[..], &own[..]].concat());
        assert!(are(&lingering.take_of_uid(UID, 2), &[&own[0], &own[1]]));
        assert!(are(&lingering.take_of_uid(UID, 2), &[&own[2]]));
        assert!(lingering.take_of_uid(UID, 2).is_empty());
        assert!(lingering.forget(Address::of(&others[0])).is_some());
        assert!(lingering.forget(Address::of(&others[0])).is_none());
        assert!(are(&lingering.take_of_uid(OTHER, 64), &[&others[1]]));
        assert!(lingering.entries.is_empty() && lingering.tickets.is_empty());
        assert!(lingering.by_time.is_empty() && lingering.by_uid.is_empty());
    }

    #[test]
    fn it_is_listed_in_pieces() {
        let service = service();
        let memories = memories(&service, UID, 5);
        let mut lingering = held(Instant::now(), &memories);
        let (mut seen, mut after) = (0, 0);
        while let (piece, Some(last)) = lingering.list(after, 2) {
            assert!(!piece.is_empty() && piece.len() <= 2);
            seen += piece.len();
            after = last;
            // What is looked at meanwhile is not seen twice.
            let batch = look(&mut lingering, Instant::now() + LONGEST_PAUSE);
            lingering.put_back(Instant::now(), batch);
        }
        assert_eq!(seen, 5);
    }
}
