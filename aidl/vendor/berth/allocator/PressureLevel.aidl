/*
 * Copyright (C) 2026 The Berth Authors
 * SPDX-License-Identifier: Apache-2.0
 */

package vendor.berth.allocator;

/** How short the machine is of memory. */
@VintfStability
@Backing(type="int")
enum PressureLevel {
    /** There is enough. */
    NORMAL = 0,
    /** It is getting scarce: give back what can be had again cheaply. */
    MODERATE = 1,
    /** Allocations are about to fail, or do: give back what is not needed now. */
    CRITICAL = 2,
}
