// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! What of purgeable regions goes when memory is short: chunks that nobody pins, those of the lowest
//! priority first. Among those of one priority the uid goes first that has the most of them, until
//! others have as much: who hoards loses before who keeps little. Of one uid's it is what was
//! unpinned first.
//!
//! The work is done on a thread of its own, chunk by chunk, and no lock is held meanwhile. Only for an
//! allocation that would be refused for want of memory does its caller do it.

mod order;

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, Weak};
use std::thread;

use berth_kernel::KernelError;
use berth_shared::purge::Stamp;
use vendor_berth_allocator::aidl::vendor::berth::allocator::AllocationOption;

use crate::lock::{lock, wait};
use crate::purgeable::Purgeable;
use crate::refusal::{Refusal, Scope};
use crate::trace;
use order::{in_order, Candidate};

/// The most chunks of all purgeable regions of one uid: what is looked at for it when memory is short.
const UID_CHUNKS: u64 = AllocationOption::MAX_PURGE_CHUNKS.unsigned_abs() as u64;
/// How many regions are taken from the list under its lock at once.
const PART: usize = 256;

#[derive(Debug, Default)]
struct Work {
    /// Bytes that are wanted.
    wanted: u64,
    /// Regions with sessions that left them, each once until it is looked at.
    left: Vec<Weak<Purgeable>>,
    ended: bool,
}

#[derive(Debug, Default)]
struct Register {
    regions: Vec<(u32, Weak<Purgeable>)>,
    /// At so many the list is rid of those that are gone.
    sweep_at: usize,
}

/// All purgeable regions, and the way to the thread that purges them.
#[derive(Debug, Default)]
pub(crate) struct Purger {
    register: Mutex<Register>,
    /// Chunks and bytes of regions by uid.
    charged: Mutex<HashMap<u32, Charged>>,
    work: Mutex<Work>,
    news: Condvar,
    /// Bytes that were purged since the service started.
    pub(crate) purged: AtomicU64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Charged {
    chunks: u64,
    bytes: u64,
}

/// What a region's chunks count against its uid's limit; given back when dropped.
#[derive(Debug)]
pub(crate) struct ChunkCharge {
    purger: Arc<Purger>,
    uid: u32,
    amount: Charged,
}

impl Drop for ChunkCharge {
    fn drop(&mut self) {
        let mut charged = lock(&self.purger.charged);
        if let Some(own) = charged.get_mut(&self.uid) {
            own.chunks = own.chunks.saturating_sub(self.amount.chunks);
            own.bytes = own.bytes.saturating_sub(self.amount.bytes);
            if *own == Charged::default() {
                charged.remove(&self.uid);
            }
        }
    }
}

impl Purger {
    /// Starts the thread; it ends at [`end`](Purger::end).
    pub(crate) fn start() -> io::Result<Arc<Purger>> {
        let purger = Arc::new(Purger::default());
        let worker = purger.clone();
        thread::Builder::new().name("purger".to_owned()).spawn(move || worker.work())?;
        Ok(purger)
    }

    /// Takes a new region into the list.
    pub(crate) fn register(
        self: &Arc<Self>,
        uid: u32,
        region: &Arc<Purgeable>,
    ) -> Result<(), Refusal> {
        if region.charge.get().is_some() {
            return Ok(());
        }
        let asked = u64::from(region.chunks.count());
        let amount = Charged { chunks: asked, bytes: region.chunks.region_bytes() };
        {
            let mut charged = lock(&self.charged);
            let own = charged.get(&uid).copied().unwrap_or_default();
            let (scope, unit) = (Scope::Uid(uid), "purgeable chunks");
            crate::accounts::within(scope, unit, own.chunks, asked, UID_CHUNKS)
                .map_err(Refusal::OverQuota)?;
            let own = charged.entry(uid).or_default();
            own.chunks = own.chunks.saturating_add(amount.chunks);
            own.bytes = own.bytes.saturating_add(amount.bytes);
        }
        let charge = ChunkCharge { purger: self.clone(), uid, amount };
        // A region is registered once; another charge would give itself back.
        let _ = region.charge.set(charge);
        let mut register = lock(&self.register);
        if register.regions.len() >= register.sweep_at {
            register.regions.retain(|(_, region)| region.strong_count() > 0);
            register.sweep_at = register.regions.len().saturating_mul(2).max(PART);
        }
        register.regions.push((uid, Arc::downgrade(region)));
        Ok(())
    }

    /// Bytes of all purgeable regions, whatever is in them.
    pub(crate) fn purgeable_bytes(&self) -> u64 {
        lock(&self.charged).values().fold(0, |sum, own| own.bytes.saturating_add(sum))
    }

    /// Bytes of the chunks that nobody pins now, as far as they take memory.
    pub(crate) fn unpinned_bytes(&self) -> u64 {
        there(&self.candidates(None))
    }

    /// Asks the thread to take so many bytes, if there are so many.
    pub(crate) fn want(&self, bytes: u64) {
        if bytes == 0 {
            return;
        }
        let mut work = lock(&self.work);
        work.wanted = work.wanted.max(bytes);
        drop(work);
        self.news.notify_one();
    }

    /// Asks the thread to take away the pins of sessions that left a region.
    pub(crate) fn look_who_left(&self, region: &Arc<Purgeable>) {
        if !region.looks_pending.swap(true, Ordering::AcqRel) {
            lock(&self.work).left.push(Arc::downgrade(region));
            self.news.notify_one();
        }
    }

    /// Takes so many bytes there and then, or nothing if there are not so many.
    pub(crate) fn make_room(&self, bytes: u64) -> u64 {
        let candidates = self.candidates(None);
        if there(&candidates) < bytes {
            return 0;
        }
        self.purge(candidates, bytes)
    }

    /// Takes all that a uid has unpinned, and answers the bytes.
    pub(crate) fn trim_of_uid(&self, uid: u32) -> u64 {
        self.purge(self.candidates(Some(uid)), u64::MAX)
    }

    /// Ends the thread.
    pub(crate) fn end(&self) {
        lock(&self.work).ended = true;
        self.news.notify_one();
    }

    fn work(&self) {
        while let Some((left, wanted)) = self.await_work() {
            if wanted > 0 {
                let bytes = self.purge(self.candidates(None), wanted);
                log::debug!("purged {bytes} bytes of {wanted} that were wanted");
            }
            self.forget_who_left(&left);
        }
    }

    /// Takes away the pins of sessions that left these regions.
    fn forget_who_left(&self, left: &[Weak<Purgeable>]) {
        for region in left.iter().filter_map(Weak::upgrade) {
            // Before: who leaves meanwhile has it looked at again.
            region.looks_pending.store(false, Ordering::Release);
            report("the pins of a session that ended", region.forget_those_that_left());
        }
    }

    /// Waits until there is something to do; `None` at the end.
    fn await_work(&self) -> Option<(Vec<Weak<Purgeable>>, u64)> {
        let mut work = lock(&self.work);
        loop {
            if work.ended {
                return None;
            }
            if !work.left.is_empty() || work.wanted > 0 {
                let wanted = std::mem::take(&mut work.wanted);
                return Some((std::mem::take(&mut work.left), wanted));
            }
            work = wait(&self.news, work, None);
        }
    }

    /// The chunks that nobody pins, of one uid or of all.
    fn candidates(&self, of: Option<u32>) -> Vec<Candidate> {
        let mut found = Vec::new();
        let now = Stamp::now();
        let mut next = 0;
        loop {
            let part: Vec<(u32, Arc<Purgeable>)> = {
                let register = lock(&self.register);
                let Some(rest) = register.regions.get(next..).filter(|rest| !rest.is_empty())
                else {
                    return found;
                };
                let part = rest.iter().take(PART);
                let wanted = part.filter(|(uid, _)| of.is_none() || of == Some(*uid));
                wanted.filter_map(|(uid, region)| Some((*uid, region.upgrade()?))).collect()
            };
            for (uid, region) in part {
                match region.unpinned() {
                    Ok(unpinned) => found
                        .extend(unpinned.iter().map(|one| Candidate::new(uid, &region, one, now))),
                    Err(error) => log::warn!("a purgeable region was not looked at: {error}"),
                }
            }
            // What is registered meanwhile may be missed, or be seen twice if the list is swept: a
            // chunk is purged once in any case.
            next = next.saturating_add(PART);
        }
    }

    /// Takes chunks in their order until so many bytes are gone.
    fn purge(&self, candidates: Vec<Candidate>, wanted: u64) -> u64 {
        if candidates.is_empty() {
            return 0;
        }
        let _slice = trace::slice("purge");
        let mut gone = 0u64;
        // The region that was opened last: chunks of one often follow each other.
        let mut last = None;
        for Candidate { region, unpinned, .. } in in_order(candidates) {
            if gone >= wanted {
                break;
            }
            let Some(region) = region.upgrade() else { continue };
            let opened = match last.take() {
                Some((of, opened)) if Arc::ptr_eq(&of, &region) => Ok(opened),
                _ => region.open_to_purge(),
            };
            match opened {
                Ok(opened) => {
                    gone = region.purge(&opened, &unpinned).saturating_add(gone);
                    last = Some((region, opened));
                }
                Err(error) => log::warn!("a purgeable region was not purged: {error}"),
            }
        }
        self.purged.fetch_add(gone, Ordering::Relaxed);
        gone
    }
}

/// The bytes that would be given back, at most: a client may have said of chunks that something is in
/// them that it never touched.
fn there(candidates: &[Candidate]) -> u64 {
    let mut of_region: HashMap<*const Purgeable, (u64, &Weak<Purgeable>)> = HashMap::new();
    for one in candidates {
        let (bytes, _) = of_region.entry(one.region.as_ptr()).or_insert((0, &one.region));
        *bytes = bytes.saturating_add(one.bytes);
    }
    let there = |(bytes, region): (u64, &Weak<Purgeable>)| {
        let taken = region.upgrade().and_then(|region| region.memfd().taken_bytes().ok());
        taken.unwrap_or(0).min(bytes)
    };
    of_region.into_values().map(there).fold(0, u64::saturating_add)
}

fn report(what: &str, result: Result<(), KernelError>) {
    if let Err(error) = result {
        log::warn!("{what}: {error}");
    }
}

#[cfg(test)]
mod tests;
