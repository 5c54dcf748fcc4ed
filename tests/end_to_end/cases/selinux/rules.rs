// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Each rule of `sepolicy/` is needed, and each permission that a rule lists: without it something of
//! a short story is denied.
//!
//! The lane's image has the policy once more without each of them. They are loaded one after another,
//! the story is told under each, and it ends at the first denial.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use berth_end_to_end::facilities::{missing, Facility};
use berth_end_to_end::harness::{Device, APP, OTHER_APP, THIRD_APP};
use berth_end_to_end::protocol::{Access, Attempt, Descriptor};
use berth_selinux::denials::Watch;
use berth_selinux::selinuxfs;
use nix::sys::signal::{kill, Signal};
use nix::sys::stat::{makedev, mknod, Mode, SFlag};
use nix::unistd::Pid;

use super::{pass, READER};

const POLICY: &str = "/etc/selinux/policy";
const WITHOUT: &str = "/etc/selinux/without";

/// What the service does with each of its rights, and its clients with theirs.
fn story() {
    let device = Device::start();
    let owner = device.client(APP).with_session();
    // Every heap, also by the nodes that stand for what this kernel does not have.
    owner.capabilities();
    owner.allocate_one(&Descriptor::linear(8192));
    for heap in ["udmabuf", "system-secure", "reserved"] {
        // What the nodes stand for does not serve; they are opened all the same.
        let _ = owner.allocate(&Descriptor::linear(8192).from_heap(heap), 1);
    }
    let region = owner.allocate_one(&Descriptor::region(8192));
    owner.fill(region.handle, 0, 8192, 1);
    assert!(owner.all_bytes_are(region.handle, 1));

    // What was freed, and a lease tells whether anybody has it.
    let before = device.figures();
    let freed = owner.allocate_one(&Descriptor::region(8192).from_heap("udmabuf"));
    owner.drop_buffer(freed.handle);
    device.await_figures("it is gone", |now| {
        (now.buffers, now.lingering) == (before.buffers, before.lingering)
    });

    // A descriptor that only reads, and who only reads.
    let view = owner.get(region.info.id, true).unwrap();
    let reader = device.client_in(READER, THIRD_APP);
    let seen = pass(&owner, view.handle, &reader);
    assert_eq!(reader.attempt(Attempt::Map(seen, Access::Read)), 0);

    // A notice.
    let friend = device.client(OTHER_APP).with_session();
    friend.acquire(owner.share(region.handle, OTHER_APP)).unwrap();
    owner.exit();
    assert_eq!(friend.await_gone().len(), 1);

    // A bugreport.
    let report = device.client_in("u:r:dumpstate:s0", 0).dump(&[]);
    assert!(report.contains("sessions: 1"), "{report}");
}

/// Tells the story; whether it came to its end without a denial.
fn is_told(watch: &mut Watch) -> bool {
    let teller = thread::spawn(story);
    while !teller.is_finished() {
        if watch.any().unwrap() {
            // Nobody is to wait for what cannot come.
            kill_children();
        }
        thread::yield_now();
    }
    let ended = teller.join().is_ok();
    watch.expect().unwrap().is_empty() && ended
}

/// Kills all processes that this one has started.
fn kill_children() {
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        // pid (comm) state ppid (proc_pid_stat(5))
        let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1));
        if parent.and_then(|pid| pid.parse().ok()) == Some(std::process::id()) {
            let pid = entry.file_name().to_string_lossy().parse().unwrap();
            // It may have ended by itself.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

/// Nodes under the names of what this kernel has not, with the labels of those; gone when dropped.
struct StandIns(Vec<PathBuf>);

impl StandIns {
    fn make() -> StandIns {
        let system = fs::metadata("/dev/dma_heap/system").unwrap().rdev();
        let null = makedev(1, 3);
        let mut made = StandIns(Vec::new());
        for (path, device) in [
            ("/dev/dma_heap/system-secure", system),
            ("/dev/dma_heap/reserved", system),
            ("/dev/ion", null),
        ] {
            mknod(path, SFlag::S_IFCHR, Mode::from_bits_truncate(0o444), device).unwrap();
            made.0.push(path.into());
        }
        let labelled = Command::new("/bin/berth-selinux")
            .args(["label", "/etc/selinux/file_contexts", "/dev"])
            .status();
        assert!(labelled.unwrap().success());
        made
    }
}

impl Drop for StandIns {
    fn drop(&mut self) {
        for path in &self.0 {
            let _ = fs::remove_file(path);
        }
    }
}

/// Another policy for a while.
struct Loaded;

impl Loaded {
    fn policy(path: &Path) -> Loaded {
        selinuxfs::load(&fs::read(path).unwrap()).unwrap();
        Loaded
    }
}

impl Drop for Loaded {
    fn drop(&mut self) {
        selinuxfs::load(&fs::read(POLICY).unwrap()).unwrap();
    }
}

#[test]
fn without_any_single_rule_or_permission_something_is_denied() {
    if missing(Facility::SelinuxPolicy) {
        return;
    }
    let _nodes = StandIns::make();
    let mut watch = Watch::begin().unwrap();
    assert!(is_told(&mut watch), "with all rules");
    let mut rules: Vec<PathBuf> =
        fs::read_dir(WITHOUT).unwrap().map(|entry| entry.unwrap().path()).collect();
    rules.retain(|path| path.extension().is_some_and(|extension| extension == "rule"));
    rules.sort();
    assert!(rules.len() > 30, "only {} rules and permissions", rules.len());
    let mut needless = Vec::new();
    for rule in rules {
        let _loaded = Loaded::policy(&rule.with_extension("policy"));
        if is_told(&mut watch) {
            needless.push(fs::read_to_string(&rule).unwrap());
        }
    }
    assert_eq!(needless, [""; 0]);
    assert!(is_told(&mut watch), "with all rules again");
}
