// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Limits: what one client takes is bounded, and is not taken from another.

use berth_end_to_end::harness::{Device, APP, OTHER_APP};
use berth_end_to_end::protocol::{Ask, Descriptor};

use crate::code;

#[test]
fn refused_then_freed_then_allocated() {
    let device = Device::start();
    let client = device.client(APP).with_session();
    let capabilities = client.capabilities();
    // Regions cost nothing until somebody writes to them.
    let share = Descriptor::region(capabilities.max_buffer);
    let fit = capabilities.max_session / capabilities.max_buffer;
    let mut held: Vec<_> =
        (0..fit).filter_map(|_| client.allocate(&share, 1).ok()).flatten().collect();
    let refusal = client.allocate(&share, 1).unwrap_err();
    assert!([code::QUOTA_EXCEEDED, code::NO_MEMORY].contains(&refusal.code), "{refusal:?}");
    assert!(refusal.message.contains(&share_bytes(capabilities.max_buffer)), "{refusal:?}");
    client.drop_buffer(held.remove(0).handle);
    client.allocate(&share, 1).unwrap();
}

fn share_bytes(bytes: i64) -> String {
    // Whole pages are what is booked.
    ((bytes + 4095) / 4096 * 4096).to_string()
}

#[test]
fn what_one_uid_takes_leaves_room_for_another() {
    let device = Device::start();
    let greedy = device.client(APP).with_session();
    let page = Descriptor::region(4096);
    let most = greedy.capabilities().max_session_buffers;
    let mut count = 0;
    let refusal = loop {
        match greedy.allocate(&page, 64) {
            Ok(batch) => count += batch.len() as i32,
            Err(refusal) => break refusal,
        }
    };
    assert!(count <= most && most < count + 64, "{count} of {most}");
    assert!(refusal.message.contains(&format!("at most {most}")), "{refusal:?}");
    let modest = device.client(OTHER_APP).with_session();
    modest.allocate(&page, 64).unwrap();
    assert_eq!(device.figures().buffers, count + 64);
    greedy.kill();
    device.await_figures("all is given back", |now| now.buffers == 64);
}

#[test]
fn sessions_of_a_uid_are_limited() {
    let device = Device::start();
    let client = device.client(APP);
    let most = client.capabilities().max_sessions_per_uid as usize;
    // The one refusal is for too many sessions; any other ends the test.
    assert_eq!(client.count(Ask::OpenUntilRefused), most);
    // They were dropped, and there is room again as soon as the service has noticed.
    device.await_figures("the sessions end", |now| now.sessions == 0);
    let held: Vec<_> = (0..4).map(|_| device.client(APP).with_session()).collect();
    device.await_true("there is room again", || {
        (client.count(Ask::OpenUntilRefused) == most - held.len()).then_some(())
    });
    let other = device.client(OTHER_APP);
    other.open("room for others").unwrap();
    let figures = device.await_figures("only those are left", |now| now.sessions == 5);
    assert_eq!(figures.abandoned, 0);
}
