/*
 * Copyright (C) 2026 The Berth Authors
 * SPDX-License-Identifier: Apache-2.0
 */

package vendor.berth.allocator;

/** The page on which a participant of a pool says what it holds. */
@VintfStability
parcelable PoolClaims {
    /** The participant, 0 or more. */
    int participant;
    /**
     * A memfd of 8192 bytes, close-on-exec, owned and closed by the receiver. Only that participant
     * has a descriptor that writes; this one reads.
     */
    ParcelFileDescriptor fd;
}
