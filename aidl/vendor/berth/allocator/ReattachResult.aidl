/*
 * Copyright (C) 2026 The Berth Authors
 * SPDX-License-Identifier: Apache-2.0
 */

package vendor.berth.allocator;

/** What became of one ReattachEntry. */
@VintfStability
parcelable ReattachResult {
    /** 0 if the buffer is in the session, under its old id; else a value of AllocatorError. */
    int error;
    /** Why it is not; empty if it is. */
    @utf8InCpp String message;
    /** How many of the entry's tokens can be used again; those that cannot have expired or are none. */
    int tokens;
}
