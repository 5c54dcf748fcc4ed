// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Layouts whose numbers were worked out by hand from the document that each row names. Test only.

use crate::{ImageLayout, ImageRequest, PixelFormat, StridePolicy, Usage};

/// One row: who says so, what is asked, and all of the answer.
struct Known {
    source: &'static str,
    policy: StridePolicy,
    usage: Usage,
    format: PixelFormat,
    extents: (u32, u32, u32),
    stride: u32,
    size: u64,
    layer_stride: u64,
    planes: &'static [Plane],
}

/// Offset, bits from sample to sample, stride, samples in a row, rows, subsampling across, down.
type Plane = (i64, i64, i64, i64, i64, i64, i64);

const TIGHT: StridePolicy = StridePolicy::TIGHT;
const DEFAULT: StridePolicy = StridePolicy::DEFAULT;
const CPU: Usage = Usage::CPU_READ_OFTEN.union(Usage::CPU_WRITE_OFTEN);
const SCREEN: Usage = Usage::GPU_RENDER_TARGET.union(Usage::COMPOSER_OVERLAY);

#[rustfmt::skip]
const KNOWN: &[Known] = &[
    Known {
        source: "allocator VTS: 64x64 RGBA_8888, stride >= 64, stride * 64 * 4 <= size < 2 * that",
        policy: DEFAULT, usage: CPU, format: PixelFormat::Rgba8888, extents: (64, 64, 1),
        stride: 64, size: 16_384, layer_stride: 16_384,
        planes: &[(0, 32, 256, 64, 64, 1, 1)],
    },
    Known {
        source: "PixelFormat.aidl, YV12: y = 1280 * 720, c_stride = ALIGN(640, 16), Cr before Cb",
        policy: DEFAULT, usage: CPU, format: PixelFormat::Yv12, extents: (1280, 720, 1),
        stride: 1280, size: 1_382_400, layer_stride: 1_382_400,
        planes: &[
            (0, 8, 1280, 1280, 720, 1, 1),
            (921_600, 8, 640, 640, 360, 2, 2),
            (1_152_000, 8, 640, 640, 360, 2, 2),
        ],
    },
    Known {
        source: "minigbm, helpers.c: YV12 has its luma stride aligned to 32, its chroma to 16",
        policy: TIGHT, usage: CPU, format: PixelFormat::Yv12, extents: (176, 144, 1),
        stride: 192, size: 41_472, layer_stride: 41_472,
        planes: &[
            (0, 8, 192, 176, 144, 1, 1),
            (27_648, 8, 96, 88, 72, 2, 2),
            (34_560, 8, 96, 88, 72, 2, 2),
        ],
    },
    Known {
        source: "mapper VTS, YV12SubsampleMetadata: 64x64, chroma of 32x32 samples",
        policy: DEFAULT, usage: CPU, format: PixelFormat::Yv12, extents: (64, 64, 1),
        stride: 64, size: 6_144, layer_stride: 6_144,
        planes: &[
            (0, 8, 64, 64, 64, 1, 1),
            (4_096, 8, 32, 32, 32, 2, 2),
            (5_120, 8, 32, 32, 32, 2, 2),
        ],
    },
    Known {
        source: "camera preview in NV21 (android.graphics.ImageFormat): 640 * 480 * 12 bits",
        policy: DEFAULT, usage: CPU.union(Usage::CAMERA_OUTPUT), format: PixelFormat::Ycrcb420Sp,
        extents: (640, 480, 1),
        stride: 640, size: 460_800, layer_stride: 460_800,
        planes: &[(0, 8, 640, 640, 480, 1, 1), (307_200, 16, 640, 320, 240, 2, 2)],
    },
    Known {
        source: "1080p in NV12 (V4L2_PIX_FMT_NV12): 1920 * 1080 * 3 / 2; 1920 is 15 * 128",
        policy: DEFAULT, usage: Usage::VIDEO_DECODER, format: PixelFormat::Ycbcr420888,
        extents: (1920, 1080, 1),
        stride: 1920, size: 3_110_400, layer_stride: 3_110_400,
        planes: &[(0, 8, 1920, 1920, 1080, 1, 1), (2_073_600, 16, 1920, 960, 540, 2, 2)],
    },
    Known {
        source: "the same for a GPU: 1920 goes up to 2048, 8 * 256 (policy)",
        policy: DEFAULT, usage: Usage::VIDEO_DECODER.union(Usage::GPU_TEXTURE),
        format: PixelFormat::Ycbcr420888, extents: (1920, 1080, 1),
        stride: 2048, size: 3_317_760, layer_stride: 3_317_760,
        planes: &[(0, 8, 2048, 1920, 1080, 1, 1), (2_211_840, 16, 2048, 960, 540, 2, 2)],
    },
    Known {
        source: "minigbm, helpers.c: an odd extent of 4:2:0 has its chroma rounded up",
        policy: TIGHT, usage: CPU, format: PixelFormat::Ycbcr420888, extents: (5, 3, 1),
        stride: 6, size: 30, layer_stride: 30,
        planes: &[(0, 8, 6, 5, 3, 1, 1), (18, 16, 6, 3, 2, 2, 2)],
    },
    Known {
        source: "types.hal 1.1, YCBCR_P010: stride 2 * 1920, y = stride * 1080, cbcr half of it",
        policy: DEFAULT, usage: CPU, format: PixelFormat::YcbcrP010, extents: (1920, 1080, 1),
        stride: 1920, size: 6_220_800, layer_stride: 6_220_800,
        planes: &[(0, 16, 3840, 1920, 1080, 1, 1), (4_147_200, 32, 3840, 960, 540, 2, 2)],
    },
    Known {
        source: "V4L2_PIX_FMT_NV16: as NV12, chroma as high as luma; 720 goes up to 768 (12 * 64)",
        policy: DEFAULT, usage: CPU, format: PixelFormat::Ycbcr422Sp, extents: (720, 576, 1),
        stride: 768, size: 884_736, layer_stride: 884_736,
        planes: &[(0, 8, 768, 720, 576, 1, 1), (442_368, 16, 768, 360, 576, 2, 1)],
    },
    Known {
        source: "V4L2_PIX_FMT_YUYV: 4 bytes for 2 pixels; 1440 goes up to 1472 (23 * 64)",
        policy: DEFAULT, usage: CPU, format: PixelFormat::Ycbcr422I, extents: (720, 576, 1),
        stride: 736, size: 847_872, layer_stride: 847_872,
        planes: &[(0, 32, 1472, 360, 576, 2, 1)],
    },
    Known {
        source: "PixelFormat.aidl, RAW10: 5 bytes for 4 pixels, stride in bytes",
        policy: TIGHT, usage: CPU, format: PixelFormat::Raw10, extents: (4032, 3024, 1),
        stride: 5040, size: 15_240_960, layer_stride: 15_240_960,
        planes: &[(0, 0, 5040, 4032, 3024, 1, 1)],
    },
    Known {
        source: "the same with rows of 64 bytes: 5040 goes up to 5056 (79 * 64)",
        policy: DEFAULT, usage: Usage::CAMERA_OUTPUT, format: PixelFormat::Raw10,
        extents: (4032, 3024, 1),
        stride: 5056, size: 15_289_344, layer_stride: 15_289_344,
        planes: &[(0, 0, 5056, 4032, 3024, 1, 1)],
    },
    Known {
        source: "PixelFormat.aidl, RAW12: 3 bytes for 2 pixels; 6000 goes up to 6016 (94 * 64)",
        policy: DEFAULT, usage: CPU, format: PixelFormat::Raw12, extents: (4000, 3000, 1),
        stride: 6016, size: 18_048_000, layer_stride: 18_048_000,
        planes: &[(0, 0, 6016, 4000, 3000, 1, 1)],
    },
    Known {
        source: "PixelFormat.aidl, RAW16: stride in 16 pixels, size = stride * height * 2",
        policy: TIGHT, usage: CPU, format: PixelFormat::Raw16, extents: (4008, 3000, 1),
        stride: 4016, size: 24_096_000, layer_stride: 24_096_000,
        planes: &[(0, 16, 8032, 4008, 3000, 1, 1)],
    },
    Known {
        source: "PixelFormat.aidl, Y8: stride a multiple of 16 pixels, size = stride * height",
        policy: TIGHT, usage: CPU, format: PixelFormat::Y8, extents: (1000, 10, 1),
        stride: 1008, size: 10_080, layer_stride: 10_080,
        planes: &[(0, 8, 1008, 1000, 10, 1, 1)],
    },
    Known {
        source: "PixelFormat.aidl, Y16: stride a multiple of 16 pixels, size = stride * height * 2",
        policy: TIGHT, usage: CPU, format: PixelFormat::Y16, extents: (1000, 10, 1),
        stride: 1008, size: 20_160, layer_stride: 20_160,
        planes: &[(0, 16, 2016, 1000, 10, 1, 1)],
    },
    Known {
        source: "PixelFormat.aidl, BLOB: height 1, width = bytes",
        policy: DEFAULT, usage: CPU, format: PixelFormat::Blob, extents: (1_000_003, 1, 1),
        stride: 1_000_003, size: 1_000_003, layer_stride: 1_000_003,
        planes: &[(0, 8, 1_000_003, 1_000_003, 1, 1, 1)],
    },
    Known {
        source: "PixelFormat.aidl, RGB_888: 24 bits; whole pixels and 64 bytes meet at 192",
        policy: DEFAULT, usage: CPU, format: PixelFormat::Rgb888, extents: (100, 10, 1),
        stride: 128, size: 3_840, layer_stride: 3_840,
        planes: &[(0, 24, 384, 100, 10, 1, 1)],
    },
    Known {
        source: "PixelFormat.aidl, RGB_565: 16 bits; 2160 goes up to 2304 (9 * 256)",
        policy: DEFAULT, usage: SCREEN, format: PixelFormat::Rgb565, extents: (1080, 1920, 1),
        stride: 1152, size: 4_423_680, layer_stride: 4_423_680,
        planes: &[(0, 16, 2304, 1080, 1920, 1, 1)],
    },
    Known {
        source: "a phone's screen in RGBX_8888 (32 bits): 4320 goes up to 4352 (17 * 256)",
        policy: DEFAULT, usage: SCREEN, format: PixelFormat::Rgbx8888, extents: (1080, 2400, 1),
        stride: 1088, size: 10_444_800, layer_stride: 10_444_800,
        planes: &[(0, 32, 4352, 1080, 2400, 1, 1)],
    },
    Known {
        source: "PixelFormat.aidl, BGRA_8888: 32 bits; 4K UHD needs no padding (60 * 256)",
        policy: DEFAULT, usage: SCREEN, format: PixelFormat::Bgra8888, extents: (3840, 2160, 1),
        stride: 3840, size: 33_177_600, layer_stride: 33_177_600,
        planes: &[(0, 32, 15_360, 3840, 2160, 1, 1)],
    },
    Known {
        source: "PixelFormat.aidl, RGBA_1010102: 32 bits",
        policy: TIGHT, usage: CPU, format: PixelFormat::Rgba1010102, extents: (7, 5, 1),
        stride: 7, size: 140, layer_stride: 140,
        planes: &[(0, 32, 28, 7, 5, 1, 1)],
    },
    Known {
        source: "PixelFormat.aidl, RGBA_FP16: 64 bits",
        policy: TIGHT, usage: CPU, format: PixelFormat::RgbaFp16, extents: (7, 5, 1),
        stride: 7, size: 280, layer_stride: 280,
        planes: &[(0, 64, 56, 7, 5, 1, 1)],
    },
    Known {
        source: "Vulkan, R10X6G10X6B10X6A10X6_UNORM_4PACK16: 64 bits",
        policy: TIGHT, usage: CPU, format: PixelFormat::Rgba10101010, extents: (7, 5, 1),
        stride: 7, size: 280, layer_stride: 280,
        planes: &[(0, 64, 56, 7, 5, 1, 1)],
    },
    Known {
        source: "PixelFormat.aidl, R_8: 8 bits; 100 goes up to 128",
        policy: DEFAULT, usage: CPU, format: PixelFormat::R8, extents: (100, 3, 1),
        stride: 128, size: 384, layer_stride: 384,
        planes: &[(0, 8, 128, 100, 3, 1, 1)],
    },
    Known {
        source: "PixelFormat.aidl, R_16_UINT: 16 bits",
        policy: TIGHT, usage: CPU, format: PixelFormat::R16Uint, extents: (7, 5, 1),
        stride: 7, size: 70, layer_stride: 70,
        planes: &[(0, 16, 14, 7, 5, 1, 1)],
    },
    Known {
        source: "PixelFormat.aidl, RG_1616_UINT: 32 bits",
        policy: TIGHT, usage: CPU, format: PixelFormat::Rg1616Uint, extents: (7, 5, 1),
        stride: 7, size: 140, layer_stride: 140,
        planes: &[(0, 32, 28, 7, 5, 1, 1)],
    },
    Known {
        source: "PixelFormat.aidl, DEPTH_16: 16 bits",
        policy: TIGHT, usage: CPU, format: PixelFormat::Depth16, extents: (7, 5, 1),
        stride: 7, size: 70, layer_stride: 70,
        planes: &[(0, 16, 14, 7, 5, 1, 1)],
    },
    Known {
        source: "PixelFormat.aidl, DEPTH_24: 32 bits with 8 unused",
        policy: TIGHT, usage: CPU, format: PixelFormat::Depth24, extents: (7, 5, 1),
        stride: 7, size: 140, layer_stride: 140,
        planes: &[(0, 32, 28, 7, 5, 1, 1)],
    },
    Known {
        source: "PixelFormat.aidl, DEPTH_24_STENCIL_8: 32 bits",
        policy: TIGHT, usage: CPU, format: PixelFormat::Depth24Stencil8, extents: (7, 5, 1),
        stride: 7, size: 140, layer_stride: 140,
        planes: &[(0, 32, 28, 7, 5, 1, 1)],
    },
    Known {
        source: "PixelFormat.aidl, DEPTH_32F: 32 bits",
        policy: TIGHT, usage: CPU, format: PixelFormat::Depth32F, extents: (7, 5, 1),
        stride: 7, size: 140, layer_stride: 140,
        planes: &[(0, 32, 28, 7, 5, 1, 1)],
    },
    Known {
        source: "PixelFormat.aidl, DEPTH_32F_STENCIL_8: 32 and 8 bits with 24 unused",
        policy: TIGHT, usage: CPU, format: PixelFormat::Depth32FStencil8, extents: (7, 5, 1),
        stride: 7, size: 280, layer_stride: 280,
        planes: &[(0, 64, 56, 7, 5, 1, 1)],
    },
    Known {
        source: "PixelFormat.aidl, STENCIL_8: 8 bits",
        policy: TIGHT, usage: CPU, format: PixelFormat::Stencil8, extents: (7, 5, 1),
        stride: 7, size: 35, layer_stride: 35,
        planes: &[(0, 8, 7, 7, 5, 1, 1)],
    },
    Known {
        source: "six faces of a cube: 6 * 64 * 64 * 4",
        policy: DEFAULT, usage: Usage::GPU_TEXTURE.union(Usage::GPU_CUBE_MAP),
        format: PixelFormat::Rgba8888, extents: (64, 64, 6),
        stride: 64, size: 98_304, layer_stride: 16_384,
        planes: &[(0, 32, 256, 64, 64, 1, 1)],
    },
    Known {
        source: "layers of YV12 start at the alignment of the usage (policy): 256 + 2 * 128",
        policy: DEFAULT, usage: Usage::GPU_TEXTURE, format: PixelFormat::Yv12, extents: (32, 1, 2),
        stride: 256, size: 1_024, layer_stride: 512,
        planes: &[
            (0, 8, 256, 32, 1, 1, 1),
            (256, 8, 128, 16, 1, 2, 2),
            (384, 8, 128, 16, 1, 2, 2),
        ],
    },
];

#[test]
fn every_known_answer_is_given() {
    for known in KNOWN {
        let (width, height, layers) = known.extents;
        let request =
            ImageRequest { width, height, layers, format: known.format, usage: known.usage };
        let layout = ImageLayout::compute(&request, &known.policy).expect(known.source);
        assert_eq!(layout.stride, known.stride, "stride; {}", known.source);
        assert_eq!(layout.size, known.size, "size; {}", known.source);
        assert_eq!(layout.layer_stride, known.layer_stride, "layer stride; {}", known.source);
        assert_eq!(layout.layers, layers, "layers; {}", known.source);
        let planes: Vec<Plane> = layout
            .planes()
            .iter()
            .map(|plane| {
                (
                    plane.offset_in_bytes,
                    plane.sample_increment_in_bits,
                    plane.stride_in_bytes,
                    plane.width_in_samples,
                    plane.height_in_samples,
                    plane.horizontal_subsampling,
                    plane.vertical_subsampling,
                )
            })
            .collect();
        assert_eq!(planes, known.planes, "planes; {}", known.source);
    }
}

#[test]
fn every_format_has_a_known_answer() {
    for format in PixelFormat::ALL {
        assert!(KNOWN.iter().any(|known| known.format == *format), "none for {format}");
    }
}

/// Type, offset and size in bits, of each component of each plane.
type Components = &'static [&'static [(i64, i64, i64)]];

#[rustfmt::skip]
const COMPONENTS: &[(&str, PixelFormat, Components)] = &[
    ("mapper VTS, P010: Y at 6, 10 bits; Cr 16 bits after Cb", PixelFormat::YcbcrP010,
        &[&[(1, 6, 10)], &[(2, 6, 10), (4, 22, 10)]]),
    ("mapper VTS, YCRCB_420_SP: Cb one byte after Cr", PixelFormat::Ycrcb420Sp,
        &[&[(1, 0, 8)], &[(4, 0, 8), (2, 8, 8)]]),
    ("mapper VTS, YV12: Y, Cr, Cb", PixelFormat::Yv12,
        &[&[(1, 0, 8)], &[(4, 0, 8)], &[(2, 0, 8)]]),
    ("minigbm, CrosGralloc4Utils.cc: NV12", PixelFormat::Ycbcr420888,
        &[&[(1, 0, 8)], &[(2, 0, 8), (4, 8, 8)]]),
    ("mapper VTS, RAW10: RAW, size -1", PixelFormat::Raw10, &[&[(1 << 20, 0, -1)]]),
    ("mapper VTS, RAW12: RAW, size -1", PixelFormat::Raw12, &[&[(1 << 20, 0, -1)]]),
    ("PixelFormat.aidl: R, G, B, A from the lowest address", PixelFormat::Rgba8888,
        &[&[(1 << 10, 0, 8), (1 << 11, 8, 8), (1 << 12, 16, 8), (1 << 30, 24, 8)]]),
    ("PixelFormat.aidl: B, G, R, A from the lowest address", PixelFormat::Bgra8888,
        &[&[(1 << 12, 0, 8), (1 << 11, 8, 8), (1 << 10, 16, 8), (1 << 30, 24, 8)]]),
    ("PixelFormat.aidl: A, B, G, R from the highest bit", PixelFormat::Rgba1010102,
        &[&[(1 << 10, 0, 10), (1 << 11, 10, 10), (1 << 12, 20, 10), (1 << 30, 30, 2)]]),
    ("PixelFormat.aidl: R, G, B from the highest bit", PixelFormat::Rgb565,
        &[&[(1 << 10, 11, 5), (1 << 11, 5, 6), (1 << 12, 0, 5)]]),
    ("drm_fourcc.h, YUYV: Cr0, Y1, Cb0, Y0 from the highest bit", PixelFormat::Ycbcr422I,
        &[&[(1, 0, 8), (2, 8, 8), (1, 16, 8), (4, 24, 8)]]),
];

#[test]
fn components_lie_where_android_says() {
    for (source, format, expected) in COMPONENTS {
        let request =
            ImageRequest { width: 64, height: 64, layers: 1, format: *format, usage: CPU };
        let layout = ImageLayout::compute(&request, &DEFAULT).expect(source);
        let found: Vec<Vec<(i64, i64, i64)>> = layout
            .planes()
            .iter()
            .map(|plane| plane.components)
            .map(|list| {
                list.iter()
                    .map(|c| (c.component_type.value(), c.offset_in_bits, c.size_in_bits))
                    .collect()
            })
            .collect();
        assert_eq!(found, *expected, "{source}");
    }
}
