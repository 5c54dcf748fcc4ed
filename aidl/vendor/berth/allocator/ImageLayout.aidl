/*
 * Copyright (C) 2026 The Berth Authors
 * SPDX-License-Identifier: Apache-2.0
 */

package vendor.berth.allocator;

import vendor.berth.allocator.PlaneLayout;

/** Where the pixels of an image are. */
@VintfStability
@RustDerive(Clone=true, PartialEq=true)
parcelable ImageLayout {
    /** The distance of two rows of the first plane, in pixels. */
    int strideInPixels;
    /** The distance of two layers, in bytes. */
    long layerStrideInBytes;
    /** The code of Linux's drm_fourcc.h, or 0 if the format has none. */
    int drmFourcc;
    /** The planes of layer 0. */
    PlaneLayout[] planes;
}
