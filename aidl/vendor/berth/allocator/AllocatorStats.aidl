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
    /**
     * Buffers that were freed, or whose session ended, and that somebody still holds by a descriptor
     * or a mapping. They count against the limits of the uid that allocated them.
     */
    int lingeringBuffers;
    /** Bytes of the lingering buffers, as allocated. */
    long lingeringBytes;
    /** Buffers that nobody holds and that are kept to be used again. */
    int idleBuffers;
    /** Of the idle buffers, those that are cleared and can be handed out. */
    int clearedBuffers;
    /** Bytes of the idle buffers. */
    long idleBytes;
    /** Bytes of PURGEABLE regions, whatever is in them and whoever pins it; those of ashmem not
     * included. */
    long purgeableBytes;
    /** Bytes of their chunks that were purged since the service started. */
    long purgedBytes;
    /** Share tokens that can still be used. */
    int tokens;
    /** Pools. Their buffers are among the buffers, and the pages of each count as one more. */
    int pools;
    /** Buffers that were allocated since the service started. */
    long allocatedBuffers;
    /** Of those, buffers that had been others' before and were cleared. */
    long recycledBuffers;
    /**
     * Buffers that were taken back since the service started because nobody held them any more,
     * although their session had not freed them.
     */
    long abandonedBuffers;
    /** Calls that were refused since the service started. */
    long refusals;
    /**
     * Sessions that ended without close since the service started: their clients died or released
     * the session object. Which of the two the kernel reports first is chance, so they are not told
     * apart.
     */
    long abandonedSessions;
}
