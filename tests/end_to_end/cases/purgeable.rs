// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Regions whose contents may go when memory is short, where nobody has them pinned.

use std::ops::Range;

use berth_end_to_end::facilities::{missing, Facility};
use berth_end_to_end::harness::{available_beside, Client, Device, APP, OTHER_APP, THIRD_APP};
use berth_end_to_end::protocol::{Answer, Ask, Cached, Descriptor, Handle, Held, Purge, Seen};
use berth_kernel::ashmem;
use berth_kernel::meminfo::MemInfo;
use serde_json::Value;

use crate::flag::{NO_POOL, PURGEABLE, READ_ONLY_VIEW, REVOKE_ON_DEATH, STRICT_HEAP};
use crate::{code, kills};

/// `AllocationOption.PURGE_CHUNK_BYTES`.
const CHUNK_BYTES: &str = "purge-chunk-bytes";
/// Bytes of a chunk here.
const CHUNK: i64 = 65_536;
/// Priorities.
const LOW: u8 = 0;
const MIDDLE: u8 = 3;
const HIGH: u8 = 7;

/// On a machine that others work on, too, nothing is purged but what a test asks for.
const NO_RESERVE: &str = "limit reserve-bytes 1M\n";

fn start_device() -> Device {
    Device::start_with_policy(NO_RESERVE)
}

fn start() -> (Device, Client) {
    let device = start_device();
    let client = device.client(APP).with_session();
    (device, client)
}

fn purgeable(chunks: i64) -> Descriptor {
    Descriptor::region(chunks * CHUNK).with_flags(PURGEABLE).named("cache")
}

fn purge(client: &Client, ask: Purge) -> Answer {
    client.ask(Ask::Purge(ask)).expect("no refusal")
}

/// A region of so many chunks, to be unpinned with a priority.
fn region(client: &Client, descriptor: &Descriptor, priority: u8) -> Held {
    let held = client.allocate_one(descriptor);
    purge(client, Purge::Region(held.handle, priority));
    held
}

fn fill(client: &Client, handle: Handle, chunks: Range<u32>, value: u8) {
    assert_eq!(purge(client, Purge::Fill(handle, chunks, value)), Answer::Done);
}

fn look(client: &Client, handle: Handle, chunks: Range<u32>) -> Vec<Seen> {
    match purge(client, Purge::Look(handle, chunks)) {
        Answer::Chunks(seen) => seen,
        other => panic!("{other:?}"),
    }
}

fn kept(value: u8) -> Seen {
    Seen { kept: true, value: Some(value) }
}

/// Gone, and nothing of it is left.
const GONE: Seen = Seen { kept: false, value: Some(0) };

fn trim(client: &Client) -> usize {
    client.count(Ask::Trim)
}

/// A heap that purgeable regions come from, and how everything unpinned in it goes.
type Kind = (&'static str, fn(&Client));

/// Those of this kernel.
fn kinds() -> Vec<Kind> {
    let by_the_service: fn(&Client) = |client| assert!(trim(client) > 0);
    let by_the_kernel: fn(&Client) = |_| assert!(ashmem::purge_all().expect("root") > 0);
    let mut kinds = vec![("memfd", by_the_service)];
    if Facility::Ashmem.is_here() {
        kinds.push(("ashmem", by_the_kernel));
    }
    kinds
}

fn of_heap(chunks: i64, heap: &str) -> Descriptor {
    purgeable(chunks).from_heap(heap).with_flags(PURGEABLE | STRICT_HEAP)
}

#[test]
fn what_nobody_pins_goes_and_a_pin_says_so_until_it_is_made_again() {
    let (_device, client) = start();
    for (heap, purge_all) in kinds() {
        let handle = region(&client, &of_heap(8, heap), MIDDLE).handle;
        assert_eq!(look(&client, handle, 0..8), [GONE; 8], "{heap}: nobody wrote it");
        fill(&client, handle, 0..8, 0x5a);
        assert_eq!(look(&client, handle, 0..8), [kept(0x5a); 8], "{heap}");
        purge(&client, Purge::Keep(handle, 2..4));
        purge_all(&client);
        for chunk in 0..8 {
            let expected = if (2..4).contains(&chunk) { kept(0x5a) } else { GONE };
            assert_eq!(look(&client, handle, chunk..chunk + 1), [expected], "{heap}: {chunk}");
        }
        assert_eq!(look(&client, handle, 0..1), [GONE], "{heap}: nobody made it again");
        fill(&client, handle, 0..2, 0x6b);
        assert_eq!(look(&client, handle, 0..2), [kept(0x6b); 2], "{heap}");
        // Pinned twice, by one process: the second pin holds it still.
        purge(&client, Purge::Keep(handle, 0..3));
        purge(&client, Purge::LetGo);
        purge_all(&client);
        assert_eq!(look(&client, handle, 2..4), [GONE; 2], "{heap}");
    }
}

#[test]
fn the_figures_and_the_dump_say_what_is_purgeable_and_what_was_purged() {
    let (device, client) = start();
    let handle = region(&client, &purgeable(16), MIDDLE).handle;
    assert_eq!(device.figures().purgeable, 16 * CHUNK);
    fill(&client, handle, 0..10, 1);
    purge(&client, Purge::Keep(handle, 0..2));
    assert!(device.dump(&[]).contains("purgeable: 1 MiB, 512 KiB of it unpinned; purged: 0 B"));
    assert_eq!(trim(&client), 8 * CHUNK as usize);
    assert_eq!(device.figures().purged, 8 * CHUNK);
    assert!(device.dump(&[]).contains("purgeable: 1 MiB, 0 B of it unpinned; purged: 512 KiB"));
    let json = device.dump(&["--json"]);
    assert!(json.contains("\"purged_bytes\":524288"), "{json}");
    client.close();
    device.await_figures("its region is gone", |now| now.purgeable == 0);
    let stats = device.berthctl(&["stats"]);
    let stats = String::from_utf8_lossy(&stats.stdout).into_owned();
    assert!(stats.contains("purgeable: 0 B; purged since start: 512 KiB"), "{stats}");
}

#[test]
fn what_contradicts_a_purgeable_region_is_refused_by_name() {
    let (_device, client) = start();
    let chunks = |bytes| purgeable(4).with_option(CHUNK_BYTES, bytes);
    let flags = |flags| purgeable(4).with_flags(PURGEABLE | flags);
    let linear = Descriptor::linear(4096);
    for (descriptor, wanted, part) in [
        (linear.clone().with_flags(PURGEABLE), code::UNSUPPORTED, "PURGEABLE of a dma-buf"),
        (
            linear.with_flags(PURGEABLE | READ_ONLY_VIEW),
            code::UNSUPPORTED,
            "PURGEABLE with READ_ONLY_VIEW",
        ),
        (flags(READ_ONLY_VIEW), code::UNSUPPORTED, "PURGEABLE with READ_ONLY_VIEW"),
        (flags(REVOKE_ON_DEATH), code::UNSUPPORTED, "PURGEABLE with REVOKE_ON_DEATH"),
        (chunks(0), code::BAD_DESCRIPTOR, "purge-chunk-bytes is 0"),
        (chunks(-4096), code::BAD_DESCRIPTOR, "purge-chunk-bytes is -4096"),
        (chunks(4097), code::BAD_DESCRIPTOR, "purge-chunk-bytes is 4097, a multiple of"),
        (chunks(32 << 20), code::BAD_DESCRIPTOR, "up to 16777216"),
        (
            Descriptor::region(4096).with_option(CHUNK_BYTES, 4096),
            code::BAD_DESCRIPTOR,
            "without PURGEABLE",
        ),
        (
            chunks(4096).with_option(CHUNK_BYTES, 4096),
            code::BAD_DESCRIPTOR,
            "\"purge-chunk-bytes\" is there twice",
        ),
    ] {
        assert!(!client.is_supported(&descriptor), "{descriptor:?}");
        let refusal = client.allocate(&descriptor, 1).unwrap_err();
        assert_eq!(refusal.code, wanted, "{descriptor:?}: {}", refusal.message);
        assert!(refusal.message.contains(part), "{part:?} in {:?}", refusal.message);
    }
    for (heap, _) in kinds() {
        let held = client.allocate_one(&of_heap(4, heap));
        assert_eq!(held.info.heap, heap);
        let refusal = client.seal(held.handle).unwrap_err();
        assert_eq!(refusal.code, code::UNSUPPORTED, "{heap}");
        assert!(refusal.message.contains("sealing a purgeable region"), "{}", refusal.message);
    }
    if Facility::Udmabuf.is_here() {
        let refusal = client.allocate(&of_heap(4, "udmabuf"), 1).unwrap_err();
        assert_eq!(refusal.code, code::UNSUPPORTED, "{}", refusal.message);
        assert!(refusal.message.contains("a purgeable region"), "{}", refusal.message);
    }
}

#[test]
fn nobody_has_more_chunks_than_are_looked_at_for_him() {
    let most = "service-bytes uid-bytes session-bytes".split(' ');
    let most: String = most.map(|limit| format!("limit {limit} 400M\n")).collect();
    let device = Device::start_with_policy(&most);
    let client = device.client(APP).with_session();
    // A quarter of the limit each, and hardly a page of memory.
    let quarter = Descriptor::region(16_384 * 4096).with_flags(PURGEABLE);
    let quarter = quarter.with_option(CHUNK_BYTES, 4096);
    let held = client.allocate(&quarter, 4).unwrap();
    let refusal = client.allocate(&quarter, 1).unwrap_err();
    assert_eq!(refusal.code, code::QUOTA_EXCEEDED, "{}", refusal.message);
    for part in ["uid 10001", "65536 purgeable chunks", "at most 65536", "16384 more"] {
        assert!(refusal.message.contains(part), "{part:?} in {}", refusal.message);
    }
    client.drop_buffer(held[0].handle);
    device.await_true("its chunks are given back", || client.allocate(&quarter, 1).ok());
}

#[test]
fn sessions_that_share_a_region_pin_it_each_for_itself() {
    let device = start_device();
    let owner = device.client(APP).with_session();
    let other = device.client(OTHER_APP).with_session();
    let held = region(&owner, &purgeable(4), MIDDLE);
    let shared = other.acquire(owner.share(held.handle, OTHER_APP)).unwrap();
    purge(&other, Purge::Region(shared.handle, MIDDLE));
    fill(&owner, held.handle, 0..4, 0x21);
    assert_eq!(look(&other, shared.handle, 0..4), [kept(0x21); 4]);
    purge(&owner, Purge::Keep(held.handle, 0..2));
    purge(&other, Purge::Keep(shared.handle, 1..3));
    assert_eq!(trim(&owner), CHUNK as usize);
    assert_eq!(trim(&other), 0, "it is not the other's");
    purge(&owner, Purge::LetGo);
    assert_eq!(trim(&owner), CHUNK as usize);
    assert_eq!(look(&other, shared.handle, 0..4), [GONE, kept(0x21), kept(0x21), GONE]);
    // Gone is gone for both, until one of them has made it again.
    assert_eq!(look(&owner, held.handle, 0..1), [GONE]);
    fill(&other, shared.handle, 0..1, 0x42);
    assert_eq!(look(&owner, held.handle, 0..1), [kept(0x42)]);
}

#[test]
fn a_forked_child_unpins_nothing_and_ends_no_session() {
    let device = start_device();
    let client = device.client(APP).with_session();
    let plain = client.allocate_one(&Descriptor::region(4096));
    let pool = client.create_pool(&Descriptor::region(4096).named("frame"), (2, 2, 0));
    let (lease, _) = client.acquire_slot(pool, 0).leased();
    // While there is no region, which stays until its process ends, the child drops all of the session.
    client.drop_in_child();
    assert_eq!(client.list().unwrap().iter().filter(|info| info.id == plain.info.id).count(), 1);
    for (heap, purge_all) in kinds() {
        let handle = region(&client, &of_heap(4, heap), MIDDLE).handle;
        fill(&client, handle, 0..4, 0x21);
        purge(&client, Purge::Keep(handle, 0..2));
        client.drop_in_child();
        purge_all(&client);
        assert_eq!(look(&client, handle, 0..3), [kept(0x21), kept(0x21), GONE], "{heap}");
        // What the parent lets go of goes.
        purge(&client, Purge::LetGo);
        purge_all(&client);
        assert_eq!(look(&client, handle, 0..2), [GONE; 2], "{heap}");
    }
    assert_eq!(client.list().unwrap().iter().filter(|info| info.id == plain.info.id).count(), 1);
    let (_, other) = client.acquire_slot(pool, 0).leased();
    assert_eq!(
        client.acquire_slot(pool, 0).leased_or_none(),
        None,
        "the first is held, and {other}"
    );
    client.release_slot(lease);
    assert!(client.acquire_slot(pool, 0).leased_or_none().is_some());
    device.assert_alive();
}

#[test]
fn pins_end_with_their_session_and_take_no_others_away() {
    let device = start_device();
    let owner = device.client(APP).with_session();
    let held = region(&owner, &purgeable(4), MIDDLE);
    // Ends its session, or gives the region up by its id.
    let ends: [fn(&Client, &Held); 2] =
        [|client, _| client.close(), |client, held| client.free(&[held.info.id]).unwrap()];
    for end in ends {
        fill(&owner, held.handle, 0..4, 0x21);
        let acquire = |uid| {
            let client = device.client(uid).with_session();
            let shared = client.acquire(owner.share(held.handle, uid)).unwrap();
            purge(&client, Purge::Region(shared.handle, MIDDLE));
            purge(&client, Purge::Keep(shared.handle, 0..4));
            (client, shared)
        };
        let (gone, shared) = acquire(OTHER_APP);
        assert_eq!(trim(&owner), 0, "all of it is pinned");
        end(&gone, &shared);
        device.await_true("its pins are gone", || (trim(&owner) > 0).then_some(()));
        let refusal = gone.fails(Ask::Purge(Purge::Look(shared.handle, 0..1)));
        assert!(refusal.contains("is pinned any more"), "{refusal}");
        fill(&owner, held.handle, 0..4, 0x42);
        // By the number that was the other's.
        let (next, shared) = acquire(THIRD_APP);
        purge(&gone, Purge::LetGo);
        assert_eq!(trim(&owner), 0, "all of it is pinned again");
        assert_eq!(look(&next, shared.handle, 0..4), [kept(0x42); 4]);
        next.close();
        device.await_true("its pins are gone", || (trim(&owner) > 0).then_some(()));
    }
}

#[test]
fn pins_stay_where_a_buffer_is_not_given_up_after_all() {
    let device = start_device();
    let owner = device.client(APP).with_session();
    let held = region(&owner, &purgeable(4), MIDDLE);
    let other = device.client(OTHER_APP).with_session();
    let shared = other.acquire(owner.share(held.handle, OTHER_APP)).unwrap();
    purge(&other, Purge::Region(shared.handle, MIDDLE));
    fill(&other, shared.handle, 0..4, 0x21);
    purge(&other, Purge::Keep(shared.handle, 0..2));
    let refusal = other.free(&[shared.info.id, i64::MAX]).unwrap_err();
    assert_eq!(refusal.code, code::NOT_FOUND, "{}", refusal.message);
    assert_eq!(trim(&owner), 2 * CHUNK as usize);
    assert_eq!(look(&other, shared.handle, 0..3), [kept(0x21), kept(0x21), GONE]);
    purge(&other, Purge::LetGo);
    // To look at the one that was gone took memory, too.
    assert_eq!(trim(&owner), 3 * CHUNK as usize);
}

#[test]
fn a_chunk_is_unpinned_with_the_priority_that_its_pin_was_given() {
    let (_device, client) = start();
    let handle = region(&client, &purgeable(4), MIDDLE).handle;
    let priorities = || {
        let priority = |chunk| client.count(Ask::Purge(Purge::PriorityOf(handle, chunk)));
        [0, 1, 2, 3].map(priority)
    };
    let [low, middle, high] = [LOW, MIDDLE, HIGH].map(usize::from);
    fill(&client, handle, 0..4, 1);
    assert_eq!(priorities(), [middle; 4], "the region's");
    purge(&client, Purge::FillAs(handle, 1..2, 2, LOW));
    purge(&client, Purge::FillAs(handle, 2..3, 3, HIGH));
    assert_eq!(priorities(), [middle, low, high, middle]);
    // It was that pin's, and the next has the region's again.
    assert_eq!(look(&client, handle, 0..4), [1, 2, 3, 1].map(kept));
    assert_eq!(priorities(), [middle; 4]);
}

#[test]
fn the_pins_of_a_client_that_is_killed_are_taken_away_and_no_others() {
    let device = start_device();
    let owner = device.client(APP).with_session();
    let held = region(&owner, &purgeable(4), MIDDLE);
    fill(&owner, held.handle, 0..4, 0x21);
    purge(&owner, Purge::Keep(held.handle, 0..1));
    // More often than there are numbers to pin with.
    for round in 0..20 {
        let other = device.client(OTHER_APP).with_session();
        let shared = other.acquire(owner.share(held.handle, OTHER_APP)).unwrap();
        purge(&other, Purge::Region(shared.handle, MIDDLE));
        purge(&other, Purge::Keep(shared.handle, 0..4));
        if round % 2 == 0 {
            // Killed in the middle of anything.
            other.begin(&Ask::Purge(Purge::Spin(shared.handle)));
        }
        assert_eq!(trim(&owner), 0, "all of it is pinned");
        other.kill();
        device.await_true("the pins of the dead are gone", || (trim(&owner) > 0).then_some(()));
        device.await_true("all of them", || {
            trim(&owner);
            (look(&owner, held.handle, 1..4) == [GONE; 3]).then_some(())
        });
        assert_eq!(look(&owner, held.handle, 0..1), [kept(0x21)]);
        fill(&owner, held.handle, 1..4, 0x21);
    }
    device.assert_alive();
}

#[test]
fn clients_killed_at_any_moment_keep_no_chunk_and_nobody_finds_what_is_not_there() {
    let device = start_device();
    let owner = device.client(APP).with_session();
    let beside = device.client(APP).with_session();
    let other = device.client(THIRD_APP).with_session();
    let chunks: u32 = 16;
    let pages = Descriptor::region(i64::from(chunks) * 4096).with_flags(PURGEABLE);
    let pages = pages.with_option(CHUNK_BYTES, 4096);
    let held = region(&owner, &pages, MIDDLE);
    let spared = region(&owner, &purgeable(2), MIDDLE).handle;
    fill(&owner, spared, 0..2, 0x21);
    purge(&owner, Purge::Keep(spared, 0..2));
    purge(&other, Purge::Cache(32 * 4096, None));
    let count = kills();
    let share = |_| owner.share_for(held.handle, OTHER_APP as i32, 64, 3_600_000, false).unwrap();
    let tokens = (0..=count / 64).map(share).collect();
    // Those who live are at it all the time, and those who are to be killed shall come to it, too.
    for survivor in [&owner, &other] {
        assert_eq!(survivor.ask(Ask::GiveWay), Ok(Answer::Done));
    }
    let killer = device.client(OTHER_APP);
    killer.begin(&Ask::Purge(Purge::KillPinners(tokens, count, 8)));
    let (mut lies, mut purged) = (0, 0);
    let killed = loop {
        lies += owner.count(Ask::Purge(Purge::Race(held.handle, 5)));
        purged += trim(&beside);
        assert_eq!(use_cache(&other, 40, 1).wrong, 0);
        trim(&other);
        if let Some(killed) = killer.answer_if_there() {
            break killed;
        }
    };
    assert_eq!(killed, Answer::Count(count));
    assert_eq!(lies, 0);
    assert!(purged > 0, "nothing was purged meanwhile");
    // No pin of the dead is left, and none of the living went.
    device.await_true("all chunks can go", || {
        trim(&beside);
        (look(&owner, held.handle, 0..chunks) == vec![GONE; chunks as usize]).then_some(())
    });
    assert_eq!(look(&owner, spared, 0..2), [kept(0x21); 2]);
    device.await_figures("what is left is the living's", |now| now.sessions == 3);
    device.assert_alive();
}

#[test]
fn when_the_owner_is_killed_the_others_go_on() {
    let device = start_device();
    let owner = device.client(APP).with_session();
    let other = device.client(OTHER_APP).with_session();
    let same_uid = device.client(APP).with_session();
    let held = region(&owner, &purgeable(4), MIDDLE);
    let shared = other.acquire(owner.share(held.handle, OTHER_APP)).unwrap();
    purge(&other, Purge::Region(shared.handle, MIDDLE));
    fill(&owner, held.handle, 0..4, 0x21);
    purge(&owner, Purge::Keep(held.handle, 0..4));
    purge(&other, Purge::Keep(shared.handle, 0..1));
    owner.kill();
    // Charged to the uid of the dead, it is purged with what is that uid's.
    let mut gone = 0;
    device.await_true("the owner's pins are gone", || {
        gone += trim(&same_uid);
        (gone == 3 * CHUNK as usize).then_some(())
    });
    assert_eq!(look(&other, shared.handle, 0..4), [kept(0x21), GONE, GONE, GONE]);
}

#[test]
fn as_many_sessions_pin_as_there_are_numbers_and_readers_do_not() {
    let device = start_device();
    let owner = device.client(APP).with_session();
    let other = device.client(OTHER_APP).with_session();
    let held = region(&owner, &purgeable(4), MIDDLE);
    fill(&owner, held.handle, 0..4, 0x21);
    let share = |uses, read_only| {
        owner.share_for(held.handle, OTHER_APP as i32, uses, 60_000, read_only).unwrap()
    };
    let token = share(16, false);
    let mut all: Vec<Held> = (0..15).map(|_| other.acquire(token).unwrap()).collect();
    let refusal = other.acquire(token).unwrap_err();
    assert_eq!(refusal.code, code::QUOTA_EXCEEDED);
    assert!(refusal.message.contains("16 sessions"), "{}", refusal.message);
    other.drop_buffer(all.pop().expect("one").handle);
    // The refusals did not use the token up.
    device.await_true("its number is free", || other.acquire(token).ok());
    // Who may only read has no part in it: zeros may be there at any moment.
    let reader = other.acquire(share(1, true)).unwrap();
    assert_eq!(other.read(reader.handle, 0, 4), [0x21; 4]);
    assert!(fails(&other, Purge::Region(reader.handle, MIDDLE)).contains("may only be read"));
    let reader = other.acquire(share(1, true)).unwrap();
    assert_eq!(trim(&owner), 4 * CHUNK as usize);
    assert_eq!(other.read(reader.handle, 0, 4), [0; 4]);
    let second = owner.get(held.info.id, false).unwrap();
    assert!(fails(&owner, Purge::Region(second.handle, MIDDLE)).contains("and by no other"));
    let plain = owner.allocate_one(&Descriptor::region(4096));
    assert!(fails(&owner, Purge::Region(plain.handle, MIDDLE)).contains("is not purgeable"));
}

/// What the client says where it is not the service that refuses.
fn fails(client: &Client, ask: Purge) -> String {
    client.begin(&Ask::Purge(ask));
    match client.finish() {
        Answer::Failed(message) => message,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_pin_tells_the_truth_while_the_service_purges_all_the_time() {
    let (device, client) = start();
    let beside = device.client(APP).with_session();
    let pages = Descriptor::region(16 * 4096).with_flags(PURGEABLE).with_option(CHUNK_BYTES, 4096);
    let held = region(&client, &pages, MIDDLE);
    client.begin(&Ask::Purge(Purge::Race(held.handle, 1000)));
    let mut purged = 0;
    let lies = loop {
        purged += trim(&beside);
        if let Some(lies) = client.crowd_if_finished() {
            break lies;
        }
    };
    assert_eq!(lies, 0);
    assert!(purged > 0, "nothing was purged meanwhile");
    device.assert_alive();
}

#[test]
fn whoever_scribbles_over_the_control_block_harms_only_itself() {
    let device = start_device();
    let client = device.client(APP).with_session();
    let hostile = device.client(OTHER_APP).with_session();
    let good = region(&client, &purgeable(16), MIDDLE);
    fill(&client, good.handle, 0..16, 0x77);
    purge(&client, Purge::Keep(good.handle, 0..8));
    let bad = region(&hostile, &purgeable(16), MIDDLE);
    for seed in 0..20 {
        hostile.begin(&Ask::Purge(Purge::Scribble(bad.handle, seed, 20_000)));
        while hostile.answer_if_there() != Some(Answer::Done) {
            trim(&client);
            device.dump(&[]);
        }
        trim(&hostile);
        assert_eq!(look(&client, good.handle, 0..8), [kept(0x77); 8]);
    }
    device.assert_alive();
    hostile.kill();
    device.await_figures("the hostile client's region is gone", |now| now.purgeable == 16 * CHUNK);
}

#[test]
fn pin_and_unpin_make_no_system_call() {
    if missing(Facility::Seccomp) {
        return;
    }
    let (_device, client) = start();
    let handle = region(&client, &purgeable(2), MIDDLE).handle;
    fill(&client, handle, 0..2, 1);
    let lives = |with_one| match purge(&client, Purge::WithoutCalls(handle, 10_000, with_one)) {
        Answer::Yes(lives) => lives,
        other => panic!("{other:?}"),
    };
    assert!(lives(false), "a system call was made");
    assert!(!lives(true), "nobody watched");
}

fn use_cache(client: &Client, keys: u32, threads: usize) -> Cached {
    match purge(client, Purge::UseCache(keys, threads)) {
        Answer::Cached(cached) => cached,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_cache_keeps_what_fits_and_makes_again_what_is_gone() {
    let (_device, client) = start();
    for (heap, purge_all) in kinds() {
        // 128 pages: forty values, of which the largest take three, fit easily.
        purge(&client, Purge::Cache(128 * 4096, Some(heap.to_owned())));
        let first = use_cache(&client, 40, 1);
        assert_eq!(first, Cached { misses: 40, ..Cached::default() }, "{heap}");
        let second = use_cache(&client, 40, 1);
        assert_eq!(second, Cached { hits: 40, ..first }, "{heap}");
        purge_all(&client);
        let third = use_cache(&client, 40, 1);
        assert_eq!(third, Cached { remade: 40, ..second }, "{heap}");
        // Of each key one thread makes the value, and the others find it.
        purge_all(&client);
        let fourth = use_cache(&client, 40, 4);
        assert_eq!(fourth, Cached { remade: 80, hits: 40 + 120, ..third }, "{heap}");
        // 300 values do not fit.
        let fifth = use_cache(&client, 300, 4);
        assert_eq!((fifth.wrong, fifth.unkept), (0, 0), "{heap}: {fifth:?}");
        assert!(fifth.evicted > 100, "{heap}: {fifth:?}");
        assert_eq!(
            fifth.hits + fifth.misses + fifth.remade,
            fourth.hits + fourth.misses + fourth.remade + 1200,
            "{heap}: {fifth:?}"
        );
    }
}

/// Takes memory in small steps until the service has purged something more.
fn squeeze(device: &Device, hog: &Client, most: usize) {
    let before = device.figures().purged;
    let mut taken = 0;
    device.await_true("something is purged", || {
        // The service looks once a second at least. What it sees then may be more than what is seen
        // here now.
        if MemInfo::read().expect("/proc/meminfo").available >= 2 * RESERVE {
            purge(hog, Purge::Hog(4 << 20));
            taken += 4 << 20;
            assert!(taken < most, "{taken} bytes were taken, and nothing was purged");
        }
        (device.figures().purged > before).then_some(())
    });
}

/// The level of pressure that was felt last.
fn level(device: &Device) -> String {
    let dump: Value = serde_json::from_str(&device.dump(&["--json"])).expect("a dump in JSON");
    dump["pressure"]["changes"][0]["level"].as_str().expect("a change").to_owned()
}

/// Of `MemAvailable`; twice as much is enough.
const RESERVE: u64 = 48 << 20;

#[test]
fn when_memory_is_short_the_lowest_priority_goes_first_and_what_is_pinned_stays() {
    if missing(Facility::OwnMachine) {
        return;
    }
    let device = Device::start_with_policy(&format!("limit reserve-bytes {RESERVE}"));
    let client = device.client(APP).with_session();
    let other = device.client(OTHER_APP).with_session();
    let hog = device.client(0).with_session();
    let chunks = 384;
    let low = region(&client, &purgeable(chunks), LOW).handle;
    let high = region(&client, &purgeable(chunks), HIGH).handle;
    let pinned = region(&client, &purgeable(chunks), LOW).handle;
    let middle = region(&other, &purgeable(chunks), MIDDLE).handle;
    let all = 0..chunks as u32;
    for (client, handle, value) in
        [(&client, high, 3), (&client, pinned, 4), (&other, middle, 2), (&client, low, 1)]
    {
        fill(client, handle, all.clone(), value);
    }
    purge(&client, Purge::Keep(pinned, all.clone()));
    // The last chunks are unpinned first.
    purge(&client, Purge::Tick);
    look(&client, low, 0..chunks as u32 / 2);
    let shared = MemInfo::read().expect("/proc/meminfo").shared;
    squeeze(&device, &hog, 512 << 20);
    let count = |seen: &[Seen], value| seen.iter().filter(|seen| **seen == kept(value)).count();
    device.await_true("there is enough again", || {
        (MemInfo::read().expect("/proc/meminfo").available >= 2 * RESERVE).then_some(())
    });
    let purged = device.figures().purged as u64;
    let less = shared.saturating_sub(MemInfo::read().expect("/proc/meminfo").shared);
    assert!(less >= purged / 8 * 7, "{purged} bytes were purged, and {less} are back");
    // Before those that go first: more may go at any time.
    let of_middle = count(&look(&other, middle, all.clone()), 2);
    let of_low = look(&client, low, all.clone());
    let (first, second) = of_low.split_at(chunks as usize / 2);
    let (young, old) = (count(first, 1), count(second, 1));
    assert!(young + old < chunks as usize, "none of the lowest priority went");
    assert!(young == chunks as usize / 2 || old == 0, "{young} young and {old} old are left");
    assert!(of_low.iter().all(|seen| *seen == kept(1) || *seen == GONE));
    if young > 0 {
        assert_eq!(of_middle, chunks as usize);
    }
    assert_eq!(count(&look(&client, high, all.clone()), 3), chunks as usize);
    // On until others go too: none of a higher priority before all of a lower.
    loop {
        squeeze(&device, &hog, 512 << 20);
        let of_middle = count(&look(&other, middle, all.clone()), 2);
        if of_middle < chunks as usize {
            break;
        }
    }
    assert_eq!(count(&look(&client, low, all.clone()), 1), 0);
    assert_eq!(count(&look(&client, high, all.clone()), 3), chunks as usize);
    assert_eq!(look(&client, pinned, all.clone()), vec![kept(4); chunks as usize]);
    // Back to normal: all of it can be made again, and stays.
    purge(&hog, Purge::Unhog);
    device.await_true("it is over", || (level(&device) == "normal").then_some(()));
    // What was wanted before may go after it.
    device.await_true("nothing goes any more", || {
        let purged = device.figures().purged;
        fill(&client, low, all.clone(), 5);
        fill(&other, middle, all.clone(), 6);
        let seen = [look(&client, low, all.clone()), look(&other, middle, all.clone())];
        let stays = device.figures().purged == purged;
        stays.then(|| assert_eq!(seen, [5, 6].map(|value| vec![kept(value); chunks as usize])))
    });
}

#[test]
fn an_allocation_that_the_reserve_would_refuse_has_what_nobody_pins() {
    if missing(Facility::DmaHeapSystem) {
        return;
    }
    // So much is left when the regions are filled that nothing goes by itself, and so much is asked
    // for then that it is too much without a part of them.
    let MemInfo { total, .. } = MemInfo::read().expect("/proc/meminfo");
    let available = available_beside(NO_RESERVE, &[APP, OTHER_APP]);
    let (filled, margin) = (80 << 20, 16 << 20);
    let reserve = (available - filled - margin) / 2;
    let asked = available - filled - reserve + margin;
    let most = "service-bytes uid-bytes session-bytes buffer-bytes".split(' ');
    let most: String = most.map(|limit| format!("limit {limit} {}\n", total - reserve)).collect();
    let device = Device::start_with_policy(&format!("limit reserve-bytes {reserve}\n{most}"));
    let client = device.client(APP).with_session();
    let other = device.client(OTHER_APP).with_session();
    let pinned = region(&other, &purgeable(256), MIDDLE).handle;
    let unpinned = region(&other, &purgeable(1024), MIDDLE).handle;
    fill(&other, pinned, 0..256, 9);
    purge(&other, Purge::Keep(pinned, 0..256));
    fill(&other, unpinned, 0..1024, 8);
    assert_eq!(device.figures().purged, 0, "there was enough until it was asked for");
    let buffer = client.allocate_one(&Descriptor::linear(asked as i64).with_flags(NO_POOL));
    assert!(device.figures().purged > 0);
    assert_eq!(look(&other, pinned, 0..256), vec![kept(9); 256]);
    client.drop_buffer(buffer.handle);
}
