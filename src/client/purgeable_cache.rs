// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! A cache of values that may vanish when memory is short, and are then made again.
//!
//! ```no_run
//! # fn main() -> Result<(), berth_client::Error> {
//! # use berth_client::{Allocator, CacheOptions, PurgeableCache};
//! let session = Allocator::connect()?.open_session("gallery")?;
//! let options = CacheOptions { name: "thumbnails".to_owned(), ..CacheOptions::default() };
//! let cache: PurgeableCache<u32, Vec<u8>> = PurgeableCache::new(&session, options)?;
//! let picture = cache.get_or_make(&17, || vec![0; 40_000])?;
//! # Ok(())
//! # }
//! ```
//!
//! The values lie in a region that nobody else has a descriptor of. They are copied out of it all the
//! same, and no slice of it is given: the service writes zeros into whatever is not pinned, and a
//! borrowed value that pins its chunks for as long as somebody keeps it would keep them from ever
//! being given back.

mod slots;

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{BufferRequest, Contents, Error, Priority, PurgeableRegion, Session};
use slots::{Slots, Taken};

/// A value that can be kept as bytes.
pub trait Cacheable: Sized {
    /// Appends the value as bytes.
    fn encode(&self, into: &mut Vec<u8>);

    /// The value of these bytes; `None` if they are no value: it is made again then.
    fn decode(bytes: Vec<u8>) -> Option<Self>;
}

impl Cacheable for Vec<u8> {
    fn encode(&self, into: &mut Vec<u8>) {
        into.extend_from_slice(self);
    }

    fn decode(bytes: Vec<u8>) -> Option<Vec<u8>> {
        Some(bytes)
    }
}

impl Cacheable for String {
    fn encode(&self, into: &mut Vec<u8>) {
        into.extend_from_slice(self.as_bytes());
    }

    fn decode(bytes: Vec<u8>) -> Option<String> {
        String::from_utf8(bytes).ok()
    }
}

/// How a cache is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheOptions {
    /// What the kernel and dumps call its region.
    pub name: String,
    /// Bytes of all values together, at most; they come from the kernel as values come.
    pub bytes: u64,
    /// Bytes of a chunk: a value takes one or more, and the rest of its last is wasted.
    pub chunk_bytes: u64,
    /// How long its values are kept in comparison with others.
    pub priority: Priority,
    /// The heap, if it matters which one.
    pub heap: Option<String>,
}

impl Default for CacheOptions {
    /// 16 MiB in chunks of 64 KiB, as important as others.
    fn default() -> CacheOptions {
        CacheOptions {
            name: "cache".to_owned(),
            bytes: 16 << 20,
            chunk_bytes: 64 << 10,
            priority: Priority::NORMAL,
            heap: None,
        }
    }
}

/// What a cache did so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CacheFigures {
    /// Values that were there.
    pub hits: u64,
    /// Values that were not, and were made.
    pub misses: u64,
    /// Values that had been there and were purged, and were made again.
    pub remade: u64,
    /// Values that had to make room for others.
    pub evicted: u64,
    /// Values that were too large, or found no room, and were not kept.
    pub unkept: u64,
}

#[derive(Debug, Default)]
struct Counters {
    hits: AtomicU64,
    misses: AtomicU64,
    remade: AtomicU64,
    evicted: AtomicU64,
    unkept: AtomicU64,
}

/// A value's place; what is in it is changed by one thread at a time.
type Entry = Arc<Mutex<Option<Stored>>>;

/// Where a value's bytes are.
#[derive(Debug)]
struct Stored {
    slots: Taken,
    length: usize,
}

#[derive(Debug)]
struct Index<K> {
    entries: HashMap<K, (u64, Entry)>,
    /// When each was used last, the oldest first.
    used: BTreeMap<u64, K>,
    now: u64,
}

/// The cache; may be used from several threads. Of one key a value is made by one of them, while the
/// others wait for it; whoever makes a value must not ask for the same one.
///
/// Bounded: when it is full the value goes that nobody asked for longest. When the machine is short of
/// memory, the service takes values of the lowest priority and of the longest disuse first.
#[derive(Debug)]
pub struct PurgeableCache<K, V> {
    region: PurgeableRegion,
    slots: Arc<Slots>,
    index: Mutex<Index<K>>,
    counters: Counters,
    _values: PhantomData<fn() -> V>,
}

impl<K: Eq + Hash + Clone, V: Cacheable> PurgeableCache<K, V> {
    /// Makes an empty cache in a region of its own.
    pub fn new(session: &Session, options: CacheOptions) -> Result<PurgeableCache<K, V>, Error> {
        let request = BufferRequest::region(options.bytes)
            .purgeable_in_chunks_of(options.chunk_bytes)
            .name(options.name);
        let request = match options.heap {
            Some(heap) => request.heap(heap).strict_heap(),
            None => request,
        };
        let buffer = session.allocate_one(&request)?;
        let region = PurgeableRegion::with_priority(buffer, options.priority)?;
        let slots = Slots::new(region.size() / region.chunk_bytes().max(1));
        Ok(PurgeableCache {
            region,
            slots,
            index: Mutex::new(Index { entries: HashMap::new(), used: BTreeMap::new(), now: 0 }),
            counters: Counters::default(),
            _values: PhantomData,
        })
    }

    /// The value of a key: the one that is kept, or one that `make` makes, because there was none or
    /// because it was purged. A value that finds no room is answered and not kept.
    pub fn get_or_make(&self, key: &K, make: impl FnOnce() -> V) -> Result<V, Error> {
        self.try_get_or_make(key, || Ok(make()))
    }

    /// The same with a function that may fail; then nothing is kept.
    pub fn try_get_or_make<E: From<Error>>(
        &self,
        key: &K,
        make: impl FnOnce() -> Result<V, E>,
    ) -> Result<V, E> {
        let entry = self.entry(key);
        let mut stored = lock(&entry);
        let outcome = self.load_or_store(&entry, &mut stored, make);
        let is_empty = stored.is_none();
        drop(stored);
        if is_empty {
            self.forget(key, &entry);
        }
        outcome
    }

    fn load_or_store<E: From<Error>>(
        &self,
        entry: &Entry,
        stored: &mut Option<Stored>,
        make: impl FnOnce() -> Result<V, E>,
    ) -> Result<V, E> {
        let count = match self.load(stored.as_ref())? {
            Found::Value(value) => {
                count(&self.counters.hits);
                return Ok(value);
            }
            Found::Nothing => &self.counters.misses,
            Found::Purged => &self.counters.remade,
        };
        let value = make()?;
        self::count(count);
        let mut bytes = Vec::new();
        value.encode(&mut bytes);
        // The old place serves again if it is as large.
        let slots = match stored.take() {
            Some(old) if old.slots.len() == self.slots_for(bytes.len()) => Some(old.slots),
            old => {
                drop(old);
                self.room(entry, self.slots_for(bytes.len()))
            }
        };
        match slots {
            Some(slots) => {
                self.store(&slots, &bytes)?;
                *stored = Some(Stored { slots, length: bytes.len() });
            }
            None => self::count(&self.counters.unkept),
        }
        Ok(value)
    }

    /// The value of a key if it is there.
    pub fn get(&self, key: &K) -> Result<Option<V>, Error> {
        let Some((_, entry)) = lock(&self.index).entries.get(key).cloned() else {
            return Ok(None);
        };
        let stored = lock(&entry);
        match self.load(stored.as_ref())? {
            Found::Value(value) => {
                count(&self.counters.hits);
                Ok(Some(value))
            }
            Found::Nothing | Found::Purged => Ok(None),
        }
    }

    /// Forgets the value of a key.
    pub fn remove(&self, key: &K) {
        let mut index = lock(&self.index);
        let Some((used, entry)) = index.entries.remove(key) else { return };
        index.used.remove(&used);
        // Its chunks are given back without the lock.
        drop(index);
        self.discard(&entry);
    }

    /// Takes a place out of the index that nothing was put in.
    fn forget(&self, key: &K, empty: &Entry) {
        let mut index = lock(&self.index);
        let index = &mut *index;
        if let Some((used, entry)) = index.entries.get(key) {
            if Arc::ptr_eq(entry, empty) {
                index.used.remove(used);
                index.entries.remove(key);
            }
        }
    }

    /// Says of a value that nobody will find again that its memory is worth nothing.
    fn discard(&self, entry: &Entry) {
        // Whoever uses it just now keeps it.
        let Ok(mut stored) = entry.try_lock() else { return };
        let Some(Stored { slots, .. }) = stored.take() else { return };
        for slot in slots.iter() {
            match self.region.pin(self.bytes_of(slot)) {
                Ok(pinned) => pinned.discard(),
                Err(error) => log::debug!("chunk {slot} was not discarded: {error}"),
            }
        }
    }

    /// What it did so far.
    pub fn figures(&self) -> CacheFigures {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        CacheFigures {
            hits: read(&self.counters.hits),
            misses: read(&self.counters.misses),
            remade: read(&self.counters.remade),
            evicted: read(&self.counters.evicted),
            unkept: read(&self.counters.unkept),
        }
    }

    /// The region that its values are in.
    pub fn region(&self) -> &PurgeableRegion {
        &self.region
    }

    /// The place of a key's value, from now on the one that was used last.
    fn entry(&self, key: &K) -> Entry {
        let mut index = lock(&self.index);
        let index = &mut *index;
        index.now = index.now.saturating_add(1);
        let (used, entry) = index.entries.entry(key.clone()).or_default();
        index.used.remove(used);
        index.used.insert(index.now, key.clone());
        *used = index.now;
        entry.clone()
    }

    fn load(&self, stored: Option<&Stored>) -> Result<Found<V>, Error> {
        let Some(Stored { slots, length }) = stored else { return Ok(Found::Nothing) };
        let mut bytes = vec![0; *length];
        for (slot, part) in slots.iter().zip(bytes.chunks_mut(self.chunk_bytes())) {
            let pinned = self.region.pin(self.bytes_of(slot))?;
            if pinned.contents() == Contents::Purged {
                return Ok(Found::Purged);
            }
            pinned.read(0, part)?;
        }
        Ok(V::decode(bytes).map_or(Found::Purged, Found::Value))
    }

    fn store(&self, slots: &Taken, bytes: &[u8]) -> Result<(), Error> {
        for (slot, part) in slots.iter().zip(bytes.chunks(self.chunk_bytes())) {
            let pinned = self.region.pin(self.bytes_of(slot))?;
            pinned.write(0, part)?;
            pinned.set_filled();
        }
        Ok(())
    }

    /// So many chunks, of values that go for it if there are too few; `None` if that does not help.
    fn room(&self, own: &Entry, wanted: usize) -> Option<Taken> {
        loop {
            if let Some(taken) = self.slots.take(wanted) {
                return Some(taken);
            }
            if wanted > self.slots.count() {
                return None;
            }
            // One by one, without the lock when it goes. One that is in use just now is out of the
            // index too, and its chunks come back when its user is done.
            let gone = {
                let mut index = lock(&self.index);
                let index = &mut *index;
                let (used, key) = index.used.iter().find_map(|(used, key)| {
                    let (_, entry) = index.entries.get(key)?;
                    (!Arc::ptr_eq(entry, own)).then(|| (*used, key.clone()))
                })?;
                index.used.remove(&used);
                let (_, entry) = index.entries.remove(&key)?;
                entry
            };
            self.discard(&gone);
            count(&self.counters.evicted);
        }
    }

    fn slots_for(&self, length: usize) -> usize {
        length.div_ceil(self.chunk_bytes()).max(1)
    }

    fn chunk_bytes(&self) -> usize {
        usize::try_from(self.region.chunk_bytes()).unwrap_or(usize::MAX).max(1)
    }

    fn bytes_of(&self, slot: u32) -> std::ops::Range<u64> {
        let chunk = self.region.chunk_bytes();
        let start = u64::from(slot).saturating_mul(chunk);
        start..start.saturating_add(chunk)
    }
}

/// What is in a value's place.
enum Found<V> {
    Value(V),
    Purged,
    Nothing,
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// A place whose maker panicked holds nothing, or what it held before.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
