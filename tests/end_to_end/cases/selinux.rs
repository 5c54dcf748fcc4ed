// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! SELinux, enforcing: who is denied what, each with the kernel's own line of it.

mod rules;

use std::fs;

use berth_end_to_end::facilities::{missing, Facility};
use berth_end_to_end::harness::{Client, Device, APP, OTHER_APP, ROOT_SHELL, SYSTEM};
use berth_end_to_end::protocol::{Access, Ask, Attempt, Descriptor, Handle, Hold, Payloads, Road};
use berth_selinux::denials::Watch;

/// A client.
const CLIENT: &str = "u:r:berth_client:s0";
/// A vendor domain that has nothing to do with the allocator.
const STRANGER: &str = "u:r:stranger:s0";
/// The shell of adb.
const SHELL: &str = "u:r:shell:s0";
/// An application.
const UNTRUSTED_APP: &str = "u:r:untrusted_app:s0";
/// An application of the system's that is a client, with the categories of its user.
const PLATFORM_APP: &str = "u:r:platform_app:s0:c1,c2";
/// Who reads regions, and is no client.
const READER: &str = "u:r:region_reader:s0";

/// Who sends payloads, and is no client.
const PAYLOAD_SENDER: &str = "u:r:payload_sender:s0";

const EACCES: i32 = 13;

/// What was denied since a watch was last asked, as the rules that would have allowed it.
pub fn denied(watch: &mut Watch) -> Vec<String> {
    watch.expect().expect("the kernel's log").iter().map(ToString::to_string).collect()
}

/// Passes a buffer from one process to another.
fn pass(from: &Client, handle: Handle, to: &Client) -> Handle {
    let address = format!("berth-selinux-{}", to.pid());
    to.hold(Hold::Listen(address.clone()));
    from.hold(Hold::Pass(handle, address));
    to.hold(Hold::Receive)
}

/// The same where the descriptor does not come.
fn fails_to_pass(from: &Client, handle: Handle, to: &Client) {
    let address = format!("berth-selinux-{}", to.pid());
    to.hold(Hold::Listen(address.clone()));
    from.hold(Hold::Pass(handle, address));
    let why = to.fails(Ask::Hold(Hold::Receive));
    // The message is cut off where the descriptor would be.
    assert!(why.contains("ENOBUFS"), "{why}");
}

#[test]
fn every_process_is_in_its_domain() {
    if missing(Facility::SelinuxPolicy) {
        return;
    }
    let device = Device::start();
    let domain = |pid: u32| {
        let context = fs::read_to_string(format!("/proc/{pid}/attr/current")).unwrap();
        context.trim_end_matches(['\0', '\n']).to_owned()
    };
    assert_eq!(domain(device.service_pid()), "u:r:hal_berth_allocator_default:s0");
    let others = [STRANGER, SHELL, UNTRUSTED_APP, READER];
    let mut clients: Vec<_> =
        others.into_iter().map(|context| (device.client_in(context, APP), context)).collect();
    clients.push((device.client(APP), CLIENT));
    clients.push((device.client(0), ROOT_SHELL));
    for (client, context) in clients {
        // It has become what it is when it answers.
        client.count(Ask::OpenDescriptors);
        assert_eq!(domain(client.pid()), context);
    }
}

#[test]
fn who_is_no_client_does_not_find_the_allocator() {
    if missing(Facility::SelinuxPolicy) {
        return;
    }
    let device = Device::start();
    let mut watch = Watch::begin().unwrap();
    for (context, name) in [(STRANGER, "stranger"), (UNTRUSTED_APP, "untrusted_app")] {
        device.client_in(context, APP).fails(Ask::Attempt(Attempt::Find));
        let rule = format!("{name} hal_berth_allocator_service:service_manager {{ find }}");
        assert_eq!(denied(&mut watch), [rule]);
    }
}

#[test]
fn who_finds_the_allocator_and_is_no_client_cannot_call_it() {
    if missing(Facility::SelinuxPolicy) {
        return;
    }
    let device = Device::start();
    let mut watch = Watch::begin().unwrap();
    device.client_in(SHELL, APP).fails(Ask::Attempt(Attempt::Find));
    assert_eq!(denied(&mut watch), ["shell hal_berth_allocator_default:binder { call }"]);
}

#[test]
fn a_client_cannot_take_the_allocators_place() {
    if missing(Facility::SelinuxPolicy) {
        return;
    }
    let device = Device::start();
    let mut watch = Watch::begin().unwrap();
    device.client(APP).fails(Ask::Attempt(Attempt::Register));
    let rule = "berth_client hal_berth_allocator_service:service_manager { add }";
    assert_eq!(denied(&mut watch), [rule]);
}

#[test]
fn who_has_nothing_to_do_with_the_allocator_takes_none_of_its_descriptors() {
    if missing(Facility::SelinuxPolicy) {
        return;
    }
    let device = Device::start();
    let owner = device.client(APP).with_session();
    let buffer = owner.allocate_one(&Descriptor::linear(4096));
    let region = owner.allocate_one(&Descriptor::region(4096));
    let mut watch = Watch::begin().unwrap();
    for (context, name) in [(STRANGER, "stranger"), (UNTRUSTED_APP, "untrusted_app")] {
        for handle in [buffer.handle, region.handle] {
            fails_to_pass(&owner, handle, &device.client_in(context, OTHER_APP));
            let rule = format!("{name} hal_berth_allocator_default:fd {{ use }}");
            assert_eq!(denied(&mut watch), [rule]);
        }
    }
}

#[test]
fn nobody_but_the_service_opens_what_gives_memory() {
    if missing(Facility::SelinuxPolicy) {
        return;
    }
    let device = Device::start();
    let mut watch = Watch::begin().unwrap();
    let (heap, udmabuf) = ("dmabuf_system_heap_device", "berth_udmabuf_device");
    // AOSP lets applications open the system heap.
    for (context, name, node, label) in [
        (STRANGER, "stranger", "/dev/dma_heap/system", heap),
        (CLIENT, "berth_client", "/dev/dma_heap/system", heap),
        (STRANGER, "stranger", "/dev/udmabuf", udmabuf),
        (CLIENT, "berth_client", "/dev/udmabuf", udmabuf),
        (UNTRUSTED_APP, "untrusted_app", "/dev/udmabuf", udmabuf),
    ] {
        // Under the uid that their modes let in.
        let process = device.client_in(context, SYSTEM);
        assert_eq!(process.attempt(Attempt::Open(node.to_owned(), Access::Read)), EACCES, "{node}");
        assert_eq!(denied(&mut watch), [format!("{name} {label}:chr_file {{ read }}")]);
    }
}

#[test]
fn a_reader_reads_regions_and_never_writes_them() {
    if missing(Facility::SelinuxPolicy) {
        return;
    }
    let device = Device::start();
    let owner = device.client(APP).with_session();
    let region = owner.allocate_one(&Descriptor::region(4096));
    let view = owner.get(region.info.id, true).unwrap();
    // Under the service's own uid, which the region's mode lets in: only SELinux is left.
    let reader = device.client_in(READER, SYSTEM);
    let mut watch = Watch::begin().unwrap();

    let seen = pass(&owner, view.handle, &reader);
    assert_eq!(reader.attempt(Attempt::Map(seen, Access::Read)), 0);
    assert_eq!(denied(&mut watch), [""; 0]);

    let tmpfs = "region_reader hal_berth_allocator_default_tmpfs:file";
    assert_eq!(reader.attempt(Attempt::Map(seen, Access::Write)), EACCES);
    assert_eq!(denied(&mut watch), [format!("{tmpfs} {{ write }}")]);
    assert_eq!(reader.attempt(Attempt::OpenAgain(seen, Access::Write)), EACCES);
    assert_eq!(denied(&mut watch), [format!("{tmpfs} {{ write }}")]);
    assert_eq!(reader.attempt(Attempt::OpenAgain(seen, Access::Read)), EACCES);
    assert_eq!(denied(&mut watch), [format!("{tmpfs} {{ open }}")]);

    let writer = device.client_in(READER, SYSTEM);
    fails_to_pass(&owner, region.handle, &writer);
    assert_eq!(denied(&mut watch), [format!("{tmpfs} {{ write }}")]);
}

#[test]
fn an_application_with_categories_writes_the_regions_that_it_is_given() {
    if missing(Facility::SelinuxPolicy) {
        return;
    }
    let device = Device::start();
    let mut watch = Watch::begin().unwrap();
    let app = device.client_in(PLATFORM_APP, APP).with_session();
    let friend = device.client(OTHER_APP).with_session();
    let region = app.allocate_one(&Descriptor::region(8192));
    app.fill(region.handle, 0, 8192, 1);
    let taken = friend.acquire(app.share(region.handle, OTHER_APP)).unwrap();
    assert!(friend.all_bytes_are(taken.handle, 1));
    friend.fill(taken.handle, 0, 8192, 2);
    assert!(app.all_bytes_are(region.handle, 2));
    assert_eq!(denied(&mut watch), [""; 0]);
}

#[test]
fn no_client_opens_a_region_anew_whatever_its_uid_is() {
    if missing(Facility::SelinuxPolicy) {
        return;
    }
    let device = Device::start();
    let owner = device.client(SYSTEM).with_session();
    let region = owner.allocate_one(&Descriptor::region(4096));
    let view = owner.get(region.info.id, true).unwrap();
    let mut watch = Watch::begin().unwrap();
    for access in [Access::Read, Access::Write] {
        assert_eq!(owner.attempt(Attempt::OpenAgain(view.handle, access)), EACCES);
        let rule = "berth_client hal_berth_allocator_default_tmpfs:file { open }";
        assert_eq!(denied(&mut watch), [rule]);
    }
}

#[test]
fn payloads_in_a_senders_own_memory_need_nothing_of_the_allocator() {
    if missing(Facility::SelinuxPolicy) {
        return;
    }
    let device = Device::start();
    let receiver = device.client(SYSTEM);
    receiver.serve_payloads();
    let sender = device.client_in(PAYLOAD_SENDER, APP);
    let mut watch = Watch::begin().unwrap();
    let sum = sender.payload(Payloads::Sum(100_000));
    for (road, kind) in [(Road::Bytes, "frozen"), (Road::Again, "live"), (Road::Again, "live")] {
        let received = sender.payload(Payloads::Send(road, 100_000));
        assert_eq!(received, format!("{kind} {sum}"), "{road:?}");
    }
    assert_eq!(denied(&mut watch), [""; 0]);
    // What the service allocates is for clients.
    sender.fails(Ask::Attempt(Attempt::Find));
    let rule = "payload_sender hal_berth_allocator_service:service_manager { find }";
    assert_eq!(denied(&mut watch), [rule]);
}

#[test]
fn a_dump_goes_into_a_bugreports_pipe_and_into_no_clients() {
    if missing(Facility::SelinuxPolicy) {
        return;
    }
    let device = Device::start();
    let mut watch = Watch::begin().unwrap();
    let report = device.client_in("u:r:dumpstate:s0", 0).dump(&[]);
    assert!(report.contains("sessions: 0"), "{report}");
    assert_eq!(denied(&mut watch), [""; 0]);
    device.client(APP).fails(Ask::Dump(Vec::new()));
    assert_eq!(denied(&mut watch), ["hal_berth_allocator_default berth_client:fd { use }"]);
}
