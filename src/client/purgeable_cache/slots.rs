// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Which chunks are free.

use std::sync::{Arc, Mutex, PoisonError};

/// The free chunks of a region.
#[derive(Debug)]
pub(super) struct Slots {
    free: Mutex<Vec<u32>>,
    count: usize,
}

/// Chunks that are taken; free again when dropped.
#[derive(Debug)]
pub(super) struct Taken {
    slots: Arc<Slots>,
    numbers: Vec<u32>,
}

impl Slots {
    /// So many, all of them free.
    pub(super) fn new(count: u64) -> Arc<Slots> {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        // The lowest is taken first.
        let free: Vec<u32> = (0..count).rev().collect();
        Arc::new(Slots { count: free.len(), free: Mutex::new(free) })
    }

    /// How many there are, free or not.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// So many of them, or none if fewer are free.
    pub(super) fn take(self: &Arc<Self>, count: usize) -> Option<Taken> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let from = free.len().checked_sub(count)?;
        let numbers = free.split_off(from);
        Some(Taken { slots: self.clone(), numbers })
    }
}

impl Taken {
    /// How many.
    pub(super) fn len(&self) -> usize {
        self.numbers.len()
    }

    /// Their numbers.
    pub(super) fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.numbers.iter().copied()
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut free = self.slots.free.lock().unwrap_or_else(PoisonError::into_inner);
        free.append(&mut self.numbers);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_taken_once_and_come_back() {
        let slots = Slots::new(5);
        let first = slots.take(3).unwrap();
        assert!(slots.take(3).is_none());
        let second = slots.take(2).unwrap();
        let mut numbers: Vec<u32> = first.iter().chain(second.iter()).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, [0, 1, 2, 3, 4]);
        drop(first);
        assert_eq!(slots.take(3).unwrap().len(), 3);
        assert!(slots.take(6).is_none());
    }
}
