// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! What the tests of shared structures and their peer agree on.

/// Where the mutex is.
pub const MUTEX: u64 = 0;
/// Where the condition variable is.
pub const CONDITION: u64 = 1024;
/// Where the peer counts what it has done.
pub const PROGRESS: u64 = 12 << 10;
/// No numbered record is longer.
pub const LENGTHS: usize = 100;

/// Makes the record of a number: 8 bytes or more.
pub fn fill(record: &mut [u8], number: u64) {
    for (index, byte) in record.iter_mut().enumerate() {
        *byte = (number as u8).wrapping_add(index as u8);
    }
    record[..8].copy_from_slice(&number.to_ne_bytes());
}

/// The number of a record, if it is whole.
pub fn check(record: &[u8]) -> Option<u64> {
    let number = u64::from_ne_bytes(record.get(..8)?.try_into().ok()?);
    let mut expected = vec![0; record.len()];
    fill(&mut expected, number);
    (record == expected).then_some(number)
}
