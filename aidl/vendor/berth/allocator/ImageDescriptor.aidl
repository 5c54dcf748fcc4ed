/*
 * Copyright (C) 2026 The Berth Authors
 * SPDX-License-Identifier: Apache-2.0
 */

package vendor.berth.allocator;

import vendor.berth.allocator.PixelFormat;

/**
 * An image's extent and format. Below its range an extent is refused with BAD_DESCRIPTOR, above it
 * with TOO_LARGE; one that the format or the usage does not allow with UNSUPPORTED.
 */
@VintfStability
@RustDerive(Clone=true, PartialEq=true)
parcelable ImageDescriptor {
    /** Width in pixels, 1 to 32768; for BLOB the size in bytes, 1 to 2147483647. */
    int width;
    /** Height in pixels, 1 to 32768; for BLOB exactly 1. */
    int height;
    /** Number of layers, 1 to 2048; for BLOB exactly 1, with GPU_CUBE_MAP a multiple of 6. */
    int layers = 1;
    /** The pixels' format. UNSPECIFIED is refused. */
    PixelFormat format = PixelFormat.UNSPECIFIED;
}
