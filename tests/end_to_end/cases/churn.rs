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
/// What the service's own memory may have grown by in the end: what its allocator of memory has
/// scattered, of which 96 KiB were seen after ten thousand cycles. That many cycles may leave 104 bytes
/// each, and those in a VM 700.
const GROWN: u64 = 1 << 20;
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
    let (memory, free) = (device.service_memory(), free_memory());

    let began = Instant::now();
    assert_eq!(run(cycles), cycles);
    settle((WARM_UP + cycles) as i64);
    let line = format!("{cycles} cycles of allocate and SIGKILL in {:?}\n", began.elapsed());
    // Past libtest, which keeps what a test prints to itself.
    let _ = std::io::stdout().lock().write_all(line.as_bytes());

    device.await_descriptors(descriptors);
    device.await_true("the service's threads end", || {
        (device.service_threads() <= threads + POOL).then_some(())
    });
    device.await_true("the service's memory", || {
        (device.service_memory() <= memory + GROWN).then_some(())
    });
    if emulated {
        device.await_true("MemFree", || (free_memory() + FREE_MISSED > free).then_some(()));
    }
    device.assert_alive();
}
