/*
 * Copyright (C) 2026 The Berth Authors
 * SPDX-License-Identifier: Apache-2.0
 */

package vendor.berth.allocator;

/**
 * Component types with the values of android.hardware.graphics.common.PlaneLayoutComponentType,
 * and two of our own for which it has none: D and S.
 */
@VintfStability
@Backing(type="long")
enum PlaneComponentType {
    /** Luma. */
    Y = 1 << 0,
    /** Chroma, blue. */
    CB = 1 << 1,
    /** Chroma, red. */
    CR = 1 << 2,
    /** Red. */
    R = 1 << 10,
    /** Green. */
    G = 1 << 11,
    /** Blue. */
    B = 1 << 12,
    /** Raw sensor data or bytes. */
    RAW = 1 << 20,
    /** Depth; ours. */
    D = 1 << 21,
    /** Stencil; ours. */
    S = 1 << 22,
    /** Alpha. */
    A = 1 << 30,
}
