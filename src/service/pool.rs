// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! What the service knows of one pool: its pages, the buffers of its slots and who takes part.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use berth_kernel::KernelError;
use berth_shared::pool::{Bounds, Keeper, CLAIMS_BYTES, MAX_SLOTS};
use vendor_berth_allocator::aidl::vendor::berth::allocator::{
    Access::Access, BufferDescriptor::BufferDescriptor,
};

use crate::accounts::{within, Charge};
use crate::lock::lock;
use crate::refusal::{Refusal, Scope};
use crate::session::{Holding, Kept, Session};
use crate::tokens::Shared;

/// Bytes of the pages that all participants share: board and table.
const SHARED_PAGES_BYTES: u64 = 2 * 4096;

/// Bytes of all pages that a pool for so many participants can come to have.
pub(crate) fn pages_bytes(participants: u32) -> u64 {
    (CLAIMS_BYTES as u64).saturating_mul(participants.into()).saturating_add(SHARED_PAGES_BYTES)
}

/// Buffers that a pool has no longer, by their ids.
pub(crate) type Withdrawn = Vec<(i64, Holding)>;

/// A pool. Its lock is held across nothing but work on its own pages: buffers are allocated, opened
/// and closed without it.
#[derive(Debug)]
pub(crate) struct Pool {
    /// No other pool and no buffer has it.
    pub(crate) id: i64,
    /// Who created it and is charged for it.
    pub(crate) owner: Arc<Session>,
    /// What each slot is.
    pub(crate) descriptor: BufferDescriptor,
    max_participants: u32,
    /// For the pages: the uid's, and what the session keeps.
    _charges: (Charge, Kept),
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    keeper: Keeper,
    closed: bool,
    /// The mender has it.
    mending: bool,
    slots: BTreeMap<u32, Slot>,
}

/// The buffer of a slot.
#[derive(Debug, Clone)]
struct Slot {
    id: i64,
    holding: Holding,
    /// Since when it is there.
    epoch: u32,
}

/// A seat that was just taken.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) number: u32,
    pub(crate) board: OwnedFd,
    pub(crate) table: OwnedFd,
    pub(crate) own_claims: OwnedFd,
}

/// What a participant does not know yet.
#[derive(Debug)]
pub(crate) struct News {
    pub(crate) epoch: u32,
    pub(crate) claims: Vec<(u32, OwnedFd)>,
    /// Slot, id and buffer.
    pub(crate) slots: Vec<(u32, i64, Holding)>,
}

/// What came of putting a pool's table right.
#[derive(Debug)]
pub(crate) struct Mended {
    /// Slots that were put right.
    pub(crate) slots: u32,
    /// Buffers that went.
    pub(crate) gone: Withdrawn,
    /// There may be more, which the [mender](crate::mender) finds.
    pub(crate) suspicious: bool,
}

/// What a pool holds, for dumps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct PoolFigures {
    pub(crate) slots: u32,
    pub(crate) participants: u32,
    /// What its pages are charged with, in bytes.
    pub(crate) pages_bytes: u64,
}

impl Pool {
    /// A pool without slots and participants. `charges` are for its pages.
    pub(crate) fn new(
        id: i64,
        owner: Arc<Session>,
        descriptor: BufferDescriptor,
        bounds: Bounds,
        charges: (Charge, Kept),
    ) -> Result<Pool, Refusal> {
        let keeper = Keeper::new("berth pool", bounds).map_err(Refusal::of_kernel)?;
        let state =
            Mutex::new(State { keeper, closed: false, mending: false, slots: BTreeMap::new() });
        let max_participants = bounds.participants;
        Ok(Pool { id, owner, descriptor, max_participants, _charges: charges, state })
    }

    /// Whether there is a seat.
    pub(crate) fn check_seats(&self) -> Result<(), Refusal> {
        self.with_open(|state| state.check_seats(self.max_participants))
    }

    /// Seats a participant.
    pub(crate) fn seat(&self) -> Result<Seat, Refusal> {
        self.with_open(|state| {
            state.check_seats(self.max_participants)?;
            let seated = state.keeper.seat("berth pool claims").map_err(Refusal::of_kernel)?;
            // There are as many seats as participants may be.
            let no_seat = || Refusal::Internal("a pool has no seat where it should".to_owned());
            let number = seated.ok_or_else(no_seat)?;
            opened(&state.keeper, number).map_err(|refusal| {
                // It never knew of its seat.
                state.keeper.unseat(number);
                refusal
            })
        })
    }

    /// Ends a participant, puts right what it left behind, and answers what goes with that.
    pub(crate) fn unseat(&self, number: u32) -> Mended {
        let mut state = lock(&self.state);
        let ended = state.keeper.unseat(number);
        let mut mended = state.restore();
        mended.slots = mended.slots.saturating_add(ended.slots);
        mended.gone.extend(state.collect(ended.withdrawn));
        mended
    }

    /// What came after an epoch.
    pub(crate) fn news(&self, me: u32, since: u32) -> Result<News, Refusal> {
        self.with_open(|state| {
            let claims = state.keeper.open_claims(me, since).map_err(Refusal::of_kernel)?;
            let new = state.slots.iter().filter(|(_, slot)| slot.epoch > since);
            let slots = new.map(|(number, slot)| (*number, slot.id, slot.holding.clone()));
            Ok(News { epoch: state.keeper.epoch(), claims, slots: slots.collect() })
        })
    }

    /// How many buffers are missing to so many slots.
    pub(crate) fn missing(&self, slots: u32) -> Result<u32, Refusal> {
        self.with_open(|state| Ok(slots.saturating_sub(state.keeper.present().count_ones())))
    }

    /// Has so many slots from here on: those that were to go come first, then new ones with `buffers`,
    /// and what is too many goes. What is left in `buffers` is not the pool's, done or refused.
    pub(crate) fn resize(&self, slots: u32, buffers: &mut Withdrawn) -> Result<(), Refusal> {
        self.with_open(|state| {
            let (there, going) = (state.keeper.present(), state.keeper.retiring());
            let mut kept = lowest(there & !going, slots);
            let wanted = |kept: u32| slots.saturating_sub(kept.count_ones());
            kept |= lowest(there & going, wanted(kept));
            let room = lowest(!there, wanted(kept));
            for number in (0..MAX_SLOTS).filter(|number| room & bit(*number) != 0) {
                let Some((id, holding)) = buffers.pop() else { break };
                // What is added below is known from the next epoch on.
                let epoch = state.keeper.epoch().wrapping_add(1);
                state.slots.insert(number, Slot { id, holding, epoch });
                kept |= bit(number);
            }
            state.keeper.add(kept);
            let withdrawn = state.keeper.retire(there & !kept);
            buffers.extend(state.collect(withdrawn));
            Ok(())
        })
    }

    /// Puts the table right.
    pub(crate) fn restore(&self) -> Mended {
        lock(&self.state).restore()
    }

    /// Hands it to the mender; false if that one has it already.
    pub(crate) fn begin_mending(&self) -> bool {
        !std::mem::replace(&mut lock(&self.state).mending, true)
    }

    /// Takes it from the mender.
    pub(crate) fn end_mending(&self) {
        lock(&self.state).mending = false;
    }

    /// Ends the pool; answers its buffers. Its tokens are with its owner.
    pub(crate) fn close(&self) -> Withdrawn {
        let mut state = lock(&self.state);
        state.closed = true;
        state.keeper.close();
        let slots = std::mem::take(&mut state.slots);
        slots.into_values().map(|slot| (slot.id, slot.holding)).collect()
    }

    /// Whether its buffers can be had for an access.
    pub(crate) fn check_access(&self, access: Access) -> Result<(), Refusal> {
        if access != Access::READ_ONLY {
            return Ok(());
        }
        let first = self.with_open(|state| {
            Ok(state.slots.values().next().map(|slot| slot.holding.memory.clone()))
        })?;
        first.map_or(Ok(()), |memory| memory.check_read_only())
    }

    /// Whether it is there still.
    pub(crate) fn check_open(&self) -> Result<(), Refusal> {
        self.with_open(|_| Ok(()))
    }

    /// What it holds.
    pub(crate) fn figures(&self) -> PoolFigures {
        let state = lock(&self.state);
        PoolFigures {
            slots: state.keeper.present().count_ones(),
            participants: state.keeper.alive().count_ones(),
            pages_bytes: pages_bytes(self.max_participants),
        }
    }

    /// The buffers of its slots, those included that are to go, by their ids.
    pub(crate) fn buffers(&self) -> Vec<(i64, Holding)> {
        let state = lock(&self.state);
        state.slots.values().map(|slot| (slot.id, slot.holding.clone())).collect()
    }

    fn with_open<T>(
        &self,
        act: impl FnOnce(&mut State) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let mut state = lock(&self.state);
        if state.closed {
            // To whoever comes by a token that opens nothing any more.
            return Err(Refusal::BadToken);
        }
        act(&mut state)
    }
}

impl Shared for Pool {
    fn owner_id(&self) -> i64 {
        self.id
    }
}

impl State {
    fn check_seats(&self, limit: u32) -> Result<(), Refusal> {
        let used = self.keeper.alive().count_ones();
        within(Scope::Pool, "participants", used.into(), 1, limit.into())
            .map_err(Refusal::OverQuota)
    }

    fn restore(&mut self) -> Mended {
        let restored = self.keeper.restore(Instant::now());
        if restored.liars != 0 {
            let liars = restored.liars;
            log::warn!("participants {liars:#x} of a pool claim more slots than they may");
        }
        let gone = self.collect(restored.withdrawn);
        Mended { slots: restored.slots, gone, suspicious: restored.suspects != 0 && !self.closed }
    }

    /// The buffers of slots that are no more.
    fn collect(&mut self, withdrawn: u32) -> Withdrawn {
        let gone = (0..MAX_SLOTS).filter(|number| withdrawn & bit(*number) != 0);
        let gone = gone.filter_map(|number| self.slots.remove(&number));
        gone.map(|slot| (slot.id, slot.holding)).collect()
    }
}

fn opened(keeper: &Keeper, number: u32) -> Result<Seat, Refusal> {
    let open = || -> Result<Option<Seat>, KernelError> {
        let Some(own_claims) = keeper.open_own_claims(number)? else { return Ok(None) };
        let (board, table) = (keeper.open_board()?, keeper.open_table()?);
        Ok(Some(Seat { number, board, table, own_claims }))
    };
    let seat = open().map_err(Refusal::of_kernel)?;
    seat.ok_or_else(|| Refusal::Internal(format!("seat {number} of a pool has no page")))
}

fn bit(number: u32) -> u32 {
    1u32.checked_shl(number).unwrap_or(0)
}

/// The lowest `count` of the bits that are set.
fn lowest(word: u32, count: u32) -> u32 {
    let set = (0..MAX_SLOTS).map(bit).filter(|bit| word & bit != 0);
    set.take(count as usize).fold(0, |all, bit| all | bit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_bits_are_those_of_the_slots_that_stay() {
        assert_eq!(lowest(0b1011_0110, 3), 0b0001_0110);
        assert_eq!(lowest(0b11, 5), 0b11);
        assert_eq!(lowest(u32::MAX, 32), u32::MAX);
        assert_eq!(lowest(u32::MAX, 0), 0);
    }
}
