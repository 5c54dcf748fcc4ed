// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! How slots change hands: the algorithm, over whatever memory it is given, so that a model checker
//! can give it its own.

use std::cell::Cell;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, SeqCst};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::metadata::{Frame, Metadata};
use super::slot::{SlotState, SlotWord};
use super::{bit, bits, claims, MAX_SLOTS};

/// An atomic word of a page.
pub trait Word<T> {
    /// As of the standard library's atomics, and so are the others.
    fn load(&self, order: Ordering) -> T;
    /// Stores.
    fn store(&self, value: T, order: Ordering);
    /// Adds.
    fn fetch_add(&self, value: T, order: Ordering) -> T;
    /// Clears bits.
    fn fetch_and(&self, value: T, order: Ordering) -> T;
    /// Sets bits.
    fn fetch_or(&self, value: T, order: Ordering) -> T;
    /// Compares and swaps.
    fn compare_exchange(&self, now: T, new: T, ok: Ordering, failed: Ordering) -> Result<T, T>;
}

/// Lends the methods of an atomic type to [`Word`].
macro_rules! lend_methods {
    ($atomic:ty, $value:ty) => {
        impl Word<$value> for $atomic {
            #[inline]
            fn load(&self, order: Ordering) -> $value {
                <$atomic>::load(self, order)
            }
            #[inline]
            fn store(&self, value: $value, order: Ordering) {
                <$atomic>::store(self, value, order);
            }
            #[inline]
            fn fetch_add(&self, value: $value, order: Ordering) -> $value {
                <$atomic>::fetch_add(self, value, order)
            }
            #[inline]
            fn fetch_and(&self, value: $value, order: Ordering) -> $value {
                <$atomic>::fetch_and(self, value, order)
            }
            #[inline]
            fn fetch_or(&self, value: $value, order: Ordering) -> $value {
                <$atomic>::fetch_or(self, value, order)
            }
            #[inline]
            fn compare_exchange(
                &self,
                now: $value,
                new: $value,
                ok: Ordering,
                failed: Ordering,
            ) -> Result<$value, $value> {
                <$atomic>::compare_exchange(self, now, new, ok, failed)
            }
        }
    };
}

lend_methods!(AtomicU32, u32);
lend_methods!(AtomicU64, u64);

/// What one look at the service's board tells.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Board {
    /// Another number than was seen before: there are participants or buffers that are not known yet.
    pub epoch: u32,
    /// The pool is no more.
    pub closed: bool,
    /// A bit for each participant.
    pub alive: u32,
    /// A bit for each slot.
    pub present: u32,
    /// A bit for each slot that is to go.
    pub retiring: u32,
    /// How many slots each may hold.
    pub max_held: u32,
}

/// A stage of a pipeline: who fills for it, and who takes from it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Queue {
    /// The first, or the only one.
    #[default]
    First,
    /// What was taken from the first and worked on.
    Second,
    /// What was taken from the second.
    Third,
}

impl Queue {
    fn number(self) -> u32 {
        match self {
            Queue::First => 0,
            Queue::Second => 1,
            Queue::Third => 2,
        }
    }
}

/// What people stand in line for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line {
    /// Free slots.
    Free,
    /// Filled ones of a queue.
    Filled(Queue),
}

impl Line {
    /// The bits of this line in a word of those who wait.
    fn waiters(self) -> u32 {
        let lowest = u32::MAX >> (u32::BITS - claims::MAX_WAITERS);
        match self {
            Line::Free => lowest,
            Line::Filled(Queue::First) => lowest << claims::MAX_WAITERS,
            Line::Filled(Queue::Second) => lowest << (2 * claims::MAX_WAITERS),
            Line::Filled(Queue::Third) => lowest << (3 * claims::MAX_WAITERS),
        }
    }
}

/// A place in a line, until it is left.
#[derive(Debug, PartialEq, Eq)]
pub struct Turn {
    line: Line,
    ticket: u32,
    /// Where its ticket stands; `None` as long as too many of this participant wait already.
    waiter: Option<u32>,
}

impl Turn {
    pub(super) fn line(&self) -> Line {
        self.line
    }
}

/// Why nothing goes on for a participant as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Halt {
    /// The pool is no more.
    #[error("the pool is closed")]
    Closed,
    /// The service has noted the end of this participant.
    #[error("this participant has left the pool")]
    Ended,
    /// There are participants or buffers that this one does not know; the service does.
    #[error("the pool has changed")]
    Stale,
    /// It holds as many slots as it may.
    #[error("this participant holds {0} slots of the pool, as many as it may")]
    TooManyHeld(u32),
}

/// The slot was not this participant's any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("slot {0} was lost: somebody wrote to the table of the pool")]
pub struct Lost(pub u32);

/// What is left to do when a slot went from its holder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Released {
    /// Somebody waits, and must be woken.
    pub wake: bool,
    /// The service wants to take the slot away.
    pub retiring: bool,
}

/// The memory of the algorithm, as one participant reaches it.
pub trait Cells {
    /// A word.
    type Word: Word<u32>;
    /// A slot's word.
    type Slot: Word<u64>;
    /// A barrier that no load or store passes.
    fn full_barrier(&self);
    /// The participant that looks.
    fn me(&self) -> u32;
    /// The epoch up to which it knows everything.
    fn known_epoch(&self) -> u32;
    /// The service's board; each word read once.
    fn board(&self) -> Board;
    /// Of the board only the epoch.
    fn epoch(&self) -> u32;
    /// Of the board only who takes part.
    fn alive(&self) -> u32;
    /// Of the board only which slots are to go.
    fn retiring(&self) -> u32;
    /// The word of a slot below [`MAX_SLOTS`].
    fn slot(&self, slot: u32) -> &Self::Slot;
    /// The next ticket.
    fn tickets(&self) -> &Self::Word;
    /// A word of its own page.
    fn own(&self, offset: usize) -> &Self::Word;
    /// Words of another's page; `None` if it does not know that page.
    fn others<const N: usize>(&self, participant: u32, offset: usize) -> Option<[u32; N]>;
    /// Which places in line are taken; of this process, not shared.
    fn places(&self) -> &Self::Word;
    /// The word by which it won a slot last; of this process, not shared.
    fn won(&self, slot: u32) -> &AtomicU64;
}

/// The algorithm, for one act of one participant.
#[derive(Debug)]
pub struct Machine<C: Cells> {
    cells: C,
    /// A slot was put back that others may have missed meanwhile.
    put_back: Cell<bool>,
}

impl<C: Cells> Machine<C> {
    /// The algorithm over these pages.
    pub fn new(cells: C) -> Self {
        Machine { cells, put_back: Cell::new(false) }
    }

    /// Whether a slot was won and put back: those who wait must be woken, as they may have looked in
    /// between.
    pub fn has_put_back(&self) -> bool {
        self.put_back.get()
    }

    /// Takes a free slot, if there is one that no older waiter has a right to.
    pub fn try_acquire(&self, turn: Option<&Turn>) -> Result<Option<u32>, Halt> {
        let (board, held) = self.look()?;
        let usable = board.present & !board.retiring;
        let is_free = |slot: &u32| self.word(*slot).state() == SlotState::Free;
        let ahead = self.ahead(Line::Free, turn, &board);
        if ahead > 0 && bits(usable).filter(is_free).count() <= ahead {
            return Ok(None);
        }
        for slot in bits(usable) {
            let was = self.word(slot);
            if was.state() == SlotState::Free && self.win(slot, was, held, &board)? {
                return Ok(Some(slot));
            }
        }
        Ok(None)
    }

    /// Takes the filled slot of a queue that was submitted first, unless older waiters have a right to
    /// it.
    pub fn try_take(&self, queue: Queue, turn: Option<&Turn>) -> Result<Option<Frame>, Halt> {
        let (board, held) = self.look()?;
        let ahead = self.ahead(Line::Filled(queue), turn, &board);
        // Somebody may be faster with each: then the next one is the oldest.
        for _ in 0..2 * MAX_SLOTS {
            let frames = || bits(board.present).filter_map(|slot| self.filled(slot, queue));
            if ahead > 0 && frames().count() <= ahead {
                return Ok(None);
            }
            let oldest = frames().reduce(|one, other| match other.1.is_older_than(one.1) {
                true => other,
                false => one,
            });
            let Some((slot, was)) = oldest else { return Ok(None) };
            // Slots are looked at one after the other, and of two frames the first may have come to
            // one that was looked at before. Who has seen the second finds the first by looking again.
            let before = bits(board.present & bit(slot).wrapping_sub(1));
            let mut before = before.filter_map(|slot| self.filled(slot, queue));
            if before.any(|(_, other)| other.is_older_than(was)) {
                continue;
            }
            // Before the slot is won: from then on its producer may write anew.
            let producer = was.participant();
            let Some(words) = self.of(producer, claims::record_at(slot, 2)) else { continue };
            if self.win(slot, was, held, &board)? {
                let metadata = Metadata::of_words(words);
                return Ok(Some(Frame { slot, producer, metadata }));
            }
        }
        Ok(None)
    }

    /// Hands a slot that this participant holds over to whoever takes it from a queue. Answers whether
    /// somebody waits and must be woken.
    pub fn submit(&self, slot: u32, queue: Queue, metadata: &Metadata) -> Result<bool, Lost> {
        if !self.holds(slot) {
            return Err(Lost(slot));
        }
        let mut was = self.word(slot);
        let mut claimed = true;
        // Once more if somebody that had touched the word has just put it right.
        for _ in 0..2 {
            if !self.is_mine(slot, was) {
                break;
            }
            let ticket = self.cells.tickets().fetch_add(1, Relaxed);
            let filled = was.submitted(self.cells.me(), queue.number(), ticket);
            self.record(slot, filled.key(), metadata);
            if std::mem::take(&mut claimed) {
                self.unclaim(slot);
            }
            match self.swap(slot, was, filled) {
                Ok(()) => {
                    self.cells.full_barrier();
                    return Ok(self.somebody_waits(Line::Filled(queue)));
                }
                Err(now) => was = now,
            }
        }
        if claimed {
            self.unclaim(slot);
        }
        Err(Lost(slot))
    }

    /// Gives a slot that this participant holds back, used or not.
    pub fn release(&self, slot: u32) -> Released {
        if self.holds(slot) {
            let mut was = self.word(slot);
            self.unclaim(slot);
            for _ in 0..2 {
                // Otherwise it is another's by now, or the keeper's to put right.
                if !self.is_mine(slot, was) {
                    break;
                }
                match self.swap(slot, was, was.next(SlotState::Free, self.cells.me())) {
                    Ok(()) => break,
                    Err(now) => was = now,
                }
            }
        }
        self.cells.full_barrier();
        let retiring = self.cells.retiring() & bit(slot) != 0;
        Released { wake: self.somebody_waits(Line::Free), retiring }
    }

    /// Stands in line behind all who do.
    pub fn stand(&self, line: Line) -> Turn {
        let ticket = self.cells.tickets().fetch_add(1, Relaxed);
        let mut turn = Turn { line, ticket, waiter: None };
        self.take_place(&mut turn);
        turn
    }

    /// Shows the others that somebody waits, by its ticket. False as long as too many of this
    /// participant do: then nobody wakes this one but who leaves its place to it.
    pub fn take_place(&self, turn: &mut Turn) -> bool {
        if turn.waiter.is_some() {
            return true;
        }
        let (places, mut all) = (self.cells.places(), bits(turn.line.waiters()));
        turn.waiter = all.find(|place| places.fetch_or(bit(*place), AcqRel) & bit(*place) == 0);
        if let Some(waiter) = turn.waiter {
            // The ticket first: whoever sees the bit sees it.
            self.cells.own(claims::ticket_at(waiter)).store(turn.ticket, Relaxed);
            self.cells.own(claims::WAITING_AT).fetch_or(bit(waiter), SeqCst);
        }
        self.cells.full_barrier();
        turn.waiter.is_some()
    }

    /// Leaves the line, empty-handed or not. Answers whether others stand there and must be woken: who
    /// leaves empty-handed makes room for the next, and one that has looked while this one stood there
    /// still left it what is there.
    pub fn leave(&self, turn: &Turn, empty_handed: bool) -> bool {
        if let Some(waiter) = turn.waiter {
            self.cells.own(claims::WAITING_AT).fetch_and(!bit(waiter), SeqCst);
            self.cells.places().fetch_and(!bit(waiter), AcqRel);
        }
        self.cells.full_barrier();
        self.somebody_waits(turn.line) && (empty_handed || self.has_any(turn.line))
    }

    /// The board and what this participant holds, if it is on the one and may hold more.
    fn look(&self) -> Result<(Board, u32), Halt> {
        // What is known before what there is: who finds them equal knows whoever is on the board.
        let known = self.cells.known_epoch();
        let (board, held) = (self.cells.board(), self.held());
        if board.closed {
            Err(Halt::Closed)
        } else if board.alive & bit(self.cells.me()) == 0 {
            Err(Halt::Ended)
        } else if board.epoch != known {
            Err(Halt::Stale)
        } else if held.count_ones() >= board.max_held {
            Err(Halt::TooManyHeld(board.max_held))
        } else {
            Ok((board, held))
        }
    }

    fn word(&self, slot: u32) -> SlotWord {
        SlotWord(self.cells.slot(slot).load(Acquire))
    }

    fn swap(&self, slot: u32, was: SlotWord, new: SlotWord) -> Result<(), SlotWord> {
        let swapped = self.cells.slot(slot).compare_exchange(was.0, new.0, AcqRel, Acquire);
        swapped.map(drop).map_err(SlotWord)
    }

    /// Whether the word of a slot says that this participant holds it, if it takes part still.
    fn is_mine(&self, slot: u32, word: SlotWord) -> bool {
        let (cells, me) = (&self.cells, self.cells.me());
        let is_held_by_me = word.state() == SlotState::Held && word.participant() == me;
        // Whoever ended may have an heir with its number, whose word it is not.
        let is_known =
            || word.0 == cells.won(slot).load(Relaxed) || cells.epoch() == cells.known_epoch();
        is_held_by_me && is_known() && cells.alive() & bit(me) != 0
    }

    fn held(&self) -> u32 {
        self.cells.own(claims::HELD_AT).load(Relaxed)
    }

    fn holds(&self, slot: u32) -> bool {
        self.held() & bit(slot) != 0
    }

    fn unclaim(&self, slot: u32) {
        self.cells.own(claims::HELD_AT).fetch_and(!bit(slot), AcqRel);
    }

    /// Words of somebody's page, be it one's own.
    fn of<const N: usize>(&self, participant: u32, offset: usize) -> Option<[u32; N]> {
        if participant == self.cells.me() {
            let own = |word: usize| self.cells.own(offset.wrapping_add(word * 4)).load(Relaxed);
            return Some(std::array::from_fn(own));
        }
        self.cells.others(participant, offset)
    }

    fn one_of(&self, participant: u32, offset: usize) -> Option<u32> {
        self.of(participant, offset).map(|[word]| word)
    }

    /// Competes for a slot whose word was `was`, by one that held what `held` says. False if somebody
    /// else has it.
    fn win(&self, slot: u32, was: SlotWord, held: u32, board: &Board) -> Result<bool, Halt> {
        let mine = was.next(SlotState::Held, self.cells.me());
        if self.swap(slot, was, mine).is_err() {
            return Ok(false);
        }
        let undo = |halt| {
            self.put_back.set(true);
            // If that fails the word is another's business, or the keeper's.
            let _ = self.swap(slot, mine, was);
            Err(halt)
        };
        match self.claim(slot, held, board.max_held) {
            Claim::Noted => {}
            // Another thread's: the word says so now.
            Claim::AlreadyOurs => return Ok(false),
            Claim::TooMany(limit) => return undo(Halt::TooManyHeld(limit)),
        }
        // Between the claim and the look at those of the others.
        self.cells.full_barrier();
        match self.rival(slot) {
            Ok(None) => {
                self.cells.won(slot).store(mine.0, Relaxed);
                Ok(true)
            }
            Ok(Some(rival)) => {
                self.unclaim(slot);
                self.concede(slot, mine, rival);
                Ok(false)
            }
            Err(halt) => {
                self.unclaim(slot);
                undo(halt)
            }
        }
    }

    /// Sets the bit of a slot on one's own page, if it is within the limit, as what was held `before`
    /// is.
    fn claim(&self, slot: u32, before: u32, limit: u32) -> Claim {
        // Not what was held before, when another thread may still have had this slot.
        let mut held = self.held();
        // Threads of one process compete here; each failure is another's success.
        loop {
            if held & bit(slot) != 0 {
                return Claim::AlreadyOurs;
            }
            if held != before && held.count_ones() >= limit {
                return Claim::TooMany(limit);
            }
            let own = self.cells.own(claims::HELD_AT);
            match own.compare_exchange(held, held | bit(slot), SeqCst, Relaxed) {
                Ok(_) => return Claim::Noted,
                Err(now) => held = now,
            }
        }
    }

    /// Who else claims a slot that one has just claimed, by a page that can be believed.
    fn rival(&self, slot: u32) -> Result<Option<u32>, Halt> {
        // In this order as in `look`.
        let known = self.cells.known_epoch();
        let board = self.cells.board();
        let me = self.cells.me();
        if board.closed {
            return Err(Halt::Closed);
        }
        if board.alive & bit(me) == 0 {
            return Err(Halt::Ended);
        }
        // After the claim: whoever joins from here on sees it. A slot that is gone is news, too.
        if board.epoch != known || board.present & bit(slot) == 0 {
            return Err(Halt::Stale);
        }
        for other in bits(board.alive & !bit(me)) {
            let [held] = self.cells.others(other, claims::HELD_AT).ok_or(Halt::Stale)?;
            if held & bit(slot) != 0 && held.count_ones() <= board.max_held {
                return Ok(Some(other));
            }
        }
        Ok(None)
    }

    /// Says in the word that a slot is a rival's, and sees that it is not left there if the rival
    /// lets go of it at this moment.
    fn concede(&self, slot: u32, mine: SlotWord, rival: u32) {
        self.put_back.set(true);
        let theirs = mine.next(SlotState::Held, rival);
        if self.swap(slot, mine, theirs).is_err() {
            return;
        }
        self.cells.full_barrier();
        let [held] = self.cells.others(rival, claims::HELD_AT).unwrap_or([0]);
        if held & bit(slot) == 0 {
            let _ = self.swap(slot, theirs, theirs.next(SlotState::Free, rival));
        }
    }

    /// Notes what is submitted.
    fn record(&self, slot: u32, key: u64, metadata: &Metadata) {
        let store =
            |word, value| self.cells.own(claims::record_at(slot, word)).store(value, Relaxed);
        store(0, key as u32);
        store(1, (key >> 32) as u32);
        for (index, word) in metadata.to_words().into_iter().enumerate() {
            store(index + 2, word);
        }
    }

    /// A slot and its word, if there is a frame of this queue in it that its producer did submit.
    fn filled(&self, slot: u32, queue: Queue) -> Option<(u32, SlotWord)> {
        let word = self.word(slot);
        let is_filled = word.state() == SlotState::Filled && word.queue() == queue.number();
        if !is_filled {
            return None;
        }
        let [low, high] = self.of(word.participant(), claims::record_at(slot, 0))?;
        let key = u64::from(low) | u64::from(high) << 32;
        (key == word.key()).then_some((slot, word))
    }

    /// How many waiters have a right to a slot before whoever has this turn, or none.
    fn ahead(&self, line: Line, turn: Option<&Turn>, board: &Board) -> usize {
        let mut ahead = 0usize;
        for other in bits(board.alive) {
            let waiting = self.one_of(other, claims::WAITING_AT).unwrap_or(0) & line.waiters();
            if waiting == 0 {
                continue;
            }
            let is_older = |waiter: &u32| {
                let Some(turn) = turn else { return true };
                let ticket = self.one_of(other, claims::ticket_at(*waiter)).unwrap_or(turn.ticket);
                // Tickets wrap; half of them are before any one.
                (ticket.wrapping_sub(turn.ticket) as i32) < 0
            };
            let older = bits(waiting).filter(is_older).count();
            // It cannot have more than this, so it keeps no more from others.
            let held = self.one_of(other, claims::HELD_AT).unwrap_or(0);
            let may_take = board.max_held.saturating_sub(held.count_ones());
            ahead = ahead.saturating_add(older.min(may_take as usize));
        }
        ahead
    }

    /// Whether there is anything of what a line is for.
    fn has_any(&self, line: Line) -> bool {
        let board = self.cells.board();
        match line {
            Line::Free => bits(board.present & !board.retiring)
                .any(|slot| self.word(slot).state() == SlotState::Free),
            Line::Filled(queue) => {
                bits(board.present).any(|slot| self.filled(slot, queue).is_some())
            }
        }
    }

    fn somebody_waits(&self, line: Line) -> bool {
        let waits =
            |other| self.one_of(other, claims::WAITING_AT).unwrap_or(0) & line.waiters() != 0;
        // One that came since may wait, whose page is not known or is still that of whoever had its
        // number before.
        let known = self.cells.known_epoch();
        self.cells.epoch() != known || bits(self.cells.alive()).any(waits)
    }
}

/// What came of a claim.
enum Claim {
    Noted,
    AlreadyOurs,
    TooMany(u32),
}
