// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! One participant of a pool, in its own process.

use std::os::fd::OwnedFd;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{fence, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use berth_kernel::mapping::{ReadOnly, ReadWrite};
use berth_kernel::page_row::PageRow;
use berth_kernel::{futex, KernelError};
use nix::errno::Errno;

use super::claims::CLAIMS_BYTES;
use super::machine::{Board, Cells, Halt, Line, Lost, Machine, Queue, Released, Turn};
use super::metadata::{Frame, Metadata};
use super::page::Page;
use super::{board, MAX_PARTICIPANTS, MAX_SLOTS};

/// Why a participant got no slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It has to do something first.
    #[error(transparent)]
    Halt(#[from] Halt),
    /// There was none in time.
    #[error("no slot of the pool within {0:?}")]
    TimedOut(Duration),
}

/// The pages of a pool, as the service hands them to a participant.
#[derive(Debug)]
pub struct Pages<'fd> {
    /// The service's board, to read.
    pub board: BorrowedFd<'fd>,
    /// The table, to read and write.
    pub table: BorrowedFd<'fd>,
    /// The participant's own claims, to read and write.
    pub claims: BorrowedFd<'fd>,
    /// Its number.
    pub number: u32,
}

type Table = Page<ReadWrite, { board::BYTES }>;

/// A participant of a pool. May be used from several threads.
#[derive(Debug)]
pub struct Participant {
    number: u32,
    board: Page<ReadOnly, { board::BYTES }>,
    table: Table,
    own: Page<ReadWrite, CLAIMS_BYTES>,
    others: Others,
    places: AtomicU32,
    /// Threads that wait for a place in a line.
    without_place: AtomicU32,
    won: [AtomicU64; MAX_SLOTS as usize],
}

/// The pages of the others, and the epoch up to which they are known.
#[derive(Debug)]
struct Others {
    /// Stored when the pages are there: who finds an epoch here finds its pages, or newer ones.
    epoch: AtomicU32,
    /// A bit for each page.
    known: AtomicU32,
    pages: PageRow<{ MAX_PARTICIPANTS as usize }, CLAIMS_BYTES>,
    /// Held by whoever learns.
    learning: Mutex<()>,
}

impl Participant {
    /// Maps the pages; the descriptors need not stay open.
    ///
    /// # Errors
    ///
    /// What the kernel says, and `EPROTO` for a board of another version or a number that no
    /// participant has.
    pub fn new(pages: &Pages<'_>) -> Result<Participant, KernelError> {
        let refuse = || KernelError::new("map the pages of a pool", Errno::EPROTO);
        let board: Page<ReadOnly, { board::BYTES }> = Page::map(pages.board)?;
        if board.load(board::MAGIC_AT) != board::MAGIC || pages.number >= MAX_PARTICIPANTS {
            return Err(refuse());
        }
        Ok(Participant {
            number: pages.number,
            board,
            table: Page::map(pages.table)?,
            own: Page::map(pages.claims)?,
            others: Others {
                epoch: AtomicU32::new(0),
                known: AtomicU32::new(0),
                pages: PageRow::new()?,
                learning: Mutex::new(()),
            },
            places: AtomicU32::new(0),
            without_place: AtomicU32::new(0),
            won: Default::default(),
        })
    }

    /// Its number in the pool.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// The epoch up to which it knows everything; 0 before the first [`learn`](Participant::learn).
    pub fn known_epoch(&self) -> u32 {
        self.others.epoch.load(Ordering::Acquire)
    }

    /// How many take part, this one included; it may have changed already.
    pub fn participants(&self) -> u32 {
        self.board.load(board::ALIVE_AT).count_ones()
    }

    /// Whether a slot is in the pool.
    pub fn has_slot(&self, slot: u32) -> bool {
        self.board.load(board::PRESENT_AT) & super::bit(slot) != 0
    }

    /// Learns what is new up to an epoch: the claims of others, by their numbers. A number that was
    /// known is another participant from now on, also for who is in the midst of an act: by then the
    /// former one has ended, and its claims count for nothing.
    pub fn learn(&self, epoch: u32, claims: &[(u32, OwnedFd)]) -> Result<(), KernelError> {
        let others = &self.others;
        let _learning = others.learning.lock().unwrap_or_else(PoisonError::into_inner);
        // Another thread may have learnt more meanwhile: its pages are not to be exchanged for older
        // ones. Epochs wrap; half of them are before any one.
        if (epoch.wrapping_sub(self.known_epoch()) as i32) < 0 {
            return Ok(());
        }
        for (number, fd) in claims.iter().filter(|(number, _)| *number < MAX_PARTICIPANTS) {
            others.pages.exchange(*number as usize, fd.as_fd())?;
            others.known.fetch_or(super::bit(*number), Ordering::Relaxed);
        }
        others.epoch.store(epoch, Ordering::Release);
        Ok(())
    }

    /// Takes a free slot, if there is one and nobody waits for it.
    pub fn try_acquire(&self) -> Result<Option<u32>, Halt> {
        self.attempt(Line::Free, |machine| machine.try_acquire(None))
    }

    /// Takes a free slot, in turn.
    pub fn acquire(&self, within: Duration) -> Result<u32, Fault> {
        self.once(|turn| self.acquire_in_turn(turn, within))
    }

    /// Takes a free slot, in a turn that is kept from one wait to the next: whoever got nothing in time,
    /// or has to learn first, still stands where it stood. `turn` is `None` for who stands nowhere, and
    /// is so afterwards for who has a slot or will not get one as things are. Whoever does not come
    /// again has to [`leave`](Participant::leave).
    pub fn acquire_in_turn(&self, turn: &mut Option<Turn>, within: Duration) -> Result<u32, Fault> {
        let act = |machine: &Machine<View<'_>>, turn: Option<&Turn>| machine.try_acquire(turn);
        self.wait(Line::Free, turn, within, act)
    }

    /// Takes the frame of a queue that was submitted first, if there is one and nobody waits for it.
    pub fn try_take(&self, queue: Queue) -> Result<Option<Frame>, Halt> {
        self.attempt(Line::Filled(queue), |machine| machine.try_take(queue, None))
    }

    /// Takes the frame of a queue that was submitted first, in turn.
    pub fn take(&self, queue: Queue, within: Duration) -> Result<Frame, Fault> {
        self.once(|turn| self.take_in_turn(queue, turn, within))
    }

    /// The same in a turn that is kept, as of [`acquire_in_turn`](Participant::acquire_in_turn).
    pub fn take_in_turn(
        &self,
        queue: Queue,
        turn: &mut Option<Turn>,
        within: Duration,
    ) -> Result<Frame, Fault> {
        let act = |machine: &Machine<View<'_>>, turn: Option<&Turn>| machine.try_take(queue, turn);
        self.wait(Line::Filled(queue), turn, within, act)
    }

    /// Gives up a turn without what it was for.
    pub fn leave(&self, turn: Turn) {
        self.step_out(turn, true);
    }

    /// Hands a slot that it holds over to whoever takes it from a queue.
    ///
    /// # Errors
    ///
    /// If the slot is not its own any more, which is so only after somebody wrote to the table or the
    /// service noted this participant's end.
    pub fn submit(&self, slot: u32, queue: Queue, metadata: &Metadata) -> Result<(), Lost> {
        let wake = Machine::new(self.view()).submit(slot, queue, metadata)?;
        if wake {
            self.ring(Line::Filled(queue));
        }
        Ok(())
    }

    /// Gives back a slot that it holds. True if the service should be told, as it wants to take the
    /// slot out of the pool.
    #[must_use = "a slot that is to go goes only when the service is told"]
    pub fn release(&self, slot: u32) -> bool {
        let Released { wake, retiring } = Machine::new(self.view()).release(slot);
        if wake {
            self.ring(Line::Free);
        }
        retiring
    }

    fn attempt<T>(
        &self,
        line: Line,
        act: impl FnOnce(&Machine<View<'_>>) -> Result<T, Halt>,
    ) -> Result<T, Halt> {
        let machine = Machine::new(self.view());
        let result = act(&machine);
        if machine.has_put_back() {
            self.ring(line);
        }
        result
    }

    /// A wait whose turn is not kept.
    fn once<T>(
        &self,
        wait: impl FnOnce(&mut Option<Turn>) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let mut turn = None;
        let outcome = wait(&mut turn);
        if let Some(turn) = turn {
            self.leave(turn);
        }
        outcome
    }

    /// Waits in `kept`. A turn of another line is given up.
    fn wait<T>(
        &self,
        line: Line,
        kept: &mut Option<Turn>,
        within: Duration,
        act: impl Fn(&Machine<View<'_>>, Option<&Turn>) -> Result<Option<T>, Halt>,
    ) -> Result<T, Fault> {
        let mut turn = match kept.take() {
            Some(turn) if turn.line() == line => turn,
            other => {
                if let Some(other) = other {
                    self.leave(other);
                }
                // Without a turn, if nobody stands there: that costs no system call.
                if let Some(taken) = self.attempt(line, |machine| act(machine, None))? {
                    return Ok(taken);
                }
                Machine::new(self.view()).stand(line)
            }
        };
        let outcome = self.sleep_and_try(&mut turn, within, act);
        match outcome {
            Err(Fault::TimedOut(_) | Fault::Halt(Halt::Stale)) => *kept = Some(turn),
            _ => self.step_out(turn, outcome.is_err()),
        }
        outcome
    }

    fn sleep_and_try<T>(
        &self,
        turn: &mut Turn,
        within: Duration,
        act: impl Fn(&Machine<View<'_>>, Option<&Turn>) -> Result<Option<T>, Halt>,
    ) -> Result<T, Fault> {
        let began = Instant::now();
        let (line, mut without_place) = (turn.line(), None);
        let bell = self.bell(line);
        loop {
            let rings = bell.load(Ordering::Acquire);
            if !Machine::new(self.view()).take_place(turn) && without_place.is_none() {
                // Before it tries again: of this and of who leaves one sees the other.
                without_place = Some(Counted::new(&self.without_place));
                Machine::new(self.view()).take_place(turn);
            }
            if let Some(taken) = self.attempt(line, |machine| act(machine, Some(turn)))? {
                return Ok(taken);
            }
            match within.checked_sub(began.elapsed()).filter(|left| !left.is_zero()) {
                Some(left) => futex::wait(bell, rings, left),
                None => return Err(Fault::TimedOut(within)),
            }
        }
    }

    /// Leaves a line, empty-handed or not, and wakes whom that concerns.
    pub(super) fn step_out(&self, turn: Turn, empty_handed: bool) {
        let others_wait = Machine::new(self.view()).leave(&turn, empty_handed);
        // After the barrier in `leave`. Only this process knows of who has no place.
        if others_wait || self.without_place.load(Ordering::SeqCst) > 0 {
            self.ring(turn.line());
        }
    }

    pub(super) fn view(&self) -> View<'_> {
        View(self)
    }

    fn bell(&self, line: Line) -> &AtomicU32 {
        bell(&self.table, line)
    }

    fn ring(&self, line: Line) {
        ring(&self.table, line);
    }
}

/// One of those that are counted, as long as it lives.
struct Counted<'a>(&'a AtomicU32);

impl<'a> Counted<'a> {
    fn new(count: &'a AtomicU32) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        // Whoever looks for them has a barrier, too.
        fence(Ordering::SeqCst);
        Counted(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// What those in a line sleep on.
fn bell(table: &Table, line: Line) -> &AtomicU32 {
    table.word(match line {
        Line::Free => board::FREE_BELL_AT,
        // Whoever waits for another queue looks, and sleeps again.
        Line::Filled(_) => board::FILLED_BELL_AT,
    })
}

/// Wakes all who stand in a line; each looks whether it is its turn.
pub(super) fn ring(table: &Table, line: Line) {
    let bell = bell(table, line);
    bell.fetch_add(1, Ordering::Release);
    // Waking fails only for an address that is no word; this one is.
    let _ = futex::wake_all(bell);
}

/// The pages as the algorithm sees them.
pub(super) struct View<'a>(&'a Participant);

impl Cells for View<'_> {
    type Word = AtomicU32;
    type Slot = AtomicU64;

    fn full_barrier(&self) {
        fence(Ordering::SeqCst);
    }

    fn me(&self) -> u32 {
        self.0.number
    }

    fn known_epoch(&self) -> u32 {
        self.0.known_epoch()
    }

    fn board(&self) -> Board {
        let board = &self.0.board;
        Board {
            epoch: board.load(board::EPOCH_AT),
            closed: board.load(board::CLOSED_AT) != 0,
            alive: board.load(board::ALIVE_AT),
            present: board.load(board::PRESENT_AT),
            retiring: board.load(board::RETIRING_AT),
            max_held: board.load(board::MAX_HELD_AT),
        }
    }

    fn epoch(&self) -> u32 {
        self.0.board.load(board::EPOCH_AT)
    }

    fn alive(&self) -> u32 {
        self.0.board.load(board::ALIVE_AT)
    }

    fn retiring(&self) -> u32 {
        self.0.board.load(board::RETIRING_AT)
    }

    fn slot(&self, slot: u32) -> &AtomicU64 {
        let slot = (slot % MAX_SLOTS) as usize;
        self.0.table.wide_word(board::SLOTS_AT + slot * board::SLOT_BYTES)
    }

    fn tickets(&self) -> &AtomicU32 {
        self.0.table.word(board::TICKETS_AT)
    }

    fn own(&self, offset: usize) -> &AtomicU32 {
        self.0.own.word(offset)
    }

    fn others<const N: usize>(&self, participant: u32, offset: usize) -> Option<[u32; N]> {
        let others = &self.0.others;
        let is_known = others.known.load(Ordering::Relaxed) & super::bit(participant) != 0;
        is_known.then(|| others.pages.load(participant as usize, offset))
    }

    fn places(&self) -> &AtomicU32 {
        &self.0.places
    }

    fn won(&self, slot: u32) -> &AtomicU64 {
        static NONE: AtomicU64 = AtomicU64::new(0);
        self.0.won.get(slot as usize).unwrap_or(&NONE)
    }
}
