// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! How buffers are allocated: the request is checked, admitted to the books, and served by the best heap
//! that gives what it asks for, from what is kept or from the kernel.

use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::Instant;

use vendor_berth_allocator::aidl::vendor::berth::allocator::{
    Access::Access, BufferDescriptor::BufferDescriptor,
};

use crate::accounts::{Charge, Used};
use crate::heap::Heap;
use crate::heaps::Choice;
use crate::lock::lock;
use crate::memory::{Memory, Order};
use crate::refusal::Refusal;
use crate::remembered::Served;
use crate::request::Request;
use crate::service::{Fresh, Service};
use crate::session::{Role, Session};
use crate::size_class::size_class;

/// How often purgeable memory is taken for one allocation, each time as much as is still missing.
const PURGES: usize = 4;

impl Service {
    /// Allocates `count` buffers, all or none, of one heap and with ids that follow each other, and
    /// answers the number by which the session gets more of them, or 0.
    pub(crate) fn allocate(
        &self,
        session: &Session,
        descriptor: &BufferDescriptor,
        count: i32,
    ) -> Result<(Vec<Fresh>, i32), Refusal> {
        let (batch, best) = self.allocate_unnumbered(session, descriptor, count)?;
        let id = best.map_or(0, |served| lock(&session.remembered).note(served));
        Ok((batch, id))
    }

    /// The same without a number, for what the session did not ask for by itself; and what served it,
    /// unless a heap refused that comes before.
    pub(crate) fn allocate_unnumbered(
        &self,
        session: &Session,
        descriptor: &BufferDescriptor,
        count: i32,
    ) -> Result<(Vec<Fresh>, Option<Served>), Refusal> {
        let count = self.checked_count("count", i64::from(count))?;
        let request = Arc::new(self.check(descriptor)?);
        let heaps = self.heaps();
        let mut candidates = heaps.candidates(&request)?;
        let mut first_refusal = None;
        let (batch, choice) = loop {
            // At least one candidate there is, and each that fails leaves its refusal.
            let Some(choice) = candidates.next() else {
                let none = || Refusal::Internal("no heap was tried".to_owned());
                return Err(first_refusal.unwrap_or_else(none));
            };
            match self.allocate_from(choice, session, &request, count, Instant::now()) {
                Ok(batch) => break (batch, choice),
                Err(refusal @ Refusal::HeapRefused { .. }) => {
                    log::debug!("{refusal}");
                    first_refusal.get_or_insert(refusal);
                }
                Err(refusal) => return Err(refusal),
            }
        };
        let is_best = first_refusal.is_none();
        Ok((batch, is_best.then(|| Served::new(request, choice))))
    }

    /// Allocates `count` more buffers as an earlier request, from the heap that served it, `now`.
    pub(crate) fn allocate_again(
        &self,
        session: &Session,
        request_id: i32,
        count: i32,
        now: Instant,
    ) -> Result<Vec<Fresh>, Refusal> {
        let count = self.checked_count("count", i64::from(count))?;
        let served = self.served_before(session, request_id)?;
        self.allocate_from(served.choice(), session, &served.request, count, now)
    }

    /// The same of one buffer.
    pub(crate) fn allocate_one_again(
        &self,
        session: &Session,
        request_id: i32,
        now: Instant,
    ) -> Result<Fresh, Refusal> {
        let batch = self.allocate_again(session, request_id, 1, now)?;
        let none = || Refusal::Internal("no buffer was allocated".to_owned());
        batch.into_iter().next().ok_or_else(none)
    }

    /// What served an earlier request, if it still does.
    fn served_before(&self, session: &Session, request_id: i32) -> Result<Arc<Served>, Refusal> {
        let served = lock(&session.remembered).get(request_id);
        served.filter(|served| served.choice().heap.is_there()).ok_or_else(|| {
            // That the session is open, before what it remembers.
            session.held().err().unwrap_or(Refusal::RequestNotFound(request_id))
        })
    }

    fn allocate_from(
        &self,
        choice: Choice<'_>,
        session: &Session,
        request: &Arc<Request>,
        count: u64,
        now: Instant,
    ) -> Result<Vec<Fresh>, Refusal> {
        let recycles = choice.heap.recycles() && !request.no_pool;
        let bytes = self.allocation_bytes(request.bytes(), choice.heap, recycles)?;
        let too_large = Refusal::TooLarge { asked: bytes, limit: self.max_buffer_bytes() };
        let batch_bytes = bytes.checked_mul(count).ok_or(too_large)?;
        let descriptors = choice.heap.descriptors(request.face());
        let room = session.reserve(Used {
            buffers: count,
            bytes: batch_bytes,
            descriptors: descriptors.saturating_mul(count),
            ..Used::default()
        })?;
        let (uid, accounts) = (session.uid, &self.accounts);
        let charge = self.admitted_or_settled(uid, || {
            accounts.admit_within_limits(uid, batch_bytes, descriptors, count)
        })?;
        let recycler = &self.reclaimer.recycler;
        let order = Order { request, choice, bytes, now };
        let mut is_spared = false;
        // No more than a batch's buffers.
        let mut batch = Vec::with_capacity(usize::try_from(count).unwrap_or(0));
        let own = charge.into_buffers(bytes, descriptors);
        for ((number, id), own) in (0u64..).zip(self.new_ids(count)).zip(own) {
            let kept = if recycles { recycler.take(choice.heap, bytes) } else { None };
            let memory = match kept {
                Some(cleared) => Memory::reuse(&order, own, id, cleared),
                None => {
                    // All that is left of the batch may have to come from the system.
                    if !std::mem::replace(&mut is_spared, true) {
                        let rest = bytes.saturating_mul(count.saturating_sub(number));
                        self.admitted_or_settled(uid, || accounts.spare(rest, order.now))?;
                    }
                    Memory::allocate(&order, own, id)?
                }
            };
            if let Some(region) = memory.purgeable() {
                self.purger.register(session.uid, region)?;
            }
            let opened = memory.open(Access::READ_WRITE)?;
            let owner = Role::Owner(Vec::new());
            let receipt = memory.receipt(&self.receipts, session.uid, id, &owner);
            batch.push(Fresh { id, memory, opened, receipt });
        }
        room.fill(batch.iter().map(|fresh| (fresh.id, fresh.memory.clone())))?;
        self.counters.allocated.fetch_add(count, Ordering::Relaxed);
        Ok(batch)
    }

    /// Books buffers.
    pub(crate) fn admit(
        &self,
        uid: u32,
        bytes: u64,
        descriptors: u64,
        count: u64,
    ) -> Result<Charge, Refusal> {
        self.admitted_or_settled(uid, || self.accounts.admit(uid, bytes, descriptors, count))
    }

    /// Books for a uid that a session of its takes part in a buffer.
    pub(crate) fn admit_taking(&self, uid: u32) -> Result<Charge, Refusal> {
        self.admitted_or_settled(uid, || self.accounts.admit_taking(uid))
    }

    /// Admits; before it refuses, what was given up and is gone by now is given back.
    pub(crate) fn admitted_or_settled<T>(
        &self,
        uid: u32,
        admit: impl Fn() -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        admit().or_else(|refusal| {
            match refusal {
                Refusal::TooLarge { .. } => return Err(refusal),
                // What is kept for later is what can be spared first, then what can be made again.
                Refusal::BelowReserve { .. } => self.reclaimer.recycler.trim(0),
                _ => {}
            }
            self.reclaimer.settle(uid);
            let mut outcome = admit();
            // Others may take what was purged for this one, and not all of it was ever touched: so
            // more than once.
            for _ in 0..PURGES {
                let Err(Refusal::BelowReserve { asked, available, reserve }) = outcome else {
                    break;
                };
                let missing = asked.saturating_add(reserve).saturating_sub(available);
                let purged = self.purger.make_room(missing);
                if purged == 0 {
                    break;
                }
                self.accounts.note_purged(purged);
                outcome = admit();
            }
            outcome
        })
    }

    /// What the kernel is asked for: whole pages, or a size that many requests share so that the
    /// buffer can be used again.
    fn allocation_bytes(&self, bytes: u64, heap: &Heap, recycles: bool) -> Result<u64, Refusal> {
        let pages = self.whole_pages(bytes)?;
        let class = if recycles { size_class(bytes, self.page_bytes()) } else { None };
        Ok(class.filter(|class| *class <= heap.max_bytes).unwrap_or(pages))
    }
}
