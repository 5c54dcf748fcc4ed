// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Pools: buffers that processes hand to each other without calling the service.
//!
//! A slot may be handed on before a device is done with its buffer. The control block carries no
//! fence, as memory cannot carry a descriptor, and it needs none: a dma-buf has the fences of whoever
//! works on it, and they come along with the slot. A driver leaves its own there; a fence that is a
//! descriptor goes in by [`Fence::import`](crate::Fence::import) or
//! [`end_before`](crate::WriteAccess::end_before) (Linux 6.0 and later). Whoever has the slot next
//! finds them by [`Fence::export`](crate::Fence::export), and a bracket of CPU access waits for them,
//! also on older kernels. That holds both ways: a reader may give a slot back that its device still
//! reads, and the next to fill it waits for that. Nobody has to trust another to have waited.
//!
//! Waiting for a slot is sleeping on a futex, which no event loop can poll: wait on a thread of your
//! own, or try when something else wakes you.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use berth_shared::pool::{Fault, Frame, Halt, Metadata, Pages, Participant, Queue, Turn};
use hal_binder::ParcelFileDescriptor;
use vendor_berth_allocator::aidl::vendor::berth::allocator::{
    BufferDescriptor::BufferDescriptor, BufferPool::BufferPool,
    PoolOptions::PoolOptions as AidlOptions,
};

use crate::buffer::Buffer;
use crate::session::{Binder, Session, SharePermit, Token};
use crate::{BufferRequest, Error};

/// How large a pool is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolOptions {
    /// Slots, each with a buffer; 1 to 32.
    pub slots: u32,
    /// Participants at a time, whoever creates it included; 1 to 16.
    pub max_participants: u32,
    /// How many slots one of them can hold at a time; `None` for all. It bounds what a hostile or
    /// stopped participant keeps from the others.
    pub max_held: Option<u32>,
}

impl Default for PoolOptions {
    fn default() -> PoolOptions {
        PoolOptions { slots: 4, max_participants: 4, max_held: None }
    }
}

impl PoolOptions {
    /// So many slots.
    pub fn slots(slots: u32) -> PoolOptions {
        PoolOptions { slots, ..PoolOptions::default() }
    }
}

/// This process's part in a pool; left when the last clone and the last slot of it are dropped. May be used from several threads.
///
/// What is acquired, taken, submitted and released costs no call and no system call, unless somebody
/// has to wait or to be woken. After somebody joined or the pool grew, the next acquire or take asks
/// the service once for what is new.
#[derive(Debug, Clone)]
pub struct Pool(Arc<Part>);

#[derive(Debug)]
struct Part {
    session: Session,
    id: i64,
    participant: Participant,
    buffers: RwLock<Known<Arc<Buffer>>>,
}

/// What is known of a pool's slots.
#[derive(Debug)]
struct Known<B> {
    /// Up to here.
    epoch: u32,
    buffers: HashMap<u32, B>,
}

impl<B> Default for Known<B> {
    fn default() -> Self {
        Known { epoch: 0, buffers: HashMap::new() }
    }
}

impl<B> Known<B> {
    /// Learns what an answer says of an epoch. One that comes late says nothing: a slot may have gone
    /// and come again since, with another buffer.
    fn learn(&mut self, epoch: u32, buffers: Vec<(u32, B)>, is_there: impl Fn(u32) -> bool) {
        // Epochs wrap; half of them are before any one.
        if (epoch.wrapping_sub(self.epoch) as i32) >= 0 {
            self.epoch = epoch;
            self.buffers.extend(buffers);
        }
        self.buffers.retain(|slot, _| is_there(*slot));
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if let Err(error) = self.session.leave_pool(self.id) {
            log::debug!("pool {} was not left: {error}", self.id);
        }
    }
}

impl Session {
    /// Makes a pool of buffers after a request, with this session as its first participant. It ends
    /// for all when its creator leaves it.
    pub fn create_pool(
        &self,
        request: &BufferRequest,
        options: PoolOptions,
    ) -> Result<Pool, Error> {
        self.create_pool_descriptor(&request.descriptor(), options)
    }

    /// The same for a caller that has a descriptor of its own.
    pub fn create_pool_descriptor(
        &self,
        descriptor: &BufferDescriptor,
        options: PoolOptions,
    ) -> Result<Pool, Error> {
        let int = |value: u32| i32::try_from(value).unwrap_or(i32::MAX);
        let options = AidlOptions {
            slots: int(options.slots),
            maxParticipants: int(options.max_participants),
            // More than may be, and not "all", if somebody asks for none.
            maxHeld: options.max_held.map_or(0, |most| if most == 0 { -1 } else { int(most) }),
        };
        let answer = self.once(|binder| binder.createPool(descriptor, &options))?;
        Pool::of_answer(self, answer)
    }

    /// Joins a pool by a token from [`Pool::share`].
    pub fn join_pool(&self, token: Token) -> Result<Pool, Error> {
        let answer = self.once(|binder| binder.joinPool(&token.into()))?;
        Pool::of_answer(self, answer)
    }

    fn leave_pool(&self, id: i64) -> Result<(), Error> {
        self.at_once(|binder| binder.leavePool(id))
    }
}

impl Pool {
    fn of_answer(session: &Session, mut answer: BufferPool) -> Result<Pool, Error> {
        let id = answer.id;
        let built = (|| {
            let page = |fd: Option<ParcelFileDescriptor>| {
                fd.map(OwnedFd::from).ok_or_else(|| nonsense(id, "a page is missing"))
            };
            let (board, table) = (page(answer.board.take())?, page(answer.table.take())?);
            let claims = page(answer.ownClaims.take())?;
            let (board, table, claims) = (board.as_fd(), table.as_fd(), claims.as_fd());
            let number = u32::try_from(answer.participant).unwrap_or(u32::MAX);
            Ok(Participant::new(&Pages { board, table, claims, number })?)
        })();
        match built {
            Ok(participant) => {
                let buffers = RwLock::default();
                let part = Part { session: session.clone(), id, participant, buffers };
                part.learn(answer)?;
                Ok(Pool(Arc::new(part)))
            }
            Err(error) => {
                let _ = session.leave_pool(id);
                Err(error)
            }
        }
    }

    /// Its id in the session.
    pub fn id(&self) -> i64 {
        self.0.id
    }

    /// This participant's number in the pool, by which others know its frames.
    pub fn participant(&self) -> u32 {
        self.0.participant.number()
    }

    /// How many take part, this one included; it may have changed already.
    pub fn participants(&self) -> u32 {
        self.0.participant.participants()
    }

    /// Makes a token by which another uid can join, if this session created the pool.
    pub fn share(&self, permit: SharePermit) -> Result<Token, Error> {
        let share = |binder: &Binder| binder.sharePool(self.0.id, &permit.into());
        Ok(Token(self.0.session.once(share)?.value))
    }

    /// Gives the pool so many slots, if this session created it. Slots that somebody uses go when they
    /// are free again.
    pub fn resize(&self, slots: u32) -> Result<(), Error> {
        let slots = i32::try_from(slots).unwrap_or(i32::MAX);
        self.0.session.once(|binder| binder.resizePool(self.0.id, slots))
    }

    /// Has the service put right what a participant wrote to the table that is not so; answers how
    /// many slots that were. What may be in progress it looks at once more, a moment later. Whoever
    /// waits for a second asks for this without being told.
    pub fn restore(&self) -> Result<u32, Error> {
        self.0.restore()
    }

    /// Takes a free slot to fill it, if there is one and nobody waits for it.
    pub fn try_acquire(&self) -> Result<Option<Lease>, Error> {
        let slot = self.0.up_to_date(|| self.0.participant.try_acquire().map_err(Fault::Halt))?;
        Ok(slot.map(|slot| Lease::new(self, slot)))
    }

    /// Takes a free slot to fill it, in turn with all who wait.
    pub fn acquire(&self, within: Duration) -> Result<Lease, Error> {
        // Who need not wait has no need of a clock.
        let slot =
            match self.0.up_to_date(|| self.0.participant.try_acquire().map_err(Fault::Halt))? {
                Some(slot) => slot,
                None => self.0.in_time(within, Participant::acquire_in_turn)?,
            };
        Ok(Lease::new(self, slot))
    }

    /// Takes the frame that was submitted first, if there is one and nobody waits for it.
    pub fn try_take(&self) -> Result<Option<Filled>, Error> {
        self.try_take_from(Queue::First)
    }

    /// The same of a queue, as a stage of a pipeline.
    pub fn try_take_from(&self, queue: Queue) -> Result<Option<Filled>, Error> {
        let take = || self.0.participant.try_take(queue).map_err(Fault::Halt);
        Ok(self.0.up_to_date(take)?.map(|frame| Filled::new(self, frame)))
    }

    /// Takes the frame that was submitted first, in turn with all who wait.
    pub fn take(&self, within: Duration) -> Result<Filled, Error> {
        self.take_from(Queue::First, within)
    }

    /// The same of a queue, as a stage of a pipeline.
    pub fn take_from(&self, queue: Queue, within: Duration) -> Result<Filled, Error> {
        // As in `acquire`.
        let there =
            self.0.up_to_date(|| self.0.participant.try_take(queue).map_err(Fault::Halt))?;
        let take =
            |one: &Participant, turn: &mut Option<Turn>, left| one.take_in_turn(queue, turn, left);
        let frame = match there {
            Some(frame) => frame,
            None => self.0.in_time(within, take)?,
        };
        Ok(Filled::new(self, frame))
    }
}

/// Somebody who waits for a pool's slots or frames, one after the other, and keeps its place in line
/// from one wait to the next.
#[derive(Debug)]
pub(crate) struct Waiter {
    pool: Pool,
    place: Place,
}

impl Waiter {
    pub(crate) fn new(pool: &Pool) -> Waiter {
        Waiter { pool: pool.clone(), place: Place::default() }
    }

    /// What comes in time to a queue; `None` if nothing does.
    pub(crate) fn take(&mut self, queue: Queue, within: Duration) -> Result<Option<Filled>, Error> {
        let take =
            |one: &Participant, turn: &mut Option<Turn>, left| one.take_in_turn(queue, turn, left);
        let frame = self.place.wait(&self.pool.0, within, take);
        if_any(frame.map(|frame| Filled::new(&self.pool, frame)))
    }

    /// The same of a free slot.
    pub(crate) fn acquire(&mut self, within: Duration) -> Result<Option<Lease>, Error> {
        let slot = self.place.wait(&self.pool.0, within, Participant::acquire_in_turn);
        if_any(slot.map(|slot| Lease::new(&self.pool, slot)))
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.place.leave(&self.pool.0);
    }
}

/// Nothing, where there may be something later.
fn if_any<T>(result: Result<T, Error>) -> Result<Option<T>, Error> {
    match result {
        Err(Error::Pool(Fault::TimedOut(_) | Fault::Halt(Halt::TooManyHeld(_)))) => Ok(None),
        result => result.map(Some),
    }
}

/// A place in a line of a pool, until it is left.
#[derive(Debug, Default)]
struct Place {
    turn: Option<Turn>,
    doubts: Doubts,
}

impl Place {
    /// Waits, and learns what is new as often as there is something. Whoever waits for long has the
    /// table put right: perhaps somebody has written to it.
    fn wait<T>(
        &mut self,
        part: &Part,
        within: Duration,
        act: impl Fn(&Participant, &mut Option<Turn>, Duration) -> Result<T, Fault>,
    ) -> Result<T, Error> {
        let began = Instant::now();
        let Place { turn, doubts } = self;
        loop {
            let next = doubts.next(began);
            let outcome = part.up_to_date(|| {
                let now = Instant::now();
                let left = within.saturating_sub(now.saturating_duration_since(began));
                act(&part.participant, turn, left.min(next.saturating_duration_since(now)))
            });
            match outcome {
                Err(Error::Pool(Fault::TimedOut(_))) if began.elapsed() < within => {
                    // Those that take part go on without the service.
                    if let Err(error) = part.restore() {
                        log::debug!("pool {} was not put right: {error}", part.id);
                    }
                    doubts.put_off(Instant::now());
                }
                Ok(_) => {
                    *doubts = Doubts::default();
                    return outcome;
                }
                outcome => return outcome,
            }
        }
    }

    fn leave(&mut self, part: &Part) {
        if let Some(turn) = self.turn.take() {
            part.participant.leave(turn);
        }
    }
}

/// When somebody who waits asks whether the table is right: soon, and then more and more rarely.
#[derive(Debug, Default)]
struct Doubts {
    next: Option<Instant>,
    asked: u32,
}

impl Doubts {
    /// Longer than most have to wait.
    const FIRST: Duration = Duration::from_secs(1);
    const MOST: Duration = Duration::from_secs(32);

    /// When to ask, of a wait that began then.
    fn next(&mut self, began: Instant) -> Instant {
        *self.next.get_or_insert_with(|| began + Doubts::FIRST)
    }

    /// It was asked now.
    fn put_off(&mut self, now: Instant) {
        let pause = Doubts::FIRST.saturating_mul(1u32.checked_shl(self.asked).unwrap_or(u32::MAX));
        self.next = Some(now + pause.min(Doubts::MOST));
        self.asked = self.asked.saturating_add(1);
    }
}

impl Part {
    fn restore(&self) -> Result<u32, Error> {
        let restored = self.session.at_once(|binder| binder.restorePool(self.id))?;
        Ok(restored.unsigned_abs())
    }

    /// Waits, and if there was nothing in time has the table put right and tries once more: perhaps
    /// somebody had written to it.
    #[cold] // Out of the way of who need not wait.
    fn in_time<T>(
        &self,
        within: Duration,
        act: impl Fn(&Participant, &mut Option<Turn>, Duration) -> Result<T, Fault>,
    ) -> Result<T, Error> {
        let mut place = Place::default();
        let mut outcome = place.wait(self, within, &act);
        if matches!(outcome, Err(Error::Pool(Fault::TimedOut(_)))) {
            // Whether the service is there or not, the wait is over.
            if self.restore().unwrap_or(0) > 0 {
                outcome = place.wait(self, Duration::ZERO, &act);
            }
        }
        place.leave(self);
        outcome.map_err(|error| match error {
            Error::Pool(Fault::TimedOut(_)) => Error::Pool(Fault::TimedOut(within)),
            error => error,
        })
    }

    /// Acts, and learns what is new as often as there is something.
    fn up_to_date<T>(&self, mut act: impl FnMut() -> Result<T, Fault>) -> Result<T, Error> {
        self.session.check_owner()?;
        // A pool cannot change without end: its participants are limited. But a service may be mad.
        for _ in 0..64 {
            match act() {
                Err(Fault::Halt(Halt::Stale)) => {
                    let known = self.participant.known_epoch() as i32;
                    let update =
                        self.session.at_once(|binder| binder.updatePool(self.id, known))?;
                    self.learn(update)?;
                }
                result => return Ok(result?),
            }
        }
        Err(nonsense(self.id, "it is never up to date"))
    }

    fn learn(&self, answer: BufferPool) -> Result<(), Error> {
        let mut claims = Vec::with_capacity(answer.claims.len());
        for one in answer.claims {
            let fd = one.fd.ok_or_else(|| nonsense(self.id, "claims are missing"))?;
            claims.push((u32::try_from(one.participant).unwrap_or(u32::MAX), OwnedFd::from(fd)));
        }
        let mut buffers = Vec::with_capacity(answer.slots.len());
        for one in answer.slots {
            let slot = u32::try_from(one.slot).unwrap_or(u32::MAX);
            buffers.push((slot, Arc::new(Buffer::of_answer(None, one.buffer)?)));
        }
        // The same 32 bits.
        let epoch = answer.epoch as u32;
        // The buffers first: whoever finds the epoch known finds them.
        let mut known = self.buffers.write().unwrap_or_else(PoisonError::into_inner);
        known.learn(epoch, buffers, |slot| self.participant.has_slot(slot));
        drop(known);
        Ok(self.participant.learn(epoch, &claims)?)
    }

    fn buffer(&self, slot: u32) -> Result<Arc<Buffer>, Error> {
        let known = self.buffers.read().unwrap_or_else(PoisonError::into_inner);
        known.buffers.get(&slot).cloned().ok_or_else(|| nonsense(self.id, "a slot has no buffer"))
    }

    fn give_back(&self, slot: u32) {
        // A forked child's copy: the slot is its parent's.
        if self.session.check_owner().is_err() {
            return;
        }
        if self.participant.release(slot) {
            // The service wants the slot, and takes it when it next looks.
            if let Err(error) = self.restore() {
                log::debug!("a slot of pool {} was not withdrawn: {error}", self.id);
            }
        }
    }
}

fn nonsense(id: i64, what: &str) -> Error {
    Error::BadAnswer(format!("pool {id}: {what}"))
}

/// A slot that this process holds to fill it. Given back unused when dropped.
#[derive(Debug)]
pub struct Lease {
    part: Arc<Part>,
    slot: u32,
    held: bool,
}

impl Lease {
    fn new(pool: &Pool, slot: u32) -> Self {
        Lease { part: pool.0.clone(), slot, held: true }
    }

    /// The slot's number: the same buffer each time, as long as the pool does not shrink.
    pub fn slot(&self) -> u32 {
        self.slot
    }

    /// The slot's buffer.
    pub fn buffer(&self) -> Result<Arc<Buffer>, Error> {
        self.part.buffer(self.slot)
    }

    /// Hands the slot over to whoever takes it, behind all that were submitted before.
    pub fn submit(self, metadata: &Metadata) -> Result<(), Error> {
        self.submit_to(Queue::First, metadata)
    }

    /// The same to a queue, as a stage of a pipeline.
    pub fn submit_to(mut self, queue: Queue, metadata: &Metadata) -> Result<(), Error> {
        self.part.session.check_owner()?;
        let submitted = self.part.participant.submit(self.slot, queue, metadata);
        // Handed over or lost, it is no longer ours to give back.
        self.held = false;
        Ok(submitted?)
    }

    /// Gives the slot back unused.
    pub fn discard(self) {}
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.held {
            self.part.give_back(self.slot);
        }
    }
}

/// A frame that this process took. Given back when dropped.
#[derive(Debug)]
pub struct Filled {
    lease: Lease,
    frame: Frame,
}

impl Filled {
    fn new(pool: &Pool, frame: Frame) -> Self {
        Filled { lease: Lease::new(pool, frame.slot), frame }
    }

    /// The slot's number.
    pub fn slot(&self) -> u32 {
        self.frame.slot
    }

    /// The participant that submitted it.
    pub fn producer(&self) -> u32 {
        self.frame.producer
    }

    /// What its producer said of it: a message of another process, to be checked.
    pub fn metadata(&self) -> &Metadata {
        &self.frame.metadata
    }

    /// The slot's buffer.
    pub fn buffer(&self) -> Result<Arc<Buffer>, Error> {
        self.lease.buffer()
    }

    /// Hands the slot on to the next stage of a pipeline, changed or as it is.
    pub fn pass_on(self, queue: Queue, metadata: &Metadata) -> Result<(), Error> {
        self.lease.submit_to(queue, metadata)
    }

    /// Gives the slot back.
    pub fn release(self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_waits_for_long_asks_soon_and_then_more_and_more_rarely() {
        let began = Instant::now();
        let (mut doubts, mut pauses) = (Doubts::default(), Vec::new());
        let mut now = began;
        for _ in 0..40 {
            let next = doubts.next(now);
            assert_eq!(doubts.next(next), next, "it is due once it was to come");
            pauses.push((next - now).as_secs());
            now = next;
            doubts.put_off(now);
        }
        assert_eq!(pauses[..8], [1, 1, 2, 4, 8, 16, 32, 32]);
        assert!(pauses[8..].iter().all(|pause| *pause == 32));
    }

    #[test]
    fn an_answer_that_comes_late_brings_no_buffer_back() {
        let mut known = Known::default();
        known.learn(4, vec![(0, 'a'), (3, 'x')], |_| true);
        // The pool shrank and grew. Another thread had asked before that, and learns last.
        known.learn(7, vec![(3, 'y')], |_| true);
        known.learn(5, vec![(3, 'x'), (9, 'z')], |slot| slot < 9);
        assert_eq!((known.epoch, known.buffers), (7, HashMap::from([(0, 'a'), (3, 'y')])));
    }

    #[test]
    fn buffers_of_slots_that_are_gone_are_let_go_and_epochs_wrap() {
        let mut known = Known { epoch: u32::MAX, buffers: HashMap::from([(0, 'a'), (1, 'b')]) };
        known.learn(1, vec![(2, 'c')], |slot| slot != 1);
        assert_eq!((known.epoch, known.buffers), (1, HashMap::from([(0, 'a'), (2, 'c')])));
    }
}
