/*
 * Copyright (C) 2026 The Berth Authors
 * SPDX-License-Identifier: Apache-2.0
 */

package vendor.berth.allocator;

/** A named wish, as in Gralloc's additional options: how later versions extend a descriptor. */
@VintfStability
@RustDerive(Clone=true, PartialEq=true)
parcelable AllocationOption {
    /** The option's name. */
    @utf8InCpp String name;
    /** Its value; the option says what it means. */
    long value;
}
