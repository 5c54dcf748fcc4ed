// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Pools in the books of the service; what participants do with them is tested where it is done.

use std::os::fd::AsFd;
use std::time::Duration;

use berth_kernel::mapping::{Mapping, ReadWrite};
use berth_shared::pool::{Pages, Participant};
use proptest::prelude::*;
use vendor_berth_allocator::aidl::vendor::berth::allocator::AllocatorError::AllocatorError;

use super::*;
use crate::accounts::Limits;
use crate::reaper::Cause;
use crate::testing::{region, service, session};

const OWNER: u32 = 10_001;
const OTHER: u32 = 10_002;

fn options(slots: i32) -> Options {
    Options { slots, maxParticipants: 2, maxHeld: 0 }
}

/// Of one pool for two.
fn figures(slots: u32, participants: u32) -> PoolFigures {
    PoolFigures { slots, participants, pages_bytes: pages_bytes(2) }
}

fn permit(access: Access) -> Permit {
    Permit { recipient_uid: OTHER, uses: 8, lifetime: Duration::from_secs(60), access }
}

#[test]
fn a_pool_is_charged_to_its_creator_and_leaves_nothing_in_the_books() {
    let service = service();
    let (owner, other) = (session(&service, OWNER), session(&service, OTHER));
    let pool = service.create_pool(&owner, &region(4096), &options(3)).unwrap();
    assert_eq!(pool.slots.len(), 3);
    assert!(pool.board.is_some() && pool.table.is_some() && pool.ownClaims.is_some());
    assert_eq!(owner.held().unwrap().owned, 3);
    assert_eq!(owner.list(0, 64).unwrap().len(), 0, "they are the pool's");
    assert_eq!(service.accounts.live().buffers, 4, "and the pages");
    let token = service.share_pool(&owner, pool.id, permit(Access::READ_WRITE)).unwrap();
    let joined = service.join_pool(&other, OTHER, &token).unwrap();
    assert_eq!((joined.slots.len(), joined.claims.len()), (3, 1));
    assert_eq!(other.held().unwrap(), Default::default(), "its creator pays");
    assert_eq!((service.pools.count(), service.pools.figures().1), (1, figures(3, 2)));
    service.leave_pool(&owner, pool.id).unwrap();
    assert_eq!(service.pools.count(), 0);
    let gone = Refusal::PoolNotFound(joined.id);
    assert_eq!(service.update_pool(&other, joined.id, 0).map(drop), Err(gone.clone()));
    assert_eq!(service.leave_pool(&other, joined.id), Err(gone));
    assert_eq!(service.join_pool(&other, OTHER, &token).map(drop), Err(Refusal::BadToken));
    assert_eq!(owner.held().unwrap(), Default::default());
    assert_eq!(
        service.accounts.live(),
        crate::accounts::Used { sessions: 2, ..Default::default() }
    );
    assert_eq!(service.pools.tokens.usable(), 0);
}

#[test]
fn a_session_takes_its_pools_and_its_parts_along() {
    let service = service();
    let (owner, other) = (session(&service, OWNER), session(&service, OTHER));
    let pool = service.create_pool(&owner, &region(4096), &options(2)).unwrap();
    let token = service.share_pool(&owner, pool.id, permit(Access::READ_ONLY)).unwrap();
    service.join_pool(&other, OTHER, &token).unwrap();
    service.end_session(other.id, Cause::Died);
    assert_eq!((service.pools.count(), service.pools.figures()), (1, (1, figures(2, 1))));
    service.end_session(owner.id, Cause::Died);
    assert_eq!((service.pools.count(), service.pools.figures()), (0, (0, PoolFigures::default())));
    assert_eq!(service.accounts.live().buffers, 0);
    let refused = service.create_pool(&owner, &region(4096), &options(1)).map(drop);
    assert_eq!(refused, Err(Refusal::SessionClosed));
}

#[test]
fn the_slots_of_a_pool_are_revoked_when_its_creator_ends_and_was_to_take_them_along() {
    let service = service();
    let (owner, other) = (session(&service, OWNER), session(&service, OTHER));
    let revocable = BufferDescriptor { flags: AllocationFlag::REVOKE_ON_DEATH.0, ..region(4096) };
    let pool = service.create_pool(&owner, &revocable, &options(1)).unwrap();
    let token = service.share_pool(&owner, pool.id, permit(Access::READ_WRITE)).unwrap();
    let joined = service.join_pool(&other, OTHER, &token).unwrap();
    let slot = joined.slots[0].buffer.fd.as_ref().unwrap();
    let mapping: Mapping<ReadWrite> = Mapping::new(slot.as_ref().as_fd(), 4096).unwrap();
    mapping.write(0, b"contents").unwrap();
    let seen = || {
        let mut seen = [0; 8];
        mapping.read(0, &mut seen).unwrap();
        seen
    };
    service.end_session(owner.id, Cause::Died);
    while seen() != [0; 8] {
        std::thread::yield_now();
    }
}

/// Hides all slots of a pool, as whoever has its table can.
fn hide_slots(answer: &BufferPool) {
    let table = answer.table.as_ref().unwrap();
    let table: Mapping<ReadWrite> = Mapping::new(table.as_ref().as_fd(), 4096).unwrap();
    table.fill(256, 32 * 8, 0xff).unwrap();
}

/// A part in a pool as its process has it.
fn participant(service: &Service, session: &Session, answer: &BufferPool) -> Participant {
    let page = |fd: &Option<ParcelFileDescriptor>| {
        fd.as_ref().unwrap().as_ref().as_fd().try_clone_to_owned().unwrap()
    };
    let (board, table) = (page(&answer.board), page(&answer.table));
    let claims = page(&answer.ownClaims);
    let (board, table, claims) = (board.as_fd(), table.as_fd(), claims.as_fd());
    let number = answer.participant as u32;
    let participant = Participant::new(&Pages { board, table, claims, number }).unwrap();
    let news = service.update_pool(session, answer.id, 0).unwrap();
    let claims = news.claims.into_iter();
    let claims = claims.map(|one| (one.participant as u32, one.fd.unwrap().into()));
    participant.learn(news.epoch as u32, &claims.collect::<Vec<_>>()).unwrap();
    participant
}

#[test]
fn what_a_participant_has_spoilt_is_put_right_when_it_ends() {
    const LONG: Duration = Duration::from_secs(60);
    for dies in [true, false] {
        let service = service();
        let (owner, other) = (session(&service, OWNER), session(&service, OTHER));
        let pool = service.create_pool(&owner, &region(4096), &options(2)).unwrap();
        let token = service.share_pool(&owner, pool.id, permit(Access::READ_WRITE)).unwrap();
        let hostile = service.join_pool(&other, OTHER, &token).unwrap();
        let survivor = participant(&service, &owner, &pool);
        hide_slots(&hostile);
        assert_eq!(survivor.try_acquire(), Ok(None));
        match dies {
            true => service.end_session(other.id, Cause::Died),
            false => service.leave_pool(&other, hostile.id).unwrap(),
        }
        // It sleeps and asks nobody, as a feed does.
        survivor.acquire(LONG).unwrap();
        survivor.acquire(LONG).unwrap();
    }
}

#[test]
fn whoever_asks_once_has_the_second_look_too() {
    let service = service();
    let owner = session(&service, OWNER);
    let pool = service.create_pool(&owner, &region(4096), &options(1)).unwrap();
    let survivor = participant(&service, &owner, &pool);
    for _ in 0..2 {
        hide_slots(&pool);
        assert_eq!(service.restore_pool(&owner, pool.id), Ok(0), "somebody may be at work");
        let slot = survivor.acquire(Duration::from_secs(60)).unwrap();
        assert!(!survivor.release(slot));
    }
}

#[test]
fn options_out_of_range_are_refused_with_their_limits() {
    let service = service();
    let owner = session(&service, OWNER);
    for (options, part) in [
        (Options { slots: 0, maxParticipants: 1, maxHeld: 0 }, "slots is 0, 1 to 32"),
        (Options { slots: 33, maxParticipants: 1, maxHeld: 0 }, "slots is 33, 1 to 32"),
        (Options { slots: 1, maxParticipants: 0, maxHeld: 0 }, "maxParticipants is 0, 1 to 16"),
        (Options { slots: 1, maxParticipants: 17, maxHeld: 0 }, "maxParticipants is 17, 1 to 16"),
        (Options { slots: 1, maxParticipants: 1, maxHeld: -1 }, "maxHeld is -1, 0 to 32"),
    ] {
        let refusal = service.create_pool(&owner, &region(4096), &options).map(drop).unwrap_err();
        assert_eq!(refusal.code(), AllocatorError::BAD_ARGUMENT);
        assert!(refusal.to_string().contains(part), "{part:?} in {refusal}");
    }
    let pool = service.create_pool(&owner, &region(4096), &options(1)).unwrap();
    for slots in [0, 33, -5] {
        let refusal = service.resize_pool(&owner, pool.id, slots).unwrap_err();
        assert_eq!(refusal.code(), AllocatorError::BAD_ARGUMENT);
    }
    assert_eq!(service.accounts.live().buffers, 2);
}

#[test]
fn participants_and_pools_are_limited() {
    let service = service();
    let (owner, other) = (session(&service, OWNER), session(&service, OTHER));
    let pool = service.create_pool(&owner, &region(4096), &options(1)).unwrap();
    let token = service.share_pool(&owner, pool.id, permit(Access::READ_WRITE)).unwrap();
    let joined = service.join_pool(&other, OTHER, &token).unwrap();
    let refusal = service.join_pool(&other, OTHER, &token).map(drop).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "quota exceeded: the pool uses 2 participants of at most 2; 1 more were asked for"
    );
    service.leave_pool(&other, joined.id).unwrap();
    // None of that used the token up, of whose eight uses seven are left.
    for _ in 0..7 {
        let joined = service.join_pool(&other, OTHER, &token).unwrap();
        assert!(service.join_pool(&other, OTHER, &token).is_err());
        service.leave_pool(&other, joined.id).unwrap();
    }
    assert_eq!(service.join_pool(&other, OTHER, &token).map(drop), Err(Refusal::BadToken));
    for _ in 1..PoolOptions::MAX_POOLS {
        service.create_pool(&owner, &region(4096), &options(1)).unwrap();
    }
    let refusal = service.create_pool(&owner, &region(4096), &options(1)).map(drop).unwrap_err();
    assert_eq!(refusal.code(), AllocatorError::QUOTA_EXCEEDED, "{refusal}");
}

#[test]
fn only_the_creator_shares_and_resizes() {
    let service = service();
    let (owner, other) = (session(&service, OWNER), session(&service, OTHER));
    let pool = service.create_pool(&owner, &region(4096), &options(1)).unwrap();
    let token = service.share_pool(&owner, pool.id, permit(Access::READ_WRITE)).unwrap();
    let joined = service.join_pool(&other, OTHER, &token).unwrap();
    let refusals = [
        service.share_pool(&other, joined.id, permit(Access::READ_WRITE)).map(drop),
        service.resize_pool(&other, joined.id, 2),
    ];
    for refusal in refusals {
        assert_eq!(refusal.unwrap_err().code(), AllocatorError::UNSUPPORTED);
    }
    let not_its = service.share_pool(&other, pool.id, permit(Access::READ_WRITE)).map(drop);
    assert_eq!(not_its, Err(Refusal::PoolNotFound(pool.id)));
}

#[test]
fn a_pool_grows_and_shrinks_in_the_books_too() {
    let service = service();
    let owner = session(&service, OWNER);
    let pool = service.create_pool(&owner, &region(4096), &options(2)).unwrap();
    service.resize_pool(&owner, pool.id, 5).unwrap();
    assert_eq!(owner.held().unwrap().owned, 5);
    let news = service.update_pool(&owner, pool.id, pool.epoch).unwrap();
    assert_eq!(news.slots.iter().map(|slot| slot.slot).collect::<Vec<_>>(), [2, 3, 4]);
    assert!(news.board.is_none());
    service.resize_pool(&owner, pool.id, 1).unwrap();
    assert_eq!(owner.held().unwrap().owned, 1);
    assert_eq!(service.accounts.live().buffers, 2);
}

#[test]
fn growth_beyond_a_limit_leaves_the_pool_as_it_was() {
    let limits = Limits { session_buffers: 4, ..Limits::of_machine(1 << 30, 4096) };
    let service = Service::with_limits(limits).unwrap();
    let owner = session(&service, OWNER);
    let pool = service.create_pool(&owner, &region(4096), &options(3)).unwrap();
    let refusal = service.resize_pool(&owner, pool.id, 5).unwrap_err();
    assert_eq!(refusal.code(), AllocatorError::TOO_MANY_BUFFERS, "{refusal}");
    assert_eq!(service.pools.figures().1.slots, 3);
    assert_eq!(owner.held().unwrap().owned, 3);
    let refusal = service.create_pool(&owner, &region(4096), &options(2)).map(drop).unwrap_err();
    assert_eq!(refusal.code(), AllocatorError::TOO_MANY_BUFFERS);
    assert_eq!((service.accounts.live().buffers, service.pools.figures().0), (4, 1));
}

/// What a uid keeps of the service's descriptors.
fn descriptors_of(service: &Service, uid: u32) -> u64 {
    let uids = service.accounts.uids();
    uids.iter().find(|(each, _)| *each == uid).map_or(0, |(_, used)| used.descriptors)
}

#[test]
fn the_pages_of_pools_are_charged_by_descriptors_to_the_session_and_to_the_uid() {
    let machine = Limits::of_machine(1 << 30, 4096);
    let limits = Limits { session_descriptors: 30, uid_descriptors: 45, ..machine };
    let service = Service::with_limits(limits).unwrap();
    let (owner, second) = (session(&service, OWNER), session(&service, OWNER));
    let large = Options { slots: 1, maxParticipants: 16, maxHeld: 0 };
    let pool = service.create_pool(&owner, &region(4096), &large).unwrap();
    // Those of 16 participants, of board and table, and the slot's.
    assert_eq!((owner.held().unwrap().descriptors, descriptors_of(&service, OWNER)), (19, 19));
    let refused = |session, options| {
        let refusal = service.create_pool(session, &region(4096), options).map(drop).unwrap_err();
        assert_eq!(refusal.code(), AllocatorError::TOO_MANY_FDS, "{refusal}");
        refusal.to_string()
    };
    let said = "this session uses 19 descriptors of at most 30; 18 more were asked for";
    assert!(refused(&owner, &large).contains(said));
    let many = Options { slots: 12, maxParticipants: 1, maxHeld: 0 };
    // The pages would fit, and not the slots: nothing of the pool is left.
    let said = "this session uses 22 descriptors of at most 30; 12 more were asked for";
    assert!(refused(&owner, &many).contains(said));
    assert_eq!((owner.held().unwrap().descriptors, descriptors_of(&service, OWNER)), (19, 19));
    service.create_pool(&second, &region(4096), &large).unwrap();
    let said = "uid 10001 uses 38 descriptors of at most 45; 18 more were asked for";
    assert!(refused(&session(&service, OWNER), &large).contains(said));
    let refusal = service.allocate(&second, &region(4096), 8).map(drop).unwrap_err();
    assert_eq!(refusal.code(), AllocatorError::TOO_MANY_FDS, "{refusal}");
    assert!(refusal.to_string().contains("uid 10001 uses 38"), "{refusal}");
    // Another uid has its own.
    let other = session(&service, OTHER);
    service.create_pool(&other, &region(4096), &large).unwrap();
    service.leave_pool(&owner, pool.id).unwrap();
    assert_eq!(owner.held().unwrap(), Default::default());
    service.end_session(second.id, Cause::Died);
    service.reclaimer.settle(OWNER);
    assert_eq!(descriptors_of(&service, OWNER), 0);
    service.create_pool(&owner, &region(4096), &large).unwrap();
}

#[test]
fn whoever_makes_all_the_pools_that_it_can_leaves_others_theirs() {
    let service = service();
    let large = Options { slots: 1, maxParticipants: 16, maxHeld: 0 };
    let mut pools = 0;
    loop {
        let greedy = session(&service, OWNER);
        let made = (0..PoolOptions::MAX_POOLS)
            .take_while(|_| service.create_pool(&greedy, &region(4096), &large).is_ok())
            .count();
        pools += made;
        if made < PoolOptions::MAX_POOLS as usize {
            break;
        }
    }
    let most = service.accounts.limits().uid_descriptors;
    assert_eq!(pools as u64, most / 19, "each keeps 18, and one for its slot");
    let other = session(&service, OTHER);
    for _ in 0..PoolOptions::MAX_POOLS / 2 {
        service.create_pool(&other, &region(4096), &large).unwrap();
    }
    service.allocate(&other, &region(4096), 64).map(drop).unwrap();
}

#[test]
fn a_session_has_so_many_tokens_however_many_pools_they_are_for() {
    let limits = Limits { session_tokens: 2, ..Limits::of_machine(1 << 30, 4096) };
    let service = Service::with_limits(limits).unwrap();
    let owner = session(&service, OWNER);
    let pools =
        [(); 2].map(|()| service.create_pool(&owner, &region(4096), &options(1)).unwrap().id);
    let buffer = service.allocate(&owner, &region(4096), 1).unwrap().0[0].id;
    let share_pool =
        |pool, permit| service.share_pool(&owner, pool, permit).map_err(|refusal| refusal.code());
    let share_buffer = || {
        service.share(&owner, buffer, permit(Access::READ_WRITE)).map_err(|refusal| refusal.code())
    };
    let lasting = permit(Access::READ_WRITE);
    let expired = Permit { lifetime: Duration::ZERO, ..lasting };
    share_pool(pools[0], expired).unwrap();
    for pool in pools {
        share_pool(pool, lasting).unwrap();
    }
    assert_eq!(share_pool(pools[1], lasting), Err(AllocatorError::QUOTA_EXCEEDED));
    assert_eq!(share_buffer(), Err(AllocatorError::QUOTA_EXCEEDED));
    assert_eq!(service.pools.tokens.usable(), 2, "those that were refused are gone");
    // With a pool its tokens go, and a buffer's count for pools.
    service.leave_pool(&owner, pools[0]).unwrap();
    share_buffer().unwrap();
    assert_eq!(share_pool(pools[1], lasting), Err(AllocatorError::QUOTA_EXCEEDED));
    service.end_session(owner.id, Cause::Died);
    assert_eq!((service.pools.tokens.usable(), service.tokens.usable()), (0, 0));
}

/// What a session of the model has: by the pool's id the descriptors of its pages and its slots, and
/// its other buffers.
#[derive(Default)]
struct Modelled {
    pools: Vec<(i64, u64, u64)>,
    buffers: Vec<i64>,
}

impl Modelled {
    fn descriptors(&self) -> u64 {
        let pools = self.pools.iter().map(|(_, pages, slots)| pages + slots);
        pools.sum::<u64>() + self.buffers.len() as u64
    }
}

/// Two uids with two sessions each, what they have by a model, and limits that they reach.
struct Books {
    service: Arc<Service>,
    sessions: Vec<(Arc<Session>, Modelled)>,
}

impl Books {
    const UIDS: [u32; 4] = [OWNER, OWNER, OTHER, OTHER];
    const OF_SESSION: u64 = 40;
    const OF_UID: u64 = 60;
    const OF_ALL: u64 = 100;

    fn new() -> Books {
        let limits = Limits {
            session_descriptors: Self::OF_SESSION,
            uid_descriptors: Self::OF_UID,
            service_descriptors: Self::OF_ALL,
            ..Limits::of_machine(1 << 30, 4096)
        };
        let service = Service::with_limits(limits).unwrap();
        let sessions = Self::UIDS.map(|uid| (session(&service, uid), Modelled::default()));
        Books { service, sessions: sessions.into() }
    }

    fn of_uid(&self, uid: u32) -> u64 {
        let own = self.sessions.iter().filter(|(session, _)| session.uid == uid);
        own.map(|(_, modelled)| modelled.descriptors()).sum()
    }

    /// Whether a session may have so many descriptors more.
    fn has_room(&self, who: usize, more: u64) -> bool {
        let (session, modelled) = &self.sessions[who];
        modelled.descriptors() + more <= Self::OF_SESSION
            && self.of_uid(session.uid) + more <= Self::OF_UID
            && self.of_uid(OWNER) + self.of_uid(OTHER) + more <= Self::OF_ALL
    }

    /// Does something, and answers whether it was done or refused as the model says.
    fn step(&mut self, (who, what, slots, participants): (usize, u8, i32, i32)) -> bool {
        let service = self.service.clone();
        let session = self.sessions[who].0.clone();
        let last = self.sessions[who].1.pools.last().copied();
        let more = match (what, last) {
            (0 | 1, _) => participants + 2 + slots,
            (2, _) => slots,
            (3, Some((.., before))) => slots - before as i32,
            _ => 0,
        };
        let has_room = self.has_room(who, more.max(0) as u64);
        let modelled = &mut self.sessions[who].1;
        let done = match (what, last) {
            (0 | 1, _) => {
                let options = Options { slots, maxParticipants: participants, maxHeld: 0 };
                service.create_pool(&session, &region(1), &options).map(|pool| {
                    modelled.pools.push((pool.id, participants as u64 + 2, slots as u64));
                })
            }
            (2, _) => service.allocate(&session, &region(1), slots).map(|(batch, _)| {
                modelled.buffers.extend(batch.iter().map(|fresh| fresh.id));
            }),
            (3, Some((id, pages, _))) => service.resize_pool(&session, id, slots).map(|()| {
                modelled.pools.pop();
                modelled.pools.push((id, pages, slots as u64));
            }),
            (4, Some((id, ..))) => {
                modelled.pools.pop();
                service.leave_pool(&session, id)
            }
            (5, _) => {
                let left = modelled.buffers.len().saturating_sub(slots as usize);
                match modelled.buffers.split_off(left) {
                    freed if freed.is_empty() => Ok(()),
                    freed => service.free(&session, &freed),
                }
            }
            (6, _) => {
                service.end_session(session.id, Cause::Died);
                let next = self::session(&service, session.uid);
                self.sessions[who] = (next, Modelled::default());
                Ok(())
            }
            _ => Ok(()),
        };
        match done {
            Ok(()) => has_room,
            Err(refusal) => !has_room && refusal.code() == AllocatorError::TOO_MANY_FDS,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn descriptors_of_pools_and_buffers_are_those_of_a_model_and_pass_no_limit(
        steps in proptest::collection::vec((0usize..4, 0u8..7, 1i32..12, 1i32..17), 1..40)
    ) {
        let mut books = Books::new();
        for step in steps {
            prop_assert!(books.step(step), "{:?}", step);
            for (session, modelled) in &books.sessions {
                prop_assert_eq!(session.held().unwrap().descriptors, modelled.descriptors());
            }
            for uid in [OWNER, OTHER] {
                // What was freed goes on another thread, or here.
                books.service.reclaimer.settle(uid);
                prop_assert_eq!(descriptors_of(&books.service, uid), books.of_uid(uid));
            }
        }
    }
}
