/*
 * Copyright (C) 2026 The Berth Authors
 * SPDX-License-Identifier: Apache-2.0
 */

package vendor.berth.allocator;

import vendor.berth.allocator.HeapInfo;
import vendor.berth.allocator.PixelFormat;

/** What the service can do on this kernel. Everything that is listed really allocates. */
@VintfStability
parcelable AllocatorCapabilities {
    /**
     * The heaps, the preferred one for buffers and images first. A heap whose driver comes or goes
     * while the service runs is added or removed.
     */
    HeapInfo[] heaps;
    /** The pixel formats that images can have. */
    PixelFormat[] formats;
    /**
     * The union of all usage bits that can be had; a descriptor with any other bit is refused.
     * PROTECTED is one of them where there is a heap of the class SECURE.
     */
    long supportedUsage;
    /**
     * The union of all bits of AllocationFlag that can be had; any other bit is refused.
     * READ_ONLY_VIEW is one of them where there is a heap of the class UDMABUF.
     */
    int supportedFlags;
    /** The kernel's page size in bytes. Buffers are whole pages. */
    int pageSizeBytes;
    /** The largest single buffer, in bytes; of one heap it may be less, see HeapInfo. */
    long maxBufferBytes;
    /** The most that one session may hold, in bytes as allocated. */
    long maxSessionBytes;
    /** The most buffers that one session may hold. */
    int maxSessionBuffers;
    /** The most sessions that one uid may have open, unless the device gives the uid a limit of its
     * own. */
    int maxSessionsPerUid;
}
