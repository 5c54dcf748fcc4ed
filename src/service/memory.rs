// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! One piece of memory that the service gave: its descriptor, its identity, who pays for it and who
//! else takes part in it.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use berth_kernel::identity::Identity;
use berth_kernel::KernelError;
use vendor_berth_allocator::aidl::vendor::berth::allocator::Access::Access;

use crate::accounts::Charge;
use crate::heaps::{Choice, HeapMemory};
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
    pub(crate) identity: Identity,
    /// Whole pages, in bytes.
    pub(crate) bytes: u64,
    /// The heap that served, by name.
    pub(crate) heap: String,
    pub(crate) fallback: bool,
    pub(crate) since: Instant,
    descriptor: HeapMemory,
    charge: Charge,
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
        let descriptor = choice.heap.allocate(&request.name, bytes)?;
        let identity = Identity::of(descriptor.as_fd()).map_err(Refusal::of_kernel)?;
        Ok(Memory {
            request: request.clone(),
            identity,
            bytes,
            heap: choice.heap.name().to_owned(),
            fallback: choice.fallback,
            since: Instant::now(),
            descriptor,
            charge,
            sharing: Mutex::default(),
        })
    }

    /// A new descriptor for a client.
    pub(crate) fn open(&self, access: Access) -> Result<OwnedFd, Refusal> {
        if access == Access::READ_ONLY {
            return self.descriptor.open_read_only();
        }
        self.descriptor.as_fd().try_clone_to_owned().map_err(|error| {
            let errno = nix::errno::Errno::try_from(error).unwrap_or(nix::errno::Errno::EIO);
            Refusal::of_kernel(KernelError::new("duplicate a descriptor", errno))
        })
    }

    pub(crate) fn is_dma_buf(&self) -> bool {
        matches!(self.descriptor, HeapMemory::DmaBuf(_))
    }

    /// The uid that pays.
    pub(crate) fn uid(&self) -> u32 {
        self.charge.uid()
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
        lock(&self.sharing).takers.retain(|taker| *taker != place);
    }

    /// Ends the sharing, as the owner gives the memory up, and returns who is to be told.
    pub(crate) fn end_sharing(&self) -> Vec<Place> {
        let mut sharing = lock(&self.sharing);
        sharing.ended = true;
        std::mem::take(&mut sharing.takers)
    }

    /// How many other sessions take part.
    pub(crate) fn takers(&self) -> usize {
        lock(&self.sharing).takers.len()
    }
}
