// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Why a request was refused, and as which `AllocatorError` the client learns it.

use berth_kernel::KernelError;
use berth_layout::LayoutError;
use berth_shared::purge::Pinner;
use nix::errno::Errno;
use vendor_berth_allocator::aidl::vendor::berth::allocator::AllocatorError::AllocatorError;

/// Whose limit was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// One session.
    Session,
    /// All sessions of one uid.
    Uid(u32),
    /// The whole service.
    Service,
    /// One pool.
    Pool,
    /// One buffer.
    Buffer,
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Scope::Session => write!(f, "this session"),
            Scope::Uid(uid) => write!(f, "uid {uid}"),
            Scope::Service => write!(f, "the service"),
            Scope::Pool => write!(f, "the pool"),
            Scope::Buffer => write!(f, "the buffer"),
        }
    }
}

/// A limit, what is used of it and what was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{scope} uses {used} {unit} of at most {limit}; {asked} more were asked for")]
pub(crate) struct OverLimit {
    pub(crate) scope: Scope,
    pub(crate) unit: &'static str,
    pub(crate) used: u64,
    pub(crate) asked: u64,
    pub(crate) limit: u64,
}

/// Why the service refuses. The text goes to the client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("bad descriptor: {0}")]
    BadDescriptor(String),
    #[error("bad argument: {0}")]
    BadArgument(String),
    #[error("too large: {asked} bytes, at most {limit} in one buffer")]
    TooLarge { asked: u64, limit: u64 },
    #[error("too large: {asked} bytes, at most {limit} in one buffer of heap {heap}")]
    TooLargeForHeap { heap: String, asked: u64, limit: u64 },
    #[error("too large: {0}")]
    ExtentTooLarge(LayoutError),
    #[error("unsupported: {0}")]
    Unsupported(String),
    #[error(
        "no memory: {asked} bytes asked for, {available} available, {reserve} kept in reserve"
    )]
    BelowReserve { asked: u64, available: u64, reserve: u64 },
    #[error("no memory: {0}")]
    KernelHasNone(KernelError),
    #[error("quota exceeded: {0}")]
    OverQuota(OverLimit),
    #[error("quota exceeded: {} sessions may pin this region, and no more can", Pinner::COUNT)]
    TooManyPinners,
    #[error("too many buffers: {0}")]
    TooManyBuffers(OverLimit),
    #[error("too many descriptors: {0}")]
    TooManyFds(OverLimit),
    #[error("too many descriptors: {0}")]
    KernelTableFull(KernelError),
    #[error("too many sessions: {0}")]
    TooManySessions(OverLimit),
    #[error("heap unknown: {0}")]
    HeapUnknown(String),
    #[error("heap unavailable: {0}")]
    HeapUnavailable(String),
    #[error("heap {heap} refused: {error}")]
    HeapRefused { heap: String, error: KernelError },
    #[error("not found: no buffer {0} in this session")]
    NotFound(i64),
    #[error("not found: no pool {0} in this session")]
    PoolNotFound(i64),
    #[error("not found: this session remembers no request {0}")]
    RequestNotFound(i32),
    #[error("bad token")]
    BadToken,
    #[error("bad receipt: {0}")]
    BadReceipt(String),
    #[error("not the memory: {0}")]
    NotTheMemory(String),
    #[error("already attached: {0}")]
    AlreadyAttached(String),
    #[error("owner missing: nobody has presented buffer {0} as its owner yet")]
    OwnerMissing(i64),
    #[error("session closed")]
    SessionClosed,
    #[error("internal error: {0}")]
    Internal(String),
}

impl Refusal {
    /// The code under which the client learns it.
    pub(crate) fn code(&self) -> AllocatorError {
        match self {
            Refusal::BadDescriptor(_) => AllocatorError::BAD_DESCRIPTOR,
            Refusal::BadArgument(_) => AllocatorError::BAD_ARGUMENT,
            Refusal::TooLarge { .. }
            | Refusal::TooLargeForHeap { .. }
            | Refusal::ExtentTooLarge(_) => AllocatorError::TOO_LARGE,
            Refusal::Unsupported(_) => AllocatorError::UNSUPPORTED,
            Refusal::BelowReserve { .. } | Refusal::KernelHasNone(_) => AllocatorError::NO_MEMORY,
            Refusal::OverQuota(_) | Refusal::TooManyPinners => AllocatorError::QUOTA_EXCEEDED,
            Refusal::TooManyBuffers(_) => AllocatorError::TOO_MANY_BUFFERS,
            Refusal::TooManyFds(_) | Refusal::KernelTableFull(_) => AllocatorError::TOO_MANY_FDS,
            Refusal::TooManySessions(_) => AllocatorError::TOO_MANY_SESSIONS,
            Refusal::HeapUnknown(_) => AllocatorError::HEAP_UNKNOWN,
            Refusal::HeapUnavailable(_) => AllocatorError::HEAP_UNAVAILABLE,
            Refusal::HeapRefused { .. } => AllocatorError::HEAP_REFUSED,
            Refusal::NotFound(_) | Refusal::PoolNotFound(_) | Refusal::RequestNotFound(_) => {
                AllocatorError::NOT_FOUND
            }
            Refusal::BadToken => AllocatorError::BAD_TOKEN,
            Refusal::BadReceipt(_) => AllocatorError::BAD_RECEIPT,
            Refusal::NotTheMemory(_) => AllocatorError::NOT_THE_MEMORY,
            Refusal::AlreadyAttached(_) => AllocatorError::ALREADY_ATTACHED,
            Refusal::OwnerMissing(_) => AllocatorError::OWNER_MISSING,
            Refusal::SessionClosed => AllocatorError::SESSION_CLOSED,
            Refusal::Internal(_) => AllocatorError::INTERNAL,
        }
    }

    /// Whether the same request would be refused for ever: what `isSupported` answers false to.
    pub(crate) fn is_final(&self) -> bool {
        matches!(
            self.code(),
            AllocatorError::BAD_DESCRIPTOR
                | AllocatorError::TOO_LARGE
                | AllocatorError::UNSUPPORTED
                | AllocatorError::HEAP_UNKNOWN
                | AllocatorError::HEAP_UNAVAILABLE
        )
    }

    /// What a system call that should have worked says about the request.
    pub(crate) fn of_kernel(error: KernelError) -> Refusal {
        match error.errno {
            Errno::ENOMEM => Refusal::KernelHasNone(error),
            Errno::EMFILE | Errno::ENFILE => Refusal::KernelTableFull(error),
            _ => Refusal::Internal(error.to_string()),
        }
    }
}

impl From<LayoutError> for Refusal {
    fn from(error: LayoutError) -> Refusal {
        match error {
            LayoutError::ZeroExtent { .. } => Refusal::BadDescriptor(error.to_string()),
            LayoutError::TooLarge { .. } | LayoutError::SizeOverflow { .. } => {
                Refusal::ExtentTooLarge(error)
            }
            LayoutError::BadAlignment { .. } => Refusal::Internal(error.to_string()),
            LayoutError::UnknownFormat { .. }
            | LayoutError::UnknownUsage { .. }
            | LayoutError::UnsupportedUsage { .. }
            | LayoutError::NotACube { .. }
            | LayoutError::Misaligned { .. }
            | LayoutError::FixedExtent { .. } => Refusal::Unsupported(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_names_use_request_and_limit() {
        let over =
            OverLimit { scope: Scope::Uid(10_001), unit: "bytes", used: 5, asked: 7, limit: 11 };
        let text = Refusal::OverQuota(over).to_string();
        for part in ["uid 10001", "uses 5 bytes", "at most 11", "7 more"] {
            assert!(text.contains(part), "{part:?} in {text:?}");
        }
    }

    #[test]
    fn the_kernel_refusals_that_a_client_can_act_on_keep_their_cause() {
        let code = |errno| Refusal::of_kernel(KernelError::new("allocate", errno)).code();
        assert_eq!(code(Errno::ENOMEM), AllocatorError::NO_MEMORY);
        assert_eq!(code(Errno::EMFILE), AllocatorError::TOO_MANY_FDS);
        assert_eq!(code(Errno::ENFILE), AllocatorError::TOO_MANY_FDS);
        assert_eq!(code(Errno::EIO), AllocatorError::INTERNAL);
    }
}
