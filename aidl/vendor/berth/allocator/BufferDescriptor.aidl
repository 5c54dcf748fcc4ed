/*
 * Copyright (C) 2026 The Berth Authors
 * SPDX-License-Identifier: Apache-2.0
 */

package vendor.berth.allocator;

import vendor.berth.allocator.AllocationFlag;
import vendor.berth.allocator.AllocationOption;
import vendor.berth.allocator.BufferShape;
import vendor.berth.allocator.BufferUsage;

/** What to allocate. */
@VintfStability
@RustDerive(Clone=true, PartialEq=true)
parcelable BufferDescriptor {
    /** What it is for, for people: at most IAllocator.MAX_NAME_BYTES bytes, without control
     * characters; may be empty. Kernel, dumps and logs show it. */
    @utf8InCpp String name;
    /** The size, or the image, or the region. */
    BufferShape shape;
    /**
     * An OR of BufferUsage. An unknown bit is refused with UNSUPPORTED, PROTECTED where no heap is
     * of the class SECURE with HEAP_UNAVAILABLE.
     */
    long usage;
    /**
     * A heap's name from AllocatorCapabilities.heaps; null leaves the choice to the usage. The
     * contiguous heap answers to every name that kernels have given it: reserved, linux,cma,
     * default-pool, default_cma_region. A heap that is not on this kernel or that refuses is
     * replaced by another that suits the usage, and BufferInfo.FLAG_FALLBACK_HEAP is set, unless
     * flags has STRICT_HEAP. Always refused are a name that means no heap on any kernel
     * (HEAP_UNKNOWN) and a heap that never gives what is asked for, as a region from a dma-heap
     * (UNSUPPORTED).
     */
    @nullable @utf8InCpp String heap;
    /**
     * An OR of AllocationFlag. An unknown bit is refused with UNSUPPORTED, one that no heap here
     * can serve with HEAP_UNAVAILABLE.
     */
    int flags;
    /** What later versions add, by name; at most IAllocator.MAX_OPTIONS. An unknown name is refused
     * with UNSUPPORTED. This version knows AllocationOption.PURGE_CHUNK_BYTES. */
    AllocationOption[] options;
}
