// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Pools between processes: who takes part in which, and what sessions ask of them. After the answer
//! to a join the processes need the service no more, but to learn of others, to resize, and to be
//! missed when they die.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, Weak};

use berth_kernel::random::Random;
use berth_shared::pool::{Bounds, MAX_PARTICIPANTS, MAX_SLOTS};
use hal_binder::ParcelFileDescriptor;
use vendor_berth_allocator::aidl::vendor::berth::allocator::{
    Access::Access, AllocationFlag::AllocationFlag, BufferDescriptor::BufferDescriptor,
    BufferPool::BufferPool, PoolClaims::PoolClaims, PoolOptions,
    PoolOptions::PoolOptions as Options, PoolSlot::PoolSlot,
};

use crate::accounts::within;
use crate::lock::lock;
use crate::pool::{pages_bytes, Mended, News, Pool, PoolFigures, Seat, Withdrawn};
use crate::receipts::Receipts;
use crate::refusal::{Refusal, Scope};
use crate::service::{Fresh, Service};
use crate::session::{Holding, Session};
use crate::tokens::{Permit, TokenId, Tokens};
use crate::wire;

/// A pool does not outlive the service, and so its buffers come without receipts.
const NO_RECEIPT: i64 = 0;

/// A session's part in a pool.
#[derive(Debug, Clone)]
struct Part {
    pool: Arc<Pool>,
    number: u32,
    access: Access,
}

impl Part {
    fn is_owner(&self, session: i64) -> bool {
        self.pool.owner.id == session
    }
}

/// A pool, for dumps. It keeps nothing alive.
#[derive(Debug, Clone)]
pub(crate) struct PoolView {
    /// As its owner has it.
    pub(crate) id: i64,
    /// The owner's session.
    pub(crate) owner: i64,
    /// The sessions of the other participants; one that takes part twice is there twice.
    pub(crate) others: Vec<i64>,
    pool: Weak<Pool>,
}

impl PoolView {
    /// The buffers of its slots by their ids; none of a pool that is no more.
    pub(crate) fn buffers(&self) -> Vec<(i64, Holding)> {
        self.pool.upgrade().map_or_else(Vec::new, |pool| pool.buffers())
    }
}

/// By session and id.
#[derive(Debug, Default)]
struct Parts {
    all: BTreeMap<(i64, i64), Part>,
    /// How many of them are owners'.
    owned: usize,
}

impl Parts {
    fn insert(&mut self, name: (i64, i64), part: Part) {
        self.owned = self.owned.saturating_add(usize::from(part.is_owner(name.0)));
        self.all.insert(name, part);
    }

    fn remove(&mut self, name: &(i64, i64)) -> Option<Part> {
        let part = self.all.remove(name)?;
        self.owned = self.owned.saturating_sub(usize::from(part.is_owner(name.0)));
        Some(part)
    }

    fn check_room(&self, session: i64) -> Result<(), Refusal> {
        let used = self.all.range(all_of(session)).count() as u64;
        let limit = PoolOptions::MAX_POOLS.unsigned_abs().into();
        within(Scope::Session, "pools", used, 1, limit).map_err(Refusal::OverQuota)
    }
}

/// All pools, by the sessions that take part: session and id.
#[derive(Debug)]
pub(crate) struct Pools {
    parts: Mutex<Parts>,
    pub(crate) tokens: Tokens<Pool>,
}

impl Pools {
    pub(crate) fn new(random: Random, receipts: Arc<Receipts>) -> Pools {
        Pools { parts: Mutex::default(), tokens: Tokens::new(random, receipts) }
    }

    /// How many pools there are, which anybody may ask as often as it likes.
    pub(crate) fn count(&self) -> usize {
        lock(&self.parts).owned
    }

    /// How many pools there are, and what they hold together.
    pub(crate) fn figures(&self) -> (usize, PoolFigures) {
        let owned: Vec<Arc<Pool>> = lock(&self.parts)
            .all
            .iter()
            .filter(|((session, _), part)| part.is_owner(*session))
            .map(|(_, part)| part.pool.clone())
            .collect();
        let mut sum = PoolFigures::default();
        for one in owned.iter().map(|pool| pool.figures()) {
            sum.slots = sum.slots.saturating_add(one.slots);
            sum.participants = sum.participants.saturating_add(one.participants);
            sum.pages_bytes = sum.pages_bytes.saturating_add(one.pages_bytes);
        }
        (owned.len(), sum)
    }

    /// All pools whose owners take part still.
    pub(crate) fn views(&self) -> Vec<PoolView> {
        // What it costs to sort them is not for the lock.
        let parts: Vec<_> = lock(&self.parts)
            .all
            .iter()
            .map(|(&(session, id), part)| {
                (session, id, part.pool.id, part.is_owner(session), Arc::downgrade(&part.pool))
            })
            .collect();
        let mut views = BTreeMap::new();
        let mut others: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
        for (session, id, key, is_owner, pool) in parts {
            if is_owner {
                views.insert(key, PoolView { id, owner: session, others: Vec::new(), pool });
            } else {
                others.entry(key).or_default().push(session);
            }
        }
        for (key, sessions) in others {
            if let Some(view) = views.get_mut(&key) {
                view.others = sessions;
            }
        }
        views.into_values().collect()
    }

    fn part(&self, session: i64, id: i64) -> Result<Part, Refusal> {
        lock(&self.parts).all.get(&(session, id)).cloned().ok_or(Refusal::PoolNotFound(id))
    }

    fn check_room(&self, session: i64) -> Result<(), Refusal> {
        lock(&self.parts).check_room(session)
    }

    fn insert(&self, session: i64, id: i64, part: Part) -> Result<(), Refusal> {
        let mut parts = lock(&self.parts);
        parts.check_room(session)?;
        parts.insert((session, id), part);
        Ok(())
    }

    fn remove(&self, session: i64, id: i64) -> Result<Part, Refusal> {
        lock(&self.parts).remove(&(session, id)).ok_or(Refusal::PoolNotFound(id))
    }

    /// Forgets everybody's part in a pool.
    fn forget(&self, pool: &Arc<Pool>) {
        let mut parts = lock(&self.parts);
        let gone: Vec<_> = parts
            .all
            .iter()
            .filter(|(_, part)| Arc::ptr_eq(&part.pool, pool))
            .map(|(name, _)| *name)
            .collect();
        let gone: Vec<_> = gone.iter().filter_map(|name| parts.remove(name)).collect();
        // Perhaps the last references: they go after the lock.
        drop(parts);
        drop(gone);
    }

    fn take_all_of(&self, session: i64) -> Vec<Part> {
        let mut parts = lock(&self.parts);
        let ids: Vec<_> = parts.all.range(all_of(session)).map(|(name, _)| *name).collect();
        ids.iter().filter_map(|name| parts.remove(name)).collect()
    }
}

fn all_of(session: i64) -> std::ops::RangeInclusive<(i64, i64)> {
    (session, i64::MIN)..=(session, i64::MAX)
}

impl Service {
    /// Makes a pool, with its creator as the first participant.
    pub(crate) fn create_pool(
        &self,
        session: &Arc<Session>,
        descriptor: &BufferDescriptor,
        options: &Options,
    ) -> Result<BufferPool, Refusal> {
        if descriptor.flags & AllocationFlag::PURGEABLE.0 != 0 {
            let why = "a pool of purgeable regions: nobody could pin its slots";
            return Err(Refusal::Unsupported(why.to_owned()));
        }
        let slots = in_range("slots", options.slots, 1, MAX_SLOTS)?;
        let most = in_range("maxParticipants", options.maxParticipants, 1, MAX_PARTICIPANTS)?;
        let held = match in_range("maxHeld", options.maxHeld, 0, MAX_SLOTS)? {
            0 => MAX_SLOTS,
            held => held,
        };
        let bounds = Bounds { participants: most, held };
        self.pools.check_room(session.id)?;
        // All pages that it can come to have, and their descriptors.
        let descriptors = u64::from(most).saturating_add(2);
        let kept = session.keep(descriptors)?;
        let charge = self.admit(session.uid, pages_bytes(most), descriptors, 1)?;
        let id = self.new_id();
        let pool = Pool::new(id, session.clone(), descriptor.clone(), bounds, (charge, kept))?;
        let pool = Arc::new(pool);
        let mut buffers = self.pool_buffers(session, descriptor, slots)?;
        let result = pool
            .resize(slots, &mut buffers)
            .and_then(|()| self.take_part(session, &pool, Access::READ_WRITE));
        self.give_up_of_pool(&pool, buffers);
        if result.is_err() {
            self.close_pool(&pool);
        }
        result
    }

    /// Makes a token for a pool that the session created.
    pub(crate) fn share_pool(
        &self,
        session: &Session,
        id: i64,
        permit: Permit,
    ) -> Result<[u8; 16], Refusal> {
        let part = self.part_of(session, id)?;
        if !part.is_owner(session.id) {
            return Err(Refusal::Unsupported(format!("sharing pool {id} on")));
        }
        part.pool.check_access(permit.access).map_err(|refusal| gone(refusal, id))?;
        let pool = &part.pool;
        let (token_id, token) = self.pools.tokens.issue(pool, permit)?;
        let max_tokens = self.accounts.limits().session_tokens;
        let sweep = |ids: &mut Vec<TokenId>| self.sweep_tokens(ids);
        let noted = session.add_pool_token(pool.id, token_id, max_tokens, sweep);
        if noted.is_err() {
            self.pools.tokens.revoke(&[token_id]);
        }
        noted?;
        // Whoever ended the pool meanwhile may have taken its tokens before this one was there.
        let open = pool.check_open();
        if open.is_err() {
            self.revoke_tokens_of(pool);
        }
        open.map(|()| token).map_err(|refusal| gone(refusal, id))
    }

    /// Lets a session take part in the pool that a token stands for.
    pub(crate) fn join_pool(
        &self,
        session: &Arc<Session>,
        caller_uid: u32,
        token: &[u8; 16],
    ) -> Result<BufferPool, Refusal> {
        // A session or a pool that is full or closed does not use the token up.
        session.held()?;
        self.pools.check_room(session.id)?;
        self.pools.tokens.peek(token, caller_uid)?.0.check_seats()?;
        let (pool, taken) = self.pools.tokens.redeem(token, caller_uid)?;
        let access = if taken.reads_only { Access::READ_ONLY } else { Access::READ_WRITE };
        self.take_part(session, &pool, access)
    }

    /// What of a pool is new since an epoch.
    pub(crate) fn update_pool(
        &self,
        session: &Session,
        id: i64,
        since: i32,
    ) -> Result<BufferPool, Refusal> {
        let part = self.part_of(session, id)?;
        // Epochs are words of 32 bits, of which AIDL has no unsigned ones.
        let news =
            part.pool.news(part.number, since as u32).map_err(|refusal| gone(refusal, id))?;
        answer(id, part.number, None, part.access, news)
    }

    /// Gives a pool more slots or fewer.
    pub(crate) fn resize_pool(
        &self,
        session: &Arc<Session>,
        id: i64,
        slots: i32,
    ) -> Result<(), Refusal> {
        let slots = in_range("slots", slots, 1, MAX_SLOTS)?;
        let part = self.part_of(session, id)?;
        if !part.is_owner(session.id) {
            return Err(Refusal::Unsupported(format!("resizing pool {id}, which is another's")));
        }
        let pool = &part.pool;
        let mut buffers = match pool.missing(slots).map_err(|refusal| gone(refusal, id))? {
            0 => Vec::new(),
            missing => self.pool_buffers(session, &pool.descriptor, missing)?,
        };
        let resized = pool.resize(slots, &mut buffers);
        self.give_up_of_pool(pool, buffers);
        resized.map_err(|refusal| gone(refusal, id))
    }

    /// Puts the table of a pool right.
    pub(crate) fn restore_pool(&self, session: &Session, id: i64) -> Result<u32, Refusal> {
        let part = self.part_of(session, id)?;
        let mended = part.pool.restore();
        let slots = mended.slots;
        self.go_on_mending(&part.pool, mended);
        Ok(slots)
    }

    /// Ends a session's part in a pool.
    pub(crate) fn leave_pool(&self, session: &Session, id: i64) -> Result<(), Refusal> {
        session.held()?;
        let part = self.pools.remove(session.id, id)?;
        self.end_part(session.id, &part);
        Ok(())
    }

    /// Ends all parts of a session that has ended.
    pub(crate) fn end_pools_of(&self, session: i64) {
        for part in self.pools.take_all_of(session) {
            self.end_part(session, &part);
        }
    }

    fn part_of(&self, session: &Session, id: i64) -> Result<Part, Refusal> {
        session.held()?;
        self.pools.part(session.id, id)
    }

    /// Buffers for slots: charged to the session, and not in its table.
    fn pool_buffers(
        &self,
        session: &Arc<Session>,
        descriptor: &BufferDescriptor,
        count: u32,
    ) -> Result<Withdrawn, Refusal> {
        let count = i32::try_from(count).unwrap_or(i32::MAX);
        let (batch, _) = self.allocate_unnumbered(session, descriptor, count)?;
        let ids: Vec<i64> = batch.iter().map(|fresh: &Fresh| fresh.id).collect();
        session.withdraw(&ids)
    }

    /// Seats a session in a pool and answers all that it needs.
    fn take_part(
        &self,
        session: &Arc<Session>,
        pool: &Arc<Pool>,
        access: Access,
    ) -> Result<BufferPool, Refusal> {
        let seat = pool.seat()?;
        let (id, number) = (self.new_id(), seat.number);
        let part = Part { pool: pool.clone(), number, access };
        if let Err(refusal) = self.pools.insert(session.id, id, part) {
            self.go_on_mending(pool, pool.unseat(number));
            return Err(refusal);
        }
        // A session or a pool that ended meanwhile may not have seen this part of it.
        let entered = session.held().and_then(|_| pool.news(number, 0));
        let entered = entered.and_then(|news| answer(id, number, Some(seat), access, news));
        if entered.is_err() {
            // Whoever removes the part ends it.
            if let Ok(part) = self.pools.remove(session.id, id) {
                self.end_part(session.id, &part);
            }
        }
        entered
    }

    fn end_part(&self, session: i64, part: &Part) {
        if part.is_owner(session) {
            self.close_pool(&part.pool);
        } else {
            self.go_on_mending(&part.pool, part.pool.unseat(part.number));
        }
    }

    /// Gives up what went when a pool was put right, and has the rest of that done.
    fn go_on_mending(&self, pool: &Arc<Pool>, mended: Mended) {
        self.give_up_of_pool(pool, mended.gone);
        if mended.suspicious {
            self.mender.suspect(pool);
        }
    }

    fn close_pool(&self, pool: &Arc<Pool>) {
        let buffers = pool.close();
        self.revoke_tokens_of(pool);
        self.pools.forget(pool);
        self.give_up_of_pool(pool, buffers);
    }

    fn revoke_tokens_of(&self, pool: &Pool) {
        self.pools.tokens.revoke(&pool.owner.take_pool_tokens(pool.id));
    }

    /// Keeps of a session's tokens, for buffers and for pools, those that can still be used.
    pub(crate) fn sweep_tokens(&self, ids: &mut Vec<TokenId>) {
        let mut for_pools = ids.clone();
        self.tokens.sweep(ids);
        self.pools.tokens.sweep(&mut for_pools);
        ids.extend(for_pools);
    }

    /// Gives up buffers of a pool as if its creator had freed them, or, when its session has ended, as
    /// what it held.
    pub(crate) fn give_up_of_pool(&self, pool: &Pool, buffers: Withdrawn) {
        if !buffers.is_empty() {
            pool.owner.give_back(&buffers);
            self.let_go(pool.owner.id, buffers, pool.owner.is_open());
        }
    }
}

/// What a pool that has just ended says to who takes part in it.
fn gone(refusal: Refusal, id: i64) -> Refusal {
    match refusal {
        Refusal::BadToken => Refusal::PoolNotFound(id),
        refusal => refusal,
    }
}

fn in_range(what: &str, value: i32, least: u32, most: u32) -> Result<u32, Refusal> {
    match u32::try_from(value) {
        Ok(checked) if (least..=most).contains(&checked) => Ok(checked),
        _ => Err(Refusal::BadArgument(format!("{what} is {value}, {least} to {most}"))),
    }
}

/// A part in a pool as it crosses Binder.
fn answer(
    id: i64,
    number: u32,
    seat: Option<Seat>,
    access: Access,
    news: News,
) -> Result<BufferPool, Refusal> {
    let int = |value: u32| i32::try_from(value).unwrap_or(i32::MAX);
    let claims = news.claims.into_iter().map(|(participant, fd)| PoolClaims {
        participant: int(participant),
        fd: Some(ParcelFileDescriptor::new(fd)),
    });
    let slots = news.slots.into_iter().map(|(slot, id, holding)| {
        let opened = holding.memory.open(access)?;
        let buffer = wire::buffer(id, &holding, access, opened, NO_RECEIPT)?;
        Ok(PoolSlot { slot: int(slot), buffer })
    });
    let slots = slots.collect::<Result<Vec<_>, Refusal>>()?;
    let mut pool = BufferPool {
        id,
        participant: int(number),
        // The same 32 bits.
        epoch: news.epoch as i32,
        claims: claims.collect(),
        slots,
        ..BufferPool::default()
    };
    if let Some(Seat { board, table, own_claims, .. }) = seat {
        pool.board = Some(ParcelFileDescriptor::new(board));
        pool.table = Some(ParcelFileDescriptor::new(table));
        pool.ownClaims = Some(ParcelFileDescriptor::new(own_claims));
    }
    Ok(pool)
}

#[cfg(test)]
mod tests;
