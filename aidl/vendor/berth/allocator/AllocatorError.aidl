/*
 * Copyright (C) 2026 The Berth Authors
 * SPDX-License-Identifier: Apache-2.0
 */

package vendor.berth.allocator;

/**
 * The service-specific error codes. Each comes with a message that names the value and the limit.
 */
@VintfStability
@Backing(type="int")
enum AllocatorError {
    /**
     * The descriptor is none: a size below 1, a name that is no name, a shape not given, more
     * options than may be.
     */
    BAD_DESCRIPTOR = 1,
    /** Another argument is out of its range. */
    BAD_ARGUMENT = 2,
    /** One buffer would pass the largest size that the service, or the heap, ever gives. */
    TOO_LARGE = 3,
    /**
     * A format, usage, flag, option, layout or access that the service does not have, or not
     * together, or not of this memory.
     */
    UNSUPPORTED = 4,
    /** The system has too little memory left, or the kernel had none. */
    NO_MEMORY = 5,
    /** The session, the uid or the service would pass its limit. */
    QUOTA_EXCEEDED = 6,
    /**
     * The session, the uid or the service holds as many buffers as it may, acquired ones included, or
     * a buffer is acquired as often as one can be.
     */
    TOO_MANY_BUFFERS = 7,
    /**
     * The service keeps as many descriptors as it may for the session, the uid or all, or can open no
     * further one.
     */
    TOO_MANY_FDS = 8,
    /** The uid or the service has as many sessions as it may. */
    TOO_MANY_SESSIONS = 9,
    /** The name in BufferDescriptor.heap means no heap, on this kernel or another. */
    HEAP_UNKNOWN = 10,
    /** The heap that was named, or every heap that could serve, is not on this kernel. */
    HEAP_UNAVAILABLE = 11,
    /** Each heap that could serve is there and refused: its area is full or its driver failed. */
    HEAP_REFUSED = 12,
    /** No such buffer in this session. */
    NOT_FOUND = 13,
    /** The token opens nothing for this caller. */
    BAD_TOKEN = 14,
    /** The session has ended. */
    SESSION_CLOSED = 15,
    /** The service failed in a way that it cannot put down to the request; its log says more. */
    INTERNAL = 16,
    /**
     * The receipt is none of this service or of one before it, or not for what it came with: another
     * uid, another buffer, another word in the description.
     */
    BAD_RECEIPT = 17,
    /**
     * The descriptor stands for other memory than the description says, or for none: its kind, size,
     * identity, seals or access differ.
     */
    NOT_THE_MEMORY = 18,
    /** The buffer, or its memory as a later buffer, is in the books of the service already. */
    ALREADY_ATTACHED = 19,
    /**
     * The buffer can only be taken part in, and its owner has not presented it yet. It may be
     * presented again later.
     */
    OWNER_MISSING = 20,
}
