/*
 * Copyright (C) 2026 The Berth Authors
 * SPDX-License-Identifier: Apache-2.0
 */

package vendor.berth.allocator;

/**
 * The buffers of one call: of each what an AllocatedBuffer says of one. Arrays, as writing a parcelable
 * for each would be more than half of the service's own work.
 */
@VintfStability
parcelable AllocatedBuffers {
    /** The id of the first in the session; the others have the ids that follow it. */
    long firstId;
    /** As AllocatedBuffer.flags, of each. */
    int[] flags;
    /** As AllocatedBuffer.fd, of each: as many as were asked for. */
    ParcelFileDescriptor[] fds;
    /** As AllocatedBuffer.secondFd, of each; empty if they have no other face. */
    ParcelFileDescriptor[] secondFds;
    /** As AllocatedBuffer.receipt, of each. */
    long[] receipts;
}
