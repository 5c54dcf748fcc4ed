// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! A session: what this process holds at the service.

use std::sync::Arc;
use std::time::{Duration, Instant};

use berth_kernel::owner_process::OwnerProcess;
use hal_binder::{Interface, Strong};
use vendor_berth_allocator::aidl::vendor::berth::allocator::{
    Access::Access,
    AllocatedBuffers::AllocatedBuffers,
    Allocation::Allocation,
    BufferDescriptor::BufferDescriptor,
    BufferInfo::BufferInfo,
    IAllocator::IAllocator,
    IAllocatorCallback::{BnAllocatorCallback, IAllocatorCallback},
    IAllocatorSession::IAllocatorSession,
    PressureLevel::PressureLevel,
    SessionConfig::SessionConfig,
    SessionStats::SessionStats,
    ShareOptions::ShareOptions,
    ShareToken::ShareToken,
};

use crate::buffer::{Buffer, Granted, Held};
use crate::connection::{Again, Connection};
use crate::kinds::{Kind, Known};
use crate::{BufferRequest, Error, RefusalCode};

/// The service's side of a session.
pub(crate) type Binder = Strong<dyn IAllocatorSession>;

/// A right to acquire a buffer: 128 secret bits, to be sent over a channel that you trust.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Token(pub [u8; 16]);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // A secret has no place in a log.
        f.write_str("Token(…)")
    }
}

/// Whom a token lets in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SharePermit {
    /// The uid that may use it.
    pub recipient_uid: u32,
    /// How often.
    pub uses: u32,
    /// How long from now; counted in whole milliseconds.
    pub lifetime: Duration,
    /// The access that it gives; `READ_ONLY` for regions only.
    pub access: Access,
}

impl SharePermit {
    /// One use within ten seconds, read and write.
    pub fn once(recipient_uid: u32) -> SharePermit {
        let lifetime = Duration::from_secs(10);
        SharePermit { recipient_uid, uses: 1, lifetime, access: Access::READ_WRITE }
    }

    /// The same for reading only.
    pub fn read_only(self) -> SharePermit {
        SharePermit { access: Access::READ_ONLY, ..self }
    }
}

impl From<SharePermit> for ShareOptions {
    fn from(permit: SharePermit) -> ShareOptions {
        ShareOptions {
            recipientUid: i32::try_from(permit.recipient_uid).unwrap_or(-1),
            uses: i32::try_from(permit.uses).unwrap_or(i32::MAX),
            lifetimeMillis: i64::try_from(permit.lifetime.as_millis()).unwrap_or(i64::MAX),
            access: permit.access,
        }
    }
}

impl From<Token> for ShareToken {
    fn from(token: Token) -> ShareToken {
        ShareToken { value: token.0 }
    }
}

/// How a session is opened: who the client is, limits of its own below the service's, and what becomes
/// of it when the service dies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionOptions {
    /// Who the client is, for dumps and logs.
    pub name: String,
    /// The most bytes that it may hold; `None` for as many as the service permits.
    pub max_bytes: Option<u64>,
    /// The most buffers that it may hold; `None` for as many as the service permits.
    pub max_buffers: Option<u32>,
    /// How long the service that follows is looked for when the service dies, half a minute if nothing
    /// else is said; zero for not at all. Calls that wait for it wait no longer.
    pub reconnect_within: Duration,
}

impl Default for SessionOptions {
    fn default() -> SessionOptions {
        SessionOptions {
            name: String::new(),
            max_bytes: None,
            max_buffers: None,
            reconnect_within: Duration::from_secs(30),
        }
    }
}

impl From<&str> for SessionOptions {
    fn from(name: &str) -> SessionOptions {
        SessionOptions { name: name.to_owned(), ..SessionOptions::default() }
    }
}

/// This process's session at the service; ends with the last clone of it and the last buffer of it,
/// by [`close`](Session::close), or with the process. May be used from several threads.
///
/// It is the process's that opened it. One that is forked from that is refused everything
/// ([`Error::Forked`]), and what it drops stays its parent's; it opens memory by descriptors, or a
/// session of its own after exec(3).
///
/// # When the service dies
///
/// Buffers, their mappings and their contents stay as they are. A thread looks for the service that is
/// started in its place, for as long as [`SessionOptions::reconnect_within`] says, and gives it back
/// all buffers of which this process has a descriptor: under their ids, with their tokens, and with
/// those who take part in them. [`SessionEvents`] tell. Calls that are begun meanwhile wait. Of calls
/// that the service died under, and that get no answer,
///
/// - those that ask ([`list`](Session::list), [`stats`](Session::stats), [`get`](Session::get)) and
///   those that may be done twice ([`trim`](Session::trim), [`Buffer::seal`]) are made again;
/// - so is [`allocate`](Session::allocate): what the service allocated without an answer went with
///   it, and the kernel has taken it back;
/// - [`free`](Session::free), and dropping a buffer, are done: what is given up is not given back to
///   the service that follows;
/// - [`share`](Session::share), [`acquire`](Session::acquire) and [`free_ids`](Session::free_ids) end
///   with [`Error::ServiceDied`] and are not made again: a second token would have a life of its own,
///   a token may have been used up, and an id may still be held here by a handle. Whoever calls may
///   do so again.
#[derive(Debug, Clone)]
pub struct Session(Arc<Connection>);

impl Session {
    pub(crate) fn open(
        owner: OwnerProcess,
        allocator: &Strong<dyn IAllocator>,
        options: SessionOptions,
        events: Arc<dyn SessionEvents>,
    ) -> hal_binder::Result<Session> {
        let listener = Listener(events.clone());
        let callback = hal_binder::new_binder!(BnAllocatorCallback, listener);
        let config = SessionConfig {
            name: options.name,
            maxBytes: options.max_bytes.map_or(0, |most| i64::try_from(most).unwrap_or(i64::MAX)),
            maxBuffers: options
                .max_buffers
                .map_or(0, |most| i32::try_from(most).unwrap_or(i32::MAX)),
        };
        let within = options.reconnect_within;
        Ok(Session(Connection::open(owner, allocator, config, callback, events, within)?))
    }

    /// Allocates `count` buffers, 1 to [`MAX_BATCH`](crate::MAX_BATCH), in one call: all of them or none.
    /// One of the session's last requests made again is a smaller call, see `allocateAgain` of the
    /// interface.
    pub fn allocate(&self, request: &BufferRequest, count: usize) -> Result<Vec<Buffer>, Error> {
        self.check_owner()?;
        let count = i32::try_from(count).unwrap_or(i32::MAX);
        let known = self.0.kinds.find(|descriptor| request.is_described_by(descriptor));
        self.allocate_known(known, count, || request.descriptor())
    }

    /// The same for a caller that has a descriptor of its own.
    pub fn allocate_descriptor(
        &self,
        descriptor: BufferDescriptor,
        count: i32,
    ) -> Result<Vec<Buffer>, Error> {
        self.check_owner()?;
        let known = self.0.kinds.find(|other| *other == descriptor);
        self.allocate_known(known, count, || descriptor)
    }

    /// Allocates one buffer.
    pub fn allocate_one(&self, request: &BufferRequest) -> Result<Buffer, Error> {
        self.check_owner()?;
        let known = self.0.kinds.find(|descriptor| request.is_described_by(descriptor));
        let again = |binder: &Binder, request_id| binder.allocateOneAgain(request_id);
        match known.and_then(|known| self.granted_again(known, again)) {
            Some(granted) => Buffer::of_one_more(self, granted?),
            None => {
                let granted = self.granted_anew(request.descriptor(), 1)?;
                let one = Buffer::of_allocation(self, granted, 1)?.pop();
                one.ok_or_else(|| Error::BadAnswer("no buffer where one was due".to_owned()))
            }
        }
    }

    fn allocate_known(
        &self,
        known: Option<Known>,
        count: i32,
        descriptor: impl FnOnce() -> BufferDescriptor,
    ) -> Result<Vec<Buffer>, Error> {
        let again = |binder: &Binder, request_id| binder.allocateAgain(request_id, count);
        let granted = match known.and_then(|known| self.granted_again(known, again)) {
            Some(granted) => granted?,
            None => self.granted_anew(descriptor(), count)?,
        };
        Buffer::of_allocation(self, granted, count)
    }

    fn granted_anew(
        &self,
        descriptor: BufferDescriptor,
        count: i32,
    ) -> Result<Granted<AllocatedBuffers>, Error> {
        let call = |binder: &Binder| binder.allocate(&descriptor, count);
        let (answer, generation) = self.0.call_noting(Again::Yes, call)?;
        let Allocation { layout, buffers: answer, requestId: request_id } = answer;
        let kind = Arc::new(Kind { descriptor, layout });
        if request_id != 0 {
            self.0.kinds.note(Known { generation, request_id, kind: kind.clone() });
        }
        Ok(Granted { generation, kind, answer })
    }

    /// What was granted before, once more. `None` if the request has to be made in full: what served it
    /// is not there any more or has nothing left.
    fn granted_again<T>(
        &self,
        known: Known,
        call: impl Fn(&Binder, i32) -> hal_binder::Result<T>,
    ) -> Option<Result<Granted<T>, Error>> {
        let Known { generation, request_id, kind } = known;
        match self.0.call_of(generation, |binder| call(binder, request_id))? {
            Ok(answer) => Some(Ok(Granted { generation, kind, answer })),
            Err(status) => {
                let full = [RefusalCode::NOT_FOUND, RefusalCode::HEAP_REFUSED];
                match Error::from(status) {
                    Error::Refused { code, .. } if full.contains(&code) => None,
                    error => Some(Err(error)),
                }
            }
        }
    }

    /// Gives buffers up in as few calls as possible; dropping them gives each up by a call of its
    /// own.
    pub fn free(&self, buffers: Vec<Buffer>) -> Result<(), Error> {
        let ids: Vec<i64> = buffers.into_iter().map(Buffer::into_id).collect();
        self.0.free_all(&ids)
    }

    /// Gives up buffers by their ids, as [`list`](Session::list) shows them: all of them or, if one
    /// is unknown, none. At most [`MAX_BATCH`](crate::MAX_BATCH).
    pub fn free_ids(&self, ids: &[i64]) -> Result<(), Error> {
        self.check_owner()?;
        let held = self.0.holdings.held(Some(ids));
        held.iter().for_each(|held| held.end_pins());
        if let Err(error) = self.0.call(Again::No, |binder| binder.free(ids)) {
            if matches!(error, Error::Refused { .. } | Error::ServiceDied(_)) {
                held.iter().for_each(|held| held.resume_pins());
            }
            return Err(error);
        }
        ids.iter().for_each(|id| {
            self.0.holdings.remove(*id);
        });
        Ok(())
    }

    /// Refuses what a forked child asks.
    pub(crate) fn check_owner(&self) -> Result<(), Error> {
        self.0.check_owner()
    }

    /// Notes a buffer that was put into the session.
    pub(crate) fn hold(&self, held: &Arc<Held>, acquired_by: Option<[u8; 16]>, generation: u64) {
        self.0.hold(held, acquired_by, generation);
    }

    /// Frees a buffer whose handle was dropped.
    pub(crate) fn free_dropped(&self, id: i64) {
        if let Err(error) = self.0.free_all(&[id]) {
            log::debug!("buffer {id} was not freed: {error}");
        }
    }

    /// Frees buffers that came without descriptors.
    pub(crate) fn free_unheld(&self, ids: &[i64]) {
        if let Err(error) = self.free_ids(ids) {
            log::debug!("buffers {ids:?} were not freed: {error}");
        }
    }

    /// Makes a call if there is a service at this moment; once.
    pub(crate) fn at_once<T>(
        &self,
        call: impl Fn(&Binder) -> hal_binder::Result<T>,
    ) -> Result<T, Error> {
        self.0.at_once(call)
    }

    /// Makes a call, when there is a service; once.
    pub(crate) fn once<T>(
        &self,
        call: impl Fn(&Binder) -> hal_binder::Result<T>,
    ) -> Result<T, Error> {
        self.0.call(Again::No, call)
    }

    /// Makes a token for a buffer that this session allocated.
    pub fn share(&self, buffer: &Buffer, permit: SharePermit) -> Result<Token, Error> {
        let options = ShareOptions::from(permit);
        let until = Instant::now().checked_add(permit.lifetime);
        let token = self.0.call(Again::No, |binder| binder.share(buffer.id(), &options))?.value;
        if let Some(until) = until {
            self.0.holdings.share(buffer.id(), token, options, until);
        }
        Ok(Token(token))
    }

    /// Takes part in a buffer of another session.
    pub fn acquire(&self, token: Token) -> Result<Buffer, Error> {
        let shared = ShareToken::from(token);
        let call = |binder: &Binder| binder.acquire(&shared);
        let (answer, generation) = self.0.call_noting(Again::No, call)?;
        Buffer::of_answer(Some((self, Some(token.0), generation)), answer)
    }

    /// A second handle to a buffer of this session, with a descriptor of its own. Dropping it closes
    /// the descriptor and leaves the buffer in the session.
    pub fn get(&self, id: i64, access: Access) -> Result<Buffer, Error> {
        let answer = self.0.call(Again::Yes, |binder| binder.get(id, access))?;
        let buffer = Buffer::of_answer(None, answer)?;
        if access == Access::READ_WRITE {
            self.0.holdings.refresh(buffer.held());
        }
        Ok(buffer)
    }

    pub(crate) fn seal_id(&self, id: i64) -> Result<(), Error> {
        self.0.call(Again::Yes, |binder| binder.seal(id))
    }

    /// All buffers of this session, by id.
    pub fn list(&self) -> Result<Vec<BufferInfo>, Error> {
        let mut all: Vec<BufferInfo> = Vec::new();
        loop {
            let last = all.last().map_or(0, |info| info.id);
            let part = self.0.call(Again::Yes, |binder| binder.list(last))?;
            match part.last() {
                None => return Ok(all),
                // A service that went back would be asked for ever.
                Some(end) if end.id <= last => {
                    return Err(Error::BadAnswer(format!("id {} after {last}", end.id)));
                }
                Some(_) => all.extend(part),
            }
        }
    }

    /// What the session holds, and may.
    pub fn stats(&self) -> Result<SessionStats, Error> {
        self.0.call(Again::Yes, |binder| binder.getStats())
    }

    /// Gives back to the kernel what the service keeps idle of buffers that this process's uid freed;
    /// answers the bytes.
    pub fn trim(&self) -> Result<u64, Error> {
        Ok(self.0.call(Again::Yes, |binder| binder.trim())?.unsigned_abs())
    }

    /// Ends the session for all clones; descriptors and mappings stay valid. What is pinned of
    /// purgeable regions is pinned no more ([`Error::PinsEnded`]).
    pub fn close(&self) -> Result<(), Error> {
        self.0.close()
    }
}

/// What happens to a session without its doing; called on a Binder thread, or on the one that looks for
/// the service. All of it may be ignored.
pub trait SessionEvents: Send + Sync + 'static {
    /// Owners gave up acquired buffers, which stay in this session, and stay valid. `ids` are this
    /// session's; none if they were too many to tell: [`Session::list`] then shows which, by
    /// `BufferInfo::FLAG_GIVEN_UP`.
    fn shared_gone(&self, ids: &[i64]) {
        let _ = ids;
    }

    /// Memory is scarcer than it was, or less scarce. `NORMAL` comes only after another level.
    fn pressure(&self, level: PressureLevel) {
        let _ = level;
    }

    /// The service died; one that follows is looked for.
    fn lost(&self) {}

    /// There is a service again, and it was given the buffers. Of those that were acquired read-only
    /// some are only taken when their owners are back; this is told when they are or it is too late.
    fn restored(&self, outcome: &Restored) {
        let _ = outcome;
    }

    /// No service came in time: every further call fails.
    fn gave_up(&self) {}
}

/// What became of the buffers of a session whose service died.
#[derive(Debug, Default)]
pub struct Restored {
    /// The ids of those that are in the session again, in no order.
    pub buffers: Vec<i64>,
    /// Those that are not, and why. The memory is as usable as before; it is in no books, and nobody
    /// is let in by a token.
    pub failed: Vec<(i64, Error)>,
}

/// For those who ignore all of it.
impl SessionEvents for () {}

/// For those who only want to know of shared buffers.
impl<F: Fn(&[i64]) + Send + Sync + 'static> SessionEvents for F {
    fn shared_gone(&self, ids: &[i64]) {
        self(ids);
    }
}

struct Listener(Arc<dyn SessionEvents>);

impl Interface for Listener {}

impl IAllocatorCallback for Listener {
    fn onSharedBufferGone(&self, ids: &[i64]) -> hal_binder::Result<()> {
        self.0.shared_gone(ids);
        Ok(())
    }

    fn onPressure(&self, level: PressureLevel) -> hal_binder::Result<()> {
        self.0.pressure(level);
        Ok(())
    }
}
