// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Descriptors that are none are refused, each with its error, by `allocate` and `isSupported` alike,
//! and leave nothing behind.

use vendor_berth_allocator::aidl::vendor::berth::allocator::{
    AllocationFlag::AllocationFlag,
    AllocationOption::AllocationOption,
    AllocatorError::AllocatorError,
    BufferDescriptor::BufferDescriptor,
    BufferShape::BufferShape,
    IAllocator::{MAX_BATCH, MAX_NAME_BYTES, MAX_OPTIONS},
    ImageDescriptor::ImageDescriptor,
    PixelFormat::PixelFormat,
};

use crate::client::{linear, refused, region, Instance};
use crate::tests;

tests![
    a_descriptor_that_is_none_is_refused_by_its_error,
    flags_that_contradict_each_other_are_refused,
    a_number_of_buffers_that_is_none_is_refused,
    a_name_of_every_length_that_may_be_is_taken,
];

fn image(width: i32, height: i32, layers: i32) -> BufferDescriptor {
    let image = ImageDescriptor { width, height, layers, format: PixelFormat::RGBA_8888 };
    BufferDescriptor { shape: BufferShape::Image(image), ..linear(1) }
}

fn options(names: &[&str]) -> BufferDescriptor {
    let option = |name: &&str| AllocationOption { name: (*name).to_owned(), value: 4096 };
    BufferDescriptor { options: names.iter().map(option).collect(), ..region(1) }
}

/// Asserts that none of these can be had, for the reason given, and that nothing is charged for it.
fn assert_refused(instance: &Instance, wrong: &[(BufferDescriptor, AllocatorError)]) {
    let (allocator, client) = (instance.allocator(), instance.client());
    for (descriptor, due) in wrong {
        assert_eq!(client.refusal(descriptor), *due, "{descriptor:?}");
        assert!(!allocator.isSupported(descriptor).expect("isSupported"), "{descriptor:?}");
        assert_eq!(client.charged(), (0, 0));
    }
    client.allocate(&linear(1));
}

fn a_descriptor_that_is_none_is_refused_by_its_error(instance: &Instance) {
    let named = |name: String| BufferDescriptor { name, ..linear(1) };
    let from = |heap: &str| BufferDescriptor { heap: Some(heap.to_owned()), ..linear(1) };
    let unspecified = ImageDescriptor { format: PixelFormat::UNSPECIFIED, ..square() };
    let too_many = vec!["vts-unknown"; MAX_OPTIONS as usize + 1];
    let bad = AllocatorError::BAD_DESCRIPTOR;
    let unsupported = AllocatorError::UNSUPPORTED;
    assert_refused(
        instance,
        &[
            (linear(0), bad),
            (linear(-1), bad),
            (linear(i64::MIN), bad),
            (region(0), bad),
            (region(-1), bad),
            (named("x".repeat(MAX_NAME_BYTES as usize + 1)), bad),
            (named("line\nbreak".to_owned()), bad),
            (named("bell\u{7}".to_owned()), bad),
            (image(0, 1, 1), bad),
            (image(1, 0, 1), bad),
            (image(1, 1, 0), bad),
            (image(-1, 1, 1), bad),
            (image(32_769, 1, 1), AllocatorError::TOO_LARGE),
            (image(1, 32_769, 1), AllocatorError::TOO_LARGE),
            (image(1, 1, 2049), AllocatorError::TOO_LARGE),
            (BufferDescriptor { shape: BufferShape::Image(unspecified), ..linear(1) }, unsupported),
            (options(&["vts-unknown"]), unsupported),
            (options(&too_many), bad),
            (from("vts-no-heap-of-any-kernel"), AllocatorError::HEAP_UNKNOWN),
        ],
    );
}

fn square() -> ImageDescriptor {
    ImageDescriptor { width: 1, height: 1, layers: 1, format: PixelFormat::RGBA_8888 }
}

fn flags_that_contradict_each_other_are_refused(instance: &Instance) {
    let said = instance.capabilities().supportedFlags;
    let with = |flags: &[AllocationFlag], shape: BufferDescriptor| {
        let flags = flags.iter().fold(0, |bits, flag| bits | flag.0);
        (BufferDescriptor { flags, ..shape }, AllocatorError::UNSUPPORTED)
    };
    let (revoked, view) = (AllocationFlag::REVOKE_ON_DEATH, AllocationFlag::READ_ONLY_VIEW);
    let purgeable = AllocationFlag::PURGEABLE;
    let mut wrong = vec![
        with(&[revoked], linear(1)),
        with(&[purgeable], linear(1)),
        with(&[view], region(1)),
        with(&[purgeable, revoked], region(1)),
        with(&[purgeable, view], region(1)),
    ];
    // A flag that cannot be had at all is refused for that.
    wrong.retain(|(descriptor, _)| descriptor.flags & !said == 0);
    assert_refused(instance, &wrong);
}

fn a_number_of_buffers_that_is_none_is_refused(instance: &Instance) {
    let client = instance.client();
    for count in [0, -1, MAX_BATCH + 1, i32::MIN, i32::MAX] {
        let error = refused(client.session.allocate(&linear(1), count));
        assert_eq!(error, AllocatorError::BAD_ARGUMENT, "{count}");
    }
    assert_eq!(client.charged(), (0, 0));
}

fn a_name_of_every_length_that_may_be_is_taken(instance: &Instance) {
    let client = instance.client();
    let longest = MAX_NAME_BYTES as usize;
    // In UTF-8, so that a kernel's shorter name cannot be cut at any byte.
    let wide = "\u{1f6a2}".repeat(longest / 4);
    for name in [String::new(), "x".repeat(longest), wide] {
        for shape in [linear(1), region(1)] {
            let one = client.allocate(&BufferDescriptor { name: name.clone(), ..shape });
            let info = client.session.list(one.buffer.id - 1).expect("list").remove(0);
            assert_eq!(info.request.name, name);
        }
    }
}
