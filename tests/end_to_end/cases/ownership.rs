// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Who has what, after it was given up: what somebody still holds, what everybody forgot, and what
//! the next one gets.

use std::collections::HashSet;

use berth_end_to_end::facilities::{missing, Facility};
use berth_end_to_end::harness::{available_beside, Client, Device, APP, OTHER_APP};
use berth_end_to_end::protocol::{Answer, Ask, Descriptor, Held, Hold};
use berth_kernel::meminfo::MemInfo;

use crate::code;
use crate::flag::{NO_POOL, RECYCLED, REVOKE_ON_DEATH};

/// Values of `PressureLevel`.
const NORMAL: usize = 0;
const MODERATE: usize = 1;
const EPERM: usize = 1;

/// What is kept stays until the test has seen it, however long that takes.
const NEVER_OLD: &str = "limit idle-seconds 3600\n";

fn start(policy: &str) -> (Device, Client) {
    let device = Device::start_with_policy(&format!("{NEVER_OLD}{policy}"));
    let client = device.client(APP).with_session();
    (device, client)
}

fn inodes(held: &[Held]) -> HashSet<i64> {
    held.iter().map(|one| one.info.inode).collect()
}

/// Fills, drops, and waits until all is clean again.
fn give_back_dirty(device: &Device, client: &Client, held: &[Held]) {
    for one in held {
        client.fill(one.handle, 0, one.info.size as usize, 0xaa);
        client.drop_buffer(one.handle);
    }
    device.await_figures("all is clean", |now| now.cleared as usize == held.len());
}

#[test]
fn a_freed_buffer_that_somebody_holds_counts_until_it_is_gone() {
    if missing(Facility::DmaHeapSystem) {
        return;
    }
    let (device, client) = start(&format!("uid {APP} buffers 2"));
    let two = client.allocate(&Descriptor::linear(4096), 2).unwrap();
    // A second descriptor of each, then the buffers are freed.
    let still: Vec<Held> = two.iter().map(|one| client.get(one.info.id, false).unwrap()).collect();
    for one in &two {
        client.drop_buffer(one.handle);
    }
    let figures = device.figures();
    assert_eq!((figures.buffers, figures.lingering), (0, 2), "{figures:?}");
    assert_eq!(client.session_figures().unwrap().buffers, 0);
    let refusal = client.allocate(&Descriptor::linear(4096), 1).unwrap_err();
    assert_eq!(refusal.code, code::TOO_MANY_BUFFERS, "{}", refusal.message);
    assert_eq!(client.free(&[two[0].info.id]).unwrap_err().code, code::NOT_FOUND);
    // The next one takes its place as soon as the descriptor is closed: nothing is waited for.
    client.drop_buffer(still[0].handle);
    client.allocate_one(&Descriptor::linear(4096));
    client.drop_buffer(still[1].handle);
    device.await_figures("the other one goes", |now| (now.buffers, now.lingering) == (1, 0));
}

#[test]
fn a_mapping_alone_keeps_memory_from_being_used_again() {
    if missing(Facility::DmaHeapSystem) {
        return;
    }
    let (device, keeper) = start("");
    let other = device.client(OTHER_APP).with_session();
    let one = keeper.allocate_one(&Descriptor::linear(65_536));
    keeper.write(one.handle, 0, b"mine");
    keeper.ask(Ask::KeepMapped(one.handle)).unwrap();
    keeper.drop_buffer(one.handle);
    device.await_figures("it lingers", |now| (now.buffers, now.lingering) == (0, 1));
    let theirs = other.allocate(&Descriptor::linear(65_536), 32).unwrap();
    assert!(!inodes(&theirs).contains(&one.info.inode));
    for one in &theirs {
        other.fill(one.handle, 0, 65_536, 0x11);
    }
    let kept = keeper.ask(Ask::ReadKept(4)).unwrap();
    assert_eq!(kept, Answer::Bytes(b"mine".to_vec()));
    keeper.ask(Ask::Unmap).unwrap();
    device.await_figures("it is clean", |now| (now.lingering, now.cleared) == (0, 1));
    let next = other.allocate_one(&Descriptor::linear(65_536));
    assert_eq!(next.info.inode, one.info.inode, "now it is used again");
    assert!(other.all_bytes_are(next.handle, 0));
}

#[test]
fn locks_on_the_shared_open_file_hide_no_holder() {
    if missing(Facility::DmaHeapSystem) {
        return;
    }
    let (device, keeper) = start("");
    let other = device.client(OTHER_APP).with_session();
    // Each is a line of fdinfo before the one that counts the holders, and outlives its maker.
    for locks in [5, 12, 300] {
        let one = keeper.allocate_one(&Descriptor::linear(65_536));
        keeper.write(one.handle, 0, b"mine");
        keeper.ask(Ask::Lock(one.handle, locks)).unwrap();
        keeper.ask(Ask::KeepMapped(one.handle)).unwrap();
        keeper.drop_buffer(one.handle);
        device.await_figures("it lingers", |now| (now.buffers, now.lingering) == (0, 1));
        let theirs = other.allocate(&Descriptor::linear(65_536), 16).unwrap();
        assert!(!inodes(&theirs).contains(&one.info.inode), "{locks} locks");
        let kept = keeper.ask(Ask::ReadKept(4)).unwrap();
        assert_eq!(kept, Answer::Bytes(b"mine".to_vec()));
        other.drop_session();
        other.open("again").unwrap();
        keeper.ask(Ask::Unmap).unwrap();
        device.await_figures("it is gone", |now| now.lingering == 0);
    }
}

#[test]
fn recycled_memory_reads_zero_for_the_next_uid() {
    if missing(Facility::DmaHeapSystem) {
        return;
    }
    let (device, first) = start("");
    let second = device.client(OTHER_APP).with_session();
    for (round, bytes) in [4096, 65_536, 1_000_000].into_iter().enumerate() {
        let asked = Descriptor::linear(bytes).named("first");
        let held = first.allocate(&asked, 16).unwrap();
        give_back_dirty(&device, &first, &held);
        let again = second.allocate(&Descriptor::linear(bytes).named("second"), 16).unwrap();
        assert_eq!(inodes(&again), inodes(&held), "{bytes} bytes: all are used again");
        for one in &again {
            assert_ne!(one.info.flags & RECYCLED, 0, "{one:?}");
            assert!(second.all_bytes_are(one.handle, 0), "{one:?}");
            let proof = second.proof(one.handle);
            let (size, _, _, name) = proof.dma_buf.expect("a dma-buf");
            assert_eq!((size as i64, name.as_deref()), (one.info.allocation, Some("second")));
            // At most an eighth more than whole pages.
            let pages = (bytes + 4095) / 4096 * 4096;
            assert!((pages..=pages + pages / 8).contains(&one.info.allocation), "{one:?}");
        }
        assert_eq!(device.figures().recycled, 16 * (round as i64 + 1));
        second.drop_session();
        second.open("again").unwrap();
        device.await_figures("nothing is left", |now| {
            second.count(Ask::Trim);
            (now.buffers, now.lingering, now.idle) == (0, 0, 0)
        });
    }
}

#[test]
fn memory_that_is_mapped_while_it_is_freed_never_reaches_the_next_uid_unclean() {
    if missing(Facility::DmaHeapSystem) {
        return;
    }
    let (device, keeper) = start("");
    let other = device.client(OTHER_APP).with_session();
    for round in 0..20 {
        let held = keeper.allocate(&Descriptor::linear(16_384), 16).unwrap();
        let handles = held.iter().map(|one| one.handle).collect();
        keeper.begin(&Ask::DropAmidMappings(handles, round));
        // Meanwhile another takes whatever is there, and writes.
        for _ in 0..4 {
            let theirs = other.allocate(&Descriptor::linear(16_384), 8).unwrap();
            for one in &theirs {
                assert!(other.all_bytes_are(one.handle, 0), "round {round}: {one:?}");
                other.fill(one.handle, 0, 16_384, 0x11);
            }
            for one in &theirs {
                assert!(other.all_bytes_are(one.handle, 0x11), "round {round}: {one:?}");
                other.drop_buffer(one.handle);
            }
        }
        assert_eq!(keeper.finish(), Answer::Done, "round {round}");
    }
    let figures = device.await_figures("nothing lingers", |now| now.lingering == 0);
    assert!(figures.recycled > 0, "{figures:?}");
}

#[test]
fn without_the_pool_memory_is_fresh_and_goes_back_to_the_kernel() {
    if missing(Facility::DmaHeapSystem) {
        return;
    }
    let (device, client) = start("");
    let descriptors = device.service_descriptors();
    let pooled = client.allocate(&Descriptor::linear(65_536), 4).unwrap();
    give_back_dirty(&device, &client, &pooled);
    let asked = Descriptor::linear(65_536).with_flags(NO_POOL);
    let fresh = client.allocate(&asked, 4).unwrap();
    assert!(fresh.iter().all(|one| one.info.flags & RECYCLED == 0), "{fresh:?}");
    assert!(inodes(&fresh).is_disjoint(&inodes(&pooled)));
    assert_eq!(device.figures().idle, 4, "those are kept for others");
    for one in &fresh {
        client.drop_buffer(one.handle);
    }
    // The four that are kept have a descriptor each.
    device.await_descriptors(descriptors + 4);
    assert_eq!(device.figures().idle, 4);
}

#[test]
fn what_is_kept_is_bounded_and_grows_old() {
    if missing(Facility::DmaHeapSystem) {
        return;
    }
    let policy = "limit idle-bytes 256K\nlimit idle-buffers 8\nlimit idle-seconds 1";
    let device = Device::start_with_policy(policy);
    let client = device.client(APP).with_session();
    let descriptors = device.service_descriptors();
    let small = client.allocate(&Descriptor::linear(4096), 32).unwrap();
    for one in &small {
        client.drop_buffer(one.handle);
    }
    let figures = device.await_figures("what is too much goes", |now| now.lingering == 0);
    assert!(figures.idle <= 8, "{figures:?}");
    let large = client.allocate_one(&Descriptor::linear(1 << 20));
    client.drop_buffer(large.handle);
    let figures = device.await_figures("it is too large", |now| now.lingering == 0);
    assert!(figures.idle <= 8, "{figures:?}");
    device.await_figures("all are old", |now| now.idle == 0);
    device.await_descriptors(descriptors);
}

#[test]
fn what_nobody_took_makes_room_for_what_was_given_back_last() {
    if missing(Facility::DmaHeapSystem) {
        return;
    }
    let (device, client) = start("limit idle-bytes 256K\nlimit idle-buffers 8");
    let small = client.allocate(&Descriptor::linear(4096), 8).unwrap();
    give_back_dirty(&device, &client, &small);
    // One by number, and most by bytes.
    let one = client.allocate(&Descriptor::linear(8192), 1).unwrap();
    client.drop_buffer(one[0].handle);
    device.await_figures("it is kept", |now| (now.lingering, now.idle, now.cleared) == (0, 8, 8));
    let large = client.allocate(&Descriptor::linear(240 << 10), 1).unwrap();
    client.drop_buffer(large[0].handle);
    device.await_figures("so is this", |now| now.lingering == 0 && now.cleared == now.idle);
    let again = client.allocate_one(&Descriptor::linear(240 << 10));
    assert_eq!((again.info.inode, again.info.flags & RECYCLED), (large[0].info.inode, RECYCLED));
    let again = client.allocate_one(&Descriptor::linear(8192));
    assert_eq!(again.info.inode, one[0].info.inode, "of the others the youngest stay");
}

#[test]
fn a_buffer_that_its_client_forgot_is_taken_back() {
    if missing(Facility::DmaHeapSystem) {
        return;
    }
    // In the end what is idle grows old.
    let device = Device::start();
    let client = device.client(APP).with_session();
    let descriptors = device.service_descriptors();
    let kept = client.allocate_one(&Descriptor::linear(4096));
    let shared = client.allocate_one(&Descriptor::linear(4096));
    let token = client.share(shared.handle, OTHER_APP);
    client.ask(Ask::Forget(shared.handle)).unwrap();
    for round in 1..=2 {
        let forgotten = client.allocate_one(&Descriptor::linear(4096).named("forgotten"));
        client.ask(Ask::Forget(forgotten.handle)).unwrap();
        device.await_figures("it is taken back", |now| now.taken_back == round);
        assert_eq!(client.free(&[forgotten.info.id]).unwrap_err().code, code::NOT_FOUND);
    }
    // Not the one that is held, and not the one that somebody may still come for.
    let ids: Vec<i64> = client.list().unwrap().iter().map(|info| info.id).collect();
    assert_eq!(ids, [kept.info.id, shared.info.id]);
    let other = device.client(OTHER_APP).with_session();
    other.write(other.acquire(token).unwrap().handle, 0, b"came");
    assert_eq!(device.figures().buffers, 2);
    client.drop_session();
    other.drop_session();
    device.await_figures("all is over", |now| now.sessions == 0 && now.lingering == 0);
    device.await_descriptors(descriptors);
}

#[test]
fn a_region_that_its_client_forgot_stays_until_the_session_ends() {
    let (device, client) = start("");
    let region = client.allocate_one(&Descriptor::region(4096));
    client.write(region.handle, 0, b"not lost");
    client.ask(Ask::Forget(region.handle)).unwrap();
    let again = client.get(region.info.id, false).unwrap();
    assert_eq!(client.read(again.handle, 0, 8), b"not lost");
    client.close();
    assert_eq!(device.figures().buffers, 0);
}

#[test]
fn a_client_lowers_its_own_limits_and_never_raises_them() {
    let device = Device::start();
    let client = device.client(APP);
    let most = client.capabilities();
    for (bytes, buffers, part) in [
        (most.max_session + 1, 0, "maxBytes is"),
        (0, most.max_session_buffers + 1, "maxBuffers is"),
        (-1, 0, "maxBytes is"),
        (0, -1, "maxBuffers is"),
    ] {
        let refusal = client.ask(Ask::OpenWithin(bytes, buffers)).unwrap_err();
        assert_eq!(refusal.code, code::BAD_ARGUMENT, "{}", refusal.message);
        assert!(refusal.message.contains(part), "{}", refusal.message);
    }
    client.ask(Ask::OpenWithin(16_384, 3)).unwrap();
    let held = client.allocate(&Descriptor::region(4096), 3).unwrap();
    let refusal = client.allocate(&Descriptor::region(4096), 1).unwrap_err();
    assert_eq!(refusal.code, code::TOO_MANY_BUFFERS, "{}", refusal.message);
    assert!(refusal.message.contains("this session uses 3 buffers of at most 3"));
    client.drop_buffer(held[0].handle);
    let refusal = client.allocate(&Descriptor::region(8193), 1).unwrap_err();
    assert_eq!(refusal.code, code::QUOTA_EXCEEDED, "{}", refusal.message);
    assert!(refusal.message.contains("bytes of at most 16384"), "{}", refusal.message);
    client.allocate_one(&Descriptor::region(8192));
}

#[test]
fn a_revoked_region_reads_zero_for_those_who_still_map_it() {
    let device = Device::start();
    let other = device.client(OTHER_APP).with_session();
    for end in [Client::kill as fn(&Client), Client::close] {
        let owner = device.client(APP).with_session();
        let revoked = Descriptor::region(1 << 20).with_flags(REVOKE_ON_DEATH);
        let (gone, stays) =
            (owner.allocate_one(&revoked), owner.allocate_one(&Descriptor::region(1 << 20)));
        let seen = [&gone, &stays].map(|one| {
            owner.fill(one.handle, 0, 1 << 20, 0xee);
            other.acquire(owner.share(one.handle, OTHER_APP)).unwrap()
        });
        assert!(other.all_bytes_are(seen[0].handle, 0xee));
        other.ask(Ask::KeepMapped(seen[0].handle)).unwrap();
        let refusal = owner.seal(gone.handle).unwrap_err();
        assert_eq!(refusal.code, code::UNSUPPORTED, "{}", refusal.message);
        // What is sealed against writing could not be emptied.
        for (client, held) in [(&owner, &gone), (&other, &seen[0])] {
            let alone = client.ask(Ask::SealAlone(held.handle)).unwrap();
            assert_eq!(alone, Answer::Count(EPERM));
        }
        end(&owner);
        other.await_gone();
        let zeros = Answer::Bytes(vec![0; 1 << 20]);
        device.await_true("the contents are gone", || {
            (other.ask(Ask::ReadKept(1 << 20)).unwrap() == zeros).then_some(())
        });
        assert!(other.all_bytes_are(seen[1].handle, 0xee), "the other region stays");
        other.ask(Ask::Unmap).unwrap();
        seen.iter().for_each(|one| other.drop_buffer(one.handle));
    }
}

#[test]
fn what_is_freed_is_not_revoked_and_a_dma_buf_cannot_be() {
    let (device, client) = start("");
    let other = device.client(OTHER_APP).with_session();
    let dma_buf = Descriptor::linear(4096).with_flags(REVOKE_ON_DEATH);
    assert_eq!(client.allocate(&dma_buf, 1).unwrap_err().code, code::UNSUPPORTED);
    let region = client.allocate_one(&Descriptor::region(4096).with_flags(REVOKE_ON_DEATH));
    client.write(region.handle, 0, b"given away");
    let seen = other.acquire(client.share(region.handle, OTHER_APP)).unwrap();
    client.drop_buffer(region.handle);
    assert_eq!(other.await_gone(), [seen.info.id]);
    client.close();
    assert_eq!(other.read(seen.handle, 0, 10), b"given away");
}

#[test]
fn a_client_trims_what_its_own_uid_freed_and_nothing_else() {
    if missing(Facility::DmaHeapSystem) {
        return;
    }
    let (device, client) = start("");
    let other = device.client(OTHER_APP).with_session();
    // All before any is freed: one that is idle would be used again.
    let both = [&client, &other];
    let held = both.map(|one| one.allocate(&Descriptor::linear(65_536), 4).unwrap());
    for (one, held) in both.into_iter().zip(&held) {
        held.iter().for_each(|held| one.drop_buffer(held.handle));
    }
    device.await_figures("all are idle", |now| now.idle == 8);
    assert_eq!(client.count(Ask::Trim), 4 * 65_536);
    assert_eq!(device.figures().idle, 4);
    assert_eq!(client.count(Ask::Trim), 0);
    assert_eq!(other.count(Ask::Trim), 4 * 65_536);
    assert_eq!(device.figures().idle, 0);
    client.close();
    assert_eq!(client.ask(Ask::Trim).unwrap_err().code, code::SESSION_CLOSED);
}

#[test]
fn the_next_owner_finds_nothing_that_the_last_one_put_on_the_open_file() {
    if missing(Facility::DmaHeapSystem) {
        return;
    }
    let (device, client) = start("");
    let held = client.allocate_one(&Descriptor::linear(65_536));
    client.hold(Hold::Mark(held.handle));
    assert!(client.hold(Hold::Marks(held.handle)) >= 3, "flags and locks");
    let name = |client: &Client, held: &Held| client.proof(held.handle).dma_buf.unwrap().3;
    assert_ne!(name(&client, &held).as_deref(), Some("test"));
    let inode = held.info.inode;
    give_back_dirty(&device, &client, &[held]);
    let other = device.client(OTHER_APP).with_session();
    let again = other.allocate_one(&Descriptor::linear(65_536));
    assert_eq!((again.info.inode, again.info.flags & RECYCLED), (inode, RECYCLED));
    assert_eq!(other.hold(Hold::Marks(again.handle)), 0);
    assert_eq!(name(&other, &again).as_deref(), Some("test"));
    give_back_dirty(&device, &other, &[again]);
    let renamed = client.allocate_one(&Descriptor::linear(65_536).named("another"));
    assert_eq!((renamed.info.inode, name(&client, &renamed).as_deref()), (inode, Some("another")));
}

/// Nothing takes an open file out of an epoll set but its owner and the file's end. Who asks for
/// NO_POOL is never watched, nor watches.
#[test]
fn a_former_owners_epoll_set_says_when_devices_are_done_and_of_no_pool_nothing() {
    if missing(Facility::DmaHeapSystem) {
        return;
    }
    let (device, client) = start("");
    let held = client.allocate_one(&Descriptor::linear(65_536));
    let watch = client.hold(Hold::Watch(held.handle));
    assert_eq!(client.hold(Hold::Events(watch)), 1, "no device is at work: it is ready");
    give_back_dirty(&device, &client, &[held]);
    let other = device.client(OTHER_APP).with_session();
    let again = other.allocate_one(&Descriptor::linear(65_536));
    other.fill(again.handle, 0, 65_536, 0x55);
    assert_eq!(client.hold(Hold::Events(watch)), 1, "it is still ready, and that is all");

    let fresh = client.allocate_one(&Descriptor::linear(65_536).with_flags(NO_POOL));
    let watch = client.hold(Hold::Watch(fresh.handle));
    assert_eq!(client.hold(Hold::Events(watch)), 1);
    client.drop_buffer(fresh.handle);
    device.await_true("the set is empty", || (client.hold(Hold::Events(watch)) == 0).then_some(()));
}

#[test]
fn under_pressure_what_is_idle_goes_and_clients_are_told_until_it_is_over() {
    if missing(Facility::DmaHeapSystem) {
        return;
    }
    // Twice the reserve is a little less than what there is: 64 MiB make the difference.
    let available = available_beside(NEVER_OLD, &[APP]);
    let reserve = (available - (32 << 20)) / 2;
    let (device, client) = start(&format!("limit reserve-bytes {reserve}"));
    let idle = client.allocate(&Descriptor::linear(65_536), 8).unwrap();
    give_back_dirty(&device, &client, &idle);
    let large = client.allocate_one(&Descriptor::linear(64 << 20).with_flags(NO_POOL));
    assert_eq!(client.count(Ask::AwaitPressure(60_000)), MODERATE);
    device.await_figures("what was idle is gone", |now| now.idle == 0);
    let small = client.allocate_one(&Descriptor::linear(65_536));
    client.drop_buffer(small.handle);
    device.await_figures("nothing is kept now", |now| (now.idle, now.lingering) == (0, 0));
    client.drop_buffer(large.handle);
    assert_eq!(client.count(Ask::AwaitPressure(60_000)), NORMAL);
    let again = client.allocate(&Descriptor::linear(65_536), 8).unwrap();
    give_back_dirty(&device, &client, &again);
}

#[test]
fn the_reserve_is_refused_by_name_but_what_is_idle_is_spared_first() {
    if missing(Facility::DmaHeapSystem) {
        return;
    }
    // So much is left beside what is idle that it is kept, and so much is asked for then that it is
    // too much without it.
    let available = available_beside(NEVER_OLD, &[APP]);
    let (idle, margin) = (64 << 20, 16 << 20);
    let reserve = (available - idle - margin) / 2;
    let asked = available - idle - reserve + margin;
    // No other limit comes first.
    let most = "service-bytes uid-bytes session-bytes buffer-bytes".split(' ');
    let MemInfo { total, .. } = MemInfo::read().expect("/proc/meminfo");
    let most: String = most.map(|limit| format!("limit {limit} {}\n", total - reserve)).collect();
    let policy = format!("limit reserve-bytes {reserve}\nlimit idle-bytes {idle}\n{most}");
    let (device, client) = start(&policy);
    let pooled = client.allocate(&Descriptor::linear(1 << 20), 64).unwrap();
    give_back_dirty(&device, &client, &pooled);
    let buffer = |bytes: u64| Descriptor::linear(bytes as i64).with_flags(NO_POOL);
    let spared = client.allocate_one(&buffer(asked));
    assert_eq!(device.figures().idle, 0);
    client.drop_buffer(spared.handle);
    // As long as its client's descriptor is not closed it counts against the quota.
    device.await_figures("it is gone", |now| (now.buffers, now.lingering) == (0, 0));
    // What is more than there is without it is refused.
    let refusal = client.allocate(&buffer(available - reserve + margin), 1).unwrap_err();
    assert_eq!(refusal.code, code::NO_MEMORY, "{}", refusal.message);
    for part in ["bytes asked for", "available", "kept in reserve"] {
        assert!(refusal.message.contains(part), "{}", refusal.message);
    }
    assert_eq!(device.figures().buffers, 0);
    client.allocate_one(&Descriptor::linear(4 << 20));
}
