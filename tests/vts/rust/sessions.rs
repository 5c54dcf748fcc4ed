// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Sessions: their limits, their independence, their end, and what is left of buffers after it.

use std::time::Instant;

use berth_kernel::mapping::{Mapping, ReadWrite};
use vendor_berth_allocator::aidl::vendor::berth::allocator::{
    Access::Access, AllocationFlag::AllocationFlag, AllocatorError::AllocatorError,
    BufferDescriptor::BufferDescriptor, IAllocator::MAX_NAME_BYTES, PoolOptions::PoolOptions,
    ReattachEntry::ReattachEntry, SessionConfig::SessionConfig, ShareOptions::ShareOptions,
    ShareToken::ShareToken,
};

use crate::client::{callback, linear, refused, region, Client, Instance, One, PATIENCE};
use crate::tests;

tests![
    a_session_that_contradicts_the_limits_is_refused,
    a_session_holds_no_more_buffers_than_it_said,
    a_session_holds_no_more_bytes_than_it_said,
    sessions_know_nothing_of_each_others_buffers,
    every_method_of_an_ended_session_says_so,
    memory_outlives_its_session_unless_it_is_to_be_revoked,
    what_cannot_be_proven_is_not_attached,
];

fn config() -> SessionConfig {
    SessionConfig { name: "vts".to_owned(), ..Default::default() }
}

fn a_session_that_contradicts_the_limits_is_refused(instance: &Instance) {
    let said = instance.capabilities();
    let (allocator, other) = (instance.allocator(), instance.client());
    let named = |name: String| SessionConfig { name, ..config() };
    let wrong = [
        named("x".repeat(MAX_NAME_BYTES as usize + 1)),
        named("line\nbreak".to_owned()),
        SessionConfig { maxBytes: -1, ..config() },
        SessionConfig { maxBuffers: -1, ..config() },
        SessionConfig { maxBytes: said.maxSessionBytes.saturating_add(1), ..config() },
        SessionConfig { maxBuffers: said.maxSessionBuffers.saturating_add(1), ..config() },
    ];
    for config in wrong {
        let (callback, _) = callback();
        let error = refused(allocator.openSession(&config, &callback));
        assert_eq!(error, AllocatorError::BAD_ARGUMENT, "{config:?}");
    }
    let stats = other.session.getStats().expect("getStats");
    assert_eq!((stats.buffers, stats.bytes, stats.acquired), (0, 0, 0));
    assert_eq!((stats.maxBuffers, stats.maxBytes), (said.maxSessionBuffers, said.maxSessionBytes));
}

fn a_session_holds_no_more_buffers_than_it_said(instance: &Instance) {
    let client = instance.client_with(&SessionConfig { maxBuffers: 3, ..config() });
    assert_eq!(client.session.getStats().expect("getStats").maxBuffers, 3);
    let two = client.session.allocate(&region(1), 2).expect("allocate");
    let error = refused(client.session.allocate(&region(1), 2));
    assert_eq!(error, AllocatorError::TOO_MANY_BUFFERS, "all or none");
    let third = client.allocate(&region(1));
    assert_eq!(client.refusal(&region(1)), AllocatorError::TOO_MANY_BUFFERS);
    client.session.free(&[two.buffers.firstId]).expect("free");
    client.allocate(&region(1));
    client.session.free(&[third.buffer.id]).expect("free");
    assert_eq!(client.charged().0, 2);
}

fn a_session_holds_no_more_bytes_than_it_said(instance: &Instance) {
    let page = i64::from(instance.capabilities().pageSizeBytes);
    let client = instance.client_with(&SessionConfig { maxBytes: 4 * page, ..config() });
    assert_eq!(client.session.getStats().expect("getStats").maxBytes, 4 * page);
    // Without NO_POOL it may be given more than was asked for.
    let exact = |bytes| BufferDescriptor { flags: AllocationFlag::NO_POOL.0, ..region(bytes) };
    let three = client.allocate(&exact(3 * page));
    assert_eq!(client.refusal(&exact(page + 1)), AllocatorError::QUOTA_EXCEEDED);
    client.allocate(&exact(page));
    assert_eq!(client.refusal(&exact(1)), AllocatorError::QUOTA_EXCEEDED);
    client.session.free(&[three.buffer.id]).expect("free");
    client.allocate(&exact(1));
}

fn sessions_know_nothing_of_each_others_buffers(instance: &Instance) {
    let (one, other) = (instance.client(), instance.client());
    let id = one.allocate(&region(1)).buffer.id;
    assert_eq!(refused(other.session.get(id, Access::READ_WRITE)), AllocatorError::NOT_FOUND);
    assert_eq!(refused(other.session.free(&[id])), AllocatorError::NOT_FOUND);
    assert_eq!(refused(other.session.seal(id)), AllocatorError::NOT_FOUND);
    let shared = other.session.share(id, &ShareOptions { recipientUid: 0, ..Default::default() });
    assert_eq!(refused(shared), AllocatorError::NOT_FOUND);
    assert!(other.session.list(0).expect("list").is_empty());
    assert_eq!(one.charged().0, 1);
}

fn every_method_of_an_ended_session_says_so(instance: &Instance) {
    let client = instance.client();
    let id = client.allocate(&region(1)).buffer.id;
    let session = &client.session;
    session.close().expect("close");
    session.close().expect("closing it twice is no error");
    let (token, options) = (ShareToken::default(), ShareOptions::default());
    let ended = [
        refused(session.allocate(&region(1), 1)),
        refused(session.free(&[id])),
        refused(session.get(id, Access::READ_WRITE)),
        refused(session.seal(id)),
        refused(session.list(0)),
        refused(session.share(id, &options)),
        refused(session.acquire(&token)),
        refused(session.trim()),
        refused(session.getStats()),
        refused(session.createPool(&region(1), &PoolOptions::default())),
        refused(session.sharePool(id, &options)),
        refused(session.joinPool(&token)),
        refused(session.updatePool(id, 0)),
        refused(session.resizePool(id, 1)),
        refused(session.restorePool(id)),
        refused(session.leavePool(id)),
    ];
    for (at, error) in ended.iter().enumerate() {
        assert_eq!(*error, AllocatorError::SESSION_CLOSED, "the call with number {at}");
    }
}

fn memory_outlives_its_session_unless_it_is_to_be_revoked(instance: &Instance) {
    let client = instance.client();
    let kept = [client.allocate(&linear(4096)), client.allocate(&region(4096))];
    let flag = AllocationFlag::REVOKE_ON_DEATH.0;
    let revoked = (instance.capabilities().supportedFlags & flag != 0)
        .then(|| client.allocate(&BufferDescriptor { flags: flag, ..region(4096) }));
    let map = |one: &One| {
        let mapping = Mapping::<ReadWrite>::new(one.fd(), 4096).expect("a mapping");
        mapping.write(0, &[9]).expect("in range");
        mapping
    };
    let first = |mapping: &Mapping<ReadWrite>| {
        let mut byte = [0];
        mapping.read(0, &mut byte).expect("in range");
        byte[0]
    };
    let mapped: Vec<_> = kept.iter().map(map).collect();
    let mapped_revoked = revoked.as_ref().map(map);
    client.session.close().expect("close");
    for mapping in &mapped {
        assert_eq!(first(mapping), 9, "it stays with those who hold it");
    }
    if let Some(mapping) = mapped_revoked {
        let began = Instant::now();
        while first(&mapping) != 0 {
            assert!(began.elapsed() < PATIENCE, "the contents go when the session ends");
            std::thread::yield_now();
        }
    }
}

fn what_cannot_be_proven_is_not_attached(instance: &Instance) {
    let client = instance.client();
    // More than there may be, each with its descriptor, is more than some transports carry.
    assert_eq!(refused(client.session.reattach(&[])), AllocatorError::BAD_ARGUMENT);
    let before = client.charged();
    let results = client.session.reattach(&[forged(&client)]).expect("reattach");
    assert_eq!(results.len(), 1);
    assert_eq!(AllocatorError(results[0].error), AllocatorError::BAD_RECEIPT);
    assert!(!results[0].message.is_empty() && results[0].tokens == 0);
    assert_eq!(client.charged(), before, "nothing came into the books");
}

/// A region of ours, described rightly but for a receipt that nobody gave.
fn forged(client: &Client) -> ReattachEntry {
    let one = client.allocate(&region(1));
    let mut info = client.session.list(one.buffer.id - 1).expect("list").remove(0);
    client.session.free(&[one.buffer.id]).expect("free");
    info.receipt = info.receipt.wrapping_add(1).max(1);
    ReattachEntry { info, fd: one.buffer.fd, ..Default::default() }
}
