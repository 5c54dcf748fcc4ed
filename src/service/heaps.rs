// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! The heaps of this kernel, and which of them serves a request.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use berth_kernel::dma_buf::{self, DmaBuf};
use berth_kernel::dma_heap::DmaHeap;
use berth_kernel::memfd::Memfd;

use crate::refusal::Refusal;
use crate::request::{Request, Shape};

/// The name of memory that is no dma-buf.
const MEMFD: &str = "memfd";

/// What kind of memory a heap gives. The order is that of preference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    System,
    SystemUncached,
    Contiguous,
    Shmem,
    Vendor,
    Secure,
}

/// The names that kernels give the heaps of a class. The contiguous heap's changed most: it was the
/// CMA area's own until Linux 6.17 called it `default_cma_region` (drivers/dma-buf/heaps/cma_heap.c);
/// the others are Android's (private/file_contexts of AOSP's sepolicy).
const NAMES: [(Class, &[&str]); 3] = [
    (Class::System, &["system"]),
    (Class::SystemUncached, &["system-uncached"]),
    (Class::Contiguous, &["reserved", "linux,cma", "default-pool", "default_cma_region"]),
];
/// How the names of all protected heaps begin.
const SECURE_PREFIX: &str = "system-secure";

impl Class {
    /// The class of a dma-heap by its name.
    fn of(name: &str) -> Class {
        let known = NAMES.iter().find(|(_, names)| names.contains(&name));
        match known {
            Some((class, _)) => *class,
            None if name.starts_with(SECURE_PREFIX) => Class::Secure,
            None => Class::Vendor,
        }
    }

    /// Whether a request that names no heap may be served from it.
    fn serves_everybody(self) -> bool {
        !matches!(self, Class::Vendor | Class::Secure)
    }
}

/// Where memory comes from.
#[derive(Debug)]
pub(crate) enum Heap {
    /// A dma-heap.
    Dma(DmaHeap, Class),
    /// Sealed memfds.
    Memfd,
}

impl Heap {
    /// The name by which clients ask for it.
    pub(crate) fn name(&self) -> &str {
        match self {
            Heap::Dma(heap, _) => heap.name(),
            Heap::Memfd => MEMFD,
        }
    }

    /// What it gives.
    pub(crate) fn class(&self) -> Class {
        match self {
            Heap::Dma(_, class) => *class,
            Heap::Memfd => Class::Shmem,
        }
    }

    /// Whether it answers to a name: its own, or another that its kind has had.
    fn answers_to(&self, name: &str) -> bool {
        let aliases = NAMES.iter().find(|(class, _)| *class == self.class());
        self.name() == name || aliases.is_some_and(|(_, names)| names.contains(&name))
    }

    /// Whether it gives dma-bufs.
    pub(crate) fn gives_dma_bufs(&self) -> bool {
        matches!(self, Heap::Dma(..))
    }

    /// Whether its memory can be given to some and only shown to others.
    pub(crate) fn has_read_only_descriptors(&self) -> bool {
        matches!(self, Heap::Memfd)
    }

    /// Asks the kernel for memory that reads zero. Who calls this holds a charge for it.
    pub(crate) fn allocate(&self, name: &str, bytes: u64) -> Result<HeapMemory, Refusal> {
        match self {
            Heap::Memfd => {
                Memfd::create(name, bytes).map(HeapMemory::Memfd).map_err(Refusal::of_kernel)
            }
            Heap::Dma(heap, _) => {
                let buffer =
                    heap.allocate(bytes).map_err(|error| match Refusal::of_kernel(error) {
                        Refusal::Internal(message) => Refusal::HeapUnavailable(message),
                        refusal => refusal,
                    })?;
                // A buffer without a name is as good; only people miss it.
                if let Err(error) = buffer.set_name(dma_buf::kernel_name(name)) {
                    log::debug!("{error}");
                }
                Ok(HeapMemory::DmaBuf(buffer))
            }
        }
    }
}

/// Memory that a heap gave, owned.
#[derive(Debug)]
pub(crate) enum HeapMemory {
    DmaBuf(DmaBuf),
    Memfd(Memfd),
}

impl HeapMemory {
    /// A further descriptor that reads only.
    pub(crate) fn open_read_only(&self) -> Result<OwnedFd, Refusal> {
        match self {
            HeapMemory::Memfd(memfd) => memfd.open_read_only().map_err(Refusal::of_kernel),
            HeapMemory::DmaBuf(_) => Err(Refusal::Unsupported(
                "READ_ONLY of a dma-buf, which has no weaker descriptor".to_owned(),
            )),
        }
    }
}

impl AsFd for HeapMemory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            HeapMemory::DmaBuf(buffer) => buffer.as_fd(),
            HeapMemory::Memfd(memfd) => memfd.as_fd(),
        }
    }
}

/// A heap for a request, and whether a better one is missing on this kernel.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Choice<'heaps> {
    pub(crate) heap: &'heaps Heap,
    pub(crate) fallback: bool,
}

/// The heaps that were there when the service started, the preferred one first.
#[derive(Debug)]
pub(crate) struct Heaps(Vec<Heap>);

impl Heaps {
    /// Looks for heaps. One that may not be opened, as SELinux has it for most, is none of ours.
    pub(crate) fn discover() -> Heaps {
        let mut heaps = vec![Heap::Memfd];
        for name in DmaHeap::names() {
            match DmaHeap::open(&name) {
                Ok(heap) => heaps.push(Heap::Dma(heap, Class::of(&name))),
                Err(error) => log::warn!("a heap is left out: {error}"),
            }
        }
        // Stable: heaps of one class stay in the order of their names.
        heaps.sort_by_key(Heap::class);
        if heaps.len() == 1 {
            log::warn!("there is no dma-heap: buffers and images will be memfds");
        }
        Heaps(heaps)
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Heap> {
        self.0.iter()
    }

    /// The heap that serves a request.
    pub(crate) fn choose(&self, request: &Request) -> Result<Choice<'_>, Refusal> {
        let region = matches!(request.shape, Shape::Region(_));
        let wanted = if region { Class::Shmem } else { Class::System };
        let suits = |heap: &Heap| !region || heap.class() == Class::Shmem;
        let Some(name) = &request.heap else {
            let serves = |heap: &&Heap| suits(heap) && heap.class().serves_everybody();
            let heap = self.iter().find(serves).ok_or_else(|| {
                Refusal::HeapUnavailable("no heap serves this shape here".to_owned())
            })?;
            return Ok(Choice { heap, fallback: heap.class() != wanted });
        };
        let heap = self.iter().find(|heap| heap.answers_to(name)).ok_or_else(|| {
            let there: Vec<&str> = self.iter().map(Heap::name).collect();
            Refusal::HeapUnavailable(format!("no heap {name:?}, only {}", there.join(", ")))
        })?;
        if !suits(heap) {
            return Err(Refusal::Unsupported(format!("a region from heap {name:?}")));
        }
        Ok(Choice { heap, fallback: false })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use berth_layout::Usage;

    fn request(shape: Shape, heap: Option<&str>) -> Request {
        let heap = heap.map(str::to_owned);
        Request { name: String::new(), shape, usage: Usage::empty(), heap }
    }

    #[test]
    fn a_host_without_dma_heaps_says_that_a_buffer_is_a_fallback() {
        let heaps = Heaps(vec![Heap::Memfd]);
        let linear = request(Shape::Linear(1), None);
        let choice = heaps.choose(&linear).unwrap();
        assert!(choice.fallback && choice.heap.name() == "memfd");
        let region = request(Shape::Region(1), None);
        assert!(!heaps.choose(&region).unwrap().fallback);
        let asked_for = request(Shape::Linear(1), Some("memfd"));
        assert!(!heaps.choose(&asked_for).unwrap().fallback);
    }

    #[test]
    fn every_name_that_the_contiguous_heap_has_had_is_of_its_class() {
        for name in ["reserved", "linux,cma", "default-pool", "default_cma_region"] {
            assert_eq!(Class::of(name), Class::Contiguous, "{name}");
        }
        assert_eq!(Class::of("system"), Class::System);
        assert_eq!(Class::of("system-uncached"), Class::SystemUncached);
        assert_eq!(Class::of("system-secure-video"), Class::Secure);
        assert_eq!(Class::of("carveout"), Class::Vendor);
    }

    #[test]
    fn what_only_a_name_can_ask_for_is_not_preferred() {
        let mut classes =
            [Class::Secure, Class::Vendor, Class::Shmem, Class::Contiguous, Class::System];
        classes.sort();
        let served: Vec<_> = classes.into_iter().filter(|class| class.serves_everybody()).collect();
        assert_eq!(served, [Class::System, Class::Contiguous, Class::Shmem]);
    }

    #[test]
    fn an_unknown_heap_is_refused_with_the_ones_that_are_there() {
        let heaps = Heaps(vec![Heap::Memfd]);
        let refusal = heaps.choose(&request(Shape::Linear(1), Some("cma"))).unwrap_err();
        assert!(matches!(refusal, Refusal::HeapUnavailable(_)));
        assert!(refusal.to_string().contains("\"cma\", only memfd"), "{refusal}");
    }

    #[test]
    fn memory_of_the_memfd_heap_reads_zero_and_opens_read_only() {
        use berth_kernel::mapping::{Mapping, ReadOnly};
        let memory = Heap::Memfd.allocate("zero", 4096).unwrap();
        let reader = memory.open_read_only().unwrap();
        let mapping: Mapping<ReadOnly> = Mapping::new(reader.as_fd(), 4096).unwrap();
        let mut bytes = [1; 4096];
        mapping.read(0, &mut bytes).unwrap();
        assert!(bytes.iter().all(|byte| *byte == 0));
    }
}
