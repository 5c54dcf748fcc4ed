/*
 * Copyright (C) 2026 The Berth Authors
 * SPDX-License-Identifier: Apache-2.0
 */

package vendor.berth.allocator;

import vendor.berth.allocator.PlaneComponentType;

/**
 * A part of a sample, with the meanings of android.hardware.graphics.common.PlaneLayoutComponent.
 */
@VintfStability
@RustDerive(Clone=true, PartialEq=true)
parcelable PlaneComponent {
    /** What it measures. */
    PlaneComponentType type = PlaneComponentType.Y;
    /** From the start of the plane to the first such component, in bits. */
    long offsetInBits;
    /** How many bits; -1 where they do not lie together (RAW10, RAW12). */
    long sizeInBits;
}
