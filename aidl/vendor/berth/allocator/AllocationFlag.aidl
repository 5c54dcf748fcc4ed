/*
 * Copyright (C) 2026 The Berth Authors
 * SPDX-License-Identifier: Apache-2.0
 */

package vendor.berth.allocator;

/**
 * What a client wishes of an allocation beyond its usage: the bits of BufferDescriptor.flags.
 * Usage says who touches the memory and has Gralloc's values; these are Berth's own.
 */
@VintfStability
@Backing(type="int")
enum AllocationFlag {
    /**
     * No fallback: the heap that is named, or one of the kind that the usage asks for; otherwise
     * the allocation fails.
     */
    STRICT_HEAP = 1 << 0,
    /**
     * A dma-buf for those who write and, as Buffer.secondFd, a memfd of the same pages that can only
     * be read, by any road and for ever. Readers see what devices and the CPU write through the
     * dma-buf. For buffers and images, not for regions; only heaps of the class UDMABUF have it.
     */
    READ_ONLY_VIEW = 1 << 1,
    /**
     * Fresh memory from the kernel, and back to the kernel as soon as it is given up: neither was it
     * another buffer's, nor will it be. Without it a dma-buf may be one that another uid had. Nobody
     * sees anything of its contents, but whoever once put that dma-buf into an epoll set is told on
     * when devices are done with it, which no later owner can end.
     */
    NO_POOL = 1 << 2,
    /**
     * The contents go when the session that allocated them ends, however it ends: whoever maps the
     * memory then reads zeros, and its pages are the kernel's again. For regions, which are then
     * memfds and cannot be sealed. Otherwise memory stays with those who hold it. Only a session that
     * ends while there is no service, and is not there again afterwards, takes nothing along: the
     * service that follows cannot tell its end from an owner who comes late.
     */
    REVOKE_ON_DEATH = 1 << 3,
    /**
     * A region whose contents may go when memory is short, chunk by chunk, where nobody has them
     * pinned: for caches, of which it is cheaper to make something again than to keep all. Clients
     * pin and unpin without a call, by the region's control block: see Buffer.secondFd. The option
     * AllocationOption.PURGE_CHUNK_BYTES says how large a chunk is. Such a region cannot be sealed,
     * is of a heap of the class SHMEM, is in no pool, and has neither READ_ONLY_VIEW nor
     * REVOKE_ON_DEATH.
     *
     * On a heap of ashmem the kernel purges by itself, and the client pins by ashmem's own ioctls;
     * there is no control block, and only the session that allocated the region should pin.
     */
    PURGEABLE = 1 << 4,
}
