// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Bad input: a distinct error that names value and limit, nothing allocated, the service alive.

use berth_end_to_end::harness::{Client, Device, Refusal, APP};
use berth_end_to_end::protocol::{Descriptor, Shape};

use crate::{code, format};

/// Checks a refusal, and that nothing came of the request.
fn refused(
    device: &Device,
    result: Result<impl std::fmt::Debug, Refusal>,
    code: i32,
    parts: &[&str],
) {
    let refusal = result.expect_err("a refusal");
    assert_eq!(refusal.code, code, "{}", refusal.message);
    for part in parts {
        assert!(refusal.message.contains(part), "{part:?} in {:?}", refusal.message);
    }
    let figures = device.figures();
    assert_eq!((figures.buffers, figures.bytes), (0, 0), "{refusal:?}");
}

fn start() -> (Device, Client) {
    let device = Device::start();
    let client = device.client(APP).with_session();
    (device, client)
}

#[test]
fn sizes_out_of_range_are_refused_before_the_kernel_is_asked() {
    let (device, client) = start();
    let descriptors = device.service_descriptors();
    type Make = fn(i64) -> Descriptor;
    for make in [Descriptor::linear as Make, Descriptor::region as Make] {
        for (bytes, code, part) in [
            (0, code::BAD_DESCRIPTOR, "is 0, at least 1"),
            (-1, code::BAD_DESCRIPTOR, "is -1, at least 1"),
            (i64::MIN, code::BAD_DESCRIPTOR, "is -9223372036854775808, at least 1"),
            (1 << 40, code::TOO_LARGE, "1099511627776 bytes, at most"),
            (1 << 50, code::TOO_LARGE, "1125899906842624 bytes, at most"),
            (i64::MAX, code::TOO_LARGE, "9223372036854775807 bytes, at most"),
        ] {
            refused(&device, client.allocate(&make(bytes), 1), code, &[part]);
        }
        let largest = client.capabilities().max_buffer;
        let over = client.allocate(&make(largest + 1), 1);
        refused(&device, over, code::TOO_LARGE, &[&largest.to_string()]);
    }
    assert_eq!(device.service_descriptors(), descriptors);
    assert_eq!(client.allocate(&Descriptor::linear(4096), 1).unwrap().len(), 1);
}

#[test]
fn counts_out_of_range_are_refused() {
    let (device, client) = start();
    for count in [0, -1, 65, i32::MAX, i32::MIN] {
        let result = client.allocate(&Descriptor::linear(4096), count);
        refused(&device, result, code::BAD_ARGUMENT, &[&format!("count is {count}, 1 to 64")]);
    }
    assert_eq!(client.allocate(&Descriptor::linear(4096), 64).unwrap().len(), 64);
}

#[test]
fn images_out_of_range_are_refused() {
    let (device, client) = start();
    let image = |w, h, layers, format| {
        client.allocate(
            &Descriptor { shape: Shape::Image(w, h, layers, format), ..Descriptor::linear(0) },
            1,
        )
    };
    let rgba = format::RGBA_8888;
    refused(&device, image(0, 1, 1, rgba), code::BAD_DESCRIPTOR, &["width is 0"]);
    refused(&device, image(1, -1, 1, rgba), code::BAD_DESCRIPTOR, &["height is -1"]);
    refused(&device, image(1, 1, 0, rgba), code::BAD_DESCRIPTOR, &["layers is 0"]);
    refused(&device, image(i32::MAX, i32::MAX, 1, rgba), code::TOO_LARGE, &["2147483647"]);
    // 2¹⁵ · 2¹⁵ · 2¹¹ · 4 bytes: the product of the extents does not fit 32 bits.
    refused(&device, image(32_768, 32_768, 2048, rgba), code::TOO_LARGE, &["32768x32768"]);
    refused(&device, image(32_768, 32_768, 16, rgba), code::TOO_LARGE, &["68719476736 bytes"]);
    refused(&device, image(64, 64, 1, 0), code::UNSUPPORTED, &["format 0"]);
    refused(&device, image(64, 64, 1, 0x22), code::UNSUPPORTED, &["0x22"]);
    refused(&device, image(64, 64, 1, -1), code::UNSUPPORTED, &["-1"]);
    refused(&device, image(64, 2, 1, format::BLOB), code::UNSUPPORTED, &["BLOB", "2"]);
}

#[test]
fn names_heaps_usage_and_options_that_nobody_knows_are_refused() {
    let (device, client) = start();
    let one = |descriptor: Descriptor| client.allocate(&descriptor, 1);
    let linear = || Descriptor::linear(4096);
    let nul = one(linear().named("a\0b"));
    refused(&device, nul, code::BAD_DESCRIPTOR, &["control character", "byte 1"]);
    let forged = one(linear().named("a\nsize:\t1"));
    refused(&device, forged, code::BAD_DESCRIPTOR, &["control character"]);
    // As long as one Binder call carries, in UTF-16.
    let long = one(linear().named("x".repeat(100_000)));
    refused(&device, long, code::BAD_DESCRIPTOR, &["100000 bytes, at most 127"]);
    let ships = one(linear().named("\u{1f6a2}".repeat(32)));
    refused(&device, ships, code::BAD_DESCRIPTOR, &["128 bytes, at most 127"]);
    let heap = one(linear().from_heap("carveout"));
    refused(&device, heap, code::HEAP_UNKNOWN, &["carveout", "memfd"]);
    let path = one(linear().from_heap("../../etc/passwd"));
    refused(&device, path, code::HEAP_UNKNOWN, &["../../etc/passwd"]);
    let strict = one(linear().from_heap("system-secure").with_flags(1));
    refused(&device, strict, code::HEAP_UNAVAILABLE, &["system-secure", "memfd"]);
    refused(&device, one(linear().with_flags(1 << 20)), code::UNSUPPORTED, &["flags 0x100000"]);
    refused(&device, one(linear().for_usage(1 << 33)), code::UNSUPPORTED, &["0x200000000"]);
    refused(&device, one(linear().for_usage(1 << 26)), code::UNSUPPORTED, &["0x4000000"]);
    // PROTECTED, and here is no memory that the CPU cannot reach.
    let protected = one(linear().for_usage(1 << 14));
    refused(&device, protected, code::HEAP_UNAVAILABLE, &["0x4000"]);
    let readable = one(linear().for_usage(1 << 14 | 3));
    refused(&device, readable, code::UNSUPPORTED, &["PROTECTED"]);
    let option = Descriptor { options: vec![("tiling".to_owned(), 1)], ..linear() };
    refused(&device, one(option), code::UNSUPPORTED, &["tiling"]);
    let options = Descriptor { options: vec![("x".to_owned(), 1); 17], ..linear() };
    refused(&device, one(options), code::BAD_DESCRIPTOR, &["17 options, at most 16"]);
    assert_eq!(one(linear().named("\u{1f6a2}".repeat(31))).unwrap().len(), 1);
}

#[test]
fn free_and_get_of_what_is_not_there_say_not_found() {
    let (device, client) = start();
    let other = device.client(APP + 1).with_session();
    let kept = client.allocate_one(&Descriptor::linear(4096)).info.id;
    let freed = client.allocate_one(&Descriptor::linear(4096)).info.id;
    client.free(&[freed]).unwrap();
    for ids in [vec![freed], vec![0], vec![-1], vec![i64::MAX], vec![kept, kept], vec![kept, freed]]
    {
        assert_eq!(client.free(&ids).unwrap_err().code, code::NOT_FOUND, "{ids:?}");
    }
    assert_eq!(client.get(freed, false).unwrap_err().code, code::NOT_FOUND);
    // Another session has no part in it, whatever id it tries.
    assert_eq!(other.get(kept, false).unwrap_err().code, code::NOT_FOUND);
    assert_eq!(other.free(&[kept]).unwrap_err().code, code::NOT_FOUND);
    for ids in [Vec::new(), vec![kept; 65]] {
        assert_eq!(client.free(&ids).unwrap_err().code, code::BAD_ARGUMENT, "{}", ids.len());
    }
    client.free(&[kept]).unwrap();
    assert_eq!(device.figures().buffers, 0);
}

#[test]
fn bad_session_names_are_refused() {
    let device = Device::start();
    let client = device.client(APP);
    assert_eq!(client.open("a\u{7}b").unwrap_err().code, code::BAD_ARGUMENT);
    let refusal = client.open(&"n".repeat(128)).unwrap_err();
    assert_eq!(refusal.code, code::BAD_ARGUMENT);
    assert!(refusal.message.contains("128 bytes, at most 127"), "{}", refusal.message);
    assert_eq!(device.figures().sessions, 0);
    client.open("").unwrap();
}
