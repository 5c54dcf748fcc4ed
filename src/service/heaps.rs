// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! The heaps of this kernel, and which of them serve a request.

use std::sync::Arc;

use berth_kernel::ashmem;
use berth_kernel::dma_heap::DmaHeap;
use berth_kernel::ion::{HeapMask, Ion, IonHeapKind};
use berth_kernel::memfd::Memfd;
use berth_kernel::meminfo::MemInfo;
use berth_kernel::page_size;
use berth_kernel::udmabuf::{self, Udmabuf};
use berth_layout::Usage;

use crate::heap::{Heap, Source};
use crate::heap_class::HeapClass;
use crate::heap_memory::Face;
use crate::policy::{Policy, Sources};
use crate::refusal::Refusal;
use crate::request::Request;

/// The names of heaps that are no dma-heaps.
const MEMFD: &str = "memfd";
const ASHMEM: &str = "ashmem";
const UDMABUF: &str = "udmabuf";
/// How the names of ION's heaps begin: most do by themselves, as `ion_system_heap`.
const ION_PREFIXES: [&str; 2] = ["ion_", "ion-"];
/// How the names of those end whose memory the CPU does not cache.
const UNCACHED_SUFFIX: &str = "-uncached";

/// The order in which heaps are listed.
const LISTED: [HeapClass; 7] = [
    HeapClass::System,
    HeapClass::SystemUncached,
    HeapClass::Contiguous,
    HeapClass::Udmabuf,
    HeapClass::Shmem,
    HeapClass::Vendor,
    HeapClass::Secure,
];

/// A heap for a request, and whether it is another than was asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Choice<'heaps> {
    pub(crate) heap: &'heaps Arc<Heap>,
    pub(crate) fallback: bool,
}

/// The heaps that are there, the preferred one first.
#[derive(Debug)]
pub(crate) struct Heaps {
    heaps: Vec<Arc<Heap>>,
    policy: Arc<Policy>,
}

impl Heaps {
    /// Looks for heaps, each with at most `max_bytes` in one buffer. One that may not be opened, as
    /// SELinux has it for most, is none of ours.
    pub(crate) fn discover(policy: &Arc<Policy>, max_bytes: u64) -> Heaps {
        let mut found = dma_heaps();
        found.extend(ion_heaps());
        found.extend(memory_of_cpus());
        let contiguous = MemInfo::read().ok().and_then(|memory| memory.contiguous);
        let heaps = found.into_iter().filter_map(|(name, class, source)| {
            if !policy.allows(&name) {
                return None;
            }
            let class = policy.heaps.get(&name).and_then(|heap| heap.class).unwrap_or(class);
            let driver_limit = match (&source, class) {
                (Source::Udmabuf(_), _) => Some(udmabuf::max_bytes()),
                // No area is larger than all of them together.
                (_, HeapClass::Contiguous) => contiguous,
                _ => None,
            };
            let most = driver_limit.map_or(max_bytes, |limit| limit.min(max_bytes));
            let max_bytes = policy.max_buffer_bytes(&name, most);
            Some(Heap::new(name, class, max_bytes, source))
        });
        Heaps::new(heaps, policy)
    }

    fn new(heaps: impl IntoIterator<Item = Heap>, policy: &Arc<Policy>) -> Heaps {
        let mut heaps: Vec<Arc<Heap>> = heaps.into_iter().map(Arc::new).collect();
        // Stable: heaps of one class and rank stay in the order of their names.
        heaps.sort_by_key(|heap| (preference(heap.class), heap.source.rank()));
        Heaps { heaps, policy: policy.clone() }
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Heap> {
        self.heaps.iter().map(Arc::as_ref)
    }

    /// The one of exactly this name.
    pub(crate) fn of_name(&self, name: &str) -> Option<&Arc<Heap>> {
        self.heaps.iter().find(|heap| heap.name == name)
    }

    /// The names of all of them.
    pub(crate) fn names(&self) -> String {
        let names: Vec<&str> = self.iter().map(|heap| heap.name.as_str()).collect();
        names.join(", ")
    }

    /// Whether there is one of a class.
    pub(crate) fn has(&self, class: HeapClass) -> bool {
        self.iter().any(|heap| heap.class == class)
    }

    /// The heaps that may serve a request, the best one first; at least one. It is judged by what
    /// they are, not by what they have left.
    pub(crate) fn candidates<'a>(
        &'a self,
        request: &Request,
    ) -> Result<impl Iterator<Item = Choice<'a>>, Refusal> {
        let named = self.named(request)?;
        let (face, usage, bytes) = (request.face(), request.usage, request.bytes());
        let asked_by_name = request.heap.is_some();
        let strict = request.strict_heap;
        let Sources { classes, asked_for } = self.sources(face, usage);
        let stands_in =
            |heap: &Heap| heap.gives_dma_bufs() && !matches!(heap.class, HeapClass::Vendor);
        let dma_bufs = self.iter().any(|heap| stands_in(heap) && heap.serves(face, usage));
        let of_class = move |class: HeapClass| {
            let rest = self.heaps.iter().filter(move |heap| heap.class == class);
            rest.filter(move |heap| !named.is_some_and(|named| Arc::ptr_eq(named, heap)))
        };
        let named = named.into_iter().map(|heap| Choice { heap, fallback: false });
        let others = classes
            .iter()
            .enumerate()
            .filter(move |(place, _)| !strict || (*place < asked_for && !asked_by_name))
            // What devices cannot import is better than nothing, and worse than a refusal.
            .filter(move |(place, class)| {
                *place < asked_for || **class != HeapClass::Shmem || !dma_bufs
            })
            .flat_map(move |(place, class)| {
                let fallback = place >= asked_for || asked_by_name;
                of_class(*class).map(move |heap| Choice { heap, fallback })
            });
        let mut all =
            named.chain(others).filter(move |choice| choice.heap.serves(face, usage)).peekable();
        let Some(&Choice { heap: first, .. }) = all.peek() else {
            return Err(self.nothing_for(request));
        };
        let mut large_enough = all.filter(move |choice| bytes <= choice.heap.max_bytes).peekable();
        match large_enough.peek() {
            Some(_) => Ok(large_enough),
            None => Err(Refusal::TooLargeForHeap {
                heap: first.name.clone(),
                asked: bytes,
                limit: first.max_bytes,
            }),
        }
    }

    /// The heap that a request names, if it names one that is there.
    fn named(&self, request: &Request) -> Result<Option<&Arc<Heap>>, Refusal> {
        let Some(name) = &request.heap else { return Ok(None) };
        let found = self.heaps.iter().find(|heap| heap.name == *name);
        let found = found.or_else(|| self.heaps.iter().find(|heap| heap.answers_to(name)));
        match found {
            Some(heap) if heap.serves(request.face(), request.usage) => Ok(Some(heap)),
            Some(heap) => {
                let (what, class) = (request.face(), heap.class);
                let usage = request.usage;
                Err(Refusal::Unsupported(format!(
                    "{what} of usage {:#x} from heap {name:?}, of the class {class}",
                    usage.bits()
                )))
            }
            None if !self.is_known(name) => {
                let message = format!("{name:?} means no heap; here are {}", self.names());
                Err(Refusal::HeapUnknown(message))
            }
            None if request.strict_heap => {
                let message = format!("no heap {name:?} on this kernel, only {}", self.names());
                Err(Refusal::HeapUnavailable(message))
            }
            None => Ok(None),
        }
    }

    /// Whether a name means a heap, here or on another kernel.
    fn is_known(&self, name: &str) -> bool {
        [MEMFD, ASHMEM, UDMABUF].contains(&name)
            || ION_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
            || HeapClass::of_name(name) != HeapClass::Vendor
            || self.policy.heaps.contains_key(name)
    }

    /// The classes that serve a request.
    fn sources(&self, face: Face, usage: Usage) -> Sources<'_> {
        match face {
            Face::Region | Face::RevocableRegion | Face::PurgeableRegion { .. } => {
                Sources { classes: &[HeapClass::Shmem], asked_for: 1 }
            }
            Face::DmaBufWithView => Sources { classes: &[HeapClass::Udmabuf], asked_for: 1 },
            Face::DmaBuf => self.policy.sources_for(usage),
        }
    }

    fn nothing_for(&self, request: &Request) -> Refusal {
        let (what, usage) = (request.face(), request.usage.bits());
        let there = self.names();
        Refusal::HeapUnavailable(format!(
            "no heap gives {what} of usage {usage:#x} here; there are {there}"
        ))
    }
}

/// The place of a class in the list.
fn preference(class: HeapClass) -> usize {
    let place = LISTED.iter().position(|listed| *listed == class);
    place.unwrap_or(LISTED.len())
}

type Found = (String, HeapClass, Source);

fn dma_heaps() -> Vec<Found> {
    let open = |name: String| match DmaHeap::open(&name) {
        Ok(heap) => {
            let class = HeapClass::of_name(&name);
            Some((name, class, Source::Dma(heap)))
        }
        Err(error) => {
            log::warn!("a heap is left out: {error}");
            None
        }
    };
    DmaHeap::names().into_iter().filter_map(open).collect()
}

/// ION's heaps, beside the dma-heaps and not instead of them: a kernel may have both.
fn ion_heaps() -> Vec<Found> {
    let device = match Ion::open() {
        Ok(device) => Arc::new(device),
        Err(error) => {
            log::debug!("no ION: {error}");
            return Vec::new();
        }
    };
    let heaps = device.heaps().unwrap_or_else(|error| {
        log::warn!("ION's heaps are left out: {error}");
        Vec::new()
    });
    let mut found = Vec::new();
    for heap in heaps {
        let Some(mask) = HeapMask::of_id(heap.id) else { continue };
        let name = ion_name(heap.name);
        let class = match heap.kind {
            IonHeapKind::System => HeapClass::System,
            IonHeapKind::SystemContig | IonHeapKind::Dma => HeapClass::Contiguous,
            IonHeapKind::Carveout | IonHeapKind::Chunk | IonHeapKind::Other(_) => HeapClass::Vendor,
        };
        if class == HeapClass::System {
            let source = Source::Ion { device: device.clone(), mask, cached: false };
            let name = format!("{name}{UNCACHED_SUFFIX}");
            found.push((name, HeapClass::SystemUncached, source));
        }
        found.push((name, class, Source::Ion { device: device.clone(), mask, cached: true }));
    }
    found
}

/// A dma-heap may have the name that ION's heap has on the same area.
fn ion_name(name: String) -> String {
    let [own, given] = ION_PREFIXES;
    match name.starts_with(own) {
        true => name,
        false => format!("{given}{name}"),
    }
}

fn memory_of_cpus() -> Vec<Found> {
    let mut found = Vec::new();
    let page = page_size();
    let memfd = Memfd::create("probe", page);
    match (&memfd, Udmabuf::open()) {
        (Ok(memfd), Ok(driver)) => match driver.create(memfd, 0, page) {
            Ok(_) => found.push((UDMABUF.to_owned(), HeapClass::Udmabuf, Source::Udmabuf(driver))),
            Err(error) => log::warn!("udmabuf is left out: {error}"),
        },
        (_, Err(error)) => log::debug!("no udmabuf: {error}"),
        (Err(_), Ok(_)) => {}
    }
    match memfd {
        Ok(_) => found.push((MEMFD.to_owned(), HeapClass::Shmem, Source::Memfd)),
        Err(error) => log::warn!("there is no memfd: {error}"),
    }
    if ashmem::is_available() {
        found.push((ASHMEM.to_owned(), HeapClass::Shmem, Source::Ashmem));
    }
    found
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::request::Shape;
    use vendor_berth_allocator::aidl::vendor::berth::allocator::AllocatorError::AllocatorError;

    const CPU: Usage = Usage::CPU_READ_OFTEN.union(Usage::CPU_WRITE_OFTEN);

    fn heap(name: &str, class: HeapClass) -> Heap {
        let source = if class == HeapClass::Shmem { Source::Memfd } else { Source::Fake };
        Heap::new(name.to_owned(), class, 1 << 20, source)
    }

    /// Heaps of which those of the class SHMEM give memory and the others refuse.
    pub(crate) fn heaps(policy: Policy, there: &[(&str, HeapClass)]) -> Heaps {
        let there = there.iter().map(|(name, class)| heap(name, *class));
        Heaps::new(there, &Arc::new(policy))
    }

    fn device() -> Heaps {
        heaps(
            Policy::default(),
            &[
                ("memfd", HeapClass::Shmem),
                ("carveout", HeapClass::Vendor),
                ("system-secure", HeapClass::Secure),
                ("linux,cma", HeapClass::Contiguous),
                ("system-uncached", HeapClass::SystemUncached),
                ("system", HeapClass::System),
            ],
        )
    }

    fn request(shape: Shape, usage: Usage) -> Request {
        Request { usage, ..Request::of_shape(shape) }
    }

    fn linear(usage: Usage) -> Request {
        request(Shape::Linear(4096), usage)
    }

    fn from(name: &str, request: Request) -> Request {
        Request { heap: Some(name.to_owned()), ..request }
    }

    fn strict(request: Request) -> Request {
        Request { strict_heap: true, ..request }
    }

    /// The names of the candidates; those that are a fallback in brackets.
    fn candidates(heaps: &Heaps, request: &Request) -> Result<Vec<String>, Refusal> {
        let shown = |choice: Choice<'_>| match choice.fallback {
            true => format!("({})", choice.heap.name),
            false => choice.heap.name.clone(),
        };
        heaps.candidates(request).map(|found| found.map(shown).collect())
    }

    fn refusal(heaps: &Heaps, request: &Request) -> (AllocatorError, String) {
        let refusal = candidates(heaps, request).unwrap_err();
        (refusal.code(), refusal.to_string())
    }

    #[test]
    fn usage_chooses_the_heap() {
        let device = device();
        let found = candidates(&device, &linear(CPU)).unwrap();
        assert_eq!(found, ["system", "(system-uncached)", "(linux,cma)"]);
        let found = candidates(&device, &linear(Usage::GPU_TEXTURE)).unwrap();
        assert_eq!(found, ["system-uncached", "system", "(linux,cma)"]);
        let found = candidates(&device, &strict(linear(Usage::GPU_TEXTURE))).unwrap();
        assert_eq!(found, ["system-uncached", "system"]);
        assert_eq!(candidates(&device, &linear(Usage::PROTECTED)).unwrap(), ["system-secure"]);
        let region = request(Shape::Region(4096), CPU);
        assert_eq!(candidates(&device, &region).unwrap(), ["memfd"]);
    }

    #[test]
    fn a_heap_by_name_comes_first_and_others_are_fallbacks() {
        let device = device();
        let found = candidates(&device, &from("linux,cma", linear(CPU))).unwrap();
        assert_eq!(found, ["linux,cma", "(system)", "(system-uncached)"]);
        let found = candidates(&device, &from("carveout", linear(CPU))).unwrap();
        assert_eq!(found[0], "carveout");
        let found = candidates(&device, &from("memfd", linear(CPU))).unwrap();
        assert_eq!(found[..2], ["memfd", "(system)"]);
    }

    #[test]
    fn strict_means_that_heap_or_that_kind_and_no_other() {
        let device = device();
        assert_eq!(candidates(&device, &strict(linear(CPU))).unwrap(), ["system"]);
        let by_name = strict(from("linux,cma", linear(CPU)));
        assert_eq!(candidates(&device, &by_name).unwrap(), ["linux,cma"]);
        let host = heaps(Policy::default(), &[("memfd", HeapClass::Shmem)]);
        let (code, message) = refusal(&host, &strict(linear(CPU)));
        assert_eq!(code, AllocatorError::HEAP_UNAVAILABLE);
        assert!(message.contains("only memfd") || message.contains("are memfd"), "{message}");
    }

    #[test]
    fn every_name_that_the_contiguous_heap_has_had_finds_it() {
        let device = device();
        for name in ["reserved", "linux,cma", "default-pool", "default_cma_region"] {
            let found = candidates(&device, &strict(from(name, linear(CPU)))).unwrap();
            assert_eq!(found, ["linux,cma"], "{name}");
        }
    }

    #[test]
    fn an_unknown_heap_and_a_missing_heap_are_two_errors() {
        let host = heaps(Policy::default(), &[("memfd", HeapClass::Shmem)]);
        let (code, message) = refusal(&host, &from("sistem", linear(CPU)));
        assert_eq!(code, AllocatorError::HEAP_UNKNOWN);
        assert!(message.contains("\"sistem\" means no heap; here are memfd"), "{message}");
        for name in ["system", "reserved", "udmabuf", "ashmem", "ion_dma_heap", "system-secure"] {
            let (code, message) = refusal(&host, &strict(from(name, linear(CPU))));
            assert_eq!(code, AllocatorError::HEAP_UNAVAILABLE, "{name}: {message}");
            let found = candidates(&host, &from(name, linear(CPU))).unwrap();
            assert_eq!(found, ["(memfd)"], "{name}");
        }
    }

    #[test]
    fn what_a_heap_cannot_give_is_refused_whoever_asks() {
        let device = device();
        for (name, wrong) in [
            ("system", request(Shape::Region(1), CPU)),
            ("system-secure", linear(CPU)),
            ("system", linear(Usage::PROTECTED)),
            ("system", Request { read_only_view: true, ..linear(CPU) }),
        ] {
            let (code, message) = refusal(&device, &from(name, wrong));
            assert_eq!(code, AllocatorError::UNSUPPORTED, "{message}");
            assert!(message.contains(name), "{message}");
        }
        let without = heaps(Policy::default(), &[("system", HeapClass::System)]);
        for wrong in [linear(Usage::PROTECTED), Request { read_only_view: true, ..linear(CPU) }] {
            assert_eq!(refusal(&without, &wrong).0, AllocatorError::HEAP_UNAVAILABLE);
        }
    }

    #[test]
    fn a_heap_that_is_too_small_is_passed_over_or_named() {
        let mut small = heap("linux,cma", HeapClass::Contiguous);
        small.max_bytes = 4095;
        let device =
            Heaps::new([heap("system", HeapClass::System), small], &Arc::new(Policy::default()));
        let found = candidates(&device, &from("linux,cma", linear(CPU))).unwrap();
        assert_eq!(found, ["(system)"]);
        let (code, message) = refusal(&device, &strict(from("linux,cma", linear(CPU))));
        assert_eq!(code, AllocatorError::TOO_LARGE);
        assert!(message.contains("4096 bytes, at most 4095 in one buffer of heap linux,cma"));
    }

    #[test]
    fn memory_of_cpus_stands_in_for_dma_bufs_only_where_there_are_none() {
        let host = heaps(Policy::default(), &[("memfd", HeapClass::Shmem)]);
        assert_eq!(candidates(&host, &linear(CPU)).unwrap(), ["(memfd)"]);
        let only_for_vendor = heaps(
            Policy::default(),
            &[("memfd", HeapClass::Shmem), ("system-secure", HeapClass::Secure)],
        );
        assert_eq!(candidates(&only_for_vendor, &linear(CPU)).unwrap(), ["(memfd)"]);
    }

    #[test]
    fn memory_of_the_memfd_heap_reads_zero_and_opens_read_only() {
        use berth_kernel::mapping::{Mapping, ReadOnly};
        use std::os::fd::AsFd;
        let memory = heap("memfd", HeapClass::Shmem).allocate("zero", 4096, Face::Region).unwrap();
        let reader = memory.open_read_only(false).unwrap().fd;
        let mapping: Mapping<ReadOnly> = Mapping::new(reader.as_fd(), 4096).unwrap();
        let mut bytes = [1; 4096];
        mapping.read(0, &mut bytes).unwrap();
        assert!(bytes.iter().all(|byte| *byte == 0));
    }
}
