// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Admission: what everybody uses, counted before the kernel is asked.
//!
//! The kernel compares a dma-heap request with nothing, so nothing reaches it that is not booked
//! here first. A [`Charge`] is a booking; dropping it gives the amount back.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::in_use::{Hold, InUse};
use crate::lock::lock;
use crate::policy::UidLimits;
use crate::refusal::{OverLimit, Refusal, Scope};
use crate::reserve::Reserve;
use crate::shelf::ShelfLimits;

/// The most that anybody may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one buffer.
    pub buffer_bytes: u64,
    /// Bytes of one session.
    pub session_bytes: u64,
    /// Buffers of one session, acquired ones included.
    pub session_buffers: u64,
    /// Descriptors that the service keeps of the buffers and pools of one session.
    pub session_descriptors: u64,
    /// Open share tokens of one session.
    pub session_tokens: u64,
    /// Bytes of one uid.
    pub uid_bytes: u64,
    /// Buffers of one uid, acquired ones included.
    pub uid_buffers: u64,
    /// Descriptors that the service keeps of the buffers and pools of one uid.
    pub uid_descriptors: u64,
    /// Sessions of one uid.
    pub uid_sessions: u64,
    /// Bytes of the service.
    pub service_bytes: u64,
    /// Descriptors that the service keeps: one of a buffer, two of one with two faces; of a pool's pages
    /// one for each participant that it can have, and two. No more buffers than this are acquired,
    /// either.
    pub service_descriptors: u64,
    /// Sessions of the service.
    pub service_sessions: u64,
    /// Bytes of `MemAvailable` that no allocation may touch.
    pub reserve_bytes: u64,
    /// Bytes that are kept to be used again.
    pub idle_bytes: u64,
    /// Buffers that are kept to be used again.
    pub idle_buffers: u64,
    /// How long they are kept, in seconds.
    pub idle_seconds: u64,
}

impl Limits {
    /// Descriptors that are not for keeping: those of replies in flight, of the transport, of heaps.
    const DESCRIPTORS_IN_FLIGHT: u64 = 1024;

    /// Limits for a machine of `total_bytes` of memory and a process of so many `descriptors`.
    ///
    /// No client can take more than half of the memory, all of them together no more than three
    /// quarters, and a sixteenth stays free whoever asks. No uid can take more than two thirds of the
    /// descriptors.
    pub fn of_machine(total_bytes: u64, descriptors: u64) -> Limits {
        let service_descriptors =
            descriptors.saturating_sub(Self::DESCRIPTORS_IN_FLIGHT).max(descriptors / 2);
        // Whoever takes all the buffers that it may, even with two each, leaves some for the others.
        let third_of_them = service_descriptors / 3;
        let session_buffers = 16_384.min(third_of_them);
        Limits {
            buffer_bytes: total_bytes / 4,
            session_bytes: total_bytes / 2,
            session_buffers,
            // A pool has more than a buffer.
            session_descriptors: session_buffers.saturating_mul(2),
            session_tokens: 1024,
            uid_bytes: total_bytes / 2,
            uid_buffers: 32_768.min(third_of_them),
            uid_descriptors: third_of_them.saturating_mul(2),
            uid_sessions: 256,
            service_bytes: total_bytes / 4 * 3,
            service_descriptors,
            service_sessions: 4096,
            reserve_bytes: total_bytes / 16,
            idle_bytes: total_bytes / 16,
            // Their descriptors are of those that are not counted.
            idle_buffers: 256.min(service_descriptors / 16),
            idle_seconds: 10,
        }
    }

    /// What may be kept to be used again.
    pub(crate) fn idle(&self) -> ShelfLimits {
        ShelfLimits {
            bytes: self.idle_bytes,
            items: usize::try_from(self.idle_buffers).unwrap_or(usize::MAX),
            age: Duration::from_secs(self.idle_seconds),
        }
    }
}

/// What somebody uses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Used {
    pub(crate) bytes: u64,
    pub(crate) buffers: u64,
    /// Buffers that were acquired, each as often as it was: others pay for their memory, whoever
    /// acquired them for their places in the books.
    pub(crate) taken: u64,
    pub(crate) descriptors: u64,
    pub(crate) sessions: u64,
}

impl Used {
    fn add(&mut self, other: Used) {
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.buffers = self.buffers.saturating_add(other.buffers);
        self.taken = self.taken.saturating_add(other.taken);
        self.descriptors = self.descriptors.saturating_add(other.descriptors);
        self.sessions = self.sessions.saturating_add(other.sessions);
    }

    fn subtract(&mut self, other: Used) {
        debug_assert!(self.bytes >= other.bytes && self.buffers >= other.buffers);
        self.bytes = self.bytes.saturating_sub(other.bytes);
        self.buffers = self.buffers.saturating_sub(other.buffers);
        self.taken = self.taken.saturating_sub(other.taken);
        self.descriptors = self.descriptors.saturating_sub(other.descriptors);
        self.sessions = self.sessions.saturating_sub(other.sessions);
    }

    /// Whether a uid stays within its limit with so many buffers more, allocated or acquired.
    fn room_for(&self, uid: u32, buffers: u64, limit: u64) -> Result<(), Refusal> {
        let used = self.buffers.saturating_add(self.taken);
        within(Scope::Uid(uid), "buffers", used, buffers, limit).map_err(Refusal::TooManyBuffers)
    }
}

/// Whether `used` and `asked` stay within `limit`.
pub(crate) fn within(
    scope: Scope,
    unit: &'static str,
    used: u64,
    asked: u64,
    limit: u64,
) -> Result<(), OverLimit> {
    match used.checked_add(asked) {
        Some(sum) if sum <= limit => Ok(()),
        _ => Err(OverLimit { scope, unit, used, asked, limit }),
    }
}

#[derive(Debug, Default)]
struct Books {
    /// Everything, with what lingers.
    service: Used,
    /// What was given up and is not proven gone.
    lingering: Used,
    /// Few, and looked up for every buffer: a hash would cost more than the search.
    uids: BTreeMap<u32, Used>,
}

/// The books of the service.
#[derive(Debug)]
pub(crate) struct Accounts {
    limits: Limits,
    /// The limits of the uids that have their own.
    uids: BTreeMap<u32, UidLimits>,
    books: Mutex<Books>,
    reserve: Reserve,
    in_use: InUse,
}

impl Accounts {
    pub(crate) fn new(limits: Limits, uids: BTreeMap<u32, UidLimits>) -> Accounts {
        let reserve = Reserve::new(limits.reserve_bytes);
        let in_use = InUse::default();
        Accounts { limits, uids, books: Mutex::default(), reserve, in_use }
    }

    /// What a uid may have.
    fn limits_of(&self, uid: u32) -> UidLimits {
        self.uids.get(&uid).copied().unwrap_or_else(|| UidLimits::of(&self.limits))
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Whether the process may end while nothing is booked.
    pub(crate) fn in_use(&self) -> &InUse {
        &self.in_use
    }

    /// What the service uses, with what lingers.
    #[cfg(test)]
    pub(crate) fn service(&self) -> Used {
        lock(&self.books).service
    }

    /// What was given up and is not proven gone: it counts against its owner's limits all the same.
    pub(crate) fn lingering(&self) -> Used {
        lock(&self.books).lingering
    }

    /// What sessions hold: what the service uses, less what lingers.
    pub(crate) fn live(&self) -> Used {
        let books = lock(&self.books);
        let mut live = books.service;
        live.subtract(books.lingering);
        live
    }

    /// What each uid uses, by uid.
    pub(crate) fn uids(&self) -> Vec<(u32, Used)> {
        lock(&self.books).uids.iter().map(|(uid, used)| (*uid, *used)).collect()
    }

    /// Books `count` buffers of `bytes_each` for a uid, if every limit allows it. Each costs the
    /// service so many descriptors.
    pub(crate) fn admit(
        self: &Arc<Self>,
        uid: u32,
        bytes_each: u64,
        descriptors_each: u64,
        count: u64,
    ) -> Result<Charge, Refusal> {
        let over = Refusal::TooLarge { asked: bytes_each, limit: self.limits.buffer_bytes };
        let bytes = bytes_each.checked_mul(count).ok_or(over)?;
        self.spare(bytes, Instant::now())?;
        self.admit_within_limits(uid, bytes, descriptors_each, count)
    }

    /// The same whether or not the system can spare the memory: for what was taken from it before.
    /// `bytes` are of all together.
    pub(crate) fn admit_within_limits(
        self: &Arc<Self>,
        uid: u32,
        bytes: u64,
        descriptors_each: u64,
        count: u64,
    ) -> Result<Charge, Refusal> {
        let descriptors = descriptors_each.saturating_mul(count);
        let amount = Used { bytes, buffers: count, descriptors, ..Used::default() };
        let (limits, own_limits) = (&self.limits, self.limits_of(uid));
        self.book(uid, amount, |service, own| {
            own.room_for(uid, count, own_limits.buffers)?;
            let limit = own_limits.descriptors;
            within(Scope::Uid(uid), "descriptors", own.descriptors, descriptors, limit)
                .map_err(Refusal::TooManyFds)?;
            let limit = limits.service_descriptors;
            within(Scope::Service, "descriptors", service.descriptors, descriptors, limit)
                .map_err(Refusal::TooManyFds)?;
            within(Scope::Uid(uid), "bytes", own.bytes, bytes, own_limits.bytes)
                .map_err(Refusal::OverQuota)?;
            within(Scope::Service, "bytes", service.bytes, bytes, limits.service_bytes)
                .map_err(Refusal::OverQuota)
        })
    }

    /// Books for a uid that a session of its takes part in a buffer, once: it counts as a buffer, and
    /// costs nothing else.
    pub(crate) fn admit_taking(self: &Arc<Self>, uid: u32) -> Result<Charge, Refusal> {
        let amount = Used { taken: 1, ..Used::default() };
        let (limit, own_limit) = (self.limits.service_descriptors, self.limits_of(uid).buffers);
        self.book(uid, amount, |service, own| {
            own.room_for(uid, 1, own_limit)?;
            within(Scope::Service, "acquired buffers", service.taken, 1, limit)
                .map_err(Refusal::TooManyBuffers)
        })
    }

    /// Books a session for a uid.
    pub(crate) fn admit_session(self: &Arc<Self>, uid: u32) -> Result<Charge, Refusal> {
        let amount = Used { sessions: 1, ..Used::default() };
        let (limits, own_limits) = (&self.limits, self.limits_of(uid));
        self.book(uid, amount, |service, own| {
            within(Scope::Uid(uid), "sessions", own.sessions, 1, own_limits.sessions)
                .and_then(|()| {
                    let limit = limits.service_sessions;
                    within(Scope::Service, "sessions", service.sessions, 1, limit)
                })
                .map_err(Refusal::TooManySessions)
        })
    }

    fn book(
        self: &Arc<Self>,
        uid: u32,
        amount: Used,
        check: impl FnOnce(&Used, &Used) -> Result<(), Refusal>,
    ) -> Result<Charge, Refusal> {
        let mut books = lock(&self.books);
        let Books { service, uids, .. } = &mut *books;
        match uids.get_mut(&uid) {
            Some(own) => {
                check(service, own)?;
                own.add(amount);
            }
            None => {
                check(service, &Used::default())?;
                uids.insert(uid, amount);
            }
        }
        service.add(amount);
        drop(books);
        let hold = self.in_use.hold();
        Ok(Charge { accounts: self.clone(), uid, amount, lingers: false, hold })
    }

    /// Notes that so many bytes will be taken from the system now, unless its reserve would be smaller.
    pub(crate) fn spare(&self, bytes: u64, now: Instant) -> Result<(), Refusal> {
        self.reserve.take(bytes, now)
    }

    /// Notes that at most so many bytes were purged: they can be admitted again.
    pub(crate) fn note_purged(&self, bytes: u64) {
        self.reserve.note_purged(bytes);
    }

    fn give_back(&self, uid: u32, amount: Used, lingers: bool) {
        let mut books = lock(&self.books);
        books.service.subtract(amount);
        if lingers {
            books.lingering.subtract(amount);
        }
        if let Some(own) = books.uids.get_mut(&uid) {
            own.subtract(amount);
            if *own == Used::default() {
                books.uids.remove(&uid);
            }
        }
    }
}

/// A booked amount; dropping it gives the amount back.
#[derive(Debug)]
pub(crate) struct Charge {
    accounts: Arc<Accounts>,
    uid: u32,
    amount: Used,
    lingers: bool,
    /// As long as something is booked a lazy service does not end.
    hold: Option<Hold>,
}

impl Charge {
    /// Notes that what is paid for was given up.
    pub(crate) fn linger(&mut self) {
        if !std::mem::replace(&mut self.lingers, true) {
            lock(&self.accounts.books).lingering.add(self.amount);
        }
    }

    /// Notes that what is paid for is a session's again.
    pub(crate) fn revive(&mut self) {
        if std::mem::replace(&mut self.lingers, false) {
            lock(&self.accounts.books).lingering.subtract(self.amount);
        }
    }

    /// Gives the amount back; the booking is of nothing from here on.
    pub(crate) fn waive(&mut self) {
        drop(self.split_all());
    }

    fn split_all(&mut self) -> Charge {
        let amount = std::mem::take(&mut self.amount);
        let (accounts, hold) = (self.accounts.clone(), self.hold.take());
        Charge { accounts, uid: self.uid, amount, lingers: self.lingers, hold }
    }

    /// The bookings of the single buffers, of so many bytes and descriptors each.
    pub(crate) fn into_buffers(self, bytes: u64, descriptors: u64) -> impl Iterator<Item = Charge> {
        let mut rest = Some(self);
        std::iter::from_fn(move || match rest.take()? {
            mut several if several.amount.buffers > 1 => {
                let one = several.split_buffer(bytes, descriptors);
                rest = Some(several);
                Some(one)
            }
            last => Some(last),
        })
    }

    /// Splits the booking of one buffer off, of so many bytes and descriptors.
    fn split_buffer(&mut self, bytes: u64, descriptors: u64) -> Charge {
        let amount = Used { bytes, buffers: 1, descriptors, ..Used::default() };
        self.amount.subtract(amount);
        let (accounts, hold) = (self.accounts.clone(), self.hold.clone());
        Charge { accounts, uid: self.uid, amount, lingers: self.lingers, hold }
    }

    /// Who pays.
    pub(crate) fn uid(&self) -> u32 {
        self.uid
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        if self.amount != Used::default() {
            self.accounts.give_back(self.uid, self.amount, self.lingers);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use vendor_berth_allocator::aidl::vendor::berth::allocator::AllocatorError::AllocatorError;

    fn limits() -> Limits {
        Limits {
            buffer_bytes: 100,
            session_bytes: 100,
            session_buffers: 10,
            session_descriptors: 10,
            session_tokens: 1,
            uid_bytes: 100,
            uid_buffers: 10,
            uid_descriptors: 11,
            uid_sessions: 2,
            service_bytes: 150,
            service_descriptors: 12,
            service_sessions: 3,
            reserve_bytes: 0,
            idle_bytes: 0,
            idle_buffers: 0,
            idle_seconds: 1,
        }
    }

    #[test]
    fn no_uid_can_take_everything_on_any_machine() {
        for (total, descriptors) in [(1 << 28, 1024), (2 << 30, 4096), (1 << 40, 1 << 20)] {
            let limits = Limits::of_machine(total, descriptors);
            assert!(limits.uid_bytes < limits.service_bytes, "{limits:?}");
            assert!(limits.uid_buffers * 2 < limits.service_descriptors, "{limits:?}");
            assert!(limits.uid_descriptors < limits.service_descriptors, "{limits:?}");
            // Whoever takes all of them in pools leaves room for a pool of another's.
            assert!(limits.service_descriptors - limits.uid_descriptors > 18, "{limits:?}");
            assert!(limits.uid_buffers * 2 <= limits.uid_descriptors, "{limits:?}");
            assert!(limits.session_buffers * 2 <= limits.session_descriptors, "{limits:?}");
            assert!(limits.session_descriptors <= limits.uid_descriptors, "{limits:?}");
            assert!(limits.uid_sessions < limits.service_sessions, "{limits:?}");
            assert!(limits.session_buffers <= limits.uid_buffers, "{limits:?}");
            assert!(limits.service_descriptors < descriptors, "{limits:?}");
            assert!(limits.service_bytes + limits.reserve_bytes <= total, "{limits:?}");
        }
    }

    fn accounts() -> Arc<Accounts> {
        Arc::new(Accounts::new(limits(), BTreeMap::new()))
    }

    #[test]
    fn a_uid_with_limits_of_its_own_has_those_and_others_have_theirs() {
        let own = UidLimits { bytes: 140, buffers: 1, descriptors: 3, sessions: 1 };
        let accounts = Arc::new(Accounts::new(limits(), BTreeMap::from([(7, own)])));
        let held = accounts.admit(7, 140, 1, 1).unwrap();
        let refusal = accounts.admit(7, 1, 1, 1).unwrap_err();
        assert_eq!(refusal.code(), AllocatorError::TOO_MANY_BUFFERS);
        drop(held);
        assert_eq!(accounts.admit(7, 1, 4, 1).unwrap_err().code(), AllocatorError::TOO_MANY_FDS);
        assert_eq!(
            accounts.admit(7, 141, 1, 1).unwrap_err().code(),
            AllocatorError::QUOTA_EXCEEDED
        );
        let _one = accounts.admit_session(7).unwrap();
        let refusal = accounts.admit_session(7).unwrap_err();
        assert_eq!(refusal.code(), AllocatorError::TOO_MANY_SESSIONS);
        assert_eq!(
            accounts.admit(8, 101, 1, 1).unwrap_err().code(),
            AllocatorError::QUOTA_EXCEEDED
        );
    }

    #[test]
    fn what_is_acquired_counts_with_what_is_owned_and_costs_nothing_else() {
        let accounts = accounts();
        let _own = accounts.admit(1, 10, 1, 7).unwrap();
        let taken: Vec<_> = (0..3).map(|_| accounts.admit_taking(1).unwrap()).collect();
        for refusal in
            [accounts.admit_taking(1).unwrap_err(), accounts.admit(1, 1, 1, 1).unwrap_err()]
        {
            assert_eq!(refusal.code(), AllocatorError::TOO_MANY_BUFFERS);
            let said = "uid 1 uses 10 buffers of at most 10; 1 more were asked for";
            assert!(refusal.to_string().contains(said), "{refusal}");
        }
        let Used { bytes, buffers, descriptors, taken: acquired, .. } = accounts.live();
        assert_eq!((bytes, buffers, descriptors, acquired), (70, 7, 7, 3));
        drop(taken);
        accounts.admit(1, 10, 1, 3).unwrap();
    }

    #[test]
    fn all_uids_together_acquire_no_more_than_there_could_be_buffers() {
        let accounts = accounts();
        let taken: Vec<_> = (0..12).map(|at| accounts.admit_taking(at % 3).unwrap()).collect();
        let refusal = accounts.admit_taking(4).unwrap_err();
        assert_eq!(refusal.code(), AllocatorError::TOO_MANY_BUFFERS);
        let said = "the service uses 12 acquired buffers of at most 12; 1 more";
        assert!(refusal.to_string().contains(said), "{refusal}");
        // What is allocated has room of its own.
        accounts.admit(4, 1, 1, 10).unwrap();
        drop(taken);
        assert_eq!(accounts.service(), Used::default());
    }

    #[test]
    fn refused_then_freed_then_admitted() {
        let accounts = accounts();
        let first = accounts.admit(1, 60, 1, 1).unwrap();
        let refusal = accounts.admit(1, 41, 1, 1).unwrap_err();
        assert_eq!(refusal.code(), AllocatorError::QUOTA_EXCEEDED);
        assert!(refusal.to_string().contains("uses 60 bytes of at most 100; 41 more"), "{refusal}");
        drop(first);
        assert!(accounts.admit(1, 100, 1, 1).is_ok());
    }

    #[test]
    fn one_uid_cannot_take_what_is_anothers() {
        let accounts = accounts();
        let _first = accounts.admit(1, 10, 1, 10).unwrap();
        let refusal = accounts.admit(1, 1, 1, 1).unwrap_err();
        assert_eq!(refusal.code(), AllocatorError::TOO_MANY_BUFFERS);
        let _second = accounts.admit(2, 25, 1, 2).unwrap();
        assert_eq!(accounts.admit(2, 0, 1, 1).unwrap_err().code(), AllocatorError::TOO_MANY_FDS);
    }

    #[test]
    fn a_buffer_with_two_descriptors_counts_twice_where_descriptors_are_scarce() {
        let accounts = accounts();
        let _held = accounts.admit(1, 1, 2, 5).unwrap();
        let refusal = accounts.admit(2, 1, 2, 2).unwrap_err();
        assert_eq!(refusal.code(), AllocatorError::TOO_MANY_FDS);
        assert!(refusal.to_string().contains("10 descriptors of at most 12; 4 more"), "{refusal}");
        assert!(accounts.admit(2, 1, 2, 1).is_ok());
    }

    #[test]
    fn a_uid_keeps_no_more_descriptors_than_it_may_however_few_its_buffers_are() {
        let accounts = accounts();
        // As a pool, which is one buffer with many.
        let held = accounts.admit(1, 1, 9, 1).unwrap();
        let refusal = accounts.admit(1, 1, 3, 1).unwrap_err();
        assert_eq!(refusal.code(), AllocatorError::TOO_MANY_FDS);
        let said = "uid 1 uses 9 descriptors of at most 11; 3 more were asked for";
        assert!(refusal.to_string().contains(said), "{refusal}");
        // The others have what it could not take.
        let _others = accounts.admit(2, 1, 3, 1).unwrap();
        let refusal = accounts.admit(1, 1, 1, 1).unwrap_err();
        assert!(refusal.to_string().contains("the service uses 12 descriptors"), "{refusal}");
        drop(held);
        assert!(accounts.admit(1, 1, 3, 3).is_ok());
    }

    #[test]
    fn all_uids_together_stay_within_the_service() {
        let accounts = accounts();
        let _first = accounts.admit(1, 100, 1, 1).unwrap();
        let refusal = accounts.admit(2, 51, 1, 1).unwrap_err();
        assert_eq!(refusal.code(), AllocatorError::QUOTA_EXCEEDED);
        assert!(refusal.to_string().contains("the service uses 100 bytes of at most 150"));
        assert!(accounts.admit(2, 50, 1, 1).is_ok());
    }

    #[test]
    fn sessions_are_limited_by_uid_and_in_all() {
        let accounts = accounts();
        let _two = [accounts.admit_session(1).unwrap(), accounts.admit_session(1).unwrap()];
        assert_eq!(
            accounts.admit_session(1).unwrap_err().code(),
            AllocatorError::TOO_MANY_SESSIONS
        );
        let _third = accounts.admit_session(2).unwrap();
        assert!(accounts.admit_session(3).unwrap_err().to_string().contains("the service"));
    }

    #[test]
    fn a_split_charge_is_given_back_in_parts_and_leaves_no_trace() {
        let accounts = accounts();
        let mut rest = accounts.admit(1, 30, 2, 3).unwrap();
        let one = rest.split_buffer(30, 2);
        drop(rest);
        let expected = Used { bytes: 30, buffers: 1, descriptors: 2, ..Used::default() };
        assert_eq!(accounts.service(), expected);
        drop(one);
        assert_eq!(accounts.service(), Used::default());
        assert!(accounts.uids().is_empty());
    }

    #[test]
    fn what_lingers_counts_against_its_owner_and_is_not_live() {
        let accounts = accounts();
        let mut charge = accounts.admit(1, 60, 1, 1).unwrap();
        charge.linger();
        charge.linger();
        assert_eq!((accounts.live().bytes, accounts.lingering().bytes), (0, 60));
        assert_eq!(accounts.admit(1, 41, 1, 1).unwrap_err().code(), AllocatorError::QUOTA_EXCEEDED);
        drop(charge);
        assert_eq!(accounts.lingering(), Used::default());
        assert!(accounts.admit(1, 100, 1, 1).is_ok());
    }

    #[test]
    fn what_is_revived_is_live_and_what_is_waived_is_nobodys() {
        let accounts = accounts();
        let mut charge = accounts.admit(1, 60, 1, 1).unwrap();
        charge.linger();
        charge.revive();
        charge.revive();
        assert_eq!((accounts.live().bytes, accounts.lingering().bytes), (60, 0));
        charge.linger();
        charge.waive();
        assert_eq!((accounts.service(), accounts.lingering()), Default::default());
        drop(charge);
        assert_eq!((accounts.service(), accounts.lingering()), Default::default());
    }

    #[test]
    fn memory_that_is_taken_already_is_admitted_below_the_reserve_and_within_limits() {
        let limits = Limits { reserve_bytes: u64::MAX / 2, ..limits() };
        let accounts = Arc::new(Accounts::new(limits, BTreeMap::new()));
        let _held = accounts.admit_within_limits(1, 100, 1, 1).unwrap();
        let refusal = accounts.admit_within_limits(1, 1, 1, 1).unwrap_err();
        assert_eq!(refusal.code(), AllocatorError::QUOTA_EXCEEDED);
    }

    proptest! {
        #[test]
        fn no_sequence_passes_a_limit_or_loses_a_byte(
            steps in proptest::collection::vec((0u32..3, 0u64..80, 0u64..5, 0..5u8), 1..60)
        ) {
            let accounts = accounts();
            let mut held = Vec::new();
            for (uid, bytes, count, what) in steps {
                match what {
                    0 if !held.is_empty() => drop(held.remove(0)),
                    1 => held.extend(accounts.admit_taking(uid)),
                    // A pool: one buffer, and descriptors for all who could take part.
                    2 => held.extend(accounts.admit(uid, bytes, count + 2, 1)),
                    _ => held.extend(accounts.admit(uid, bytes, 1, count)),
                }
                let service = accounts.service();
                prop_assert!(service.bytes <= 150 && service.descriptors <= 12);
                prop_assert!(service.taken <= 12);
                let mut sum = Used::default();
                held.iter().for_each(|charge| sum.add(charge.amount));
                prop_assert_eq!(sum, service);
                for (_, used) in accounts.uids() {
                    prop_assert!(used.bytes <= 100 && used.buffers + used.taken <= 10);
                    prop_assert!(used.descriptors <= 11);
                }
            }
            drop(held);
            prop_assert_eq!(accounts.service(), Used::default());
        }
    }
}
