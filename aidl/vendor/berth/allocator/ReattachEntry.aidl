/*
 * Copyright (C) 2026 The Berth Authors
 * SPDX-License-Identifier: Apache-2.0
 */

package vendor.berth.allocator;

import vendor.berth.allocator.AllocationOption;
import vendor.berth.allocator.BufferInfo;
import vendor.berth.allocator.OpenToken;
import vendor.berth.allocator.ShareToken;

/** A buffer of a session whose service died, as its holder presents it to the next service. */
@VintfStability
parcelable ReattachEntry {
    /**
     * What the former service said of the buffer when it handed it out, unchanged. FLAG_SEALED is not
     * looked at: the kernel tells.
     */
    BufferInfo info;
    /**
     * The descriptor that came with it, or a duplicate, with no less access. The service keeps a
     * duplicate of its own.
     */
    ParcelFileDescriptor fd;
    /** The second descriptor that came with it; null if there was none. */
    @nullable ParcelFileDescriptor secondFd;
    /** For a buffer that was acquired: the token that it was acquired by, used up or not; else null. */
    @nullable ShareToken acquiredBy;
    /**
     * For a buffer that the session had allocated: tokens for it that may still be used; else empty.
     * At most IAllocator.MAX_BATCH.
     */
    OpenToken[] tokens;
    /** What later versions add, by name; an unknown name is refused with UNSUPPORTED. This version
     * knows none. */
    AllocationOption[] options;
}
