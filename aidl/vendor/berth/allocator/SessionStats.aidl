/*
 * Copyright (C) 2026 The Berth Authors
 * SPDX-License-Identifier: Apache-2.0
 */

package vendor.berth.allocator;

/** What a session holds, and may. */
@VintfStability
parcelable SessionStats {
    /** Buffers that this session allocated and has not freed. */
    int buffers;
    /** Their bytes, as allocated. */
    long bytes;
    /** Buffers that it acquired from others and has not freed; their bytes are charged to their
     * owners. */
    int acquired;
    /** The most that buffers and acquired may be together. */
    int maxBuffers;
    /** The most that bytes may be. */
    long maxBytes;
}
