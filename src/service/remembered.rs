// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! What a session allocated last, so that it can ask for more of it by a number.

use std::collections::VecDeque;
use std::sync::Arc;

use vendor_berth_allocator::aidl::vendor::berth::allocator::IAllocatorSession::REMEMBERED_REQUESTS;

use crate::heap::Heap;
use crate::heaps::Choice;
use crate::request::Request;

/// A request, and the heap that served it.
#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) request: Arc<Request>,
    heap: Arc<Heap>,
    fallback: bool,
}

impl Served {
    /// A request, and who serves it.
    pub(crate) fn new(request: Arc<Request>, choice: Choice<'_>) -> Served {
        Served { request, heap: choice.heap.clone(), fallback: choice.fallback }
    }

    /// Who serves it.
    pub(crate) fn choice(&self) -> Choice<'_> {
        Choice { heap: &self.heap, fallback: self.fallback }
    }
}

/// The last requests of a session, and their numbers, which count from 1.
#[derive(Debug, Default)]
pub(crate) struct Remembered {
    last: i32,
    served: VecDeque<(i32, Arc<Served>)>,
}

impl Remembered {
    /// Notes a request in the place of the oldest, and answers its number.
    pub(crate) fn note(&mut self, served: Served) -> i32 {
        if self.served.len() >= REMEMBERED_REQUESTS as usize {
            self.served.pop_front();
        }
        // After 2³¹ requests none of the first is remembered.
        self.last = self.last.checked_add(1).unwrap_or(1);
        self.served.push_back((self.last, Arc::new(served)));
        self.last
    }

    /// The request of a number.
    pub(crate) fn get(&self, id: i32) -> Option<Arc<Served>> {
        self.served.iter().find(|(number, _)| *number == id).map(|(_, served)| served.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::heap::Source;
    use crate::heap_class::HeapClass;
    use crate::request::Shape;

    fn served(bytes: u64) -> Served {
        let heap = Heap::new("fake".to_owned(), HeapClass::System, 1 << 20, Source::Fake);
        let choice = Choice { heap: &Arc::new(heap), fallback: false };
        Served::new(Arc::new(Request::of_shape(Shape::Linear(bytes))), choice)
    }

    fn bytes(remembered: &Remembered, id: i32) -> Option<u64> {
        remembered.get(id).map(|served| served.request.bytes())
    }

    #[test]
    fn the_last_requests_are_remembered_and_no_more() {
        let mut remembered = Remembered::default();
        for bytes in 1..=20 {
            assert_eq!(remembered.note(served(bytes)), bytes as i32);
        }
        assert_eq!(bytes(&remembered, 12), None);
        assert_eq!(bytes(&remembered, 13), Some(13));
        assert_eq!(bytes(&remembered, 20), Some(20));
        assert_eq!(bytes(&remembered, 0), None);
        assert_eq!(remembered.served.len(), REMEMBERED_REQUESTS as usize);
    }

    #[test]
    fn numbers_begin_anew_when_there_are_no_more() {
        let mut remembered = Remembered { last: i32::MAX - 1, served: VecDeque::new() };
        assert_eq!(remembered.note(served(1)), i32::MAX);
        assert_eq!(remembered.note(served(2)), 1);
        assert_eq!(bytes(&remembered, 1), Some(2));
    }
}
