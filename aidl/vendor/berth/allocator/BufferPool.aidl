/*
 * Copyright (C) 2026 The Berth Authors
 * SPDX-License-Identifier: Apache-2.0
 */

package vendor.berth.allocator;

import vendor.berth.allocator.PoolClaims;
import vendor.berth.allocator.PoolSlot;

/**
 * A session's part in a pool: what it needs to acquire, fill, take and release slots without the
 * service.
 *
 * The pages have this layout. All words have 32 bits in the machine's byte order unless said
 * otherwise; offsets are in bytes. A slot that is filled waits in one of three queues, the stages of a
 * pipeline, numbered from 0.
 *
 * The board, 4096 bytes, is written by the service: 0 the letters BPL1; 4 the epoch; 8 not 0 when the
 * pool is closed; 12 a bit for each participant; 16 a bit for each slot; 20 a bit for each slot that
 * is to go when nobody has it; 24 how many slots a participant can hold.
 *
 * The table, 4096 bytes, is written by everybody: 0 the futex that waiters for free slots sleep on,
 * 64 that of waiters for filled ones, each counted up and woken when there may be one; 128 the next
 * ticket; from 256 on a word of 64 bits for each slot: bits 0-1 its state (0 free, 1 held, 2 filled, 3
 * none), 2-5 a participant, 6-7 a queue, 8-31 a generation that each change counts up, 32-63 the ticket
 * of its last submission.
 *
 * The claims of a participant, 8192 bytes, are written by it: 0 a bit for each slot that it holds; 4
 * a bit for each of its waiters (0-7 for free slots, 8-15, 16-23 and 24-31 for filled ones of each
 * queue); from 64 on the ticket of
 * each waiter; from 4096 on 64 bytes for each slot: bits 6-63 of the slot's word as it submitted it
 * (low word first), timestamp, sequence (64 bits, low word first), crop (left, top, right, bottom),
 * tag.
 *
 * To have a slot: compare-and-swap its word to held by oneself, set its bit in one's claims, pass a
 * full barrier, and look at the epoch and then at the claims of all participants of the board. If
 * another, that claims no more slots than it may, claims this one, the claim is taken back and the
 * slot is the other's. To let go of it: clear the bit, then compare-and-swap the word. A slot is taken
 * only if there are more such slots than waiters with older tickets.
 *
 * Nothing that a participant writes makes two others hold one slot, or changes what another said of a
 * frame. By writing nonsense into the table it can make filled frames vanish, appear again or change
 * their order, hide free slots and let waiters wait until their deadlines. restorePool, and the
 * service when a participant ends, put the table right from the claims. By holding slots it keeps no
 * more than PoolOptions.maxHeld from the others.
 *
 * The service is needed to join, to leave, to resize and to note that a participant is gone. Without
 * it those that take part go on; after a restart it knows no pools.
 */
@VintfStability
parcelable BufferPool {
    /** The id of this part in the session: for sharePool, updatePool, resizePool and leavePool. */
    long id;
    /** The number of this participant in the pool, 0 or more. */
    int participant;
    /** What of the board's epoch this answer knows. */
    int epoch;
    /** The board: a memfd that reads only. Null in an answer to updatePool. */
    @nullable ParcelFileDescriptor board;
    /** The table: a memfd to read and write. Null in an answer to updatePool. */
    @nullable ParcelFileDescriptor table;
    /** The participant's own claims, to read and write. Null in an answer to updatePool. */
    @nullable ParcelFileDescriptor ownClaims;
    /** The claims of the others. */
    PoolClaims[] claims;
    /** The slots. The receiver owns and closes all descriptors in them. */
    PoolSlot[] slots;
}
