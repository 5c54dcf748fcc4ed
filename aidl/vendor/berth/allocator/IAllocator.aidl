/*
 * Copyright (C) 2026 The Berth Authors
 * SPDX-License-Identifier: Apache-2.0
 */

package vendor.berth.allocator;

import vendor.berth.allocator.AllocatorCapabilities;
import vendor.berth.allocator.AllocatorStats;
import vendor.berth.allocator.BufferDescriptor;
import vendor.berth.allocator.IAllocatorCallback;
import vendor.berth.allocator.IAllocatorSession;
import vendor.berth.allocator.SessionConfig;

/**
 * The memory allocator of the vendor partition: dma-buf buffers from dma-heaps and shared-memory
 * regions, with an owner, a limit and an end for each.
 *
 * One instance is registered, vendor.berth.allocator.IAllocator/default. It holds nothing for its
 * callers: whatever a client owns belongs to an IAllocatorSession that it opened here.
 *
 * Errors of every method are service-specific with a value of AllocatorError and a message that
 * names the value and the limit. Any other exception means that the call did not reach the service
 * or that its answer did not come back.
 */
@VintfStability
interface IAllocator {
    /** The most buffers that one call of IAllocatorSession.allocate returns. */
    const int MAX_BATCH = 64;

    /** The longest name of a buffer or a session, in bytes of UTF-8. */
    const int MAX_NAME_BYTES = 127;

    /** The most entries of BufferDescriptor.options. */
    const int MAX_OPTIONS = 16;

    /**
     * What this service can allocate on the kernel that it runs on, and its limits.
     *
     * @return heaps, pixel formats, usage bits, flags and limits; constant but for the heaps and
     *         for the usage and flags that some of them serve.
     */
    AllocatorCapabilities getCapabilities();

    /**
     * Whether the service can ever satisfy a descriptor. It judges the request alone, not the
     * memory that is free or the caller's quota: false means never on the heaps that are there, so
     * the answer may be kept for as long as getCapabilities lists the same heaps.
     *
     * @param descriptor what would be allocated.
     * @return false exactly when allocate would always fail, with BAD_DESCRIPTOR, TOO_LARGE,
     *         UNSUPPORTED, HEAP_UNKNOWN or HEAP_UNAVAILABLE.
     */
    boolean isSupported(in BufferDescriptor descriptor);

    /**
     * Opens a session: the owner of what a client allocates. It ends by its close(), by the release
     * of the last reference to it, or by the death of the callback's process, whichever comes
     * first.
     *
     * @param config the session's name and limits.
     * @param callback the client's death token and the receiver of notices. The service keeps a
     *         reference for as long as the session lives and never waits for it.
     * @return the session, for the caller's use; it may be handed to another process.
     * @throws ServiceSpecificException BAD_ARGUMENT if the name is too long or holds control
     *         characters, if a limit is negative or above the service's, or if the callback is
     *         already dead; TOO_MANY_SESSIONS if the caller's uid or
     *         the service has as many sessions as it may.
     */
    IAllocatorSession openSession(in SessionConfig config, in IAllocatorCallback callback);

    /**
     * What the service holds at this moment, over all sessions.
     *
     * @return totals; each is exact, but they are not taken at one instant.
     */
    AllocatorStats getStats();
}
