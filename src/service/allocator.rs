// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! The AIDL interfaces: who calls, what the service answers, and errors as Binder carries them.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Instant;

use hal_binder::{Interface, Status, Strong, ThreadState};
use vendor_berth_allocator::aidl::vendor::berth::allocator::{
    Access::Access,
    AllocatedBuffer::AllocatedBuffer,
    AllocatedBuffers::AllocatedBuffers,
    Allocation::Allocation,
    AllocatorCapabilities::AllocatorCapabilities,
    AllocatorStats::AllocatorStats,
    Buffer::Buffer,
    BufferDescriptor::BufferDescriptor,
    BufferInfo::BufferInfo,
    BufferPool::BufferPool,
    IAllocator::{self, BnAllocator},
    IAllocatorCallback::IAllocatorCallback,
    IAllocatorSession::{BnAllocatorSession, IAllocatorSession},
    PoolOptions::PoolOptions,
    ReattachEntry::ReattachEntry,
    ReattachResult::ReattachResult,
    SessionConfig::SessionConfig,
    SessionStats::SessionStats,
    ShareOptions::ShareOptions,
    ShareToken::ShareToken,
};

use crate::dump;
use crate::memory::Place;
use crate::operations::Operation;
use crate::reaper::Cause;
use crate::refusal::Refusal;
use crate::service::{Service, SERVICE_NAME};
use crate::session::{Holding, Session};
use crate::wire;

/// The allocator as a Binder object.
pub fn new_binder(service: Arc<Service>) -> Strong<dyn IAllocator::IAllocator> {
    hal_binder::new_binder!(BnAllocator, AllocatorObject(service))
}

/// Registers the allocator under its name.
pub fn register(allocator: &Strong<dyn IAllocator::IAllocator>) -> hal_binder::Result<()> {
    hal_binder::add_service::<BnAllocator, _>(SERVICE_NAME, allocator)
}

/// The same for a process that ends when nobody uses it and is started on demand.
pub fn register_lazy(allocator: &Strong<dyn IAllocator::IAllocator>) -> hal_binder::Result<()> {
    hal_binder::add_lazy_service::<BnAllocator, _>(SERVICE_NAME, allocator)
}

/// Counts a refusal and gives it the form that Binder carries.
fn answer<T>(service: &Service, result: Result<T, Refusal>) -> hal_binder::Result<T> {
    result.map_err(|refusal| {
        service.counters.refusals.count(refusal.code());
        if let Refusal::Internal(message) = &refusal {
            log::error!("uid {}: {message}", ThreadState::get_calling_uid());
        }
        status(&refusal)
    })
}

fn status(refusal: &Refusal) -> Status {
    hal_binder::service_error(refusal.code().0, &refusal.to_string())
}

struct AllocatorObject(Arc<Service>);

impl Interface for AllocatorObject {
    hal_binder::forward_dump!(dump_to);
}

impl AllocatorObject {
    fn dump_to(&self, writer: &mut dyn Write, args: &[&str]) -> io::Result<()> {
        dump::write(&self.0, ThreadState::get_calling_uid(), writer, args)
    }
}

impl IAllocator::IAllocator for AllocatorObject {
    fn getCapabilities(&self) -> hal_binder::Result<AllocatorCapabilities> {
        Ok(wire::capabilities(&self.0))
    }

    fn isSupported(&self, descriptor: &BufferDescriptor) -> hal_binder::Result<bool> {
        match self.0.judge(descriptor) {
            Ok(()) => Ok(true),
            Err(refusal) if refusal.is_final() => Ok(false),
            Err(refusal) => answer(&self.0, Err(refusal)),
        }
    }

    fn openSession(
        &self,
        config: &SessionConfig,
        callback: &Strong<dyn IAllocatorCallback>,
    ) -> hal_binder::Result<Strong<dyn IAllocatorSession>> {
        let (uid, pid) = (ThreadState::get_calling_uid(), ThreadState::get_calling_pid());
        let session = self
            .0
            .operations
            .timed(Operation::Open, || self.0.open_session(uid, pid, config, callback));
        let session = answer(&self.0, session)?;
        let object = SessionObject { service: self.0.clone(), session };
        Ok(hal_binder::new_binder!(BnAllocatorSession, object))
    }

    fn getStats(&self) -> hal_binder::Result<AllocatorStats> {
        Ok(dump::stats(&self.0))
    }
}

/// A session as a Binder object. The client's last reference to it is the session's end.
struct SessionObject {
    service: Arc<Service>,
    session: Arc<Session>,
}

impl Drop for SessionObject {
    fn drop(&mut self) {
        self.service.reaper.report(self.session.id, Cause::Released);
    }
}

impl Interface for SessionObject {}

impl SessionObject {
    fn answer<T>(&self, result: Result<T, Refusal>) -> hal_binder::Result<T> {
        answer(&self.service, result)
    }

    fn timed<T>(
        &self,
        operation: Operation,
        act: impl FnOnce() -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        self.service.operations.timed(operation, act)
    }

    fn again<T>(&self, allocate: impl FnOnce(Instant) -> Result<T, Refusal>) -> Result<T, Refusal> {
        self.service.operations.timed_from(Operation::Allocate, allocate)
    }

    fn buffer(&self, id: i64, holding: &Holding, access: Access) -> Result<Buffer, Refusal> {
        if access == Access::READ_WRITE && holding.access() == Access::READ_ONLY {
            let message = format!("READ_WRITE of buffer {id}, which this session may only read");
            return Err(Refusal::Unsupported(message));
        }
        let receipt = self.service.receipt(&self.session, id, holding);
        wire::buffer(id, holding, access, holding.memory.open(access)?, receipt)
    }

    fn info(&self, id: i64, holding: &Holding) -> BufferInfo {
        let receipt = self.service.receipt(&self.session, id, holding);
        BufferInfo { receipt, ..wire::info(id, holding) }
    }

    /// What an entry's holder learns of it; a refusal counts as one.
    fn result(&self, result: Result<u64, Refusal>) -> ReattachResult {
        match result {
            Ok(tokens) => wire::reattached(tokens),
            Err(refusal) => {
                self.service.counters.refusals.count(refusal.code());
                ReattachResult { error: refusal.code().0, message: refusal.to_string(), tokens: 0 }
            }
        }
    }

    fn acquire_buffer(&self, uid: u32, token: &ShareToken) -> Result<Buffer, Refusal> {
        let (id, holding) = self.service.acquire(&self.session, uid, &token.value)?;
        let opened = self.buffer(id, &holding, holding.access());
        let mut buffer = opened.map_err(|refusal| {
            // It cannot be handed out. A session that ended meanwhile has let go of it already.
            let _ = self.service.free(&self.session, &[id]);
            refusal
        })?;
        let place = Place { session: self.session.id, buffer: id };
        let pinner = holding.memory.purgeable().and_then(|region| region.pinner_of(place));
        // Less than 16.
        buffer.pinner = pinner.map_or(0, |pinner| pinner.number() as i32);
        Ok(buffer)
    }
}

impl IAllocatorSession for SessionObject {
    fn allocate(
        &self,
        descriptor: &BufferDescriptor,
        count: i32,
    ) -> hal_binder::Result<Allocation> {
        self.answer(self.timed(Operation::Allocate, || {
            let (batch, id) = self.service.allocate(&self.session, descriptor, count)?;
            Ok(wire::allocation(batch, id))
        }))
    }

    fn allocateAgain(&self, request_id: i32, count: i32) -> hal_binder::Result<AllocatedBuffers> {
        self.answer(self.again(|now| {
            let batch = self.service.allocate_again(&self.session, request_id, count, now)?;
            Ok(wire::allocated(batch))
        }))
    }

    fn allocateOneAgain(&self, request_id: i32) -> hal_binder::Result<AllocatedBuffer> {
        self.answer(self.again(|now| {
            let one = self.service.allocate_one_again(&self.session, request_id, now)?;
            Ok(wire::allocated_one(one))
        }))
    }

    fn free(&self, ids: &[i64]) -> hal_binder::Result<()> {
        self.answer(self.timed(Operation::Free, || self.service.free(&self.session, ids)))
    }

    fn get(&self, id: i64, access: Access) -> hal_binder::Result<Buffer> {
        self.answer(self.timed(Operation::Get, || {
            let access = wire::access(access)?;
            let holding = self.session.get(id)?;
            let mut buffer = self.buffer(id, &holding, access)?;
            if holding.memory.purgeable().is_some() {
                // Who pins by two buffers of one session would unpin by the one what the other needs.
                buffer.secondFd = None;
            }
            Ok(buffer)
        }))
    }

    fn seal(&self, id: i64) -> hal_binder::Result<()> {
        self.answer(self.timed(Operation::Seal, || self.service.seal(&self.session, id)))
    }

    fn reattach(&self, entries: &[ReattachEntry]) -> hal_binder::Result<Vec<ReattachResult>> {
        let results =
            self.timed(Operation::Reattach, || self.service.reattach(&self.session, entries));
        let results = self.answer(results)?;
        Ok(results.into_iter().map(|result| self.result(result)).collect())
    }

    fn trim(&self) -> hal_binder::Result<i64> {
        // That the session is open, like every call but close.
        self.answer(self.timed(Operation::Trim, || {
            self.session.held()?;
            let uid = self.session.uid;
            // What was freed a moment ago is not idle yet.
            self.service.reclaimer.settle(uid);
            let idle = self.service.reclaimer.recycler.trim_of_uid(uid);
            let bytes = self.service.purger.trim_of_uid(uid).saturating_add(idle);
            Ok(i64::try_from(bytes).unwrap_or(i64::MAX))
        }))
    }

    fn list(&self, after_id: i64) -> hal_binder::Result<Vec<BufferInfo>> {
        self.answer(self.timed(Operation::List, || {
            let part = self.session.list(after_id, IAllocator::MAX_BATCH as usize)?;
            Ok(part.iter().map(|(id, h)| self.info(*id, h)).collect())
        }))
    }

    fn share(&self, id: i64, options: &ShareOptions) -> hal_binder::Result<ShareToken> {
        self.answer(self.timed(Operation::Share, || {
            let permit = wire::permit(options)?;
            let value = self.service.share(&self.session, id, permit)?;
            Ok(ShareToken { value })
        }))
    }

    fn acquire(&self, token: &ShareToken) -> hal_binder::Result<Buffer> {
        let uid = ThreadState::get_calling_uid();
        self.answer(self.timed(Operation::Acquire, || self.acquire_buffer(uid, token)))
    }

    fn createPool(
        &self,
        descriptor: &BufferDescriptor,
        options: &PoolOptions,
    ) -> hal_binder::Result<BufferPool> {
        self.answer(self.timed(Operation::CreatePool, || {
            self.service.create_pool(&self.session, descriptor, options)
        }))
    }

    fn sharePool(&self, id: i64, options: &ShareOptions) -> hal_binder::Result<ShareToken> {
        self.answer(self.timed(Operation::SharePool, || {
            let permit = wire::permit(options)?;
            let value = self.service.share_pool(&self.session, id, permit)?;
            Ok(ShareToken { value })
        }))
    }

    fn joinPool(&self, token: &ShareToken) -> hal_binder::Result<BufferPool> {
        let uid = ThreadState::get_calling_uid();
        self.answer(self.timed(Operation::JoinPool, || {
            self.service.join_pool(&self.session, uid, &token.value)
        }))
    }

    fn updatePool(&self, id: i64, since: i32) -> hal_binder::Result<BufferPool> {
        self.answer(
            self.timed(Operation::UpdatePool, || {
                self.service.update_pool(&self.session, id, since)
            }),
        )
    }

    fn resizePool(&self, id: i64, slots: i32) -> hal_binder::Result<()> {
        self.answer(
            self.timed(Operation::ResizePool, || {
                self.service.resize_pool(&self.session, id, slots)
            }),
        )
    }

    fn restorePool(&self, id: i64) -> hal_binder::Result<i32> {
        self.answer(self.timed(Operation::RestorePool, || {
            let restored = self.service.restore_pool(&self.session, id)?;
            Ok(i32::try_from(restored).unwrap_or(i32::MAX))
        }))
    }

    fn leavePool(&self, id: i64) -> hal_binder::Result<()> {
        self.answer(self.timed(Operation::LeavePool, || self.service.leave_pool(&self.session, id)))
    }

    fn getStats(&self) -> hal_binder::Result<SessionStats> {
        let limits = &self.session.limits;
        self.answer(self.session.held().map(|held| dump::session_stats(&held, limits)))
    }

    fn close(&self) -> hal_binder::Result<()> {
        self.service.operations.timed(Operation::Close, || {
            self.service.end_session(self.session.id, Cause::Closed);
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_arrives_as_a_service_specific_error_with_code_and_message() {
        let refusal = Refusal::NotFound(7);
        let status = status(&refusal);
        assert_eq!(status.exception_code(), hal_binder::SERVICE_SPECIFIC);
        assert_eq!(status.service_specific_error(), refusal.code().0);
        assert_eq!(hal_binder::message(&status), "not found: no buffer 7 in this session");
    }
}
