// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! How often the service refused, by the code under which the client learned it.

use std::sync::atomic::{AtomicU64, Ordering};

use vendor_berth_allocator::aidl::vendor::berth::allocator::AllocatorError::AllocatorError;

/// Every code, by its name in the interface, which the `Debug` text of an AIDL enum need not be.
const CAUSES: [(AllocatorError, &str); 20] = [
    (AllocatorError::BAD_DESCRIPTOR, "BAD_DESCRIPTOR"),
    (AllocatorError::BAD_ARGUMENT, "BAD_ARGUMENT"),
    (AllocatorError::TOO_LARGE, "TOO_LARGE"),
    (AllocatorError::UNSUPPORTED, "UNSUPPORTED"),
    (AllocatorError::NO_MEMORY, "NO_MEMORY"),
    (AllocatorError::QUOTA_EXCEEDED, "QUOTA_EXCEEDED"),
    (AllocatorError::TOO_MANY_BUFFERS, "TOO_MANY_BUFFERS"),
    (AllocatorError::TOO_MANY_FDS, "TOO_MANY_FDS"),
    (AllocatorError::TOO_MANY_SESSIONS, "TOO_MANY_SESSIONS"),
    (AllocatorError::HEAP_UNKNOWN, "HEAP_UNKNOWN"),
    (AllocatorError::HEAP_UNAVAILABLE, "HEAP_UNAVAILABLE"),
    (AllocatorError::HEAP_REFUSED, "HEAP_REFUSED"),
    (AllocatorError::NOT_FOUND, "NOT_FOUND"),
    (AllocatorError::BAD_TOKEN, "BAD_TOKEN"),
    (AllocatorError::SESSION_CLOSED, "SESSION_CLOSED"),
    (AllocatorError::INTERNAL, "INTERNAL"),
    (AllocatorError::BAD_RECEIPT, "BAD_RECEIPT"),
    (AllocatorError::NOT_THE_MEMORY, "NOT_THE_MEMORY"),
    (AllocatorError::ALREADY_ATTACHED, "ALREADY_ATTACHED"),
    (AllocatorError::OWNER_MISSING, "OWNER_MISSING"),
];

/// A count for each of them, in their order.
#[derive(Debug, Default)]
pub(crate) struct Refusals([AtomicU64; CAUSES.len()]);

impl Refusals {
    /// Counts one.
    pub(crate) fn count(&self, code: AllocatorError) {
        let counts = CAUSES.iter().zip(&self.0);
        if let Some((_, count)) = counts.into_iter().find(|((cause, _), _)| *cause == code) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// All of them.
    pub(crate) fn total(&self) -> u64 {
        self.0.iter().fold(0, |sum, count| count.load(Ordering::Relaxed).saturating_add(sum))
    }

    /// How many there were of each cause, by its name.
    pub(crate) fn by_cause(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let counts = self.0.iter().map(|count| count.load(Ordering::Relaxed));
        CAUSES.iter().map(|(_, name)| *name).zip(counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_of_the_interface_is_counted_under_its_own_name() {
        let codes = AllocatorError::enum_values();
        assert_eq!(codes.len(), CAUSES.len());
        let refusals = Refusals::default();
        for (times, code) in codes.iter().enumerate() {
            (0..=times).for_each(|_| refusals.count(*code));
        }
        assert_eq!(refusals.total(), 20 * 21 / 2);
        for ((name, times), code) in refusals.by_cause().zip(codes) {
            assert_eq!(times, code.0 as u64, "{name}");
        }
    }
}
