// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Buffers as memory: sizes, contents, identity, descriptors, and how they are given up.

use std::os::fd::{AsRawFd, BorrowedFd};

use berth_kernel::cpu_access::{CpuAccess, Direction};
use berth_kernel::descriptor::DescriptorKind;
use berth_kernel::identity::{self, Identity};
use berth_kernel::mapping::{Mapping, ReadWrite};
use nix::fcntl::{fcntl, FcntlArg};
use vendor_berth_allocator::aidl::vendor::berth::allocator::{
    Access::Access, AllocatorError::AllocatorError, BufferInfo::FLAG_ZEROED,
    BufferShape::BufferShape, IAllocator::MAX_BATCH,
};

use crate::client::{each, fd, linear, refused, region, Instance, One};
use crate::tests;

tests![
    a_buffer_is_whole_pages_and_no_smaller_than_asked,
    fresh_memory_reads_zero_and_keeps_what_is_written,
    a_batch_has_buffers_of_its_own_each_from_one_heap,
    descriptors_are_closed_when_a_program_is_started,
    get_gives_another_descriptor_of_the_same_memory,
    everything_that_was_asked_for_can_be_read_back,
    a_long_list_is_read_in_parts,
    buffers_are_freed_together_or_not_at_all,
    memory_stays_with_those_who_map_it_when_it_was_freed,
];

/// Asserts that memory is zero, and that bytes which are written at both ends can be read.
fn write_both_ends(fd: BorrowedFd<'_>, bytes: u64, value: u8) -> Mapping<ReadWrite> {
    let mapping = Mapping::<ReadWrite>::new(fd, bytes).expect("the whole of it can be mapped");
    let is_dma_buf = DescriptorKind::of(fd).expect("a kind") == DescriptorKind::DmaBuf;
    let bracket = is_dma_buf.then(|| CpuAccess::begin(fd, Direction::ReadWrite).expect("begin"));
    let mut seen = vec![0xff; mapping.size()];
    mapping.read(0, &mut seen).expect("in range");
    assert!(seen.iter().all(|&byte| byte == 0), "it reads zero");
    for at in [0, mapping.size() - 1] {
        mapping.write(at, &[value]).expect("in range");
        let mut back = [0];
        mapping.read(at, &mut back).expect("in range");
        assert_eq!(back, [value]);
    }
    if let Some(bracket) = bracket {
        bracket.end().expect("end");
    }
    mapping
}

fn allocated(one: &One) -> u64 {
    u64::try_from(one.layout.allocationBytes).expect("a size")
}

fn a_buffer_is_whole_pages_and_no_smaller_than_asked(instance: &Instance) {
    let client = instance.client();
    let page = i64::from(instance.capabilities().pageSizeBytes);
    for bytes in [1, page - 1, page, page + 1, 3 * page, 1 << 20, (1 << 20) + 1] {
        for descriptor in [linear(bytes), region(bytes)] {
            let one = client.allocate(&descriptor);
            assert_eq!(one.layout.sizeBytes, bytes);
            let given = one.layout.allocationBytes;
            assert!(given >= bytes && given % page == 0, "{given} for {bytes}");
            let pages = bytes.div_euclid(page) + i64::from(bytes % page != 0);
            assert!(given <= pages * page + bytes / 8, "{given} for {bytes}");
            assert_eq!(identity::size(one.fd()).expect("a size"), allocated(&one));
            assert!(one.layout.image.is_none());
            assert_eq!(client.charged(), (1, given), "charged as allocated");
            client.session.free(&[one.buffer.id]).expect("free");
            assert_eq!(client.charged(), (0, 0));
        }
    }
}

fn fresh_memory_reads_zero_and_keeps_what_is_written(instance: &Instance) {
    let client = instance.client();
    // More than once: memory that was another buffer's has to be cleared too.
    for round in 1..=3 {
        for descriptor in [linear(100_000), region(100_000)] {
            let one = client.allocate(&descriptor);
            if one.buffer.flags & FLAG_ZEROED != 0 {
                write_both_ends(one.fd(), allocated(&one), round);
            }
            client.session.free(&[one.buffer.id]).expect("free");
        }
    }
}

fn a_batch_has_buffers_of_its_own_each_from_one_heap(instance: &Instance) {
    let client = instance.client();
    for descriptor in [linear(4096), region(4096)] {
        let batch = client.session.allocate(&descriptor, MAX_BATCH).expect("allocate");
        let buffers = each(batch.buffers);
        assert_eq!(buffers.len(), MAX_BATCH as usize);
        let ids: Vec<i64> = buffers.iter().map(|buffer| buffer.id).collect();
        assert!(ids[0] > 0);
        for (value, buffer) in (1..).zip(&buffers) {
            // Were two of them the same memory, the second would not read zero.
            write_both_ends(fd(&buffer.fd), batch.layout.allocationBytes as u64, value);
        }
        client.session.free(&ids).expect("free");
        let next = client.allocate(&descriptor).buffer.id;
        assert!(!ids.contains(&next), "an id is never used again");
        client.session.free(&[next]).expect("free");
    }
}

fn descriptors_are_closed_when_a_program_is_started(instance: &Instance) {
    let client = instance.client();
    for descriptor in [linear(1), region(1)] {
        let one = client.allocate(&descriptor);
        let again = client.session.get(one.buffer.id, Access::READ_WRITE).expect("get");
        for fd in [one.fd(), fd(&again.fd)] {
            let flags = fcntl(fd.as_raw_fd(), FcntlArg::F_GETFD).expect("its flags");
            assert_ne!(flags & nix::libc::FD_CLOEXEC, 0);
        }
    }
}

fn get_gives_another_descriptor_of_the_same_memory(instance: &Instance) {
    let client = instance.client();
    for descriptor in [linear(5000), region(5000)] {
        let one = client.allocate(&descriptor);
        let again = client.session.get(one.buffer.id, Access::READ_WRITE).expect("get");
        assert_eq!((again.info.id, &again.info.layout), (one.buffer.id, &one.layout));
        assert_eq!(again.info.access, Access::READ_WRITE);
        let mapping = write_both_ends(one.fd(), allocated(&one), 7);
        let other = Mapping::<ReadWrite>::new(fd(&again.fd), allocated(&one)).expect("a mapping");
        let mut seen = [0];
        other.read(mapping.size() - 1, &mut seen).expect("in range");
        assert_eq!(seen, [7], "one memory");
        if DescriptorKind::of(one.fd()).expect("a kind") != DescriptorKind::Ashmem {
            let is = Identity::of(fd(&again.fd)).expect("an identity");
            assert_eq!((again.info.device, again.info.inode), (is.device as i64, is.inode as i64));
        }
    }
    assert_eq!(
        refused(client.session.get(i64::MAX, Access::READ_WRITE)),
        AllocatorError::NOT_FOUND
    );
    let one = client.allocate(&region(1));
    assert_eq!(
        refused(client.session.get(one.buffer.id, Access(99))),
        AllocatorError::BAD_ARGUMENT
    );
}

fn everything_that_was_asked_for_can_be_read_back(instance: &Instance) {
    let client = instance.client();
    for descriptor in [linear(12_345), region(12_345)] {
        let one = client.allocate(&descriptor);
        let info = client.session.list(one.buffer.id - 1).expect("list").remove(0);
        assert_eq!((info.id, info.ownerId), (one.buffer.id, one.buffer.id));
        assert_eq!(info.layout, one.layout);
        assert_eq!((info.flags, info.receipt), (one.buffer.flags, one.buffer.receipt));
        assert_eq!(info.request.name, descriptor.name);
        assert_eq!(info.request.usage, descriptor.usage);
        match (&info.request.shape, &descriptor.shape) {
            (BufferShape::LinearBytes(said), BufferShape::LinearBytes(asked))
            | (BufferShape::RegionBytes(said), BufferShape::RegionBytes(asked)) => {
                assert_eq!(said, asked);
            }
            _ => panic!("another shape"),
        }
    }
}

fn a_long_list_is_read_in_parts(instance: &Instance) {
    let client = instance.client();
    let mut allocated = Vec::new();
    for _ in 0..2 {
        let batch = client.session.allocate(&region(1), MAX_BATCH).expect("allocate");
        allocated.extend(each(batch.buffers).iter().map(|buffer| buffer.id));
    }
    allocated.sort_unstable();
    let mut listed = Vec::new();
    loop {
        let part = client.session.list(listed.last().copied().unwrap_or(0)).expect("list");
        assert!(part.len() <= MAX_BATCH as usize);
        if part.is_empty() {
            break;
        }
        listed.extend(part.iter().map(|info| info.id));
        assert!(listed.len() <= allocated.len(), "more is listed than there is");
    }
    assert_eq!(listed, allocated, "all of them, in the order of their ids");
}

fn buffers_are_freed_together_or_not_at_all(instance: &Instance) {
    let client = instance.client();
    let batch = client.session.allocate(&region(1), 3).expect("allocate");
    let ids: Vec<i64> = each(batch.buffers).iter().map(|buffer| buffer.id).collect();
    let wrong = [vec![ids[0], ids[1], i64::MAX], vec![ids[0], ids[0]], vec![0], vec![-1]];
    for wrong in wrong {
        assert_eq!(refused(client.session.free(&wrong)), AllocatorError::NOT_FOUND, "{wrong:?}");
    }
    for number in [0, MAX_BATCH as usize + 1] {
        let ids = vec![ids[0]; number];
        assert_eq!(refused(client.session.free(&ids)), AllocatorError::BAD_ARGUMENT, "{number}");
    }
    assert_eq!(client.charged().0, 3, "none was freed");
    client.session.free(&ids).expect("free");
    assert_eq!(refused(client.session.free(&ids[..1])), AllocatorError::NOT_FOUND);
    assert_eq!(client.charged(), (0, 0));
}

fn memory_stays_with_those_who_map_it_when_it_was_freed(instance: &Instance) {
    let client = instance.client();
    for descriptor in [linear(9000), region(9000)] {
        let one = client.allocate(&descriptor);
        let mapping = write_both_ends(one.fd(), allocated(&one), 0x5a);
        client.session.free(&[one.buffer.id]).expect("free");
        let gone = client.session.get(one.buffer.id, Access::READ_WRITE);
        assert_eq!(refused(gone), AllocatorError::NOT_FOUND);
        // Somebody else's memory is not this one.
        let other = client.allocate(&descriptor);
        write_both_ends(other.fd(), allocated(&other), 0xa5);
        let mut seen = [0];
        mapping.read(0, &mut seen).expect("in range");
        assert_eq!(seen, [0x5a]);
    }
}
