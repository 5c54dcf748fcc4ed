// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! What holds for every request, tried on random ones. Test only.

use proptest::prelude::*;
use proptest::sample::{select, Index};

use crate::{
    ImageLayout, ImageRequest, LayoutError, PixelFormat, PlaneLayout, StridePolicy, Usage,
    MAX_LAYERS, MAX_SIDE, MAX_SIZE,
};

fn formats() -> impl Strategy<Value = PixelFormat> {
    select(PixelFormat::ALL)
}

/// Any extents, and half of the time the bounds themselves and their neighbours.
fn any_extent() -> impl Strategy<Value = u32> {
    prop_oneof![
        any::<u32>(),
        select(vec![0, 1, 2, 3, MAX_LAYERS, MAX_LAYERS + 1, MAX_SIDE, MAX_SIDE + 1, u32::MAX]),
    ]
}

/// Extents that the format can express: mostly small, some up to the limits.
fn extent(limit: u32) -> impl Strategy<Value = u32> {
    prop_oneof![3 => 1..=limit.min(130), 1 => 1..=limit]
}

fn policies() -> impl Strategy<Value = StridePolicy> {
    let alignment = || (0u32..=12).prop_map(|shift| 1 << shift);
    let any_five = [alignment(), alignment(), alignment(), alignment(), alignment()];
    let any = any_five.prop_map(|[base, gpu, composer, video, camera]| StridePolicy {
        base,
        gpu,
        composer,
        video,
        camera,
    });
    prop_oneof![2 => any, 1 => Just(StridePolicy::DEFAULT), 1 => Just(StridePolicy::TIGHT)]
}

/// Known usages, without those that restrict the extents.
fn usages() -> impl Strategy<Value = Usage> {
    any::<u64>().prop_map(|bits| {
        let usage = Usage::from_bits_retain(bits);
        let usage = Usage::from_bits_retain(bits & !usage.unknown_bits());
        usage - Usage::GPU_MIPMAP_COMPLETE - Usage::GPU_CUBE_MAP
    })
}

/// Requests that are in range and expressible, unless they are too large as a whole.
fn requests() -> impl Strategy<Value = ImageRequest> {
    (formats(), extent(MAX_SIDE), extent(MAX_SIDE), extent(MAX_LAYERS), usages()).prop_map(
        |(format, width, height, layers, usage)| {
            let is_blob = format == PixelFormat::Blob;
            ImageRequest {
                width: width.next_multiple_of(format.width_multiple()),
                height: if is_blob { 1 } else { height },
                layers: if is_blob { 1 } else { layers },
                format,
                usage,
            }
        },
    )
}

/// Bits that a plane's sample needs, read from the components: an independent way to the answer.
fn bits_per_row(plane: &PlaneLayout, format: PixelFormat) -> i64 {
    match format {
        PixelFormat::Raw10 => plane.width_in_samples * 10,
        PixelFormat::Raw12 => plane.width_in_samples * 12,
        _ => plane.width_in_samples * plane.sample_increment_in_bits,
    }
}

/// The smallest stride that the policy and the format allow: what a row's padding stays below.
fn smallest_stride(request: &ImageRequest, policy: &StridePolicy) -> i64 {
    let width = request.format.width_multiple();
    let one = ImageRequest { width, height: 1, layers: 1, ..*request };
    let layout = ImageLayout::compute(&one, policy).expect("the smallest image");
    layout.planes()[0].stride_in_bytes
}

proptest! {
    // A failure prints its request; a file of seeds beside the sources would have no owner.
    #![proptest_config(ProptestConfig {
        cases: 2048,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn planes_follow_each_other_inside_the_layer_and_layers_inside_the_buffer(
        request in requests(), policy in policies(),
    ) {
        match ImageLayout::compute(&request, &policy) {
            Ok(layout) => {
                let mut end = 0;
                for plane in layout.planes() {
                    prop_assert_eq!(plane.offset_in_bytes, end);
                    let total = plane.stride_in_bytes * plane.height_in_samples;
                    prop_assert_eq!(plane.total_size_in_bytes, total);
                    end += total;
                }
                prop_assert_eq!(layout.planes().len(), request.format.plane_count());
                prop_assert_eq!(end as u64, layout.layer_stride);
                if request.format != PixelFormat::Blob {
                    let alignment = u64::from(policy.alignment(request.usage));
                    prop_assert_eq!(layout.layer_stride % alignment, 0);
                }
                let last = layout.layer_offset(request.layers - 1).expect("the last layer");
                prop_assert_eq!(last + layout.layer_stride, layout.size);
                prop_assert_eq!(layout.layer_offset(request.layers), None);
                prop_assert!(layout.size <= MAX_SIZE);
            }
            Err(error) => {
                // In range and expressible, so this is the only reason left; and it is true.
                let overflow = matches!(error, LayoutError::SizeOverflow { .. });
                prop_assert!(overflow, "{}", error);
                let (width, height) = (u64::from(request.width), u64::from(request.height));
                // No row is padded by more than 3 pages, no sample has more than 8 bytes.
                let most = (width * 8 + 3 * 4096) * 2 * (height + 1);
                prop_assert!(most * u64::from(request.layers) > MAX_SIZE);
            }
        }
    }

    #[test]
    fn every_sample_is_addressable_inside_its_plane(
        request in requests(),
        policy in policies(),
        (column, line) in any::<(Index, Index)>(),
    ) {
        let request = ImageRequest { layers: 1, ..request };
        let layout = ImageLayout::compute(&request, &policy).expect("a layout");
        for plane in layout.planes() {
            // The samples of the image's last pixel exist.
            let across = i64::from(request.width - 1) / plane.horizontal_subsampling;
            let down = i64::from(request.height - 1) / plane.vertical_subsampling;
            prop_assert_eq!(across, plane.width_in_samples - 1);
            prop_assert_eq!(down, plane.height_in_samples - 1);
            // A row holds all its samples, and only the padding is left over.
            let bits = bits_per_row(plane, request.format);
            prop_assert_eq!(bits, plane.row_bytes * 8);
            prop_assert!(plane.row_bytes <= plane.stride_in_bytes);
            // A sample anywhere lies within its row, and the row within the plane.
            let x = column.index(plane.width_in_samples as usize) as i64;
            let y = line.index(plane.height_in_samples as usize) as i64;
            let increment = bits / plane.width_in_samples;
            let first_bit = y * plane.stride_in_bytes * 8 + x * increment;
            prop_assert!(first_bit + increment <= (y + 1) * plane.stride_in_bytes * 8);
            prop_assert!(first_bit + increment <= plane.total_size_in_bytes * 8);
            for component in plane.components {
                prop_assert!(component.offset_in_bits + component.size_in_bits.max(0) <= increment);
            }
        }
    }

    #[test]
    fn a_buffer_is_less_than_twice_its_pixels_plus_alignment(
        request in requests(), policy in policies(),
    ) {
        let Ok(layout) = ImageLayout::compute(&request, &policy) else { return Ok(()) };
        let quantum = smallest_stride(&request, &policy);
        let (mut pixels, mut slack) = (0, 0);
        for plane in layout.planes() {
            let padding = plane.stride_in_bytes - plane.row_bytes;
            prop_assert!(padding < quantum);
            pixels += plane.row_bytes * plane.height_in_samples;
            slack += (quantum - 1) * plane.height_in_samples;
        }
        let layers = i64::from(request.layers);
        prop_assert!(layout.size as i64 <= (pixels + slack) * layers);
        // A row at least as long as the smallest stride: twice the pixels bounds it strictly.
        if layout.planes()[0].row_bytes >= quantum {
            prop_assert!((layout.size as i64) < 2 * pixels * layers);
        }
    }

    #[test]
    fn the_stride_fits_the_width_the_policy_and_the_format(
        request in requests(), policy in policies(),
    ) {
        let request = ImageRequest { layers: 1, ..request };
        let layout = ImageLayout::compute(&request, &policy).expect("a layout");
        let first = layout.planes()[0];
        prop_assert!(layout.stride >= request.width);
        if request.format != PixelFormat::Blob {
            let alignment = i64::from(policy.alignment(request.usage));
            prop_assert_eq!(first.stride_in_bytes % alignment, 0);
        }
        match request.format {
            PixelFormat::Raw10 | PixelFormat::Raw12 | PixelFormat::Blob => {
                prop_assert_eq!(i64::from(layout.stride), first.stride_in_bytes);
            }
            format => {
                let pixel_bits = first.sample_increment_in_bits / first.horizontal_subsampling;
                prop_assert_eq!(i64::from(layout.stride) * pixel_bits, first.stride_in_bytes * 8);
                let documented = match format {
                    PixelFormat::Yv12 | PixelFormat::Y8 => 16,
                    PixelFormat::Y16 | PixelFormat::Raw16 => 16,
                    _ => 1,
                };
                prop_assert_eq!(layout.stride % documented, 0);
            }
        }
        if request.format == PixelFormat::Yv12 {
            let chroma = (first.stride_in_bytes / 2 + 15) / 16 * 16;
            prop_assert_eq!(layout.planes()[1].stride_in_bytes, chroma);
            prop_assert_eq!(layout.planes()[2].stride_in_bytes, chroma);
        }
    }

    #[test]
    fn any_numbers_give_an_answer_and_the_same_one_twice(
        format in formats(),
        (width, height, layers) in (any_extent(), any_extent(), any_extent()),
        bits in prop_oneof![Just(0x33), any::<u64>()],
        numbers in prop_oneof![Just([64; 5]), any::<[u32; 5]>()],
    ) {
        let usage = Usage::from_bits_retain(bits);
        let request = ImageRequest { width, height, layers, format, usage };
        let [base, gpu, composer, video, camera] = numbers;
        let policy = StridePolicy { base, gpu, composer, video, camera };
        let answer = ImageLayout::compute(&request, &policy);
        prop_assert_eq!(answer, ImageLayout::compute(&request, &policy));
        if let Err(error) = answer {
            prop_assert!(!error.to_string().is_empty());
        }
    }

    #[test]
    fn any_number_is_a_format_that_gives_it_back_or_is_refused(value in any::<i32>()) {
        match PixelFormat::try_from(value) {
            Ok(format) => prop_assert_eq!(format.value(), value),
            Err(error) => prop_assert_eq!(error, LayoutError::UnknownFormat { value }),
        }
    }
}
