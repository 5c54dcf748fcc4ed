// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Tokens: whom they let in, how often, to what, and what becomes of them.
//!
//! The suite is one process with one uid: another uid is one that a token is not for.

use berth_kernel::mapping::{Mapping, ReadWrite};
use nix::unistd::Uid;
use vendor_berth_allocator::aidl::vendor::berth::allocator::{
    Access::Access,
    AllocatorError::AllocatorError,
    BufferInfo::{FLAG_ACQUIRED, FLAG_GIVEN_UP},
    ShareOptions::{ShareOptions, MAX_LIFETIME_MILLIS, MAX_USES},
    ShareToken::ShareToken,
};

use crate::client::{each, fd, linear, refused, region, Instance};
use crate::tests;

tests![
    a_token_gives_the_same_memory_under_an_id_of_its_own,
    a_token_opens_nothing_for_another_uid,
    a_token_is_used_up,
    a_token_that_nobody_made_opens_nothing,
    a_token_ends_with_its_buffer,
    those_who_acquired_a_buffer_hear_that_it_is_gone,
    they_hear_so_too_when_its_session_is_only_let_go,
    a_token_that_is_none_is_not_made,
    what_was_acquired_cannot_be_shared_or_sealed,
    access_that_is_only_to_read_stays_so,
    tokens_differ,
];

fn own_uid() -> i32 {
    i32::try_from(Uid::current().as_raw()).expect("a uid")
}

fn once() -> ShareOptions {
    // As long as may be: no test is to be late.
    ShareOptions {
        recipientUid: own_uid(),
        lifetimeMillis: MAX_LIFETIME_MILLIS,
        ..Default::default()
    }
}

fn a_token_gives_the_same_memory_under_an_id_of_its_own(instance: &Instance) {
    let (owner, taker) = (instance.client(), instance.client());
    for descriptor in [linear(4096), region(4096)] {
        let one = owner.allocate(&descriptor);
        let token = owner.session.share(one.buffer.id, &once()).expect("share");
        let taken = taker.session.acquire(&token).expect("acquire");
        assert_eq!((taken.info.ownerId, &taken.info.layout), (one.buffer.id, &one.layout));
        assert_eq!(taken.info.flags & (FLAG_ACQUIRED | FLAG_GIVEN_UP), FLAG_ACQUIRED);
        assert_eq!(taken.info.access, Access::READ_WRITE);
        let [mine, theirs] = [one.fd(), fd(&taken.fd)]
            .map(|fd| Mapping::<ReadWrite>::new(fd, 4096).expect("a mapping"));
        theirs.write(0, b"shared").expect("in range");
        let mut seen = [0; 6];
        mine.read(0, &mut seen).expect("in range");
        assert_eq!(&seen, b"shared");
        let stats = taker.session.getStats().expect("getStats");
        assert_eq!((stats.buffers, stats.bytes, stats.acquired), (0, 0, 1), "the owner is charged");
        assert_eq!(owner.charged(), (1, one.layout.allocationBytes));
        taker.session.free(&[taken.info.id]).expect("freed like any other");
        assert_eq!(taker.session.getStats().expect("getStats").acquired, 0);
        assert_eq!(owner.charged().0, 1, "which frees nothing of the owner's");
        owner.session.free(&[one.buffer.id]).expect("free");
    }
}

fn a_token_opens_nothing_for_another_uid(instance: &Instance) {
    let (owner, taker) = (instance.client(), instance.client());
    let id = owner.allocate(&region(1)).buffer.id;
    let other = ShareOptions { recipientUid: own_uid() + 1, ..once() };
    let token = owner.session.share(id, &other).expect("share");
    assert_eq!(refused(taker.session.acquire(&token)), AllocatorError::BAD_TOKEN);
    assert!(taker.session.list(0).expect("list").is_empty());
}

fn a_token_is_used_up(instance: &Instance) {
    let (owner, taker) = (instance.client(), instance.client());
    let id = owner.allocate(&region(1)).buffer.id;
    let token = owner.session.share(id, &ShareOptions { uses: 2, ..once() }).expect("share");
    for _ in 0..2 {
        taker.session.acquire(&token).expect("acquire");
    }
    assert_eq!(refused(taker.session.acquire(&token)), AllocatorError::BAD_TOKEN);
}

fn a_token_that_nobody_made_opens_nothing(instance: &Instance) {
    let (owner, taker) = (instance.client(), instance.client());
    let id = owner.allocate(&region(1)).buffer.id;
    let made = owner.session.share(id, &once()).expect("share");
    let mut forged = made.value;
    forged[0] ^= 1;
    for value in [forged, [0; 16], [0xff; 16]] {
        let error = refused(taker.session.acquire(&ShareToken { value }));
        assert_eq!(error, AllocatorError::BAD_TOKEN);
        let error = refused(taker.session.joinPool(&ShareToken { value }));
        assert_eq!(error, AllocatorError::BAD_TOKEN);
    }
    assert_eq!(refused(taker.session.joinPool(&made)), AllocatorError::BAD_TOKEN, "for a buffer");
    taker.session.acquire(&made).expect("none of it used the token up");
}

fn a_token_ends_with_its_buffer(instance: &Instance) {
    let (owner, taker) = (instance.client(), instance.client());
    let batch = owner.session.allocate(&region(1), 2).expect("allocate");
    let batch = each(batch.buffers);
    let share = |id| owner.session.share(id, &once()).expect("share");
    let tokens: Vec<ShareToken> = batch.iter().map(|buffer| share(buffer.id)).collect();
    owner.session.free(&[batch[0].id]).expect("free");
    assert_eq!(refused(taker.session.acquire(&tokens[0])), AllocatorError::BAD_TOKEN);
    owner.session.close().expect("close");
    assert_eq!(refused(taker.session.acquire(&tokens[1])), AllocatorError::BAD_TOKEN);
}

fn those_who_acquired_a_buffer_hear_that_it_is_gone(instance: &Instance) {
    let (owner, taker) = (instance.client(), instance.client());
    for freed in [true, false] {
        let one = owner.allocate(&region(1));
        let token = owner.session.share(one.buffer.id, &once()).expect("share");
        let taken = taker.session.acquire(&token).expect("acquire");
        if freed {
            owner.session.free(&[one.buffer.id]).expect("free");
        } else {
            owner.session.close().expect("close");
        }
        assert_eq!(taker.await_gone(), [taken.info.id]);
        let listed = taker.session.list(taken.info.id - 1).expect("list").remove(0);
        assert_eq!((listed.id, listed.flags & FLAG_GIVEN_UP), (taken.info.id, FLAG_GIVEN_UP));
        taker.session.get(taken.info.id, Access::READ_WRITE).expect("it stays with the taker");
    }
}

fn they_hear_so_too_when_its_session_is_only_let_go(instance: &Instance) {
    let (owner, taker) = (instance.client(), instance.client());
    let one = owner.allocate(&region(1));
    let token = owner.session.share(one.buffer.id, &once()).expect("share");
    let taken = taker.session.acquire(&token).expect("acquire");
    drop(owner);
    assert_eq!(taker.await_gone(), [taken.info.id]);
}

fn a_token_that_is_none_is_not_made(instance: &Instance) {
    let owner = instance.client();
    let id = owner.allocate(&region(1)).buffer.id;
    let wrong = [
        ShareOptions { recipientUid: -1, ..once() },
        ShareOptions { uses: 0, ..once() },
        ShareOptions { uses: MAX_USES + 1, ..once() },
        ShareOptions { lifetimeMillis: 0, ..once() },
        ShareOptions { lifetimeMillis: MAX_LIFETIME_MILLIS + 1, ..once() },
        ShareOptions { access: Access(99), ..once() },
    ];
    for options in wrong {
        let error = refused(owner.session.share(id, &options));
        assert_eq!(error, AllocatorError::BAD_ARGUMENT, "{options:?}");
    }
    assert_eq!(refused(owner.session.share(i64::MAX, &once())), AllocatorError::NOT_FOUND);
    let one = owner.allocate(&linear(1));
    let read_only = ShareOptions { access: Access::READ_ONLY, ..once() };
    if one.layout.dmaBuf {
        let error = refused(owner.session.share(one.buffer.id, &read_only));
        assert_eq!(error, AllocatorError::UNSUPPORTED, "a dma-buf knows no weaker descriptor");
    }
}

fn what_was_acquired_cannot_be_shared_or_sealed(instance: &Instance) {
    let (owner, taker) = (instance.client(), instance.client());
    let id = owner.allocate(&region(1)).buffer.id;
    let token = owner.session.share(id, &once()).expect("share");
    let taken = taker.session.acquire(&token).expect("acquire").info.id;
    assert_eq!(refused(taker.session.share(taken, &once())), AllocatorError::UNSUPPORTED);
    assert_eq!(refused(taker.session.seal(taken)), AllocatorError::UNSUPPORTED);
}

fn access_that_is_only_to_read_stays_so(instance: &Instance) {
    let (owner, taker) = (instance.client(), instance.client());
    let one = owner.allocate(&region(4096));
    let read_only = ShareOptions { access: Access::READ_ONLY, ..once() };
    let token = match owner.session.share(one.buffer.id, &read_only) {
        Ok(token) => token,
        // ashmem knows no such descriptor before it is sealed.
        error => return assert_eq!(refused(error), AllocatorError::UNSUPPORTED),
    };
    let taken = taker.session.acquire(&token).expect("acquire");
    assert_eq!(taken.info.access, Access::READ_ONLY);
    assert!(taken.secondFd.is_none());
    assert!(Mapping::<ReadWrite>::new(fd(&taken.fd), 4096).is_err());
    let more = taker.session.get(taken.info.id, Access::READ_WRITE);
    assert_eq!(refused(more), AllocatorError::UNSUPPORTED);
    let same = taker.session.get(taken.info.id, Access::READ_ONLY).expect("get");
    assert!(Mapping::<ReadWrite>::new(fd(&same.fd), 4096).is_err());
}

fn tokens_differ(instance: &Instance) {
    let owner = instance.client();
    let id = owner.allocate(&region(1)).buffer.id;
    let token = || owner.session.share(id, &once()).expect("share").value;
    let tokens: std::collections::BTreeSet<[u8; 16]> = (0..64).map(|_| token()).collect();
    assert_eq!(tokens.len(), 64);
}
