// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! The service's side of a pool: it owns the pages, seats participants, adds and withdraws slots, and
//! puts the table right.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{fence, Ordering};
use std::time::{Duration, Instant};

use berth_kernel::mapping::{ReadOnly, ReadWrite};
use berth_kernel::memfd::Memfd;
use berth_kernel::KernelError;

use super::claims::{self, CLAIMS_BYTES};
use super::machine::{Line, Queue};
use super::page::Page;
use super::participant::ring;
use super::slot::{SlotState, SlotWord};
use super::{bit, bits, board, MAX_PARTICIPANTS, MAX_SLOTS};

/// How long a word that contradicts the claims may stay: between the two a participant may be that
/// is slow, and is not wrong.
pub const GRACE: Duration = Duration::from_millis(50);

/// What came of putting the table right.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Restored {
    /// Slots whose words were put right.
    pub slots: u32,
    /// Participants that claim more than they may, a bit for each: their claims count for nothing.
    pub liars: u32,
    /// Slots that are no more, a bit for each: their buffers can go.
    pub withdrawn: u32,
    /// Slots whose words are not right either, if they are the same in a while, a bit for each.
    pub suspects: u32,
}

/// The most that a pool allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Participants at a time, of [`MAX_PARTICIPANTS`] at most.
    pub participants: u32,
    /// Slots that each may hold.
    pub held: u32,
}

/// A participant's page. It stays when the participant ends, for the frames that it submitted, until
/// another has its number.
#[derive(Debug)]
struct Seat {
    memfd: Memfd,
    page: Page<ReadOnly, CLAIMS_BYTES>,
    epoch: u32,
}

/// A word that contradicts the claims, and since when it is known to.
#[derive(Debug, Clone, Copy)]
struct Suspect {
    word: SlotWord,
    since: Instant,
}

/// The keeper of a pool's pages. What it keeps beside them is the truth; of what participants can
/// write it believes their own claims only.
#[derive(Debug)]
pub struct Keeper {
    board: (Memfd, Page<ReadWrite, { board::BYTES }>),
    table: (Memfd, Page<ReadWrite, { board::BYTES }>),
    seats: [Option<Seat>; MAX_PARTICIPANTS as usize],
    suspects: [Option<Suspect>; MAX_SLOTS as usize],
    bounds: Bounds,
    epoch: u32,
    alive: u32,
    present: u32,
    retiring: u32,
}

impl Keeper {
    /// A pool without slots and participants, of which there are no more than `bounds` says, those
    /// included that left frames behind: so many pages with a descriptor each, and two more.
    pub fn new(name: &str, bounds: Bounds) -> Result<Keeper, KernelError> {
        let page = || -> Result<_, KernelError> {
            let memfd = memfd(name, board::BYTES)?;
            let page: Page<ReadWrite, { board::BYTES }> = Page::map(memfd.as_fd())?;
            Ok((memfd, page))
        };
        let keeper = Keeper {
            board: page()?,
            table: page()?,
            seats: Default::default(),
            suspects: [None; MAX_SLOTS as usize],
            bounds,
            epoch: 1,
            alive: 0,
            present: 0,
            retiring: 0,
        };
        for slot in 0..MAX_SLOTS {
            keeper.slot(slot).store(ABSENT.0, Ordering::Relaxed);
        }
        keeper.show(board::MAX_HELD_AT, bounds.held);
        keeper.show(board::EPOCH_AT, keeper.epoch);
        keeper.show(board::MAGIC_AT, board::MAGIC);
        Ok(keeper)
    }

    /// Counts joins, and slots that come and go.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// A bit for each participant.
    pub fn alive(&self) -> u32 {
        self.alive
    }

    /// A bit for each slot, those that are to go included.
    pub fn present(&self) -> u32 {
        self.present
    }

    /// A bit for each slot that is to go as soon as nobody has it.
    pub fn retiring(&self) -> u32 {
        self.retiring
    }

    /// A new descriptor of the board, which only reads.
    pub fn open_board(&self) -> Result<OwnedFd, KernelError> {
        self.board.0.open_read_only()
    }

    /// A new descriptor of the table, which reads and writes.
    pub fn open_table(&self) -> Result<OwnedFd, KernelError> {
        self.table.0.duplicate()
    }

    /// A new descriptor of a participant's own claims, which reads and writes: for that one alone.
    pub fn open_own_claims(&self, number: u32) -> Result<Option<OwnedFd>, KernelError> {
        let seat = self.seats.get(number as usize).and_then(Option::as_ref);
        seat.map(|seat| seat.memfd.duplicate()).transpose()
    }

    /// New descriptors, which only read, of the claims of everybody else that came after `epoch`.
    pub fn open_claims(&self, me: u32, epoch: u32) -> Result<Vec<(u32, OwnedFd)>, KernelError> {
        let mut opened = Vec::new();
        for (number, seat) in (0..).zip(&self.seats) {
            if let Some(seat) = seat.as_ref().filter(|seat| number != me && seat.epoch > epoch) {
                opened.push((number, seat.memfd.open_read_only()?));
            }
        }
        Ok(opened)
    }

    /// Seats a participant and answers its number; `None` if all seats are taken.
    pub fn seat(&mut self, name: &str) -> Result<Option<u32>, KernelError> {
        let free = !self.alive & bits_below(self.bounds.participants.min(MAX_PARTICIPANTS));
        // One whose last participant left nothing behind, if there is any.
        let used =
            bits(free).filter(|number| self.has_frames_of(*number)).fold(0, |a, b| a | bit(b));
        let Some(number) = bits(free & !used).chain(bits(used)).next() else { return Ok(None) };
        let memfd = memfd(name, CLAIMS_BYTES)?;
        let page = Page::map(memfd.as_fd())?;
        let dropped = self.drop_frames_of(number);
        // First the news that there is news: who claims a slot before it has learnt of the new page
        // sees that, and who joins sees all that was claimed before.
        self.advance();
        if let Some(seat) = self.seats.get_mut(number as usize) {
            *seat = Some(Seat { memfd, page, epoch: self.epoch });
        }
        self.alive |= bit(number);
        self.show(board::ALIVE_AT, self.alive);
        if dropped > 0 {
            self.ring();
        }
        Ok(Some(number))
    }

    /// Ends a participant: what it holds is free from here on, what it submitted stays to be taken. What
    /// it wrote to words of others stays for [`restore`](Keeper::restore).
    pub fn unseat(&mut self, number: u32) -> Restored {
        self.alive &= !bit(number);
        self.show(board::ALIVE_AT, self.alive);
        let mut restored = Restored::default();
        for slot in bits(self.present) {
            let word = self.word(slot);
            if word.state() == SlotState::Held && word.participant() == number {
                restored.slots = restored.slots.saturating_add(self.correct(slot, word));
            }
        }
        restored.withdrawn = self.withdraw();
        self.ring();
        restored
    }

    /// Adds slots, by their numbers' bits, and answers those that were not there before: they need
    /// buffers, known from this epoch on. Slots that were to go stay.
    pub fn add(&mut self, slots: u32) -> u32 {
        let new = slots & !self.present;
        for slot in bits(new) {
            let word = self.word(slot);
            self.slot(slot).store(word.next(SlotState::Free, 0).0, Ordering::Release);
        }
        self.advance();
        self.present |= new;
        self.retiring &= !slots;
        self.show(board::RETIRING_AT, self.retiring);
        self.show(board::PRESENT_AT, self.present);
        self.ring();
        new
    }

    /// Withdraws slots: the free ones now, which are answered, the others when they are free.
    pub fn retire(&mut self, slots: u32) -> u32 {
        self.retiring |= slots & self.present;
        self.show(board::RETIRING_AT, self.retiring);
        // Whoever frees a slot from here on sees that it is to go, or frees it before it is looked at.
        fence(Ordering::SeqCst);
        self.withdraw()
    }

    /// Puts right what contradicts the claims. What may still be somebody's unfinished act is only
    /// noted, and put right by a later call.
    pub fn restore(&mut self, now: Instant) -> Restored {
        let mut restored = Restored::default();
        for number in bits(self.alive) {
            if self.claimed(number).count_ones() > self.bounds.held {
                restored.liars |= bit(number);
            }
        }
        for slot in bits(self.present) {
            let word = self.word(slot);
            let suspect = self.suspects.get(slot as usize).copied().flatten();
            let next = match suspect {
                _ if self.is_credible(slot, word) => None,
                Some(suspect) if suspect.word == word => {
                    if now.saturating_duration_since(suspect.since) >= GRACE {
                        restored.slots = restored.slots.saturating_add(self.correct(slot, word));
                        None
                    } else {
                        Some(suspect)
                    }
                }
                _ => Some(Suspect { word, since: now }),
            };
            restored.suspects |= if next.is_some() { bit(slot) } else { 0 };
            if let Some(noted) = self.suspects.get_mut(slot as usize) {
                *noted = next;
            }
        }
        restored.withdrawn = self.withdraw();
        if restored.slots > 0 {
            self.ring();
        }
        restored
    }

    /// Ends the pool for all participants.
    pub fn close(&mut self) {
        self.show(board::CLOSED_AT, 1);
        self.ring();
    }

    /// Whose a slot is, by the claims.
    fn claimant(&self, slot: u32) -> Option<u32> {
        let claims = |number: &u32| {
            let claimed = self.claimed(*number);
            claimed & bit(slot) != 0 && claimed.count_ones() <= self.bounds.held
        };
        bits(self.alive).find(claims)
    }

    fn claimed(&self, number: u32) -> u32 {
        self.page(number).map_or(0, |page| page.load(claims::HELD_AT))
    }

    fn page(&self, number: u32) -> Option<&Page<ReadOnly, CLAIMS_BYTES>> {
        self.seats.get(number as usize)?.as_ref().map(|seat| &seat.page)
    }

    /// Whether a word agrees with the claims.
    fn is_credible(&self, slot: u32, word: SlotWord) -> bool {
        match (word.state(), self.claimant(slot)) {
            (SlotState::Free, None) => true,
            (SlotState::Held, Some(claimant)) => claimant == word.participant(),
            (SlotState::Filled, None) => self.has_record(slot, word),
            _ => false,
        }
    }

    /// Whether the producer that a word names did submit this.
    fn has_record(&self, slot: u32, word: SlotWord) -> bool {
        let Some(page) = self.page(word.participant()) else { return false };
        let read = |word| u64::from(page.load(claims::record_at(slot, word)));
        (read(0) | read(1) << 32) == word.key()
    }

    /// Makes a word agree with the claims; 1 if that was to be done and nobody was faster.
    fn correct(&self, slot: u32, word: SlotWord) -> u32 {
        let right = match self.claimant(slot) {
            Some(claimant) => word.next(SlotState::Held, claimant),
            None => word.next(SlotState::Free, 0),
        };
        u32::from(self.swap(slot, word, right))
    }

    fn has_frames_of(&self, number: u32) -> bool {
        bits(self.present).any(|slot| self.is_frame_of(self.word(slot), number))
    }

    fn is_frame_of(&self, word: SlotWord, number: u32) -> bool {
        word.state() == SlotState::Filled && word.participant() == number
    }

    /// Gives up frames whose metadata go with their producer's page; answers how many.
    fn drop_frames_of(&self, number: u32) -> u32 {
        let words = bits(self.present).map(|slot| (slot, self.word(slot)));
        let frames = words.filter(|(_, word)| self.is_frame_of(*word, number));
        frames.map(|(slot, word)| self.correct(slot, word)).sum()
    }

    /// Takes those slots away that are to go and are free.
    fn withdraw(&mut self) -> u32 {
        let mut withdrawn = 0;
        for slot in bits(self.retiring & self.present) {
            let word = self.word(slot);
            let is_free = word.state() == SlotState::Free && self.claimant(slot).is_none();
            if is_free && self.swap(slot, word, word.next(SlotState::Absent, 0)) {
                withdrawn |= bit(slot);
            }
        }
        self.present &= !withdrawn;
        self.retiring &= !withdrawn;
        self.show(board::PRESENT_AT, self.present);
        self.show(board::RETIRING_AT, self.retiring);
        if withdrawn != 0 {
            // Whoever asks what is new lets go of the buffers.
            self.advance();
        }
        withdrawn
    }

    /// Whether anybody of a participant waits.
    #[cfg(test)]
    pub(super) fn somebody_stands(&self, number: u32) -> bool {
        self.page(number).is_some_and(|page| page.load(claims::WAITING_AT) != 0)
    }

    /// How many tickets were given out.
    #[cfg(test)]
    pub(super) fn tickets(&self) -> u32 {
        self.table.1.load(board::TICKETS_AT)
    }

    fn advance(&mut self) {
        self.epoch = self.epoch.wrapping_add(1).max(1);
        self.show(board::EPOCH_AT, self.epoch);
    }

    fn show(&self, offset: usize, value: u32) {
        self.board.1.word(offset).store(value, Ordering::SeqCst);
    }

    fn ring(&self) {
        ring(&self.table.1, Line::Free);
        ring(&self.table.1, Line::Filled(Queue::First));
    }

    fn slot(&self, slot: u32) -> &std::sync::atomic::AtomicU64 {
        let slot = (slot % MAX_SLOTS) as usize;
        self.table.1.wide_word(board::SLOTS_AT + slot * board::SLOT_BYTES)
    }

    fn word(&self, slot: u32) -> SlotWord {
        SlotWord(self.slot(slot).load(Ordering::Acquire))
    }

    fn swap(&self, slot: u32, was: SlotWord, new: SlotWord) -> bool {
        let (ok, failed) = (Ordering::AcqRel, Ordering::Acquire);
        self.slot(slot).compare_exchange(was.0, new.0, ok, failed).is_ok()
    }
}

/// Memory for pages. Nobody can seal it: a participant could otherwise end writing for those who come
/// after it.
fn memfd(name: &str, bytes: usize) -> Result<Memfd, KernelError> {
    let memfd = Memfd::create(name, bytes as u64)?;
    memfd.seal_seals()?;
    Ok(memfd)
}

/// A slot that there is not.
const ABSENT: SlotWord = SlotWord(3);

/// The lowest `count` bits.
fn bits_below(count: u32) -> u32 {
    bit(count).wrapping_sub(1)
}
