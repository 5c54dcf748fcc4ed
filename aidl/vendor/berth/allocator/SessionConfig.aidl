/*
 * Copyright (C) 2026 The Berth Authors
 * SPDX-License-Identifier: Apache-2.0
 */

package vendor.berth.allocator;

/** How a session is opened. */
@VintfStability
parcelable SessionConfig {
    /** Who the client is, for dumps and logs: at most IAllocator.MAX_NAME_BYTES bytes, without
     * control characters; may be empty. It gives no rights. */
    @utf8InCpp String name;
    /**
     * The most bytes, as allocated, that the session may hold: a limit of the client's own, 1 to
     * AllocatorCapabilities.maxSessionBytes, or 0 for that.
     */
    long maxBytes;
    /**
     * The most buffers that the session may hold, 1 to AllocatorCapabilities.maxSessionBuffers, or 0
     * for that.
     */
    int maxBuffers;
}
