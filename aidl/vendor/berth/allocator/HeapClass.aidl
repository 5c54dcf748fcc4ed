/*
 * Copyright (C) 2026 The Berth Authors
 * SPDX-License-Identifier: Apache-2.0
 */

package vendor.berth.allocator;

/** What kind of memory a heap gives, whatever its name is on this kernel. */
@VintfStability
@Backing(type="int")
enum HeapClass {
    /** dma-buf of pages that need not be contiguous, cached by the CPU. */
    SYSTEM = 0,
    /** As SYSTEM, not cached by the CPU. */
    SYSTEM_UNCACHED = 1,
    /** dma-buf of contiguous memory, as from the kernel's contiguous memory allocator. */
    CONTIGUOUS = 2,
    /** dma-buf of memory that the CPU cannot reach. It serves PROTECTED usage and nothing else. */
    SECURE = 3,
    /**
     * Sealed memfd or ashmem: memory shared by CPUs only, no dma-buf. It serves regions; buffers
     * and images too if it is asked for by name, or where no heap of dma-bufs serves.
     */
    SHMEM = 4,
    /**
     * dma-buf made of a sealed memfd: one memory with two faces. It serves READ_ONLY_VIEW, regions
     * by name only, and whatever the device lets it serve.
     */
    UDMABUF = 5,
    /** dma-buf of a heap that only the device's vendor knows; by name only. */
    VENDOR = 6,
}
