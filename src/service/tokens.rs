// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Share tokens: 128 random bits that let one uid take part in one buffer, so often and so long.
//!
//! The first half of a token finds its entry, the second half is compared in constant time: how
//! long an answer takes tells nothing of a token that was guessed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use berth_kernel::random::Random;
use vendor_berth_allocator::aidl::vendor::berth::allocator::Access::Access;

use crate::lock::lock;
use crate::memory::Memory;
use crate::refusal::Refusal;

/// The half of a token that names its entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
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
struct Entry {
    proof: u64,
    recipient_uid: u32,
    uses_left: u32,
    expires: Instant,
    access: Access,
    memory: Weak<Memory>,
}

/// The tokens that can still be used.
#[derive(Debug)]
pub(crate) struct Tokens {
    random: Random,
    entries: Mutex<HashMap<TokenId, Entry>>,
}

impl Tokens {
    pub(crate) fn new(random: Random) -> Tokens {
        Tokens { random, entries: Mutex::default() }
    }

    /// How many can still be used; the expired ones are forgotten.
    pub(crate) fn usable(&self) -> usize {
        let now = Instant::now();
        let mut entries = lock(&self.entries);
        entries.retain(|_, entry| now < entry.expires);
        entries.len()
    }

    /// Whether any of these can still be used.
    pub(crate) fn is_any_usable(&self, ids: &[TokenId]) -> bool {
        if ids.is_empty() {
            return false;
        }
        let now = Instant::now();
        let entries = lock(&self.entries);
        ids.iter().any(|id| entries.get(id).is_some_and(|entry| now < entry.expires))
    }

    /// Makes a token for `memory`.
    pub(crate) fn issue(
        &self,
        memory: &Arc<Memory>,
        permit: Permit,
    ) -> Result<(TokenId, [u8; 16]), Refusal> {
        let draw = || self.random.draw().map_err(Refusal::of_kernel);
        let (id, proof) = (draw()?, draw()?);
        let expires = Instant::now().checked_add(permit.lifetime).ok_or_else(|| {
            Refusal::BadArgument(format!("a lifetime of {:?} has no end", permit.lifetime))
        })?;
        let entry = Entry {
            proof,
            recipient_uid: permit.recipient_uid,
            uses_left: permit.uses,
            expires,
            access: permit.access,
            memory: Arc::downgrade(memory),
        };
        let id = TokenId(id);
        lock(&self.entries).insert(id, entry);
        let mut token = [0; 16];
        let (first, second) = token.split_at_mut(8);
        first.copy_from_slice(&id.0.to_ne_bytes());
        second.copy_from_slice(&proof.to_ne_bytes());
        Ok((id, token))
    }

    /// Uses a token once. Every failure is the same to the caller.
    pub(crate) fn redeem(
        &self,
        token: &[u8; 16],
        caller_uid: u32,
    ) -> Result<(Arc<Memory>, Access), Refusal> {
        let (first, second) = token.split_at(8);
        let half =
            |bytes: &[u8]| bytes.try_into().map(u64::from_ne_bytes).map_err(|_| Refusal::BadToken);
        let (id, proof) = (TokenId(half(first)?), half(second)?);
        let mut entries = lock(&self.entries);
        let entry = entries.get_mut(&id).ok_or(Refusal::BadToken)?;
        // A difference of the words, not of their first byte; the compiler has no early way out.
        let proven = std::hint::black_box(entry.proof ^ proof) == 0;
        if !proven || entry.recipient_uid != caller_uid || entry.uses_left == 0 {
            return Err(Refusal::BadToken);
        }
        let memory = entry.memory.upgrade().filter(|_| Instant::now() < entry.expires);
        let Some(memory) = memory else {
            entries.remove(&id);
            return Err(Refusal::BadToken);
        };
        entry.uses_left = entry.uses_left.saturating_sub(1);
        let access = entry.access;
        if entry.uses_left == 0 {
            entries.remove(&id);
        }
        Ok((memory, access))
    }

    /// Takes tokens back.
    pub(crate) fn revoke(&self, ids: &[TokenId]) {
        let mut entries = lock(&self.entries);
        for id in ids {
            entries.remove(id);
        }
    }

    /// Keeps of `ids` those that can still be used, and forgets the others here too.
    pub(crate) fn sweep(&self, ids: &mut Vec<TokenId>) {
        let now = Instant::now();
        let mut entries = lock(&self.entries);
        ids.retain(|id| {
            let usable = entries.get(id).is_some_and(|entry| now < entry.expires);
            if !usable {
                entries.remove(id);
            }
            usable
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounts::{Accounts, Limits};
    use crate::heap::{Heap, Source};
    use crate::heap_class::HeapClass;
    use crate::heaps::Choice;
    use crate::request::{Request, Shape};

    fn memory() -> Arc<Memory> {
        let accounts =
            Arc::new(Accounts::new(Limits::of_machine(1 << 30, 4096), Default::default()));
        let request = Request::of_shape(Shape::Region(4096));
        let name = "memfd".to_owned();
        let (class, source) = (HeapClass::Shmem, Source::Memfd);
        let heap = Arc::new(Heap { name, class, max_bytes: 4096, source });
        let choice = Choice { heap: &heap, fallback: false };
        let charge = accounts.admit(1, 4096, 1, 1).unwrap();
        Arc::new(Memory::allocate(&Arc::new(request), choice, 4096, charge).unwrap())
    }

    fn permit(uses: u32, lifetime: Duration) -> Permit {
        Permit { recipient_uid: 10_002, uses, lifetime, access: Access::READ_ONLY }
    }

    const LONG: Duration = Duration::from_secs(600);

    #[test]
    fn a_token_works_as_often_as_it_says_and_for_its_uid_only() {
        let tokens = Tokens::new(Random::open().unwrap());
        let memory = memory();
        let (_, token) = tokens.issue(&memory, permit(2, LONG)).unwrap();
        assert_eq!(tokens.redeem(&token, 10_003).unwrap_err(), Refusal::BadToken);
        for _ in 0..2 {
            let (found, access) = tokens.redeem(&token, 10_002).unwrap();
            assert!(Arc::ptr_eq(&found, &memory) && access == Access::READ_ONLY);
        }
        assert_eq!(tokens.redeem(&token, 10_002).unwrap_err(), Refusal::BadToken);
        assert_eq!(tokens.usable(), 0);
    }

    #[test]
    fn every_bit_of_a_token_counts() {
        let tokens = Tokens::new(Random::open().unwrap());
        let memory = memory();
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
        let tokens = Tokens::new(Random::open().unwrap());
        let memory = memory();
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
        let tokens = Tokens::new(Random::open().unwrap());
        let memory = memory();
        tokens.issue(&memory, permit(1, Duration::ZERO)).unwrap();
        tokens.issue(&memory, permit(1, LONG)).unwrap();
        assert_eq!(tokens.usable(), 1);
    }

    #[test]
    fn a_sweep_leaves_what_can_be_used() {
        let tokens = Tokens::new(Random::open().unwrap());
        let memory = memory();
        let (expired, _) = tokens.issue(&memory, permit(1, Duration::ZERO)).unwrap();
        let (usable, _) = tokens.issue(&memory, permit(1, LONG)).unwrap();
        let mut ids = vec![expired, usable];
        tokens.sweep(&mut ids);
        assert_eq!(ids, [usable]);
        assert_eq!(tokens.usable(), 1);
    }
}
