// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! `allocateAgain` and `allocateOneAgain`: more of what was allocated, by a number.

use vendor_berth_allocator::aidl::vendor::berth::allocator::{
    Access::Access, AllocatorError::AllocatorError, BufferDescriptor::BufferDescriptor,
    IAllocator::MAX_BATCH, IAllocatorSession::REMEMBERED_REQUESTS,
};

use crate::client::{each, linear, refused, region, Client, Instance};
use crate::tests;

tests![
    more_of_a_request_is_what_the_request_says,
    the_last_requests_are_remembered_when_their_buffers_are_gone,
    what_is_not_remembered_is_not_found,
    more_is_counted_and_limited_like_any_allocation,
];

fn named(name: &str, descriptor: BufferDescriptor) -> BufferDescriptor {
    BufferDescriptor { name: name.to_owned(), ..descriptor }
}

/// The number of a request, whose buffer is freed.
fn remembered(client: &Client, descriptor: &BufferDescriptor) -> i32 {
    let first = client.session.allocate(descriptor, 1).expect("allocate");
    assert!(first.requestId > 0, "a heap that serves it best serves it");
    client.session.free(&[first.buffers.firstId]).expect("free");
    first.requestId
}

fn more_of_a_request_is_what_the_request_says(instance: &Instance) {
    let client = instance.client();
    for descriptor in [named("lines", linear(5000)), named("shared", region(5000))] {
        let first = client.session.allocate(&descriptor, 1).expect("allocate");
        let more = client.session.allocateAgain(first.requestId, 3).expect("allocateAgain");
        let one = client.session.allocateOneAgain(first.requestId).expect("allocateOneAgain");
        let mut buffers = each(first.buffers);
        buffers.extend(each(more));
        buffers.push(one);
        assert_eq!(buffers.len(), 5);
        let infos = client.session.list(0).expect("list");
        assert_eq!(infos.len(), 5);
        for (info, buffer) in infos.iter().zip(&buffers) {
            assert_eq!((info.id, info.flags), (buffer.id, buffer.flags));
            assert_eq!(info.request, descriptor);
            assert_eq!(info.layout, first.layout, "of one heap, and laid out alike");
            let again = client.session.get(info.id, Access::READ_WRITE).expect("get").info;
            assert_eq!((again.device, again.inode), (info.device, info.inode));
        }
        let ids: Vec<i64> = infos.iter().map(|info| info.id).collect();
        client.session.free(&ids).expect("free");
    }
}

fn the_last_requests_are_remembered_when_their_buffers_are_gone(instance: &Instance) {
    let client = instance.client();
    let numbers: Vec<(i64, i32)> = (1..=i64::from(REMEMBERED_REQUESTS) + 1)
        .map(|bytes| (bytes, remembered(&client, &linear(bytes))))
        .collect();
    let error = refused(client.session.allocateAgain(numbers[0].1, 1));
    assert_eq!(error, AllocatorError::NOT_FOUND, "the oldest is forgotten");
    for (bytes, number) in &numbers[1..] {
        let more = client.session.allocateAgain(*number, 1).expect("allocateAgain").firstId;
        let one = client.session.allocateOneAgain(*number).expect("allocateOneAgain").id;
        for id in [more, one] {
            let info = client.session.get(id, Access::READ_WRITE).expect("get").info;
            assert_eq!(info.layout.sizeBytes, *bytes);
        }
        client.session.free(&[more, one]).expect("free");
    }
}

fn what_is_not_remembered_is_not_found(instance: &Instance) {
    let (client, other) = (instance.client(), instance.client());
    let number = remembered(&client, &linear(1));
    for unknown in [0, -1, i32::MIN, i32::MAX, number.saturating_add(1)] {
        let error = refused(client.session.allocateAgain(unknown, 1));
        assert_eq!(error, AllocatorError::NOT_FOUND, "{unknown}");
        let error = refused(client.session.allocateOneAgain(unknown));
        assert_eq!(error, AllocatorError::NOT_FOUND, "{unknown}, of one");
    }
    let error = refused(other.session.allocateAgain(number, 1));
    assert_eq!(error, AllocatorError::NOT_FOUND, "another session's number");
    client.session.close().expect("close");
    let error = refused(client.session.allocateAgain(number, 1));
    assert_eq!(error, AllocatorError::SESSION_CLOSED);
    let error = refused(client.session.allocateOneAgain(number));
    assert_eq!(error, AllocatorError::SESSION_CLOSED);
}

fn more_is_counted_and_limited_like_any_allocation(instance: &Instance) {
    let client = instance.client();
    let number = remembered(&client, &region(1));
    for count in [i32::MIN, -1, 0, MAX_BATCH + 1, i32::MAX] {
        let error = refused(client.session.allocateAgain(number, count));
        assert_eq!(error, AllocatorError::BAD_ARGUMENT, "{count}");
    }
    assert_eq!(client.charged(), (0, 0));
    let page = i64::from(instance.capabilities().pageSizeBytes);
    client.session.allocateAgain(number, 1).expect("allocateAgain");
    client.session.allocateOneAgain(number).expect("allocateOneAgain");
    assert_eq!(client.charged(), (2, 2 * page));
}
