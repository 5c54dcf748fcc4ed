/*
 * Copyright (C) 2026 The Berth Authors
 * SPDX-License-Identifier: Apache-2.0
 */

package vendor.berth.allocator;

/** What the holder of a descriptor may do with the memory. */
@VintfStability
@Backing(type="int")
enum Access {
    /** Read and write. */
    READ_WRITE = 0,
    /**
     * Read only: neither a mapping nor a re-opened descriptor can be made writable. Before Linux
     * 6.13 (and the stable releases that have the same fix) this holds for those who may not open
     * /dev/udmabuf, which makes a dma-buf of any memfd whose size is sealed: on a device nobody but
     * the service may.
     */
    READ_ONLY = 1,
}
