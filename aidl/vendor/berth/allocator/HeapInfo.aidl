/*
 * Copyright (C) 2026 The Berth Authors
 * SPDX-License-Identifier: Apache-2.0
 */

package vendor.berth.allocator;

import vendor.berth.allocator.HeapClass;

/** One heap that allocates on this kernel. */
@VintfStability
parcelable HeapInfo {
    /**
     * Its name, as BufferDescriptor.heap takes it: a dma-heap's node under /dev/dma_heap; an ION
     * heap's name, with "ion-" before it if it does not begin with "ion_", and with "-uncached"
     * behind it for memory that the CPU does not cache; "udmabuf"; "memfd"; or "ashmem".
     */
    @utf8InCpp String name;
    /** What it gives. */
    HeapClass heapClass = HeapClass.SYSTEM;
    /**
     * True if its buffers are dma-bufs, which devices can import; false for memory of CPUs only.
     */
    boolean dmaBuf;
    /**
     * True if a descriptor that can only be read can be had of its memory: of every region, and of
     * buffers and images that are no dma-bufs or have READ_ONLY_VIEW. Not of ashmem before it is
     * sealed.
     */
    boolean readOnlyDescriptors;
    /**
     * The largest single buffer that the service asks of it, in bytes. What the kernel has left in
     * it may be less.
     */
    long maxBufferBytes;
}
