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
    /** The largest single buffer it gives, in bytes. */
    long maxBufferBytes;
}
