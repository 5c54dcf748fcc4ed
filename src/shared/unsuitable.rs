// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! What memory no structure is put into, whoever sent the descriptor.

use std::os::fd::BorrowedFd;

use berth_kernel::{descriptor, memfd, KernelError};

/// Why memory holds none of the structures.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnsuitableMemory {
    /// It could be cut off under a mapping. Whoever touches that gets SIGBUS, and the kernel ends its
    /// walk over the words of a dying process there.
    #[error("memory that can shrink while it is mapped: nothing is shared in it")]
    CanShrink,
    /// The kernel lets nobody sleep on memory of a driver.
    #[error("a dma-buf, where nobody can wait for another: nothing is shared in it")]
    DmaBuf,
    /// They are mapped and unmapped whole, and no part of one is.
    #[error("huge pages, of which no part can be mapped: nothing is shared in them")]
    HugePages,
    /// The kernel does not say what it is.
    #[error(transparent)]
    Kernel(#[from] KernelError),
}

/// Refuses memory that nothing is put into.
pub(crate) fn check(fd: BorrowedFd<'_>) -> Result<(), UnsuitableMemory> {
    if memfd::can_shrink(fd)? {
        return Err(UnsuitableMemory::CanShrink);
    }
    if descriptor::is_dma_buf(fd)? {
        return Err(UnsuitableMemory::DmaBuf);
    }
    if descriptor::is_on_huge_pages(fd)? {
        return Err(UnsuitableMemory::HugePages);
    }
    Ok(())
}
