// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Share tokens: 128 random bits that let one uid take part in one buffer, so often and so long.
//!
//! The first half of a token finds its entry, the second half, which only the service's key can make,
//! is compared in constant time: how long an answer takes tells nothing of a token that was guessed.

use std::collections::hash_map::Entry as MapEntry;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use berth_kernel::random::Random;
use vendor_berth_allocator::aidl::vendor::berth::allocator::Access::Access;

use crate::lock::lock;
use crate::memory::Memory;
use crate::receipts::{Receipts, Taken, TokenFacts};
use crate::refusal::Refusal;

/// The half of a token that names its entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct TokenId(u64);

/// What a token permits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Permit {
    pub(crate) recipient_uid: u32,
    pub(crate) uses: u32,
    pub(crate) lifetime: Duration,
    pub(crate) access: Access,
}

#[derive(Debug)]
struct Entry<T> {
    proof: u64,
    recipient_uid: u32,
    uses_left: u32,
    expires: Instant,
    access: Access,
    what: Weak<T>,
}

/// What tokens can be for.
pub(crate) trait Shared {
    /// Its id with its owner, which nothing else has.
    fn owner_id(&self) -> i64;
}

impl Shared for Memory {
    fn owner_id(&self) -> i64 {
        self.owner
    }
}

/// The tokens that can still be used, each for one `T`.
#[derive(Debug)]
pub(crate) struct Tokens<T = Memory> {
    random: Random,
    receipts: Arc<Receipts>,
    table: Mutex<Table<T>>,
}

#[derive(Debug)]
struct Table<T> {
    entries: HashMap<TokenId, Entry<T>>,
    /// The same, the next to expire first.
    by_end: BTreeSet<(Instant, TokenId)>,
}

impl<T> Table<T> {
    fn new() -> Table<T> {
        Table { entries: HashMap::new(), by_end: BTreeSet::new() }
    }

    /// Adds a token; false if it is there.
    fn insert(&mut self, id: TokenId, entry: Entry<T>) -> bool {
        let MapEntry::Vacant(place) = self.entries.entry(id) else { return false };
        self.by_end.insert((entry.expires, id));
        place.insert(entry);
        true
    }

    fn remove(&mut self, id: TokenId) {
        if let Some(entry) = self.entries.remove(&id) {
            self.by_end.remove(&(entry.expires, id));
        }
    }

    /// Forgets what has expired, and goes through nothing else.
    fn expire(&mut self, now: Instant) {
        while let Some(&(expires, id)) = self.by_end.first() {
            if now < expires {
                return;
            }
            self.remove(id);
        }
    }
}

impl<T: Shared> Tokens<T> {
    pub(crate) fn new(random: Random, receipts: Arc<Receipts>) -> Tokens<T> {
        Tokens { random, receipts, table: Mutex::new(Table::new()) }
    }

    /// How many can still be used; the expired ones are forgotten.
    pub(crate) fn usable(&self) -> usize {
        let mut table = lock(&self.table);
        table.expire(Instant::now());
        table.entries.len()
    }

    /// Whether any of these can still be used.
    pub(crate) fn is_any_usable(&self, ids: &[TokenId]) -> bool {
        if ids.is_empty() {
            return false;
        }
        let now = Instant::now();
        let table = lock(&self.table);
        ids.iter().any(|id| table.entries.get(id).is_some_and(|entry| now < entry.expires))
    }

    /// Makes a token for `what`.
    pub(crate) fn issue(
        &self,
        what: &Arc<T>,
        permit: Permit,
    ) -> Result<(TokenId, [u8; 16]), Refusal> {
        let id = TokenId(self.random.draw().map_err(Refusal::of_kernel)?);
        let entry = self.entry(id, what, permit)?;
        let proof = entry.proof;
        if !lock(&self.table).insert(id, entry) {
            // Of 64 random bits, which were drawn before.
            return Err(Refusal::Internal("a token is there already".to_owned()));
        }
        let mut token = [0; 16];
        let (first, second) = token.split_at_mut(8);
        first.copy_from_slice(&id.0.to_ne_bytes());
        second.copy_from_slice(&proof.to_ne_bytes());
        Ok((id, token))
    }

    fn entry(&self, id: TokenId, what: &Arc<T>, permit: Permit) -> Result<Entry<T>, Refusal> {
        let expires = Instant::now().checked_add(permit.lifetime).ok_or_else(|| {
            Refusal::BadArgument(format!("a lifetime of {:?} has no end", permit.lifetime))
        })?;
        // Nobody can foresee it, and a service that follows this one knows it for its own.
        let proof = self.receipts.token_proof(&TokenFacts {
            token: id.0,
            owner: what.owner_id(),
            recipient_uid: permit.recipient_uid,
            reads_only: permit.access == Access::READ_ONLY,
        });
        Ok(Entry {
            proof,
            recipient_uid: permit.recipient_uid,
            uses_left: permit.uses,
            expires,
            access: permit.access,
            what: Arc::downgrade(what),
        })
    }

    /// Makes a token of a former service for `what` good again, for what is left of its uses and its
    /// life.
    pub(crate) fn restore(
        &self,
        what: &Arc<T>,
        token: &[u8; 16],
        permit: Permit,
    ) -> Result<TokenId, Refusal> {
        let (id, proof) = halves(token)?;
        let entry = self.entry(id, what, permit)?;
        if std::hint::black_box(entry.proof ^ proof) != 0 || permit.uses == 0 {
            return Err(Refusal::BadToken);
        }
        match lock(&self.table).insert(id, entry) {
            true => Ok(id),
            // One that is there is as good.
            false => Err(Refusal::BadToken),
        }
    }

    /// Notes that a token was used at a former service.
    pub(crate) fn was_used(&self, token: u64) {
        let mut table = lock(&self.table);
        let Some(entry) = table.entries.get_mut(&TokenId(token)) else { return };
        entry.uses_left = entry.uses_left.saturating_sub(1);
        if entry.uses_left == 0 {
            table.remove(TokenId(token));
        }
    }

    /// Uses a token once. Every failure is the same to the caller.
    pub(crate) fn redeem(
        &self,
        token: &[u8; 16],
        caller_uid: u32,
    ) -> Result<(Arc<T>, Taken), Refusal> {
        self.open(token, caller_uid, 1)
    }

    /// What a token is for, without using it.
    pub(crate) fn peek(
        &self,
        token: &[u8; 16],
        caller_uid: u32,
    ) -> Result<(Arc<T>, Taken), Refusal> {
        self.open(token, caller_uid, 0)
    }

    fn open(
        &self,
        token: &[u8; 16],
        caller_uid: u32,
        uses: u32,
    ) -> Result<(Arc<T>, Taken), Refusal> {
        let (id, proof) = halves(token)?;
        let mut table = lock(&self.table);
        let entry = table.entries.get_mut(&id).ok_or(Refusal::BadToken)?;
        // A difference of the words, not of their first byte; the compiler has no early way out.
        let proven = std::hint::black_box(entry.proof ^ proof) == 0;
        if !proven || entry.recipient_uid != caller_uid || entry.uses_left == 0 {
            return Err(Refusal::BadToken);
        }
        let what = entry.what.upgrade().filter(|_| Instant::now() < entry.expires);
        let Some(what) = what else {
            table.remove(id);
            return Err(Refusal::BadToken);
        };
        entry.uses_left = entry.uses_left.saturating_sub(uses);
        let taken = Taken { reads_only: entry.access == Access::READ_ONLY, token: id.0 };
        if entry.uses_left == 0 {
            table.remove(id);
        }
        Ok((what, taken))
    }

    /// Takes tokens back.
    pub(crate) fn revoke(&self, ids: &[TokenId]) {
        let mut table = lock(&self.table);
        for id in ids {
            table.remove(*id);
        }
    }

    /// Keeps of `ids` those that can still be used, and forgets the others here too.
    pub(crate) fn sweep(&self, ids: &mut Vec<TokenId>) {
        let now = Instant::now();
        let mut table = lock(&self.table);
        table.expire(now);
        ids.retain(|id| table.entries.contains_key(id));
    }
}

/// The half of a token that is no secret.
pub(crate) fn public_half(token: &[u8; 16]) -> Result<u64, Refusal> {
    halves(token).map(|(id, _)| id.0)
}

/// The half that finds a token's entry, and the one that proves it.
fn halves(token: &[u8; 16]) -> Result<(TokenId, u64), Refusal> {
    let (first, second) = token.split_at(8);
    let half =
        |bytes: &[u8]| bytes.try_into().map(u64::from_ne_bytes).map_err(|_| Refusal::BadToken);
    Ok((TokenId(half(first)?), half(second)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounts::{Accounts, Limits};
    use crate::heap::{Heap, Source};
    use crate::heap_class::HeapClass;
    use crate::heaps::Choice;
    use crate::memory::Order;
    use crate::request::{Request, Shape};

    fn memory_of(owner: i64) -> Arc<Memory> {
        let accounts =
            Arc::new(Accounts::new(Limits::of_machine(1 << 30, 4096), Default::default()));
        let request = Request::of_shape(Shape::Region(4096));
        let heap = Heap::new("memfd".to_owned(), HeapClass::Shmem, 4096, Source::Memfd);
        let heap = Arc::new(heap);
        let choice = Choice { heap: &heap, fallback: false };
        let charge = accounts.admit(1, 4096, 1, 1).unwrap();
        let request = &Arc::new(request);
        let order = Order { request, choice, bytes: 4096, now: Instant::now() };
        Memory::allocate(&order, charge, owner).unwrap()
    }

    fn memory() -> Arc<Memory> {
        memory_of(0)
    }

    fn tokens() -> Tokens {
        let random = Random::open().unwrap();
        let receipts = Arc::new(Receipts::fresh(&random).unwrap());
        Tokens::new(random, receipts)
    }

    fn permit(uses: u32, lifetime: Duration) -> Permit {
        Permit { recipient_uid: 10_002, uses, lifetime, access: Access::READ_ONLY }
    }

    const LONG: Duration = Duration::from_secs(600);

    #[test]
    fn a_token_works_as_often_as_it_says_and_for_its_uid_only() {
        let tokens = tokens();
        let memory = Arc::new(memory());
        let (_, token) = tokens.issue(&memory, permit(2, LONG)).unwrap();
        assert_eq!(tokens.redeem(&token, 10_003).unwrap_err(), Refusal::BadToken);
        for _ in 0..2 {
            let (found, taken) = tokens.redeem(&token, 10_002).unwrap();
            assert!(Arc::ptr_eq(&found, &memory) && taken.reads_only);
        }
        assert_eq!(tokens.redeem(&token, 10_002).unwrap_err(), Refusal::BadToken);
        assert_eq!(tokens.usable(), 0);
    }

    #[test]
    fn every_bit_of_a_token_counts() {
        let tokens = tokens();
        let memory = Arc::new(memory());
        let (_, token) = tokens.issue(&memory, permit(1, LONG)).unwrap();
        for bit in 0..128 {
            let mut wrong = token;
            wrong[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(tokens.redeem(&wrong, 10_002).unwrap_err(), Refusal::BadToken, "bit {bit}");
        }
        assert!(tokens.redeem(&token, 10_002).is_ok());
    }

    #[test]
    fn an_expired_a_revoked_and_an_orphaned_token_open_nothing() {
        let tokens = tokens();
        let memory = Arc::new(memory());
        let (_, expired) = tokens.issue(&memory, permit(1, Duration::ZERO)).unwrap();
        let (id, revoked) = tokens.issue(&memory, permit(1, LONG)).unwrap();
        tokens.revoke(&[id]);
        let (_, orphaned) = tokens.issue(&memory, permit(1, LONG)).unwrap();
        drop(memory);
        for token in [expired, revoked, orphaned] {
            assert_eq!(tokens.redeem(&token, 10_002).unwrap_err(), Refusal::BadToken);
        }
        assert_eq!(tokens.usable(), 0);
    }

    #[test]
    fn an_expired_token_is_not_counted() {
        let tokens = tokens();
        let memory = Arc::new(memory());
        tokens.issue(&memory, permit(1, Duration::ZERO)).unwrap();
        tokens.issue(&memory, permit(1, LONG)).unwrap();
        assert_eq!(tokens.usable(), 1);
    }

    #[test]
    fn whatever_ends_a_token_it_is_looked_for_no_more() {
        let tokens = tokens();
        let memory = memory();
        let issue = |uses, lifetime| tokens.issue(&memory, permit(uses, lifetime)).unwrap();
        let (_, used_up) = issue(1, LONG);
        let (revoked, _) = issue(1, LONG);
        let (_, refused) = issue(1, Duration::ZERO);
        issue(1, Duration::ZERO);
        let (used_before, _) = issue(1, LONG);
        let (stays, _) = issue(1, LONG);
        tokens.redeem(&used_up, 10_002).unwrap();
        tokens.revoke(&[revoked]);
        tokens.redeem(&refused, 10_002).unwrap_err();
        tokens.was_used(used_before.0);
        assert_eq!(tokens.usable(), 1);
        let table = lock(&tokens.table);
        assert_eq!(table.by_end.iter().map(|(_, id)| *id).collect::<Vec<_>>(), [stays]);
        assert_eq!(table.entries.keys().collect::<Vec<_>>(), [&stays]);
    }

    #[test]
    fn a_sweep_leaves_what_can_be_used() {
        let tokens = tokens();
        let memory = Arc::new(memory());
        let (expired, _) = tokens.issue(&memory, permit(1, Duration::ZERO)).unwrap();
        let (usable, _) = tokens.issue(&memory, permit(1, LONG)).unwrap();
        let mut ids = vec![expired, usable];
        tokens.sweep(&mut ids);
        assert_eq!(ids, [usable]);
        assert_eq!(tokens.usable(), 1);
    }

    #[test]
    fn a_token_of_a_former_service_is_good_for_its_buffer_uid_and_access_only_and_once() {
        let tokens = tokens();
        let (memory, other) = (memory_of(1), memory_of(2));
        let (memory, other) = (Arc::new(memory), Arc::new(other));
        let (id, token) = tokens.issue(&memory, permit(2, LONG)).unwrap();
        // As if the service had died.
        tokens.revoke(&[id]);
        let wrong = [
            tokens.restore(&other, &token, permit(2, LONG)),
            tokens.restore(&memory, &token, Permit { recipient_uid: 0, ..permit(2, LONG) }),
            tokens.restore(
                &memory,
                &token,
                Permit { access: Access::READ_WRITE, ..permit(2, LONG) },
            ),
            tokens.restore(&memory, &[0; 16], permit(2, LONG)),
            tokens.restore(&memory, &token, permit(0, LONG)),
        ];
        assert!(wrong.iter().all(|one| *one == Err(Refusal::BadToken)), "{wrong:?}");
        assert_eq!(tokens.usable(), 0);
        assert_eq!(tokens.restore(&memory, &token, permit(2, LONG)), Ok(id));
        assert_eq!(tokens.restore(&memory, &token, permit(2, LONG)), Err(Refusal::BadToken));
        tokens.was_used(id.0);
        tokens.redeem(&token, 10_002).unwrap();
        assert_eq!(tokens.redeem(&token, 10_002).unwrap_err(), Refusal::BadToken);
    }
}
