/*
 * Copyright (C) 2026 The Berth Authors
 * SPDX-License-Identifier: Apache-2.0
 */

package vendor.berth.allocator;

import vendor.berth.allocator.PlaneComponent;

/** One plane of an image, with the meanings of android.hardware.graphics.common.PlaneLayout. */
@VintfStability
@RustDerive(Clone=true, PartialEq=true)
parcelable PlaneLayout {
    /** What a sample holds. */
    PlaneComponent[] components;
    /** From the start of the layer to the first sample, in bytes. */
    long offsetInBytes;
    /**
     * From one sample to the next in a row, in bits; 0 where samples are packed with no fixed
     * distance.
     */
    long sampleIncrementInBits;
    /** From one row to the next, in bytes. */
    long strideInBytes;
    /** Samples in a row. */
    long widthInSamples;
    /** Rows. */
    long heightInSamples;
    /** The bytes of the plane, rows with their padding. */
    long totalSizeInBytes;
    /** Pixels per sample along a row. */
    long horizontalSubsampling;
    /** Pixels per sample down a column. */
    long verticalSubsampling;
}
