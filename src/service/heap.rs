// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! One heap: what it gives, how much of it at once, and how the kernel is asked.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

use berth_kernel::ashmem::Ashmem;
use berth_kernel::dma_buf::{self, DmaBuf};
use berth_kernel::dma_heap::DmaHeap;
use berth_kernel::ion::{HeapMask, Ion};
use berth_kernel::memfd::Memfd;
use berth_kernel::udmabuf::Udmabuf;
use berth_kernel::KernelError;
use berth_layout::Usage;
use berth_shared::purge::Chunks;
use nix::errno::Errno;

use crate::heap_class::HeapClass;
use crate::heap_memory::{Face, HeapMemory};
use crate::purgeable::Purgeable;
use crate::refusal::Refusal;
use crate::trace::Gauge;

/// The kernel facility behind a heap.
#[derive(Debug)]
pub(crate) enum Source {
    /// A dma-heap.
    Dma(DmaHeap),
    /// A heap of ION, with or without caching by the CPU.
    Ion { device: Arc<Ion>, mask: HeapMask, cached: bool },
    /// Memfds that are dma-bufs too.
    Udmabuf(Udmabuf),
    /// Sealed memfds.
    Memfd,
    /// Android's memory before memfd.
    Ashmem,
    /// A fake of a driver of dma-bufs that is not on the machine that runs the unit tests; it gives
    /// nothing.
    #[cfg(test)]
    Fake,
}

impl Source {
    /// The order among heaps of one class: what kernels keep comes before what they dropped.
    pub(crate) fn rank(&self) -> u32 {
        match self {
            Source::Dma(_) | Source::Udmabuf(_) | Source::Memfd => 0,
            Source::Ion { .. } | Source::Ashmem => 1,
            #[cfg(test)]
            Source::Fake => 0,
        }
    }
}

/// Where memory comes from.
#[derive(Debug)]
pub(crate) struct Heap {
    /// The name by which clients ask for it.
    pub(crate) name: String,
    pub(crate) class: HeapClass,
    /// The largest single buffer, in bytes.
    pub(crate) max_bytes: u64,
    pub(crate) source: Source,
    /// What clients have of it.
    pub(crate) gauge: Arc<Gauge>,
    /// Heaps were looked for again, and this is none of those that were found.
    retired: AtomicBool,
}

impl Heap {
    /// A heap of this name.
    pub(crate) fn new(name: String, class: HeapClass, max_bytes: u64, source: Source) -> Heap {
        let gauge = Gauge::of_heap(&name);
        Heap { name, class, max_bytes, source, gauge, retired: AtomicBool::new(false) }
    }

    /// Notes that it is not among the heaps any more, though another of its name may be. What was
    /// allocated stays.
    pub(crate) fn retire(&self) {
        self.retired.store(true, Ordering::Relaxed);
    }

    /// Whether it is among the heaps.
    pub(crate) fn is_there(&self) -> bool {
        !self.retired.load(Ordering::Relaxed)
    }

    /// Whether it answers to a name: its own, or another that its kind has had.
    pub(crate) fn answers_to(&self, name: &str) -> bool {
        self.name == name || (self.gives_dma_bufs() && self.class.aliases().contains(&name))
    }

    /// Whether it can give what a request wants to see, to those who will use it.
    pub(crate) fn serves(&self, face: Face, usage: Usage) -> bool {
        let has_face = match face {
            Face::DmaBuf => true,
            Face::DmaBufWithView => matches!(self.source, Source::Udmabuf(_)),
            Face::Region => self.gives_regions(),
            // Under a udmabuf a hole would only part the two faces.
            Face::RevocableRegion => matches!(self.source, Source::Memfd),
            Face::PurgeableRegion { .. } => matches!(self.source, Source::Memfd | Source::Ashmem),
        };
        // Protected memory is for those who asked for it, and they get no other.
        let protected = self.class == HeapClass::Secure;
        has_face && protected == usage.intersects(Usage::PROTECTED)
    }

    /// Whether its memory is worth keeping when it is given back: cleared by the CPU at the CPU's
    /// speed, and of an area that is everybody's anyhow.
    pub(crate) fn recycles(&self) -> bool {
        self.class == HeapClass::System && self.gives_dma_bufs()
    }

    /// Whether it gives dma-bufs.
    pub(crate) fn gives_dma_bufs(&self) -> bool {
        !matches!(self.source, Source::Memfd | Source::Ashmem)
    }

    /// Whether it gives memory for CPUs that is no dma-buf, or not only.
    pub(crate) fn gives_regions(&self) -> bool {
        matches!(self.source, Source::Memfd | Source::Ashmem | Source::Udmabuf(_))
    }

    /// Whether its memory can be given to some and only shown to others.
    pub(crate) fn has_read_only_descriptors(&self) -> bool {
        matches!(self.source, Source::Memfd | Source::Udmabuf(_))
    }

    /// How many descriptors of the service one buffer takes.
    pub(crate) fn descriptors(&self, face: Face) -> u64 {
        match (&self.source, face) {
            (Source::Udmabuf(_), Face::Region | Face::DmaBufWithView) => 2,
            // The control block's.
            (Source::Memfd, Face::PurgeableRegion { .. }) => 2,
            _ => 1,
        }
    }

    /// Asks the kernel for memory of `bytes`, whole pages, that reads zero. Who calls this holds a
    /// charge for it.
    pub(crate) fn allocate(
        &self,
        name: &str,
        bytes: u64,
        face: Face,
    ) -> Result<HeapMemory, Refusal> {
        self.ask(name, bytes, face).map_err(|error| self.refusal(error))
    }

    fn ask(&self, name: &str, bytes: u64, face: Face) -> Result<HeapMemory, KernelError> {
        match &self.source {
            #[cfg(test)]
            Source::Fake => Err(KernelError::new("ask a fake", Errno::ENOTTY)),
            Source::Memfd => match face {
                Face::PurgeableRegion { chunk_bytes } => {
                    let none = || KernelError::new("divide into chunks of 0", Errno::EINVAL);
                    let chunks = Chunks::of(bytes, chunk_bytes).ok_or_else(none)?;
                    Ok(HeapMemory::Purgeable(Arc::new(Purgeable::create(name, chunks)?)))
                }
                Face::RevocableRegion => {
                    let memfd = Memfd::create(name, bytes)?;
                    memfd.seal_seals()?;
                    Ok(HeapMemory::Memfd(memfd))
                }
                _ => Memfd::create(name, bytes).map(HeapMemory::Memfd),
            },
            Source::Ashmem => Ashmem::create(name, bytes).map(HeapMemory::Ashmem),
            Source::Dma(heap) => Ok(HeapMemory::DmaBuf(named(heap.allocate(bytes)?, name))),
            Source::Ion { device, mask, cached } => {
                let buffer = device.allocate(bytes, *mask, *cached)?;
                Ok(HeapMemory::DmaBuf(named(buffer, name)))
            }
            Source::Udmabuf(driver) => {
                let memfd = Memfd::create(name, bytes)?;
                let buffer = named(driver.create(&memfd, 0, bytes)?, name);
                Ok(match face {
                    Face::DmaBuf => HeapMemory::DmaBuf(buffer),
                    Face::Region | Face::RevocableRegion | Face::PurgeableRegion { .. } => {
                        memfd.seal_seals()?;
                        HeapMemory::MemfdWithDmaBuf(memfd, buffer)
                    }
                    Face::DmaBufWithView => {
                        // Not before: the driver refuses a memfd that nobody may write.
                        memfd.seal_future_writes()?;
                        HeapMemory::DmaBufWithView(buffer, memfd)
                    }
                })
            }
        }
    }

    /// What the kernel's refusal means for the request: the machine is out of memory, or this heap's
    /// own area is, or its driver is at fault.
    fn refusal(&self, error: KernelError) -> Refusal {
        let own_area = !matches!(
            self.class,
            HeapClass::System | HeapClass::SystemUncached | HeapClass::Shmem | HeapClass::Udmabuf
        );
        match error.errno {
            Errno::EMFILE | Errno::ENFILE => Refusal::KernelTableFull(error),
            Errno::ENOMEM if !own_area => Refusal::KernelHasNone(error),
            _ => Refusal::HeapRefused { heap: self.name.clone(), error },
        }
    }
}

/// Names a dma-buf in the kernel. One without a name is as good; only people miss it.
fn named(buffer: DmaBuf, name: &str) -> DmaBuf {
    if !name.is_empty() {
        if let Err(error) = buffer.set_name(dma_buf::kernel_name(name)) {
            log::debug!("{error}");
        }
    }
    buffer
}
