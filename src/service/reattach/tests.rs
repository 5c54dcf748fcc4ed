// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Services that follow one another, and clients that present what they have, or what they have not.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use berth_kernel::mapping::{Mapping, ReadWrite};
use berth_kernel::memfd::Memfd;
use berth_shared::purge::{ChunkState, Chunks, Contents, Pinner, Priority, PurgeBlock, Stamp};
use hal_binder::ParcelFileDescriptor;
use proptest::prelude::*;
use vendor_berth_allocator::aidl::vendor::berth::allocator::{
    AllocationFlag::AllocationFlag, AllocationOption::AllocationOption,
    AllocatorError::AllocatorError, BufferDescriptor::BufferDescriptor,
    BufferInfo::BufferInfo as Info, BufferShape::BufferShape, SessionConfig::SessionConfig,
    ShareOptions::ShareOptions, ShareToken::ShareToken,
};

use super::*;
use crate::accounts::Limits;
use crate::reaper::Cause;
use crate::testing::{deaf_client, limits, service as first_service, session};

const OWNER: u32 = 10_001;
const TAKER: u32 = 10_002;
const PAGE: u64 = 4096;

/// The service that follows one that died.
fn next_service(before: &Service) -> Arc<Service> {
    Service::following(before.receipts.next(), limits()).unwrap()
}

/// A buffer as its holder has it.
struct Kept {
    info: Info,
    fd: OwnedFd,
    acquired_by: Option<[u8; 16]>,
    tokens: Vec<([u8; 16], i32)>,
}

impl Kept {
    fn of(service: &Service, session: &Session, id: i64) -> Kept {
        let holding = session.get(id).unwrap();
        let receipt = service.receipt(session, id, &holding);
        let access = holding.access();
        let opened = holding.memory.open(access).unwrap();
        let info = Info { receipt, ..wire::info(id, &holding) };
        Kept { info, fd: opened.fd, acquired_by: None, tokens: Vec::new() }
    }

    fn entry(&self) -> ReattachEntry {
        let token = |(value, uses): &([u8; 16], i32)| OpenToken {
            token: ShareToken { value: *value },
            options: ShareOptions {
                recipientUid: TAKER as i32,
                uses: *uses,
                lifetimeMillis: 60_000,
                access: Access::READ_WRITE,
            },
        };
        ReattachEntry {
            info: self.info.clone(),
            fd: Some(descriptor(self.fd.as_fd())),
            secondFd: None,
            acquiredBy: self.acquired_by.map(|value| ShareToken { value }),
            tokens: self.tokens.iter().map(token).collect(),
            options: Vec::new(),
        }
    }
}

fn descriptor(fd: impl AsFd) -> ParcelFileDescriptor {
    ParcelFileDescriptor::new(fd.as_fd().try_clone_to_owned().unwrap())
}

fn region(name: &str, bytes: i64) -> BufferDescriptor {
    let shape = BufferShape::RegionBytes(bytes);
    BufferDescriptor { name: name.to_owned(), shape, ..Default::default() }
}

fn allocate(service: &Service, session: &Session, bytes: u64) -> Kept {
    let (batch, _) = service.allocate(session, &region("a region", bytes as i64), 1).unwrap();
    Kept::of(service, session, batch[0].id)
}

fn share(service: &Service, session: &Session, kept: &mut Kept, uses: u32, access: Access) {
    let permit = Permit { recipient_uid: TAKER, uses, lifetime: Duration::from_secs(60), access };
    let token = service.share(session, kept.info.id, permit).unwrap();
    kept.tokens.push((token, uses as i32));
}

fn acquire(service: &Service, session: &Session, token: [u8; 16]) -> Kept {
    let (id, _) = service.acquire(session, session.uid, &token).unwrap();
    Kept { acquired_by: Some(token), ..Kept::of(service, session, id) }
}

/// Presents one entry.
fn present(service: &Service, session: &Session, entry: ReattachEntry) -> Result<u64, Refusal> {
    service.reattach(session, &[entry]).unwrap().remove(0)
}

fn code(result: Result<u64, Refusal>) -> AllocatorError {
    result.unwrap_err().code()
}

/// Bytes that a uid pays for.
fn bytes_of(service: &Service, uid: u32) -> u64 {
    service.accounts.uids().iter().find(|(each, _)| *each == uid).map_or(0, |(_, used)| used.bytes)
}

/// An owner and a taker of one region, and the service that gave it.
fn shared(access: Access) -> (Arc<Service>, Kept, Kept) {
    let service = first_service();
    let (owner, taker) = (session(&service, OWNER), session(&service, TAKER));
    let mut ours = allocate(&service, &owner, PAGE);
    share(&service, &owner, &mut ours, 2, access);
    let theirs = acquire(&service, &taker, ours.tokens[0].0);
    (service, ours, theirs)
}

#[test]
fn an_owner_has_his_buffer_again_with_its_id_name_and_charge() {
    let before = first_service();
    let kept = allocate(&before, &session(&before, OWNER), 5000);
    let service = next_service(&before);
    let session = session(&service, OWNER);
    assert_eq!(present(&service, &session, kept.entry()), Ok(0));
    let holding = session.get(kept.info.id).unwrap();
    let receipt = service.receipt(&session, kept.info.id, &holding);
    assert_eq!(Info { receipt, ..wire::info(kept.info.id, &holding) }, kept.info);
    drop(holding);
    assert_eq!((bytes_of(&service, OWNER), session.held().unwrap().bytes), (8192, 8192));
    let fresh = allocate(&service, &session, 1);
    assert!(fresh.info.id > kept.info.id, "ids go on");
    service.free(&session, &[kept.info.id, fresh.info.id]).unwrap();
    service.reclaimer.settle(OWNER);
    assert_eq!(bytes_of(&service, OWNER), 0);
}

#[test]
fn a_buffer_outlives_several_services() {
    let mut service = first_service();
    let kept = allocate(&service, &session(&service, OWNER), PAGE);
    for _ in 0..3 {
        service = next_service(&service);
        assert_eq!(present(&service, &session(&service, OWNER), kept.entry()), Ok(0));
    }
}

#[test]
fn owner_and_taker_find_each_other_whichever_comes_first() {
    for owner_first in [true, false] {
        let (before, ours, theirs) = shared(Access::READ_WRITE);
        let service = next_service(&before);
        let (owner, taker) = (session(&service, OWNER), session(&service, TAKER));
        if owner_first {
            assert_eq!(present(&service, &owner, ours.entry()), Ok(1));
            assert_eq!(present(&service, &taker, theirs.entry()), Ok(0));
        } else {
            assert_eq!(present(&service, &taker, theirs.entry()), Ok(0));
            let held = (bytes_of(&service, TAKER), service.accounts.live().buffers);
            assert_eq!(held, (PAGE, 1), "somebody pays for it");
            assert_eq!(present(&service, &owner, ours.entry()), Ok(1));
        }
        assert_eq!((bytes_of(&service, OWNER), bytes_of(&service, TAKER)), (PAGE, 0));
        assert_eq!(service.accounts.live().buffers, 1);
        let [first, second] = [(&owner, &ours), (&taker, &theirs)]
            .map(|(session, kept)| session.get(kept.info.id).unwrap().memory);
        assert!(Arc::ptr_eq(&first, &second) && first.takers() == 1);
        // One of two uses was used before.
        acquire(&service, &taker, ours.tokens[0].0);
        let token = &ours.tokens[0].0;
        assert_eq!(service.acquire(&taker, TAKER, token).unwrap_err(), Refusal::BadToken);
        service.end_session(owner.id, Cause::Closed);
        service.end_session(taker.id, Cause::Closed);
        drop((first, second));
        service.reclaimer.settle(OWNER);
        assert_eq!(service.accounts.live().buffers, 0);
        assert_eq!(service.accounts.lingering().buffers, 0);
    }
}

#[test]
fn memory_whose_owner_does_not_come_is_its_takers_until_they_let_go() {
    let (before, _, theirs) = shared(Access::READ_WRITE);
    let service = next_service(&before);
    let taker = session(&service, TAKER);
    assert_eq!(present(&service, &taker, theirs.entry()), Ok(0));
    let refused = service.share(
        &taker,
        theirs.info.id,
        Permit {
            recipient_uid: TAKER,
            uses: 1,
            lifetime: Duration::from_secs(1),
            access: Access::READ_WRITE,
        },
    );
    assert_eq!(refused.unwrap_err().code(), AllocatorError::UNSUPPORTED, "it is not his to share");
    service.free(&taker, &[theirs.info.id]).unwrap();
    service.reclaimer.settle(TAKER);
    assert_eq!(bytes_of(&service, TAKER), 0);
}

#[test]
fn what_was_to_go_with_its_owner_stays_until_he_was_there_again() {
    let before = first_service();
    let (owner, taker) = (session(&before, OWNER), session(&before, TAKER));
    let flags = AllocationFlag::REVOKE_ON_DEATH.0;
    let revocable = BufferDescriptor { flags, ..region("a region", PAGE as i64) };
    let (batch, _) = before.allocate(&owner, &revocable, 1).unwrap();
    let mut ours = Kept::of(&before, &owner, batch[0].id);
    drop(batch);
    share(&before, &owner, &mut ours, 1, Access::READ_WRITE);
    let theirs = acquire(&before, &taker, ours.tokens[0].0);
    let mapping: Mapping<ReadWrite> = Mapping::new(theirs.fd.as_fd(), PAGE).unwrap();
    mapping.write(0, b"contents").unwrap();
    let seen = || {
        let mut seen = [0; 8];
        mapping.read(0, &mut seen).unwrap();
        seen
    };
    let service = next_service(&before);
    let (owner, taker) = (session(&service, OWNER), session(&service, TAKER));
    assert_eq!(present(&service, &taker, theirs.entry()), Ok(0));
    // It was looked at as what somebody gave up.
    for _ in 0..3 {
        service.reclaimer.settle(TAKER);
    }
    assert_eq!((&seen(), bytes_of(&service, TAKER)), (b"contents", PAGE));
    // He was late.
    assert!(present(&service, &owner, ours.entry()).is_ok());
    assert_eq!((&seen(), bytes_of(&service, OWNER)), (b"contents", PAGE));
    service.end_session(owner.id, Cause::Died);
    while seen() != [0; 8] {
        std::thread::yield_now();
    }
}

#[test]
fn a_reader_stays_a_reader() {
    let (before, _, theirs) = shared(Access::READ_ONLY);
    let service = next_service(&before);
    let taker = session(&service, TAKER);
    let writer = Info { access: Access::READ_WRITE, ..theirs.info.clone() };
    let entry = ReattachEntry { info: writer, ..theirs.entry() };
    assert_eq!(code(present(&service, &taker, entry)), AllocatorError::NOT_THE_MEMORY);
    assert_eq!(present(&service, &taker, theirs.entry()), Ok(0));
    assert_eq!(taker.get(theirs.info.id).unwrap().access(), Access::READ_ONLY);
}

#[test]
fn a_taker_cannot_be_the_owner_by_any_word() {
    let (before, ours, theirs) = shared(Access::READ_WRITE);
    let service = next_service(&before);
    let taker = session(&service, TAKER);
    let flags = theirs.info.flags & !BufferInfo::FLAG_ACQUIRED;
    let as_owner = |info: &Info| ReattachEntry {
        info: Info { flags, ownerId: info.id, ..info.clone() },
        acquiredBy: None,
        ..theirs.entry()
    };
    let claims = [
        as_owner(&theirs.info),
        // The owner's id, and even the owner's receipt.
        as_owner(&Info { id: ours.info.id, ..theirs.info.clone() }),
        as_owner(&ours.info),
        ReattachEntry { acquiredBy: None, ..theirs.entry() },
    ];
    for entry in claims {
        assert_eq!(code(present(&service, &taker, entry)), AllocatorError::BAD_RECEIPT);
    }
    assert_eq!(service.accounts.live().buffers, 0);
}

#[test]
fn nothing_is_in_the_books_twice() {
    let (before, ours, theirs) = shared(Access::READ_WRITE);
    let service = next_service(&before);
    let (owner, taker) = (session(&service, OWNER), session(&service, TAKER));
    let entries = [ours.entry(), ours.entry()];
    let results = service.reattach(&owner, &entries).unwrap();
    assert_eq!(results[0], Ok(1));
    assert_eq!(results[1].clone().unwrap_err().code(), AllocatorError::ALREADY_ATTACHED);
    // Nor by another session of the uid.
    let second = session(&service, OWNER);
    assert_eq!(code(present(&service, &second, ours.entry())), AllocatorError::ALREADY_ATTACHED);
    assert_eq!(present(&service, &taker, theirs.entry()), Ok(0));
    assert_eq!(code(present(&service, &taker, theirs.entry())), AllocatorError::ALREADY_ATTACHED);
    assert_eq!(bytes_of(&service, OWNER), PAGE);
    assert_eq!((owner.held().unwrap().owned, second.held().unwrap().owned), (1, 0));
}

#[test]
fn a_receipt_of_this_very_service_or_of_a_stranger_is_void() {
    let service = first_service();
    let session_of = |service: &Service| session(service, OWNER);
    let here = session_of(&service);
    let kept = allocate(&service, &here, PAGE);
    assert_eq!(code(present(&service, &here, kept.entry())), AllocatorError::BAD_RECEIPT);
    let stranger = Service::following(first_service().receipts.next(), limits()).unwrap();
    let there = session_of(&stranger);
    assert_eq!(code(present(&stranger, &there, kept.entry())), AllocatorError::BAD_RECEIPT);
    let next = next_service(&service);
    let other = session(&next, TAKER);
    assert_eq!(code(present(&next, &other, kept.entry())), AllocatorError::BAD_RECEIPT, "a thief");
}

#[test]
fn every_hostile_entry_is_refused_by_its_own_error_and_leaves_nothing() {
    let before = first_service();
    let owner = session(&before, OWNER);
    let (kept, other) = (allocate(&before, &owner, PAGE), allocate(&before, &owner, PAGE));
    let service = next_service(&before);
    let session = session(&service, OWNER);
    let (socket, peer) = UnixStream::pair().unwrap();
    let foreign = Memfd::create("a region", PAGE).unwrap();
    let reader = File::open(format!("/proc/self/fd/{}", { kept.fd.as_raw_fd() }));
    let with_fd = |fd| ReattachEntry { fd, ..kept.entry() };
    let with_info = |info| ReattachEntry { info, ..kept.entry() };
    let info = || kept.info.clone();
    let layout = |change: fn(&mut Info)| {
        let mut info = kept.info.clone();
        change(&mut info);
        with_info(info)
    };
    use AllocatorError as E;
    let cases: Vec<(E, &str, ReattachEntry)> = vec![
        (E::NOT_THE_MEMORY, "no descriptor", with_fd(None)),
        (E::NOT_THE_MEMORY, "a socket", with_fd(Some(descriptor(&socket)))),
        (E::NOT_THE_MEMORY, "a folder", with_fd(Some(descriptor(File::open("/").unwrap())))),
        (
            E::NOT_THE_MEMORY,
            "a device",
            with_fd(Some(descriptor(File::open("/dev/zero").unwrap()))),
        ),
        (E::NOT_THE_MEMORY, "a foreign memfd", with_fd(Some(descriptor(&foreign)))),
        (E::NOT_THE_MEMORY, "another buffer", with_fd(Some(descriptor(&other.fd)))),
        (E::NOT_THE_MEMORY, "to read only", with_fd(Some(descriptor(reader.unwrap())))),
        (
            E::NOT_THE_MEMORY,
            "a second descriptor",
            ReattachEntry { secondFd: Some(descriptor(&kept.fd)), ..kept.entry() },
        ),
        (E::NOT_THE_MEMORY, "an inode", with_info(Info { inode: 1, ..info() })),
        (E::NOT_THE_MEMORY, "a device", with_info(Info { device: -1, ..info() })),
        (E::NOT_THE_MEMORY, "larger", layout(|info| info.layout.allocationBytes = 8192)),
        (E::UNSUPPORTED, "smaller", layout(|info| info.layout.allocationBytes = 1)),
        (E::UNSUPPORTED, "below zero", layout(|info| info.layout.allocationBytes = i64::MIN)),
        (E::UNSUPPORTED, "a row", layout(|info| info.layout.image = Some(Default::default()))),
        (E::HEAP_UNAVAILABLE, "a heap", layout(|info| info.layout.heap = "none".to_owned())),
        (E::BAD_RECEIPT, "a receipt", with_info(Info { receipt: !kept.info.receipt, ..info() })),
        (E::BAD_RECEIPT, "no receipt", with_info(Info { receipt: 0, ..info() })),
        (E::BAD_RECEIPT, "an id", with_info(Info { id: 1 << 39, ownerId: 1 << 39, ..info() })),
        (E::BAD_RECEIPT, "the last id", with_info(Info { id: i64::MAX, ..info() })),
        (E::BAD_RECEIPT, "no id", with_info(Info { id: 0, ..info() })),
        (E::BAD_RECEIPT, "below zero", with_info(Info { ownerId: i64::MIN, ..info() })),
        (E::BAD_RECEIPT, "another's id", with_info(Info { id: other.info.id, ..info() })),
        (E::BAD_RECEIPT, "a name", layout(|info| info.request.name = "other".to_owned())),
        (E::BAD_RECEIPT, "a usage", layout(|info| info.request.usage = 3)),
        (E::BAD_RECEIPT, "a flag", layout(|info| info.request.flags = 1 << 3)),
        (E::BAD_RECEIPT, "a fallback", layout(|info| info.flags |= BufferInfo::FLAG_FALLBACK_HEAP)),
        (
            E::BAD_RECEIPT,
            "a shape",
            layout(|info| info.request.shape = BufferShape::LinearBytes(PAGE as i64)),
        ),
        (E::BAD_DESCRIPTOR, "a name", layout(|info| info.request.name = "a\0b".to_owned())),
        (
            E::TOO_LARGE,
            "a size",
            layout(|info| {
                info.request.shape = BufferShape::RegionBytes(i64::MAX);
            }),
        ),
        (E::BAD_ARGUMENT, "an access", with_info(Info { access: Access(7), ..info() })),
        (
            E::BAD_ARGUMENT,
            "tokens",
            ReattachEntry {
                tokens: (0..65).map(|_| OpenToken::default()).collect(),
                ..kept.entry()
            },
        ),
        (
            E::UNSUPPORTED,
            "an option",
            ReattachEntry {
                options: vec![AllocationOption { name: "pool".to_owned(), value: 1 }],
                ..kept.entry()
            },
        ),
    ];
    for (expected, what, entry) in cases {
        let result = present(&service, &session, entry);
        assert_eq!(
            result.clone().map_err(|refusal| refusal.code()),
            Err(expected),
            "{what}: {result:?}"
        );
    }
    assert_eq!(service.accounts.service().buffers, 0);
    assert_eq!(session.held().unwrap(), Default::default());
    drop((socket, peer, foreign));
    assert_eq!(present(&service, &session, kept.entry()), Ok(0), "the true one is taken");
}

#[test]
fn limits_hold_and_who_is_over_one_may_come_again() {
    let before = first_service();
    let kept = [(); 2].map(|()| allocate(&before, &session(&before, OWNER), PAGE));
    let service = next_service(&before);
    let callback = deaf_client();
    let config = SessionConfig { maxBuffers: 1, ..Default::default() };
    let narrow = service.open_session(OWNER, 1, &config, &callback).unwrap();
    let results = service.reattach(&narrow, &kept.each_ref().map(Kept::entry)).unwrap();
    assert_eq!(results[0], Ok(0));
    assert_eq!(results[1].clone().unwrap_err().code(), AllocatorError::TOO_MANY_BUFFERS);
    service.free(&narrow, &[kept[0].info.id]).unwrap();
    assert_eq!(present(&service, &narrow, kept[1].entry()), Ok(0));
    for wrong in [0, 65] {
        let entries: Vec<_> = (0..wrong).map(|_| kept[0].entry()).collect();
        let refusal = service.reattach(&narrow, &entries).unwrap_err();
        assert_eq!(refusal.code(), AllocatorError::BAD_ARGUMENT);
    }
    service.end_session(narrow.id, Cause::Closed);
    assert_eq!(service.reattach(&narrow, &[kept[0].entry()]), Err(Refusal::SessionClosed));
}

#[test]
fn a_uid_at_its_limit_is_refused_and_who_pays_for_another_is_charged_for_it() {
    let (before, ours, theirs) = shared(Access::READ_WRITE);
    let tight = Limits { uid_bytes: PAGE, session_bytes: PAGE, ..limits() };
    let service = Service::following(before.receipts.next(), tight).unwrap();
    let taker = session(&service, TAKER);
    assert_eq!(present(&service, &taker, theirs.entry()), Ok(0));
    let refused = service.allocate(&taker, &region("one more", 1), 1).map(drop).unwrap_err();
    assert_eq!(refused.code(), AllocatorError::QUOTA_EXCEEDED);
    assert_eq!(present(&service, &session(&service, OWNER), ours.entry()), Ok(1));
    service.allocate(&taker, &region("one more", 1), 1).map(drop).unwrap();
}

#[test]
fn who_takes_part_again_is_charged_again_and_a_uid_at_its_limit_is_refused() {
    let (before, ours, theirs) = shared(Access::READ_WRITE);
    let tight = Limits { uid_buffers: 1, ..limits() };
    let service = Service::following(before.receipts.next(), tight).unwrap();
    let taken = || {
        let uids = service.accounts.uids();
        uids.iter().find(|(uid, _)| *uid == TAKER).map_or(0, |(_, used)| used.taken)
    };
    assert_eq!(present(&service, &session(&service, OWNER), ours.entry()), Ok(1));
    let taker = session(&service, TAKER);
    let own = service.allocate(&taker, &region("one", 1), 1).unwrap().0[0].id;
    assert_eq!(code(present(&service, &taker, theirs.entry())), AllocatorError::TOO_MANY_BUFFERS);
    assert_eq!(taken(), 0);
    service.free(&taker, &[own]).unwrap();
    assert_eq!(present(&service, &taker, theirs.entry()), Ok(0));
    assert_eq!(taken(), 1);
    assert_eq!(code(present(&service, &taker, theirs.entry())), AllocatorError::TOO_MANY_BUFFERS);
    service.end_session(taker.id, Cause::Died);
    assert_eq!(taken(), 0);
}

#[test]
fn the_receipt_of_a_former_owner_of_the_memory_is_void() {
    let before = first_service();
    // What recycling does, which takes a dma-heap: one memory, two owners, one after the other.
    let kept = allocate(&before, &session(&before, OWNER), PAGE);
    let holding = |owner: i64| {
        let proof = Proof::of(
            before.heaps().of_name("memfd").unwrap(),
            crate::heap_memory::Face::Region,
            false,
            kept.fd.try_clone().unwrap(),
            None,
            PAGE,
        );
        let Proof { marks, held, .. } = proof.unwrap();
        let former = Former {
            request: Arc::new(before.check(&kept.info.request).unwrap()),
            heap: before.heaps().of_name("memfd").unwrap().clone(),
            held: held.unwrap(),
            identity: None,
            bytes: PAGE,
            fallback: false,
            recycled: false,
            sealed: false,
            owner,
        };
        (marks.0, former)
    };
    let service = next_service(&before);
    let own = |owner: i64| {
        let (mark, former) = holding(owner);
        let charge = service.accounts.admit_within_limits(OWNER, PAGE, 1, 1).unwrap();
        let mut presented = Presented { former: Some(former), charge: Some(charge), taking: None };
        service.restored.known().own(mark, owner, &mut presented)
    };
    let first = own(5).map_err(drop).unwrap();
    assert!(first.void.is_none());
    let second = own(9).map_err(drop).unwrap();
    assert!(Arc::ptr_eq(second.void.as_ref().unwrap(), &first.memory), "it is struck out");
    assert_eq!(own(5).map(drop).unwrap_err().code(), AllocatorError::ALREADY_ATTACHED);
    service.strike_out(second.void.as_ref());
    assert_eq!(bytes_of(&service, OWNER), PAGE, "paid for once");
    // One who takes part in what a third made of it comes before that one.
    let (mark, former) = holding(12);
    let taking = Some(service.accounts.admit_taking(TAKER).unwrap());
    let mut presented = Presented { former: Some(former), charge: None, taking };
    let (place, token) = (Place { session: 1, buffer: 13 }, Taken { reads_only: false, token: 1 });
    let mut take = || service.restored.known().take(mark, 12, place, token, &mut presented);
    assert!(take().unwrap().is_none(), "nobody pays");
    presented.charge = Some(service.accounts.admit_within_limits(TAKER, PAGE, 1, 1).unwrap());
    let mut take = || service.restored.known().take(mark, 12, place, token, &mut presented);
    let third = take().unwrap().unwrap();
    assert!(Arc::ptr_eq(third.void.as_ref().unwrap(), &second.memory), "it is struck out");
    service.strike_out(third.void.as_ref());
    assert_eq!((bytes_of(&service, OWNER), bytes_of(&service, TAKER)), (0, PAGE));
}

#[test]
fn a_purgeable_region_comes_back_with_its_pins_and_what_was_half_purged_is_gone() {
    let before = first_service();
    let chunk = AllocationOption { name: "purge-chunk-bytes".to_owned(), value: PAGE as i64 };
    let asked = BufferDescriptor {
        flags: AllocationFlag::PURGEABLE.0,
        options: vec![chunk],
        ..region("cache", 4 * PAGE as i64)
    };
    let client = session(&before, OWNER);
    let fresh = before.allocate(&client, &asked, 1).unwrap().0.remove(0);
    let block_fd = fresh.opened.second.unwrap();
    let kept = Kept::of(&before, &client, fresh.id);
    let chunks = Chunks::of(4 * PAGE, PAGE).unwrap();
    let block = PurgeBlock::map(block_fd.as_fd(), &chunks).unwrap();
    for chunk in 0..4 {
        block.try_pin(chunk, Pinner::OWNER).unwrap().unwrap();
        block.set_filled(chunk, true).unwrap();
    }
    for chunk in 1..4 {
        block.unpin(chunk, Pinner::OWNER, Priority::NORMAL, Stamp::now()).unwrap();
    }
    let memory: Mapping<ReadWrite> = Mapping::new(kept.fd.as_fd(), 4 * PAGE).unwrap();
    memory.fill(0, 4 * PAGE as usize, 1).unwrap();
    let words: Mapping<ReadWrite> = Mapping::new(block_fd.as_fd(), PAGE).unwrap();
    words.write(3 * 4, &ChunkState::Purging.word().to_ne_bytes()).unwrap();

    let next = next_service(&before);
    let again = session(&next, OWNER);
    assert_eq!(code(present(&next, &again, kept.entry())), AllocatorError::NOT_THE_MEMORY);
    let other = Memfd::create("another", PAGE).unwrap();
    let with =
        |block: BorrowedFd<'_>| ReattachEntry { secondFd: Some(descriptor(block)), ..kept.entry() };
    // Nothing is written to memory that is not proven to be a block of this client's.
    let purging = ChunkState::Purging.word().to_ne_bytes();
    other.write_at(0, &purging).unwrap();
    assert_eq!(code(present(&next, &again, with(other.as_fd()))), AllocatorError::BAD_RECEIPT);
    let mut there = [0; 4];
    other.read_at(0, &mut there).unwrap();
    assert_eq!(there, purging);
    let reader = File::open(format!("/proc/self/fd/{}", block_fd.as_raw_fd())).unwrap();
    assert_eq!(code(present(&next, &again, with(reader.as_fd()))), AllocatorError::NOT_THE_MEMORY);
    present(&next, &again, with(block_fd.as_fd())).unwrap();
    assert_eq!(block.state(3).unwrap(), ChunkState::Empty);
    assert_eq!(next.purger.trim_of_uid(OWNER), 2 * PAGE);
    assert_eq!(block.try_pin(0, Pinner::OWNER).unwrap(), Some(Contents::Kept));
    // Nobody knows who else pins by which number.
    let permit = Permit {
        recipient_uid: TAKER,
        uses: 1,
        lifetime: Duration::from_secs(60),
        access: Access::READ_WRITE,
    };
    let token = next.share(&again, kept.info.id, permit).unwrap();
    let refusal = next.acquire(&session(&next, TAKER), TAKER, &token).unwrap_err();
    assert_eq!(refusal, Refusal::TooManyPinners);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_word_of_an_entry_can_be_another(
        id: i64, owner: i64, receipt: i64, bytes: i64, flags: i32, usage: i64, name: String, which in 0..7
    ) {
        let before = first_service();
        let kept = allocate(&before, &session(&before, OWNER), PAGE);
        let service = next_service(&before);
        let session = session(&service, OWNER);
        let mut info = kept.info.clone();
        match which {
            0 => info.id = id,
            1 => info.ownerId = owner,
            2 => info.receipt = receipt,
            3 => info.layout.allocationBytes = bytes,
            4 => info.flags = flags & !BufferInfo::FLAG_ZEROED & !BufferInfo::FLAG_SEALED,
            5 => info.request.usage = usage,
            _ => info.request.name = name,
        }
        let significant = BufferInfo::FLAG_ACQUIRED | BufferInfo::FLAG_FALLBACK_HEAP | BufferInfo::FLAG_RECYCLED;
        let same = Info { flags: kept.info.flags, ..info.clone() } == kept.info
            && (info.flags ^ kept.info.flags) & significant == 0;
        let result = present(&service, &session, ReattachEntry { info, ..kept.entry() });
        prop_assert_eq!(result.is_ok(), same);
        prop_assert_eq!(service.accounts.service().buffers, u64::from(same));
    }

    #[test]
    fn owners_and_takers_come_and_go_in_any_order_and_every_byte_has_one_payer(
        steps in proptest::collection::vec((0usize..3, any::<bool>()), 1..40)
    ) {
        let before = first_service();
        let owner = session(&before, OWNER);
        let takers = [session(&before, TAKER), session(&before, TAKER)];
        let mut ours = allocate(&before, &owner, PAGE);
        share(&before, &owner, &mut ours, 2, Access::READ_WRITE);
        let theirs = takers.map(|taker| acquire(&before, &taker, ours.tokens[0].0));
        let [first, second] = theirs;
        let kept = [ours, first, second];
        let service = next_service(&before);
        let sessions = [OWNER, TAKER, TAKER].map(|uid| session(&service, uid));
        let mut here = [false; 3];
        for (who, comes) in steps {
            let (session, kept) = (&sessions[who], &kept[who]);
            match (comes, here[who]) {
                (true, true) => {
                    let again = present(&service, session, kept.entry());
                    prop_assert_eq!(code(again), AllocatorError::ALREADY_ATTACHED);
                }
                (true, false) => {
                    prop_assert!(present(&service, session, kept.entry()).is_ok());
                    here[who] = true;
                }
                (false, true) => {
                    service.free(session, &[kept.info.id]).unwrap();
                    here[who] = false;
                }
                (false, false) => {
                    prop_assert!(service.free(session, &[kept.info.id]).is_err());
                }
            }
            for uid in [OWNER, TAKER] {
                service.reclaimer.settle(uid);
            }
            let live = u64::from(here.contains(&true));
            prop_assert_eq!(service.accounts.live().buffers, live, "{:?}", here);
            let paid = bytes_of(&service, OWNER) + bytes_of(&service, TAKER);
            prop_assert_eq!(paid, live * PAGE);
            if here[0] {
                prop_assert_eq!(bytes_of(&service, OWNER), PAGE);
            }
        }
    }
}
