/*
 * Copyright (C) 2026 The Berth Authors
 * SPDX-License-Identifier: Apache-2.0
 */

package vendor.berth.allocator;

import vendor.berth.allocator.ImageDescriptor;

/** The form of what is allocated: exactly one of these. */
@VintfStability
@RustDerive(Clone=true, PartialEq=true)
union BufferShape {
    /** A linear buffer of so many bytes, 1 to AllocatorCapabilities.maxBufferBytes; a dma-buf
     * wherever the kernel has a heap of dma-bufs. */
    long linearBytes = 0;
    /** An image, as planes in one dma-buf. */
    ImageDescriptor image;
    /** A region of shared memory of so many bytes, 1 to AllocatorCapabilities.maxBufferBytes, for
     * CPUs: a memfd that can neither shrink nor grow, or ashmem where that is asked for by name or
     * there is no memfd. From the heap "udmabuf", by name only, with a dma-buf as a second face. */
    long regionBytes;
}
