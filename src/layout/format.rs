// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! The table of pixel formats: one row each, in the order of `PixelFormat.aidl`
//! (`android.hardware.graphics.common`), which is also the source of the numbers and, where it
//! gives any, of the layouts. The fourcc codes are those of Linux's
//! `include/uapi/drm/drm_fourcc.h`, which counts components from the highest bit of a little
//! endian word down, where Android counts bytes from the lowest address up.
//!
//! Not in the table: IMPLEMENTATION_DEFINED and RAW_OPAQUE (only a driver knows their layout) and
//! what nobody asked of Berth yet (HSV_888, YCBCR_P210, the 12- and 14-bit formats, BGRA_1010102).

use std::fmt;

use crate::plane::{ComponentType, PlaneComponent};
use crate::LayoutError;
use ComponentType::{Cb, Cr, Raw, A, B, D, G, R, S, Y};

/// One row of the table.
#[derive(Debug)]
pub(crate) struct FormatInfo {
    /// As AIDL spells it.
    pub name: &'static str,
    /// The number in drm_fourcc.h, if it has the format.
    pub drm_fourcc: Option<u32>,
    /// How the stride of the first plane is aligned and counted.
    pub stride: Stride,
    /// The planes, first to last; the first one sets the stride.
    pub planes: &'static [PlaneRow],
}

/// How the stride of the first plane is aligned, and in what unit the image's stride is given.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stride {
    /// In pixels, a multiple of so many of them and, in bytes, of the policy's alignment.
    Pixels(u32),
    /// In bytes, a multiple of the policy's alignment: packed pixels have no whole bytes.
    Bytes,
    /// There are no rows to align; the stride is the width.
    Unpadded,
}

/// One plane of a row of the table.
#[derive(Debug)]
pub(crate) struct PlaneRow {
    /// Pixels of a row that share one sample.
    pub horizontal_subsampling: u32,
    /// Rows that share one row of samples.
    pub vertical_subsampling: u32,
    /// Samples that are packed into one group; 1 unless a sample is no whole number of bytes.
    pub group_samples: u32,
    /// Bytes of one group.
    pub group_bytes: u32,
    /// The stride is the first plane's divided by this; for the first plane itself, by 1.
    pub stride_divisor: u32,
    /// What a sample holds.
    pub components: &'static [PlaneComponent],
}

impl PlaneRow {
    /// Pixels of a row that one group stands for.
    pub const fn group_pixels(&self) -> u32 {
        self.group_samples * self.horizontal_subsampling
    }

    /// Bits from one sample to the next; 0, as AIDL wants it, where they are packed.
    pub const fn sample_increment_in_bits(&self) -> i64 {
        match self.group_samples {
            1 => self.group_bytes as i64 * 8,
            _ => 0,
        }
    }
}

/// A plane with one sample of `bytes` per pixel.
const fn full(bytes: u32, components: &'static [PlaneComponent]) -> PlaneRow {
    packed(1, bytes, components)
}

/// A plane that packs `samples` pixels into `bytes`.
const fn packed(samples: u32, bytes: u32, components: &'static [PlaneComponent]) -> PlaneRow {
    PlaneRow {
        horizontal_subsampling: 1,
        vertical_subsampling: 1,
        group_samples: samples,
        group_bytes: bytes,
        stride_divisor: 1,
        components,
    }
}

/// A plane with one sample of `bytes` per `horizontal` × `vertical` pixels.
const fn shared(
    horizontal: u32,
    vertical: u32,
    bytes: u32,
    components: &'static [PlaneComponent],
) -> PlaneRow {
    PlaneRow {
        horizontal_subsampling: horizontal,
        vertical_subsampling: vertical,
        ..full(bytes, components)
    }
}

/// A chroma plane of YV12. Android's ALIGN(luma stride / 2, 16) is the half itself, because the
/// luma stride is a multiple of 32.
const fn yv12_chroma(components: &'static [PlaneComponent]) -> PlaneRow {
    PlaneRow { stride_divisor: 2, ..shared(2, 2, 1, components) }
}

const RGBA_8: &[PlaneComponent] = &[R.at(0, 8), G.at(8, 8), B.at(16, 8), A.at(24, 8)];
const RGB_8: &[PlaneComponent] = &[R.at(0, 8), G.at(8, 8), B.at(16, 8)];
const BGRA_8: &[PlaneComponent] = &[B.at(0, 8), G.at(8, 8), R.at(16, 8), A.at(24, 8)];
const RGB_565: &[PlaneComponent] = &[R.at(11, 5), G.at(5, 6), B.at(0, 5)];
const RGBA_10_2: &[PlaneComponent] = &[R.at(0, 10), G.at(10, 10), B.at(20, 10), A.at(30, 2)];
const RGBA_16: &[PlaneComponent] = &[R.at(0, 16), G.at(16, 16), B.at(32, 16), A.at(48, 16)];
const RGBA_10_IN_16: &[PlaneComponent] = &[R.at(6, 10), G.at(22, 10), B.at(38, 10), A.at(54, 10)];
const R_8: &[PlaneComponent] = &[R.at(0, 8)];
const R_16: &[PlaneComponent] = &[R.at(0, 16)];
const RG_16: &[PlaneComponent] = &[R.at(0, 16), G.at(16, 16)];
const Y_8: &[PlaneComponent] = &[Y.at(0, 8)];
const Y_16: &[PlaneComponent] = &[Y.at(0, 16)];
const Y_10_IN_16: &[PlaneComponent] = &[Y.at(6, 10)];
const CB_8: &[PlaneComponent] = &[Cb.at(0, 8)];
const CR_8: &[PlaneComponent] = &[Cr.at(0, 8)];
const CB_CR_8: &[PlaneComponent] = &[Cb.at(0, 8), Cr.at(8, 8)];
const CR_CB_8: &[PlaneComponent] = &[Cr.at(0, 8), Cb.at(8, 8)];
const CB_CR_10_IN_16: &[PlaneComponent] = &[Cb.at(6, 10), Cr.at(22, 10)];
const YUYV_8: &[PlaneComponent] = &[Y.at(0, 8), Cb.at(8, 8), Y.at(16, 8), Cr.at(24, 8)];
const RAW_8: &[PlaneComponent] = &[Raw.at(0, 8)];
const RAW_16: &[PlaneComponent] = &[Raw.at(0, 16)];
// −1: the high bits of a pixel lie apart from its low bits. Gralloc's VTS asserts it.
const RAW_PACKED: &[PlaneComponent] = &[Raw.at(0, -1)];
const D_16: &[PlaneComponent] = &[D.at(0, 16)];
const D_24: &[PlaneComponent] = &[D.at(0, 24)];
const D_24_S_8: &[PlaneComponent] = &[D.at(0, 24), S.at(24, 8)];
const D_32: &[PlaneComponent] = &[D.at(0, 32)];
const D_32_S_8: &[PlaneComponent] = &[D.at(0, 32), S.at(32, 8)];
const S_8: &[PlaneComponent] = &[S.at(0, 8)];

/// `fourcc_code()` of drm_fourcc.h.
const fn fourcc(code: &[u8; 4]) -> u32 {
    u32::from_le_bytes(*code)
}

/// Turns the rows into the enumeration, its conversions and the table, so that none can disagree.
macro_rules! formats {
    ($(
        $(#[$doc:meta])*
        $variant:ident = $value:literal, $name:literal, $drm:expr, $stride:expr,
            [$($plane:expr),+];
    )+) => {
        /// A pixel format whose layout the CPU knows, with the number that `PixelFormat.aidl`
        /// gives it.
        #[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
        #[repr(i32)]
        pub enum PixelFormat {
            $($(#[$doc])* $variant = $value,)+
        }

        impl PixelFormat {
            /// Every format, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The row of the table.
            pub(crate) const fn info(self) -> &'static FormatInfo {
                match self {
                    $(Self::$variant => {
                        const PLANES: &[PlaneRow] = &[$($plane),+];
                        const INFO: &FormatInfo = &FormatInfo {
                            name: $name,
                            drm_fourcc: $drm,
                            stride: $stride,
                            planes: PLANES,
                        };
                        INFO
                    })+
                }
            }
        }

        impl TryFrom<i32> for PixelFormat {
            type Error = LayoutError;

            /// The format with this number.
            ///
            /// # Errors
            ///
            /// [`LayoutError::UnknownFormat`] if the table has no such number.
            fn try_from(value: i32) -> Result<Self, Self::Error> {
                match value {
                    $($value => Ok(Self::$variant),)+
                    _ => Err(LayoutError::UnknownFormat { value }),
                }
            }
        }
    };
}

// Number, Android's name, DRM's name, how the stride is aligned and counted, planes.
formats! {
    /// 4 bytes a pixel: R, G, B, A.
    Rgba8888 = 0x1, "RGBA_8888", Some(fourcc(b"AB24")), Stride::Pixels(1),
        [full(4, RGBA_8)];
    /// 4 bytes a pixel: R, G, B and one that means nothing.
    Rgbx8888 = 0x2, "RGBX_8888", Some(fourcc(b"XB24")), Stride::Pixels(1),
        [full(4, RGB_8)];
    /// 3 bytes a pixel: R, G, B.
    Rgb888 = 0x3, "RGB_888", Some(fourcc(b"BG24")), Stride::Pixels(1),
        [full(3, RGB_8)];
    /// 2 bytes a pixel, from the highest bit: 5 of R, 6 of G, 5 of B.
    Rgb565 = 0x4, "RGB_565", Some(fourcc(b"RG16")), Stride::Pixels(1),
        [full(2, RGB_565)];
    /// 4 bytes a pixel: B, G, R, A.
    Bgra8888 = 0x5, "BGRA_8888", Some(fourcc(b"AR24")), Stride::Pixels(1),
        [full(4, BGRA_8)];
    /// NV16: a plane of luma, then one of Cb and Cr in turn, half as wide and just as high. An odd
    /// width has its last chroma sample for one pixel.
    Ycbcr422Sp = 0x10, "YCBCR_422_SP", Some(fourcc(b"NV16")), Stride::Pixels(2),
        [full(1, Y_8), shared(2, 1, 2, CB_CR_8)];
    /// NV21: a plane of luma, then one of Cr and Cb in turn, half as wide and half as high. An
    /// odd width or height has its last chroma sample for one pixel.
    Ycrcb420Sp = 0x11, "YCRCB_420_SP", Some(fourcc(b"NV21")), Stride::Pixels(2),
        [full(1, Y_8), shared(2, 2, 2, CR_CB_8)];
    /// YUY2: 4 bytes for two pixels: Y, Cb, Y, Cr. The width is even. A sample is the two pixels,
    /// so that the plane counts half the width and its horizontal subsampling is 2.
    Ycbcr422I = 0x14, "YCBCR_422_I", Some(fourcc(b"YUYV")), Stride::Pixels(2),
        [shared(2, 1, 4, YUYV_8)];
    /// 8 bytes a pixel: R, G, B, A as 16-bit floats.
    RgbaFp16 = 0x16, "RGBA_FP16", Some(fourcc(b"AB4H")), Stride::Pixels(1),
        [full(8, RGBA_16)];
    /// 2 bytes a pixel of a sensor; Android documents a stride in multiples of 16 pixels.
    Raw16 = 0x20, "RAW16", Some(fourcc(b"R16 ")), Stride::Pixels(16),
        [full(2, RAW_16)];
    /// Bytes without an image: the width is their number, height and layers are 1.
    Blob = 0x21, "BLOB", None, Stride::Unpadded,
        [full(1, RAW_8)];
    /// 4:2:0 in the layout that the allocator likes: here NV12, which video hardware and display
    /// planes take. Odd extents as in [`Ycrcb420Sp`](Self::Ycrcb420Sp).
    Ycbcr420888 = 0x23, "YCBCR_420_888", Some(fourcc(b"NV12")), Stride::Pixels(2),
        [full(1, Y_8), shared(2, 2, 2, CB_CR_8)];
    /// 5 bytes for four pixels of a sensor: four times the high 8 bits, then the low 2 of each.
    /// The width is a multiple of 4; the stride is given in bytes, as Android documents.
    Raw10 = 0x25, "RAW10", None, Stride::Bytes,
        [packed(4, 5, RAW_PACKED)];
    /// 3 bytes for two pixels of a sensor: twice the high 8 bits, then the low 4 of each. The
    /// width is even (Android's text assumes a multiple of 4, though the packing does not need
    /// it); the stride is given in bytes.
    Raw12 = 0x26, "RAW12", None, Stride::Bytes,
        [packed(2, 3, RAW_PACKED)];
    /// 4 bytes a pixel, from the lowest bit: 10 of R, 10 of G, 10 of B, 2 of A.
    Rgba1010102 = 0x2b, "RGBA_1010102", Some(fourcc(b"AB30")), Stride::Pixels(1),
        [full(4, RGBA_10_2)];
    /// 2 bytes a pixel of depth.
    Depth16 = 0x30, "DEPTH_16", None, Stride::Pixels(1),
        [full(2, D_16)];
    /// 4 bytes a pixel: depth in the low 24 bits, as in Vulkan's X8_D24_UNORM_PACK32.
    Depth24 = 0x31, "DEPTH_24", None, Stride::Pixels(1),
        [full(4, D_24)];
    /// 4 bytes a pixel: depth in the low 24 bits, stencil in the high 8. Android leaves the order
    /// open; this one makes the depth that of [`Depth24`](Self::Depth24).
    Depth24Stencil8 = 0x32, "DEPTH_24_STENCIL_8", None, Stride::Pixels(1),
        [full(4, D_24_S_8)];
    /// 4 bytes a pixel of depth as a float.
    Depth32F = 0x33, "DEPTH_32F", None, Stride::Pixels(1),
        [full(4, D_32)];
    /// 8 bytes a pixel: depth as a float, 8 bits of stencil, 24 that mean nothing.
    Depth32FStencil8 = 0x34, "DEPTH_32F_STENCIL_8", None, Stride::Pixels(1),
        [full(8, D_32_S_8)];
    /// 1 byte a pixel of stencil.
    Stencil8 = 0x35, "STENCIL_8", None, Stride::Pixels(1),
        [full(1, S_8)];
    /// P010: as NV12 with 2 bytes a component, of which the high 10 bits count.
    YcbcrP010 = 0x36, "YCBCR_P010", Some(fourcc(b"P010")), Stride::Pixels(2),
        [full(2, Y_10_IN_16), shared(2, 2, 4, CB_CR_10_IN_16)];
    /// 1 byte a pixel.
    R8 = 0x38, "R_8", Some(fourcc(b"R8  ")), Stride::Pixels(1),
        [full(1, R_8)];
    /// 2 bytes a pixel.
    R16Uint = 0x39, "R_16_UINT", Some(fourcc(b"R16 ")), Stride::Pixels(1),
        [full(2, R_16)];
    /// 4 bytes a pixel: 16 bits of R, 16 of G.
    Rg1616Uint = 0x3a, "RG_1616_UINT", Some(fourcc(b"GR32")), Stride::Pixels(1),
        [full(4, RG_16)];
    /// 8 bytes a pixel: R, G, B, A in the high 10 bits of 2 bytes each. AIDL counts the 40 bits
    /// that mean something; the linear form is VK_FORMAT_R10X6G10X6B10X6A10X6_UNORM_4PACK16,
    /// which the NDK names for it (AHARDWAREBUFFER_FORMAT_R10G10B10A10_UNORM).
    Rgba10101010 = 0x3b, "RGBA_10101010", Some(fourcc(b"AB10")), Stride::Pixels(1),
        [full(8, RGBA_10_IN_16)];
    /// 1 byte a pixel of luma; Android documents a stride in multiples of 16 pixels.
    Y8 = 0x2020_3859, "Y8", Some(fourcc(b"R8  ")), Stride::Pixels(16),
        [full(1, Y_8)];
    /// 2 bytes a pixel of luma; Android documents a stride in multiples of 16 pixels.
    Y16 = 0x2036_3159, "Y16", Some(fourcc(b"R16 ")), Stride::Pixels(16),
        [full(2, Y_16)];
    /// A plane of luma, then one of Cr, then one of Cb, each half as wide and half as high, with
    /// ALIGN(stride / 2, 16) as their stride. Android documents a luma stride in multiples of 16;
    /// 32 satisfies it and keeps the chroma stride at exactly half, which much software assumes
    /// (and minigbm gives). Odd extents as in [`Ycrcb420Sp`](Self::Ycrcb420Sp).
    Yv12 = 0x3231_5659, "YV12", Some(fourcc(b"YV12")), Stride::Pixels(32),
        [full(1, Y_8), yv12_chroma(CR_8), yv12_chroma(CB_8)];
}

impl PixelFormat {
    /// The number in `PixelFormat.aidl`.
    pub const fn value(self) -> i32 {
        self as i32
    }

    /// The name as AIDL spells it, such as `RGBA_8888`.
    pub const fn name(self) -> &'static str {
        self.info().name
    }

    /// The fourcc code of drm_fourcc.h for this format with the linear modifier; `None` where DRM
    /// has no such format (packed raw, depth, stencil, BLOB). DRM knows no luma alone: Y8, Y16
    /// and RAW16 go as its one-component R8 and R16.
    pub const fn drm_fourcc(self) -> Option<u32> {
        self.info().drm_fourcc
    }

    /// How many planes an image of this format has: 1 to [`MAX_PLANES`](crate::MAX_PLANES).
    pub const fn plane_count(self) -> usize {
        self.info().planes.len()
    }

    /// The number of pixels that the width must be a multiple of, because the format packs that
    /// many into one unit: 4 for RAW10, 2 for RAW12 and YCBCR_422_I, otherwise 1.
    pub const fn width_multiple(self) -> u32 {
        match self.info().planes {
            [first, ..] => first.group_pixels(),
            [] => 1,
        }
    }
}

impl fmt::Display for PixelFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MAX_PLANES;

    #[test]
    fn the_numbers_are_those_of_aidl() {
        // PixelFormat.aidl, which writes those above 0x100 as the characters of a fourcc code.
        let numbers: [i32; 29] = [
            0x1,
            0x2,
            0x3,
            0x4,
            0x5,
            0x10,
            0x11,
            0x14,
            0x16,
            0x20,
            0x21,
            0x23,
            0x25,
            0x26,
            0x2b,
            0x30,
            0x31,
            0x32,
            0x33,
            0x34,
            0x35,
            0x36,
            0x38,
            0x39,
            0x3a,
            0x3b,
            538_982_489,
            540_422_489,
            842_094_169,
        ];
        let ours: Vec<i32> = PixelFormat::ALL.iter().map(|format| format.value()).collect();
        assert_eq!(ours, numbers);
        for (format, number) in PixelFormat::ALL.iter().zip(numbers) {
            assert_eq!(PixelFormat::try_from(number), Ok(*format));
        }
    }

    #[test]
    fn any_other_number_is_refused_by_value() {
        // IMPLEMENTATION_DEFINED, RAW_OPAQUE, HSV_888, the vendors' range, and no format at all.
        for value in [0, -1, 0x22, 0x24, 0x37, 0x100, 0x1ff, i32::MIN, i32::MAX] {
            assert_eq!(PixelFormat::try_from(value), Err(LayoutError::UnknownFormat { value }));
        }
    }

    #[test]
    fn fourcc_codes_are_those_of_drm_fourcc_h() {
        let codes = [
            (PixelFormat::Rgba8888, 0x3432_4241),     // DRM_FORMAT_ABGR8888
            (PixelFormat::Rgbx8888, 0x3432_4258),     // DRM_FORMAT_XBGR8888
            (PixelFormat::Rgb888, 0x3432_4742),       // DRM_FORMAT_BGR888
            (PixelFormat::Rgb565, 0x3631_4752),       // DRM_FORMAT_RGB565
            (PixelFormat::Bgra8888, 0x3432_5241),     // DRM_FORMAT_ARGB8888
            (PixelFormat::Rgba1010102, 0x3033_4241),  // DRM_FORMAT_ABGR2101010
            (PixelFormat::RgbaFp16, 0x4834_4241),     // DRM_FORMAT_ABGR16161616F
            (PixelFormat::Rgba10101010, 0x3031_4241), // DRM_FORMAT_AXBXGXRX106106106106
            (PixelFormat::R8, 0x2020_3852),           // DRM_FORMAT_R8
            (PixelFormat::R16Uint, 0x2036_3152),      // DRM_FORMAT_R16
            (PixelFormat::Rg1616Uint, 0x3233_5247),   // DRM_FORMAT_GR1616
            (PixelFormat::Ycbcr420888, 0x3231_564e),  // DRM_FORMAT_NV12
            (PixelFormat::Ycrcb420Sp, 0x3132_564e),   // DRM_FORMAT_NV21
            (PixelFormat::Ycbcr422Sp, 0x3631_564e),   // DRM_FORMAT_NV16
            (PixelFormat::Ycbcr422I, 0x5659_5559),    // DRM_FORMAT_YUYV
            (PixelFormat::YcbcrP010, 0x3031_3050),    // DRM_FORMAT_P010
            (PixelFormat::Yv12, 0x3231_5659),         // DRM_FORMAT_YVU420
            (PixelFormat::Y8, 0x2020_3852),           // DRM_FORMAT_R8
            (PixelFormat::Y16, 0x2036_3152),          // DRM_FORMAT_R16
            (PixelFormat::Raw16, 0x2036_3152),        // DRM_FORMAT_R16
        ];
        for (format, code) in codes {
            assert_eq!(format.drm_fourcc(), Some(code), "{format}");
        }
        let without = PixelFormat::ALL.iter().filter(|f| f.drm_fourcc().is_none()).count();
        assert_eq!(without, PixelFormat::ALL.len() - codes.len());
    }

    #[test]
    fn only_packed_formats_limit_the_width() {
        for format in PixelFormat::ALL {
            let multiple = match format {
                PixelFormat::Raw10 => 4,
                PixelFormat::Raw12 | PixelFormat::Ycbcr422I => 2,
                _ => 1,
            };
            assert_eq!(format.width_multiple(), multiple, "{format}");
        }
    }

    #[test]
    fn every_row_of_the_table_is_consistent() {
        for format in PixelFormat::ALL {
            let info = format.info();
            assert!((1..=MAX_PLANES).contains(&info.planes.len()), "{format}");
            let first = &info.planes[0];
            // A multiple in pixels is whole groups of the first plane, and an
            // even stride wherever a chroma sample stands for two pixels.
            let group_pixels = first.group_pixels();
            if let Stride::Pixels(multiple) = info.stride {
                for plane in info.planes {
                    assert_eq!(multiple % plane.horizontal_subsampling, 0, "{format}");
                }
                assert_eq!(multiple % group_pixels, 0, "{format}");
            }
            assert_eq!((first.stride_divisor, first.vertical_subsampling), (1, 1), "{format}");
            for plane in info.planes {
                assert!(plane.group_bytes > 0 && plane.group_samples > 0, "{format}");
                assert!(plane.horizontal_subsampling.is_power_of_two(), "{format}");
                assert!(plane.vertical_subsampling.is_power_of_two(), "{format}");
                components_are_disjoint_and_inside(*format, plane);
            }
        }
    }

    fn components_are_disjoint_and_inside(format: PixelFormat, plane: &PlaneRow) {
        assert!(!plane.components.is_empty(), "{format}");
        if plane.group_samples > 1 {
            assert!(plane.components.iter().all(|c| c.size_in_bits == -1), "{format}");
            return;
        }
        let mut taken = 0u64;
        for component in plane.components {
            let (from, bits) = (component.offset_in_bits, component.size_in_bits);
            assert!(bits > 0 && from >= 0, "{format}");
            assert!(from + bits <= i64::from(plane.group_bytes) * 8, "{format}");
            let mask = ((1u64 << bits) - 1) << from;
            assert_eq!(taken & mask, 0, "{format}: two components share a bit");
            taken |= mask;
        }
    }
}
