// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Mappings of memory that comes again and again, as the buffers of a queue do, by a new descriptor
//! each time.
//!
//! They are found by device and inode. A descriptor's number says nothing: it is used again as soon as
//! it is closed. Neither is an inode's number used again while a mapping is here, since the mapping
//! keeps the memory alive, and with the last of it the entry goes before the memory does. Memfds and
//! dma-bufs get their numbers from counters of 64 bits (Linux 5.9 and 5.12; of 32 bits before, which
//! wrap after four billion of them). Memory that has no identity of its own is mapped by itself.

use std::collections::HashMap;
use std::fmt;
use std::ops::Deref;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use berth_kernel::descriptor::duplicate;
use berth_kernel::identity::Identity;
use berth_kernel::mapping::{Mapping, Protection, ReadOnly, ReadWrite};

use crate::brackets::BracketedFd;
use crate::foreign::ForeignMemory;
use crate::mapped::MappedBuffer;
use crate::{Error, ForeignKind};

/// How much a cache keeps of what nobody uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheLimits {
    /// Mappings.
    pub mappings: usize,
    /// Bytes of all of them.
    pub bytes: usize,
}

impl Default for CacheLimits {
    /// Two queues of 16 buffers, and 64 MiB.
    fn default() -> CacheLimits {
        CacheLimits { mappings: 32, bytes: 64 << 20 }
    }
}

/// Mappings that are shared by all who ask for the same memory. Those in use are bounded by their
/// users; of those that nobody uses, the ones used last stay, within [`CacheLimits`]. Used from as many
/// threads as you like; clones are the same cache.
///
/// What is kept keeps the memory: a buffer counts as held until it is [`forgotten`](Self::forget)
/// here, or pushed out.
#[derive(Debug, Clone)]
pub struct MappingCache {
    read_only: Arc<Table<ReadOnly>>,
    read_write: Arc<Table<ReadWrite>>,
}

impl MappingCache {
    /// An empty cache.
    pub fn new(limits: CacheLimits) -> MappingCache {
        MappingCache {
            read_only: Arc::new(Table::new(limits)),
            read_write: Arc::new(Table::new(limits)),
        }
    }

    /// All of the memory, to read. As [`ForeignMemory::map_read_only`], but that nobody is believed who
    /// vouches: a mapping outlives its caller here, so the size must be fixed.
    pub fn map_read_only(&self, memory: &ForeignMemory) -> Result<Cached<ReadOnly>, Error> {
        Table::get(&self.read_only, memory)
    }

    /// All of the memory, to read and write, if the descriptor that came this time may. As
    /// [`map_read_only`](Self::map_read_only) otherwise.
    pub fn map(&self, memory: &ForeignMemory) -> Result<Cached<ReadWrite>, Error> {
        if !memory.is_writable() {
            return Err(Error::ForeignReadOnly(memory.kind()));
        }
        Table::get(&self.read_write, memory)
    }

    /// Lets go of memory that nobody uses here; what is in use goes with its last user.
    pub fn forget(&self, identity: Identity) {
        self.read_only.forget(identity);
        self.read_write.forget(identity);
    }

    /// Mappings here, with those in use.
    pub fn len(&self) -> usize {
        self.read_only.lock().entries.len().saturating_add(self.read_write.lock().entries.len())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A mapping that others may use too; it is a [`MappedBuffer`]. The last to drop it leaves it to the
/// cache.
pub struct Cached<P: Protection> {
    mapped: Arc<MappedBuffer<'static, P>>,
    /// Where it is kept; `None` for memory that has no identity of its own.
    place: Option<(Arc<Table<P>>, Identity)>,
}

impl<P: Protection> Deref for Cached<P> {
    type Target = MappedBuffer<'static, P>;

    fn deref(&self) -> &Self::Target {
        &self.mapped
    }
}

impl<P: Protection> fmt::Debug for Cached<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cached").field("bytes", &self.mapped.size()).finish_non_exhaustive()
    }
}

impl<P: Protection> Drop for Cached<P> {
    fn drop(&mut self) {
        if let Some((table, identity)) = self.place.take() {
            table.leave(identity, &self.mapped);
        }
    }
}

/// The mappings of one protection.
struct Table<P: Protection> {
    limits: CacheLimits,
    state: Mutex<State<P>>,
}

struct State<P: Protection> {
    entries: HashMap<Identity, Entry<P>>,
    /// Grows with every use.
    clock: u64,
}

struct Entry<P: Protection> {
    mapped: Arc<MappedBuffer<'static, P>>,
    users: usize,
    /// When it was used last.
    used: u64,
    /// Goes with the last user.
    forgotten: bool,
}

/// What is unmapped as soon as the lock is given back.
type Unmapped<P> = Vec<Arc<MappedBuffer<'static, P>>>;

impl<P: Protection> Table<P> {
    fn new(limits: CacheLimits) -> Table<P> {
        Table { limits, state: Mutex::new(State { entries: HashMap::new(), clock: 0 }) }
    }

    fn lock(&self) -> MutexGuard<'_, State<P>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(table: &Arc<Table<P>>, memory: &ForeignMemory) -> Result<Cached<P>, Error> {
        if !memory.is_size_fixed() {
            return Err(Error::MayShrink(memory.kind()));
        }
        let size = memory.size()?;
        // While `memory` is open nothing else has its identity.
        let Some(identity) = Identity::of_one(memory.as_fd())? else {
            return Ok(Cached { mapped: Arc::new(mapped(memory, size)?), place: None });
        };
        let place = Some((table.clone(), identity));
        if let Some(mapped) = table.lock().enter(identity, size) {
            return Ok(Cached { mapped, place });
        }
        let fresh = Arc::new(mapped(memory, size)?);
        let mut state = table.lock();
        // Another thread may have been faster: ours is unmapped then. So is what was of another size.
        let (mapped, unmapped) = match state.enter(identity, size) {
            Some(mapped) => (mapped, Some(fresh)),
            None => (fresh.clone(), state.insert(identity, fresh).map(|replaced| replaced.mapped)),
        };
        drop(state);
        drop(unmapped);
        Ok(Cached { mapped, place })
    }

    fn forget(&self, identity: Identity) {
        let mut unmapped: Unmapped<P> = Vec::new();
        let mut state = self.lock();
        match state.entries.get_mut(&identity) {
            Some(entry) if entry.users > 0 => entry.forgotten = true,
            Some(_) => unmapped.extend(state.entries.remove(&identity).map(|gone| gone.mapped)),
            None => {}
        }
        drop(state);
        drop(unmapped);
    }

    /// A user is done.
    fn leave(&self, identity: Identity, mapped: &Arc<MappedBuffer<'static, P>>) {
        let mut unmapped: Unmapped<P> = Vec::new();
        let mut state = self.lock();
        state.leave(identity, mapped, &mut unmapped);
        state.push_out(self.limits, &mut unmapped);
        drop(state);
        drop(unmapped);
    }
}

impl<P: Protection> State<P> {
    /// One user more of what is here; nothing if it is not, or of another size: a memfd that is not
    /// sealed against it may have grown.
    fn enter(&mut self, identity: Identity, size: u64) -> Option<Arc<MappedBuffer<'static, P>>> {
        let entry = self.entries.get_mut(&identity)?;
        if u64::try_from(entry.mapped.size()) != Ok(size) {
            return None;
        }
        self.clock = self.clock.saturating_add(1);
        entry.used = self.clock;
        entry.users = entry.users.saturating_add(1);
        entry.forgotten = false;
        Some(entry.mapped.clone())
    }

    fn insert(
        &mut self,
        identity: Identity,
        mapped: Arc<MappedBuffer<'static, P>>,
    ) -> Option<Entry<P>> {
        self.clock = self.clock.saturating_add(1);
        let entry = Entry { mapped, users: 1, used: self.clock, forgotten: false };
        self.entries.insert(identity, entry)
    }

    fn leave(
        &mut self,
        identity: Identity,
        mapped: &Arc<MappedBuffer<'static, P>>,
        unmapped: &mut Unmapped<P>,
    ) {
        let Some(entry) = self.entries.get_mut(&identity) else { return };
        // One of another size may have taken its place.
        if !Arc::ptr_eq(&entry.mapped, mapped) {
            return;
        }
        entry.users = entry.users.saturating_sub(1);
        if entry.users == 0 && entry.forgotten {
            unmapped.extend(self.entries.remove(&identity).map(|gone| gone.mapped));
        }
    }

    /// Pushes out what nobody used for longest, until the rest is within the limits.
    fn push_out(&mut self, limits: CacheLimits, unmapped: &mut Unmapped<P>) {
        loop {
            let idle = || self.entries.iter().filter(|(_, entry)| entry.users == 0);
            let bytes =
                idle().fold(0, |sum: usize, (_, entry)| sum.saturating_add(entry.mapped.size()));
            if idle().count() <= limits.mappings && bytes <= limits.bytes {
                return;
            }
            let oldest = idle().min_by_key(|(_, entry)| entry.used).map(|(key, _)| *key);
            let Some(oldest) = oldest else { return };
            unmapped.extend(self.entries.remove(&oldest).map(|gone| gone.mapped));
        }
    }
}

impl<P: Protection> fmt::Debug for Table<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").field("limits", &self.limits).finish_non_exhaustive()
    }
}

fn mapped<P: Protection>(
    memory: &ForeignMemory,
    size: u64,
) -> Result<MappedBuffer<'static, P>, Error> {
    let mapping = Mapping::new(memory.as_fd(), size)?;
    let dma_buf = match memory.kind() {
        ForeignKind::DmaBuf => Some(BracketedFd::new(duplicate(memory.as_fd())?)),
        _ => None,
    };
    Ok(MappedBuffer::<P>::owning(mapping, dma_buf))
}

const _: () = {
    const fn is_shared<T: Send + Sync>() {}
    is_shared::<MappingCache>();
    is_shared::<Cached<ReadOnly>>();
    is_shared::<Cached<ReadWrite>>();
};

#[cfg(test)]
mod tests {
    use super::*;
    use berth_facilities::{missing, missing_any, Facility};
    use berth_kernel::ashmem::Ashmem;
    use berth_kernel::dma_heap::DmaHeap;
    use berth_kernel::memfd::Memfd;
    use berth_kernel::page_size;
    use nix::unistd::ftruncate;
    use proptest::prelude::*;
    use std::os::fd::OwnedFd;

    fn adopt(fd: impl Into<OwnedFd>) -> ForeignMemory {
        ForeignMemory::adopt(fd.into()).unwrap()
    }

    fn region(bytes: u64) -> Memfd {
        Memfd::create("cached", bytes).unwrap()
    }

    /// The same memory by another descriptor.
    fn again(memory: &impl AsFd) -> ForeignMemory {
        adopt(memory.as_fd().try_clone_to_owned().unwrap())
    }

    fn address<P: Protection>(cached: &Cached<P>) -> usize {
        cached.mapping().as_ptr() as usize
    }

    #[test]
    fn two_imports_of_the_same_memory_share_a_mapping() {
        let cache = MappingCache::new(CacheLimits::default());
        let memfd = region(4096);
        let one = cache.map(&again(&memfd)).unwrap();
        let other = cache.clone().map(&again(&memfd)).unwrap();
        assert_eq!(address(&one), address(&other));
        one.begin_write().unwrap().write(0, b"shared").unwrap();
        let reader = cache.map_read_only(&adopt(memfd.open_read_only().unwrap())).unwrap();
        assert_ne!(address(&one), address(&reader), "a reader cannot write");
        let mut seen = [0; 6];
        reader.begin_read().unwrap().read(0, &mut seen).unwrap();
        assert_eq!(&seen, b"shared");
        assert_eq!(cache.len(), 2);
    }

    #[test]
    fn a_descriptor_number_that_is_used_again_is_other_memory() {
        let cache = MappingCache::new(CacheLimits::default());
        for round in 0..20u8 {
            // Each is closed before the next is made, so the number is the same.
            let memory = adopt(region(4096));
            let mapped = cache.map(&memory).unwrap();
            let mut seen = [1];
            mapped.begin_read().unwrap().read(0, &mut seen).unwrap();
            assert_eq!(seen, [0], "round {round}");
            mapped.begin_write().unwrap().write(0, &[0xee]).unwrap();
        }
    }

    #[test]
    fn a_descriptor_that_only_reads_gives_no_way_to_the_writable_mapping() {
        let cache = MappingCache::new(CacheLimits::default());
        let memfd = region(4096);
        let _writer = cache.map(&again(&memfd)).unwrap();
        let refused = cache.map(&adopt(memfd.open_read_only().unwrap())).unwrap_err();
        assert!(matches!(refused, Error::ForeignReadOnly(_)), "{refused}");
    }

    #[test]
    fn what_nobody_uses_is_kept_within_the_limits_and_pushed_out_in_order() {
        let cache = MappingCache::new(CacheLimits { mappings: 2, bytes: 1 << 20 });
        let regions: Vec<Memfd> = (0..4).map(|_| region(4096)).collect();
        let used: Vec<_> =
            regions.iter().map(|region| cache.map(&again(region)).unwrap()).collect();
        assert_eq!(cache.len(), 4, "what is used is not bounded");
        let addresses: Vec<usize> = used.iter().map(address).collect();
        // The last to be dropped is not the last to have been asked for.
        used.into_iter().rev().for_each(drop);
        assert_eq!(cache.len(), 2);
        for (region, before) in regions[2..].iter().zip(&addresses[2..]) {
            assert_eq!(address(&cache.map(&again(region)).unwrap()), *before, "kept");
        }
        let large = region(2 << 20);
        drop(cache.map(&again(&large)).unwrap());
        assert!(cache.read_write.lock().entries.values().all(|e| e.mapped.size() == 4096));
    }

    #[test]
    fn what_is_forgotten_goes_at_once_or_with_its_last_user() {
        let cache = MappingCache::new(CacheLimits::default());
        let memfd = region(4096);
        let identity = Identity::of(memfd.as_fd()).unwrap();
        let user = cache.map(&again(&memfd)).unwrap();
        cache.forget(identity);
        assert_eq!(cache.len(), 1);
        drop(user);
        assert!(cache.is_empty());
        drop(cache.map(&again(&memfd)).unwrap());
        assert_eq!(cache.len(), 1);
        cache.forget(identity);
        assert!(cache.is_empty());
    }

    #[test]
    fn memory_that_may_shrink_is_not_cached_whoever_vouches() {
        use nix::sys::memfd::{memfd_create, MemFdCreateFlag};
        let cache = MappingCache::new(CacheLimits::default());
        let name = std::ffi::CString::new("loose").unwrap();
        let fd = memfd_create(&name, MemFdCreateFlag::MFD_ALLOW_SEALING).unwrap();
        ftruncate(&fd, 4096).unwrap();
        let memory = adopt(fd).vouch_that_nobody_truncates();
        assert!(matches!(cache.map(&memory), Err(Error::MayShrink(_))));
    }

    #[test]
    fn memory_that_grew_is_mapped_anew_and_old_users_go_on() {
        use berth_kernel::memfd::SealFlag;
        use nix::fcntl::{fcntl, FcntlArg};
        use nix::sys::memfd::{memfd_create, MemFdCreateFlag};
        use std::os::fd::AsRawFd;
        let cache = MappingCache::new(CacheLimits::default());
        let name = std::ffi::CString::new("grows").unwrap();
        let fd = memfd_create(&name, MemFdCreateFlag::MFD_ALLOW_SEALING).unwrap();
        ftruncate(&fd, 4096).unwrap();
        fcntl(fd.as_raw_fd(), FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_SHRINK)).unwrap();
        let small = cache.map(&again(&fd)).unwrap();
        ftruncate(&fd, 8192).unwrap();
        let large = cache.map(&again(&fd)).unwrap();
        assert_eq!((small.size(), large.size()), (4096, 8192));
        small.begin_write().unwrap().write(0, b"both").unwrap();
        let mut seen = [0; 4];
        large.begin_read().unwrap().read(0, &mut seen).unwrap();
        assert_eq!(&seen, b"both");
        drop(small);
        assert_eq!(cache.map(&again(&fd)).unwrap().size(), 8192);
    }

    #[test]
    fn threads_that_race_for_the_same_memory_share_one_mapping() {
        let cache = MappingCache::new(CacheLimits { mappings: 1, bytes: 4096 });
        let regions: Vec<Memfd> = (0..3).map(|_| region(page_size())).collect();
        std::thread::scope(|scope| {
            for seed in 0..4usize {
                let (cache, regions) = (&cache, &regions);
                scope.spawn(move || {
                    for round in 0..2000 {
                        let number = (seed + round * 7) % regions.len();
                        let mapped = cache.map(&again(&regions[number])).unwrap();
                        let access = mapped.begin_write().unwrap();
                        access.write(0, &[number as u8 + 1]).unwrap();
                        let mut seen = [0];
                        access.read(0, &mut seen).unwrap();
                        assert_eq!(seen, [number as u8 + 1]);
                    }
                });
            }
        });
        assert_eq!(cache.len(), 1);
        assert!(cache.read_write.lock().entries.values().all(|entry| entry.users == 0));
    }

    #[test]
    #[ignore = "needs dma-heap-system"]
    fn a_dma_buf_is_cached_with_its_brackets() {
        if missing(Facility::DmaHeapSystem) {
            return;
        }
        let heap = DmaHeap::open("system").unwrap();
        let buffer = heap.allocate(8192).unwrap();
        let cache = MappingCache::new(CacheLimits::default());
        let one = cache.map(&again(&buffer)).unwrap();
        let outer = one.begin_read().unwrap();
        let other = cache.map(&again(&buffer)).unwrap();
        assert_eq!(address(&one), address(&other));
        let inner = other.begin_write().unwrap();
        inner.write(8000, b"inner").unwrap();
        inner.end().unwrap();
        let mut seen = [0; 5];
        outer.read(8000, &mut seen).unwrap();
        outer.end().unwrap();
        assert_eq!(&seen, b"inner");
        let another = heap.allocate(8192).unwrap();
        assert_ne!(address(&cache.map(&again(&another)).unwrap()), address(&one));
    }

    #[test]
    #[ignore = "needs ashmem"]
    fn ashmem_regions_are_not_taken_for_one_another() {
        if missing_any(&[Facility::Ashmem]) {
            return;
        }
        let cache = MappingCache::new(CacheLimits::default());
        let regions = [Ashmem::create("one", 4096).unwrap(), Ashmem::create("two", 4096).unwrap()];
        let [one, two] = regions.each_ref().map(|region| cache.map(&again(region)).unwrap());
        one.begin_write().unwrap().write(0, b"one").unwrap();
        let mut seen = [1; 3];
        two.begin_read().unwrap().read(0, &mut seen).unwrap();
        assert_eq!(seen, [0; 3]);
        assert!(cache.is_empty());
    }

    proptest! {
        #[test]
        fn whatever_is_asked_and_dropped_the_same_memory_is_the_same_and_the_rest_is_bounded(
            steps in prop::collection::vec((0usize..6, any::<bool>()), 0..60),
        ) {
            let limits = CacheLimits { mappings: 2, bytes: 3 * 4096 };
            let cache = MappingCache::new(limits);
            let regions: Vec<Memfd> = (1..=6).map(|pages| region(pages * 4096)).collect();
            let mut used: Vec<Vec<Cached<ReadWrite>>> = regions.iter().map(|_| vec![]).collect();
            for (number, asks) in steps {
                if asks {
                    let mapped = cache.map(&again(&regions[number])).unwrap();
                    prop_assert_eq!(mapped.size(), (number + 1) * 4096);
                    if let Some(other) = used[number].first() {
                        prop_assert_eq!(address(&mapped), address(other));
                    }
                    used[number].push(mapped);
                } else {
                    used[number].pop();
                }
                let state = cache.read_write.lock();
                let idle: Vec<usize> = state.entries.values()
                    .filter(|entry| entry.users == 0).map(|entry| entry.mapped.size()).collect();
                prop_assert!(idle.len() <= limits.mappings);
                prop_assert!(idle.iter().sum::<usize>() <= limits.bytes);
                let in_use = used.iter().filter(|users| !users.is_empty()).count();
                prop_assert_eq!(state.entries.len() - idle.len(), in_use);
            }
        }
    }
}
