// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! The parts of the allocator put together: what each operation does, without Binder.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::ops::RangeFrom;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use berth_kernel::random::Random;
use berth_kernel::{descriptor_limit, page_size};
use berth_shared::purge::Pinner;
use hal_binder::{DeathLink, Strong};
use vendor_berth_allocator::aidl::vendor::berth::allocator::{
    Access::Access, BufferDescriptor::BufferDescriptor, IAllocator,
    IAllocatorCallback::IAllocatorCallback, SessionConfig::SessionConfig,
};

use crate::abandoned;
use crate::accounts::{Accounts, Limits};
use crate::heap::Heap;
use crate::heap_memory::Opened;
use crate::heap_watch;
use crate::heaps::Heaps;
use crate::lingering::Address;
use crate::lock::lock;
use crate::memory::{Memory, Place};
use crate::mender::Mender;
use crate::notices::{Mailbox, Notices};
use crate::operations::Operations;
use crate::policy::{Policy, UidLimits};
use crate::pools::Pools;
use crate::pressure::{self, Level};
use crate::proof::Exporters;
use crate::purger::Purger;
use crate::reaper::{Cause, Reaper};
use crate::receipts::{self, Receipts, Taken};
use crate::reclaimer::Reclaimer;
use crate::recycler::Recycler;
use crate::refusal::Refusal;
use crate::refusals::Refusals;
use crate::request::{checked_name, Request};
use crate::restored::Restored;
use crate::session::{Holding, Role, Session, SessionLimits};
use crate::tokens::{Permit, Tokens};
use crate::trace;
use crate::wire;

/// The name under which the service is found.
pub const SERVICE_NAME: &str = "vendor.berth.allocator.IAllocator/default";

/// What happened since the service started.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) allocated: AtomicU64,
    pub(crate) refusals: Refusals,
    /// Sessions that ended without close.
    pub(crate) abandoned: AtomicU64,
    /// Buffers that nobody held and nobody had freed.
    pub(crate) taken_back: AtomicU64,
}

/// A session and what its client is to be told.
struct Registered {
    session: Arc<Session>,
    mailbox: Arc<Mailbox>,
}

/// A buffer that was just allocated, with the descriptors for its owner.
pub(crate) struct Fresh {
    pub(crate) id: i64,
    pub(crate) memory: Arc<Memory>,
    pub(crate) opened: Opened,
    /// See [`Receipts`].
    pub(crate) receipt: i64,
}

/// The allocator.
pub struct Service {
    /// Replaced as a whole when device nodes come or go.
    heaps: Mutex<Arc<Heaps>>,
    pub(crate) accounts: Arc<Accounts>,
    pub(crate) tokens: Tokens,
    pub(crate) pools: Pools,
    pub(crate) counters: Counters,
    pub(crate) operations: Operations,
    pub(crate) reaper: Arc<Reaper>,
    pub(crate) mender: Mender,
    pub(crate) reclaimer: Arc<Reclaimer>,
    /// What a service that follows this one needs to know.
    pub(crate) receipts: Arc<Receipts>,
    /// What came back from the service before this one.
    pub(crate) restored: Restored,
    pub(crate) exporters: Exporters,
    pub(crate) purger: Arc<Purger>,
    policy: Arc<Policy>,
    page_bytes: u64,
    pub(crate) notices: Notices,
    /// The last [`Level`] that was felt.
    pub(crate) pressure: AtomicU32,
    pub(crate) pressure_history: pressure::History,
    next_id: AtomicI64,
    sessions: Mutex<HashMap<i64, Registered>>,
}

impl Service {
    /// Builds the service for the kernel at hand, with limits after the device's policy, the
    /// machine's memory and this process's descriptors.
    pub fn new(policy: Policy) -> io::Result<Arc<Service>> {
        let memory = berth_kernel::meminfo::MemInfo::read().map_err(io::Error::other)?;
        let descriptors = descriptor_limit::raise().map_err(io::Error::other)?;
        let limits = Limits::of_machine(memory.total, descriptors);
        let (limits, uids) = policy.limits_on(limits, memory.total).map_err(io::Error::other)?;
        let random = Random::open().map_err(io::Error::other)?;
        let receipts = Receipts::load(receipts::path().as_deref(), &random);
        Service::assemble(limits, uids, policy, receipts.map_err(io::Error::other)?)
    }

    /// Builds the service with limits of the caller's choice.
    pub fn with_limits(limits: Limits) -> io::Result<Arc<Service>> {
        let random = Random::open().map_err(io::Error::other)?;
        let receipts = Receipts::fresh(&random).map_err(io::Error::other)?;
        Service::assemble(limits, BTreeMap::new(), Policy::default(), receipts)
    }

    /// The same, following the service whose receipts these are.
    #[cfg(test)]
    pub(crate) fn following(receipts: Receipts, limits: Limits) -> io::Result<Arc<Service>> {
        Service::assemble(limits, BTreeMap::new(), Policy::default(), receipts)
    }

    fn assemble(
        limits: Limits,
        uids: BTreeMap<u32, UidLimits>,
        policy: Policy,
        receipts: Receipts,
    ) -> io::Result<Arc<Service>> {
        trace::start();
        let receipts = Arc::new(receipts);
        let (reaper, reports) = Reaper::new();
        let (mender, suspicions) = Mender::new();
        // From here on changes are noticed, so that none is missed.
        let nodes = heap_watch::Nodes::watch();
        let policy = Arc::new(policy);
        let heaps = Heaps::discover(&policy, limits.buffer_bytes);
        log::info!("heaps: {}", heaps.names());
        let recycler = Recycler::start(limits.idle())?;
        let service = Arc::new(Service {
            heaps: Mutex::new(Arc::new(heaps)),
            accounts: Arc::new(Accounts::new(limits, uids)),
            tokens: Tokens::new(Random::open().map_err(io::Error::other)?, receipts.clone()),
            pools: Pools::new(Random::open().map_err(io::Error::other)?, receipts.clone()),
            counters: Counters::default(),
            operations: Operations::new(),
            reaper: Arc::new(reaper),
            mender,
            reclaimer: Reclaimer::start(recycler)?,
            purger: Purger::start()?,
            policy,
            page_bytes: page_size(),
            notices: Notices::start()?,
            pressure: AtomicU32::new(Level::Normal as u32),
            pressure_history: pressure::History::default(),
            next_id: AtomicI64::new(receipts.first_id()),
            receipts,
            restored: Restored::default(),
            exporters: Exporters::default(),
            sessions: Mutex::default(),
        });
        Reaper::start(reports, Arc::downgrade(&service))?;
        Mender::start(suspicions, Arc::downgrade(&service))?;
        heap_watch::start(nodes, Arc::downgrade(&service))?;
        abandoned::start(Arc::downgrade(&service))?;
        pressure::start(Arc::downgrade(&service))?;
        Ok(service)
    }

    /// Lets the process end when nothing is in the books and no client has the allocator: before
    /// [`allocator::register_lazy`](crate::allocator::register_lazy).
    pub fn end_when_unused(&self) -> io::Result<()> {
        self.accounts.in_use().start()
    }

    /// The heaps as they are now.
    pub(crate) fn heaps(&self) -> Arc<Heaps> {
        lock(&self.heaps).clone()
    }

    /// Looks for heaps again. What was allocated from one that is gone stays as it is.
    pub(crate) fn rediscover_heaps(&self) {
        let now = Arc::new(Heaps::discover(&self.policy, self.max_buffer_bytes()));
        let before = self.replace_heaps(now.clone());
        if before.names() != now.names() {
            log::info!("heaps: {}", now.names());
        }
    }

    fn replace_heaps(&self, now: Arc<Heaps>) -> Arc<Heaps> {
        let before = std::mem::replace(&mut *lock(&self.heaps), now);
        before.iter().for_each(Heap::retire);
        before
    }

    /// The kernel's page size in bytes.
    pub(crate) fn page_bytes(&self) -> u64 {
        self.page_bytes
    }

    /// The largest buffer that is ever given, in bytes.
    pub(crate) fn max_buffer_bytes(&self) -> u64 {
        self.accounts.limits().buffer_bytes
    }

    /// Judges a descriptor: whether there is a heap that could serve it.
    pub(crate) fn judge(&self, descriptor: &BufferDescriptor) -> Result<(), Refusal> {
        let request = self.check(descriptor)?;
        self.heaps().candidates(&request).map(drop)
    }

    pub(crate) fn check(&self, descriptor: &BufferDescriptor) -> Result<Request, Refusal> {
        Request::check(descriptor, &self.policy.strides, self.max_buffer_bytes())
    }

    /// Opens a session for a client that lives as long as `callback` does.
    pub(crate) fn open_session(
        &self,
        uid: u32,
        pid: i32,
        config: &SessionConfig,
        callback: &Strong<dyn IAllocatorCallback>,
    ) -> Result<Arc<Session>, Refusal> {
        let name = checked_name("session name", &config.name).map_err(Refusal::BadArgument)?;
        let most = self.accounts.limits();
        let limits = SessionLimits::wanted(config.maxBytes, config.maxBuffers, most)?;
        let charge = self.accounts.admit_session(uid)?;
        let session = Arc::new(Session::new(self.new_id(), pid, name, limits, charge));
        let id = session.id;
        // Registered before it is watched: a death that comes at once finds what it ends.
        let mailbox = Arc::new(Mailbox::new(session.clone(), callback.clone()));
        let entry = Registered { session: session.clone(), mailbox: mailbox.clone() };
        lock(&self.sessions).insert(id, entry);
        let reaper = self.reaper.clone();
        match DeathLink::new(callback, move || reaper.report(id, Cause::Died)) {
            Ok(death) => {
                mailbox.watch(death);
                Ok(session)
            }
            Err(status) => {
                self.end_session(id, Cause::Died);
                Err(Refusal::BadArgument(format!("the callback cannot be watched: {status}")))
            }
        }
    }

    /// Ends a session, once; later calls find nothing.
    pub(crate) fn end_session(&self, id: i64, cause: Cause) {
        let Some(entry) = lock(&self.sessions).remove(&id) else { return };
        let session = &entry.session;
        let holdings = session.end();
        log::debug!(
            "session {id} of uid {} ended ({cause:?}) with {} buffers",
            session.uid,
            holdings.len()
        );
        // Who ends a session will not need such memory again soon.
        self.let_go(id, holdings, false);
        self.end_pools_of(id);
        // When all of it is given up: who sees the figure finds nothing of the session.
        if cause != Cause::Closed {
            self.counters.abandoned.fetch_add(1, Ordering::Relaxed);
        }
        // Who closes a session waits for itself alone, and of the dead nothing waits.
        self.notices.end(&entry.mailbox, cause != Cause::Released);
    }

    /// Makes a region that the session owns read-only for good.
    pub(crate) fn seal(&self, session: &Session, id: i64) -> Result<(), Refusal> {
        let holding = session.get(id)?;
        match holding.role {
            Role::Owner(_) => holding.memory.seal(),
            Role::Taker(_) => {
                Err(Refusal::Unsupported(format!("sealing buffer {id}, which is another's")))
            }
        }
    }

    /// Gives buffers up, all or none.
    pub(crate) fn free(&self, session: &Session, ids: &[i64]) -> Result<(), Refusal> {
        self.checked_count("number of ids", ids.len() as i64)?;
        let removed = session.remove(ids)?;
        self.let_go(session.id, removed, true);
        Ok(())
    }

    /// Gives up one buffer that its client forgot.
    pub(crate) fn give_up(&self, session: &Session, id: i64) -> Result<(), Refusal> {
        let removed = session.remove(&[id])?;
        self.let_go(session.id, removed, false);
        Ok(())
    }

    /// Makes a token for a buffer that the session owns.
    pub(crate) fn share(
        &self,
        session: &Session,
        id: i64,
        permit: Permit,
    ) -> Result<[u8; 16], Refusal> {
        let holding = session.get(id)?;
        if permit.access == Access::READ_ONLY {
            // Said now and not when somebody tries to acquire it.
            holding.memory.check_read_only()?;
        }
        let (token_id, token) = self.tokens.issue(&holding.memory, permit)?;
        let max_tokens = self.accounts.limits().session_tokens;
        let noted = session.add_token(id, token_id, max_tokens, |ids| self.sweep_tokens(ids));
        if noted.is_err() {
            self.tokens.revoke(&[token_id]);
        }
        noted.map(|()| token)
    }

    /// Lets a session take part in the buffer that a token stands for.
    pub(crate) fn acquire(
        &self,
        session: &Session,
        caller_uid: u32,
        token: &[u8; 16],
    ) -> Result<(i64, Holding), Refusal> {
        // A session that is full or closed does not use the token up, nor does a uid that is, nor do
        // too many that take part, or pin.
        session.check_room()?;
        let charge = self.admit_taking(session.uid)?;
        let place = Place { session: session.id, buffer: self.new_id() };
        let (memory, taken) = self.tokens.peek(token, caller_uid)?;
        memory.check_room()?;
        if let (Some(region), false) = (memory.purgeable(), taken.reads_only) {
            region.seat(place).ok_or(Refusal::TooManyPinners)?;
        }
        let redeemed = self.tokens.redeem(token, caller_uid);
        if let Err(refusal) = redeemed.and_then(|_| memory.join(place, taken.token, charge)) {
            self.leave(&memory, place);
            return Err(refusal);
        }
        // What is sealed is read by all.
        let taken = Taken { reads_only: taken.reads_only || memory.is_sealed(), ..taken };
        let holding = Holding { memory, role: Role::Taker(taken) };
        if let Err(refusal) = session.take(place.buffer, holding.clone()) {
            self.leave(&holding.memory, place);
            return Err(refusal);
        }
        Ok((place.buffer, holding))
    }

    /// The receipt for a buffer that a session holds.
    pub(crate) fn receipt(&self, session: &Session, id: i64, holding: &Holding) -> i64 {
        holding.memory.receipt(&self.receipts, session.uid, id, &holding.role)
    }

    /// Gives back what is short, and tells every client.
    pub(crate) fn feel(&self, level: Level) {
        let keeps = level == Level::Normal;
        self.reclaimer.recycler.keep_more(keeps);
        if !keeps {
            self.reclaimer.recycler.trim(0);
        }
        self.pressure.store(level as u32, Ordering::Relaxed);
        self.pressure_history.note(level);
        log::info!("memory pressure: {level:?}");
        let mailboxes: Vec<_> =
            lock(&self.sessions).values().map(|entry| entry.mailbox.clone()).collect();
        for mailbox in mailboxes {
            self.notices.pressure(&mailbox, wire::pressure_level(level));
        }
    }

    /// How many sessions are open. A closed one whose object a client still holds is none of them,
    /// though it counts against the client's limit.
    pub(crate) fn open_sessions(&self) -> usize {
        lock(&self.sessions).len()
    }

    /// All sessions at this moment.
    pub(crate) fn sessions(&self) -> Vec<Arc<Session>> {
        let mut sessions: Vec<_> =
            lock(&self.sessions).values().map(|entry| entry.session.clone()).collect();
        sessions.sort_unstable_by_key(|session| session.id);
        sessions
    }

    /// Gives up what a session held: tokens go, takers are told, and the reclaimer has the memory.
    pub(crate) fn let_go(&self, session: i64, holdings: Vec<(i64, Holding)>, reusable: bool) {
        let mut told: HashMap<i64, Vec<i64>> = HashMap::new();
        let (mut given_up, mut left) = (Vec::with_capacity(holdings.len()), Vec::new());
        for (id, Holding { memory, role }) in holdings {
            match role {
                Role::Taker(_) => {
                    self.leave(&memory, Place { session, buffer: id });
                    left.push(Address::of(&memory));
                }
                Role::Owner(tokens) => {
                    self.tokens.revoke(&tokens);
                    let takers = memory.end_sharing();
                    if let (Some(region), false) = (memory.purgeable(), takers.is_empty()) {
                        region.leave(Pinner::OWNER);
                        self.purger.look_who_left(region);
                    }
                    for taker in takers {
                        told.entry(taker.session).or_default().push(taker.buffer);
                    }
                    given_up.push(memory);
                }
            }
        }
        if !given_up.is_empty() {
            self.reclaimer.take(given_up, reusable);
        }
        if !left.is_empty() {
            self.reclaimer.look_again(left);
        }
        for (taker, buffers) in told {
            let mailbox = lock(&self.sessions).get(&taker).map(|entry| entry.mailbox.clone());
            if let Some(mailbox) = mailbox {
                self.notices.shared_gone(&mailbox, &buffers);
            }
        }
    }

    /// Ends a session's part in memory of another.
    fn leave(&self, memory: &Memory, place: Place) {
        if let Some(region) = memory.purgeable() {
            if let Some(pinner) = region.pinner_of(place) {
                region.leave(pinner);
                self.purger.look_who_left(region);
            }
        }
        memory.leave(place);
    }

    pub(crate) fn new_id(&self) -> i64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// As many ids that follow each other, from the first on.
    pub(crate) fn new_ids(&self, count: u64) -> RangeFrom<i64> {
        // A batch has few.
        self.next_id.fetch_add(count as i64, Ordering::Relaxed)..
    }

    pub(crate) fn checked_count(&self, what: &str, count: i64) -> Result<u64, Refusal> {
        let limit = i64::from(IAllocator::MAX_BATCH);
        match u64::try_from(count) {
            Ok(checked) if (1..=limit).contains(&count) => Ok(checked),
            _ => Err(Refusal::BadArgument(format!("{what} is {count}, 1 to {limit}"))),
        }
    }

    pub(crate) fn whole_pages(&self, bytes: u64) -> Result<u64, Refusal> {
        let limit = self.max_buffer_bytes();
        bytes
            .checked_next_multiple_of(self.page_bytes)
            .ok_or(Refusal::TooLarge { asked: bytes, limit })
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.reclaimer.end();
        self.reclaimer.recycler.end();
        self.purger.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounts::Used;
    use crate::heap_class::HeapClass;
    use crate::heaps;
    use crate::memory::MAX_TAKERS;
    use crate::testing::{self, region, service};
    use std::time::Duration;
    use std::time::Instant;
    use vendor_berth_allocator::aidl::vendor::berth::allocator::{
        AllocatorError::AllocatorError, BufferShape::BufferShape,
        IAllocatorSession::REMEMBERED_REQUESTS, PoolOptions::PoolOptions,
    };

    fn session(service: &Service) -> Arc<Session> {
        testing::session(service, 10_001)
    }

    fn allocate(service: &Service, session: &Session, bytes: i64, count: i32) -> Vec<i64> {
        let (batch, _) = service.allocate(session, &region(bytes), count).unwrap();
        batch.into_iter().map(|fresh| fresh.id).collect()
    }

    fn permit() -> Permit {
        let lifetime = Duration::from_secs(60);
        Permit { recipient_uid: 10_002, uses: 8, lifetime, access: Access::READ_WRITE }
    }

    #[test]
    fn what_is_freed_leaves_nothing_in_the_books() {
        let service = service();
        let session = session(&service);
        let ids = allocate(&service, &session, 5000, 64);
        assert_eq!(service.accounts.live().bytes, 64 * 8192);
        assert_eq!(session.held().unwrap().owned, 64);
        service.free(&session, &ids).unwrap();
        assert_eq!(service.accounts.live().buffers, 0);
        assert_eq!(session.held().unwrap(), Default::default());
    }

    #[test]
    fn a_batch_that_fails_leaves_nothing_in_the_books() {
        let service = service();
        let session = session(&service);
        let quarter = service.max_buffer_bytes() as i64;
        let refusal = service.allocate(&session, &region(quarter), 3).map(drop).unwrap_err();
        assert_eq!(refusal.code(), AllocatorError::QUOTA_EXCEEDED, "{refusal}");
        assert_eq!(service.accounts.live().buffers, 0);
        assert_eq!(session.held().unwrap(), Default::default());
    }

    #[test]
    fn a_request_is_remembered_if_the_best_heap_served_it_and_while_that_is_there() {
        let service = service();
        let session = session(&service);
        let look_again = || {
            let there = [("carveout", HeapClass::Vendor), ("memfd", HeapClass::Shmem)];
            service.replace_heaps(Arc::new(heaps::tests::heaps(Policy::default(), &there)));
        };
        look_again();
        let shape = BufferShape::LinearBytes(1);
        let heap = Some("carveout".to_owned());
        let linear = BufferDescriptor { shape, heap, ..Default::default() };
        let (fallback, none) = service.allocate(&session, &linear, 1).unwrap();
        assert!(fallback[0].memory.fallback, "carveout refused");
        assert_eq!(none, 0);
        let (_, number) = service.allocate(&session, &region(1), 1).unwrap();
        let more = service.allocate_again(&session, number, 2, Instant::now()).unwrap();
        assert_eq!((more.len(), session.held().unwrap().owned), (2, 4));
        look_again();
        let refused = service.allocate_again(&session, number, 1, Instant::now()).map(drop);
        assert_eq!(refused, Err(Refusal::RequestNotFound(number)));
        service.end_session(session.id, Cause::Closed);
        let refused = service.allocate_again(&session, number, 1, Instant::now()).map(drop);
        assert_eq!(refused, Err(Refusal::SessionClosed));
    }

    #[test]
    fn a_pool_is_not_among_the_sessions_requests() {
        let service = service();
        let session = session(&service);
        let (_, first) = service.allocate(&session, &region(1), 1).unwrap();
        for _ in 0..REMEMBERED_REQUESTS {
            service.create_pool(&session, &region(1), &PoolOptions::default()).unwrap();
        }
        service.allocate_again(&session, first, 1, Instant::now()).unwrap();
    }

    #[test]
    fn free_is_all_or_nothing_and_happens_once() {
        let service = service();
        let session = session(&service);
        let ids = allocate(&service, &session, 1, 2);
        let (first, second) = (ids[0], ids[1]);
        for wrong in [vec![first, 999_999], vec![first, first], vec![-1]] {
            let refusal = service.free(&session, &wrong).unwrap_err();
            assert_eq!(refusal.code(), AllocatorError::NOT_FOUND, "{wrong:?}");
        }
        assert_eq!(session.held().unwrap().owned, 2);
        service.free(&session, &[first, second]).unwrap();
        assert_eq!(service.free(&session, &[first]), Err(Refusal::NotFound(first)));
        assert_eq!(service.free(&session, &[]).unwrap_err().code(), AllocatorError::BAD_ARGUMENT);
    }

    #[test]
    fn a_session_ends_once_whatever_ends_it() {
        let service = service();
        let session = session(&service);
        allocate(&service, &session, 4096, 8);
        service.end_session(session.id, Cause::Died);
        service.end_session(session.id, Cause::Released);
        assert_eq!(service.counters.abandoned.load(Ordering::Relaxed), 1);
        assert_eq!(service.accounts.live().buffers, 0);
        let refused = service.allocate(&session, &region(1), 1).map(drop);
        assert_eq!(refused, Err(Refusal::SessionClosed));
        drop(session);
        service.reclaimer.settle(10_001);
        // The client is released on a thread of its own.
        while service.accounts.service() != Default::default() {
            std::thread::yield_now();
        }
    }

    #[test]
    fn acquired_memory_outlives_its_owners_session_and_stays_charged_to_the_owner() {
        let service = service();
        let owner = session(&service);
        let taker = session(&service);
        let id = allocate(&service, &owner, 4096, 1)[0];
        let token = service.share(&owner, id, permit()).unwrap();
        let (taken, _) = service.acquire(&taker, 10_002, &token).unwrap();
        service.end_session(owner.id, Cause::Closed);
        assert_eq!(service.accounts.live().buffers, 1);
        assert_eq!(service.acquire(&taker, 10_002, &token).unwrap_err(), Refusal::BadToken);
        service.free(&taker, &[taken]).unwrap();
        assert_eq!(service.accounts.live().buffers, 0);
        assert_eq!(service.tokens.usable(), 0);
    }

    /// A permit that nothing else limits.
    fn permit_for_all() -> Permit {
        Permit { uses: 1 << 20, ..permit() }
    }

    /// What a uid is charged.
    fn used_by(service: &Service, uid: u32) -> Used {
        let uids = service.accounts.uids();
        uids.into_iter().find(|(each, _)| *each == uid).map_or_else(Used::default, |(_, used)| used)
    }

    #[test]
    fn whoever_acquires_is_charged_each_time_in_whatever_session_and_the_owner_is_not() {
        const TAKER: u32 = 10_002;
        let limits = Limits { uid_buffers: 8, session_buffers: 6, ..testing::limits() };
        let service = Service::with_limits(limits).unwrap();
        let owner = session(&service);
        let id = allocate(&service, &owner, 4096, 1)[0];
        let token = service.share(&owner, id, permit_for_all()).unwrap();
        let takers = [(); 2].map(|()| testing::session(&service, TAKER));
        allocate(&service, &takers[0], 4096, 1);
        let take = |of: usize| service.acquire(&takers[of], TAKER, &token).map(|(id, _)| id);
        let taken: Vec<i64> = (0..7).map(|round| take(round % 2).unwrap()).collect();
        let refusal = take(1).unwrap_err();
        assert_eq!(refusal.code(), AllocatorError::TOO_MANY_BUFFERS);
        let said = "uid 10002 uses 8 buffers of at most 8; 1 more were asked for";
        assert!(refusal.to_string().contains(said), "{refusal}");
        let refusal = service.allocate(&takers[1], &region(1), 1).map(drop).unwrap_err();
        assert_eq!(refusal.code(), AllocatorError::TOO_MANY_BUFFERS, "{refusal}");
        let owners = used_by(&service, 10_001);
        assert_eq!((owners.buffers, owners.taken), (1, 0));
        // Room that is made in one session is room in the other.
        service.free(&takers[0], &[taken[0]]).unwrap();
        take(1).unwrap();
        service.end_session(takers[1].id, Cause::Died);
        let left = used_by(&service, TAKER);
        assert_eq!((left.buffers, left.taken), (1, 3));
        service.end_session(takers[0].id, Cause::Closed);
        assert_eq!(used_by(&service, TAKER).taken, 0);
    }

    #[test]
    fn a_refused_acquire_uses_no_token_up_and_leaves_nothing_in_the_books() {
        let limits = Limits { uid_buffers: 1, ..testing::limits() };
        let service = Service::with_limits(limits).unwrap();
        let (owner, taker) = (session(&service), testing::session(&service, 10_002));
        let id = allocate(&service, &owner, 4096, 1)[0];
        let token = service.share(&owner, id, Permit { uses: 1, ..permit() }).unwrap();
        let own = allocate(&service, &taker, 4096, 1);
        let refusal = service.acquire(&taker, 10_002, &token).map(drop).unwrap_err();
        assert_eq!(refusal.code(), AllocatorError::TOO_MANY_BUFFERS);
        service.free(&taker, &own).unwrap();
        let (taken, _) = service.acquire(&taker, 10_002, &token).unwrap();
        service.free(&taker, &[taken]).unwrap();
        let refusal = service.acquire(&taker, 10_002, &token).map(drop);
        assert_eq!(refusal, Err(Refusal::BadToken));
        let used = used_by(&service, 10_002);
        assert_eq!((used.buffers, used.taken), (0, 0));
    }

    #[test]
    fn a_buffer_is_acquired_so_often_at_most_and_again_when_one_let_go() {
        let limits = Limits { session_buffers: 1 << 20, uid_buffers: 1 << 20, ..testing::limits() };
        let service = Service::with_limits(limits).unwrap();
        let (owner, taker) = (session(&service), testing::session(&service, 10_002));
        let id = allocate(&service, &owner, 4096, 1)[0];
        let token = service.share(&owner, id, permit_for_all()).unwrap();
        let take = || service.acquire(&taker, 10_002, &token).map(|(id, _)| id);
        let taken: Vec<i64> = (0..MAX_TAKERS).map(|_| take().unwrap()).collect();
        let refusal = take().unwrap_err();
        assert_eq!(refusal.code(), AllocatorError::TOO_MANY_BUFFERS);
        let said = "the buffer uses 1024 acquisitions of at most 1024; 1 more were asked for";
        assert!(refusal.to_string().contains(said), "{refusal}");
        assert_eq!(used_by(&service, 10_002).taken, MAX_TAKERS as u64);
        service.free(&taker, &taken[500..501]).unwrap();
        take().unwrap();
        // The owner's end finds all of them, and each leaves by itself.
        service.free(&owner, &[id]).unwrap();
        service.end_session(taker.id, Cause::Died);
        assert_eq!((service.accounts.live().buffers, service.accounts.live().taken), (0, 0));
    }

    #[test]
    fn a_taker_cannot_share_on() {
        let service = service();
        let (owner, taker) = (session(&service), session(&service));
        let id = allocate(&service, &owner, 4096, 1)[0];
        let token = service.share(&owner, id, permit()).unwrap();
        let (taken, _) = service.acquire(&taker, 10_002, &token).unwrap();
        let refusal = service.share(&taker, taken, permit()).unwrap_err();
        assert_eq!(refusal.code(), AllocatorError::UNSUPPORTED);
        assert_eq!(service.tokens.usable(), 1, "the refused token is gone");
    }

    #[test]
    fn tokens_are_limited_and_expired_ones_make_room() {
        let limits = Limits { session_tokens: 2, ..Limits::of_machine(1 << 30, 4096) };
        let service = Service::with_limits(limits).unwrap();
        let session = session(&service);
        let id = allocate(&service, &session, 1, 1)[0];
        let short = Permit { lifetime: Duration::ZERO, ..permit() };
        service.share(&session, id, short).unwrap();
        service.share(&session, id, permit()).unwrap();
        service.share(&session, id, permit()).unwrap();
        let refusal = service.share(&session, id, permit()).unwrap_err();
        assert_eq!(refusal.code(), AllocatorError::QUOTA_EXCEEDED);
        assert_eq!(service.tokens.usable(), 2);
    }
}
