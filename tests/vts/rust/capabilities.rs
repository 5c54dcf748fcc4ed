// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! What `getCapabilities` lists allocates, and what it does not list is refused; `isSupported` says
//! the same.

use berth_kernel::descriptor::DescriptorKind;
use vendor_berth_allocator::aidl::vendor::berth::allocator::{
    AllocationFlag::AllocationFlag, AllocatorError::AllocatorError,
    BufferDescriptor::BufferDescriptor, BufferInfo::FLAG_FALLBACK_HEAP, BufferShape::BufferShape,
    BufferUsage::BufferUsage, HeapClass::HeapClass, ImageDescriptor::ImageDescriptor,
    PixelFormat::PixelFormat,
};

use crate::client::{linear, of_heap, region, Instance, CPU};
use crate::tests;

tests![
    the_limits_lie_within_each_other,
    every_heap_that_is_listed_allocates_and_is_the_one_that_served,
    a_format_allocates_exactly_if_it_is_listed,
    a_usage_bit_that_is_not_listed_is_refused,
    a_flag_that_is_not_listed_is_refused,
    the_largest_buffer_of_all_is_no_larger_than_said,
];

fn the_limits_lie_within_each_other(instance: &Instance) {
    let said = instance.capabilities();
    assert_eq!(said.pageSizeBytes as u64, berth_kernel::page_size(), "the kernel's page size");
    assert!(!said.heaps.is_empty() && !said.formats.is_empty());
    assert!(said.maxBufferBytes > 0 && said.maxSessionBytes > 0);
    assert!(said.maxSessionBuffers > 0 && said.maxSessionsPerUid > 0);
    for heap in &said.heaps {
        assert!(heap.maxBufferBytes > 0, "{}", heap.name);
        assert!(heap.maxBufferBytes <= said.maxBufferBytes, "{}", heap.name);
        let twins = said.heaps.iter().filter(|other| other.name == heap.name).count();
        assert_eq!(twins, 1, "{} stands twice", heap.name);
        assert_eq!(heap.dmaBuf, heap.heapClass != HeapClass::SHMEM, "{}", heap.name);
    }
    // PROTECTED can be had exactly where there is a secure heap, a view where there is udmabuf.
    let has = |class: HeapClass| said.heaps.iter().any(|heap| heap.heapClass == class);
    let protected = said.supportedUsage & BufferUsage::PROTECTED.0 != 0;
    assert_eq!(protected, has(HeapClass::SECURE));
    let view = said.supportedFlags & AllocationFlag::READ_ONLY_VIEW.0 != 0;
    assert_eq!(view, has(HeapClass::UDMABUF));
}

fn every_heap_that_is_listed_allocates_and_is_the_one_that_served(instance: &Instance) {
    let (allocator, client) = (instance.allocator(), instance.client());
    let said = instance.capabilities();
    for heap in &said.heaps {
        let descriptor = of_heap(heap);
        assert!(allocator.isSupported(&descriptor).expect("isSupported"), "{}", heap.name);
        let one = client.allocate(&descriptor);
        assert_eq!(one.layout.heap, heap.name, "STRICT_HEAP");
        assert_eq!(one.layout.dmaBuf, heap.dmaBuf, "{}", heap.name);
        assert_eq!(one.buffer.flags & FLAG_FALLBACK_HEAP, 0, "{}", heap.name);
        let kind = DescriptorKind::of(one.fd()).expect("a kind");
        assert_eq!(kind == DescriptorKind::DmaBuf, heap.dmaBuf, "{}: {kind}", heap.name);
        client.session.free(&[one.buffer.id]).expect("free");
        let too_large = BufferDescriptor {
            shape: BufferShape::LinearBytes(heap.maxBufferBytes.saturating_add(1)),
            ..descriptor
        };
        assert_eq!(client.refusal(&too_large), AllocatorError::TOO_LARGE, "{}", heap.name);
        assert!(!allocator.isSupported(&too_large).expect("isSupported"), "{}", heap.name);
    }
}

fn a_format_allocates_exactly_if_it_is_listed(instance: &Instance) {
    let (allocator, client) = (instance.allocator(), instance.client());
    let said = instance.capabilities();
    let unknown = PixelFormat(0x7fff_fff0);
    for &format in PixelFormat::enum_values().iter().chain([&unknown]) {
        let (width, height) = if format == PixelFormat::BLOB { (640, 1) } else { (64, 64) };
        let image = ImageDescriptor { width, height, layers: 1, format };
        let descriptor = BufferDescriptor { shape: BufferShape::Image(image), ..linear(1) };
        let supported = allocator.isSupported(&descriptor).expect("isSupported");
        assert_eq!(supported, said.formats.contains(&format), "{format:?}");
        if supported {
            client.session.free(&[client.allocate(&descriptor).buffer.id]).expect("free");
        } else {
            assert_eq!(client.refusal(&descriptor), AllocatorError::UNSUPPORTED, "{format:?}");
        }
    }
}

fn a_usage_bit_that_is_not_listed_is_refused(instance: &Instance) {
    let (allocator, client) = (instance.allocator(), instance.client());
    let said = instance.capabilities();
    for bit in (0..64).map(|shift| 1_i64 << shift).filter(|bit| said.supportedUsage & bit == 0) {
        let descriptor = BufferDescriptor { usage: bit, ..linear(1) };
        assert!(!allocator.isSupported(&descriptor).expect("isSupported"), "{bit:#x}");
        let due = match bit == BufferUsage::PROTECTED.0 {
            true => AllocatorError::HEAP_UNAVAILABLE,
            false => AllocatorError::UNSUPPORTED,
        };
        assert_eq!(client.refusal(&descriptor), due, "{bit:#x}");
    }
    assert_eq!(said.supportedUsage & CPU, CPU, "the CPU can use memory");
}

fn a_flag_that_is_not_listed_is_refused(instance: &Instance) {
    let (allocator, client) = (instance.allocator(), instance.client());
    let said = instance.capabilities();
    let known = |bit: i32| AllocationFlag::enum_values().iter().any(|flag| flag.0 == bit);
    for bit in (0..32).map(|shift| 1_i32 << shift) {
        // Of regions and of buffers, whichever has it.
        let flagged = [linear(1), region(1)].map(|shape| BufferDescriptor { flags: bit, ..shape });
        let supported: Vec<bool> = flagged
            .iter()
            .map(|descriptor| allocator.isSupported(descriptor).expect("isSupported"))
            .collect();
        if said.supportedFlags & bit != 0 {
            assert!(supported.contains(&true), "{bit:#x} is listed");
            continue;
        }
        assert_eq!(supported, [false, false], "{bit:#x} is not listed");
        let due = match known(bit) {
            true => AllocatorError::HEAP_UNAVAILABLE,
            false => AllocatorError::UNSUPPORTED,
        };
        assert_eq!(client.refusal(&flagged[0]), due, "{bit:#x}");
    }
}

fn the_largest_buffer_of_all_is_no_larger_than_said(instance: &Instance) {
    let client = instance.client();
    let most = instance.capabilities().maxBufferBytes;
    for bytes in [most.saturating_add(1), i64::MAX] {
        assert_eq!(client.refusal(&linear(bytes)), AllocatorError::TOO_LARGE, "{bytes}");
        assert_eq!(client.refusal(&region(bytes)), AllocatorError::TOO_LARGE, "{bytes}");
    }
    assert_eq!(client.charged(), (0, 0));
}
