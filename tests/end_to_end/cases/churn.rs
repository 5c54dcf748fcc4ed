// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Clients that allocate and are killed, thousands of times: nothing may be left of any.

use std::io::Write;
use std::time::Instant;

use berth_end_to_end::harness::{free_memory, Device, APP};
use berth_end_to_end::protocol::{Descriptor, KillCycles};

/// So many on a machine that runs them itself.
const CYCLES: usize = 10_000;
/// What fits the same minute in an emulated VM, where a cycle takes 9 to 33 ms, after what else the
/// machine does.
const CYCLES_EMULATED: usize = 1_500;
/// Before the levels are taken: what is made once, and what an allocator of memory keeps for good.
const WARM_UP: usize = 200;
/// Threads that Binder adds when calls wait, and keeps (`BINDER_THREADS` of the service).
const POOL: usize = 8;
/// All cycles in so many parts: what is lost is lost in each of them, and what the service's allocator
/// of memory scatters, or new threads take, comes in some.
const PARTS: usize = 4;
/// What the service's own memory may have grown by in the part in which it grew least. A cycle may
/// leave 104 bytes, and one in a VM 700.
const GROWN: u64 = 256 << 10;
/// What MemFree may miss in a VM: the service's growth, and tables of the kernel; 0.3 MiB were seen. All
/// cycles together take forty times as much as is allowed.
const FREE_MISSED: u64 = 8 << 20;

#[test]
fn clients_that_allocate_and_are_killed_leave_no_descriptor_no_session_and_no_memory() {
    let emulated = std::env::var("BERTH_TRANSPORT").is_ok_and(|transport| transport == "kernel");
    let cycles = if emulated { CYCLES_EMULATED } else { CYCLES };
    let device = Device::start();
    let killer = device.client(APP);
    let descriptor = Descriptor::linear(64 << 10);
    let run = |cycles| {
        let descriptor = descriptor.clone();
        // Several at once, so that the end of one falls into the calls of another.
        killer.kill_cycles(KillCycles { cycles, at_once: 4, descriptor, buffers: 4 })
    };
    let settle = |killed| {
        device.await_figures("every client's session ends", |now| {
            (now.sessions, now.buffers, now.bytes, now.abandoned) == (0, 0, 0, killed)
        })
    };
    run(WARM_UP);
    settle(WARM_UP as i64);
    let (descriptors, threads) = (device.service_descriptors(), device.service_threads());
    let (mut memory, free) = (device.service_memory(), free_memory());

    let began = Instant::now();
    let mut grown = Vec::new();
    for part in 1..=PARTS {
        assert_eq!(run(cycles / PARTS), cycles / PARTS);
        settle((WARM_UP + cycles / PARTS * part) as i64);
        let now = device.service_memory();
        grown.push(now.saturating_sub(std::mem::replace(&mut memory, now)));
    }
    let line = format!("{cycles} cycles of allocate and SIGKILL in {:?}\n", began.elapsed());
    // Past libtest, which keeps what a test prints to itself.
    let _ = std::io::stdout().lock().write_all(line.as_bytes());

    device.await_descriptors(descriptors);
    device.await_true("the service's threads end", || {
        (device.service_threads() <= threads + POOL).then_some(())
    });
    assert!(grown.iter().any(|bytes| *bytes <= GROWN), "memory grew by {grown:?} in each part");
    if emulated {
        device.await_true("MemFree", || (free_memory() + FREE_MISSED > free).then_some(()));
    }
    device.assert_alive();
}
