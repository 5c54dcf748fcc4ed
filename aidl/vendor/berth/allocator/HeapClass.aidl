/*
 * Copyright (C) 2026 The Berth Authors
 * SPDX-License-Identifier: Apache-2.0
 */

package vendor.berth.allocator;

/** What kind of memory a heap gives. */
@VintfStability
@Backing(type="int")
enum HeapClass {
    /**
     * dma-buf from the kernel's system heap: pages that need not be contiguous, cached by the CPU.
     */
    SYSTEM = 0,
    /** Sealed memfd: memory shared by CPUs only, no dma-buf. It serves regions and, on a host
     * without any dma-heap, buffers and images too. */
    SHMEM = 1,
}
