/*
 * Copyright (C) 2026 The Berth Authors
 * SPDX-License-Identifier: Apache-2.0
 */

package vendor.berth.allocator;

/**
 * Pixel formats with the values of android.hardware.graphics.common.PixelFormat: all of those whose
 * layout the CPU knows. AllocatorCapabilities.formats says which a service has.
 */
@VintfStability
@Backing(type="int")
enum PixelFormat {
    /** No format; refused. */
    UNSPECIFIED = 0,
    /** 8 bits each of red, green, blue, alpha, in this order in memory. */
    RGBA_8888 = 0x1,
    /** As RGBA_8888, the fourth byte unused. */
    RGBX_8888 = 0x2,
    /** 8 bits each of red, green, blue. */
    RGB_888 = 0x3,
    /** 5, 6 and 5 bits of red, green and blue in a little-endian 16-bit word, red highest. */
    RGB_565 = 0x4,
    /** 8 bits each of blue, green, red, alpha. */
    BGRA_8888 = 0x5,
    /** NV16: a plane of luma, then one of interleaved Cb and Cr, halved along the row. */
    YCBCR_422_SP = 0x10,
    /** NV21: a plane of luma, then one of interleaved Cr and Cb, halved in both directions. */
    YCRCB_420_SP = 0x11,
    /** YUY2: Y, Cb, Y, Cr for each two pixels; even widths. */
    YCBCR_422_I = 0x14,
    /** 16-bit floats of red, green, blue, alpha. */
    RGBA_FP16 = 0x16,
    /** 16 bits a pixel of a sensor. */
    RAW16 = 0x20,
    /** Bytes: width of them, height 1, one layer. */
    BLOB = 0x21,
    /** YCbCr 4:2:0, 8 bits a component; the planes say how it is laid out. */
    YCBCR_420_888 = 0x23,
    /** 10 bits a pixel of a sensor, four pixels in five bytes; widths in multiples of 4. */
    RAW10 = 0x25,
    /** 12 bits a pixel of a sensor, two pixels in three bytes; even widths. */
    RAW12 = 0x26,
    /** 10 bits each of red, green, blue and 2 of alpha, from the lowest bit. */
    RGBA_1010102 = 0x2B,
    /** 16 bits of depth. */
    DEPTH_16 = 0x30,
    /** 24 bits of depth in the low bits of 32. */
    DEPTH_24 = 0x31,
    /** 24 bits of depth in the low bits of 32, stencil in the high ones. */
    DEPTH_24_STENCIL_8 = 0x32,
    /** Depth as a 32-bit float. */
    DEPTH_32F = 0x33,
    /** Depth as a 32-bit float, then 8 bits of stencil and 24 unused. */
    DEPTH_32F_STENCIL_8 = 0x34,
    /** 8 bits of stencil. */
    STENCIL_8 = 0x35,
    /** P010: as NV12 with the high 10 bits of 16 a component. */
    YCBCR_P010 = 0x36,
    /** 8 bits of red. */
    R_8 = 0x38,
    /** 16 bits of red. */
    R_16_UINT = 0x39,
    /** 16 bits each of red and green. */
    RG_1616_UINT = 0x3a,
    /** Red, green, blue, alpha in the high 10 bits of 16 each. */
    RGBA_10101010 = 0x3b,
    /** 8 bits of luma; strides in multiples of 16 pixels. */
    Y8 = 0x20203859,
    /** 16 bits of luma; strides in multiples of 16 pixels. */
    Y16 = 0x20363159,
    /** Planes of luma, Cr, Cb; strides in multiples of 16 as Android defines them. */
    YV12 = 0x32315659,
}
