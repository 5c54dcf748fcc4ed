// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Bytes of any number as an argument of an interface that is not Berth's, between processes.

use berth_client::payload::INLINE_BYTES;
use berth_end_to_end::facilities::{missing, Facility};
use berth_end_to_end::harness::{Client, Device, APP, SYSTEM};
use berth_end_to_end::protocol::{Ask, Lie, Payloads, Road};
use berth_kernel::meminfo::MemInfo;

/// Ten megabytes, ten times what a call carries.
const LARGE: usize = 10_000_000;

/// A sender, and a receiver that may register.
fn pair(device: &Device) -> (Client, Client) {
    let receiver = device.client(SYSTEM);
    receiver.serve_payloads();
    (device.client(APP).with_session(), receiver)
}

/// How a payload of these bytes is told.
fn told(sender: &Client, kind: &str, length: usize) -> String {
    format!("{kind} {}", sender.payload(Payloads::Sum(length as u64)))
}

#[test]
fn bytes_of_any_number_reach_another_process() {
    let device = Device::start();
    let (sender, _receiver) = pair(&device);
    for length in [0, 1, INLINE_BYTES, INLINE_BYTES + 1, 4_000_003, LARGE] {
        let few = length <= INLINE_BYTES;
        let received = sender.payload(Payloads::Send(Road::Bytes, length));
        assert_eq!(received, told(&sender, if few { "inline" } else { "frozen" }, length));
        let received = sender.payload(Payloads::Send(Road::Again, length));
        assert_eq!(received, told(&sender, if few { "inline" } else { "live" }, length));
        if length > 0 {
            let received = sender.payload(Payloads::Send(Road::OfTheService, length));
            assert_eq!(received, told(&sender, "frozen", length));
        }
    }
    device.await_figures("what was sent is freed", |now| now.buffers == 0);
}

/// Who sends the region is told why it is not frozen.
fn assert_stays_writable(regions: &[(Road, &str)]) {
    let device = Device::start();
    let (sender, _receiver) = pair(&device);
    for (road, why) in regions {
        let message = sender.fails(Ask::Payload(Payloads::Send(*road, 100_000)));
        assert!(message.contains(why), "{message}");
    }
}

#[test]
fn a_region_that_must_stay_writable_is_not_frozen() {
    assert_stays_writable(&[(Road::Revocable, "REVOKE_ON_DEATH"), (Road::Purgeable, "PURGEABLE")]);
}

#[test]
fn a_region_that_is_a_dma_buf_too_is_not_frozen() {
    if missing(Facility::Udmabuf) {
        return;
    }
    assert_stays_writable(&[(Road::WithDmaBuf, "a dma-buf")]);
}

#[test]
fn a_bare_call_fails_where_a_payload_crosses() {
    let device = Device::start();
    let (sender, _receiver) = pair(&device);
    assert_eq!(sender.payload(Payloads::SendBare(1 << 16)), "65536 bytes");
    for length in [1 << 20, LARGE] {
        let received = sender.payload(Payloads::Send(Road::Bytes, length));
        assert_eq!(received, told(&sender, "frozen", length));
        let bare = sender.payload(Payloads::SendBare(length));
        // RPC Binder over a socket has limits of its own.
        if std::env::var("BERTH_TRANSPORT").as_deref() == Ok("kernel") {
            // BR_FAILED_REPLY: the receiver's buffer has no room.
            assert_eq!(bare, "TransactionFailed / FailedTransaction: ");
        }
    }
}

/// A gigabyte, on a machine that has time and memory for it; so much elsewhere.
fn gigabyte_or(less: u64) -> u64 {
    match std::env::var("BERTH_LANE").as_deref() {
        Ok("host") => 1_000_000_007,
        _ => less,
    }
}

#[test]
fn a_gigabyte_crosses_in_one_payload_that_is_there_once() {
    let device = Device::start();
    let (sender, _receiver) = pair(&device);
    let length = gigabyte_or(40_000_007);
    let before = MemInfo::read().unwrap().available;
    assert!(before > 2 * length, "{before} bytes are available");
    let received = sender.payload(Payloads::Whole(length));
    let sum = sender.payload(Payloads::Sum(length));
    assert_eq!(received, format!("frozen {sum}"));
    // Who takes less refuses one byte more.
    let refused = sender.payload(Payloads::Send(Road::Bytes, (64 << 20) + 1));
    assert_eq!(refused, "a payload of 67108865 bytes, at most 67108864 are taken");
}

#[test]
fn a_stream_crosses_in_the_memory_of_a_few_payloads() {
    let device = Device::start();
    let (sender, _receiver) = pair(&device);
    // Ten times as much as its sender may need for it, or more.
    let (length, most) = (gigabyte_or(320_000_007), 32_000_000);
    let received = sender.payload(Payloads::Stream(length));
    let (sum, grown) = received.rsplit_once(' ').expect("a peak");
    assert_eq!(sum, sender.payload(Payloads::Sum(length)));
    let grown: u64 = grown.parse().expect("a number");
    assert!(grown < most, "{grown} bytes more at the sender");
}

#[test]
fn a_region_is_not_used_again_before_its_receiver_is_done_or_dead() {
    let device = Device::start();
    let (sender, receiver) = pair(&device);
    let keep = || sender.ask(Ask::Payload(Payloads::SendToKeep(LARGE))).map(drop).unwrap();
    keep();
    let late = sender.use_again(3).unwrap_err();
    assert_eq!(late, "the region is still read after 3ms");
    sender.ask(Ask::Payload(Payloads::LetGo)).unwrap();
    sender.use_again(60_000).unwrap();
    keep();
    sender.use_again(0).unwrap_err();
    receiver.kill();
    sender.use_again(60_000).unwrap();
}

#[test]
fn what_is_no_payload_is_refused_by_its_receiver_who_goes_on() {
    let device = Device::start();
    let (sender, _receiver) = pair(&device);
    let lies = [
        (Lie::Unsealed, "a memfd that may be truncated while it is mapped"),
        (Lie::Shrunk, "no payload: 100000 bytes at offset 0 of a region of 10"),
        (Lie::Length, "no payload: 100000 bytes at offset 1 of a region of 100000"),
        (Lie::Negative, "no payload: 10 bytes at offset -1"),
        (Lie::Sparse, "a payload of 1099511627776 bytes, at most 67108864 are taken"),
        (Lie::Directory, "no payload: a directory as a region"),
        (Lie::Socket, "no payload: a socket as a region"),
        (Lie::Buffer, "no payload: "),
    ];
    for (lie, reason) in lies {
        let received = sender.payload(Payloads::Lie(lie));
        assert!(received.starts_with(reason), "{lie:?}: {received}");
        let honest = sender.payload(Payloads::Send(Road::Bytes, 100_000));
        assert_eq!(honest, told(&sender, "frozen", 100_000));
    }
}
