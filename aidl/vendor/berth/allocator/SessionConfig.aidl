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
}
