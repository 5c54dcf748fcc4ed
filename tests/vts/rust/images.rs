// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Layouts: every plane lies within its layer, every layer within the allocation, planes apart from
//! each other, rows at least as long as their samples.

use vendor_berth_allocator::aidl::vendor::berth::allocator::{
    AllocatorError::AllocatorError, BufferDescriptor::BufferDescriptor, BufferLayout::BufferLayout,
    BufferShape::BufferShape, BufferUsage::BufferUsage, ImageDescriptor::ImageDescriptor,
    ImageLayout::ImageLayout, PixelFormat::PixelFormat, PlaneLayout::PlaneLayout,
};

use crate::client::{linear, Instance, CPU};
use crate::tests;

tests![
    every_layout_lies_within_its_allocation,
    a_blob_is_so_many_bytes,
    layers_of_cubes_come_in_sixes,
];

/// Odd and even, small, narrow, wide; of some formats only some of them can be had.
const SIZES: &[(i32, i32, i32)] =
    &[(1, 1, 1), (2, 2, 1), (16, 16, 3), (63, 17, 1), (64, 1, 6), (100, 50, 2), (641, 479, 1)];

fn every_layout_lies_within_its_allocation(instance: &Instance) {
    let (allocator, client) = (instance.allocator(), instance.client());
    let said = instance.capabilities();
    let usages = [CPU, BufferUsage::GPU_TEXTURE.0, CPU | BufferUsage::VIDEO_ENCODER.0, 0];
    for &format in said.formats.iter().filter(|format| **format != PixelFormat::BLOB) {
        let mut seen = 0;
        for &(width, height, layers) in SIZES {
            for usage in usages.into_iter().filter(|usage| usage & !said.supportedUsage == 0) {
                let image = ImageDescriptor { width, height, layers, format };
                let shape = BufferShape::Image(image);
                let descriptor = BufferDescriptor { shape, usage, ..linear(1) };
                if !allocator.isSupported(&descriptor).expect("isSupported") {
                    let error = client.refusal(&descriptor);
                    assert_eq!(error, AllocatorError::UNSUPPORTED, "{format:?} {width}x{height}");
                    continue;
                }
                seen += 1;
                let one = client.allocate(&descriptor);
                let what = format!("{format:?} {width}x{height}x{layers} usage {usage:#x}");
                check(&what, &one.layout, (width, height, layers));
                client.session.free(&[one.buffer.id]).expect("free");
            }
        }
        assert!(seen > 0, "{format:?} is listed and has no size");
    }
}

fn check(what: &str, layout: &BufferLayout, (width, height, layers): (i32, i32, i32)) {
    let image = layout.image.as_ref().unwrap_or_else(|| panic!("{what}: no layout"));
    assert!(layout.sizeBytes <= layout.allocationBytes, "{what}");
    assert!(!image.planes.is_empty(), "{what}: no planes");
    assert!(image.strideInPixels >= width, "{what}: stride");
    let layer = image.layerStrideInBytes;
    let last = layer.checked_mul(i64::from(layers) - 1).expect("no overflow");
    for (at, plane) in image.planes.iter().enumerate() {
        let what = format!("{what}, plane {at}");
        check_plane(&what, plane, width, height);
        let end = plane.offsetInBytes + plane.totalSizeInBytes;
        assert!(layers == 1 || end <= layer, "{what}: beyond its layer");
        assert!(last + end <= layout.sizeBytes, "{what}: beyond the buffer");
    }
    assert!(apart(image), "{what}: planes that overlap");
}

fn check_plane(what: &str, plane: &PlaneLayout, width: i32, height: i32) {
    assert!(plane.offsetInBytes >= 0 && plane.strideInBytes > 0, "{what}");
    assert!(plane.horizontalSubsampling > 0 && plane.verticalSubsampling > 0, "{what}");
    let covers = |samples: i64, each: i64, pixels: i32| samples * each >= i64::from(pixels);
    assert!(covers(plane.widthInSamples, plane.horizontalSubsampling, width), "{what}: width");
    assert!(covers(plane.heightInSamples, plane.verticalSubsampling, height), "{what}: height");
    let row_bits = plane.widthInSamples * plane.sampleIncrementInBits;
    assert!(plane.strideInBytes * 8 >= row_bits, "{what}: a row longer than the stride");
    let rows = plane.strideInBytes * plane.heightInSamples;
    assert!(plane.totalSizeInBytes >= rows, "{what}: rows beyond the plane");
    assert!(!plane.components.is_empty(), "{what}: no components");
    for component in &plane.components {
        assert!(component.offsetInBits >= 0 && component.sizeInBits != 0, "{what}");
        let end = component.offsetInBits + component.sizeInBits.max(0);
        // Packed samples have no fixed distance.
        let within = plane.sampleIncrementInBits == 0 || end <= plane.sampleIncrementInBits;
        assert!(within, "{what}: a component beyond its sample");
    }
}

fn apart(image: &ImageLayout) -> bool {
    let range =
        |plane: &PlaneLayout| (plane.offsetInBytes, plane.offsetInBytes + plane.totalSizeInBytes);
    let mut ranges: Vec<(i64, i64)> = image.planes.iter().map(range).collect();
    ranges.sort_unstable();
    ranges.windows(2).all(|pair| pair[0].1 <= pair[1].0)
}

fn a_blob_is_so_many_bytes(instance: &Instance) {
    let client = instance.client();
    if !instance.capabilities().formats.contains(&PixelFormat::BLOB) {
        return;
    }
    let blob = |width, height, layers| {
        let image = ImageDescriptor { width, height, layers, format: PixelFormat::BLOB };
        BufferDescriptor { shape: BufferShape::Image(image), ..linear(1) }
    };
    // Wider than images can be.
    let one = client.allocate(&blob(100_000, 1, 1));
    assert!(one.layout.sizeBytes >= 100_000);
    for (height, layers) in [(2, 1), (1, 2)] {
        let descriptor = blob(100, height, layers);
        assert_eq!(client.refusal(&descriptor), AllocatorError::UNSUPPORTED);
        assert!(!instance.allocator().isSupported(&descriptor).expect("isSupported"));
    }
}

fn layers_of_cubes_come_in_sixes(instance: &Instance) {
    let client = instance.client();
    let usage = CPU | BufferUsage::GPU_CUBE_MAP.0;
    let said = instance.capabilities();
    let format = PixelFormat::RGBA_8888;
    if said.supportedUsage & usage != usage || !said.formats.contains(&format) {
        return;
    }
    let cube = |layers| {
        let image = ImageDescriptor { width: 16, height: 16, layers, format };
        BufferDescriptor { shape: BufferShape::Image(image), usage, ..linear(1) }
    };
    client.allocate(&cube(12));
    assert_eq!(client.refusal(&cube(4)), AllocatorError::UNSUPPORTED);
}
