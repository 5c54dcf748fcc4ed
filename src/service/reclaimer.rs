// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! What becomes of memory that its session gave up.
//!
//! The kernel gives a dma-buf back when nobody holds it any more, in any process, and fdinfo's
//! `count:` says when that is: at 1 there is only the service's own descriptor. Until then the memory
//! lingers: it counts against the limits of the uid that allocated it. Then the charge goes back,
//! and the memory to the recycler or to the kernel. The same goes for a dma-buf with the memfd that it
//! is made of, whose holders a lease tells. Of a memfd alone nothing proves who holds it, and the
//! kernel charges its pages to whoever touched them: its charge goes back at once.
//!
//! All of this happens on a thread of its own. A caller that a limit would refuse has its uid's
//! memory looked at there and then: what is gone by now is no reason to refuse.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{fence, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Instant;

use crate::heap_memory::HeapMemory;
use crate::lingering::{Address, GivenUp, Lingering};
use crate::lock::{lock, wait};
use crate::memory::Memory;
use crate::recycler::{Dirty, Recycler};

/// How many are looked at in one go; a caller that settles looks at so many at most, and waits for
/// as many.
const BATCH: usize = 64;
/// How many are copied for a dump under one lock.
const PIECE: usize = 128;

#[derive(Debug, Default)]
struct Lists {
    /// Never looked at.
    fresh: VecDeque<GivenUp>,
    /// Held by somebody when last looked at.
    lingering: Lingering,
    /// Gone but for the service's descriptors.
    to_close: Vec<HeapMemory>,
    ended: bool,
}

/// The way to the thread that takes memory back.
#[derive(Debug)]
pub(crate) struct Reclaimer {
    lists: Mutex<Lists>,
    news: Condvar,
    /// Held while memory is out of the lists to be proven, so that nobody believes it gone.
    proving: Mutex<()>,
    pub(crate) recycler: Arc<Recycler>,
}

impl Reclaimer {
    /// Starts the thread; it ends at [`end`](Reclaimer::end).
    pub(crate) fn start(recycler: Arc<Recycler>) -> io::Result<Arc<Reclaimer>> {
        let reclaimer = Arc::new(Reclaimer {
            lists: Mutex::default(),
            news: Condvar::new(),
            proving: Mutex::default(),
            recycler,
        });
        let worker = reclaimer.clone();
        thread::Builder::new().name("reclaimer".to_owned()).spawn(move || worker.work())?;
        Ok(reclaimer)
    }

    /// Takes memory that an owner gave up. Sessions that acquired it may hold it still.
    pub(crate) fn take(&self, given_up: Vec<Arc<Memory>>, reusable: bool) {
        // What other sessions hold is live until they let go of it.
        given_up.iter().filter(|memory| memory.takers() == 0).for_each(|memory| memory.give_up());
        lock(&self.lists).fresh.extend(given_up.into_iter().map(|memory| {
            // Freed, it stays with those whom it was given to; its session's end takes it from them.
            let revoke = memory.request.revoke_on_death && !reusable;
            GivenUp::new(memory, reusable, revoke)
        }));
        self.news.notify_one();
    }

    /// Takes memory whose owner has not come back after a restart. The contents stay with those who
    /// hold it, those too that were to go with their owner: he may have freed it before, or be alive
    /// and late by any time, as frozen processes are, and would find his memory emptied.
    pub(crate) fn watch(&self, orphan: Arc<Memory>) {
        lock(&self.lists).fresh.push_back(GivenUp::new(orphan, false, false));
        self.news.notify_one();
    }

    /// Leaves memory alone whose owner has come back.
    pub(crate) fn forget(&self, memory: &Arc<Memory>) {
        // Not while it is out of the lists: it would be put back.
        let _proving = lock(&self.proving);
        let mut lists = lock(&self.lists);
        lists.fresh.retain(|one| !Arc::ptr_eq(&one.memory, memory));
        lists.lingering.forget(Address::of(memory));
    }

    /// Says that a session let go of memory that may have been given up.
    pub(crate) fn look_again(&self, at: impl IntoIterator<Item = Address>) {
        let now = Instant::now();
        let mut lists = lock(&self.lists);
        at.into_iter().for_each(|which| lists.lingering.look_again(now, which));
        drop(lists);
        self.news.notify_one();
    }

    /// Gives back the charges of what is gone by now of all that a uid gave up.
    pub(crate) fn settle(&self, uid: u32) {
        let proving = lock(&self.proving);
        let batch = lock(&self.lists).of_uid(uid);
        let gone = self.prove(batch);
        drop(proving);
        // Closing is not for the caller's thread.
        let to_close: Vec<HeapMemory> = self.not_kept(gone).collect();
        lock(&self.lists).to_close.extend(to_close);
        self.news.notify_one();
    }

    /// What no session holds and somebody does, as the dump shows it, in pieces that each keep what is
    /// in them alive.
    pub(crate) fn lingering(&self) -> impl Iterator<Item = Vec<Arc<Memory>>> + '_ {
        let mut after = 0;
        let held = std::iter::from_fn(move || {
            let (piece, last) = lock(&self.lists).lingering.list(after, PIECE);
            after = last?;
            Some(piece)
        });
        // Last, so that what is found held meanwhile is not seen twice.
        let fresh = std::iter::once_with(|| {
            lock(&self.lists).fresh.iter().map(|one| one.memory.clone()).collect()
        });
        let left = |mut piece: Vec<Arc<Memory>>| {
            piece.retain(|memory| memory.takers() == 0);
            piece
        };
        held.chain(fresh).map(left)
    }

    /// Ends the thread.
    pub(crate) fn end(&self) {
        lock(&self.lists).ended = true;
        self.news.notify_one();
    }

    fn work(&self) {
        while self.await_work() {
            // It takes long, and whoever settles waits for what is being proven.
            let to_revoke = lock(&self.lists).take_revocations();
            for memory in to_revoke {
                memory.revoke();
            }
            let proving = lock(&self.proving);
            let (batch, to_close) = {
                let mut lists = lock(&self.lists);
                (lists.due(), std::mem::take(&mut lists.to_close))
            };
            let gone = self.prove(batch);
            drop(proving);
            to_close.into_iter().chain(self.not_kept(gone)).for_each(HeapMemory::close);
        }
    }

    /// Hands to the recycler what it takes; the rest is to be closed.
    fn not_kept<'a>(
        &'a self,
        gone: impl IntoIterator<Item = Gone> + 'a,
    ) -> impl Iterator<Item = HeapMemory> + 'a {
        gone.into_iter().flat_map(|gone| match gone.reusable {
            true => self.recycler.keep(gone.memory),
            false => vec![gone.memory.held],
        })
    }

    /// Waits until something is to be looked at; false at the end.
    fn await_work(&self) -> bool {
        let mut lists = lock(&self.lists);
        loop {
            if lists.ended {
                return false;
            }
            if !lists.fresh.is_empty() || !lists.to_close.is_empty() {
                return true;
            }
            let now = Instant::now();
            let next = lists.lingering.next_look();
            lists = match next.map(|next| next.saturating_duration_since(now)) {
                Some(pause) if pause.is_zero() => return true,
                pause => wait(&self.news, lists, pause),
            };
        }
    }

    /// Looks who is gone; the others go back to the list of those that linger.
    fn prove(&self, batch: Vec<GivenUp>) -> Vec<Gone> {
        let (mut gone, mut held) = (Vec::new(), Vec::new());
        for one in batch {
            let memory = &one.memory;
            if !memory.is_given_up() {
                // Its owner has come back.
                continue;
            }
            let reusable = one.reusable && !memory.request.no_pool && !memory.restored;
            // It stays where it is while it is looked at: whoever comes back with a descriptor finds it
            // there, and does not bring the same memory in once more.
            if Arc::strong_count(memory) > 1 {
                // A session that acquired it, or a call in flight.
                held.push(one);
                continue;
            }
            // What others did before they let go of it has been done.
            fence(Ordering::Acquire);
            if memory.is_held_by_others() {
                memory.give_up_if_left();
                held.push(one);
                continue;
            }
            // Nobody can come back with what nobody has.
            match one.into_memory() {
                // The charge goes back here, before anything that takes long.
                Ok(memory) => gone.push(Gone { memory: memory.into_dirty(), reusable }),
                Err(one) => held.push(one),
            }
        }
        lock(&self.lists).lingering.put_back(Instant::now(), held);
        gone
    }
}

/// Memory that nobody holds but the service; its charge is given back.
struct Gone {
    memory: Dirty,
    reusable: bool,
}

impl Lists {
    /// What a uid gave up, at most [`BATCH`]: what was never looked at first.
    fn of_uid(&mut self, uid: u32) -> Vec<GivenUp> {
        let mut found = Vec::new();
        let mut others = VecDeque::with_capacity(self.fresh.len());
        for one in self.fresh.drain(..) {
            // Taking contents away costs by the page, and is not for the caller's thread.
            match one.memory.uid() == uid && !one.revoke && found.len() < BATCH {
                true => found.push(one),
                false => others.push_back(one),
            }
        }
        self.fresh = others;
        found.extend(self.lingering.take_of_uid(uid, BATCH.saturating_sub(found.len())));
        self.lingering.look_at(&found);
        found
    }

    /// Whose contents are to be taken first of what is new.
    fn take_revocations(&mut self) -> Vec<Arc<Memory>> {
        let mut found = Vec::new();
        for one in self.fresh.iter_mut().take(BATCH).filter(|one| one.revoke) {
            one.revoke = false;
            if one.memory.is_given_up() {
                found.push(one.memory.clone());
            }
        }
        found
    }

    /// What is to be looked at now, at most [`BATCH`].
    fn due(&mut self) -> Vec<GivenUp> {
        let mut due = Vec::new();
        while due.len() < BATCH && self.fresh.front().is_some_and(|one| !one.revoke) {
            due.extend(self.fresh.pop_front());
        }
        due.extend(self.lingering.take_due(Instant::now(), BATCH.saturating_sub(due.len())));
        self.lingering.look_at(&due);
        due
    }
}
