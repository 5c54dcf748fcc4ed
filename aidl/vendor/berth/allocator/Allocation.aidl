/*
 * Copyright (C) 2026 The Berth Authors
 * SPDX-License-Identifier: Apache-2.0
 */

package vendor.berth.allocator;

import vendor.berth.allocator.AllocatedBuffers;
import vendor.berth.allocator.BufferLayout;

/**
 * The answer to IAllocatorSession.allocate. What all buffers of one allocation have in common is
 * said once: they come from one heap.
 */
@VintfStability
parcelable Allocation {
    /** Where the bytes are in each of them. */
    BufferLayout layout;
    /** What is each one's own. */
    AllocatedBuffers buffers;
    /**
     * The number by which IAllocatorSession.allocateAgain gives more of them; 0 if it does not, as a
     * heap that suits better refused this time and may serve the next.
     */
    int requestId;
}
