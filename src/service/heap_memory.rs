// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Memory that a heap gave: which descriptors the service keeps of it, and which it hands out.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use berth_kernel::ashmem::{self, Ashmem};
use berth_kernel::dma_buf::{self, DmaBuf};
use berth_kernel::fdinfo;
use berth_kernel::identity::Identity;
use berth_kernel::memfd::Memfd;
use berth_kernel::KernelError;
use nix::errno::Errno;

use crate::purgeable::Purgeable;
use crate::refusal::Refusal;

/// What a request wants to see of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Face {
    /// A dma-buf, where the heap has any.
    DmaBuf,
    /// A dma-buf to write, and a memfd of the same pages to read.
    DmaBufWithView,
    /// Memory of CPUs.
    Region,
    /// Memory of CPUs that can be taken from those who map it.
    RevocableRegion,
    /// Memory of CPUs that can be taken in chunks of so many bytes when nobody has them pinned.
    PurgeableRegion { chunk_bytes: u64 },
}

impl std::fmt::Display for Face {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Face::DmaBuf => "a dma-buf",
            Face::DmaBufWithView => "a dma-buf with a read-only view",
            Face::Region => "a region",
            Face::RevocableRegion => "a region that can be revoked",
            Face::PurgeableRegion { .. } => "a purgeable region",
        })
    }
}

/// Memory that a heap gave, owned.
#[derive(Debug)]
pub(crate) enum HeapMemory {
    DmaBuf(DmaBuf),
    Memfd(Memfd),
    Ashmem(Ashmem),
    /// A memfd with its control block; the purger knows it too.
    Purgeable(Arc<Purgeable>),
    /// A dma-buf, and the memfd that it is made of, which nobody can write any more.
    DmaBufWithView(DmaBuf, Memfd),
    /// A region, and the dma-buf that is made of it.
    MemfdWithDmaBuf(Memfd, DmaBuf),
}

/// New descriptors of memory, for a client.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) fd: OwnedFd,
    pub(crate) second: Option<OwnedFd>,
}

impl HeapMemory {
    /// Whether the descriptor that is handed out to write is a dma-buf.
    pub(crate) fn is_dma_buf(&self) -> bool {
        matches!(self, HeapMemory::DmaBuf(_) | HeapMemory::DmaBufWithView(..))
    }

    /// The identity of the descriptor that is handed out to write; `None` for ashmem where the kernel
    /// tells none.
    pub(crate) fn identity(&self) -> Result<Option<Identity>, KernelError> {
        match self {
            HeapMemory::Ashmem(ashmem) => ashmem::identity(ashmem.as_fd()),
            _ => Identity::of(self.as_fd()).map(Some),
        }
    }

    /// What the descriptors stand for that are handed out, of those who may only read or of all
    /// others; `None` where the kernel does not tell. `first` is its [`identity`](Self::identity).
    pub(crate) fn marks(
        &self,
        first: Option<Identity>,
        reads_only: bool,
    ) -> Result<Option<(Identity, Option<Identity>)>, KernelError> {
        let first = match self {
            HeapMemory::DmaBufWithView(_, view) if reads_only => Some(Identity::of(view.as_fd())?),
            _ => first,
        };
        let second = match self {
            HeapMemory::DmaBufWithView(_, view) if !reads_only => Some(Identity::of(view.as_fd())?),
            HeapMemory::MemfdWithDmaBuf(_, buffer) if !reads_only => {
                Some(Identity::of(buffer.as_fd())?)
            }
            HeapMemory::Purgeable(region) if !reads_only => Some(Identity::of(region.block())?),
            _ => None,
        };
        Ok(first.map(|first| (first, second)))
    }

    /// New descriptors to read and write. A memfd with a dma-buf is opened anew, so that the kernel
    /// tells when nobody has it any more; the view is too, though nobody can write it.
    pub(crate) fn open(&self) -> Result<Opened, Refusal> {
        let again = |memfd: &Memfd| memfd.open_again().map_err(Refusal::of_kernel);
        let (fd, second) = match self {
            HeapMemory::DmaBufWithView(buffer, view) => {
                (duplicate(buffer.as_fd())?, Some(again(view)?))
            }
            HeapMemory::MemfdWithDmaBuf(memfd, buffer) => {
                (again(memfd)?, Some(duplicate(buffer.as_fd())?))
            }
            HeapMemory::Purgeable(region) => {
                (duplicate(region.as_fd())?, Some(duplicate(region.block())?))
            }
            HeapMemory::DmaBuf(_) | HeapMemory::Memfd(_) | HeapMemory::Ashmem(_) => {
                (duplicate(self.as_fd())?, None)
            }
        };
        Ok(Opened { fd, second })
    }

    /// Whether there can be a descriptor that only reads, of memory that was sealed or was not.
    pub(crate) fn check_read_only(&self, sealed: bool) -> Result<(), Refusal> {
        let why = match self {
            HeapMemory::DmaBuf(_) => "a dma-buf, which has no weaker descriptor",
            HeapMemory::Ashmem(_) if !sealed => "ashmem, all descriptors of which have one access",
            _ => return Ok(()),
        };
        Err(Refusal::Unsupported(format!("READ_ONLY of {why}")))
    }

    /// A new descriptor that reads only. It is no dma-buf.
    pub(crate) fn open_read_only(&self, sealed: bool) -> Result<Opened, Refusal> {
        self.check_read_only(sealed)?;
        let fd = match self {
            HeapMemory::Memfd(memfd) | HeapMemory::MemfdWithDmaBuf(memfd, _) => {
                memfd.open_read_only().map_err(Refusal::of_kernel)
            }
            // Sealed for good, and seen by the kernel as one to write.
            HeapMemory::DmaBufWithView(_, view) => view.open_again().map_err(Refusal::of_kernel),
            HeapMemory::Purgeable(region) => {
                region.memfd().open_read_only().map_err(Refusal::of_kernel)
            }
            HeapMemory::DmaBuf(_) | HeapMemory::Ashmem(_) => duplicate(self.as_fd()),
        }?;
        Ok(Opened { fd, second: None })
    }

    /// Whether the kernel tells all that hold it: a dma-buf, and a view of one. Of a region with a
    /// dma-buf it does not tell who only reads.
    pub(crate) fn has_countable_holders(&self) -> bool {
        matches!(self, HeapMemory::DmaBuf(_) | HeapMemory::DmaBufWithView(..))
    }

    /// Whether anybody but the service holds the dma-buf (a descriptor, a mapping or a device, in any
    /// process) or the memfd that it is made of. Of a memfd alone and of ashmem nothing tells.
    pub(crate) fn is_held_by_others(&self) -> bool {
        match self {
            HeapMemory::DmaBuf(buffer) => is_dma_buf_held(buffer),
            HeapMemory::DmaBufWithView(buffer, memfd)
            | HeapMemory::MemfdWithDmaBuf(memfd, buffer) => {
                is_dma_buf_held(buffer) || is_memfd_held(memfd)
            }
            HeapMemory::Memfd(_) | HeapMemory::Ashmem(_) | HeapMemory::Purgeable(_) => false,
        }
    }

    /// Closes what nobody is known to hold. Those who may still read a region with a dma-buf read
    /// zeros from then on: nobody would pay for its pages.
    pub(crate) fn close(self) {
        if let HeapMemory::MemfdWithDmaBuf(memfd, buffer) = self {
            drop(buffer);
            if let Err(error) = memfd.punch() {
                log::warn!("a region with a dma-buf was not emptied: {error}");
            }
        }
    }

    /// Takes the contents from everybody who maps the memory, and gives its pages to the kernel.
    pub(crate) fn revoke(&self) {
        if let HeapMemory::Memfd(memfd) = self {
            if let Err(error) = memfd.punch() {
                log::warn!("a region was not revoked: {error}");
            }
        }
    }

    /// Names a dma-buf for its next owner.
    pub(crate) fn rename(&self, name: &str) {
        if let HeapMemory::DmaBuf(buffer) = self {
            if let Err(error) = buffer.set_name(dma_buf::kernel_name(name)) {
                log::debug!("{error}");
            }
        }
    }

    /// Makes memory of CPUs read-only for good, but for the mappings that are there.
    pub(crate) fn seal(&self) -> Result<(), Refusal> {
        let sealed = match self {
            HeapMemory::Memfd(memfd) => memfd.seal_future_writes(),
            HeapMemory::Ashmem(ashmem) => ashmem.restrict_to_reading(),
            HeapMemory::Purgeable(_) => return Err(cannot_seal_purgeable()),
            HeapMemory::DmaBuf(_)
            | HeapMemory::DmaBufWithView(..)
            | HeapMemory::MemfdWithDmaBuf(..) => {
                return Err(Refusal::Unsupported("sealing a dma-buf, which devices write".into()));
            }
        };
        sealed.map_err(|error| match error.errno {
            Errno::EINVAL => Refusal::Unsupported(error.to_string()),
            _ => Refusal::of_kernel(error),
        })
    }
}

impl AsFd for HeapMemory {
    /// The descriptor that is handed out to write.
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            HeapMemory::DmaBuf(buffer) | HeapMemory::DmaBufWithView(buffer, _) => buffer.as_fd(),
            HeapMemory::Memfd(memfd) | HeapMemory::MemfdWithDmaBuf(memfd, _) => memfd.as_fd(),
            HeapMemory::Ashmem(ashmem) => ashmem.as_fd(),
            HeapMemory::Purgeable(region) => region.as_fd(),
        }
    }
}

/// Whether others hold a dma-buf. Without proof it is somebody's.
fn is_dma_buf_held(buffer: &DmaBuf) -> bool {
    match fdinfo::holders(buffer.as_fd()) {
        Ok(holders) => holders.map_or(true, |holders| holders > 1),
        Err(error) => {
            log::warn!("a buffer's holders: {error}");
            true
        }
    }
}

/// The same of a memfd all of whose descriptors were opened anew.
fn is_memfd_held(memfd: &Memfd) -> bool {
    memfd.has_other_writers().unwrap_or_else(|error| {
        log::warn!("a region's holders: {error}");
        true
    })
}

/// Of memory that can be written by nobody the contents could not be taken either.
pub(crate) fn cannot_seal_purgeable() -> Refusal {
    let why = "sealing a purgeable region, whose contents could not go any more";
    Refusal::Unsupported(why.to_owned())
}

fn duplicate(fd: BorrowedFd<'_>) -> Result<OwnedFd, Refusal> {
    fd.try_clone_to_owned().map_err(|error| {
        let errno = Errno::try_from(error).unwrap_or(Errno::EIO);
        Refusal::of_kernel(KernelError::new("duplicate a descriptor", errno))
    })
}
