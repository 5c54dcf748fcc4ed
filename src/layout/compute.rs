// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! From a request to a layout: the checks, then one walk over the planes of the format's row.
//! All arithmetic is checked `u64`; within the limits below nothing overflows, and a mistake in
//! that reckoning would be an error and not a wrapped size.

use crate::format::{FormatInfo, PixelFormat, PlaneRow, Stride};
use crate::plane::PlaneLayout;
use crate::{Extent, LayoutError, StridePolicy, Usage};

/// The widest and highest image, in pixels: the largest maxImageDimension2D that Vulkan drivers
/// commonly report; displays and sensors stay below.
pub const MAX_SIDE: u32 = 32_768;

/// The widest BLOB, in bytes: AIDL carries the width as an `int`.
pub const MAX_BLOB_BYTES: u32 = i32::MAX as u32;

/// The most layers: the maxImageArrayLayers that Vulkan drivers commonly report.
pub const MAX_LAYERS: u32 = 2048;

/// The largest image, in bytes (1 TiB): more than a device has, and small enough that a service
/// may add up thousands of sizes in an `i64`.
pub const MAX_SIZE: u64 = 1 << 40;

/// The most planes that an image can have.
pub const MAX_PLANES: usize = 4;

/// What is asked for.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct ImageRequest {
    /// Pixels per row, 1 to [`MAX_SIDE`]; for [`PixelFormat::Blob`] bytes, 1 to
    /// [`MAX_BLOB_BYTES`].
    pub width: u32,
    /// Rows, 1 to [`MAX_SIDE`].
    pub height: u32,
    /// Images of that size in the buffer, 1 to [`MAX_LAYERS`].
    pub layers: u32,
    /// How a pixel is stored.
    pub format: PixelFormat,
    /// Who touches the buffer, which decides the alignment of the stride.
    pub usage: Usage,
}

/// Where the pixels lie.
///
/// The planes of a layer follow each other without a gap, and so do the layers. Each layer begins
/// at a multiple of the alignment that the policy gave for the usage, because every stride is one;
/// only the two chroma planes of YV12 have half of it each.
///
/// The padding of a row is less than the smallest stride of the first plane (the least common
/// multiple of that alignment and the format's own), and nothing else is ever added: a buffer
/// whose rows are at least that long has less than twice the bytes of its pixels.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ImageLayout {
    /// Bytes to allocate, 1 to [`MAX_SIZE`]. Not rounded up to pages.
    pub size: u64,
    /// From one row of the first plane to the next, as `AllocationResult.stride` of Gralloc has
    /// it: in pixels, but in bytes for RAW10 and RAW12 (as Android documents) and BLOB.
    pub stride: u32,
    /// Bytes from one layer to the next, which are the bytes of one layer.
    pub layer_stride: u64,
    /// How many layers there are.
    pub layers: u32,
    planes: [PlaneLayout; MAX_PLANES],
    plane_count: usize,
}

impl ImageLayout {
    /// Lays out an image.
    ///
    /// # Errors
    ///
    /// Every variant of [`LayoutError`] but `UnknownFormat`: the request is out of range, is
    /// something that the format or the usage cannot express, or the policy is not valid.
    pub fn compute(request: &ImageRequest, policy: &StridePolicy) -> Result<Self, LayoutError> {
        check(request)?;
        let alignment = u64::from(policy.validated()?.alignment(request.usage));
        lay_out(request, alignment).ok_or(LayoutError::SizeOverflow {
            format: request.format,
            width: request.width,
            height: request.height,
            layers: request.layers,
            limit: MAX_SIZE,
        })
    }

    /// The planes of the first layer. Those of layer `n` are the same, `n` times
    /// [`layer_stride`](Self::layer_stride) further on.
    pub fn planes(&self) -> &[PlaneLayout] {
        self.planes.get(..self.plane_count).unwrap_or_default()
    }

    /// Bytes from the start of the buffer to a layer; `None` if there is no such layer.
    pub fn layer_offset(&self, layer: u32) -> Option<u64> {
        (layer < self.layers).then(|| u64::from(layer).checked_mul(self.layer_stride)).flatten()
    }
}

/// Refuses what is out of range or cannot be expressed, the most general reason first.
fn check(request: &ImageRequest) -> Result<(), LayoutError> {
    let ImageRequest { width, height, layers, format, .. } = *request;
    let is_blob = format == PixelFormat::Blob;
    for (which, value, limit) in [
        (Extent::Width, width, if is_blob { MAX_BLOB_BYTES } else { MAX_SIDE }),
        (Extent::Height, height, MAX_SIDE),
        (Extent::Layers, layers, MAX_LAYERS),
    ] {
        if value == 0 {
            return Err(LayoutError::ZeroExtent { which });
        }
        if value > limit {
            return Err(LayoutError::TooLarge { which, value, limit });
        }
    }
    check_usage(request)?;
    // The NDK too allows a BLOB one row and one layer only.
    for (which, value) in [(Extent::Height, height), (Extent::Layers, layers)] {
        if is_blob && value != 1 {
            return Err(LayoutError::FixedExtent { format, which, value, required: 1 });
        }
    }
    let multiple = format.width_multiple();
    if width % multiple != 0 {
        let which = Extent::Width;
        return Err(LayoutError::Misaligned { format, which, value: width, multiple });
    }
    Ok(())
}

/// Refuses usages that mean nothing, or that one linear image per layer cannot serve.
fn check_usage(request: &ImageRequest) -> Result<(), LayoutError> {
    let ImageRequest { width, height, layers, usage, .. } = *request;
    let bits = usage.unknown_bits();
    if bits != 0 {
        return Err(LayoutError::UnknownUsage { bits });
    }
    if usage.contains(Usage::GPU_MIPMAP_COMPLETE) {
        return Err(LayoutError::UnsupportedUsage { usage: "GPU_MIPMAP_COMPLETE" });
    }
    if usage.contains(Usage::GPU_CUBE_MAP) && (width != height || layers % 6 != 0) {
        return Err(LayoutError::NotACube { width, height, layers });
    }
    Ok(())
}

/// The layout of a checked request; `None` if it is larger than [`MAX_SIZE`].
fn lay_out(request: &ImageRequest, alignment: u64) -> Option<ImageLayout> {
    let info = request.format.info();
    let first_stride = first_stride(request.width, info, alignment)?;
    let mut planes = [PlaneLayout::EMPTY; MAX_PLANES];
    let mut layer_stride = 0u64;
    for (plane, row) in planes.iter_mut().zip(info.planes) {
        // Rounded up: the last sample of an odd extent stands for one pixel instead of two.
        let width = request.width.div_ceil(row.horizontal_subsampling);
        let height = request.height.div_ceil(row.vertical_subsampling);
        let stride = first_stride.checked_div(u64::from(row.stride_divisor))?;
        let total = stride.checked_mul(u64::from(height))?;
        *plane = PlaneLayout {
            components: row.components,
            offset_in_bytes: i64::try_from(layer_stride).ok()?,
            sample_increment_in_bits: row.sample_increment_in_bits(),
            stride_in_bytes: i64::try_from(stride).ok()?,
            width_in_samples: i64::from(width),
            height_in_samples: i64::from(height),
            total_size_in_bytes: i64::try_from(total).ok()?,
            horizontal_subsampling: i64::from(row.horizontal_subsampling),
            vertical_subsampling: i64::from(row.vertical_subsampling),
            row_bytes: i64::try_from(row_bytes(request.width, row)?).ok()?,
        };
        layer_stride = layer_stride.checked_add(total)?;
    }
    let size = layer_stride.checked_mul(u64::from(request.layers))?;
    (size <= MAX_SIZE).then_some(ImageLayout {
        size,
        stride: stride_for_callers(first_stride, info)?,
        layer_stride,
        layers: request.layers,
        planes,
        plane_count: info.planes.len(),
    })
}

/// Bytes of the samples in a row of so many pixels.
fn row_bytes(width: u32, row: &PlaneRow) -> Option<u64> {
    let groups = u64::from(width.div_ceil(row.group_pixels()));
    groups.checked_mul(u64::from(row.group_bytes))
}

/// The stride of the first plane, in bytes.
fn first_stride(width: u32, info: &FormatInfo, alignment: u64) -> Option<u64> {
    let first = info.planes.first()?;
    let multiple = match info.stride {
        Stride::Pixels(pixels) => common_multiple(alignment, row_bytes(pixels, first)?)?,
        Stride::Bytes => alignment,
        Stride::Unpadded => 1,
    };
    row_bytes(width, first)?.checked_next_multiple_of(multiple)
}

/// The stride of the first plane in the unit that [`ImageLayout::stride`] has.
fn stride_for_callers(bytes: u64, info: &FormatInfo) -> Option<u32> {
    let first = info.planes.first()?;
    let stride = match info.stride {
        Stride::Pixels(_) => bytes
            .checked_div(u64::from(first.group_bytes))?
            .checked_mul(u64::from(first.group_pixels()))?,
        Stride::Bytes | Stride::Unpadded => bytes,
    };
    u32::try_from(stride).ok()
}

/// The least common multiple of a power of two and any number but 0.
fn common_multiple(power_of_two: u64, other: u64) -> Option<u64> {
    let shared = power_of_two.trailing_zeros().min(other.trailing_zeros());
    (power_of_two >> shared).checked_mul(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RGBA: ImageRequest = ImageRequest {
        width: 64,
        height: 64,
        layers: 1,
        format: PixelFormat::Rgba8888,
        usage: Usage::CPU_READ_OFTEN.union(Usage::CPU_WRITE_OFTEN),
    };
    const BLOB: ImageRequest =
        ImageRequest { width: 5, height: 1, format: PixelFormat::Blob, ..RGBA };

    fn compute(request: ImageRequest) -> Result<ImageLayout, LayoutError> {
        ImageLayout::compute(&request, &StridePolicy::DEFAULT)
    }

    fn refusal(request: ImageRequest) -> LayoutError {
        compute(request).expect_err("must be refused")
    }

    #[test]
    fn no_extent_may_be_zero() {
        for format in PixelFormat::ALL {
            let request = ImageRequest { width: 4, height: 1, format: *format, ..RGBA };
            let zero = |which| LayoutError::ZeroExtent { which };
            assert_eq!(refusal(ImageRequest { width: 0, ..request }), zero(Extent::Width));
            assert_eq!(refusal(ImageRequest { height: 0, ..request }), zero(Extent::Height));
            assert_eq!(refusal(ImageRequest { layers: 0, ..request }), zero(Extent::Layers));
        }
    }

    #[test]
    fn an_extent_is_good_at_its_limit_and_refused_one_past_it() {
        let limit = MAX_SIDE;
        assert!(compute(ImageRequest { width: limit, ..RGBA }).is_ok());
        assert!(compute(ImageRequest { height: limit, ..RGBA }).is_ok());
        assert!(compute(ImageRequest { layers: MAX_LAYERS, ..RGBA }).is_ok());
        assert!(compute(ImageRequest { width: MAX_BLOB_BYTES, ..BLOB }).is_ok());
        for value in [limit + 1, u32::MAX] {
            let which = Extent::Width;
            let error = LayoutError::TooLarge { which, value, limit };
            assert_eq!(refusal(ImageRequest { width: value, ..RGBA }), error);
            let which = Extent::Height;
            let error = LayoutError::TooLarge { which, value, limit };
            assert_eq!(refusal(ImageRequest { height: value, ..RGBA }), error);
        }
        for value in [MAX_LAYERS + 1, u32::MAX] {
            let which = Extent::Layers;
            let error = LayoutError::TooLarge { which, value, limit: MAX_LAYERS };
            assert_eq!(refusal(ImageRequest { layers: value, ..RGBA }), error);
        }
        for value in [MAX_BLOB_BYTES + 1, u32::MAX] {
            let which = Extent::Width;
            let error = LayoutError::TooLarge { which, value, limit: MAX_BLOB_BYTES };
            assert_eq!(refusal(ImageRequest { width: value, ..BLOB }), error);
        }
    }

    #[test]
    fn extents_that_are_good_alone_may_be_too_large_together() {
        let side = MAX_SIDE;
        // 32,768² × 4 bytes are 4 GiB, so 256 layers are MAX_SIZE exactly.
        let request = ImageRequest { width: side, height: side, layers: 256, ..RGBA };
        assert_eq!(compute(request).map(|layout| layout.size), Ok(MAX_SIZE));
        let error = LayoutError::SizeOverflow {
            format: PixelFormat::Rgba8888,
            width: side,
            height: side,
            layers: 257,
            limit: MAX_SIZE,
        };
        assert_eq!(refusal(ImageRequest { layers: 257, ..request }), error);
    }

    #[test]
    fn a_width_between_the_units_of_a_packed_format_is_refused() {
        for (format, multiple, wrong) in [
            (PixelFormat::Raw10, 4, [1, 2, 3, 6, 4031]),
            (PixelFormat::Raw12, 2, [1, 3, 5, 7, 4001]),
            (PixelFormat::Ycbcr422I, 2, [1, 3, 5, 7, 719]),
        ] {
            for value in wrong {
                let which = Extent::Width;
                let error = LayoutError::Misaligned { format, which, value, multiple };
                assert_eq!(refusal(ImageRequest { width: value, format, ..RGBA }), error);
            }
            assert!(compute(ImageRequest { width: multiple, format, ..RGBA }).is_ok());
        }
    }

    #[test]
    fn a_blob_has_one_row_and_one_layer() {
        let format = PixelFormat::Blob;
        let error = |which, value| LayoutError::FixedExtent { format, which, value, required: 1 };
        assert_eq!(refusal(ImageRequest { height: 2, ..BLOB }), error(Extent::Height, 2));
        assert_eq!(refusal(ImageRequest { layers: 2, ..BLOB }), error(Extent::Layers, 2));
    }

    #[test]
    fn one_unknown_usage_bit_is_refused_whatever_the_format() {
        for format in PixelFormat::ALL {
            let request = ImageRequest { width: 4, height: 1, format: *format, ..RGBA };
            assert!(compute(request).is_ok());
            let usage = request.usage | Usage::from_bits_retain(1 << 33);
            let error = LayoutError::UnknownUsage { bits: 1 << 33 };
            assert_eq!(refusal(ImageRequest { usage, ..request }), error);
        }
    }

    #[test]
    fn mip_levels_have_no_layout() {
        let usage = Usage::GPU_TEXTURE | Usage::GPU_MIPMAP_COMPLETE;
        let error = LayoutError::UnsupportedUsage { usage: "GPU_MIPMAP_COMPLETE" };
        assert_eq!(refusal(ImageRequest { usage, ..RGBA }), error);
    }

    #[test]
    fn a_cube_map_has_six_square_faces_to_a_cube() {
        let usage = Usage::GPU_TEXTURE | Usage::GPU_CUBE_MAP;
        let cube = ImageRequest { layers: 12, usage, ..RGBA };
        assert!(compute(cube).is_ok());
        let error = LayoutError::NotACube { width: 64, height: 64, layers: 7 };
        assert_eq!(refusal(ImageRequest { layers: 7, ..cube }), error);
        let error = LayoutError::NotACube { width: 64, height: 32, layers: 12 };
        assert_eq!(refusal(ImageRequest { height: 32, ..cube }), error);
    }

    #[test]
    fn a_policy_that_is_not_valid_is_refused() {
        let policy = StridePolicy { base: 0, ..StridePolicy::DEFAULT };
        let error = LayoutError::BadAlignment { name: "base", value: 0, limit: 4096 };
        assert_eq!(ImageLayout::compute(&RGBA, &policy), Err(error));
    }

    #[test]
    fn a_layer_beyond_the_last_has_no_offset() {
        let layout = compute(ImageRequest { layers: 3, ..RGBA }).expect("a layout");
        assert_eq!(layout.layer_offset(0), Some(0));
        assert_eq!(layout.layer_offset(2), Some(2 * 16_384));
        assert_eq!(layout.layer_offset(3), None);
    }
}
