/*
 * Copyright (C) 2026 The Berth Authors
 * SPDX-License-Identifier: Apache-2.0
 */

package vendor.berth.allocator;

import vendor.berth.allocator.Access;
import vendor.berth.allocator.BufferDescriptor;
import vendor.berth.allocator.PlaneLayout;

/** What a buffer is. Everything that was asked for can be read back. */
@VintfStability
parcelable BufferInfo {
    /** In BufferInfo.flags: the memory was zero when it was handed to its first owner. */
    const int FLAG_ZEROED = 1 << 0;
    /** In BufferInfo.flags: the heap is not of the class that the shape prefers, as a memfd for an
     * image on a host without dma-heaps. */
    const int FLAG_FALLBACK_HEAP = 1 << 1;
    /** In BufferInfo.flags: acquired from another session, to which it is charged. */
    const int FLAG_ACQUIRED = 1 << 2;

    /** The id in this session. */
    long id;
    /** What was asked for. */
    BufferDescriptor descriptor;
    /** The bytes that the shape needs. */
    long sizeBytes;
    /** The bytes that the kernel gave: sizeBytes rounded up to whole pages. What may be mapped. */
    long allocationBytes;
    /** The heap that served, really. */
    @utf8InCpp String heap;
    /** True if the descriptor is a dma-buf. */
    boolean dmaBuf;
    /**
     * With inode, the identity of the memory: st_dev as fstat gives it for every descriptor of it.
     */
    long device;
    /** st_ino as fstat gives it. */
    long inode;
    /** An OR of the FLAG_ constants. */
    int flags;
    /** What this session may do with it. */
    Access access = Access.READ_WRITE;
    /** For an image: the distance of two rows of the first plane, in pixels; else 0. */
    int strideInPixels;
    /** For an image: the distance of two layers, in bytes; else 0. */
    long layerStrideInBytes;
    /** For an image: the planes of layer 0; else empty. */
    PlaneLayout[] planes;
}
