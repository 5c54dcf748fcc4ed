// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! A shelf of idle memory that is fit to be handed out again, bounded in bytes, in number and in age.
//!
//! It knows neither the kernel nor the clock, and takes no lock. What has to go is returned: to give
//! memory back takes a system call, which the caller makes once it has let go of its lock. An item
//! that comes or goes takes time logarithmic in the number of items.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::time::{Duration, Instant};

/// How much a shelf holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ShelfLimits {
    /// The most bytes, of all items together.
    pub(crate) bytes: u64,
    /// The most items.
    pub(crate) items: usize,
    /// How old an item may become.
    pub(crate) age: Duration,
}

/// How much of a shelf may stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Room {
    /// The most bytes, of all items together.
    pub(crate) bytes: u64,
    /// The most items.
    pub(crate) items: usize,
}

/// Idle items, each of a heap and a size.
#[derive(Debug)]
pub(crate) struct Shelf<K, T> {
    limits: ShelfLimits,
    /// The items of each heap by size, those of one size by ticket; no heap without items.
    heaps: HashMap<K, BTreeMap<(u64, u64), T>>,
    /// Of the same items: heap, size and when each was put, by ticket.
    places: BTreeMap<u64, (K, u64, Instant)>,
    /// The size of all items together, never above the limit.
    bytes: u64,
    /// The next item's ticket: a younger item has a higher one.
    next_ticket: u64,
}

impl<K: Eq + Hash + Clone, T> Shelf<K, T> {
    /// An empty shelf.
    pub(crate) fn new(limits: ShelfLimits) -> Shelf<K, T> {
        let (heaps, places) = (HashMap::new(), BTreeMap::new());
        Shelf { limits, heaps, places, bytes: 0, next_ticket: 0 }
    }

    /// Puts an item of a heap and a size. Answers what must go for it, the oldest first; that is the
    /// item alone if the limits leave no room for it even without the others.
    ///
    /// `now` does not go back from call to call.
    pub(crate) fn put(&mut self, heap: &K, bytes: u64, item: T, now: Instant) -> Vec<T> {
        let Some(room) = self.limits.bytes.checked_sub(bytes).filter(|_| self.limits.items > 0)
        else {
            return vec![item];
        };
        let mut gone = Vec::new();
        while self.bytes > room || self.len() >= self.limits.items {
            let Some(oldest) = self.take_oldest() else { break };
            gone.push(oldest);
        }
        let ticket = self.next_ticket;
        self.next_ticket = ticket.wrapping_add(1);
        self.bytes = self.bytes.saturating_add(bytes);
        self.places.insert(ticket, (heap.clone(), bytes, now));
        self.heaps.entry(heap.clone()).or_default().insert((bytes, ticket), item);
        gone
    }

    /// Takes the item of a heap that fits best, with its size: the smallest that has at least
    /// `bytes`, and at most `spare` more. Of those of one size it is the youngest, of which most is
    /// in the caches still.
    pub(crate) fn take(&mut self, heap: &K, bytes: u64, spare: u64) -> Option<(u64, T)> {
        let items = self.heaps.get(heap)?;
        let most = bytes.saturating_add(spare);
        let (&(size, _), _) = items.range((bytes, 0)..=(most, u64::MAX)).next()?;
        let (&(_, ticket), _) = items.range((size, 0)..=(size, u64::MAX)).next_back()?;
        self.places.remove(&ticket);
        Some((size, self.remove(heap, size, ticket)?))
    }

    /// Takes what has reached the age limit, the oldest first.
    pub(crate) fn expire(&mut self, now: Instant) -> Vec<T> {
        let age = self.limits.age;
        let old = |put: Instant| now.saturating_duration_since(put) >= age;
        self.take_while(|shelf| shelf.places.first_key_value().is_some_and(|(_, p)| old(p.2)))
    }

    /// Takes the oldest until the rest has room.
    pub(crate) fn drain(&mut self, room: Room) -> Vec<T> {
        self.take_while(|shelf| shelf.bytes > room.bytes || shelf.len() > room.items)
    }

    /// Takes the items that a caller chooses, in no order. Looks at all of them.
    pub(crate) fn remove_if(&mut self, chosen: impl Fn(&T) -> bool) -> Vec<T> {
        let mut found: Vec<(K, u64, u64)> = Vec::new();
        for (heap, items) in &self.heaps {
            let of_heap = items.iter().filter(|(_, item)| chosen(item));
            found.extend(of_heap.map(|((bytes, ticket), _)| (heap.clone(), *bytes, *ticket)));
        }
        let take = |(heap, bytes, ticket): (K, u64, u64)| {
            self.places.remove(&ticket);
            self.remove(&heap, bytes, ticket)
        };
        found.into_iter().filter_map(take).collect()
    }

    /// The size of all items together.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The number of items.
    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    fn take_while(&mut self, more: impl Fn(&Shelf<K, T>) -> bool) -> Vec<T> {
        let mut taken = Vec::new();
        while more(self) {
            let Some(oldest) = self.take_oldest() else { break };
            taken.push(oldest);
        }
        taken
    }

    fn take_oldest(&mut self) -> Option<T> {
        let (ticket, (heap, bytes, _)) = self.places.pop_first()?;
        self.remove(&heap, bytes, ticket)
    }

    /// Removes an item that has no place any more.
    fn remove(&mut self, heap: &K, bytes: u64, ticket: u64) -> Option<T> {
        let items = self.heaps.get_mut(heap)?;
        let item = items.remove(&(bytes, ticket))?;
        if items.is_empty() {
            self.heaps.remove(heap);
        }
        self.bytes = self.bytes.saturating_sub(bytes);
        Some(item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;

    const MINUTE: Duration = Duration::from_secs(60);

    fn limits(bytes: u64, items: usize) -> ShelfLimits {
        ShelfLimits { bytes, items, age: MINUTE }
    }

    #[test]
    fn the_best_fit_is_the_smallest_that_holds_it_and_the_youngest_of_its_size() {
        let now = Instant::now();
        let mut shelf = Shelf::new(limits(1000, 10));
        for (bytes, item) in [(90, "small"), (120, "large"), (110, "old"), (110, "young")] {
            assert!(shelf.put(&"system", bytes, item, now).is_empty());
        }
        assert_eq!(shelf.take(&"system", 100, 9), None);
        assert_eq!(shelf.take(&"cma", 100, 50), None);
        assert_eq!(shelf.take(&"system", 100, 10), Some((110, "young")));
        assert_eq!(shelf.take(&"system", 100, 50), Some((110, "old")));
        assert_eq!(shelf.take(&"system", 100, u64::MAX), Some((120, "large")));
        assert_eq!((shelf.bytes(), shelf.len()), (90, 1));
    }

    #[test]
    fn the_oldest_make_room_and_what_can_never_fit_goes_at_once() {
        let now = Instant::now();
        let mut shelf = Shelf::new(limits(100, 3));
        for item in 1..=3 {
            assert!(shelf.put(&"system", 30, item, now).is_empty());
        }
        assert_eq!(shelf.put(&"system", 101, 4, now), [4], "nothing goes for what cannot stay");
        assert_eq!(shelf.put(&"cma", 30, 5, now), [1]);
        assert_eq!(shelf.put(&"cma", 100, 6, now), [2, 3, 5]);
        let mut none: Shelf<&str, i32> = Shelf::new(limits(100, 0));
        assert_eq!(none.put(&"system", 0, 7, now), [7]);
    }

    #[test]
    fn an_item_stays_until_it_has_the_age_limit() {
        let now = Instant::now();
        let mut shelf = Shelf::new(limits(100, 10));
        shelf.put(&"system", 1, "old", now);
        shelf.put(&"cma", 1, "young", now + MINUTE / 2);
        assert!(shelf.expire(now + MINUTE - Duration::from_nanos(1)).is_empty());
        assert_eq!(shelf.expire(now + MINUTE), ["old"]);
        assert_eq!(shelf.expire(now + MINUTE), [""; 0]);
        assert_eq!(shelf.expire(now + 2 * MINUTE), ["young"]);
        assert!(shelf.heaps.is_empty());
    }

    #[test]
    fn chosen_items_go_and_the_others_stay() {
        let now = Instant::now();
        let mut shelf = Shelf::new(limits(1000, 10));
        for item in 0..6 {
            shelf.put(if item < 3 { &"system" } else { &"cma" }, 10, item, now);
        }
        let mut gone = shelf.remove_if(|item| item % 2 == 0);
        gone.sort_unstable();
        assert_eq!(gone, [0, 2, 4]);
        assert_eq!((shelf.bytes(), shelf.len()), (30, 3));
        assert_eq!(shelf.drain(Room { bytes: 0, items: 1 }), [1, 3, 5]);
        assert!(shelf.heaps.is_empty() && shelf.remove_if(|_| true).is_empty());
    }

    /// What may be asked of a shelf.
    #[derive(Debug, Clone)]
    enum Step {
        Put(u8, u64),
        Take(u8, u64, u64),
        Expire,
        Drain(u64, usize),
        Pass(Duration),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        // Few sizes, so that items of one size meet, and some that no sum holds.
        let bytes = || select(vec![0, 1, 4, 5, 6, 8, 9, 40, 41, u64::MAX - 1, u64::MAX]);
        let step = prop_oneof![
            4 => (0..3_u8, bytes()).prop_map(|(heap, bytes)| Step::Put(heap, bytes)),
            3 => (0..3_u8, bytes(), bytes()).prop_map(|(h, bytes, spare)| Step::Take(h, bytes, spare)),
            1 => Just(Step::Expire),
            1 => (bytes(), 0..8_usize).prop_map(|(bytes, items)| Step::Drain(bytes, items)),
            1 => (0..90_u64).prop_map(|seconds| Step::Pass(Duration::from_secs(seconds))),
        ];
        vec(step, 0..80)
    }

    /// The same by looking at everything: heap, size, item and time, the oldest first.
    struct Model {
        limits: ShelfLimits,
        items: Vec<(u8, u64, usize, Instant)>,
    }

    impl Model {
        fn bytes(&self) -> u128 {
            self.items.iter().map(|item| u128::from(item.1)).sum()
        }

        fn put(&mut self, heap: u8, bytes: u64, item: usize, now: Instant) -> Vec<usize> {
            if bytes > self.limits.bytes || self.limits.items == 0 {
                return vec![item];
            }
            self.items.push((heap, bytes, item, now));
            let mut gone = Vec::new();
            while self.bytes() > u128::from(self.limits.bytes)
                || self.items.len() > self.limits.items
            {
                gone.push(self.items.remove(0).2);
            }
            gone
        }

        fn take(&mut self, heap: u8, bytes: u64, spare: u64) -> Option<(u64, usize)> {
            let fits = |i: &&(u8, u64, usize, Instant)| {
                i.0 == heap && i.1 >= bytes && i.1 - bytes <= spare
            };
            // Items are numbered in the order in which they are put.
            let best = self.items.iter().filter(fits).min_by_key(|i| (i.1, usize::MAX - i.2));
            let best = *best?;
            self.items.retain(|item| item.2 != best.2);
            Some((best.1, best.2))
        }

        fn remove_if(&mut self, gone: impl Fn(&(u8, u64, usize, Instant)) -> bool) -> Vec<usize> {
            let (gone, kept) = self.items.iter().partition(|item| gone(item));
            self.items = kept;
            gone.into_iter().map(|item| item.2).collect()
        }

        fn drain(&mut self, room: Room) -> Vec<usize> {
            let mut gone = Vec::new();
            while self.bytes() > u128::from(room.bytes) || self.items.len() > room.items {
                gone.push(self.items.remove(0).2);
            }
            gone
        }
    }

    proptest! {
        #[test]
        fn a_shelf_does_what_a_list_would_do(
            steps in steps(),
            bytes in select(vec![0, 8, 60, u64::MAX]),
            items in 0..8_usize,
        ) {
            let limits = limits(bytes, items);
            let mut shelf: Shelf<u8, usize> = Shelf::new(limits);
            let mut model = Model { limits, items: Vec::new() };
            let mut now = Instant::now();
            for (number, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Put(heap, bytes) => prop_assert_eq!(
                        shelf.put(&heap, bytes, number, now),
                        model.put(heap, bytes, number, now)
                    ),
                    Step::Take(heap, bytes, spare) => prop_assert_eq!(
                        shelf.take(&heap, bytes, spare),
                        model.take(heap, bytes, spare)
                    ),
                    Step::Expire => prop_assert_eq!(
                        shelf.expire(now),
                        model.remove_if(|item| now - item.3 >= limits.age)
                    ),
                    Step::Drain(bytes, items) => {
                        let room = Room { bytes, items };
                        prop_assert_eq!(shelf.drain(room), model.drain(room));
                    }
                    Step::Pass(time) => now += time,
                }
                prop_assert_eq!(u128::from(shelf.bytes()), model.bytes());
                prop_assert_eq!(shelf.len(), model.items.len());
                let listed: usize = shelf.heaps.values().map(BTreeMap::len).sum();
                prop_assert_eq!(listed, shelf.len());
                prop_assert!(shelf.heaps.values().all(|items| !items.is_empty()));
            }
        }
    }
}
