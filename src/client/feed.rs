// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Waiting by a descriptor, for event loops: what can only be slept for, as a pool's frames, a ring's
//! records or its room or a [`Doorbell`](berth_shared::Doorbell), is waited for in a thread of its own,
//! and a pipe is ready to read when it is there. A [`Fence`](crate::Fence) needs none of this: it is
//! such a descriptor.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::mpsc::{sync_channel, SyncSender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use berth_kernel::pipe::pipe;
use berth_kernel::KernelError;
use berth_shared::pool::Queue;
use berth_shared::presence::Standing;
use berth_shared::ring::{Consumer, Layout, Producer, RingError};
use nix::errno::Errno;

use crate::pool::Waiter;
use crate::{Error, Filled, Lease, Pool};

/// How long the thread waits at a time, and so how long it outlives its feed at most.
const STEP: Duration = Duration::from_millis(500);
/// How long it pauses if it was not let wait.
const PAUSE: Duration = Duration::from_millis(10);

/// What comes of a wait that is repeated, one after the other; in the end an error, and nothing more.
///
/// The descriptor ([`AsFd`]) is for poll, epoll and their like, level-triggered: ready to read
/// (`POLLIN`) as long as there is something to be had, and hung up (`POLLHUP`) when nothing more will
/// come. Nobody but the feed may read from it.
///
/// One thing at most is taken ahead, and nobody else has it meanwhile: a pool's slot is held. What
/// was taken and not fetched when the feed is dropped is dropped with it; [`end`](Feed::end) gives it.
#[derive(Debug)]
pub struct Feed<T, E> {
    shared: Arc<Shared<T, E>>,
    ready: File,
}

#[derive(Debug)]
struct Shared<T, E> {
    state: Mutex<State<T, E>>,
    news: Condvar,
}

#[derive(Debug)]
struct State<T, E> {
    there: Option<Result<T, E>>,
    /// Nobody wants anything more.
    dropped: bool,
    /// Nothing more comes.
    over: bool,
}

impl<T: Send + 'static, E: Send + 'static> Feed<T, E> {
    /// Starts a thread that calls `wait` again and again: it waits for the time that it is given, and
    /// answers what came, `None` if nothing came in that time, or why nothing will come any more.
    ///
    /// # Errors
    ///
    /// If there is no descriptor or no thread to be had.
    pub fn start(
        wait: impl FnMut(Duration) -> Result<Option<T>, E> + Send + 'static,
    ) -> Result<Feed<T, E>, KernelError> {
        let (ready, signal) = pipe()?;
        let signal = File::from(signal);
        let state = State { there: None, dropped: false, over: false };
        let shared = Arc::new(Shared { state: Mutex::new(state), news: Condvar::new() });
        let thread = thread::Builder::new().name("feed".to_owned());
        let theirs = Worker(shared.clone());
        // The pipe's last writer ends with the thread, and so does `wait`, before it is over.
        let work = move || {
            let (theirs, mut wait, mut signal) = (theirs, wait, signal);
            while theirs.0.is_wanted() {
                let began = Instant::now();
                match wait(STEP).transpose() {
                    Some(came) => theirs.0.put(came, &mut signal),
                    None if began.elapsed() < PAUSE => theirs.0.pause(),
                    None => {}
                }
            }
        };
        thread.spawn(work).map_err(|error| {
            let errno = Errno::try_from(error).unwrap_or(Errno::EAGAIN);
            KernelError::new("start a thread that waits", errno)
        })?;
        Ok(Feed { shared, ready: File::from(ready) })
    }

    /// What is there, without waiting: `None` if nothing is, as it is for ever after an error.
    pub fn next(&self) -> Option<Result<T, E>> {
        let mut state = self.shared.lock();
        let there = state.there.take()?;
        // Written under the same lock, so that this does not wait.
        let read = (&self.ready).read(&mut [0]);
        drop(state);
        self.shared.news.notify_all();
        if let Err(error) = read {
            log::debug!("a feed's pipe: {error}");
        }
        Some(there)
    }

    /// Ends the thread, which takes half a second at most if `wait` keeps to its time, and gives back
    /// what was taken ahead.
    pub fn end(self) -> Option<Result<T, E>> {
        let mut state = self.shared.lock();
        state.dropped = true;
        self.shared.news.notify_all();
        while !state.over {
            state = self.shared.news.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.there.take()
    }
}

/// The thread; it is over when this is dropped, by a panic too.
struct Worker<T, E>(Arc<Shared<T, E>>);

impl<T, E> Drop for Worker<T, E> {
    fn drop(&mut self) {
        self.0.lock().over = true;
        self.0.news.notify_all();
    }
}

impl<T, E> Shared<T, E> {
    fn lock(&self) -> MutexGuard<'_, State<T, E>> {
        // It is whole at every step.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until what was there is fetched; whether more is wanted.
    fn is_wanted(&self) -> bool {
        let mut state = self.lock();
        loop {
            match (&state.there, state.dropped) {
                (_, true) | (Some(Err(_)), _) => return false,
                (None, false) => return !state.over,
                (Some(Ok(_)), false) => {}
            }
            state = self.news.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn put(&self, came: Result<T, E>, signal: &mut File) {
        let mut state = self.lock();
        state.over |= came.is_err();
        state.there = Some(came);
        if state.dropped {
            // Nobody may be left to read: the signal for that ends a process that does not ignore it.
            return;
        }
        // One byte in an empty pipe.
        if let Err(error) = signal.write_all(&[1]) {
            log::debug!("a feed's pipe: {error}");
        }
    }

    fn pause(&self) {
        let state = self.lock();
        if !state.dropped {
            drop(self.news.wait_timeout(state, PAUSE));
        }
    }
}

impl<T, E> Drop for Feed<T, E> {
    fn drop(&mut self) {
        self.shared.lock().dropped = true;
        self.shared.news.notify_all();
    }
}

impl<T, E> AsFd for Feed<T, E> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ready.as_fd()
    }
}

impl Pool {
    /// The frames of a queue, by a descriptor, the oldest first. A frame that was taken ahead is held
    /// by this participant. A feed waits in turn with all who wait, as long as nothing was taken ahead.
    pub fn frames(&self, queue: Queue) -> Result<Feed<Filled, Error>, Error> {
        let mut waiter = Waiter::new(self);
        Ok(Feed::start(move |within| waiter.take(queue, within))?)
    }

    /// The same of free slots to fill.
    pub fn leases(&self) -> Result<Feed<Lease, Error>, Error> {
        let mut waiter = Waiter::new(self);
        Ok(Feed::start(move |within| waiter.acquire(within))?)
    }
}

/// A ring's records, by a descriptor: each as bytes of its own. The reading end leaves the ring with
/// the feed's thread. The feed ends with what [`Consumer::read`] says of a producer that is gone.
pub fn records(mut consumer: Consumer) -> Result<Feed<Vec<u8>, RingError>, KernelError> {
    Feed::start(move |within| {
        let record = match consumer.peek(within) {
            Err(RingError::TimedOut(_)) => return Ok(None),
            record => record?,
        };
        let mut bytes = vec![0; record.length()];
        record.read(0, &mut bytes)?;
        record.release()?;
        Ok(Some(bytes))
    })
}

/// A ring's room, by a descriptor: each time it is ready one more record may be written, without
/// waiting. The writing end leaves the ring with the feed's thread, which writes what it was given
/// before, unless the ring stays full for half a second. The feed ends with what [`Producer::write`]
/// says of a consumer that is gone, half a second after that at most.
pub fn room(mut producer: Producer) -> Result<Feed<Room, RingError>, KernelError> {
    let layout = producer.layout();
    let (records, given) = sync_channel::<Option<Vec<u8>>>(1);
    // There is room for a first one.
    let mut next = Some(None);
    Feed::start(move |within| {
        if next.is_none() {
            // Never disconnected: `records` is kept here.
            next = given.recv_timeout(within).ok();
        }
        let written = match &next {
            Some(Some(record)) => match producer.write(record, within) {
                Err(RingError::TimedOut(_)) => false,
                written => written.map(|()| true)?,
            },
            nothing => gone(producer.consumer()).map_or(Ok(nothing.is_some()), Err)?,
        };
        Ok(written.then(|| {
            next = None;
            Room { layout, records: Some(records.clone()) }
        }))
    })
}

/// What a producer that has nothing to write is told of a consumer.
fn gone(consumer: Standing) -> Option<RingError> {
    match consumer {
        Standing::Left => Some(RingError::Closed),
        Standing::Died => Some(RingError::Died),
        Standing::Vacant | Standing::Present(_) => None,
    }
}

/// That one record may be written to a ring; the feed gives it again if it is dropped.
#[derive(Debug)]
pub struct Room {
    layout: Layout,
    records: Option<SyncSender<Option<Vec<u8>>>>,
}

impl Room {
    /// Hands over a record; the feed's thread writes it.
    ///
    /// # Errors
    ///
    /// Those of [`Layout::check`]; the feed gives the room again.
    pub fn write(mut self, record: Vec<u8>) -> Result<(), RingError> {
        self.layout.check(record.len())?;
        self.give(Some(record));
        Ok(())
    }

    fn give(&mut self, record: Option<Vec<u8>>) {
        if let Some(records) = self.records.take() {
            // It holds one, and there is one `Room` at a time. Without its thread the ring is left.
            let _ = records.try_send(record);
        }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.give(None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use berth_kernel::memfd::Memfd;
    use berth_shared::ring;
    use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
    use std::sync::mpsc::{channel, Receiver, RecvTimeoutError};

    const SOON: Duration = Duration::from_secs(30);

    /// What the descriptor is ready for, waited for if it should be ready.
    fn ready(feed: &impl AsFd, within: Duration) -> PollFlags {
        let mut entries = [PollFd::new(feed.as_fd(), PollFlags::POLLIN)];
        poll(&mut entries, PollTimeout::try_from(within).unwrap()).unwrap();
        entries[0].revents().unwrap()
    }

    /// What is sent to a channel; it ends with its sender.
    fn of(channel: Receiver<u32>) -> Feed<u32, &'static str> {
        let wait = move |within| match channel.recv_timeout(within) {
            Ok(number) => Ok(Some(number)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err("over"),
        };
        Feed::start(wait).unwrap()
    }

    #[test]
    fn nothing_is_written_where_nobody_may_be_left_to_read() {
        let written = |dropped| {
            let (ready, signal) = pipe().unwrap();
            let state = State { there: None, dropped, over: false };
            let shared = Shared { state: Mutex::new(state), news: Condvar::new() };
            let put: Result<u8, ()> = Ok(7);
            shared.put(put, &mut File::from(signal));
            assert_eq!(shared.lock().there, Some(Ok(7)), "it can be had all the same");
            let mut bytes = Vec::new();
            File::from(ready).read_to_end(&mut bytes).unwrap();
            bytes.len()
        };
        assert_eq!((written(false), written(true)), (1, 0));
    }

    #[test]
    fn the_descriptor_is_ready_as_long_as_there_is_something_and_hangs_up_at_the_end() {
        let (sender, channel) = channel();
        let feed = of(channel);
        assert_eq!(ready(&feed, Duration::ZERO), PollFlags::empty());
        assert_eq!(feed.next(), None);
        for number in 0..100 {
            sender.send(number).unwrap();
        }
        for number in 0..100 {
            assert_eq!(ready(&feed, SOON), PollFlags::POLLIN);
            assert_eq!(ready(&feed, Duration::ZERO), PollFlags::POLLIN, "it stays so");
            assert_eq!(feed.next(), Some(Ok(number)));
        }
        assert_eq!(ready(&feed, Duration::ZERO), PollFlags::empty());
        drop(sender);
        assert!(ready(&feed, SOON).contains(PollFlags::POLLIN));
        assert_eq!(feed.next(), Some(Err("over")));
        assert_eq!(ready(&feed, SOON), PollFlags::POLLHUP);
        assert_eq!(feed.next(), None);
        assert_eq!(feed.end(), None);
    }

    #[test]
    fn what_was_taken_ahead_is_given_back_at_the_end_and_one_thing_at_most() {
        let (sender, channel) = channel();
        let feed = of(channel);
        (1..=3).for_each(|number| sender.send(number).unwrap());
        assert_eq!(ready(&feed, SOON), PollFlags::POLLIN);
        assert_eq!(feed.end(), Some(Ok(1)));
        assert!(sender.send(4).is_err(), "the thread is gone, and with it what it waited for");
    }

    #[test]
    fn a_feed_that_is_dropped_ends_its_thread() {
        let (sender, channel) = channel();
        drop(of(channel));
        let began = Instant::now();
        while sender.send(4).is_ok() {
            assert!(began.elapsed() < SOON, "it waits on");
            thread::yield_now();
        }
    }

    #[test]
    fn a_wait_that_comes_back_at_once_is_asked_again_and_one_that_panics_is_the_end() {
        let mut asked = 0;
        let feed: Feed<u32, ()> = Feed::start(move |_| {
            asked += 1;
            match asked {
                1..=3 => Ok(None),
                4 => Ok(Some(asked)),
                _ => panic!("a wait that fails, as the test wants it"),
            }
        })
        .unwrap();
        assert_eq!(ready(&feed, SOON), PollFlags::POLLIN);
        assert_eq!(feed.next(), Some(Ok(4)));
        assert_eq!(ready(&feed, SOON), PollFlags::POLLHUP);
        assert_eq!(feed.end(), None);
    }

    #[test]
    fn the_records_of_a_ring_come_by_a_descriptor_and_so_does_the_end_of_its_producer() {
        let layout = Layout::of_capacity(64).unwrap();
        let memfd = Memfd::create("ring", layout.bytes() as u64).unwrap();
        ring::create(memfd.as_fd(), 0, layout).unwrap();
        let mut producer = Producer::attach(memfd.as_fd(), 0).unwrap();
        let feed = records(Consumer::attach(memfd.as_fd(), 0).unwrap()).unwrap();
        for number in 0..50u8 {
            // It waits for the room that the feed's thread makes.
            producer.write(&vec![number; 1 + usize::from(number)], SOON).unwrap();
            assert_eq!(ready(&feed, SOON), PollFlags::POLLIN);
            assert_eq!(feed.next(), Some(Ok(vec![number; 1 + usize::from(number)])));
        }
        assert_eq!(ready(&feed, Duration::ZERO), PollFlags::empty());
        drop(producer);
        assert!(ready(&feed, SOON).contains(PollFlags::POLLIN));
        assert_eq!(feed.next(), Some(Err(RingError::Closed)));
    }

    fn ends(layout: Layout) -> (Producer, Consumer) {
        let memfd = Memfd::create("ring", layout.bytes() as u64).unwrap();
        ring::create(memfd.as_fd(), 0, layout).unwrap();
        let producer = Producer::attach(memfd.as_fd(), 0).unwrap();
        (producer, Consumer::attach(memfd.as_fd(), 0).unwrap())
    }

    #[test]
    fn the_room_of_a_ring_comes_by_a_descriptor_and_so_does_the_end_of_its_consumer() {
        let (producer, mut consumer) = ends(Layout::of_capacity(64).unwrap());
        let feed = room(producer).unwrap();
        let mut written = 0u8;
        let mut into = [0; 64];
        for round in 0..20 {
            // Two fit, one is taken ahead.
            while ready(&feed, if written < 3 * (round + 1) { SOON } else { Duration::ZERO })
                .contains(PollFlags::POLLIN)
            {
                feed.next().unwrap().unwrap().write(vec![written; 28]).unwrap();
                written += 1;
            }
            assert_eq!(written, 3 * (round + 1), "a full ring is no room");
            for number in 3 * round..written {
                assert_eq!(consumer.read(&mut into, SOON), Ok(28));
                assert_eq!(into[..28], [number; 28]);
            }
        }
        drop(consumer);
        loop {
            assert!(ready(&feed, SOON).contains(PollFlags::POLLIN));
            match feed.next().unwrap() {
                Ok(room) => drop(room),
                Err(end) => break assert_eq!(end, RingError::Closed),
            }
        }
    }

    #[test]
    fn room_that_was_not_used_comes_again_and_what_was_given_is_written_at_the_end() {
        let (producer, mut consumer) = ends(Layout::of_capacity(64).unwrap());
        let feed = room(producer).unwrap();
        for _ in 0..3 {
            assert!(ready(&feed, SOON).contains(PollFlags::POLLIN));
            let refused = feed.next().unwrap().unwrap().write(vec![0; 61]);
            assert_eq!(refused, Err(RingError::TooLarge { length: 61, largest: 60 }));
            assert!(ready(&feed, SOON).contains(PollFlags::POLLIN));
            drop(feed.next().unwrap().unwrap());
        }
        assert!(ready(&feed, SOON).contains(PollFlags::POLLIN));
        let last = feed.next().unwrap().unwrap();
        last.write(b"last".to_vec()).unwrap();
        assert!(ready(&feed, SOON).contains(PollFlags::POLLIN), "it is written");
        drop(feed.end());
        let mut into = [0; 8];
        assert_eq!(consumer.read(&mut into, SOON), Ok(4));
        assert_eq!(consumer.read(&mut into, SOON), Err(RingError::Closed));
    }
}
