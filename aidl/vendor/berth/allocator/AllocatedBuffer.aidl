/*
 * Copyright (C) 2026 The Berth Authors
 * SPDX-License-Identifier: Apache-2.0
 */

package vendor.berth.allocator;

/**
 * A buffer of a request that was made before: what is its own. What a BufferInfo says besides is what
 * was asked for, and what fstat tells of fd, or of ashmem fdinfo (BufferInfo.device).
 */
@VintfStability
parcelable AllocatedBuffer {
    /** The id in the session. */
    long id;
    /** An OR of the FLAG_ constants of BufferInfo. */
    int flags;
    /** As Buffer.fd, to read and write: close-on-exec, owned and closed by the receiver. */
    ParcelFileDescriptor fd;
    /** As Buffer.secondFd: owned and closed by the receiver; null if there is no other face. The
     * session pins a PURGEABLE region as pinner 0. */
    @nullable ParcelFileDescriptor secondFd;
    /** As BufferInfo.receipt. */
    long receipt;
}
