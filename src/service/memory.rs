// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! One piece of memory that the service gave: its descriptor, its identity, who pays for it and who
//! else takes part in it.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use berth_kernel::dma_buf::kernel_name;
use berth_kernel::identity::Identity;
use vendor_berth_allocator::aidl::vendor::berth::allocator::Access::Access;

use crate::accounts::{within, Charge};
use crate::heap::Heap;
use crate::heap_memory::{cannot_seal_purgeable, HeapMemory, Opened};
use crate::heaps::Choice;
use crate::lock::lock;
use crate::purgeable::Purgeable;
use crate::receipts::{Facts, Receipts};
use crate::recycler::{Cleared, Dirty};
use crate::refusal::{Refusal, Scope};
use crate::request::Request;
use crate::session::Role;
use crate::trace::Counted;

/// How often a buffer is acquired at a time, by all sessions together: when it is given up, all of
/// them are gone through.
pub(crate) const MAX_TAKERS: usize = 1024;

/// A buffer of a session: the session's id and the buffer's in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) session: i64,
    pub(crate) buffer: i64,
}

/// Memory, held by the owner's session and by those that acquired it. The last of them to let go
/// closes the service's descriptor and gives the charge back.
#[derive(Debug)]
pub(crate) struct Memory {
    /// What was asked for; the same for a whole batch.
    pub(crate) request: Arc<Request>,
    /// `None` for ashmem where the kernel tells none.
    pub(crate) identity: Option<Identity>,
    /// Whole pages, in bytes.
    pub(crate) bytes: u64,
    /// The heap that served.
    pub(crate) heap: Arc<Heap>,
    pub(crate) fallback: bool,
    pub(crate) since: Instant,
    /// It had been another's, and was cleared.
    pub(crate) recycled: bool,
    /// It is from before this service started, when somebody else may have been its owner: so it
    /// becomes nobody else's.
    pub(crate) restored: bool,
    /// Its id with its owner; 0 of memory that was handed out to nobody.
    pub(crate) owner: i64,
    sealed: AtomicBool,
    held: HeapMemory,
    charge: Mutex<Charge>,
    sharing: Mutex<Sharing>,
    _counted: Counted,
}

/// Who else takes part.
#[derive(Debug, Default)]
struct Sharing {
    /// The owner gave the memory up: nobody new may take part.
    ended: bool,
    /// By the buffer's id with the taker, which no other has.
    takers: BTreeMap<i64, Taker>,
}

/// A session that takes part.
#[derive(Debug)]
struct Taker {
    session: i64,
    /// The public half of the token that let it in.
    token: u64,
    /// For its place here.
    _charge: Charge,
}

/// The sessions that take part in some memory.
#[derive(Debug, Default)]
pub(crate) struct TakenBy {
    /// Some of them by id, each once.
    pub(crate) some: Vec<i64>,
    /// How many there are besides.
    pub(crate) more: usize,
}

/// What a heap is asked for, for each buffer of a batch.
pub(crate) struct Order<'batch> {
    pub(crate) request: &'batch Arc<Request>,
    pub(crate) choice: Choice<'batch>,
    /// Whole pages, in bytes.
    pub(crate) bytes: u64,
    /// When it was asked for.
    pub(crate) now: Instant,
}

/// Memory that a former service gave, and is proven.
pub(crate) struct Former {
    pub(crate) request: Arc<Request>,
    pub(crate) heap: Arc<Heap>,
    pub(crate) held: HeapMemory,
    pub(crate) identity: Option<Identity>,
    pub(crate) bytes: u64,
    pub(crate) fallback: bool,
    pub(crate) recycled: bool,
    pub(crate) sealed: bool,
    /// Its id with its owner.
    pub(crate) owner: i64,
}

impl Memory {
    /// Allocates from the chosen heap. `charge` is for this one buffer, and `owner` its id with its
    /// owner.
    pub(crate) fn allocate(
        order: &Order<'_>,
        charge: Charge,
        owner: i64,
    ) -> Result<Arc<Memory>, Refusal> {
        let Order { request, choice, bytes, .. } = order;
        let held = choice.heap.allocate(&request.name, *bytes, request.face())?;
        let identity = held.identity().map_err(Refusal::of_kernel)?;
        Ok(Arc::new(Memory::of(order, charge, owner, held, identity)))
    }

    /// The same of memory that is clean and was somebody's before. It costs no system call if the name
    /// is the same.
    pub(crate) fn reuse(
        order: &Order<'_>,
        charge: Charge,
        owner: i64,
        cleared: Cleared,
    ) -> Arc<Memory> {
        let Cleared { held, identity, named } = cleared;
        if kernel_name(&named.name) != kernel_name(&order.request.name) {
            held.rename(&order.request.name);
        }
        let mut memory = Memory::of(order, charge, owner, held, identity);
        memory.recycled = true;
        Arc::new(memory)
    }

    // Where it is called it is made in its place: it is large.
    #[inline(always)]
    fn of(
        order: &Order<'_>,
        charge: Charge,
        owner: i64,
        held: HeapMemory,
        identity: Option<Identity>,
    ) -> Memory {
        let Order { request, choice, bytes, now } = *order;
        Memory {
            request: request.clone(),
            identity,
            bytes,
            heap: choice.heap.clone(),
            fallback: choice.fallback,
            since: now,
            recycled: false,
            restored: false,
            owner,
            sealed: AtomicBool::new(false),
            held,
            charge: Mutex::new(charge),
            sharing: Mutex::default(),
            _counted: Counted::new(&choice.heap.gauge, bytes),
        }
    }

    /// Memory of a former service. `charge` is for it; without an owner, who is still to come, it is
    /// as if he had given it up.
    pub(crate) fn restore(former: Former, charge: Charge, has_owner: bool) -> Arc<Memory> {
        let Former { request, heap, held, identity, bytes, fallback, recycled, sealed, owner } =
            former;
        let choice = Choice { heap: &heap, fallback };
        let order = Order { request: &request, choice, bytes, now: Instant::now() };
        let mut memory = Memory::of(&order, charge, owner, held, identity);
        memory.sharing = Mutex::new(Sharing { ended: !has_owner, ..Sharing::default() });
        memory.sealed = AtomicBool::new(sealed);
        memory.restored = true;
        memory.recycled = recycled;
        Arc::new(memory)
    }

    /// The receipt for a session that holds it, 0 if there can be none.
    pub(crate) fn receipt(&self, receipts: &Receipts, uid: u32, id: i64, role: &Role) -> i64 {
        let taken = match role {
            Role::Owner(_) => None,
            Role::Taker(taken) => Some(*taken),
        };
        let reads_only = taken.is_some_and(|taken| taken.reads_only);
        let Ok(Some(marks)) = self.held.marks(self.identity, reads_only) else { return 0 };
        receipts.of(&Facts {
            uid,
            id,
            owner: self.owner,
            taken,
            marks,
            bytes: self.bytes,
            heap: &self.heap.name,
            fallback: self.fallback,
            recycled: self.recycled,
            request: &self.request,
        })
    }

    /// Notes that no session holds it any more.
    pub(crate) fn give_up(&self) {
        lock(&self.charge).linger();
    }

    /// Whether the kernel tells all that hold it.
    pub(crate) fn has_countable_holders(&self) -> bool {
        self.held.has_countable_holders()
    }

    /// Whether anybody but the service holds it, as far as the kernel tells.
    pub(crate) fn is_held_by_others(&self) -> bool {
        self.held.is_held_by_others()
    }

    /// Gives the charge back and leaves the memory to the caller.
    pub(crate) fn into_dirty(self) -> Dirty {
        let uid = self.uid();
        let Memory { held, heap, bytes, identity, request, .. } = self;
        Dirty { uid, heap, bytes, held, identity, request }
    }

    /// New descriptors for a client.
    pub(crate) fn open(&self, access: Access) -> Result<Opened, Refusal> {
        if access == Access::READ_ONLY {
            return self.held.open_read_only(self.is_sealed());
        }
        self.held.open()
    }

    /// Whether there can be descriptors that only read.
    pub(crate) fn check_read_only(&self) -> Result<(), Refusal> {
        self.held.check_read_only(self.is_sealed())
    }

    /// How many descriptors the service keeps of it.
    pub(crate) fn descriptors(&self) -> u64 {
        self.heap.descriptors(self.request.face())
    }

    /// Whether the descriptor that is handed out to write is a dma-buf.
    pub(crate) fn is_dma_buf(&self) -> bool {
        self.held.is_dma_buf()
    }

    /// The region whose chunks can be taken, if it is one.
    pub(crate) fn purgeable(&self) -> Option<&Arc<Purgeable>> {
        match &self.held {
            HeapMemory::Purgeable(region) => Some(region),
            _ => None,
        }
    }

    /// Takes the contents from everybody.
    pub(crate) fn revoke(&self) {
        self.held.revoke();
    }

    /// Makes it read-only for good, but for the mappings that are there.
    pub(crate) fn seal(&self) -> Result<(), Refusal> {
        if self.request.revoke_on_death {
            let why = "sealing a region with REVOKE_ON_DEATH, whose contents must go in the end";
            return Err(Refusal::Unsupported(why.to_owned()));
        }
        if self.request.purge_chunk_bytes.is_some() {
            return Err(cannot_seal_purgeable());
        }
        self.held.seal()?;
        self.sealed.store(true, Ordering::Relaxed);
        Ok(())
    }

    pub(crate) fn is_sealed(&self) -> bool {
        self.sealed.load(Ordering::Relaxed)
    }

    /// The uid that pays.
    pub(crate) fn uid(&self) -> u32 {
        lock(&self.charge).uid()
    }

    /// Whether it could be acquired once more.
    pub(crate) fn check_room(&self) -> Result<(), Refusal> {
        lock(&self.sharing).room_for_one()
    }

    /// Notes that another session takes part, by a token, and who pays for that. Refused if the owner
    /// has given the memory up, as to everybody whose token opens nothing.
    pub(crate) fn join(&self, place: Place, token: u64, charge: Charge) -> Result<(), Refusal> {
        let mut sharing = lock(&self.sharing);
        if sharing.ended {
            return Err(Refusal::BadToken);
        }
        sharing.add(place, token, charge)
    }

    /// Notes that a session takes part that did before this service started, whatever the owner does.
    /// Refused if it is there already.
    pub(crate) fn rejoin(&self, place: Place, token: u64, charge: Charge) -> Result<(), Refusal> {
        let mut sharing = lock(&self.sharing);
        sharing.add(place, token, charge)?;
        lock(&self.charge).revive();
        Ok(())
    }

    /// Gives the memory to its owner, who comes late and pays from here on. Gives the charge of whoever
    /// paid until now, or, as an error, his own if he has the memory already.
    pub(crate) fn adopt(&self, charge: Charge) -> Result<Charge, Charge> {
        let mut sharing = lock(&self.sharing);
        if !sharing.ended {
            return Err(charge);
        }
        sharing.ended = false;
        Ok(std::mem::replace(&mut *lock(&self.charge), charge))
    }

    /// Lets nobody pay for it: it is in the books as another's.
    pub(crate) fn waive(&self) {
        lock(&self.charge).waive();
    }

    /// How many of those that take part came by a token.
    pub(crate) fn takers_by(&self, token: u64) -> usize {
        lock(&self.sharing).takers.values().filter(|taker| taker.token == token).count()
    }

    /// Notes that a session takes part no longer.
    pub(crate) fn leave(&self, place: Place) {
        let mut sharing = lock(&self.sharing);
        let gone = match sharing.takers.entry(place.buffer) {
            Entry::Occupied(taker) if taker.get().session == place.session => Some(taker.remove()),
            _ => None,
        };
        self.give_up_if_over(&sharing);
        drop(sharing);
        // What it paid goes back after the lock.
        drop(gone);
    }

    /// Notes that no session holds it any more, unless one has come back.
    pub(crate) fn give_up_if_left(&self) {
        self.give_up_if_over(&lock(&self.sharing));
    }

    /// Within the lock: whoever takes part again undoes it.
    fn give_up_if_over(&self, sharing: &Sharing) {
        if sharing.ended && sharing.takers.is_empty() {
            self.give_up();
        }
    }

    /// Ends the sharing, as the owner gives the memory up, and returns who is to be told.
    pub(crate) fn end_sharing(&self) -> Vec<Place> {
        let mut sharing = lock(&self.sharing);
        sharing.ended = true;
        let place =
            |(buffer, taker): (&i64, &Taker)| Place { session: taker.session, buffer: *buffer };
        sharing.takers.iter().map(place).collect()
    }

    /// Whether the owner gave it up; sessions that take part may hold it still.
    pub(crate) fn is_given_up(&self) -> bool {
        lock(&self.sharing).ended
    }

    /// How often it is acquired.
    pub(crate) fn takers(&self) -> usize {
        lock(&self.sharing).takers.len()
    }

    /// Which sessions those are, at most so many of them by name.
    pub(crate) fn taken_by(&self, most: usize) -> TakenBy {
        let sessions: BTreeSet<i64> =
            lock(&self.sharing).takers.values().map(|taker| taker.session).collect();
        let more = sessions.len().saturating_sub(most);
        TakenBy { some: sessions.into_iter().take(most).collect(), more }
    }
}

impl Sharing {
    fn room_for_one(&self) -> Result<(), Refusal> {
        let (used, limit) = (self.takers.len() as u64, MAX_TAKERS as u64);
        within(Scope::Buffer, "acquisitions", used, 1, limit).map_err(Refusal::TooManyBuffers)
    }

    fn add(&mut self, place: Place, token: u64, charge: Charge) -> Result<(), Refusal> {
        self.room_for_one()?;
        match self.takers.entry(place.buffer) {
            Entry::Occupied(_) => Err(Refusal::AlreadyAttached(format!("buffer {}", place.buffer))),
            Entry::Vacant(free) => {
                free.insert(Taker { session: place.session, token, _charge: charge });
                Ok(())
            }
        }
    }
}
