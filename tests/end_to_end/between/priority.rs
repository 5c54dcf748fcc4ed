// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! The priority that whoever waits for a mutex lends to whoever has it.

use std::fs;
use std::os::fd::AsFd;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use berth_client::shared::mutex::{self, Mutex, Protocol};
use berth_end_to_end::facilities::{missing, Facility};
use berth_end_to_end::shared::MUTEX;
use nix::errno::Errno;
use nix::libc;
use nix::unistd::gettid;

use super::{ask, Memory, PATIENCE};

/// A real-time priority, `SCHED_FIFO` of 1 to 99.
const URGENT: i32 = 10;
/// How the kernel shows it, lent or own (proc_pid_stat(5), `priority`: the eighteenth field).
const URGENT_SHOWN: i32 = -1 - URGENT;

/// A field of a thread's `stat`, counted from 1 as the manual does.
fn stat(process: u32, thread: i32, field: usize) -> String {
    let stat = fs::read_to_string(format!("/proc/{process}/task/{thread}/stat")).unwrap();
    // The name may hold anything.
    let behind_name = stat.rsplit(") ").next().unwrap();
    behind_name.split(' ').nth(field - 3).unwrap().to_owned()
}

/// The priority that the only thread of a process runs at.
fn priority(process: u32) -> i32 {
    stat(process, process as i32, 18).parse().unwrap()
}

/// Makes the calling thread urgent. Not by the C library's function, which musl does not have.
fn become_urgent() {
    /// `struct sched_param` of the kernel.
    #[repr(C)]
    struct Parameters {
        priority: libc::c_int,
    }
    let parameters = Parameters { priority: URGENT };
    // SAFETY: 0 is the calling thread; the kernel reads the parameters, which live across the call.
    let set = unsafe {
        libc::syscall(libc::SYS_sched_setscheduler, 0, libc::SCHED_FIFO, &parameters as *const _)
    };
    Errno::result(set).unwrap();
}

fn await_true(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "waited for: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// What another process that has the mutex runs at, before somebody urgent waits for it, meanwhile and
/// after.
fn owner_runs_at(protocol: Protocol, lent: i32) -> [i32; 3] {
    let memory = Memory::new();
    mutex::create(memory.memfd.as_fd(), MUTEX, 64, protocol).unwrap();
    let mutex = Mutex::attach(memory.memfd.as_fd(), MUTEX).unwrap();
    let mut owner = memory.peer("own", 0);
    let process = owner.0.id();
    let mut lines = owner.lines();
    assert_eq!(ask(&mut lines, ""), "locked");
    let before = priority(process);
    let meanwhile = thread::scope(|scope| {
        let (tell, told) = channel();
        let waiter = scope.spawn(move || {
            become_urgent();
            tell.send(gettid().as_raw()).unwrap();
            drop(mutex.lock(PATIENCE).unwrap());
        });
        let thread = told.recv_timeout(PATIENCE).unwrap();
        let own = std::process::id();
        await_true("an urgent thread that sleeps", || {
            stat(own, thread, 3) == "S" && stat(own, thread, 18) == URGENT_SHOWN.to_string()
        });
        let began = Instant::now();
        // It sleeps for the mutex, or is about to.
        while priority(process) != lent && began.elapsed() < PATIENCE {
            thread::sleep(Duration::from_millis(1));
        }
        thread::sleep(Duration::from_millis(50));
        let meanwhile = priority(process);
        assert_eq!(ask(&mut lines, "unlock"), "unlocked");
        waiter.join().unwrap();
        meanwhile
    });
    [before, meanwhile, priority(process)]
}

#[test]
fn an_owner_runs_at_the_priority_of_who_waits_where_that_was_asked_for() {
    if missing(Facility::RealTime) {
        return;
    }
    let [before, meanwhile, after] = owner_runs_at(Protocol::Inherit, URGENT_SHOWN);
    assert!(before >= 0, "it is not urgent by itself: {before}");
    assert_eq!((meanwhile, after), (URGENT_SHOWN, before));
    assert_eq!(owner_runs_at(Protocol::Plain, before), [before; 3]);
}
