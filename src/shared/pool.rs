// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! A pool of buffers between processes: slots that are acquired, filled, taken and released without a
//! call to the service.
//!
//! A slot is free, held by one participant, or filled. A producer acquires a free slot, writes into
//! its buffer and submits it with metadata to a queue; a consumer takes the filled slot of that queue
//! that was submitted first, and releases it or submits it to another queue, as the next stage of a
//! pipeline. Any participant may be both.
//!
//! # The pages
//!
//! | page | who writes | what is in it |
//! |---|---|---|
//! | board | the service | which slots and participants there are, the limit of each, the epoch |
//! | table | everybody | a word for each slot, two bells to wait for, the dispenser of tickets |
//! | claims, one for each participant | that participant | which slots it holds, who of it waits, its frames' metadata |
//!
//! Each is a memfd of fixed size. Who may only read a page has a descriptor that only reads.
//!
//! The table's words are where participants compete: a slot changes hands by one compare-and-swap of
//! its word. What makes a slot somebody's is the *claim*: after the swap a participant sets the slot's
//! bit on its own page and then looks at that of everybody else, in this order and with a full barrier
//! between (Dekker's algorithm). Of two that claim one slot at least one sees the other and steps
//! back. So the words need not be believed.
//!
//! # What a hostile participant can and cannot do
//!
//! It holds writable descriptors of the table and of the buffers, and it can write what it likes at
//! any moment. It **cannot**
//!
//! * make two other participants hold one slot, or take a slot from whoever holds it;
//! * change the metadata of another's frame, or submit one in another's name that this one never
//!   submitted;
//! * withhold more slots by claims than one participant may hold: a page that claims more is not
//!   believed at all. The same limit bounds how many waiters of it stand before others;
//! * lead a reader out of a page, into a panic or into an endless loop: every word is read once and
//!   checked, every loop is bounded by the number of slots or by the caller's deadline.
//!
//! It **can** write to the buffers, as every participant can; hold as many slots as one may; and, by
//! writing to the table, make filled frames vanish, appear again or change their order, hide free
//! slots, and disturb those who wait, who then wait until their deadlines. That is no more than it
//! could do by taking frames and dropping them, and it ends with it: the service's
//! [`Keeper`] knows from the claims what is whose and puts the table right, when a participant ends
//! and whenever somebody asks, which those do who wait for long.
//!
//! # Order, and why nobody starves
//!
//! Whoever has to wait takes a ticket. A slot is only taken by somebody if more slots are there than
//! waiters with older tickets: newcomers do not overtake, and the oldest waiter has the first slot.
//! A ticket and not a hand-over, because a waiter that was handed a slot and died would take it along;
//! a dead one's ticket is ignored as soon as the service has noted its end. Frames of a queue are
//! taken in the order of their submission.
//!
//! # Waiting
//!
//! Waiters sleep on a futex, which no event loop can poll: `Feed` of the client library has a thread
//! that waits and a descriptor to poll.

mod board;
mod claims;
mod keeper;
mod machine;
mod metadata;
mod page;
mod participant;
mod slot;
#[cfg(test)]
pub(crate) mod tests;

pub use claims::{CLAIMS_BYTES, MAX_WAITERS};
pub use keeper::{Bounds, Keeper, Restored, GRACE};
pub use machine::{Board, Cells, Halt, Line, Lost, Machine, Queue, Released, Turn, Word};
pub use metadata::{Crop, Frame, Metadata};
pub use participant::{Fault, Pages, Participant};
pub use slot::{SlotState, SlotWord};

/// The most slots of a pool: as many as a word has bits.
pub const MAX_SLOTS: u32 = 32;

/// The queues of a pool: the stages of a pipeline.
pub const QUEUES: u32 = 3;

/// The most participants of a pool at a time.
pub const MAX_PARTICIPANTS: u32 = 16;

/// The indices of the bits that are set, from the lowest.
pub(crate) fn bits(mut word: u32) -> impl Iterator<Item = u32> {
    std::iter::from_fn(move || {
        let lowest = word.trailing_zeros();
        word &= word.wrapping_sub(1);
        (lowest < u32::BITS).then_some(lowest)
    })
}

/// The bit of an index below 32; 0 for any other, which is nobody's.
pub(crate) fn bit(index: u32) -> u32 {
    1u32.checked_shl(index).unwrap_or(0)
}
