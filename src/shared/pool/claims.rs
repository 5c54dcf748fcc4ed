// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Where things are on a participant's own page.

use super::Metadata;

/// Bytes of a page of claims.
pub const CLAIMS_BYTES: usize = 8192;

/// How many threads of a participant can stand in one line; more of them wait for a place in it.
pub const MAX_WAITERS: u32 = 8;

/// A bit for each slot that the participant holds.
pub(crate) const HELD_AT: usize = 0;
/// A bit for each thread that waits: the lowest for free slots, and so on for each queue.
pub(crate) const WAITING_AT: usize = 4;
/// The ticket of each of them.
pub(crate) const TICKETS_AT: usize = 64;
/// What it last submitted by each slot: the key of the slot's word in two words, and the metadata.
const RECORDS_AT: usize = 4096;
const RECORD_BYTES: usize = 64;

/// The word of a waiter's ticket.
pub(crate) fn ticket_at(waiter: u32) -> usize {
    TICKETS_AT + waiter as usize * 4
}

/// A word of a slot's record: 0 and 1 are the key.
pub(crate) fn record_at(slot: u32, word: usize) -> usize {
    RECORDS_AT + slot as usize * RECORD_BYTES + word * 4
}

const _: () = assert!((2 + Metadata::WORDS) * 4 <= RECORD_BYTES);
const _: () = assert!(RECORDS_AT + super::MAX_SLOTS as usize * RECORD_BYTES <= CLAIMS_BYTES);
const _: () = assert!((1 + super::QUEUES) * MAX_WAITERS <= u32::BITS);
