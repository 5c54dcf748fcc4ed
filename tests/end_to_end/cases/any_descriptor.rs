// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Every field of a descriptor at its bounds, one past them and anywhere else, through the real
//! interface: it is refused with a cause or it allocates, and nothing stays behind.

use berth_end_to_end::harness::{Device, APP};
use berth_end_to_end::protocol::{Descriptor, Shape};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseResult, TestRunner};

use crate::code;

/// Under emulation a call takes milliseconds, so this is seconds.
const CASES: u32 = 300;
/// Heaps that one lane or another has.
const HEAPS: &[&str] = &[
    "system",
    "reserved",
    "memfd",
    "ashmem",
    "udmabuf",
    "ion_system_heap",
    "ion_system_heap-uncached",
    "ion_system_contig_heap",
    "ion-reserved",
];
/// What one case may really allocate, so that the lane's memory lasts.
const MOST: i64 = 8 << 20;

fn extent() -> impl Strategy<Value = i32> {
    prop_oneof![
        4 => 1..200i32,
        1 => prop_oneof![Just(0), Just(-1), Just(32_768), Just(32_769), Just(i32::MAX), Just(i32::MIN)],
        1 => any::<i32>(),
    ]
}

fn bytes() -> impl Strategy<Value = i64> {
    prop_oneof![
        3 => 1..=MOST,
        1 => prop_oneof![Just(0), Just(-1), Just(1 << 40), Just(i64::MAX), Just(i64::MIN)],
        1 => any::<i64>(),
    ]
}

fn format() -> impl Strategy<Value = i32> {
    let known: Vec<i32> =
        berth_client::PixelFormat::ALL.iter().map(|format| format.value()).collect();
    prop_oneof![4 => prop::sample::select(known), 1 => any::<i32>()]
}

fn shape() -> impl Strategy<Value = Shape> {
    prop_oneof![
        bytes().prop_map(Shape::Linear),
        bytes().prop_map(Shape::Region),
        (extent(), extent(), prop_oneof![4 => Just(1), 1 => extent()], format()).prop_map(
            |(width, height, layers, format)| Shape::Image(width, height, layers, format)
        ),
    ]
}

fn descriptor() -> impl Strategy<Value = Descriptor> {
    let name = prop_oneof![4 => "[a-z ]{0,40}", 1 => any::<String>(), 1 => "\u{1f6a2}{30,33}"];
    let usage = prop_oneof![
        3 => Just(0x33),
        2 => (0..64u32).prop_map(|bit| 1i64 << bit),
        1 => any::<i64>(),
    ];
    let heap = prop_oneof![
        4 => Just(None),
        4 => prop::sample::select(HEAPS).prop_map(|name| Some(name.to_owned())),
        1 => any::<String>().prop_map(Some),
    ];
    let flags = prop_oneof![4 => Just(0), 4 => 0..32i32, 1 => any::<i32>()];
    let name_of_option = prop_oneof![1 => "[a-z]{0,9}", 1 => Just("purge-chunk-bytes".to_owned())];
    let value = prop_oneof![Just(4096), (0..20i64).prop_map(|pages| pages << 12), any::<i64>()];
    let option = (name_of_option, value);
    let options = prop_oneof![
        8 => Just(Vec::new()),
        1 => prop::collection::vec(option.clone(), 1..=1),
        1 => prop::collection::vec(option, 0..20),
    ];
    (shape(), name, usage, heap, flags, options).prop_map(
        |(shape, name, usage, heap, flags, options)| Descriptor {
            shape,
            name,
            usage,
            heap,
            flags,
            options,
        },
    )
}

#[test]
fn any_descriptor_is_refused_with_a_cause_or_allocates_and_leaves_nothing() {
    let device = Device::start();
    let client = device.client(APP).with_session();
    let descriptors = device.service_descriptors();
    let limit = client.capabilities().max_buffer;
    let one = |asked: Descriptor| -> TestCaseResult {
        let supported = client.is_supported(&asked);
        if too_much_for_the_lane(&asked, limit) {
            return Ok(());
        }
        match client.allocate(&asked, 1) {
            Ok(held) => {
                prop_assert!(supported, "not supported, and yet allocated");
                let info = &held[0].info;
                prop_assert_eq!(&info.descriptor, &asked);
                prop_assert!(info.size >= 1 && info.size <= info.allocation);
                client.drop_buffer(held[0].handle);
            }
            Err(refusal) => {
                // What a heap has left is not judged beforehand.
                let left = [code::NO_MEMORY, code::QUOTA_EXCEEDED, code::HEAP_REFUSED];
                let exhausted = left.contains(&refusal.code);
                prop_assert!(!supported || exhausted, "supported, and yet {:?}", refusal);
                prop_assert!(refusal.code > 0 && !refusal.message.is_empty());
            }
        }
        prop_assert_eq!(client.session_figures().unwrap().buffers, 0);
        Ok(())
    };
    // What failed is shown; a seed kept in a file of a VM helps nobody.
    let config = Config { cases: CASES, failure_persistence: None, ..Config::default() };
    let result = TestRunner::new(config).run(&descriptor(), one);
    result.unwrap_or_else(|failure| panic!("{failure}"));
    device.await_descriptors(descriptors);
    assert_eq!(device.figures().bytes, 0);
}

/// Whether a request that the service may well grant would fill the lane's memory.
fn too_much_for_the_lane(descriptor: &Descriptor, limit: i64) -> bool {
    let bytes = match descriptor.shape {
        // The service does not touch a region.
        Shape::Region(_) => return false,
        Shape::Linear(bytes) => bytes,
        Shape::Image(width, height, layers, _) => [width, height, layers]
            .into_iter()
            .map(i64::from)
            .try_fold(8i64, |product, extent| product.checked_mul(extent.max(1)))
            .unwrap_or(i64::MAX),
    };
    (MOST..=limit.saturating_mul(8)).contains(&bytes)
}
