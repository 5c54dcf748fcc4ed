// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! A client over another implementation of Binder, in C, with nothing of ours in it:
//! `tests/libgbinder/client.c`.

use std::os::unix::process::CommandExt;
use std::process::Command;

use berth_end_to_end::harness::{Device, APP};
use berth_facilities::{missing_any, Facility};

use vendor_berth_allocator::aidl::vendor::berth::allocator::IAllocator::{HASH, VERSION};

use crate::code;

/// Where a lane with the driver has it.
const CLIENT: &str = "/vendor/libgbinder/client";

#[test]
fn libgbinder_finds_the_allocator_and_gets_a_dma_buf() {
    if missing_any(&[Facility::Binder, Facility::DmaHeapSystem]) {
        return;
    }
    let device = Device::start();
    let before = device.service_descriptors();
    let ran = Command::new(CLIENT).uid(APP).gid(APP).output().expect(CLIENT);
    let said = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success(), "{said}{}", String::from_utf8_lossy(&ran.stderr));
    let refused = |what: &str, code: i32| format!("{what}: error {code}: ");
    let mut expected = [
        "listed: vendor.berth.allocator.IAllocator/default".to_owned(),
        "answers: vendor.berth.allocator.IAllocator".to_owned(),
        format!("version: {VERSION}, hash {HASH}"),
        "of heap system".to_owned(),
        "got again: of the identity as told".to_owned(),
        "link: /dmabuf:".to_owned(),
        // 5.10 has the file of the exporter here, `heap_helpers`.
        "exp_name:\t".to_owned(),
        "name:\tlibgbinder".to_owned(),
        "used: written and read under CPU access".to_owned(),
        refused("a size of -1", code::BAD_DESCRIPTOR) + "bad descriptor: linearBytes is -1",
        refused("65 at once", code::BAD_ARGUMENT) + "bad argument: count is 65",
        refused("freed again", code::NOT_FOUND),
        "session: closed".to_owned(),
    ]
    .into_iter();
    // In this order, each in a line of its own.
    let mut wanted = expected.next();
    for line in said.lines() {
        if wanted.as_ref().is_some_and(|wanted| line.contains(wanted.as_str())) {
            wanted = expected.next();
        }
    }
    assert_eq!(wanted, None, "missing or out of order in:\n{said}");
    device.await_figures("nothing is left of it", |now| now.sessions == 0 && now.buffers == 0);
    device.await_descriptors(before);
}
