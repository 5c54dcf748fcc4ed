// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! What can go wrong for a client.

use std::time::Duration;

use berth_kernel::mapping::OutOfRange;
use berth_kernel::KernelError;
use berth_shared::pool::{Fault, Lost};
use hal_binder::Status;

use crate::foreign::ForeignKind;

/// The service's error codes, `AllocatorError` of the interface.
pub use vendor_berth_allocator::aidl::vendor::berth::allocator::AllocatorError::AllocatorError as RefusalCode;

/// Why an operation failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The service refused; nothing changed.
    #[error("{message}")]
    Refused {
        /// Which of its errors.
        code: RefusalCode,
        /// What it says: value and limit.
        message: String,
    },
    /// No service was registered in time.
    #[error("{name} was not there within {within:?}: {last}")]
    NotFound {
        /// The name that was looked up.
        name: String,
        /// How long it was waited for.
        within: Duration,
        /// What the last attempt said.
        last: String,
    },
    /// The service's process ended before it answered, or none follows it. Descriptors and mappings stay
    /// valid; see [`Session`](crate::Session) for what becomes of the call.
    #[error("the allocator service died: {0}")]
    ServiceDied(String),
    /// The buffer's descriptors were closed, and it was left in its session: nothing proves to another
    /// service whose it was.
    #[error("buffer {0} has no descriptor here, by which it could be known again")]
    NoDescriptor(i64),
    /// The call or its answer did not cross Binder.
    #[error("Binder: {0}")]
    Transport(String),
    /// Only root, system and shell may ask for the dump.
    #[error("this uid may not dump; root, system and shell may")]
    MayNotDump,
    /// The service does not know an argument of the dump; its answer says which.
    #[error("the allocator does not understand the arguments of the dump")]
    BadDumpArguments,
    /// The answer contradicts itself or what the kernel says.
    #[error("the allocator answered nonsense: {0}")]
    BadAnswer(String),
    /// The kernel refused a mapping, a bracket of CPU access or a question.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// A pool gave no slot.
    #[error(transparent)]
    Pool(#[from] Fault),
    /// A slot of a pool was lost before it was submitted.
    #[error(transparent)]
    LostSlot(#[from] Lost),
    /// An access left the buffer.
    #[error(transparent)]
    OutOfRange(#[from] OutOfRange),
    /// A mapping was to leave the buffer.
    #[error("{bytes} bytes at offset {offset} leave a buffer of {size} bytes")]
    OutOfBuffer {
        /// Where it was to begin.
        offset: u64,
        /// How long it was to be.
        bytes: u64,
        /// What there is.
        size: u64,
    },
    /// A row, a sample or a number of bytes that the plane does not have.
    #[error("not in the plane: {0}")]
    OutOfPlane(String),
    /// The description of a plane contradicts itself, or what is asked of it.
    #[error("no such plane: {0}")]
    BadPlane(String),
    /// A fence, or a device that is at work on the memory, took longer than was to be waited.
    #[error("still in use after {0:?}")]
    NotReady(Duration),
    /// The work that a fence stands for is over and was not done.
    #[error("a fence failed: {0}")]
    FenceFailed(#[source] KernelError),
    /// This kernel has no way from a dma-buf's fences to descriptors, and none back.
    #[error("fences of dma-bufs as descriptors take Linux 6.0")]
    NoSyncFiles,
    /// Only dma-bufs have fences.
    #[error("memory that is no dma-buf has no fences")]
    NoFences,
    /// What came as a payload contradicts itself, or what the kernel says of its region.
    #[error("no payload: {0}")]
    BadPayload(String),
    /// A payload is longer than its receiver takes.
    #[error("a payload of {length} bytes, at most {limit} are taken")]
    PayloadTooLong {
        /// Bytes of it.
        length: u64,
        /// The most that are taken.
        limit: u64,
    },
    /// The receiver still reads what was sent last in a region that is to be used again.
    #[error("the region is still read after {0:?}")]
    PayloadInUse(Duration),
    /// What a payload was to be filled from could not be read, or what it was to be written to not
    /// written.
    #[error("the other end of a payload: {0}")]
    PayloadStream(#[from] std::io::Error),
    /// Only the handle that allocated or acquired a buffer can do this, not one from `get`.
    #[error("this handle is a second one of buffer {0}")]
    NotTheOwner(i64),
    /// The buffer may only be read.
    #[error("buffer {0} may only be read")]
    ReadOnly(i64),
    /// The buffer was not allocated as purgeable.
    #[error("buffer {0} is not purgeable")]
    NotPurgeable(i64),
    /// This handle cannot pin: it is a second one of a buffer, or of ashmem that another session
    /// allocated.
    #[error("buffer {0} is pinned by the handle that allocated or acquired it, and by no other")]
    CannotPin(i64),
    /// The session that pinned the buffer's chunks was closed, or has given the buffer up by its id:
    /// they may be purged.
    #[error("nothing of buffer {0} is pinned any more: its session has ended or has given it up")]
    PinsEnded(i64),
    /// It belongs to the process that this one was forked from: its sessions, buffers and pins are not
    /// this one's to use or to give up.
    #[error("this belongs to the process that this one was forked from")]
    Forked,
    /// A chunk was being purged all the time: the service stopped in the middle of it.
    #[error("chunk {chunk} is still being purged after {within:?}")]
    BeingPurged {
        /// Which one.
        chunk: u32,
        /// How long it was waited for.
        within: Duration,
    },
    /// The descriptor stands for nothing that could be mapped.
    #[error("{0} is no memory to map")]
    NoMemory(String),
    /// The foreign memory may only be read.
    #[error("{0} that may only be read")]
    ForeignReadOnly(ForeignKind),
    /// The foreign memory may be truncated under its mapping, which raises SIGBUS in whoever looks.
    #[error("{0} that may be truncated while it is mapped: only if you vouch that nobody does")]
    MayShrink(ForeignKind),
}

impl Error {
    /// The service's error code, if it was the service that refused.
    pub fn refusal(&self) -> Option<RefusalCode> {
        match self {
            Error::Refused { code, .. } => Some(*code),
            _ => None,
        }
    }
}

impl From<Status> for Error {
    fn from(status: Status) -> Error {
        let message = hal_binder::message(&status);
        if hal_binder::is_dead(&status) {
            Error::ServiceDied(message)
        } else if status.exception_code() == hal_binder::SERVICE_SPECIFIC {
            Error::Refused { code: RefusalCode(status.service_specific_error()), message }
        } else {
            Error::Transport(message)
        }
    }
}
