/*
 * Copyright (C) 2026 The Berth Authors
 * SPDX-License-Identifier: Apache-2.0
 */

package vendor.berth.allocator;

import vendor.berth.allocator.PlaneLayout;

/** Where the bytes of a buffer are: the same for every buffer of one allocation. */
@VintfStability
@RustDerive(Clone=true, PartialEq=true)
parcelable BufferLayout {
    /** The bytes that the shape needs. */
    long sizeBytes;
    /**
     * The bytes that the kernel gave, and what may be mapped: sizeBytes rounded up to whole pages or,
     * without NO_POOL, to a size that is used again, which is at most an eighth more.
     */
    long allocationBytes;
    /** The heap that served, really. */
    @utf8InCpp String heap;
    /** True if the descriptor is a dma-buf. */
    boolean dmaBuf;
    /** For an image: the distance of two rows of the first plane, in pixels; else 0. */
    int strideInPixels;
    /** For an image: the distance of two layers, in bytes; else 0. */
    long layerStrideInBytes;
    /** For an image: the code of Linux's drm_fourcc.h, or 0 if it has none; else 0. */
    int drmFourcc;
    /** For an image: the planes of layer 0; else empty. */
    PlaneLayout[] planes;
}
