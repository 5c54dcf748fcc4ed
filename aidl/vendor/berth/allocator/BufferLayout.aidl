/*
 * Copyright (C) 2026 The Berth Authors
 * SPDX-License-Identifier: Apache-2.0
 */

package vendor.berth.allocator;

import vendor.berth.allocator.ImageLayout;

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
    /** Of an image, where its pixels are; of a buffer or a region null. */
    @nullable ImageLayout image;
}
