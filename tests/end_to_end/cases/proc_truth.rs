// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! The ledger against `/proc`: what the service says is live is what processes hold, through every
//! way to hold memory that goes past the service.
//!
//! Where there is a dma-heap, buffers are dma-bufs, which is what matters; elsewhere the same is
//! tried with the memfds that stand in for them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;

use berth_end_to_end::harness::{Client, Device, APP, OTHER_APP, THIRD_APP};
use berth_end_to_end::protocol::{Descriptor, Held, Hold};
use nix::libc::makedev;
use nix::sys::signal::{kill, Signal};
use nix::unistd::Pid;
use serde_json::Value;

/// `st_dev` and `st_ino`.
type Identity = (u64, u64);

const BYTES: i64 = 16 << 10;
/// What memfds of these tests are called; a dma-buf's link has no name.
const NAME: &str = "proc truth";

fn buffer() -> Descriptor {
    Descriptor::linear(BYTES).named(NAME)
}

/// Memory, as a test knows it.
trait Known {
    fn identity(&self) -> Identity;
}

impl Known for Held {
    fn identity(&self) -> Identity {
        (self.info.device as u64, self.info.inode as u64)
    }
}

/// A slot of a pool.
impl Known for Identity {
    fn identity(&self) -> Identity {
        *self
    }
}

/// Who holds which memory, as the kernel shows it: by descriptor or by mapping.
#[derive(Debug, Default, PartialEq, Eq)]
struct Holders(BTreeMap<Identity, BTreeSet<u32>>);

impl Holders {
    fn of(pids: &[u32]) -> Holders {
        let mut holders = Holders::default();
        for &pid in pids {
            for identity in descriptors_of(pid).into_iter().chain(mappings_of(pid)) {
                holders.0.entry(identity).or_default().insert(pid);
            }
        }
        holders
    }

    fn memories(&self) -> BTreeSet<Identity> {
        self.0.keys().copied().collect()
    }
}

fn is_ours(link: &str) -> bool {
    link.starts_with("/dmabuf:") || link.starts_with(&format!("/memfd:{NAME}"))
}

fn descriptors_of(pid: u32) -> BTreeSet<Identity> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).expect("a process that lives");
    let mut found = BTreeSet::new();
    for path in entries.flatten().map(|entry| entry.path()) {
        // A descriptor may be closed while we look.
        let Ok(link) = fs::read_link(&path) else { continue };
        if let (true, Ok(status)) = (is_ours(&link.to_string_lossy()), fs::metadata(&path)) {
            found.insert((status.dev(), status.ino()));
        }
    }
    found
}

/// `address perms offset major:minor inode path`, proc(5).
fn mappings_of(pid: u32) -> BTreeSet<Identity> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).expect("a process that lives");
    let identity = |line: &str| {
        let mut words = line.split_whitespace().skip(3);
        let (major, minor) = words.next()?.split_once(':')?;
        let number = |text| u32::from_str_radix(text, 16).ok();
        let inode = words.next()?.parse().ok()?;
        let path = line.find('/').map(|at| &line[at..])?;
        is_ours(path).then_some((makedev(number(major)?, number(minor)?), inode))
    };
    maps.lines().filter_map(identity).collect()
}

/// The HAL, and the processes that are looked at.
struct Scene {
    device: Device,
    pids: Vec<u32>,
}

impl Scene {
    fn new() -> Scene {
        Scene { device: Device::start(), pids: Vec::new() }
    }

    fn client(&mut self, uid: u32) -> Client {
        let client = self.device.client(uid).with_session();
        self.pids.push(client.pid());
        client
    }

    fn forget(&mut self, pid: u32) {
        self.pids.retain(|other| *other != pid);
    }

    /// Holds the ledger and `/proc` to what is expected: who holds each live buffer, and who holds
    /// memory that was given up. Both are exact: nothing may be missing or too much on either side.
    fn assert_truth<M: Known>(
        &self,
        what: &str,
        live: &[(&M, &[u32])],
        held_after_free: &[(&M, &[u32])],
    ) {
        let memories = |of: &[(&M, &[u32])]| of.iter().map(|(one, _)| one.identity()).collect();
        let (live_ones, after_free): (BTreeSet<Identity>, BTreeSet<Identity>) =
            (memories(live), memories(held_after_free));
        let expected: BTreeMap<Identity, BTreeSet<u32>> = live
            .iter()
            .chain(held_after_free)
            .map(|(one, by)| (one.identity(), by.iter().copied().collect()))
            .collect();
        // Who exits or is killed is gone from /proc at once, and from the ledger a moment later.
        self.device.await_agreement(what, || {
            let holders = Holders::of(&self.pids);
            let dump: Value =
                serde_json::from_str(&self.device.dump(&["--json"])).expect("a dump in JSON");
            check_sums(&dump)?;
            let shown = live_in(&dump);
            if holders.0 != expected {
                return Err(format!("/proc shows {:?} instead of {expected:?}", holders.0));
            }
            if shown != live_ones {
                return Err(format!("the ledger shows {shown:?} instead of {live_ones:?}"));
            }
            if &holders.memories() - &shown != after_free {
                return Err(format!("held after free is not {after_free:?}"));
            }
            self.check_lingering(&dump, &after_free)?;
            self.check_the_services_own(&live_ones)
        });
    }

    /// What the service itself knows of memory that is held after it was freed: the dump's list
    /// `lingering`, of entries with `device` and `inode` as buffers have them.
    fn check_lingering(&self, dump: &Value, after_free: &BTreeSet<Identity>) -> Result<(), String> {
        let listed = identities(dump["lingering"].as_array().expect("lingering"));
        // Regions are no dma-bufs: nothing proves who holds one.
        let proven: BTreeSet<Identity> = match berth_end_to_end::harness::dma_heaps().is_empty() {
            true => BTreeSet::new(),
            false => after_free.clone(),
        };
        if listed != proven {
            return Err(format!("lingering are {listed:?} instead of {proven:?}"));
        }
        Ok(())
    }

    /// The service keeps a descriptor of its own of every live buffer; that is what its books rest on.
    fn check_the_services_own(&self, live: &BTreeSet<Identity>) -> Result<(), String> {
        let own = descriptors_of(self.device.service_pid());
        let missing = live - &own;
        match missing.is_empty() {
            true => Ok(()),
            false => Err(format!("the service does not hold {missing:?}")),
        }
    }
}

/// What is in use of all heaps, and the pages of pools, are all that is in the books.
fn check_sums(dump: &Value) -> Result<(), String> {
    let number = |value: &Value| value.as_u64().expect("a number");
    let heaps = dump["heaps"].as_array().expect("heaps");
    let in_heaps: u64 = heaps.iter().map(|heap| number(&heap["bytes"])).sum();
    let (all, pages) = (&dump["totals"]["bytes"], &dump["totals"]["pool_pages_bytes"]);
    match number(all) == in_heaps + number(pages) {
        true => Ok(()),
        false => {
            Err(format!("{all} bytes, of which {in_heaps} in heaps and {pages} pages of pools"))
        }
    }
}

/// All buffers in the dump, each once.
fn live_in(dump: &Value) -> BTreeSet<Identity> {
    let sessions = dump["sessions"].as_array().expect("sessions");
    let buffers = |session: &Value| session["buffers"].as_array().expect("buffers").clone();
    identities(&sessions.iter().flat_map(buffers).collect::<Vec<_>>())
}

fn identities(listed: &[Value]) -> BTreeSet<Identity> {
    let number = |value: &Value| value.as_u64().expect("a number");
    listed.iter().map(|one| (number(&one["device"]), number(&one["inode"]))).collect()
}

/// A process that nobody else would end.
struct Orphan(u32);

impl Orphan {
    fn end(&self) {
        let _ = kill(Pid::from_raw(self.0 as i32), Signal::SIGKILL);
    }
}

impl Drop for Orphan {
    fn drop(&mut self) {
        self.end();
    }
}

#[test]
fn duplicates_and_mappings_are_held_until_the_last_of_them_goes() {
    let mut scene = Scene::new();
    let owner = scene.client(APP);
    let one = owner.allocate_one(&buffer());
    let other = owner.allocate_one(&buffer());
    let by: &[u32] = &[owner.pid()];
    scene.assert_truth("allocated", &[(&one, by), (&other, by)], &[]);
    let duplicate = owner.hold(Hold::Duplicate(one.handle));
    let mapping = owner.hold(Hold::Map(other.handle));
    scene.assert_truth("duplicated and mapped", &[(&one, by), (&other, by)], &[]);

    owner.drop_buffer(one.handle);
    owner.drop_buffer(other.handle);
    scene.assert_truth(
        "freed, and a duplicate and a mapping left",
        &[],
        &[(&one, by), (&other, by)],
    );
    owner.hold(Hold::LetGo(duplicate));
    scene.assert_truth("a mapping outlives its descriptor", &[], &[(&other, by)]);
    owner.hold(Hold::LetGo(mapping));
    scene.assert_truth::<Held>("nothing is held", &[], &[]);
}

#[test]
fn descriptors_that_were_passed_on_are_held_by_who_got_them() {
    let mut scene = Scene::new();
    let owner = scene.client(APP);
    let friend = scene.client(OTHER_APP);
    let stranger = scene.client(THIRD_APP);
    let by = [owner.pid(), friend.pid(), stranger.pid()];
    let [by_owner, by_friend, by_stranger] = by;
    let acquired = owner.allocate_one(&buffer());
    let passed = owner.allocate_one(&buffer());
    let taken = friend.acquire(owner.share(acquired.handle, OTHER_APP)).unwrap();
    let socket = format!("berth proc truth {by_stranger}");
    stranger.hold(Hold::Listen(socket.clone()));
    owner.hold(Hold::Pass(passed.handle, socket));
    let received = stranger.hold(Hold::Receive);
    scene.assert_truth(
        "acquired by one, passed on to another",
        &[(&acquired, &[by_owner, by_friend]), (&passed, &[by_owner, by_stranger])],
        &[],
    );

    // Only a mapping is left of what the stranger got.
    stranger.hold(Hold::Map(received));
    stranger.hold(Hold::LetGo(received));
    owner.drop_buffer(acquired.handle);
    owner.drop_buffer(passed.handle);
    let (live, after_free) = ([(&acquired, &by[1..2])], [(&passed, &by[2..])]);
    scene.assert_truth("freed by the owner", &live, &after_free);
    owner.kill();
    scene.forget(by_owner);
    scene.assert_truth("the owner is killed", &live, &after_free);
    friend.drop_buffer(taken.handle);
    stranger.kill();
    scene.forget(by_stranger);
    scene.assert_truth::<Held>("nobody holds anything", &[], &[]);
}

#[test]
fn a_fork_holds_what_its_parent_held_and_outlives_it() {
    let mut scene = Scene::new();
    let owner = scene.client(APP);
    let kept = owner.allocate_one(&buffer());
    let freed = owner.allocate_one(&buffer());
    let mapping = owner.hold(Hold::Map(freed.handle));
    let child = Orphan(owner.hold(Hold::Fork) as u32);
    scene.pids.push(child.0);
    let both: &[u32] = &[owner.pid(), child.0];
    scene.assert_truth("forked", &[(&kept, both), (&freed, both)], &[]);

    owner.drop_buffer(freed.handle);
    owner.hold(Hold::LetGo(mapping));
    let by_child: &[u32] = &[child.0];
    scene.assert_truth("freed by the parent", &[(&kept, both)], &[(&freed, by_child)]);
    // What the child holds of Binder keeps the session alive, and what is in it live.
    owner.kill();
    scene.forget(owner.pid());
    scene.assert_truth("the parent is killed", &[(&kept, by_child)], &[(&freed, by_child)]);
    child.end();
    scene.forget(child.0);
    scene.assert_truth::<Held>("the fork ends", &[], &[]);
}

#[test]
fn the_ledger_agrees_when_holders_are_killed() {
    let mut scene = Scene::new();
    let owner = scene.client(APP);
    let taker = scene.client(OTHER_APP);
    let survivor = scene.client(APP);
    let shared = owner.allocate_one(&buffer());
    owner.allocate_one(&buffer());
    let theirs = survivor.allocate_one(&buffer());
    taker.acquire(owner.share(shared.handle, OTHER_APP)).unwrap();
    let (by_taker, by_survivor): (&[u32], &[u32]) = (&[taker.pid()], &[survivor.pid()]);
    owner.kill();
    scene.forget(owner.pid());
    scene.assert_truth(
        "the owner is killed: what a taker holds lives on",
        &[(&shared, by_taker), (&theirs, by_survivor)],
        &[],
    );
    taker.kill();
    scene.forget(taker.pid());
    scene.assert_truth("the taker is killed", &[(&theirs, by_survivor)], &[]);
    survivor.exit();
}

#[test]
fn the_slots_of_a_pool_are_in_the_books_with_all_that_take_part() {
    let mut scene = Scene::new();
    let camera = scene.client(APP);
    let encoder = scene.client(OTHER_APP);
    let (by_camera, by_encoder) = (camera.pid(), encoder.pid());
    let both: &[u32] = &[by_camera, by_encoder];
    let at_camera = camera.create_pool(&buffer(), (2, 2, 0));
    let mut slots: Vec<Identity> = Vec::new();
    for _ in 0..2 {
        let (lease, _) = camera.acquire_slot(at_camera, 0).leased();
        slots.push(camera.slot_identity(lease));
    }
    let [one, other] = slots[..] else { panic!("{slots:?}") };
    scene.assert_truth("made", &[(&one, &both[..1]), (&other, &both[..1])], &[]);
    let at_encoder = encoder.join_pool(camera.share_pool(at_camera, OTHER_APP));
    scene.assert_truth("joined", &[(&one, both), (&other, both)], &[]);
    // From an inode in /proc to the pool, to who pays for it and to who takes part.
    let dump: Value =
        serde_json::from_str(&scene.device.dump(&["--json", "--buffers"])).expect("JSON");
    let listed = dump["buffers"].as_array().expect("buffers");
    assert_eq!(identities(listed), BTreeSet::from([one, other]));
    let sessions: BTreeSet<_> = listed.iter().map(|slot| slot["session"].as_i64()).collect();
    let pools: BTreeSet<_> = listed.iter().map(|slot| slot["pool"].as_i64()).collect();
    assert_eq!((sessions.len(), pools.len()), (1, 1), "{dump}");
    for slot in listed {
        assert_eq!((&slot["role"], &slot["pid"]), (&"slot".into(), &by_camera.into()));
        assert_eq!((&slot["charged_uid"], &slot["takers"]), (&APP.into(), &1.into()));
        assert_ne!(slot["taken_by"][0], slot["session"]);
    }

    // The pool outlives who takes part, and ends with who made it.
    encoder.leave_pool(at_encoder);
    scene.assert_truth("left", &[(&one, &both[..1]), (&other, &both[..1])], &[]);
    let at_encoder = encoder.join_pool(camera.share_pool(at_camera, OTHER_APP));
    camera.kill();
    scene.forget(by_camera);
    scene.assert_truth("its creator is killed", &[], &[(&one, &both[1..]), (&other, &both[1..])]);
    encoder.leave_pool(at_encoder);
    scene.assert_truth::<Identity>("nobody holds anything", &[], &[]);
    encoder.exit();
}
