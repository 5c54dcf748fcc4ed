// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! A session: what this process holds at the service.

use std::sync::Arc;
use std::time::Duration;

use hal_binder::{Interface, Strong};
use vendor_berth_allocator::aidl::vendor::berth::allocator::{
    Access::Access,
    BufferDescriptor::BufferDescriptor,
    BufferInfo::BufferInfo,
    IAllocator::{IAllocator, MAX_BATCH},
    IAllocatorCallback::{BnAllocatorCallback, IAllocatorCallback},
    IAllocatorSession::IAllocatorSession,
    PressureLevel::PressureLevel,
    SessionConfig::SessionConfig,
    SessionStats::SessionStats,
    ShareOptions::ShareOptions,
    ShareToken::ShareToken,
};

use crate::buffer::Buffer;
use crate::{BufferRequest, Error};

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

/// How a session is opened: who the client is, and limits of its own below the service's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SessionOptions {
    /// Who the client is, for dumps and logs.
    pub name: String,
    /// The most bytes that it may hold; `None` for as many as the service permits.
    pub max_bytes: Option<u64>,
    /// The most buffers that it may hold; `None` for as many as the service permits.
    pub max_buffers: Option<u32>,
}

impl From<&str> for SessionOptions {
    fn from(name: &str) -> SessionOptions {
        SessionOptions { name: name.to_owned(), ..SessionOptions::default() }
    }
}

/// This process's session at the service; ends with the last clone of it and the last buffer of it,
/// by [`close`](Session::close), or with the process. May be used from several threads.
#[derive(Debug, Clone)]
pub struct Session(Arc<Connection>);

#[derive(Debug)]
struct Connection {
    binder: Strong<dyn IAllocatorSession>,
    /// The death token: the service's reference to it dies with this process.
    _callback: Strong<dyn IAllocatorCallback>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        // Releasing the object would end the session too, but look like a client's death.
        if let Err(status) = self.binder.close() {
            log::debug!("a session was not closed: {}", hal_binder::message(&status));
        }
    }
}

impl Session {
    pub(crate) fn open(
        allocator: &Strong<dyn IAllocator>,
        options: SessionOptions,
        events: impl SessionEvents,
    ) -> Result<Session, Error> {
        let listener = Listener(events);
        let callback = hal_binder::new_binder!(BnAllocatorCallback, listener);
        let config = SessionConfig {
            name: options.name,
            maxBytes: options.max_bytes.map_or(0, |most| i64::try_from(most).unwrap_or(i64::MAX)),
            maxBuffers: options
                .max_buffers
                .map_or(0, |most| i32::try_from(most).unwrap_or(i32::MAX)),
        };
        let binder = allocator.openSession(&config, &callback)?;
        Ok(Session(Arc::new(Connection { binder, _callback: callback })))
    }

    /// Allocates `count` buffers, 1 to [`MAX_BATCH`], in one call: all of them or none.
    pub fn allocate(&self, request: &BufferRequest, count: usize) -> Result<Vec<Buffer>, Error> {
        let count = i32::try_from(count).unwrap_or(i32::MAX);
        self.allocate_descriptor(request.descriptor(), count)
    }

    /// The same for a caller that has a descriptor of its own.
    pub fn allocate_descriptor(
        &self,
        descriptor: BufferDescriptor,
        count: i32,
    ) -> Result<Vec<Buffer>, Error> {
        let answer = self.0.binder.allocate(&descriptor, count)?;
        Buffer::of_allocation(self, descriptor, answer)
    }

    /// Allocates one buffer.
    pub fn allocate_one(&self, request: &BufferRequest) -> Result<Buffer, Error> {
        let mut buffers = self.allocate(request, 1)?;
        buffers.pop().ok_or_else(|| Error::BadAnswer("no buffer where one was due".to_owned()))
    }

    /// Gives buffers up in as few calls as possible; dropping them gives each up by a call of its
    /// own.
    pub fn free(&self, buffers: Vec<Buffer>) -> Result<(), Error> {
        let ids: Vec<i64> = buffers.into_iter().map(Buffer::into_id).collect();
        ids.chunks(MAX_BATCH as usize).try_for_each(|part| self.free_ids(part))
    }

    /// Gives up buffers by their ids, as [`list`](Session::list) shows them: all of them or, if one
    /// is unknown, none. At most [`MAX_BATCH`].
    pub fn free_ids(&self, ids: &[i64]) -> Result<(), Error> {
        Ok(self.0.binder.free(ids)?)
    }

    /// The service's side of it.
    pub(crate) fn binder(&self) -> &Strong<dyn IAllocatorSession> {
        &self.0.binder
    }

    /// Makes a token for a buffer that this session allocated.
    pub fn share(&self, buffer: &Buffer, permit: SharePermit) -> Result<Token, Error> {
        Ok(Token(self.0.binder.share(buffer.id(), &permit.into())?.value))
    }

    /// Takes part in a buffer of another session.
    pub fn acquire(&self, token: Token) -> Result<Buffer, Error> {
        let answer = self.0.binder.acquire(&token.into())?;
        Buffer::of_answer(Some(self), answer)
    }

    /// A second handle to a buffer of this session, with a descriptor of its own. Dropping it closes
    /// the descriptor and leaves the buffer in the session.
    pub fn get(&self, id: i64, access: Access) -> Result<Buffer, Error> {
        Buffer::of_answer(None, self.0.binder.get(id, access)?)
    }

    pub(crate) fn seal_id(&self, id: i64) -> Result<(), Error> {
        Ok(self.0.binder.seal(id)?)
    }

    /// All buffers of this session, by id.
    pub fn list(&self) -> Result<Vec<BufferInfo>, Error> {
        let mut all: Vec<BufferInfo> = Vec::new();
        loop {
            let last = all.last().map_or(0, |info| info.id);
            let part = self.0.binder.list(last)?;
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
        Ok(self.0.binder.getStats()?)
    }

    /// Gives back to the kernel what the service keeps idle of buffers that this process's uid freed;
    /// answers the bytes.
    pub fn trim(&self) -> Result<u64, Error> {
        Ok(self.0.binder.trim()?.unsigned_abs())
    }

    /// Ends the session for all clones; descriptors and mappings stay valid.
    pub fn close(&self) -> Result<(), Error> {
        Ok(self.0.binder.close()?)
    }
}

/// What happens to a session without its doing; called on a Binder thread. All of it may be ignored.
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
}

/// For those who ignore all of it.
impl SessionEvents for () {}

/// For those who only want to know of shared buffers.
impl<F: Fn(&[i64]) + Send + Sync + 'static> SessionEvents for F {
    fn shared_gone(&self, ids: &[i64]) {
        self(ids);
    }
}

struct Listener<E>(E);

impl<E: SessionEvents> Interface for Listener<E> {}

impl<E: SessionEvents> IAllocatorCallback for Listener<E> {
    fn onSharedBufferGone(&self, ids: &[i64]) -> hal_binder::Result<()> {
        self.0.shared_gone(ids);
        Ok(())
    }

    fn onPressure(&self, level: PressureLevel) -> hal_binder::Result<()> {
        self.0.pressure(level);
        Ok(())
    }
}
