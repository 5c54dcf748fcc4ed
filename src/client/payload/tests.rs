// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Both ends of payloads in one process, and senders that lie.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use berth_facilities::{missing, Facility};
use berth_kernel::ashmem::Ashmem;
use berth_kernel::dma_heap::DmaHeap;
use berth_kernel::mapping::{Mapping, ReadWrite};
use berth_kernel::memfd::{Memfd, SealFlag, FUTURE_WRITE_SEAL};
use hal_binder::ParcelFileDescriptor;
use nix::errno::Errno;
use nix::fcntl::{fcntl, FcntlArg};
use nix::sys::memfd::{memfd_create, MemFdCreateFlag};
use nix::unistd::ftruncate;
use proptest::prelude::*;

use super::*;
use crate::{Error, ForeignKind};

const LIMIT: u64 = 64 << 20;

fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index % 251) as u8 ^ (index >> 12) as u8).collect()
}

fn open(parcel: &PayloadParcel) -> Result<PayloadView<'_>, Error> {
    PayloadView::open(parcel, LIMIT)
}

/// What a peer may send.
fn parcel(region: impl Into<OwnedFd>, offset: i64, length: i64) -> PayloadParcel {
    PayloadParcel {
        region: Some(ParcelFileDescriptor::new(region.into())),
        offsetBytes: offset,
        lengthBytes: length,
        ..PayloadParcel::default()
    }
}

fn sealed(size: i64, seals: SealFlag) -> OwnedFd {
    let flags = MemFdCreateFlag::MFD_CLOEXEC | MemFdCreateFlag::MFD_ALLOW_SEALING;
    let fd = memfd_create(&CString::new("peer's").unwrap(), flags).unwrap();
    ftruncate(&fd, size).unwrap();
    fcntl(fd.as_raw_fd(), FcntlArg::F_ADD_SEALS(seals)).unwrap();
    fd
}

fn is_bad(parcel: &PayloadParcel, reason: &str) {
    let error = open(parcel).unwrap_err();
    assert!(matches!(error, Error::BadPayload(_)), "{error}");
    assert!(error.to_string().contains(reason), "{error}");
}

#[test]
fn few_bytes_go_in_the_message_and_many_in_a_frozen_region() {
    for length in [0, 1, INLINE_BYTES, INLINE_BYTES + 1, 1_000_000] {
        let sent = bytes(length);
        let payload = Payload::from_bytes(&sent).unwrap();
        assert_eq!((payload.len(), payload.is_inline()), (length as u64, length <= INLINE_BYTES));
        let parcel = payload.into_parcel();
        let view = open(&parcel).unwrap();
        let is_inline = matches!(view, PayloadView::Inline(_));
        assert!(is_inline || matches!(view, PayloadView::Frozen(_)));
        assert_eq!(is_inline, length <= INLINE_BYTES);
        assert_eq!(view.bytes(), Some(&sent[..]));
        assert_eq!((view.len(), view.is_empty()), (length, length == 0));
    }
}

#[test]
fn a_frozen_payload_stays_as_it_is_whatever_its_sender_kept() {
    let payload = Payload::from_bytes(&bytes(100_000)).unwrap();
    let region = payload.parcel().region.as_ref().unwrap().as_ref().as_fd();
    let kept = File::from(region.try_clone_to_owned().unwrap());
    let view = open(payload.parcel()).unwrap().into_owned();
    let write = (&kept).write(b"other").unwrap_err();
    assert_eq!(write.raw_os_error(), Some(Errno::EPERM as i32));
    assert_eq!(ftruncate(&kept, 0), Err(Errno::EPERM));
    let mapped = Mapping::<ReadWrite>::new(kept.as_fd(), 4096).unwrap_err();
    assert_eq!(mapped.errno, Errno::EPERM);
    drop((kept, payload));
    assert_eq!(view_bytes(&view), bytes(100_000));
}

fn view_bytes(view: &PayloadView<'_>) -> Vec<u8> {
    let mut written = Vec::new();
    view.write_to(&mut written).unwrap();
    assert_eq!(written, view.to_vec().unwrap());
    written
}

#[test]
fn a_builder_takes_bytes_piece_by_piece_and_no_more_than_its_capacity() {
    for capacity in [1000, 1_000_000u64] {
        let mut builder = PayloadBuilder::with_capacity(capacity).unwrap();
        builder.write_all(b"first").unwrap();
        builder.append(b" second").unwrap();
        let over = builder.append(&vec![0; capacity as usize]).unwrap_err();
        let length = capacity + 12;
        assert!(
            matches!(over, Error::PayloadTooLong { length: l, limit } if (l, limit) == (length, capacity))
        );
        let payload = builder.finish().unwrap();
        assert_eq!(open(payload.parcel()).unwrap().bytes(), Some(&b"first second"[..]));
        let full =
            PayloadBuilder::with_capacity(capacity)
                .unwrap()
                .write_all(&vec![1; capacity as usize + 1]);
        assert_eq!(full.unwrap_err().kind(), std::io::ErrorKind::WriteZero);
    }
    assert!(PayloadBuilder::with_capacity(1 << 20).unwrap().finish().unwrap().is_empty());
}

#[test]
fn a_builder_is_filled_in_place() {
    for capacity in [0, 1000, 1_000_000u64] {
        let mut builder = PayloadBuilder::with_capacity(capacity).unwrap();
        builder.append(&b"before"[..6.min(capacity as usize)]).unwrap();
        let payload = builder
            .fill(|region| {
                if capacity > 0 {
                    region.write(6, b" after")?;
                }
                Ok(12.min(capacity))
            })
            .unwrap();
        let expected = if capacity > 0 { &b"before after"[..] } else { b"" };
        assert_eq!(open(payload.parcel()).unwrap().bytes(), Some(expected));
        let lie = PayloadBuilder::with_capacity(capacity).unwrap().fill(|_| Ok(capacity + 1));
        assert!(matches!(lie, Err(Error::PayloadTooLong { .. })));
    }
}

#[test]
fn a_region_is_used_again_when_its_receiver_is_done_and_not_before() {
    let mut sender = PayloadSender::new("again");
    let now = Duration::ZERO;
    let first = sender.payload(&bytes(100_000), now).unwrap().into_parcel();
    let view = open(&first).unwrap();
    assert!(matches!(view, PayloadView::Live(_)), "its sender may write");
    let inode = |parcel: &PayloadParcel| {
        let region = parcel.region.as_ref().unwrap().as_ref();
        crate::Identity::of(region.as_fd()).unwrap()
    };
    let memory = inode(&first);
    let late = sender.payload(&bytes(90_000), now).unwrap_err();
    assert!(matches!(late, Error::PayloadInUse(within) if within == now), "{late}");
    assert_eq!(view_bytes(&view), bytes(100_000));
    let view = view.into_owned();
    drop(first);
    assert!(sender.payload(&bytes(90_000), now).is_err(), "the view is held");
    assert!(sender.lease().is_some());
    drop(view);
    let second = sender.payload(&bytes(90_000), now).unwrap().into_parcel();
    assert_eq!(inode(&second), memory, "the same region");
    assert_eq!(view_bytes(&open(&second).unwrap()), bytes(90_000));
    drop(second);
    let third = sender.payload(&bytes(200_000), now).unwrap().into_parcel();
    assert_ne!(inode(&third), memory, "the old one was too small");
    assert_eq!(view_bytes(&open(&third).unwrap()), bytes(200_000));
    assert!(sender.payload(b"few bytes do not wait", now).unwrap().is_inline());
}

#[test]
fn a_sender_waits_until_its_receiver_lets_go() {
    let mut sender = PayloadSender::default();
    let parcel = sender.payload(&bytes(100_000), Duration::ZERO).unwrap().into_parcel();
    let receiver = std::thread::spawn(move || view_bytes(&open(&parcel).unwrap()));
    let next = sender.payload(&bytes(50_000), Duration::from_secs(60)).unwrap();
    assert_eq!(receiver.join().unwrap(), bytes(100_000));
    assert_eq!(view_bytes(&open(next.parcel()).unwrap()), bytes(50_000));
}

#[test]
fn nobody_but_the_sender_writes_into_a_region_that_is_used_again() {
    let mut sender = PayloadSender::default();
    let payload = sender.payload(&bytes(100_000), Duration::ZERO).unwrap();
    let region = payload.parcel().region.as_ref().unwrap().as_ref().as_fd();
    let refused = Mapping::<ReadWrite>::new(region, 4096).unwrap_err();
    assert_eq!(refused.errno, Errno::EPERM);
    let mut file = File::from(region.try_clone_to_owned().unwrap());
    assert_eq!(file.write(b"x").unwrap_err().raw_os_error(), Some(Errno::EPERM as i32));
}

#[test]
fn a_stream_of_any_length_takes_the_memory_of_three_payloads() {
    let source = bytes(1_000_001);
    let mut stream = PayloadStream::of_chunks(100_000);
    let (mut received, mut regions, mut lengths) = (Vec::new(), Vec::new(), Vec::new());
    let sent = stream
        .send(&mut &source[..], Duration::ZERO, |parcel| {
            let view = open(parcel)?;
            lengths.push(view.len());
            view.write_to(&mut received)?;
            if let Some(region) = &parcel.region {
                regions.push(crate::Identity::of(region.as_ref().as_fd())?);
            }
            Ok(())
        })
        .unwrap();
    assert_eq!((sent, received == source), (1_000_001, true));
    assert_eq!((lengths.len(), &lengths[9..]), (12, &[100_000, 1, 0][..]));
    regions.sort_unstable();
    regions.dedup();
    assert_eq!(regions.len(), 3);
}

#[test]
fn a_stream_does_not_run_ahead_of_its_receiver() {
    let source = bytes(1_000_000);
    let mut stream = PayloadStream::of_chunks(100_000);
    let mut source = &source[..];
    let now = Duration::ZERO;
    let mut held: Vec<Payload> =
        (0..3).map(|_| stream.next_payload(&mut source, now).unwrap()).collect();
    for _ in 0..2 {
        let late = stream.next_payload(&mut source, now).unwrap_err();
        assert!(matches!(late, Error::PayloadInUse(_)), "{late}");
    }
    assert_eq!(source.len(), 700_000, "nothing was taken in vain");
    drop(held.remove(0));
    let fourth = stream.next_payload(&mut source, now).unwrap();
    assert_eq!(view_bytes(&open(fourth.parcel()).unwrap()), bytes(1_000_000)[300_000..400_000]);
    assert!(stream.next_payload(&mut source, now).is_err());
}

#[test]
fn a_source_that_fails_is_told() {
    struct Broken;
    impl std::io::Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("broken"))
        }
    }
    let error = PayloadStream::default().next_payload(&mut Broken, Duration::ZERO).unwrap_err();
    assert!(matches!(error, Error::PayloadStream(_)), "{error}");
}

#[test]
fn lengths_that_lie_are_refused() {
    let region = || Memfd::create("lies", 10_000).unwrap();
    for (offset, length) in
        [(0, 10_001), (1, 10_000), (10_000, 1), (i64::MAX, 1), (1, LIMIT as i64)]
    {
        is_bad(&parcel(region(), offset, length), "of a region of 10000");
    }
    for (offset, length) in [(-1, 10), (0, -10), (0, 0), (i64::MIN, i64::MIN)] {
        is_bad(&parcel(region(), offset, length), "bytes at offset");
    }
    let long = parcel(region(), 0, LIMIT as i64 + 1);
    let error = open(&long).unwrap_err();
    assert_eq!(error.to_string(), "a payload of 67108865 bytes, at most 67108864 are taken");
    open(&parcel(region(), 9_999, 1)).unwrap();
}

#[test]
fn what_may_shrink_is_refused_before_it_does() {
    for seals in [SealFlag::empty(), SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_WRITE] {
        let error = open(&parcel(sealed(100_000, seals), 0, 100_000)).unwrap_err();
        assert!(matches!(error, Error::MayShrink(ForeignKind::Memfd)), "{error}");
    }
    // It shrank already.
    let fd = sealed(100_000, SealFlag::empty());
    ftruncate(&fd, 10).unwrap();
    fcntl(fd.as_raw_fd(), FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_SHRINK)).unwrap();
    is_bad(&parcel(fd, 0, 100_000), "of a region of 10");
}

#[test]
fn only_what_nobody_can_write_is_a_slice() {
    let shrink = SealFlag::F_SEAL_SHRINK;
    let seals = [shrink, shrink | FUTURE_WRITE_SEAL, shrink | SealFlag::F_SEAL_GROW];
    for seals in seals {
        let parcel = parcel(sealed(100_000, seals), 5, 90_000);
        let view = open(&parcel).unwrap();
        assert!(view.bytes().is_none(), "{seals:?}");
        assert_eq!(view_bytes(&view), vec![0; 90_000]);
    }
    let frozen = parcel(sealed(100_000, shrink | SealFlag::F_SEAL_WRITE), 5, 90_000);
    assert_eq!(open(&frozen).unwrap().bytes(), Some(&vec![0; 90_000][..]));
}

#[test]
fn descriptors_of_anything_else_are_refused_by_name() {
    let (socket, _peer) = UnixStream::pair().unwrap();
    is_bad(&parcel(socket, 0, 1), "a socket as a region");
    is_bad(&parcel(File::open("/").unwrap(), 0, 1), "a directory as a region");
    is_bad(&parcel(File::open("/dev/zero").unwrap(), 0, 1), "a device as a region");
    is_bad(
        &parcel(File::open(std::env::current_exe().unwrap()).unwrap(), 0, 1),
        "a file as a region",
    );
    let (_reader, pipe) = berth_kernel::pipe::pipe().unwrap();
    is_bad(&parcel(pipe, 0, 1), "a pipe as a region");
}

#[test]
fn a_region_that_may_not_be_read_is_refused() {
    let memfd = Memfd::create("write-only", 4096).unwrap();
    let path = format!("/proc/self/fd/{}", memfd.as_fd().as_raw_fd());
    let writer = fs::OpenOptions::new().write(true).open(path).unwrap();
    let error = open(&parcel(writer, 0, 1)).unwrap_err();
    assert!(matches!(&error, Error::Kernel(error) if error.errno == Errno::EACCES), "{error}");
}

#[test]
fn a_message_that_contradicts_itself_is_refused() {
    let region = || Memfd::create("twice", 4096).unwrap();
    let both = PayloadParcel { inlineBytes: vec![1], ..parcel(region(), 0, 10) };
    is_bad(&both, "1 bytes beside a region");
    for (offset, length) in [(1, 0), (0, 1), (-1, -1)] {
        let place = PayloadParcel {
            inlineBytes: vec![1],
            offsetBytes: offset,
            lengthBytes: length,
            ..PayloadParcel::default()
        };
        is_bad(&place, "a region that did not come");
    }
    let inline = PayloadParcel { inlineBytes: vec![1; 100], ..PayloadParcel::default() };
    let error = PayloadView::open(&inline, 99).unwrap_err();
    assert!(matches!(error, Error::PayloadTooLong { length: 100, limit: 99 }), "{error}");
}

#[test]
fn a_payload_in_a_sparse_tebibyte_takes_no_more_than_its_bytes() {
    let region = Memfd::create("sparse", 1 << 40).unwrap();
    region.write_at((1 << 39) + 3, b"somewhere").unwrap();
    region.freeze().unwrap();
    let region = OwnedFd::from(region);
    let all = parcel(region.try_clone().unwrap(), 0, 1 << 40);
    assert!(matches!(open(&all), Err(Error::PayloadTooLong { limit: LIMIT, .. })));
    let part = parcel(region.try_clone().unwrap(), (1 << 39) + 3, 9);
    assert_eq!(open(&part).unwrap().bytes(), Some(&b"somewhere"[..]));
    // Pages of 4 KiB, in blocks of 512 bytes.
    assert!(nix::sys::stat::fstat(region.as_raw_fd()).unwrap().st_blocks <= 2 * 8);
}

#[test]
fn a_lease_that_is_no_pipe_is_only_held() {
    let lease = File::open("/dev/null").unwrap();
    let mut parcel = parcel(sealed(4096, SealFlag::F_SEAL_SHRINK), 0, 4096);
    parcel.lease = Some(ParcelFileDescriptor::new(OwnedFd::from(lease)));
    assert_eq!(view_bytes(&open(&parcel).unwrap()).len(), 4096);
}

#[test]
#[ignore = "needs dma-heap-system"]
fn a_dma_buf_is_no_region_of_a_payload() {
    if missing(Facility::DmaHeapSystem) {
        return;
    }
    let buffer = DmaHeap::open("system").unwrap().allocate(4096).unwrap();
    is_bad(&parcel(buffer, 0, 4096), "a dma-buf as a region");
}

#[test]
#[ignore = "needs ashmem"]
fn an_ashmem_region_is_read_as_one_that_may_change() {
    if missing(Facility::Ashmem) {
        return;
    }
    let region = Ashmem::create("payload", 10_000).unwrap();
    let fd = || region.as_fd().try_clone_to_owned().unwrap();
    let writer = Mapping::<ReadWrite>::new(region.as_fd(), 10_000).unwrap();
    writer.write(5_000, b"by ashmem").unwrap();
    region.restrict_to_reading().unwrap();
    let parcel = parcel(fd(), 5_000, 9);
    let view = open(&parcel).unwrap();
    assert!(view.bytes().is_none());
    assert_eq!(view.to_vec().unwrap(), b"by ashmem");
    is_bad(&self::parcel(fd(), 5_000, 5_001), "of a region of 10000");
}

proptest! {
    #[test]
    fn whatever_comes_is_refused_or_has_just_the_bytes_that_it_says(
        inline in prop::collection::vec(any::<u8>(), 0..4),
        size in prop_oneof![0i64..20_000, Just(1 << 40)],
        seals in 0i32..32,
        offset in prop_oneof![-2i64..20_000, any::<i64>()],
        length in prop_oneof![-2i64..20_000, any::<i64>()],
        has_region: bool,
    ) {
        // Everything but sealing against seals, which would stop the test itself.
        let seals = SealFlag::from_bits_retain(seals & !1);
        let region = has_region.then(|| ParcelFileDescriptor::new(sealed(size, seals)));
        let parcel = PayloadParcel {
            inlineBytes: inline,
            region,
            offsetBytes: offset,
            lengthBytes: length,
            lease: None,
        };
        let Ok(view) = PayloadView::open(&parcel, 20_000) else { return Ok(()) };
        let all = view.to_vec().unwrap();
        prop_assert_eq!(all.len(), view.len());
        prop_assert!(all.len() <= 20_000);
        match has_region {
            true => {
                prop_assert!(parcel.inlineBytes.is_empty());
                prop_assert_eq!(all.len() as i64, length);
                prop_assert!(offset >= 0 && offset + length <= size);
                prop_assert!(seals.contains(SealFlag::F_SEAL_SHRINK));
                prop_assert_eq!(
                    view.bytes().is_some(),
                    seals.contains(SealFlag::F_SEAL_WRITE)
                );
            }
            false => prop_assert_eq!(&all, &parcel.inlineBytes),
        }
        let mut byte = [0];
        prop_assert!(view.read(view.len(), &mut byte).is_err());
        prop_assert!(view.read(usize::MAX, &mut byte).is_err());
    }
}
