/*
 * Copyright (C) 2026 The Berth Authors
 * SPDX-License-Identifier: Apache-2.0
 */

package vendor.berth.allocator;

import vendor.berth.allocator.Access;

/** What a token permits. */
@VintfStability
parcelable ShareOptions {
    /** The most uses that a token can have. */
    const int MAX_USES = 64;
    /** The longest life of a token, in milliseconds: one hour. */
    const long MAX_LIFETIME_MILLIS = 3600000;

    /** The uid that may use the token, as the kernel reports it; 0 or more. */
    int recipientUid;
    /** How often it may be used, 1 to MAX_USES. */
    int uses = 1;
    /** How long it may be used, in milliseconds from now, 1 to MAX_LIFETIME_MILLIS. */
    long lifetimeMillis = 10000;
    /** The access that acquire gives; READ_ONLY in any case if the region is sealed by then. */
    Access access = Access.READ_WRITE;
}
