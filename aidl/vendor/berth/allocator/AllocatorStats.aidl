/*
 * Copyright (C) 2026 The Berth Authors
 * SPDX-License-Identifier: Apache-2.0
 */

package vendor.berth.allocator;

/** What the service holds. */
@VintfStability
parcelable AllocatorStats {
    /** Open sessions. */
    int sessions;
    /** Live buffers, each counted once, with its owner. */
    int buffers;
    /** Bytes of the live buffers, as allocated. */
    long bytes;
    /** Share tokens that can still be used. */
    int tokens;
    /** Buffers that were allocated since the service started. */
    long allocatedBuffers;
    /** Calls that were refused since the service started. */
    long refusals;
    /**
     * Sessions that ended without close since the service started: their clients died or released
     * the session object. Which of the two the kernel reports first is chance, so they are not told
     * apart.
     */
    long abandonedSessions;
}
