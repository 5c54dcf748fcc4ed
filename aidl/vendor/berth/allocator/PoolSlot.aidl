/*
 * Copyright (C) 2026 The Berth Authors
 * SPDX-License-Identifier: Apache-2.0
 */

package vendor.berth.allocator;

import vendor.berth.allocator.Buffer;

/** A slot of a pool. */
@VintfStability
parcelable PoolSlot {
    /** Its number, 0 to PoolOptions.MAX_SLOTS - 1. */
    int slot;
    /**
     * Its buffer. The id in it means nothing in any session: the buffer belongs to the pool.
     */
    Buffer buffer;
}
