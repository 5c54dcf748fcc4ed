// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Pools in the books of the service; what participants do with them is tested where it is done.

use std::os::fd::AsFd;
use std::time::Duration;

use berth_kernel::mapping::{Mapping, ReadWrite};
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
    assert_eq!(service.pools.figures().1, figures(3, 2));
    service.leave_pool(&owner, pool.id).unwrap();
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
    assert_eq!(service.pools.figures(), (1, figures(2, 1)));
    service.end_session(owner.id, Cause::Died);
    assert_eq!(service.pools.figures(), (0, PoolFigures::default()));
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
