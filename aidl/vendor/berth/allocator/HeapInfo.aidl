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
     * Its name, as BufferDescriptor.heap takes it: a dma-heap's node under /dev/dma_heap, or
     * "memfd".
     */
    @utf8InCpp String name;
    /** What it gives. */
    HeapClass heapClass = HeapClass.SYSTEM;
    /**
     * True if its buffers are dma-bufs, which devices can import; false for memory of CPUs only.
     */
    boolean dmaBuf;
    /**
     * The largest single buffer that the service asks of it, in bytes. What the kernel has set aside
     * for it, or has left in it, may be less.
     */
    long maxBufferBytes;
}
