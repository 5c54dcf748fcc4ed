// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Bytes that two processes can both work out: every page differs, so that none can be mistaken for
//! another or for zeros.

/// The byte at `offset` of the pattern with this seed.
fn byte(seed: u32, offset: u64) -> u8 {
    let page = (offset >> 12) as u32;
    let mixed = seed.wrapping_add(page).wrapping_mul(0x9e37_79b9).rotate_left(11);
    (mixed ^ (offset as u32).wrapping_mul(0x85eb_ca6b) >> 13) as u8 | 1
}

/// `length` bytes of the pattern from `offset`.
pub fn bytes(seed: u32, offset: u64, length: usize) -> Vec<u8> {
    (0..length as u64).map(|index| byte(seed, offset + index)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_and_seeds_differ_and_nothing_is_zero() {
        let first = bytes(1, 0, 4096);
        assert_ne!(first, bytes(1, 4096, 4096));
        assert_ne!(first, bytes(2, 0, 4096));
        assert!(first.iter().all(|byte| *byte != 0));
        assert_eq!(first[100..], bytes(1, 100, 3996));
    }
}
