/*
 * Copyright (C) 2026 The Berth Authors
 * SPDX-License-Identifier: Apache-2.0
 */

package vendor.berth.allocator;

import vendor.berth.allocator.Access;
import vendor.berth.allocator.BufferDescriptor;
import vendor.berth.allocator.BufferLayout;

/** What a buffer is. Everything that was asked for can be read back. */
@VintfStability
@RustDerive(Clone=true, PartialEq=true)
parcelable BufferInfo {
    /** In flags: the memory was zero when it was handed to its first owner. */
    const int FLAG_ZEROED = 1 << 0;
    /**
     * In flags: another heap served than the one that was named, or one of another kind than the
     * usage asks for, as a memfd for an image on a host without dma-heaps.
     */
    const int FLAG_FALLBACK_HEAP = 1 << 1;
    /** In flags: acquired from another session, to which it is charged. */
    const int FLAG_ACQUIRED = 1 << 2;
    /** In flags: sealed by IAllocatorSession.seal. */
    const int FLAG_SEALED = 1 << 3;
    /** In flags: the memory had been another buffer's and was cleared. */
    const int FLAG_RECYCLED = 1 << 4;
    /**
     * In flags: acquired, and given up since by the session that allocated it, as
     * IAllocatorCallback.onSharedBufferGone tells.
     */
    const int FLAG_GIVEN_UP = 1 << 5;

    /** The id in this session. */
    long id;
    /** What was asked for. */
    BufferDescriptor request;
    /** Where its bytes are. */
    BufferLayout layout;
    /**
     * With inode, the identity of the memory, as /proc/PID/maps shows it of every mapping: st_dev as
     * fstat gives it for every descriptor of it. For ashmem, whose descriptors all have the st_dev
     * and st_ino of one device node, that of the memory behind it, whose inode fdinfo shows; both
     * are 0 where the kernel does not (before Linux 4.20).
     */
    long device;
    /** st_ino as fstat gives it; of ashmem see above. */
    long inode;
    /** An OR of the FLAG_ constants. */
    int flags;
    /**
     * What the descriptor that came with this, or else the session, may do with the memory.
     */
    Access access = Access.READ_WRITE;
    /** The id that it has in the session that allocated it: another than id if it was acquired. */
    long ownerId;
    /**
     * The service's seal under all of this but FLAG_SEALED and access, for the uid of this session:
     * with it and a descriptor the buffer can be given back to the books of a service that was
     * started again, see IAllocatorSession.reattach. 0 if it cannot. Nobody else can use it.
     */
    long receipt;
}
