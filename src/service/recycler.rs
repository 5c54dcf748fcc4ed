// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Memory that is used again: kept when nobody holds it any more, cleared in the background, and
//! handed out at the cost of a call. Nobody ever sees what was in it.
//!
//! What is kept was proven to be the service's alone, and stays so: nobody can get at a dma-buf of
//! which no other descriptor and no mapping exists. It is bounded in bytes, in number and in age, and
//! goes first when memory is short.

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use berth_kernel::cpu_access::{CpuAccess, Direction};
use berth_kernel::identity::Identity;
use berth_kernel::mapping::{Mapping, ReadWrite};
use berth_kernel::open_file;
use berth_kernel::sync_file::{FenceState, SyncFile};
use berth_kernel::thread_priority;

use crate::heap::Heap;
use crate::heap_memory::HeapMemory;
use crate::lock::{lock, wait};
use crate::request::Request;
use crate::shelf::{Room, Shelf, ShelfLimits};
use crate::trace;

/// How much less than others the thread counts that clears memory (nice(2)).
const NICENESS: i32 = 10;
/// How often what is too old is looked for.
const TIDYING: Duration = Duration::from_secs(1);

/// Memory that was another's and is not cleared yet.
#[derive(Debug)]
pub(crate) struct Dirty {
    /// Who freed it.
    pub(crate) uid: u32,
    pub(crate) heap: Arc<Heap>,
    pub(crate) bytes: u64,
    pub(crate) held: HeapMemory,
    pub(crate) identity: Option<Identity>,
    /// What it was allocated for.
    pub(crate) request: Arc<Request>,
}

/// Memory that is cleared. What else its next owner needs of the kernel was asked before.
#[derive(Debug)]
pub(crate) struct Cleared {
    pub(crate) held: HeapMemory,
    pub(crate) identity: Option<Identity>,
    /// The kernel knows it by this request's name.
    pub(crate) named: Arc<Request>,
}

#[derive(Debug)]
struct Idle {
    dirty: VecDeque<Dirty>,
    dirty_bytes: u64,
    clean: Shelf<String, Clean>,
    /// What is being cleared now.
    at_work: Option<Work>,
    /// Nothing more is kept: memory is short.
    closed: bool,
    ended: bool,
}

/// What is said of memory while it is being cleared.
#[derive(Debug, Clone, Copy)]
struct Work {
    uid: u32,
    bytes: u64,
    /// It is to be closed and not kept.
    unwanted: bool,
}

/// Memory that is cleared, and the uid that freed it.
#[derive(Debug)]
struct Clean {
    cleared: Cleared,
    uid: u32,
}

/// What is kept at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) buffers: u64,
    pub(crate) bytes: u64,
    /// Of the buffers, those that can be handed out.
    pub(crate) cleared: u64,
}

/// The memory that waits for its next owner.
#[derive(Debug)]
pub(crate) struct Recycler {
    limits: ShelfLimits,
    idle: Mutex<Idle>,
    news: Condvar,
    /// Buffers that were handed out again.
    pub(crate) reused: AtomicU64,
}

impl Recycler {
    /// Starts the thread that clears; it ends at [`end`](Recycler::end).
    pub(crate) fn start(limits: ShelfLimits) -> io::Result<Arc<Recycler>> {
        let idle = Idle {
            dirty: VecDeque::new(),
            dirty_bytes: 0,
            clean: Shelf::new(limits),
            at_work: None,
            closed: false,
            ended: false,
        };
        let recycler = Arc::new(Recycler {
            limits,
            idle: Mutex::new(idle),
            news: Condvar::new(),
            reused: AtomicU64::new(0),
        });
        let worker = recycler.clone();
        thread::Builder::new().name("recycler".to_owned()).spawn(move || worker.work())?;
        Ok(recycler)
    }

    /// Keeps memory that nobody else holds. Answers what the caller is to close: this, if it is not
    /// worth it or there is too much to clear already, or what has been there for longest and makes
    /// room.
    pub(crate) fn keep(&self, dirty: Dirty) -> Vec<HeapMemory> {
        if !dirty.heap.recycles() || !matches!(dirty.held, HeapMemory::DmaBuf(_)) {
            return vec![dirty.held];
        }
        let mut idle = lock(&self.idle);
        let room = match idle.room_for_clean(&self.limits, dirty.bytes) {
            Some(room) if !idle.closed && !idle.ended => room,
            _ => return vec![dirty.held],
        };
        let oldest = idle.clean.drain(room);
        idle.dirty_bytes = idle.dirty_bytes.saturating_add(dirty.bytes);
        idle.dirty.push_back(dirty);
        drop(idle);
        self.news.notify_one();
        oldest.into_iter().map(|clean| clean.cleared.held).collect()
    }

    /// Clean memory of a heap, of so many bytes exactly.
    pub(crate) fn take(&self, heap: &Heap, bytes: u64) -> Option<Cleared> {
        let (_, clean) = lock(&self.idle).clean.take(&heap.name, bytes, 0)?;
        self.reused.fetch_add(1, Ordering::Relaxed);
        Some(clean.cleared)
    }

    /// Keeps more from now on, or not.
    pub(crate) fn keep_more(&self, more: bool) {
        lock(&self.idle).closed = !more;
    }

    /// Gives to the kernel what a uid freed; answers the bytes.
    pub(crate) fn trim_of_uid(&self, uid: u32) -> u64 {
        let mut idle = lock(&self.idle);
        let before = idle.kept().bytes;
        let (mine, others) = idle.dirty.drain(..).partition::<Vec<_>, _>(|dirty| dirty.uid == uid);
        idle.dirty = others.into();
        let mine_bytes = mine.iter().map(|dirty| dirty.bytes).fold(0, u64::saturating_add);
        idle.dirty_bytes = idle.dirty_bytes.saturating_sub(mine_bytes);
        let clean = idle.clean.remove_if(|clean| clean.uid == uid);
        idle.give_up_work(|work| work.uid == uid);
        let after = idle.kept().bytes;
        drop(idle);
        drop((mine, clean));
        before.saturating_sub(after)
    }

    /// Gives memory to the kernel until so many bytes are kept.
    pub(crate) fn trim(&self, keep_bytes: u64) {
        let _slice = trace::slice("trim");
        let mut idle = lock(&self.idle);
        let mut to_close: Vec<HeapMemory> = Vec::new();
        while idle.dirty_bytes > keep_bytes {
            let Some(dirty) = idle.dirty.pop_front() else { break };
            idle.dirty_bytes = idle.dirty_bytes.saturating_sub(dirty.bytes);
            to_close.push(dirty.held);
        }
        idle.give_up_work(|_| keep_bytes == 0);
        let left = keep_bytes.saturating_sub(idle.dirty_bytes);
        let left = Room { bytes: left, items: usize::MAX };
        to_close.extend(idle.clean.drain(left).into_iter().map(|clean| clean.cleared.held));
        drop(idle);
        drop(to_close);
    }

    /// What is kept.
    pub(crate) fn kept(&self) -> Kept {
        lock(&self.idle).kept()
    }

    /// Ends the thread and keeps nothing more.
    pub(crate) fn end(&self) {
        lock(&self.idle).ended = true;
        self.news.notify_one();
    }

    fn work(&self) {
        if let Err(error) = thread_priority::lower_priority_of_this_thread(NICENESS) {
            log::debug!("{error}");
        }
        while let Some(dirty) = self.await_dirty() {
            let Dirty { uid, heap, bytes, held, identity, request } = dirty;
            let is_cleared = clear(&held, bytes);
            // Whoever held it may have given it any name.
            held.rename(&request.name);
            let mut idle = lock(&self.idle);
            let wanted = idle.at_work.take().is_some_and(|work| !work.unwanted);
            let clean = Clean { cleared: Cleared { held, identity, named: request }, uid };
            let to_close = match is_cleared && wanted && !idle.closed && !idle.ended {
                true => idle.clean.put(&heap.name, bytes, clean, Instant::now()),
                false => vec![clean],
            };
            drop(idle);
            drop(to_close);
        }
    }

    /// Waits for something to clear, and closes what is too old meanwhile; `None` at the end.
    fn await_dirty(&self) -> Option<Dirty> {
        let mut idle = lock(&self.idle);
        loop {
            if idle.ended {
                return None;
            }
            if let Some(dirty) = idle.dirty.pop_front() {
                let Dirty { uid, bytes, .. } = dirty;
                idle.dirty_bytes = idle.dirty_bytes.saturating_sub(bytes);
                idle.at_work = Some(Work { uid, bytes, unwanted: false });
                return Some(dirty);
            }
            let old = idle.clean.expire(Instant::now());
            if !old.is_empty() {
                drop(idle);
                drop(old);
                idle = lock(&self.idle);
                continue;
            }
            let pause = (idle.clean.len() > 0).then_some(TIDYING);
            idle = wait(&self.news, idle, pause);
        }
    }
}

impl Idle {
    fn kept(&self) -> Kept {
        let at_work = self.at_work.filter(|work| !work.unwanted).map_or(0, |work| work.bytes);
        let lists = self.dirty.len().saturating_add(self.clean.len());
        Kept {
            buffers: lists.saturating_add(usize::from(at_work > 0)) as u64,
            bytes: self.dirty_bytes.saturating_add(at_work).saturating_add(self.clean.bytes()),
            cleared: self.clean.len() as u64,
        }
    }

    /// What may stay of the clean, if so many bytes more are to be cleared; `None` if they are too much
    /// even without the clean.
    fn room_for_clean(&self, limits: &ShelfLimits, bytes: u64) -> Option<Room> {
        let kept = self.kept();
        let to_clear = kept.bytes.saturating_sub(self.clean.bytes()).saturating_add(bytes);
        let count = kept.buffers.saturating_sub(self.clean.len() as u64).saturating_add(1);
        let items = limits.items.checked_sub(usize::try_from(count).ok()?)?;
        Some(Room { bytes: limits.bytes.checked_sub(to_clear)?, items })
    }

    /// Has what is being cleared closed afterwards, if it is concerned.
    fn give_up_work(&mut self, concerned: impl Fn(&Work) -> bool) {
        if let Some(work) = self.at_work.as_mut().filter(|work| concerned(work)) {
            work.unwanted = true;
        }
    }
}

/// Whether a device has not finished with it, as fences tell. Before Linux 6.0 nothing tells, and no
/// client can put a fence there either.
fn is_device_at_work(held: &HeapMemory) -> bool {
    let fence = SyncFile::of_dma_buf(held.as_fd(), Direction::ReadWrite);
    fence.and_then(|fence| fence.state()).is_ok_and(|state| state == FenceState::Pending)
}

/// Writes zeros over the whole of it, and says whether nobody else can have seen that.
fn clear(held: &HeapMemory, bytes: u64) -> bool {
    let _slice = trace::slice("clear");
    // CPU access would wait for it, for as long as its driver or a client likes.
    if is_device_at_work(held) {
        return false;
    }
    let cleared = (|| {
        let mapping: Mapping<ReadWrite> = Mapping::new(held.as_fd(), bytes)?;
        let access = CpuAccess::begin(held.as_fd(), Direction::Write)?;
        // The range is that of the mapping.
        let _ = mapping.fill(0, mapping.size(), 0);
        access.end()
    })();
    // Nobody is left who could put anything on it again, if nobody holds it then.
    match cleared.and_then(|()| open_file::reset(held.as_fd())) {
        Ok(()) => !held.is_held_by_others(),
        Err(error) => {
            log::warn!("a buffer cannot be cleared and is not used again: {error}");
            false
        }
    }
}
