// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! The service dies, and one that follows is given everything back by those who hold it.

use berth_end_to_end::facilities::{missing, Facility};
use berth_end_to_end::harness::{Client, Device, APP, OTHER_APP, THIRD_APP};
use berth_end_to_end::protocol::{Answer, Ask, Descriptor, Forgery, Handle, Restart, Restored};
use berth_selinux::denials::Watch;

use crate::flag::{READ_ONLY_VIEW, REVOKE_ON_DEATH};
use crate::selinux::denied;
use crate::{code, format};

/// Each kind of memory that there is anywhere.
fn kinds() -> Vec<Descriptor> {
    vec![
        Descriptor::region(5000).named("a region"),
        Descriptor::region(4096).with_flags(REVOKE_ON_DEATH).named("to be revoked"),
        Descriptor::linear(100_000).named("a buffer"),
        Descriptor::image(64, 64, format::RGBA_8888).named("an image"),
    ]
}

#[test]
fn buffers_outlive_the_service_with_their_ids_names_bytes_tokens_and_takers() {
    let device = Device::start();
    let owner = device.client(APP).with_session();
    let taker = device.client(OTHER_APP).with_session();
    let ours: Vec<_> = kinds().iter().map(|kind| owner.allocate_one(kind)).collect();
    for held in &ours {
        owner.write(held.handle, 0, held.info.descriptor.name.as_bytes());
    }
    let shared = &ours[0];
    let token = owner.share_for(shared.handle, OTHER_APP as i32, 2, 60_000, false).unwrap();
    let theirs = taker.acquire(token).unwrap();
    let sealed = owner.allocate_one(&Descriptor::region(4096).named("published"));
    owner.seal(sealed.handle).unwrap();
    let reader = owner.share_for(sealed.handle, OTHER_APP as i32, 1, 60_000, true).unwrap();
    let read = taker.acquire(reader).unwrap();
    let before = (owner.list().unwrap(), taker.list().unwrap(), device.figures());
    let proofs: Vec<_> = ours.iter().map(|held| owner.proof(held.handle).identity).collect();

    device.kill_service();
    owner.await_lost();
    // Nobody needs the service to look at what is his.
    taker.write(theirs.handle, 100, b"meanwhile");
    assert_eq!(owner.read(shared.handle, 100, 9), b"meanwhile");
    device.start_service();
    let ids = |infos: &[berth_end_to_end::protocol::Info]| infos.iter().map(|i| i.id).collect();
    let whole = |buffers: Vec<i64>| Restored { buffers, failed: Vec::new() };
    assert_eq!(owner.await_restored(), whole(ids(&before.0)));
    assert_eq!(taker.await_restored(), whole(ids(&before.1)));

    assert_eq!(owner.list().unwrap(), before.0);
    assert_eq!(taker.list().unwrap(), before.1);
    let now = device.figures();
    let held =
        |of: &berth_end_to_end::protocol::Figures| (of.sessions, of.buffers, of.bytes, of.others);
    assert_eq!(held(&now), held(&before.2));
    for (held, identity) in ours.iter().zip(proofs) {
        let name = held.info.descriptor.name.as_bytes();
        assert_eq!(owner.read(held.handle, 0, name.len()), name);
        let again = owner.get(held.info.id, false).unwrap();
        assert_eq!(owner.proof(again.handle).identity, identity, "the service has the same memory");
    }
    assert_eq!(taker.get(read.info.id, false).unwrap_err().code, code::UNSUPPORTED, "still sealed");

    let second = taker.acquire(token).unwrap();
    assert_eq!(taker.read(second.handle, 100, 9), b"meanwhile");
    assert_eq!(taker.acquire(token).unwrap_err().code, code::BAD_TOKEN, "it had two uses");
    owner.free(&[shared.info.id]).unwrap();
    let mut gone = taker.await_gone();
    gone.sort_unstable();
    assert_eq!(gone, [theirs.info.id, second.info.id]);
    let fresh = owner.allocate_one(&Descriptor::region(1));
    assert!(before.0.iter().all(|info| info.id < fresh.info.id), "no id is used again");
    owner.drop_session();
    taker.drop_session();
    device.await_figures("all is given back", |now| (now.sessions, now.buffers) == (0, 0));
}

#[test]
fn buffers_outlive_several_services_and_what_is_freed_between_them_stays_free() {
    let device = Device::start();
    let client = device.client(APP).with_session();
    let mut held: Vec<_> = (0..6).map(|_| client.allocate_one(&Descriptor::linear(4096))).collect();
    while let Some(freed) = held.pop() {
        device.kill_service();
        client.await_lost();
        client.drop_buffer(freed.handle);
        device.start_service();
        let expected: Vec<i64> = held.iter().map(|held| held.info.id).collect();
        assert_eq!(client.await_restored().buffers, expected);
        let listed: Vec<i64> = client.list().unwrap().iter().map(|info| info.id).collect();
        assert_eq!(listed, expected);
    }
}

#[test]
fn locks_of_a_taker_do_not_keep_an_owner_from_presenting_his_buffer() {
    let device = Device::start();
    let owner = device.client(APP).with_session();
    let taker = device.client(OTHER_APP).with_session();
    let held = owner.allocate_one(&Descriptor::linear(4096));
    let seen = taker.acquire(owner.share(held.handle, OTHER_APP)).unwrap();
    // Each is a line of what the kernel says of the buffer.
    taker.ask(Ask::Lock(seen.handle, 3000)).unwrap();
    device.kill_service();
    owner.await_lost();
    device.start_service();
    assert_eq!(owner.await_restored().buffers, [held.info.id]);
}

#[test]
fn calls_wait_for_the_next_service_and_what_is_asked_twice_is_answered_once() {
    let device = Device::start();
    let client = device.client(APP).with_session();
    let held = client.allocate_one(&Descriptor::region(4096));
    device.kill_service();
    client.begin(&Ask::Allocate(Descriptor::region(1), 3));
    device.start_service();
    let Answer::Held(more) = client.finish() else { panic!("no buffers") };
    let ids: Vec<i64> = client.list().unwrap().iter().map(|info| info.id).collect();
    assert_eq!(ids.len(), 4);
    assert!(ids.contains(&held.info.id) && more.iter().all(|one| ids.contains(&one.info.id)));
    assert_eq!(device.figures().buffers, 4);
}

#[test]
fn a_session_gives_up_in_time_and_its_memory_stays_usable() {
    let device = Device::start();
    let client = device.client(APP);
    client.open_reconnecting("impatient", 200);
    let held = client.allocate_one(&Descriptor::region(4096));
    let token = client.share(held.handle, OTHER_APP);
    device.kill_service();
    client.await_given_up();
    let error = client.fails(Ask::List);
    assert!(error.contains("the allocator service died"), "{error}");
    client.write(held.handle, 0, b"still here");
    device.await_true("its thread ends", || (client.reconnecting_threads() == 0).then_some(()));
    device.start_service();
    assert_eq!(device.figures().buffers, 0);
    let other = device.client(OTHER_APP).with_session();
    assert_eq!(other.acquire(token).unwrap_err().code, code::BAD_TOKEN);
    client.drop_session();
    // A session that is opened now has nothing to do with the one before.
    client.open("again").unwrap();
    assert_eq!(client.list().unwrap(), []);
}

#[test]
fn whoever_drops_a_session_looks_for_no_service() {
    let device = Device::start();
    let client = device.client(APP);
    client.open_reconnecting("patient", 3_600_000);
    client.allocate_one(&Descriptor::region(4096));
    device.kill_service();
    client.await_lost();
    assert_eq!(client.reconnecting_threads(), 1);
    client.drop_session();
    device.await_true("the thread ends", || (client.reconnecting_threads() == 0).then_some(()));
    device.start_service();
    assert_eq!(device.figures().sessions, 0);
}

#[test]
fn a_region_to_be_revoked_is_revoked_by_the_service_that_follows() {
    let device = Device::start();
    let owner = device.client(APP).with_session();
    let taker = device.client(OTHER_APP).with_session();
    let region = Descriptor::region(4096).with_flags(REVOKE_ON_DEATH);
    let ours = owner.allocate_one(&region);
    owner.write(ours.handle, 0, b"a secret");
    let theirs = taker.acquire(owner.share(ours.handle, OTHER_APP)).unwrap();
    device.restart_service();
    owner.await_restored();
    taker.await_restored();
    assert_eq!(taker.read(theirs.handle, 0, 8), b"a secret");
    owner.kill();
    device
        .await_true("it is revoked", || (taker.read(theirs.handle, 0, 8) == [0; 8]).then_some(()));
}

#[test]
fn memory_whose_owner_died_with_the_service_is_charged_to_who_holds_it() {
    let device = Device::start();
    let owner = device.client(APP).with_session();
    let taker = device.client(OTHER_APP).with_session();
    let ours = owner.allocate_one(&Descriptor::linear(4096).named("orphan"));
    let theirs = taker.acquire(owner.share(ours.handle, OTHER_APP)).unwrap();
    device.kill_service();
    owner.kill();
    device.start_service();
    assert_eq!(taker.await_restored().buffers, [theirs.info.id]);
    let figures = device.figures();
    assert_eq!((figures.buffers, figures.bytes), (1, theirs.info.allocation));
    let dump = device.dump(&["--json"]);
    assert!(dump.contains(&format!("\"charged_uid\":{OTHER_APP}")), "{dump}");
    taker.free(&[theirs.info.id]).unwrap();
    taker.drop_buffer(theirs.handle);
    device.await_figures("it is given back", |now| (now.buffers, now.lingering) == (0, 0));
}

/// A buffer presented with a descriptor that the client made itself is refused by this error. Where
/// SELinux enforces, the service has nothing to refuse: it may use no descriptor of a client's, so the
/// kernel ends the call that carries one; and a client may not give a memfd the mode of a region.
fn refuses_its_own(
    client: &Client,
    handle: Handle,
    forgery: Forgery,
    expected: i32,
    enforced: &mut Option<Watch>,
) {
    let Some(watch) = enforced else {
        assert_eq!(client.forge(handle, forgery.clone()), expected, "{forgery:?}");
        return;
    };
    let (why, denial) = match forgery {
        Forgery::Lookalike => {
            ("Permission denied", "berth_client berth_client_tmpfs:file { setattr }")
        }
        _ => ("FailedTransaction", "hal_berth_allocator_default berth_client:fd { use }"),
    };
    let said = client.fails(Ask::Restart(Restart::Forge(handle, forgery.clone())));
    assert!(said.contains(why), "{forgery:?}: {said}");
    assert_eq!(denied(watch), [denial], "{forgery:?}");
}

#[test]
fn memory_that_comes_back_when_it_was_given_up_is_in_the_books_once() {
    // Of other memory nothing tells who holds it.
    if missing(Facility::DmaHeapSystem) {
        return;
    }
    let device = Device::start();
    let owner = device.client(APP);
    // A session that does not come back by itself.
    owner.open_reconnecting("alone", 0);
    let ours = owner.allocate_one(&Descriptor::linear(4096));
    device.restart_service();
    // It answers.
    device.figures();
    for _ in 0..5 {
        // In a session that ends at once. The descriptor stays.
        assert_eq!(owner.forge(ours.handle, Forgery::None), 0);
        device.await_figures("it lingers, once", |now| (now.buffers, now.lingering) == (0, 1));
    }
    owner.kill();
    device.await_figures("it is gone", |now| now.lingering == 0);
}

#[test]
fn what_a_hostile_client_presents_is_refused_by_its_own_error_and_leaves_nothing() {
    let device = Device::start();
    // Sessions that do not come back by themselves.
    let [owner, taker] = [APP, OTHER_APP].map(|uid| {
        let client = device.client(uid);
        client.open_reconnecting("alone", 0);
        client
    });
    let ours = owner.allocate_one(&Descriptor::region(4096).named("a region"));
    let other = owner.allocate_one(&Descriptor::region(4096).named("a region"));
    let reader = owner.get(ours.info.id, true).unwrap();
    let theirs = taker.acquire(owner.share(ours.handle, OTHER_APP)).unwrap();
    device.restart_service();
    device.figures();
    let mut enforced = Facility::SelinuxPolicy.is_here().then(|| Watch::begin().unwrap());
    // Both have a connection to the new service from here on.
    for (client, handle, expected) in
        [(&owner, ours.handle, code::NOT_THE_MEMORY), (&taker, theirs.handle, code::BAD_RECEIPT)]
    {
        refuses_its_own(client, handle, Forgery::Socket, expected, &mut enforced);
    }
    device.await_figures("their sessions end", |now| now.sessions == 0);
    let descriptors = device.service_descriptors();
    for forgery in [Forgery::Socket, Forgery::Folder, Forgery::Pipe, Forgery::Lookalike] {
        refuses_its_own(&owner, ours.handle, forgery, code::NOT_THE_MEMORY, &mut enforced);
    }
    for (forgery, expected) in [
        (Forgery::Other(other.handle), code::NOT_THE_MEMORY),
        (Forgery::Other(reader.handle), code::NOT_THE_MEMORY),
        (Forgery::Id(other.info.id), code::BAD_RECEIPT),
        (Forgery::Id(i64::MAX), code::BAD_RECEIPT),
        (Forgery::Id(1 << 62), code::BAD_RECEIPT),
        (Forgery::Id(-1), code::BAD_RECEIPT),
        (Forgery::Receipt, code::BAD_RECEIPT),
        (Forgery::Name, code::BAD_RECEIPT),
    ] {
        assert_eq!(owner.forge(ours.handle, forgery.clone()), expected, "{forgery:?}");
    }
    // Who takes part has the memory, and may even have learnt all the owner's words.
    let words = Forgery::Words(ours.info.id, ours.info.receipt);
    for forgery in [Forgery::Owned, words, Forgery::None] {
        assert_eq!(taker.forge(theirs.handle, forgery.clone()), code::BAD_RECEIPT, "{forgery:?}");
    }
    device.await_figures("nothing is left", |now| (now.sessions, now.buffers) == (0, 0));
    device.await_descriptors(descriptors);
    assert_eq!(owner.forge(ours.handle, Forgery::None), 0, "the true one is taken");
    device.await_figures("the session ends", |now| (now.sessions, now.buffers) == (0, 0));
}

#[test]
fn a_buffer_is_in_the_books_of_one_session_only() {
    let device = Device::start();
    let client = device.client(APP).with_session();
    let held = client.allocate_one(&Descriptor::region(4096));
    assert_eq!(client.forge(held.handle, Forgery::None), code::BAD_RECEIPT, "it never left them");
    device.restart_service();
    client.await_restored();
    assert_eq!(client.forge(held.handle, Forgery::None), code::ALREADY_ATTACHED);
    assert_eq!(device.figures().buffers, 1);
}

#[test]
fn a_buffer_left_without_a_descriptor_is_told_as_lost() {
    let device = Device::start();
    let client = device.client(APP).with_session();
    let held = client.allocate_one(&Descriptor::region(4096));
    client.ask(Ask::Forget(held.handle)).unwrap();
    device.restart_service();
    let expected = Restored { buffers: Vec::new(), failed: vec![(held.info.id, 0)] };
    assert_eq!(client.await_restored(), expected);
    assert_eq!(client.list().unwrap(), []);
}

#[test]
fn buffers_with_two_faces_outlive_the_service_and_their_readers_wait_for_the_owner() {
    if missing(Facility::Udmabuf) {
        return;
    }
    let device = Device::start();
    let owner = device.client(APP).with_session();
    let reader = device.client(OTHER_APP).with_session();
    let writer = device.client(THIRD_APP).with_session();
    let viewed = owner.allocate_one(&Descriptor::linear(4096).with_flags(READ_ONLY_VIEW));
    let region = owner.allocate_one(&Descriptor::region(4096).from_heap("udmabuf"));
    for held in [&viewed, &region] {
        owner.write(held.handle, 0, b"seen by all");
        let token = owner.share_for(held.handle, OTHER_APP as i32, 1, 60_000, true).unwrap();
        let read = reader.acquire(token).unwrap();
        assert_eq!(reader.read(read.handle, 0, 11), b"seen by all");
        writer.acquire(owner.share(held.handle, THIRD_APP)).unwrap();
    }
    let before = [&owner, &reader, &writer].map(|client| client.list().expect("a list"));
    device.restart_service();
    for (client, before) in [&owner, &reader, &writer].into_iter().zip(before) {
        let Restored { mut buffers, failed } = client.await_restored();
        assert_eq!(failed, []);
        buffers.sort_unstable();
        assert_eq!(buffers, before.iter().map(|info| info.id).collect::<Vec<_>>());
        assert_eq!(client.list().unwrap(), before);
    }
    assert_eq!(device.figures().buffers, 2);
    let dma_buf = owner.second(region.handle);
    owner.write(dma_buf, 0, b"both");
    assert_eq!(owner.read(region.handle, 0, 4), b"both");
}
