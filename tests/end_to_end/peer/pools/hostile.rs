// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! A participant that keeps to no rule: it has what every participant has, and writes nonsense to it.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering;

use anyhow::{Context, Result};
use berth_end_to_end::chance::Chance;
use berth_kernel::mapping::{Mapping, ReadWrite};
use hal_binder::{ParcelFileDescriptor, Strong};
use vendor_berth_allocator::aidl::vendor::berth::allocator::{
    IAllocatorSession::IAllocatorSession, ShareToken::ShareToken,
};

use crate::bare;

const TABLE_BYTES: u64 = 4096;
const CLAIMS_BYTES: u64 = 8192;
/// The part of the table that means anything.
const TABLE_IN_USE: usize = 512;
/// In that, the words of the slots.
const SLOTS_AT: usize = 256;

/// Joins by a token and writes so many words; the session ends with it.
pub fn scribble(token: [u8; 16], words: u64, seed: u64, lies: bool) -> Result<()> {
    let session = bare::session()?;
    let pool = session.joinPool(&ShareToken { value: token })?;
    let (table, claims) = (map(pool.table, TABLE_BYTES)?, map(pool.ownClaims, CLAIMS_BYTES)?);
    let mut chance = Chance::new(seed);
    for _ in 0..words {
        let at_claims = lies && chance.below(8) == 0;
        let (page, bytes) =
            if at_claims { (&claims, CLAIMS_BYTES as usize) } else { (&table, TABLE_IN_USE) };
        let random = chance.draw();
        // Words that mean something are worse than noise.
        let word = match random >> 60 {
            0..=7 => random as u32 & 0x3f,
            8..=11 => 0,
            _ => random as u32,
        };
        page.word(chance.below(bytes) & !3)?.store(word, Ordering::Relaxed);
    }
    Ok(session.close()?)
}

/// Joins by a token and says of all slots that there are none. Answers what it takes part with.
pub fn hide(token: [u8; 16]) -> Result<Strong<dyn IAllocatorSession>> {
    let session = bare::session()?;
    let pool = session.joinPool(&ShareToken { value: token })?;
    map(pool.table, TABLE_BYTES)?.fill(SLOTS_AT, TABLE_IN_USE - SLOTS_AT, 0xff)?;
    Ok(session)
}

fn map(fd: Option<ParcelFileDescriptor>, bytes: u64) -> Result<Mapping<ReadWrite>> {
    let fd = OwnedFd::from(fd.context("a page is missing")?);
    Ok(Mapping::new(fd.as_fd(), bytes)?)
}
