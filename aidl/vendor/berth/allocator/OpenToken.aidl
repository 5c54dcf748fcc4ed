/*
 * Copyright (C) 2026 The Berth Authors
 * SPDX-License-Identifier: Apache-2.0
 */

package vendor.berth.allocator;

import vendor.berth.allocator.ShareOptions;
import vendor.berth.allocator.ShareToken;

/** A token that a former service gave out. */
@VintfStability
parcelable OpenToken {
    /** What share returned. */
    ShareToken token;
    /**
     * What share was given, with lifetimeMillis as what is left of it. Uses are those of the
     * beginning: the service subtracts one for each session that acquired by this token and presents
     * the buffer again.
     */
    ShareOptions options;
}
