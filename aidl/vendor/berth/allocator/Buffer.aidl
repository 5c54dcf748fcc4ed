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
     */
    @nullable ParcelFileDescriptor secondFd;
}
