// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Regions: sealed against shrinking and growing, read-only descriptors that stay so, publication for
//! good, and purgeable regions' control blocks.

use std::fs::File;
use std::io::Write;
use std::os::fd::BorrowedFd;

use berth_kernel::descriptor::{AccessMode, DescriptorKind};
use berth_kernel::identity;
use berth_kernel::mapping::{Mapping, ReadOnly, ReadWrite};
use berth_kernel::memfd;
use nix::fcntl::SealFlag;
use vendor_berth_allocator::aidl::vendor::berth::allocator::{
    Access::Access,
    AllocationFlag::AllocationFlag,
    AllocationOption::{
        AllocationOption, DEFAULT_PURGE_CHUNK_BYTES, MAX_PURGE_CHUNK_BYTES, PURGE_CHUNK_BYTES,
    },
    AllocatorError::AllocatorError,
    BufferDescriptor::BufferDescriptor,
    BufferInfo::FLAG_SEALED,
};

use crate::client::{fd, linear, refused, region, Client, Instance};
use crate::tests;

tests![
    nobody_can_change_the_size_of_a_region,
    a_read_only_descriptor_maps_to_read_and_no_otherwise,
    a_buffer_has_a_read_only_descriptor_exactly_if_its_heap_says_so,
    a_view_shows_what_is_written_and_cannot_write,
    a_published_region_can_be_written_by_old_mappings_only,
    what_cannot_be_published_is_refused,
    a_purgeable_region_has_a_word_for_each_chunk,
    a_size_of_chunks_that_is_none_is_refused,
];

fn kind(fd: BorrowedFd<'_>) -> DescriptorKind {
    DescriptorKind::of(fd).expect("a kind")
}

fn maps_to_write(fd: BorrowedFd<'_>) -> bool {
    Mapping::<ReadWrite>::new(fd, 1).is_ok()
}

fn can_be_written(fd: BorrowedFd<'_>) -> bool {
    File::from(fd.try_clone_to_owned().expect("a duplicate")).write(&[1]).is_ok()
}

/// Asserts that memory can be read through a descriptor, and by no call be written.
fn assert_reads_only(fd: BorrowedFd<'_>) {
    assert!(!maps_to_write(fd), "it can be mapped to write");
    assert!(Mapping::<ReadOnly>::new(fd, 1).is_ok(), "it cannot be mapped to read");
    assert!(!can_be_written(fd), "it can be written");
}

fn nobody_can_change_the_size_of_a_region(instance: &Instance) {
    let client = instance.client();
    let one = client.allocate(&region(10_000));
    let file = File::from(one.fd().try_clone_to_owned().expect("a duplicate"));
    let bytes = one.layout.allocationBytes as u64;
    for other in [0, bytes / 2, bytes * 2] {
        assert!(file.set_len(other).is_err(), "cut to {other}");
    }
    assert_eq!(identity::size(one.fd()).expect("a size"), bytes);
    if kind(one.fd()) == DescriptorKind::Memfd {
        let seals = memfd::seals(one.fd()).expect("seals");
        assert!(seals.contains(SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW), "{seals:?}");
    }
}

fn a_read_only_descriptor_maps_to_read_and_no_otherwise(instance: &Instance) {
    let client = instance.client();
    let one = client.allocate(&region(4096));
    if kind(one.fd()) == DescriptorKind::Ashmem {
        let early = refused(client.session.get(one.buffer.id, Access::READ_ONLY));
        assert_eq!(early, AllocatorError::UNSUPPORTED, "before it is sealed");
        return;
    }
    let read_only = client.session.get(one.buffer.id, Access::READ_ONLY).expect("get");
    assert_eq!(read_only.info.access, Access::READ_ONLY);
    assert!(read_only.secondFd.is_none());
    assert!(!AccessMode::of(fd(&read_only.fd)).expect("a mode").writes);
    assert_reads_only(fd(&read_only.fd));
    assert!(maps_to_write(one.fd()), "the owner's own descriptor is as it was");
}

fn a_buffer_has_a_read_only_descriptor_exactly_if_its_heap_says_so(instance: &Instance) {
    let client = instance.client();
    let one = client.allocate(&linear(1));
    let said = instance.capabilities();
    let heap = said.heaps.iter().find(|heap| heap.name == one.layout.heap).expect("it is listed");
    let read_only = client.session.get(one.buffer.id, Access::READ_ONLY);
    if heap.readOnlyDescriptors && !heap.dmaBuf {
        assert_reads_only(fd(&read_only.expect("get").fd));
    } else {
        assert_eq!(refused(read_only), AllocatorError::UNSUPPORTED, "{}", heap.name);
    }
}

fn a_view_shows_what_is_written_and_cannot_write(instance: &Instance) {
    let client = instance.client();
    let viewed = BufferDescriptor { flags: AllocationFlag::READ_ONLY_VIEW.0, ..linear(4096) };
    if instance.capabilities().supportedFlags & AllocationFlag::READ_ONLY_VIEW.0 == 0 {
        assert_eq!(client.refusal(&viewed), AllocatorError::HEAP_UNAVAILABLE);
        return;
    }
    let one = client.allocate(&viewed);
    assert!(one.layout.dmaBuf && kind(one.fd()) == DescriptorKind::DmaBuf);
    let view = fd(&one.buffer.secondFd);
    assert_eq!(kind(view), DescriptorKind::Memfd);
    assert_reads_only(view);
    let writer = Mapping::<ReadWrite>::new(one.fd(), 4096).expect("a mapping");
    let reader = Mapping::<ReadOnly>::new(view, 4096).expect("a mapping");
    writer.write(100, b"seen").expect("in range");
    let mut seen = [0; 4];
    reader.read(100, &mut seen).expect("in range");
    assert_eq!(&seen, b"seen");
}

/// Publishes a region, or returns without where no kernel of this age can.
fn published(client: &Client, id: i64) -> bool {
    match client.session.seal(id) {
        Ok(()) => true,
        // Before Linux 5.1.
        error => {
            assert_eq!(refused(error), AllocatorError::UNSUPPORTED);
            false
        }
    }
}

fn a_published_region_can_be_written_by_old_mappings_only(instance: &Instance) {
    let client = instance.client();
    let one = client.allocate(&region(4096));
    let before = Mapping::<ReadWrite>::new(one.fd(), 4096).expect("a mapping");
    if !published(&client, one.buffer.id) {
        return;
    }
    assert!(published(&client, one.buffer.id), "sealing again is no error");
    assert!(!maps_to_write(one.fd()));
    assert!(!can_be_written(one.fd()));
    before.write(0, &[42]).expect("in range");
    let read_only = client.session.get(one.buffer.id, Access::READ_ONLY).expect("get");
    let mut seen = [0];
    let mapping = Mapping::<ReadOnly>::new(fd(&read_only.fd), 4096).expect("a mapping");
    mapping.read(0, &mut seen).expect("in range");
    assert_eq!(seen, [42]);
    let writable = client.session.get(one.buffer.id, Access::READ_WRITE);
    assert_eq!(refused(writable), AllocatorError::UNSUPPORTED);
    let info = client.session.list(one.buffer.id - 1).expect("list").remove(0);
    assert_eq!((info.flags & FLAG_SEALED, info.access), (FLAG_SEALED, Access::READ_ONLY));
}

fn what_cannot_be_published_is_refused(instance: &Instance) {
    let client = instance.client();
    assert_eq!(refused(client.session.seal(i64::MAX)), AllocatorError::NOT_FOUND);
    let revoked = BufferDescriptor { flags: AllocationFlag::REVOKE_ON_DEATH.0, ..region(1) };
    let supported = instance.capabilities().supportedFlags;
    if supported & AllocationFlag::REVOKE_ON_DEATH.0 != 0 {
        let one = client.allocate(&revoked);
        assert_eq!(refused(client.session.seal(one.buffer.id)), AllocatorError::UNSUPPORTED);
    }
    let one = client.allocate(&linear(1));
    if one.layout.dmaBuf {
        assert_eq!(refused(client.session.seal(one.buffer.id)), AllocatorError::UNSUPPORTED);
    }
}

fn purgeable(bytes: i64, chunk_bytes: Option<i64>) -> BufferDescriptor {
    let option = |value| AllocationOption { name: PURGE_CHUNK_BYTES.to_owned(), value };
    BufferDescriptor {
        flags: AllocationFlag::PURGEABLE.0,
        options: chunk_bytes.map(option).into_iter().collect(),
        ..region(bytes)
    }
}

fn a_purgeable_region_has_a_word_for_each_chunk(instance: &Instance) {
    let client = instance.client();
    let default = i64::from(DEFAULT_PURGE_CHUNK_BYTES);
    if instance.capabilities().supportedFlags & AllocationFlag::PURGEABLE.0 == 0 {
        assert_eq!(client.refusal(&purgeable(1, None)), AllocatorError::HEAP_UNAVAILABLE);
        return;
    }
    let page = i64::from(instance.capabilities().pageSizeBytes);
    for (chunk, asked) in [(default, None), (page, Some(page))] {
        let one = client.allocate(&purgeable(3 * chunk, asked));
        if kind(one.fd()) == DescriptorKind::Ashmem {
            assert!(one.buffer.secondFd.is_none(), "ashmem has no control block");
            continue;
        }
        let block = fd(&one.buffer.secondFd);
        assert_eq!(kind(block), DescriptorKind::Memfd);
        let words = Mapping::<ReadWrite>::new(block, 3 * 4).expect("a word for each chunk");
        for at in 0..3 {
            let word = words.word(at * 4).expect("in range");
            let state = word.load(std::sync::atomic::Ordering::Acquire) >> 30;
            assert!(state <= 2, "chunk {at} is being purged");
        }
        let again = client.session.get(one.buffer.id, Access::READ_WRITE).expect("get");
        assert!(again.secondFd.is_none(), "get comes without the control block");
        assert_eq!(refused(client.session.seal(one.buffer.id)), AllocatorError::UNSUPPORTED);
    }
}

fn a_size_of_chunks_that_is_none_is_refused(instance: &Instance) {
    if instance.capabilities().supportedFlags & AllocationFlag::PURGEABLE.0 == 0 {
        return a_purgeable_region_has_a_word_for_each_chunk(instance);
    }
    let client = instance.client();
    let page = i64::from(instance.capabilities().pageSizeBytes);
    for bytes in [0, -1, page / 2, page + 1, i64::from(MAX_PURGE_CHUNK_BYTES) + page] {
        let error = client.refusal(&purgeable(1 << 20, Some(bytes)));
        assert_eq!(error, AllocatorError::BAD_DESCRIPTOR, "{bytes}");
    }
    assert_eq!(client.charged(), (0, 0));
}
