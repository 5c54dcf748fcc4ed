/*
 * Copyright (C) 2026 The Berth Authors
 * SPDX-License-Identifier: Apache-2.0
 */

package vendor.berth.allocator;

/** A right to acquire one buffer or to join one pool: 128 random bits. Treat it as a secret. */
@VintfStability
parcelable ShareToken {
    /** The bits. */
    byte[16] value;
}
