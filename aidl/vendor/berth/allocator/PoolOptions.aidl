/*
 * Copyright (C) 2026 The Berth Authors
 * SPDX-License-Identifier: Apache-2.0
 */

package vendor.berth.allocator;

/** How large a pool is to be. */
@VintfStability
parcelable PoolOptions {
    /** The most slots of a pool: the claims of a participant are one word. */
    const int MAX_SLOTS = 32;
    /** The most participants that a pool can have at a time. */
    const int MAX_PARTICIPANTS = 16;
    /** The most pools that one session can take part in, its own included. */
    const int MAX_POOLS = 64;

    /** How many slots, each with a buffer of its own; 1 to MAX_SLOTS. */
    int slots = 4;
    /** How many participants at a time, whoever creates it included; 1 to MAX_PARTICIPANTS. */
    int maxParticipants = 4;
    /**
     * How many slots one participant can hold at a time, 1 to MAX_SLOTS; it bounds what a hostile or
     * stopped one keeps from the others. 0 leaves it at MAX_SLOTS.
     */
    int maxHeld = 0;
}
