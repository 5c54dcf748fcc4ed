// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! The table of what one client holds. It knows nothing of heaps or Binder; `service` fills it.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use vendor_berth_allocator::aidl::vendor::berth::allocator::Access::Access;

use crate::accounts::{within, Charge, Limits, Used};
use crate::lock::lock;
use crate::memory::Memory;
use crate::receipts::Taken;
use crate::refusal::{Refusal, Scope};
use crate::remembered::Remembered;
use crate::tokens::TokenId;

/// How a session came to hold a buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Role {
    /// It allocated the buffer, and gave out these tokens for it.
    Owner(Vec<TokenId>),
    /// It acquired the buffer.
    Taker(Taken),
}

/// A buffer in a session.
#[derive(Debug, Clone)]
pub(crate) struct Holding {
    pub(crate) memory: Arc<Memory>,
    pub(crate) role: Role,
}

impl Holding {
    /// What the session may do with the buffer.
    pub(crate) fn access(&self) -> Access {
        match self.role {
            _ if self.memory.is_sealed() => Access::READ_ONLY,
            Role::Owner(_) => Access::READ_WRITE,
            Role::Taker(Taken { reads_only: true, .. }) => Access::READ_ONLY,
            Role::Taker(_) => Access::READ_WRITE,
        }
    }
}

/// What a session holds, in figures.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Held {
    /// Buffers that it allocated.
    pub(crate) owned: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
    /// Descriptors that the service keeps of them, and of the session's pools.
    pub(crate) descriptors: u64,
    /// Buffers that it acquired.
    pub(crate) taken: u64,
    /// Tokens that it gave out.
    pub(crate) tokens: u64,
}

#[derive(Debug)]
struct Table {
    open: bool,
    buffers: BTreeMap<i64, Holding>,
    /// The tokens that it gave out for its pools, by the pools' own ids.
    pool_tokens: BTreeMap<i64, Vec<TokenId>>,
    held: Held,
}

/// The most that a session may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SessionLimits {
    /// Bytes of buffers that it allocated.
    pub(crate) bytes: u64,
    /// Buffers, acquired ones included.
    pub(crate) buffers: u64,
    /// Descriptors that the service keeps.
    pub(crate) descriptors: u64,
}

impl SessionLimits {
    /// The limits that a client wants for itself; 0 leaves one as it is.
    pub(crate) fn wanted(bytes: i64, buffers: i32, most: &Limits) -> Result<Self, Refusal> {
        let wanted = |what: &str, wanted: i64, most: u64| match u64::try_from(wanted) {
            Ok(0) => Ok(most),
            Ok(wanted) if wanted <= most => Ok(wanted),
            _ => Err(Refusal::BadArgument(format!("{what} is {wanted}, 0 to {most}"))),
        };
        Ok(SessionLimits {
            bytes: wanted("maxBytes", bytes, most.session_bytes)?,
            buffers: wanted("maxBuffers", buffers.into(), most.session_buffers)?,
            descriptors: most.session_descriptors,
        })
    }
}

/// One client's session.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) id: i64,
    /// Who opened it, as the kernel reported.
    pub(crate) uid: u32,
    /// The process that opened it; for people only, as pids are used again.
    pub(crate) pid: i32,
    pub(crate) name: String,
    pub(crate) since: Instant,
    pub(crate) limits: SessionLimits,
    _charge: Charge,
    table: Mutex<Table>,
    /// What it allocated last.
    pub(crate) remembered: Mutex<Remembered>,
}

/// Room in a session for a batch that is being allocated; given back when dropped.
#[derive(Debug)]
pub(crate) struct Room<'session> {
    session: &'session Session,
    amount: Used,
}

/// Descriptors that the service keeps of a session and of none of its buffers; given back when
/// dropped.
#[derive(Debug)]
pub(crate) struct Kept {
    session: Arc<Session>,
    descriptors: u64,
}

impl Session {
    pub(crate) fn new(
        id: i64,
        pid: i32,
        name: String,
        limits: SessionLimits,
        charge: Charge,
    ) -> Session {
        let table = Table {
            open: true,
            buffers: BTreeMap::new(),
            pool_tokens: BTreeMap::new(),
            held: Held::default(),
        };
        Session {
            id,
            uid: charge.uid(),
            pid,
            name,
            since: Instant::now(),
            limits,
            _charge: charge,
            table: Mutex::new(table),
            remembered: Mutex::default(),
        }
    }

    /// What it holds, or that it has ended.
    pub(crate) fn held(&self) -> Result<Held, Refusal> {
        self.with_open(|table| Ok(table.held))
    }

    /// Whether it has not ended.
    pub(crate) fn is_open(&self) -> bool {
        lock(&self.table).open
    }

    /// Takes room for a batch before the kernel is asked for it: for its buffers, bytes and
    /// descriptors.
    pub(crate) fn reserve(&self, amount: Used) -> Result<Room<'_>, Refusal> {
        self.with_open(|table| {
            let held = &mut table.held;
            held.room_for(amount.buffers, &self.limits)?;
            held.room_for_descriptors(amount.descriptors, &self.limits)?;
            within(Scope::Session, "bytes", held.bytes, amount.bytes, self.limits.bytes)
                .map_err(Refusal::OverQuota)?;
            held.add(amount);
            Ok(Room { session: self, amount })
        })
    }

    /// Takes room for descriptors that are none of a buffer's.
    pub(crate) fn keep(self: &Arc<Self>, descriptors: u64) -> Result<Kept, Refusal> {
        self.with_open(|table| {
            table.held.room_for_descriptors(descriptors, &self.limits)?;
            table.held.add(Used { descriptors, ..Used::default() });
            Ok(Kept { session: self.clone(), descriptors })
        })
    }

    /// Whether a buffer could be acquired.
    pub(crate) fn check_room(&self) -> Result<(), Refusal> {
        self.with_open(|table| table.held.room_for(1, &self.limits))
    }

    /// Adds a buffer that was acquired.
    pub(crate) fn take(&self, id: i64, holding: Holding) -> Result<(), Refusal> {
        self.with_open(|table| {
            table.held.room_for(1, &self.limits)?;
            table.held.taken = table.held.taken.saturating_add(1);
            table.buffers.insert(id, holding);
            Ok(())
        })
    }

    /// A buffer of the session.
    pub(crate) fn get(&self, id: i64) -> Result<Holding, Refusal> {
        self.with_open(|table| table.buffers.get(&id).cloned().ok_or(Refusal::NotFound(id)))
    }

    /// At most `count` buffers with an id above `after`, in order.
    pub(crate) fn list(&self, after: i64, count: usize) -> Result<Vec<(i64, Holding)>, Refusal> {
        self.with_open(|table| {
            let range = (Bound::Excluded(after), Bound::Unbounded);
            Ok(table.buffers.range(range).take(count).map(|(id, h)| (*id, h.clone())).collect())
        })
    }

    /// Notes a token for a buffer of the session's own. `sweep` is given all of the session's tokens,
    /// those for pools included, to forget the useless ones of, if the limit is reached.
    pub(crate) fn add_token(
        &self,
        id: i64,
        token: TokenId,
        max_tokens: u64,
        sweep: impl Fn(&mut Vec<TokenId>),
    ) -> Result<(), Refusal> {
        self.with_open(|table| {
            table.room_for_token(max_tokens, sweep)?;
            let holding = table.buffers.get_mut(&id).ok_or(Refusal::NotFound(id))?;
            match &mut holding.role {
                Role::Taker(_) => Err(Refusal::Unsupported(format!("sharing buffer {id} on"))),
                Role::Owner(tokens) => {
                    tokens.push(token);
                    table.held.tokens = table.held.tokens.saturating_add(1);
                    Ok(())
                }
            }
        })
    }

    /// Notes a token for a pool of the session's own, as [`add_token`](Session::add_token).
    pub(crate) fn add_pool_token(
        &self,
        pool: i64,
        token: TokenId,
        max_tokens: u64,
        sweep: impl Fn(&mut Vec<TokenId>),
    ) -> Result<(), Refusal> {
        self.with_open(|table| {
            table.room_for_token(max_tokens, sweep)?;
            table.pool_tokens.entry(pool).or_default().push(token);
            table.held.tokens = table.held.tokens.saturating_add(1);
            Ok(())
        })
    }

    /// Forgets the tokens of a pool that is no more, and answers them.
    pub(crate) fn take_pool_tokens(&self, pool: i64) -> Vec<TokenId> {
        let mut table = lock(&self.table);
        let tokens = table.pool_tokens.remove(&pool).unwrap_or_default();
        table.held.tokens = table.held.tokens.saturating_sub(tokens.len() as u64);
        tokens
    }

    /// Removes buffers: all of them, or none if one is unknown or named twice.
    pub(crate) fn remove(&self, ids: &[i64]) -> Result<Vec<(i64, Holding)>, Refusal> {
        self.with_open(|table| {
            let mut removed = Vec::with_capacity(ids.len());
            for &id in ids {
                match table.buffers.remove(&id) {
                    Some(holding) => removed.push((id, holding)),
                    None => {
                        table.buffers.extend(removed);
                        return Err(Refusal::NotFound(id));
                    }
                }
            }
            for (_, holding) in &removed {
                table.held.forget(holding);
            }
            Ok(removed)
        })
    }

    /// Takes buffers out of the table, all or none, and leaves them in the session's figures until
    /// they are [given back](Session::give_back): for a pool, which has them from here on.
    pub(crate) fn withdraw(&self, ids: &[i64]) -> Result<Vec<(i64, Holding)>, Refusal> {
        self.with_open(|table| {
            let known = |id: &i64| table.buffers.get(id).cloned().map(|holding| (*id, holding));
            let found: Vec<_> = ids.iter().filter_map(known).collect();
            if found.len() != ids.len() {
                return Err(Refusal::Internal("a buffer of a pool is gone already".to_owned()));
            }
            for id in ids {
                table.buffers.remove(id);
            }
            Ok(found)
        })
    }

    /// Notes that buffers which were withdrawn are given up.
    pub(crate) fn give_back(&self, holdings: &[(i64, Holding)]) {
        let mut table = lock(&self.table);
        // The figures of a session that ended are nothing already.
        if table.open {
            holdings.iter().for_each(|(_, holding)| table.held.forget(holding));
        }
    }

    /// Ends the session and hands over what it held; nothing can be added any more.
    pub(crate) fn end(&self) -> Vec<(i64, Holding)> {
        let mut table = lock(&self.table);
        table.open = false;
        table.held = Held::default();
        std::mem::take(&mut table.buffers).into_iter().collect()
    }

    /// Gives room back.
    fn subtract(&self, amount: Used) {
        let mut table = lock(&self.table);
        // A session that ended meanwhile holds nothing any more, this room included.
        if table.open {
            table.held.subtract(amount);
        }
    }

    fn with_open<T>(
        &self,
        act: impl FnOnce(&mut Table) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let mut table = lock(&self.table);
        if !table.open {
            return Err(Refusal::SessionClosed);
        }
        act(&mut table)
    }
}

impl Table {
    fn room_for_token(
        &mut self,
        max_tokens: u64,
        sweep: impl Fn(&mut Vec<TokenId>),
    ) -> Result<(), Refusal> {
        if self.held.tokens >= max_tokens {
            let of_buffers =
                self.buffers.values_mut().filter_map(|holding| match &mut holding.role {
                    Role::Owner(tokens) => Some(tokens),
                    Role::Taker(_) => None,
                });
            let mut left = 0usize;
            for tokens in of_buffers.chain(self.pool_tokens.values_mut()) {
                sweep(tokens);
                left = tokens.len().saturating_add(left);
            }
            self.held.tokens = left as u64;
        }
        within(Scope::Session, "open tokens", self.held.tokens, 1, max_tokens)
            .map_err(Refusal::OverQuota)
    }
}

impl Held {
    fn room_for(&self, buffers: u64, limits: &SessionLimits) -> Result<(), Refusal> {
        let used = self.owned.saturating_add(self.taken);
        within(Scope::Session, "buffers", used, buffers, limits.buffers)
            .map_err(Refusal::TooManyBuffers)
    }

    fn room_for_descriptors(&self, more: u64, limits: &SessionLimits) -> Result<(), Refusal> {
        within(Scope::Session, "descriptors", self.descriptors, more, limits.descriptors)
            .map_err(Refusal::TooManyFds)
    }

    fn add(&mut self, amount: Used) {
        self.owned = self.owned.saturating_add(amount.buffers);
        self.bytes = self.bytes.saturating_add(amount.bytes);
        self.descriptors = self.descriptors.saturating_add(amount.descriptors);
    }

    fn subtract(&mut self, amount: Used) {
        self.owned = self.owned.saturating_sub(amount.buffers);
        self.bytes = self.bytes.saturating_sub(amount.bytes);
        self.descriptors = self.descriptors.saturating_sub(amount.descriptors);
    }

    fn forget(&mut self, holding: &Holding) {
        match &holding.role {
            Role::Owner(tokens) => {
                let memory = &holding.memory;
                let (bytes, descriptors) = (memory.bytes, memory.descriptors());
                self.subtract(Used { buffers: 1, bytes, descriptors, ..Used::default() });
                self.tokens = self.tokens.saturating_sub(tokens.len() as u64);
            }
            Role::Taker(_) => self.taken = self.taken.saturating_sub(1),
        }
    }
}

impl Room<'_> {
    /// Fills the room: `buffers` are those that it was taken for.
    pub(crate) fn fill(
        mut self,
        buffers: impl Iterator<Item = (i64, Arc<Memory>)>,
    ) -> Result<(), Refusal> {
        self.session.with_open(|table| {
            self.amount = Used::default();
            let owned = |memory| Holding { memory, role: Role::Owner(Vec::new()) };
            table.buffers.extend(buffers.map(|(id, memory)| (id, owned(memory))));
            Ok(())
        })
    }
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        if self.amount != Used::default() {
            self.session.subtract(self.amount);
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.session.subtract(Used { descriptors: self.descriptors, ..Used::default() });
    }
}
