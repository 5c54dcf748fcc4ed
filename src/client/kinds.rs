// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! What a session allocated last: who asks for the same again says it by a number, in a call that is
//! half as large.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vendor_berth_allocator::aidl::vendor::berth::allocator::{
    BufferDescriptor::BufferDescriptor, BufferLayout::BufferLayout,
    IAllocatorSession::REMEMBERED_REQUESTS,
};

/// What all buffers of one request have in common.
#[derive(Debug)]
pub(crate) struct Kind {
    pub(crate) descriptor: BufferDescriptor,
    pub(crate) layout: BufferLayout,
}

/// A request that a service remembers.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    /// Which of the session's services, see [`Connection`](crate::connection::Connection).
    pub(crate) generation: u64,
    /// The number that it gave.
    pub(crate) request_id: i32,
    pub(crate) kind: Arc<Kind>,
}

/// The last requests, as many as the service remembers.
#[derive(Debug, Default)]
pub(crate) struct Kinds(Mutex<VecDeque<Known>>);

impl Kinds {
    fn all(&self) -> MutexGuard<'_, VecDeque<Known>> {
        // Each change is one step: a panic elsewhere leaves nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The request that is the one, if it is among the last.
    pub(crate) fn find(&self, is_it: impl Fn(&BufferDescriptor) -> bool) -> Option<Known> {
        self.all().iter().find(|known| is_it(&known.kind.descriptor)).cloned()
    }

    /// Notes a request in the place of an equal one, or else of the oldest.
    pub(crate) fn note(&self, known: Known) {
        let mut all = self.all();
        all.retain(|other| other.kind.descriptor != known.kind.descriptor);
        if all.len() >= REMEMBERED_REQUESTS as usize {
            all.pop_front();
        }
        all.push_back(known);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BufferRequest;

    fn known(bytes: u64, request_id: i32) -> Known {
        let descriptor = BufferRequest::linear(bytes).descriptor();
        let kind = Arc::new(Kind { descriptor, layout: BufferLayout::default() });
        Known { generation: 0, request_id, kind }
    }

    fn found(kinds: &Kinds, bytes: u64) -> Option<i32> {
        let request = BufferRequest::linear(bytes);
        kinds.find(|other| request.is_described_by(other)).map(|known| known.request_id)
    }

    #[test]
    fn the_last_requests_are_known_each_by_its_last_number() {
        let kinds = Kinds::default();
        for number in 1..=20 {
            kinds.note(known(number, number as i32));
        }
        assert_eq!(found(&kinds, 12), None);
        assert_eq!(found(&kinds, 13), Some(13));
        kinds.note(known(13, 21));
        assert_eq!(found(&kinds, 13), Some(21));
        assert_eq!(found(&kinds, 14), Some(14));
        assert_eq!(kinds.all().len(), REMEMBERED_REQUESTS as usize);
    }

    #[test]
    fn what_differs_in_anything_is_another_request() {
        let kinds = Kinds::default();
        kinds.note(known(4096, 1));
        let same = BufferRequest::linear(4096);
        assert!(kinds.find(|known| *known == same.descriptor()).is_some());
        for other in [same.clone().no_pool(), same.clone().name("n"), same.heap("system")] {
            assert!(kinds.find(|known| *known == other.descriptor()).is_none(), "{other:?}");
            assert!(kinds.find(|known| other.is_described_by(known)).is_none(), "{other:?}");
        }
    }
}
