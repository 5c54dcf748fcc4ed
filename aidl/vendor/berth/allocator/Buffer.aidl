/*
 * Copyright (C) 2026 The Berth Authors
 * SPDX-License-Identifier: Apache-2.0
 */

package vendor.berth.allocator;

import vendor.berth.allocator.BufferInfo;

/** A buffer and a way to its memory. */
@VintfStability
parcelable Buffer {
    /** What it is. */
    BufferInfo info;
    /**
     * A descriptor of the memory, close-on-exec. The receiver owns it and closes it; the buffer
     * stays in the session until it is freed.
     */
    ParcelFileDescriptor fd;
    /**
     * Another face of the same pages, close-on-exec, owned and closed by the receiver like fd. For
     * a buffer or an image with READ_ONLY_VIEW: a memfd that can only be read. For a region of a
     * heap of the class UDMABUF: a dma-buf. Otherwise, and where info.access is READ_ONLY, null.
     *
     * For a PURGEABLE region that the session allocated or acquired to write: no face, but the
     * control block, a memfd of one 32-bit word, in the order of the machine's bytes, for each chunk.
     * A word is changed only by atomic compare-and-swap. Bits 31 and 30 say what the chunk is: 0
     * empty; 1 pinned, bit n of bits 15 to 0 by the session with pinner n; 2 unpinned, bits 28 to 26
     * being its priority (the lowest goes first) and bits 25 to 0 when it was unpinned
     * (CLOCK_MONOTONIC_COARSE in units of 2^23 ns); 3 being purged, which nobody but the service sets
     * and ends, waking whoever waits for the word by futex(2). Bit 29, of the states 1 and 2, says that
     * the contents are whole: it is set by whoever pinned the chunk and wrote it, and a pin of a chunk
     * without it finds contents that are gone. A session that ends loses its pins; one that acquired the
     * region and came back to a restarted service (reattach) leaves them until the region is gone.
     *
     * A session that may only read the region has no block and cannot pin: it reads what is there,
     * and zeros where a chunk was purged, at any moment.
     */
    @nullable ParcelFileDescriptor secondFd;
    /** Of a PURGEABLE region with secondFd: the bit by which this session pins, 0 to 15; 0 is that
     * of the session that allocated it. Otherwise 0. */
    int pinner;
}
