// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! One piece of memory that the service gave: its descriptor, its identity, who pays for it and who
//! else takes part in it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use berth_kernel::identity::Identity;
use vendor_berth_allocator::aidl::vendor::berth::allocator::Access::Access;

use crate::accounts::Charge;
use crate::heap::Heap;
use crate::heap_memory::{HeapMemory, Opened};
use crate::heaps::Choice;
use crate::lock::lock;
use crate::refusal::Refusal;
use crate::request::Request;

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
    /// `None` for ashmem.
    pub(crate) identity: Option<Identity>,
    /// Whole pages, in bytes.
    pub(crate) bytes: u64,
    /// The heap that served.
    pub(crate) heap: Arc<Heap>,
    pub(crate) fallback: bool,
    pub(crate) since: Instant,
    uid: u32,
    /// It had been another's, and was cleared.
    pub(crate) recycled: bool,
    sealed: AtomicBool,
    held: HeapMemory,
    charge: Mutex<Charge>,
    sharing: Mutex<Sharing>,
}

/// Who else takes part.
#[derive(Debug, Default)]
struct Sharing {
    /// The owner gave the memory up: nobody new may take part.
    ended: bool,
    takers: Vec<Place>,
}

impl Memory {
    /// Allocates from the chosen heap. `charge` is for this one buffer of `bytes`, whole pages.
    pub(crate) fn allocate(
        request: &Arc<Request>,
        choice: Choice<'_>,
        bytes: u64,
        charge: Charge,
    ) -> Result<Memory, Refusal> {
        let held = choice.heap.allocate(&request.name, bytes, request.face())?;
        let identity = held.identity().map_err(Refusal::of_kernel)?;
        Ok(Memory::of(request, choice, held, identity, bytes, charge, false))
    }

    /// The same of memory that is clean and was somebody's before.
    pub(crate) fn reuse(
        request: &Arc<Request>,
        choice: Choice<'_>,
        held: HeapMemory,
        bytes: u64,
        charge: Charge,
    ) -> Result<Memory, Refusal> {
        held.rename(&request.name);
        let identity = held.identity().map_err(Refusal::of_kernel)?;
        Ok(Memory::of(request, choice, held, identity, bytes, charge, true))
    }

    fn of(
        request: &Arc<Request>,
        choice: Choice<'_>,
        held: HeapMemory,
        identity: Option<Identity>,
        bytes: u64,
        charge: Charge,
        recycled: bool,
    ) -> Memory {
        Memory {
            request: request.clone(),
            identity,
            bytes,
            heap: choice.heap.clone(),
            fallback: choice.fallback,
            since: Instant::now(),
            recycled,
            sealed: AtomicBool::new(false),
            held,
            uid: charge.uid(),
            charge: Mutex::new(charge),
            sharing: Mutex::default(),
        }
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
    pub(crate) fn into_held(self) -> (HeapMemory, Arc<Heap>, u64) {
        (self.held, self.heap, self.bytes)
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

    /// Whether the descriptor that is handed out to write is a dma-buf.
    pub(crate) fn is_dma_buf(&self) -> bool {
        self.held.is_dma_buf()
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
        self.held.seal()?;
        self.sealed.store(true, Ordering::Relaxed);
        Ok(())
    }

    pub(crate) fn is_sealed(&self) -> bool {
        self.sealed.load(Ordering::Relaxed)
    }

    /// The uid that pays.
    pub(crate) fn uid(&self) -> u32 {
        self.uid
    }

    /// Notes that another session takes part; false if the owner has given the memory up.
    pub(crate) fn join(&self, place: Place) -> bool {
        let mut sharing = lock(&self.sharing);
        if !sharing.ended {
            sharing.takers.push(place);
        }
        !sharing.ended
    }

    /// Notes that a session takes part no longer.
    pub(crate) fn leave(&self, place: Place) {
        let mut sharing = lock(&self.sharing);
        sharing.takers.retain(|taker| *taker != place);
        let nobody_is_left = sharing.ended && sharing.takers.is_empty();
        drop(sharing);
        if nobody_is_left {
            self.give_up();
        }
    }

    /// Ends the sharing, as the owner gives the memory up, and returns who is to be told.
    pub(crate) fn end_sharing(&self) -> Vec<Place> {
        let mut sharing = lock(&self.sharing);
        sharing.ended = true;
        sharing.takers.clone()
    }

    /// Whether the owner gave it up; sessions that take part may hold it still.
    pub(crate) fn is_given_up(&self) -> bool {
        lock(&self.sharing).ended
    }

    /// How many other sessions take part.
    pub(crate) fn takers(&self) -> usize {
        lock(&self.sharing).takers.len()
    }
}
