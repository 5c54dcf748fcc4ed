// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Sizes that buffers are allocated with so that they serve again: two requests of nearly the same
//! size get the same one.

/// Sizes between one power of two and the next. With 8 of them no size is raised by more than an
/// eighth.
const STEPS: u64 = 8;

/// The size in bytes to allocate for `bytes`: the next of the sizes that are used, a multiple of
/// `page`, which is the page size in bytes.
///
/// It exceeds the whole pages that `bytes` take by an eighth of them at most, and up to 16 pages not
/// at all: there each number of pages is a size of its own. `None` if that is more than 64 bits
/// hold, or without a page size.
pub(crate) fn size_class(bytes: u64, page: u64) -> Option<u64> {
    // Not `div_ceil`: the quotient and the remainder cannot overflow.
    let pages = bytes.checked_div(page)?.checked_add(u64::from(bytes.checked_rem(page)? > 0))?;
    let step = match pages.checked_sub(1).and_then(u64::checked_ilog2) {
        // Pages from 2^n + 1 to 2^(n + 1) go in steps of an eighth of 2^n.
        Some(power) => (1_u64.checked_shl(power)? / STEPS).max(1),
        // One page or none.
        None => 1,
    };
    pages.checked_add(step - 1)?.checked_div(step)?.checked_mul(step)?.checked_mul(page)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn pages() -> impl Strategy<Value = u64> {
        prop_oneof![Just(4096_u64), Just(16_384), Just(65_536), 1..100_000_u64]
    }

    /// Sizes of every magnitude.
    fn bytes() -> impl Strategy<Value = u64> {
        (any::<u64>(), 0..64_u32).prop_map(|(bytes, shift)| bytes >> shift)
    }

    #[test]
    fn up_to_16_pages_every_number_of_pages_is_a_class() {
        for count in 0..=16 {
            assert_eq!(size_class(count * 4096, 4096), Some(count * 4096));
        }
        assert_eq!(size_class(1, 4096), Some(4096));
        assert_eq!(size_class(4097, 4096), Some(8192));
    }

    #[test]
    fn from_16_pages_on_8_classes_lie_between_two_powers_of_two() {
        for power in 4..30 {
            let low = 4096_u64 << power;
            let all: BTreeSet<u64> =
                (1..=64).map(|part| size_class(low + low / 64 * part, 4096).unwrap()).collect();
            assert_eq!(all.len(), 8, "above {low} bytes");
            assert_eq!(all.last(), Some(&(2 * low)));
        }
    }

    #[test]
    fn a_size_that_cannot_be_said_is_none() {
        assert_eq!(size_class(u64::MAX, 4096), None);
        assert_eq!(size_class(u64::MAX, 1), None, "the class above is 2^64");
        assert_eq!(size_class(4096, 0), None);
        let largest = 15 << 60;
        assert_eq!(size_class(largest, 4096), Some(largest));
        assert_eq!(size_class(largest + 1, 4096), None);
    }

    proptest! {
        #[test]
        fn a_class_is_whole_pages_that_hold_the_bytes_and_wastes_an_eighth_at_most(
            bytes in bytes(),
            page in pages(),
        ) {
            if let Some(class) = size_class(bytes, page) {
                prop_assert_eq!(class % page, 0);
                let whole = u128::from(bytes).div_ceil(u128::from(page)) * u128::from(page);
                let class = u128::from(class);
                prop_assert!(class >= whole);
                prop_assert!((class - whole) * 8 <= whole, "{} for {}", class, whole);
            } else {
                // Never for want of room that is there.
                prop_assert!(bytes > u64::MAX / 9 * 8 - page);
            }
        }

        #[test]
        fn the_class_of_a_class_is_itself(bytes in bytes(), page in pages()) {
            let class = size_class(bytes, page);
            prop_assert_eq!(class.and_then(|class| size_class(class, page)), class);
        }

        #[test]
        fn more_bytes_never_have_a_smaller_class(
            bytes in bytes(),
            more in bytes(),
            page in pages(),
        ) {
            let larger = bytes.saturating_add(more);
            if let Some(class) = size_class(larger, page) {
                prop_assert!(size_class(bytes, page).is_some_and(|smaller| smaller <= class));
            }
        }
    }
}
