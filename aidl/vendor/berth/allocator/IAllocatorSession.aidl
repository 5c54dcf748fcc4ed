/*
 * Copyright (C) 2026 The Berth Authors
 * SPDX-License-Identifier: Apache-2.0
 */

package vendor.berth.allocator;

import vendor.berth.allocator.Access;
import vendor.berth.allocator.AllocatedBuffer;
import vendor.berth.allocator.AllocatedBuffers;
import vendor.berth.allocator.Allocation;
import vendor.berth.allocator.Buffer;
import vendor.berth.allocator.BufferDescriptor;
import vendor.berth.allocator.BufferInfo;
import vendor.berth.allocator.BufferPool;
import vendor.berth.allocator.PoolOptions;
import vendor.berth.allocator.ReattachEntry;
import vendor.berth.allocator.ReattachResult;
import vendor.berth.allocator.SessionStats;
import vendor.berth.allocator.ShareOptions;
import vendor.berth.allocator.ShareToken;

/**
 * One client's buffers. Identity and lifetime are those of this object, so no method asks who
 * calls.
 *
 * When the session ends, the service closes its own descriptors of everything in it. The memory
 * itself goes back to the kernel when the last descriptor and the last mapping in any process are
 * gone: a buffer that somebody else acquired lives on with them.
 *
 * A dma-buf that nobody holds any more, by a descriptor or a mapping in any process, is taken back
 * after some seconds as if it had been freed, unless another session acquired it or a token for it
 * can still be used.
 *
 * Ids are positive, belong to one session and are never used again, not by a service that follows
 * this one until the machine starts anew either: what is reattached keeps its id.
 *
 * Every method but close() fails once the session has ended: a valid call with SESSION_CLOSED.
 */
@VintfStability
interface IAllocatorSession {
    /** How many requests allocateAgain and allocateOneAgain know, of each session the last. */
    const int REMEMBERED_REQUESTS = 8;

    /**
     * Allocates count buffers after one descriptor: all of them or none.
     *
     * The memory reads zero. In the kernel a memfd and ashmem have the descriptor's name, and a
     * dma-buf the first 31 bytes of it (cut at a character), where the kernel names dma-bufs.
     *
     * @param descriptor what to allocate; the same for every buffer.
     * @param count how many, 1 to IAllocator.MAX_BATCH.
     * @return the buffers, all of one heap. Each has descriptors of its own that the caller owns
     *         and closes.
     * @throws ServiceSpecificException BAD_ARGUMENT if count is out of range; BAD_DESCRIPTOR if the
     *         descriptor contradicts itself; TOO_LARGE if one buffer passes the largest size that
     *         the service or the heap gives; UNSUPPORTED for a format, usage, flag, option or layout
     *         that it does not have; HEAP_UNKNOWN if the heap's name means none; HEAP_UNAVAILABLE if
     *         the heap, or every heap that could serve, is not there; HEAP_REFUSED if it is there
     *         and gave nothing; TOO_MANY_BUFFERS, TOO_MANY_FDS or QUOTA_EXCEEDED if the session, the
     *         uid or the service would pass its limit; NO_MEMORY if the system would be left without
     *         its reserve.
     */
    Allocation allocate(in BufferDescriptor descriptor, int count);

    /**
     * Allocates more of what an earlier allocate gave, by a call that need not say again what: from
     * the heap that served then, and laid out as then (Allocation.layout). Whether the buffers of then
     * are still there does not matter.
     *
     * @param requestId the Allocation.requestId of one of the session's last REMEMBERED_REQUESTS calls
     *        of allocate.
     * @param count how many, 1 to IAllocator.MAX_BATCH.
     * @return as Allocation.buffers.
     * @throws ServiceSpecificException NOT_FOUND if the session does not remember such a request, or
     *         its heap is another since then: allocate serves it; HEAP_REFUSED if that heap gave
     *         nothing, where allocate may turn to another; and as allocate.
     */
    AllocatedBuffers allocateAgain(int requestId, int count);

    /**
     * As allocateAgain with a count of 1: the smallest call, for who allocates one at a time.
     *
     * @param requestId as for allocateAgain.
     * @return the buffer.
     * @throws ServiceSpecificException as allocateAgain.
     */
    AllocatedBuffer allocateOneAgain(int requestId);

    /**
     * Gives buffers up: all that are named or, if any of them is unknown, none. Tokens for them
     * expire, and sessions that acquired them are told by onSharedBufferGone. Descriptors and
     * mappings that processes still hold stay valid; until they are gone a dma-buf, with the memfd
     * that it is made of if there is one, counts against the limits of the uid that allocated it.
     * Where the kernel does not tell who only reads such a memfd, readers are not waited for: when
     * everybody else is gone they read zeros. A view of READ_ONLY_VIEW is always waited for.
     *
     * @param ids buffers of this session, each once; 1 to IAllocator.MAX_BATCH of them.
     * @throws ServiceSpecificException BAD_ARGUMENT if the number of ids is out of range;
     *         NOT_FOUND for an id that is not in the session or is named twice.
     */
    void free(in long[] ids);

    /**
     * A further descriptor for a buffer of this session.
     *
     * @param id the buffer.
     *        A PURGEABLE region comes without its control block: only the buffers that allocate and
     *        acquire returned can pin.
     * @param access READ_ONLY gives a descriptor that no road turns writable: of regions (of ashmem
     *         once it is sealed), and of buffers with READ_ONLY_VIEW, whose view it is. A dma-buf
     *         itself knows no weaker descriptor of the same buffer.
     * @return the buffer with new descriptors that the caller owns and closes. Layout, device and
     *         inode are those of Buffer.fd.
     * @throws ServiceSpecificException BAD_ARGUMENT if access has none of its values; NOT_FOUND if
     *         the id is not in the session; UNSUPPORTED if READ_ONLY is asked of memory that has no
     *         such descriptor, or READ_WRITE of a buffer that was acquired read-only or is sealed;
     *         TOO_MANY_FDS if the service can open no further descriptor.
     */
    Buffer get(long id, Access access);

    /**
     * Publishes a region: from now on nobody can get a writable mapping of it, by any descriptor in
     * any process, and nobody can write to it by system calls. Mappings that exist stay writable. It
     * cannot be undone; sealing again is no error.
     *
     * @param id a region that this session allocated.
     * @throws ServiceSpecificException NOT_FOUND if the id is not in the session; UNSUPPORTED if it
     *         is or has a dma-buf, which devices write, if it has REVOKE_ON_DEATH or PURGEABLE, if it was acquired
     *         from another session, or if the kernel cannot do it (Linux 5.1 and later can).
     */
    void seal(long id);

    /**
     * The buffers of this session with an id above a given one, in the order of their ids. A list
     * longer than one answer is read by calling again with the last id of the answer.
     *
     * @param afterId 0 for the first part; the last id seen for the next.
     * @return at most IAllocator.MAX_BATCH entries; empty at the end.
     */
    BufferInfo[] list(long afterId);

    /**
     * Makes a token by which a process of another uid can acquire a buffer of this session.
     *
     * @param id a buffer that this session allocated.
     * @param options who may use the token, how often, how long and with which access.
     * @return 128 random bits. Whoever knows them and runs under the uid that they are bound to can
     *         acquire the buffer: send them over a channel that you trust.
     * @throws ServiceSpecificException NOT_FOUND if the id is not in the session; BAD_ARGUMENT if
     *         uid, uses, lifetime or access are out of range; UNSUPPORTED if READ_ONLY is asked for
     *         memory that has no such descriptor, or if the buffer was itself acquired from another
     *         session; QUOTA_EXCEEDED if the session has as many open tokens as it may.
     */
    ShareToken share(long id, in ShareOptions options);

    /**
     * Takes part in a buffer that another session shares. It appears in this session under an id of
     * its own, to be freed like any other. Its memory is charged to the session that allocated it;
     * for this session and its uid it counts as one buffer more, each time that it is acquired.
     *
     * @param token what share returned to the owner.
     * @return the buffer with descriptors that the caller owns and closes.
     * @throws ServiceSpecificException BAD_TOKEN if the token is unknown, bound to another uid,
     *         used up or expired, or if its buffer is gone: the answer does not tell which;
     *         TOO_MANY_BUFFERS if the session, the uid or the service would pass its limit, or if
     *         the buffer is acquired as often as one can be; TOO_MANY_FDS if the service can open
     *         no further descriptor; QUOTA_EXCEEDED if as many sessions as can may write to a
     *         PURGEABLE region already.
     */
    Buffer acquire(in ShareToken token);

    /**
     * Gives back to the kernel what the service keeps idle of buffers that the uid of this session
     * freed, and purges all chunks of the uid's PURGEABLE regions that nobody has pinned. Nothing of
     * anybody else's is touched, and nothing else that a session holds.
     *
     * @return the bytes that were given back.
     */
    long trim();

    /**
     * What this session holds, and its limits.
     *
     * @return figures of one instant.
     */
    SessionStats getStats();

    /**
     * Ends the session; see the description of the interface. Closing a session twice is no error.
     */
    void close();

    /**
     * Gives buffers of a session whose service died back to the books: this session then holds them as
     * that one did, under their old ids. To be called on a session that the same uid opened at the
     * service that follows.
     *
     * Each entry is proven: its receipt by the key that services of one boot have in common, its
     * memory by the descriptor. Limits hold as for allocate, but for the reserve: the memory is taken
     * already. A buffer that was acquired is one of the owner's again, whichever of the two comes
     * first; until the owner comes it is charged to the uid of the first session that presents it, and
     * stays so if the owner never comes. Tokens let in as before, for what is left of them.
     *
     * What cannot be proven stays as it is with its holder, outside of the books. What no holder
     * presents is in nobody's books.
     *
     * @param entries 1 to IAllocator.MAX_BATCH of them, each by itself: those that are refused do not
     *         hinder the others.
     * @return what became of each, in their order. The errors of an entry: BAD_RECEIPT;
     *         NOT_THE_MEMORY; ALREADY_ATTACHED; OWNER_MISSING for a buffer with a second face that was
     *         acquired READ_ONLY; HEAP_UNAVAILABLE if its heap is gone; BAD_ARGUMENT for too many
     *         tokens; those of allocate for a descriptor that it would refuse or for a limit; and
     *         SESSION_CLOSED.
     * @throws ServiceSpecificException BAD_ARGUMENT if the number of entries is out of range.
     */
    ReattachResult[] reattach(in ReattachEntry[] entries);

    /**
     * Makes a pool: buffers that processes hand to each other without calling the service. Its
     * buffers are charged to this session; its pages, which count as one buffer more, to the uid
     * alone, but for their descriptors: one for each participant that there can be, and two, count
     * for both. It ends with this session or by leavePool. Its buffers are not in the session's list.
     *
     * @param descriptor what each slot is; the same for all.
     * @param options how many slots and participants.
     * @return the pool, with this session as its first participant.
     * @throws ServiceSpecificException as allocate; BAD_ARGUMENT if an option is out of range;
     *         QUOTA_EXCEEDED if the session takes part in as many pools as it may.
     */
    BufferPool createPool(in BufferDescriptor descriptor, in PoolOptions options);

    /**
     * Makes a token by which a process of another uid can join a pool that this session created.
     *
     * @param id the pool.
     * @param options who may use the token, how often, how long and with which access to the
     *        buffers; the table of the pool is written by all participants.
     * @return as share; for joinPool, not for acquire.
     * @throws ServiceSpecificException as share.
     */
    ShareToken sharePool(long id, in ShareOptions options);

    /**
     * Joins a pool of another session.
     *
     * @param token what sharePool returned to the creator.
     * @return the pool.
     * @throws ServiceSpecificException BAD_TOKEN if the token is unknown, bound to another uid, used
     *         up or expired, or if its pool is gone: the answer does not tell which; QUOTA_EXCEEDED
     *         if the session takes part in as many pools, or the pool has as many participants, as it
     *         may, which does not use the token up; TOO_MANY_FDS if the service can open no further
     *         descriptor.
     */
    BufferPool joinPool(in ShareToken token);

    /**
     * What of a pool came after an epoch: claims of participants that joined, and buffers of slots
     * that were added. To be called when the board shows another epoch than is known.
     *
     * @param id the pool.
     * @param sinceEpoch the epoch that is known; 0 for everything.
     * @return what is new, without board, table and own claims.
     * @throws ServiceSpecificException NOT_FOUND if the session takes no part in such a pool;
     *         TOO_MANY_FDS if the service can open no further descriptor.
     */
    BufferPool updatePool(long id, int sinceEpoch);

    /**
     * Gives a pool more slots or fewer. Of slots that are taken away the free ones go at once, the
     * others when they are free again. New slots are charged to this session.
     *
     * @param id a pool that this session created.
     * @param slots how many there are to be, 1 to PoolOptions.MAX_SLOTS.
     * @throws ServiceSpecificException NOT_FOUND if the session takes no part in such a pool;
     *         BAD_ARGUMENT if slots is out of range; UNSUPPORTED if another session created it;
     *         as allocate for new slots, of which then none is added.
     */
    void resizePool(long id, int slots);

    /**
     * Puts the table of a pool right where it contradicts what the participants claim, and takes away
     * slots that are to go and are free. What a participant may be about to finish is only noted, and
     * put right by a call at least 50 ms later.
     *
     * @param id the pool.
     * @return how many slots were put right.
     * @throws ServiceSpecificException NOT_FOUND if the session takes no part in such a pool.
     */
    int restorePool(long id);

    /**
     * Leaves a pool. What this participant holds is free from then on, what it submitted stays. If
     * this session created the pool, it ends for all: whoever waits is told, descriptors and mappings
     * stay valid, and the buffers are given up as by free.
     *
     * @param id the pool.
     * @throws ServiceSpecificException NOT_FOUND if the session takes no part in such a pool.
     */
    void leavePool(long id);
}
