// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! What the kernel says of descriptors that a client presents as memory of a heap. They may be anything.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex};

use berth_kernel::ashmem::{Ashmem, ProtFlags};
use berth_kernel::descriptor::AccessMode;
use berth_kernel::dma_buf::DmaBuf;
use berth_kernel::identity::{self, Identity};
use berth_kernel::memfd::{self, Memfd, SealFlag};
use berth_kernel::{page_size, KernelError};
use berth_shared::purge::Chunks;
use nix::errno::Errno;

use crate::heap::{Heap, Source};
use crate::heap_memory::{Face, HeapMemory};
use crate::lock::lock;
use crate::purgeable::Purgeable;
use crate::refusal::Refusal;

/// Descriptors that are of the kind, the size and the access that they should be.
#[derive(Debug)]
pub(crate) struct Proof {
    /// Which memory the first is, and the second.
    pub(crate) marks: (Identity, Option<Identity>),
    /// The memory; `None` if what was presented is only the face that shows it to readers.
    pub(crate) held: Option<HeapMemory>,
    /// It can only be read any more.
    pub(crate) sealed: bool,
    /// Who exported the dma-buf among them.
    exporter: Option<String>,
}

impl Proof {
    /// Looks at descriptors that should be those of a buffer from `heap` of so many bytes, with this
    /// face, as they are handed out to those who may only read or to all others.
    pub(crate) fn of(
        heap: &Heap,
        face: Face,
        reads_only: bool,
        fd: OwnedFd,
        second: Option<OwnedFd>,
        bytes: u64,
    ) -> Result<Proof, Refusal> {
        let two_faces = heap.descriptors(face) > 1 && !reads_only;
        let second = match (second, two_faces) {
            (None, false) => None,
            (Some(second), true) => Some(second),
            (given, _) => {
                let (given, due) = (1 + u32::from(given.is_some()), 1 + u32::from(two_faces));
                let message = format!("{given} descriptors where there are {due}");
                return Err(Refusal::NotTheMemory(message));
            }
        };
        let looked = Look { bytes, reads_only };
        match (&heap.source, second, face) {
            (Source::Memfd, Some(block), Face::PurgeableRegion { chunk_bytes }) => {
                looked.purgeable(fd, block, chunk_bytes)
            }
            (Source::Memfd, None, Face::PurgeableRegion { .. }) => {
                Ok(Proof { held: None, ..looked.memfd(fd)? })
            }
            (Source::Memfd, _, _) => looked.memfd(fd),
            (Source::Ashmem, _, _) => looked.ashmem(fd),
            (Source::Udmabuf(_), Some(second), Face::DmaBufWithView) => looked.view(fd, second),
            (Source::Udmabuf(_), Some(second), _) => looked.region(fd, second),
            (Source::Udmabuf(_), None, Face::DmaBufWithView | Face::Region) => {
                Ok(Proof { held: None, ..looked.memfd(fd)? })
            }
            _ => looked.dma_buf(fd),
        }
    }

    /// Device and inode as clients are told them.
    pub(crate) fn told(&self) -> (i64, i64) {
        let Identity { device, inode } = self.marks.0;
        (device as i64, inode as i64)
    }
}

struct Look {
    bytes: u64,
    reads_only: bool,
}

impl Look {
    fn dma_buf(&self, fd: OwnedFd) -> Result<Proof, Refusal> {
        let (buffer, exporter) = DmaBuf::adopt(fd).map_err(refuse)?;
        let mark = self.mark(buffer.as_fd())?;
        let held = Some(HeapMemory::DmaBuf(buffer));
        Ok(Proof { marks: (mark, None), held, sealed: false, exporter: Some(exporter) })
    }

    fn memfd(&self, fd: OwnedFd) -> Result<Proof, Refusal> {
        let memfd = Memfd::adopt(fd.as_fd()).map_err(refuse)?;
        let mark = self.mark(memfd.as_fd())?;
        let seals = memfd::seals(memfd.as_fd()).map_err(refuse)?;
        let sealed = seals.intersects(memfd::FUTURE_WRITE_SEAL | SealFlag::F_SEAL_WRITE);
        let access = AccessMode::of(fd.as_fd()).map_err(refuse)?;
        if !access.reads || !(access.writes || self.reads_only) {
            let message = "a descriptor that may not be read and written".to_owned();
            return Err(Refusal::NotTheMemory(message));
        }
        let held = Some(HeapMemory::Memfd(memfd));
        Ok(Proof { marks: (mark, None), held, sealed, exporter: None })
    }

    fn ashmem(&self, fd: OwnedFd) -> Result<Proof, Refusal> {
        let region = Ashmem::adopt(fd).map_err(refuse)?;
        self.check_size(region.size().map_err(refuse)?)?;
        let sealed = !region.protection().map_err(refuse)?.contains(ProtFlags::PROT_WRITE);
        let held = HeapMemory::Ashmem(region);
        let mark = held.identity().map_err(refuse)?;
        let mark = mark.ok_or_else(|| {
            Refusal::Unsupported("this kernel tells no two regions of ashmem apart".to_owned())
        })?;
        Ok(Proof { marks: (mark, None), held: Some(held), sealed, exporter: None })
    }

    /// A dma-buf, and the memfd by which it is read.
    fn view(&self, fd: OwnedFd, second: OwnedFd) -> Result<Proof, Refusal> {
        let (buffer, exporter) = DmaBuf::adopt(fd).map_err(refuse)?;
        let view = Memfd::adopt(second.as_fd()).map_err(refuse)?;
        let marks = (self.mark(buffer.as_fd())?, Some(self.mark(view.as_fd())?));
        let held = Some(HeapMemory::DmaBufWithView(buffer, view));
        Ok(Proof { marks, held, sealed: false, exporter: Some(exporter) })
    }

    /// A memfd, and the dma-buf that is made of it.
    fn region(&self, fd: OwnedFd, second: OwnedFd) -> Result<Proof, Refusal> {
        let Proof { marks: (mark, _), held, sealed, .. } = self.memfd(fd)?;
        let (buffer, exporter) = DmaBuf::adopt(second).map_err(refuse)?;
        let marks = (mark, Some(self.mark(buffer.as_fd())?));
        let held = match held {
            Some(HeapMemory::Memfd(memfd)) => Some(HeapMemory::MemfdWithDmaBuf(memfd, buffer)),
            _ => None,
        };
        Ok(Proof { marks, held, sealed, exporter: Some(exporter) })
    }

    /// A memfd, and the control block by which clients pin it.
    fn purgeable(&self, fd: OwnedFd, block: OwnedFd, chunk: u64) -> Result<Proof, Refusal> {
        let Proof { marks: (mark, _), held, sealed, .. } = self.memfd(fd)?;
        let Some(HeapMemory::Memfd(memfd)) = held else {
            return Err(Refusal::Internal("a memfd that is none".to_owned()));
        };
        let none = || Refusal::NotTheMemory(format!("{} bytes in chunks of {chunk}", self.bytes));
        let chunks = Chunks::of(self.bytes, chunk).ok_or_else(none)?;
        if !AccessMode::of(block.as_fd()).map_err(refuse)?.writes {
            let message = "a control block that may not be written".to_owned();
            return Err(Refusal::NotTheMemory(message));
        }
        let block = Memfd::adopt(block.as_fd()).map_err(refuse)?;
        let bytes = chunks.block_bytes();
        let of_block = Look { bytes, reads_only: false }.mark(block.as_fd())?;
        let region = Purgeable::adopt(memfd, block, chunks);
        let held = Some(HeapMemory::Purgeable(Arc::new(region)));
        Ok(Proof { marks: (mark, Some(of_block)), held, sealed, exporter: None })
    }

    /// Which memory something is that was found to be memory.
    fn mark(&self, fd: BorrowedFd<'_>) -> Result<Identity, Refusal> {
        self.check_size(identity::size(fd).map_err(refuse)?)?;
        Identity::of(fd).map_err(refuse)
    }

    fn check_size(&self, there: u64) -> Result<(), Refusal> {
        match there == self.bytes {
            true => Ok(()),
            false => {
                let told = self.bytes;
                Err(Refusal::NotTheMemory(format!("{there} bytes where {told} were told")))
            }
        }
    }
}

/// A descriptor that the kernel says is something else; or that the kernel has no more room.
fn refuse(error: KernelError) -> Refusal {
    match error.errno {
        Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM => Refusal::of_kernel(error),
        _ => Refusal::NotTheMemory(error.to_string()),
    }
}

/// Who exports the dma-bufs of each heap, by the heap's name, as its own buffers say: drivers name
/// themselves as they like.
#[derive(Debug, Default)]
pub(crate) struct Exporters(Mutex<HashMap<String, String>>);

impl Exporters {
    /// Refuses a dma-buf of another exporter than the heap's. A heap that has nothing left to ask it
    /// by is taken at the receipt's word.
    pub(crate) fn check(&self, heap: &Heap, proof: &Proof) -> Result<(), Refusal> {
        let Some(exporter) = &proof.exporter else { return Ok(()) };
        let known = lock(&self.0).get(&heap.name).cloned();
        let expected = match known.or_else(|| ask(heap)) {
            Some(expected) => expected,
            None => return Ok(()),
        };
        let message =
            format!("a dma-buf of {exporter:?} where heap {} has {expected:?}", heap.name);
        let same = *exporter == expected;
        lock(&self.0).entry(heap.name.clone()).or_insert(expected);
        match same {
            true => Ok(()),
            false => Err(Refusal::NotTheMemory(message)),
        }
    }
}

fn ask(heap: &Heap) -> Option<String> {
    match heap.allocate("", page_size(), Face::DmaBuf) {
        Ok(HeapMemory::DmaBuf(buffer)) => buffer.exporter().ok(),
        Ok(_) => None,
        Err(refusal) => {
            log::debug!("who exports for heap {}: {refusal}", heap.name);
            None
        }
    }
}
