/*
 * Copyright (C) 2026 The Berth Authors
 * SPDX-License-Identifier: Apache-2.0
 */

package vendor.berth.allocator;

import vendor.berth.allocator.PixelFormat;

/** An image's extent and format. */
@VintfStability
@RustDerive(Clone=true, PartialEq=true)
parcelable ImageDescriptor {
    /** Width in pixels, 1 or more; for BLOB the size in bytes. */
    int width;
    /** Height in pixels, 1 or more; for BLOB exactly 1. */
    int height;
    /** Number of layers, 1 or more. */
    int layers = 1;
    /** The pixels' format. UNSPECIFIED is refused. */
    PixelFormat format = PixelFormat.UNSPECIFIED;
}
