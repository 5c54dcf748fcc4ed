// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Ranges of bytes, however they are written.

use std::ops::{Bound, RangeBounds};

/// Offset and length of a range in `size` bytes. One whose end is before its start has no bytes; an end
/// beyond all numbers stays too much.
pub(crate) fn span(range: impl RangeBounds<u64>, size: u64) -> (u64, u64) {
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(before) => before.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(last) => last.saturating_add(1),
        Bound::Excluded(end) => *end,
        Bound::Unbounded => size,
    };
    (start, end.saturating_sub(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_write_a_range_is_an_offset_and_a_length() {
        assert_eq!(span(.., 10), (0, 10));
        assert_eq!(span(3..5, 10), (3, 2));
        assert_eq!(span(3..=5, 10), (3, 3));
        assert_eq!(span(..5, 10), (0, 5));
        assert_eq!(span(4.., 10), (4, 6));
        assert_eq!(span(12.., 10), (12, 0));
        assert_eq!(span(..=u64::MAX, 10), (0, u64::MAX));
        assert_eq!(span((Bound::Excluded(2), Bound::Unbounded), 10), (3, 7));
    }
}
