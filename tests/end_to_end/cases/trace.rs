// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! What the service does, in the kernel's trace.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use berth_end_to_end::harness::{Client, Device, APP};
use berth_end_to_end::protocol::{Ask, Descriptor, Purge};
use berth_facilities::{missing_any, Facility};

use crate::flag::PURGEABLE;

/// There is one for the whole machine, which may be somebody's.
const TRACE: &[Facility] = &[Facility::OwnMachine, Facility::Tracing];
const TRACEFS: &str = "/sys/kernel/tracing";
const BYTES: i64 = 65_536;

/// The kernel's trace, empty and off, and open to all writers as Android's init leaves it.
struct KernelTrace(Vec<(PathBuf, Permissions)>);

impl KernelTrace {
    fn as_android_has_it() -> KernelTrace {
        let change = |name: &str, mode| {
            let path = Path::new(TRACEFS).join(name);
            let before = fs::metadata(&path).unwrap().permissions();
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            (path, before)
        };
        let trace = KernelTrace(vec![change("", 0o755), change("trace_marker", 0o222)]);
        trace.turn(false);
        fs::write(Path::new(TRACEFS).join("trace"), "").unwrap();
        trace
    }

    fn turn(&self, on: bool) {
        fs::write(Path::new(TRACEFS).join("tracing_on"), if on { "1" } else { "0" }).unwrap();
    }

    /// The events of a process, the oldest first, each without what the kernel puts before it.
    fn events_of(&self, pid: u32) -> Vec<String> {
        let text = fs::read_to_string(Path::new(TRACEFS).join("trace")).unwrap();
        let events = text.lines().filter_map(|line| line.split_once("tracing_mark_write: "));
        let events = events.map(|(_, event)| event.replace(&format!("|{pid}"), "|P"));
        events.filter(|event| event.contains("|P")).collect()
    }
}

impl Drop for KernelTrace {
    fn drop(&mut self) {
        self.turn(true);
        for (path, before) in &self.0 {
            let _ = fs::set_permissions(path, before.clone());
        }
    }
}

/// Allocates a buffer and frees it.
fn pass_through(client: &Client) {
    let buffer = client.allocate_one(&Descriptor::linear(BYTES));
    client.drop_buffer(buffer.handle);
}

#[test]
fn operations_and_heaps_show_in_the_kernels_trace_while_it_is_on() {
    if missing_any(TRACE) {
        return;
    }
    let trace = KernelTrace::as_android_has_it();
    let device = Device::start();
    let client = device.client(APP).with_session();
    let pid = device.service_pid();
    // The kernel refuses its events, and it does not try again for a while.
    pass_through(&client);

    trace.turn(true);
    device.await_true("the service finds out that it is on", || {
        pass_through(&client);
        trace.events_of(pid).iter().any(|event| event == "B|P|allocate").then_some(())
    });
    let before = trace.events_of(pid).len();
    let buffer = client.allocate_one(&Descriptor::linear(BYTES));
    let heap = format!("C|P|heap {}, bytes|", buffer.info.heap);
    // What was given back before it may be counted at any time: its own counts what it has.
    let slice = trace.events_of(pid).split_off(before);
    let is_counted = |event: &&String| event.starts_with(&heap) && !event.ends_with("|0");
    let mut rest = slice.iter().skip_while(|event| *event != "B|P|allocate");
    assert!(rest.any(|event| is_counted(&event)), "{slice:?}");
    assert!(rest.any(|event| event == "E|P"), "{slice:?}");
    client.drop_buffer(buffer.handle);
    device.await_true("the heap has everything back", || {
        let last = trace.events_of(pid).into_iter().rfind(|event| event.starts_with(&heap))?;
        (last == format!("{heap}0")).then_some(())
    });
    assert!(device.berthctl(&["trim"]).status.success());
    let events = trace.events_of(pid);
    for event in ["B|P|free", "B|P|trim"] {
        assert!(events.iter().any(|seen| seen == event), "{event} in {events:?}");
    }
}

#[test]
fn a_purge_shows_in_the_kernels_trace_and_only_where_there_is_something_to_purge() {
    if missing_any(TRACE) {
        return;
    }
    let trace = KernelTrace::as_android_has_it();
    trace.turn(true);
    let device = Device::start();
    let client = device.client(APP).with_session();
    let pid = device.service_pid();
    let purges = || trace.events_of(pid).iter().filter(|event| *event == "B|P|purge").count();
    let descriptor = Descriptor::region(16 * BYTES).with_flags(PURGEABLE);
    let handle = client.allocate_one(&descriptor).handle;
    client.ask(Ask::Purge(Purge::Region(handle, 0))).unwrap();
    // Nobody wrote it: there is nothing to be had.
    assert_eq!(client.count(Ask::Trim), 0);
    assert!(trace.events_of(pid).iter().any(|event| event == "B|P|trim"), "it is traced");
    assert_eq!(purges(), 0);
    client.ask(Ask::Purge(Purge::Fill(handle, 0..16, 1))).unwrap();
    assert_eq!(client.count(Ask::Trim), 16 * BYTES as usize);
    let events = trace.events_of(pid);
    let began = events.iter().position(|event| event == "B|P|purge");
    let ended = began.and_then(|began| events[began..].iter().position(|event| event == "E|P"));
    assert!(ended.is_some(), "{events:?}");
    assert_eq!(purges(), 1);
}
