/*
 * Copyright (C) 2026 The Berth Authors
 * SPDX-License-Identifier: Apache-2.0
 */

package vendor.berth.allocator;

/** A named wish, as in Gralloc's additional options: how later versions extend a descriptor. */
@VintfStability
@RustDerive(Clone=true, PartialEq=true)
parcelable AllocationOption {
    /**
     * With AllocationFlag.PURGEABLE: bytes of a chunk, that which is pinned, unpinned and purged at
     * once. A multiple of the page size, up to MAX_PURGE_CHUNK_BYTES; DEFAULT_PURGE_CHUNK_BYTES
     * without the option. A region has at most MAX_PURGE_CHUNKS of them, and so have all regions of
     * a uid together.
     */
    const @utf8InCpp String PURGE_CHUNK_BYTES = "purge-chunk-bytes";
    /** Bytes of a chunk of a purgeable region where nothing else is asked for. */
    const int DEFAULT_PURGE_CHUNK_BYTES = 65536;
    /** The largest chunk of a purgeable region, in bytes. */
    const int MAX_PURGE_CHUNK_BYTES = 16777216;
    /** The most chunks of all purgeable regions of one uid. */
    const int MAX_PURGE_CHUNKS = 65536;

    /** The option's name. */
    @utf8InCpp String name;
    /** Its value; the option says what it means. */
    long value;
}
