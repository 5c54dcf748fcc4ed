// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Dumps of a service that is at work.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use vendor_berth_allocator::aidl::vendor::berth::allocator::{
    Access::Access, AllocatorError::AllocatorError, BufferDescriptor::BufferDescriptor,
    BufferShape::BufferShape, PoolOptions::PoolOptions, SessionConfig::SessionConfig,
};

use super::snapshot::{NAMED_TAKERS, PIECE};
use crate::accounts::Limits;
use crate::reaper::Cause;
use crate::service::Service;
use crate::session::Session;
use crate::testing::deaf_client;
use crate::tokens::Permit;

const UID: u32 = 10_001;
const OTHER_UID: u32 = 10_002;

fn service() -> Arc<Service> {
    let limits = Limits {
        session_buffers: 1 << 20,
        session_descriptors: 1 << 20,
        uid_buffers: 1 << 20,
        uid_descriptors: 1 << 20,
        reserve_bytes: 0,
        ..Limits::of_machine(1 << 40, 1 << 20)
    };
    Service::with_limits(limits).unwrap()
}

fn session(service: &Service, uid: u32, name: &str) -> Arc<Session> {
    let config = SessionConfig { name: name.to_owned(), ..Default::default() };
    service.open_session(uid, 1, &config, &deaf_client()).unwrap()
}

fn region(name: &str, bytes: i64) -> BufferDescriptor {
    let (name, shape) = (name.to_owned(), BufferShape::RegionBytes(bytes));
    BufferDescriptor { name, shape, ..Default::default() }
}

/// Allocates regions of 4 KiB; the descriptors for the client are closed.
fn regions(service: &Service, session: &Session, count: usize) -> Vec<i64> {
    let mut ids = Vec::new();
    while ids.len() < count {
        let batch = (count - ids.len()).min(64) as i32;
        let (fresh, _) = service.allocate(session, &region("r", 4096), batch).unwrap();
        ids.extend(fresh.into_iter().map(|fresh| fresh.id));
    }
    ids
}

fn dump(service: &Service, args: &[&str]) -> String {
    let mut text = Vec::new();
    super::write(service, 0, &mut text, args).unwrap();
    String::from_utf8(text).unwrap()
}

fn json(service: &Service, args: &[&str]) -> Value {
    let text = dump(service, &[&["--json"], args].concat());
    assert_eq!(text.matches('\n').count(), 1, "{text}");
    serde_json::from_str(&text).unwrap()
}

/// How many descriptors the service of a test may keep; the process has some of its own.
fn room_for_regions() -> usize {
    let descriptors = berth_kernel::descriptor_limit::raise().unwrap();
    (descriptors as usize / 2).min(100_000)
}

/// Lets somebody act at each write.
struct Between<F>(F, Vec<u8>);

impl<F: FnMut()> Write for Between<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (self.0)();
        self.1.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// All ways to ask, which end with everything that there is.
const WAYS: [&[&str]; 4] =
    [&[], &["--json"], &["--sessions", "--buffers"], &["--json", "--buffers"]];

#[test]
fn while_a_dump_is_written_everything_can_be_done() {
    for args in WAYS {
        let service = service();
        let busy = session(&service, UID, "busy");
        regions(&service, &busy, PIECE + 1);
        let mut writes = 0;
        let mut work = || {
            writes += 1;
            if writes % 8 != 0 {
                return;
            }
            // In this very thread: if the dump held a lock of any of this, it would never end.
            let another = session(&service, OTHER_UID, "another");
            let ids = regions(&service, &busy, 2);
            let lifetime = Duration::from_secs(60);
            let access = Access::READ_WRITE;
            let permit = Permit { recipient_uid: OTHER_UID, uses: 1, lifetime, access };
            let token = service.share(&busy, ids[0], permit).unwrap();
            service.acquire(&another, OTHER_UID, &token).unwrap();
            service.free(&busy, &ids).unwrap();
            service.end_session(another.id, Cause::Closed);
        };
        let arguments = super::Arguments::parse(args).unwrap();
        // Without the buffer in between: a write is a few bytes.
        let mut writer = Between(&mut work, Vec::new());
        super::answer(&service, &arguments, &mut writer).unwrap();
        assert!(writes > PIECE, "{args:?}: {writes} writes");
        assert_eq!(service.accounts.live().buffers, PIECE as u64 + 1);
    }
}

#[test]
fn a_reader_that_stops_keeps_no_memory_and_no_session_alive() {
    for args in WAYS {
        let service = service();
        let mut owner = Some(session(&service, UID, "owner"));
        regions(&service, owner.as_ref().unwrap(), 3 * PIECE);
        let mut end = || {
            if let Some(owner) = owner.take() {
                service.end_session(owner.id, Cause::Died);
                drop(owner);
                let live = service.accounts.live();
                assert_eq!((live.buffers, live.bytes), (0, 0), "{args:?}");
                // A dump that held on to any of it would keep this from ending.
                while service.accounts.service() != Default::default() {
                    service.reclaimer.settle(UID);
                }
            }
        };
        let arguments = super::Arguments::parse(args).unwrap();
        super::answer(&service, &arguments, &mut Between(&mut end, Vec::new())).unwrap();
        assert!(owner.is_none());
    }
}

#[test]
fn buffers_that_come_and_go_meanwhile_are_shown_at_most_once() {
    let service = service();
    let session = session(&service, UID, "changing");
    let mut ids = regions(&service, &session, 4 * PIECE);
    let kept: Vec<i64> = ids.iter().copied().step_by(2).collect();
    ids.retain(|id| !kept.contains(id));
    let mut change = || {
        if let Some(id) = ids.pop() {
            service.free(&session, &[id]).unwrap();
            regions(&service, &session, 1);
        }
    };
    let arguments = super::Arguments::parse(&["--json"]).unwrap();
    let mut writer = Between(&mut change, Vec::new());
    super::answer(&service, &arguments, &mut writer).unwrap();
    let json: Value = serde_json::from_slice(&writer.1).unwrap();
    let shown: Vec<i64> = json["sessions"][0]["buffers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|buffer| buffer["id"].as_i64().unwrap())
        .collect();
    assert!(shown.windows(2).all(|pair| pair[0] < pair[1]), "{shown:?}");
    assert!(kept.iter().all(|id| shown.contains(id)), "{shown:?}");
}

#[test]
fn as_many_buffers_as_there_are_descriptors_for_are_written_in_writes_of_bounded_size() {
    let service = service();
    let count = room_for_regions();
    let (half, rest) = (count / 2, count - count / 2);
    let (one, other) = (session(&service, UID, "one"), session(&service, OTHER_UID, "other"));
    regions(&service, &one, half);
    regions(&service, &other, rest);

    struct Largest(usize, Vec<u8>);
    impl Write for Largest {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 = self.0.max(bytes.len());
            self.1.write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut written = Largest(0, Vec::new());
    super::write(&service, 0, &mut written, &["--json"]).unwrap();
    assert!(written.1.len() > 100 * count && written.0 <= super::WRITE_BYTES, "{}", written.0);
    // Only counted: as values, so many buffers take more memory than a VM has.
    #[derive(serde::Deserialize)]
    struct Counted {
        #[serde(default)]
        sessions: Vec<Counted>,
        #[serde(default)]
        buffers: Vec<serde::de::IgnoredAny>,
    }
    let nested: Counted = serde_json::from_slice(&written.1).unwrap();
    let lengths: Vec<_> = nested.sessions.iter().map(|session| session.buffers.len()).collect();
    assert_eq!(lengths, [half, rest]);
    let flat: Counted = serde_json::from_str(&dump(&service, &["--json", "--buffers"])).unwrap();
    assert_eq!(flat.buffers.len(), count);
    assert_eq!(dump(&service, &["--buffers"]).matches(" region ").count(), count);
    println!("{count} buffers, {} bytes of JSON", written.1.len());
}

#[test]
fn the_flat_list_has_the_largest_first_and_says_whose_it_is() {
    let service = service();
    let (one, other) = (session(&service, UID, "one"), session(&service, OTHER_UID, "other"));
    for (session, name, bytes) in
        [(&one, "small", 1), (&other, "large", 1 << 20), (&one, "middle", 8192)]
    {
        service.allocate(session, &region(name, bytes), 1).unwrap();
    }
    let list = |args| json(&service, args)["buffers"].as_array().unwrap().clone();
    let names = |buffers: &[Value]| -> Vec<_> {
        buffers.iter().map(|b| b["name"].as_str().unwrap().to_owned()).collect()
    };
    let all = list(&["--buffers"]);
    assert_eq!(names(&all), ["large", "middle", "small"]);
    assert_eq!((&all[0]["session_name"], &all[0]["uid"]), (&"other".into(), &OTHER_UID.into()));
    assert_eq!(all[0]["session"], other.id);
    assert_eq!(names(&list(&["--buffers", "--uid", "10001"])), ["middle", "small"]);
    let text = dump(&service, &["--buffers", "--uid=10001"]);
    assert!(text.contains("middle (session ") && !text.contains("large ("), "{text}");
}

#[test]
fn sessions_alone_have_figures_and_no_buffers() {
    let service = service();
    let (one, _other) = (session(&service, UID, "one"), session(&service, OTHER_UID, "other"));
    regions(&service, &one, 3);
    let json = json(&service, &["--sessions", "--uid", "10001"]);
    let [shown] = &json["sessions"].as_array().unwrap()[..] else { panic!("{json}") };
    assert_eq!((&shown["owned"], &shown["bytes"]), (&3.into(), &(3 * 4096).into()));
    assert!(shown.get("buffers").is_none() && json.get("buffers").is_none(), "{json}");
    assert_eq!(json["uids"].as_array().unwrap().len(), 1);
    assert_eq!(json["totals"]["sessions"], 2);
    let text = dump(&service, &["--sessions"]);
    assert!(text.contains("  one\n") && text.contains("12 KiB") && !text.contains(" region "));
}

#[test]
fn memory_counts_once_in_its_heap_whoever_holds_it() {
    let service = service();
    let (owner, taker) = (session(&service, UID, "owner"), session(&service, OTHER_UID, "taker"));
    let id = regions(&service, &owner, 1)[0];
    let lifetime = Duration::from_secs(60);
    let access = Access::READ_WRITE;
    let permit = Permit { recipient_uid: OTHER_UID, uses: 3, lifetime, access };
    let token = service.share(&owner, id, permit).unwrap();
    for _ in 0..2 {
        service.acquire(&taker, OTHER_UID, &token).unwrap();
    }
    let used = || {
        let json = json(&service, &[]);
        let heaps = json["heaps"].as_array().unwrap().clone();
        heaps.iter().map(|heap| heap["bytes"].as_u64().unwrap()).sum::<u64>()
    };
    assert_eq!(used(), 4096);
    let shown = &json(&service, &["--buffers", "--uid=10001"])["buffers"][0];
    assert_eq!((&shown["takers"], &shown["tokens"]), (&2.into(), &1.into()));
    assert_eq!(shown["descriptors"], 1);
    assert_eq!((&shown["taken_by"], &shown["taken_by_more"]), (&vec![taker.id].into(), &0.into()));
    let uids = &json(&service, &["--uid=10002"])["uids"];
    assert_eq!((&uids[0]["buffers"], &uids[0]["acquired"]), (&0.into(), &2.into()));
    service.free(&owner, &[id]).unwrap();
    assert_eq!(used(), 4096, "two takers hold it");
    service.end_session(taker.id, Cause::Closed);
    assert_eq!(used(), 0);
}

#[test]
fn the_slots_of_pools_are_shown_with_their_pool_and_counted_in_their_heap() {
    let service = service();
    let (owner, taker) =
        (session(&service, UID, "camera"), session(&service, OTHER_UID, "encoder"));
    let options = PoolOptions { slots: 2, maxParticipants: 2, maxHeld: 0 };
    let pool = service.create_pool(&owner, &region("frame", 12 << 20), &options).unwrap();
    let lifetime = Duration::from_secs(60);
    let access = Access::READ_WRITE;
    let permit = Permit { recipient_uid: OTHER_UID, uses: 1, lifetime, access };
    let token = service.share_pool(&owner, pool.id, permit).unwrap();
    service.join_pool(&taker, OTHER_UID, &token).unwrap();
    let alone = regions(&service, &owner, 1)[0];
    let check = |shown: &Value| {
        let mut slots: Vec<_> = pool.slots.iter().map(|slot| slot.buffer.info.id).collect();
        slots.sort_unstable();
        let of_pool = |one: &&Value| one["role"] == "slot";
        let (in_pool, rest): (Vec<_>, Vec<_>) = shown.as_array().unwrap().iter().partition(of_pool);
        let mut ids: Vec<_> = in_pool.iter().map(|one| one["id"].as_i64().unwrap()).collect();
        ids.sort_unstable();
        assert_eq!(ids, slots);
        for one in in_pool {
            assert_eq!((&one["pool"], &one["bytes"]), (&pool.id.into(), &(12 << 20).into()));
            assert_eq!((&one["charged_uid"], &one["takers"]), (&UID.into(), &1.into()));
            assert_eq!(one["taken_by"], serde_json::json!([taker.id]));
            let info = &pool
                .slots
                .iter()
                .find(|slot| slot.buffer.info.id == one["id"])
                .unwrap()
                .buffer
                .info;
            assert_eq!((&one["device"], &one["inode"]), (&info.device.into(), &info.inode.into()));
        }
        assert_eq!(rest.len(), 1);
        assert_eq!((&rest[0]["id"], &rest[0]["pool"]), (&alone.into(), &0.into()));
    };
    let flat = json(&service, &["--buffers"]);
    check(&flat["buffers"]);
    assert_eq!(flat["buffers"][0]["session"], owner.id);
    check(&json(&service, &[])["sessions"][0]["buffers"]);
    let of_taker = json(&service, &["--buffers", "--uid=10002"]);
    assert_eq!(of_taker["buffers"].as_array().map(Vec::len), Some(0), "they are their owner's");
    let (totals, heaps) = (&flat["totals"], flat["heaps"].as_array().unwrap());
    let sum = |key: &str| heaps.iter().map(|heap| heap[key].as_u64().unwrap()).sum::<u64>();
    assert_eq!((sum("buffers"), sum("bytes")), (3, (24 << 20) + 4096));
    let pages = totals["pool_pages_bytes"].as_u64().unwrap();
    assert!(pages > 0 && totals["bytes"] == sum("bytes") + pages, "{totals}");
    assert_eq!(totals["buffers"], sum("buffers") + 1, "and the pool's pages");
    for args in [&[][..], &["--buffers"]] {
        let text = dump(&service, args);
        assert_eq!(text.matches(&format!("frame, pool {}", pool.id)).count(), 2, "{text}");
    }
    service.end_session(owner.id, Cause::Closed);
    assert_eq!(json(&service, &["--buffers"])["buffers"].as_array().map(Vec::len), Some(0));
}

#[test]
fn who_acquired_a_buffer_is_said_once_and_of_many_some_are_named() {
    let service = service();
    let owner = session(&service, UID, "owner");
    let id = regions(&service, &owner, 1)[0];
    let lifetime = Duration::from_secs(60);
    let access = Access::READ_WRITE;
    let permit = Permit { recipient_uid: OTHER_UID, uses: 1000, lifetime, access };
    let token = service.share(&owner, id, permit).unwrap();
    let takers: Vec<_> =
        (0..NAMED_TAKERS + 3).map(|_| session(&service, OTHER_UID, "taker")).collect();
    for taker in takers.iter().chain(&takers) {
        service.acquire(taker, OTHER_UID, &token).unwrap();
    }
    let json = json(&service, &["--buffers"]);
    let (owners, others): (Vec<&Value>, Vec<&Value>) =
        json["buffers"].as_array().unwrap().iter().partition(|shown| shown["role"] == "owner");
    let [shown] = owners[..] else { panic!("{json}") };
    let named: Vec<i64> = takers.iter().map(|taker| taker.id).take(NAMED_TAKERS).collect();
    assert_eq!((&shown["taken_by"], &shown["taken_by_more"]), (&named.into(), &3.into()));
    assert_eq!(shown["takers"], 2 * takers.len());
    assert_eq!(others.len(), 2 * takers.len());
    for shown in others {
        assert_eq!(
            (&shown["taken_by"], &shown["taken_by_more"]),
            (&Value::Array(vec![]), &0.into())
        );
        assert_eq!(shown["takers"], 2 * takers.len());
    }
    assert!(super::HELP.contains(&format!("at most {NAMED_TAKERS}")));
}

#[test]
fn uids_come_by_what_they_hold_and_refusals_by_cause() {
    let service = service();
    let (one, other) = (session(&service, UID, "one"), session(&service, OTHER_UID, "other"));
    regions(&service, &one, 1);
    regions(&service, &other, 2);
    for code in [AllocatorError::NOT_FOUND, AllocatorError::TOO_LARGE, AllocatorError::NOT_FOUND] {
        service.counters.refusals.count(code);
    }
    let json = json(&service, &[]);
    assert_eq!(
        (&json["uids"][0]["uid"], &json["uids"][1]["uid"]),
        (&OTHER_UID.into(), &UID.into())
    );
    assert_eq!(
        (&json["uids"][0]["buffers"], &json["uids"][0]["descriptors"]),
        (&2.into(), &2.into())
    );
    assert_eq!(json["totals"]["refusals"], 3);
    let causes = &json["refusals_by_cause"];
    assert_eq!((&causes["NOT_FOUND"], &causes["TOO_LARGE"]), (&2.into(), &1.into()));
    assert_eq!(causes["INTERNAL"], 0);
    let text = dump(&service, &[]);
    assert!(text.contains("refused for NOT_FOUND: 2") && !text.contains("INTERNAL"), "{text}");
}

#[test]
fn what_is_not_understood_is_answered_with_the_help_and_an_error() {
    let service = service();
    let mut text = Vec::new();
    let error = super::write(&service, 0, &mut text, &["--jsno"]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    let text = String::from_utf8(text).unwrap();
    assert!(text.starts_with("unknown argument \"--jsno\"\n") && text.ends_with(super::HELP));
    assert_eq!(dump(&service, &["--help"]), super::HELP);
}

#[test]
fn a_reader_that_has_seen_enough_was_answered() {
    struct Gone;
    impl Write for Gone {
        fn write(&mut self, _bytes: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let service = service();
    let session = session(&service, UID, "one");
    // More than is written at once.
    regions(&service, &session, 1000);
    for args in [&[][..], &["--json"], &["--help"]] {
        super::write(&service, 0, &mut Gone, args).unwrap();
    }
    let error = super::write(&service, 0, &mut Gone, &["--jsno"]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
}

#[test]
fn every_key_of_the_json_is_in_the_help() {
    let service = service();
    let session = session(&service, UID, "one");
    regions(&service, &session, 1);
    let json = json(&service, &["--sessions", "--buffers"]);
    let with_buffers = self::json(&service, &[]);
    let keys =
        |value: &Value| -> Vec<String> { value.as_object().unwrap().keys().cloned().collect() };
    let parts = [
        &json,
        &json["totals"],
        &json["limits"],
        &json["heaps"][0],
        &json["uids"][0],
        &json["latencies"]["allocate"],
        &json["buffers"][0],
        &with_buffers["sessions"][0],
        &with_buffers["sessions"][0]["buffers"][0],
    ];
    let words: Vec<&str> = super::HELP.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
    for key in parts.into_iter().flat_map(keys) {
        assert!(words.contains(&key.as_str()), "{key}");
    }
}
