/*
 * Copyright (C) 2026 The Berth Authors
 * SPDX-License-Identifier: Apache-2.0
 */

package vendor.berth.allocator;

/**
 * Bytes of any number as an argument of any interface: few go in the message, many in a region of
 * which only a descriptor goes. IAllocator itself takes none; the client library makes and reads them.
 *
 * Whoever receives one from a peer that is not trusted looks at the descriptor before it looks at the
 * bytes: that it is a memfd or an ashmem region, that it really has as many bytes, and that the memfd
 * is sealed against shrinking. Bytes of a memfd that is sealed against writing too change no more; any
 * others may change while they are read.
 */
@VintfStability
parcelable Payload {
    /** The bytes, if region is null; otherwise empty. */
    byte[] inlineBytes;
    /**
     * Where the bytes are, if they are not in inlineBytes: a memfd with F_SEAL_SHRINK, or an ashmem
     * region; to be mapped to read. The receiver owns and closes it. The memory lives as long as
     * somebody has a descriptor or a mapping of it, whatever becomes of the sender.
     */
    @nullable ParcelFileDescriptor region;
    /** From the start of the region to the first of the bytes; 0 without a region. */
    long offsetBytes;
    /** How many bytes of the region they are, 1 or more; 0 without a region. */
    long lengthBytes;
    /**
     * The writing end of a pipe, if the sender means to use the region again: it may write other bytes
     * there as soon as every copy of this descriptor is closed, and not before. The receiver owns it
     * and keeps it as long as it reads. Null if the sender does not touch the region any more.
     */
    @nullable ParcelFileDescriptor lease;
}
