/*
 * Copyright (C) 2026 The Berth Authors
 * SPDX-License-Identifier: Apache-2.0
 */

package vendor.berth.allocator;

/**
 * Usage bits with the values of android.hardware.graphics.common.BufferUsage. CPU_READ and
 * CPU_WRITE are fields of four bits of which one value is taken; all others are flags.
 */
@VintfStability
@Backing(type="long")
// The names are Gralloc's, GPU_DATA_BUFFER and FRONT_BUFFER too.
@SuppressWarnings(value={"redundant-name"})
enum BufferUsage {
    /** The field of the CPU_READ values. */
    CPU_READ_MASK = 0xf,
    /** The CPU does not read. */
    CPU_READ_NEVER = 0,
    /** The CPU reads now and then. */
    CPU_READ_RARELY = 2,
    /** The CPU reads most frames. */
    CPU_READ_OFTEN = 3,
    /** The field of the CPU_WRITE values. */
    CPU_WRITE_MASK = 0xf << 4,
    /** The CPU does not write. */
    CPU_WRITE_NEVER = 0 << 4,
    /** The CPU writes now and then. */
    CPU_WRITE_RARELY = 2 << 4,
    /** The CPU writes most frames. */
    CPU_WRITE_OFTEN = 3 << 4,
    /** The GPU samples from it. */
    GPU_TEXTURE = 1 << 8,
    /** The GPU renders to it. */
    GPU_RENDER_TARGET = 1 << 9,
    /** The composer shows it as an overlay. */
    COMPOSER_OVERLAY = 1 << 11,
    /** The composer takes it as the client's target. */
    COMPOSER_CLIENT_TARGET = 1 << 12,
    /**
     * The CPU never reaches it: it comes from heaps of the class SECURE and nothing else does. Not
     * for regions, and not with any use by the CPU.
     */
    PROTECTED = 1 << 14,
    /** The composer shows it as a cursor. */
    COMPOSER_CURSOR = 1 << 15,
    /** A video encoder reads it. */
    VIDEO_ENCODER = 1 << 16,
    /** The camera writes it. */
    CAMERA_OUTPUT = 1 << 17,
    /** The camera reads it. */
    CAMERA_INPUT = 1 << 18,
    /** RenderScript uses it. */
    RENDERSCRIPT = 1 << 20,
    /** A video decoder writes it. */
    VIDEO_DECODER = 1 << 22,
    /** A sensor writes it by direct report. */
    SENSOR_DIRECT_DATA = 1 << 23,
    /** The GPU uses it as data. */
    GPU_DATA_BUFFER = 1 << 24,
    /** The layers are the faces of cubes. */
    GPU_CUBE_MAP = 1 << 25,
    /** An image encoder of the hardware uses it. */
    HW_IMAGE_ENCODER = 1 << 27,
    /** It is drawn into while it is on display. */
    FRONT_BUFFER = 1L << 32,
}
