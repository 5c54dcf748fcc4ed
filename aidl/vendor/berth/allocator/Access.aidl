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
    /** Read only: neither a mapping nor a re-opened descriptor can be made writable. */
    READ_ONLY = 1,
}
