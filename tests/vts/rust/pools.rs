// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Pools, as far as the service has to do with them: their parts, who may join, and how they end.

use berth_kernel::identity;
use berth_kernel::mapping::{Mapping, ReadOnly, ReadWrite};
use nix::unistd::Uid;
use vendor_berth_allocator::aidl::vendor::berth::allocator::{
    AllocatorError::AllocatorError,
    BufferPool::BufferPool,
    PoolOptions::{PoolOptions, MAX_PARTICIPANTS, MAX_SLOTS},
    ShareOptions::ShareOptions,
};

use crate::client::{fd, linear, refused, Client, Instance};
use crate::tests;

tests![
    a_pool_has_its_pages_and_a_buffer_for_each_slot,
    a_pool_that_is_none_is_refused,
    who_joins_gets_the_same_slots_and_a_part_of_its_own,
    a_pool_takes_no_more_participants_than_it_said,
    a_pool_is_resized_by_its_creator_only,
    a_pool_that_was_left_is_not_there,
];

/// Bytes of the board, and of the table.
const PAGE_BYTES: u64 = 4096;
/// Bytes of a participant's claims.
const CLAIMS_BYTES: u64 = 8192;

fn options(slots: i32, participants: i32) -> PoolOptions {
    PoolOptions { slots, maxParticipants: participants, ..Default::default() }
}

fn to_all_of_us() -> ShareOptions {
    let recipient = i32::try_from(Uid::current().as_raw()).expect("a uid");
    ShareOptions { recipientUid: recipient, uses: 8, lifetimeMillis: 600_000, ..Default::default() }
}

fn create(client: &Client, slots: i32, participants: i32) -> BufferPool {
    client.session.createPool(&linear(4096), &options(slots, participants)).expect("createPool")
}

fn a_pool_has_its_pages_and_a_buffer_for_each_slot(instance: &Instance) {
    let client = instance.client();
    let pool = create(&client, 3, 2);
    let board = Mapping::<ReadOnly>::new(fd(&pool.board), PAGE_BYTES).expect("the board");
    let mut letters = [0; 4];
    board.read(0, &mut letters).expect("in range");
    assert_eq!(&letters, b"BPL1");
    assert!(Mapping::<ReadWrite>::new(fd(&pool.board), PAGE_BYTES).is_err(), "it reads only");
    Mapping::<ReadWrite>::new(fd(&pool.table), PAGE_BYTES).expect("the table");
    Mapping::<ReadWrite>::new(fd(&pool.ownClaims), CLAIMS_BYTES).expect("one's own claims");
    let mut slots: Vec<i32> = pool.slots.iter().map(|slot| slot.slot).collect();
    slots.sort_unstable();
    assert_eq!(slots, [0, 1, 2]);
    for slot in &pool.slots {
        let bytes = identity::size(fd(&slot.buffer.fd)).expect("a size");
        assert!(bytes >= 4096);
    }
    assert_eq!(client.charged().0, 3, "the pages are charged to the uid alone");
    assert!(client.session.list(0).expect("list").is_empty(), "they are not in the list");
    client.session.leavePool(pool.id).expect("leavePool");
    assert_eq!(client.charged(), (0, 0));
}

fn a_pool_that_is_none_is_refused(instance: &Instance) {
    let client = instance.client();
    let wrong = [
        options(0, 2),
        options(MAX_SLOTS + 1, 2),
        options(2, 0),
        options(2, MAX_PARTICIPANTS + 1),
        PoolOptions { maxHeld: -1, ..options(2, 2) },
        PoolOptions { maxHeld: MAX_SLOTS + 1, ..options(2, 2) },
    ];
    for options in wrong {
        let error = refused(client.session.createPool(&linear(1), &options));
        assert_eq!(error, AllocatorError::BAD_ARGUMENT, "{options:?}");
    }
    let error = refused(client.session.createPool(&linear(0), &options(2, 2)));
    assert_eq!(error, AllocatorError::BAD_DESCRIPTOR);
    assert_eq!(client.charged(), (0, 0));
}

fn who_joins_gets_the_same_slots_and_a_part_of_its_own(instance: &Instance) {
    let (creator, joiner) = (instance.client(), instance.client());
    let pool = create(&creator, 2, 2);
    let token = creator.session.sharePool(pool.id, &to_all_of_us()).expect("sharePool");
    let error = refused(joiner.session.acquire(&token));
    assert_eq!(error, AllocatorError::BAD_TOKEN, "it is for a pool");
    let joined = joiner.session.joinPool(&token).expect("joinPool");
    assert_ne!(joined.participant, pool.participant);
    assert_eq!(joined.slots.len(), pool.slots.len());
    let write = |pool: &BufferPool, value: u8| {
        let table = Mapping::<ReadWrite>::new(fd(&pool.table), PAGE_BYTES).expect("the table");
        let mut before = [0];
        // Bytes that no one but this test looks at.
        table.read(4000, &mut before).expect("in range");
        table.write(4000, &[value]).expect("in range");
        before[0]
    };
    assert_eq!((write(&pool, 1), write(&joined, 2), write(&pool, 0)), (0, 1, 2), "one table");
    // Of the other's claims each has a descriptor that reads only.
    let [others] = &joined.claims[..] else { panic!("{} other participants", joined.claims.len()) };
    assert_eq!(others.participant, pool.participant);
    assert!(Mapping::<ReadOnly>::new(fd(&others.fd), CLAIMS_BYTES).is_ok());
    assert!(Mapping::<ReadWrite>::new(fd(&others.fd), CLAIMS_BYTES).is_err());
    let news = creator.session.updatePool(pool.id, pool.epoch).expect("updatePool");
    let came: Vec<i32> = news.claims.iter().map(|claims| claims.participant).collect();
    assert_eq!(came, [joined.participant]);
    assert!(news.board.is_none() && news.table.is_none() && news.ownClaims.is_none());
    assert_eq!(joiner.charged(), (0, 0), "the creator is charged");
}

fn a_pool_takes_no_more_participants_than_it_said(instance: &Instance) {
    let creator = instance.client();
    let pool = create(&creator, 1, 2);
    let token = creator.session.sharePool(pool.id, &to_all_of_us()).expect("sharePool");
    let (second, third) = (instance.client(), instance.client());
    let joined = second.session.joinPool(&token).expect("joinPool");
    assert_eq!(refused(third.session.joinPool(&token)), AllocatorError::QUOTA_EXCEEDED);
    second.session.leavePool(joined.id).expect("leavePool");
    third.session.joinPool(&token).expect("there is room again");
}

fn a_pool_is_resized_by_its_creator_only(instance: &Instance) {
    let (creator, joiner) = (instance.client(), instance.client());
    let pool = create(&creator, 2, 2);
    let token = creator.session.sharePool(pool.id, &to_all_of_us()).expect("sharePool");
    let joined = joiner.session.joinPool(&token).expect("joinPool");
    assert_eq!(refused(joiner.session.resizePool(joined.id, 1)), AllocatorError::UNSUPPORTED);
    for slots in [0, -1, MAX_SLOTS + 1] {
        let error = refused(creator.session.resizePool(pool.id, slots));
        assert_eq!(error, AllocatorError::BAD_ARGUMENT, "{slots}");
    }
    creator.session.resizePool(pool.id, 4).expect("resizePool");
    assert_eq!(creator.charged().0, 4);
    let news = joiner.session.updatePool(joined.id, joined.epoch).expect("updatePool");
    assert_eq!(news.slots.len(), 2, "the slots that were added");
    creator.session.resizePool(pool.id, 1).expect("resizePool");
    assert_eq!(creator.charged().0, 1, "slots that are free go at once");
}

fn a_pool_that_was_left_is_not_there(instance: &Instance) {
    let (creator, joiner) = (instance.client(), instance.client());
    let pool = create(&creator, 1, 4);
    let token = creator.session.sharePool(pool.id, &to_all_of_us()).expect("sharePool");
    let joined = joiner.session.joinPool(&token).expect("joinPool");
    creator.session.leavePool(pool.id).expect("leavePool");
    assert_eq!(refused(joiner.session.joinPool(&token)), AllocatorError::BAD_TOKEN, "it ended");
    let board = Mapping::<ReadOnly>::new(fd(&joined.board), PAGE_BYTES).expect("the board");
    let mut closed = [0; 4];
    board.read(8, &mut closed).expect("in range");
    assert_ne!(u32::from_ne_bytes(closed), 0, "those that take part are told");
    let session = &creator.session;
    assert_eq!(refused(session.leavePool(pool.id)), AllocatorError::NOT_FOUND);
    assert_eq!(refused(session.updatePool(pool.id, 0)), AllocatorError::NOT_FOUND);
    assert_eq!(refused(session.resizePool(pool.id, 1)), AllocatorError::NOT_FOUND);
    assert_eq!(refused(session.restorePool(pool.id)), AllocatorError::NOT_FOUND);
    assert_eq!(refused(session.sharePool(pool.id, &to_all_of_us())), AllocatorError::NOT_FOUND);
}
