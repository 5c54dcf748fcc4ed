// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Where things are on the board, which the service writes, and in the table, which everybody writes.

/// Bytes of the board and of the table.
pub(crate) const BYTES: usize = 4096;

/// What the first word of a board is: this version of the pages.
pub(crate) const MAGIC: u32 = u32::from_le_bytes(*b"BPL1");
pub(crate) const MAGIC_AT: usize = 0;
/// Counts joins, and slots that come and go: a participant that has seen another number asks the service what it
/// does not know.
pub(crate) const EPOCH_AT: usize = 4;
/// Not 0 when the pool is no more.
pub(crate) const CLOSED_AT: usize = 8;
/// A bit for each participant that takes part.
pub(crate) const ALIVE_AT: usize = 12;
/// A bit for each slot that there is.
pub(crate) const PRESENT_AT: usize = 16;
/// A bit for each slot that is to go as soon as nobody has it.
pub(crate) const RETIRING_AT: usize = 20;
/// How many slots a participant may hold.
pub(crate) const MAX_HELD_AT: usize = 24;

/// In the table: what waiters for free slots sleep on, and those for filled ones, each with a cache
/// line of its own.
pub(crate) const FREE_BELL_AT: usize = 0;
pub(crate) const FILLED_BELL_AT: usize = 64;
/// The next ticket.
pub(crate) const TICKETS_AT: usize = 128;
/// The slots' words, eight bytes each.
pub(crate) const SLOTS_AT: usize = 256;
pub(crate) const SLOT_BYTES: usize = 8;
