// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! A participant that keeps to no rule: it has what every participant has, and writes nonsense to it.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering;

use anyhow::{Context, Result};
use berth_client::SERVICE_NAME;
use berth_end_to_end::chance::Chance;
use berth_kernel::mapping::{Mapping, ReadWrite};
use hal_binder::{Interface, ParcelFileDescriptor};
use vendor_berth_allocator::aidl::vendor::berth::allocator::{
    IAllocator::IAllocator,
    IAllocatorCallback::{BnAllocatorCallback, IAllocatorCallback},
    IAllocatorSession::IAllocatorSession,
    PressureLevel::PressureLevel,
    SessionConfig::SessionConfig,
    ShareToken::ShareToken,
};

const TABLE_BYTES: u64 = 4096;
const CLAIMS_BYTES: u64 = 8192;
/// The part of the table that means anything.
const TABLE_IN_USE: usize = 512;

struct Deaf;

impl Interface for Deaf {}

impl IAllocatorCallback for Deaf {
    fn onSharedBufferGone(&self, _ids: &[i64]) -> hal_binder::Result<()> {
        Ok(())
    }

    fn onPressure(&self, _level: PressureLevel) -> hal_binder::Result<()> {
        Ok(())
    }
}

/// Joins by a token and writes so many words; the session ends with it.
pub fn scribble(token: [u8; 16], words: u64, seed: u64, lies: bool) -> Result<()> {
    let service = hal_binder::wait_for_interface::<dyn IAllocator>(SERVICE_NAME)?;
    let callback = hal_binder::new_binder!(BnAllocatorCallback, Deaf);
    let session = service.openSession(&SessionConfig::default(), &callback)?;
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

fn map(fd: Option<ParcelFileDescriptor>, bytes: u64) -> Result<Mapping<ReadWrite>> {
    let fd = OwnedFd::from(fd.context("a page is missing")?);
    Ok(Mapping::new(fd.as_fd(), bytes)?)
}
