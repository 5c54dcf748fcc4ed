// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Clients that are killed while they use memory whose contents may go.

use anyhow::{bail, ensure, Context, Result};
use berth_client::{CacheOptions, Contents, PurgeableCache, PurgeableRegion, Session, Token};
use berth_end_to_end::chance::Chance;

use crate::purgeable::{bytes_of, fill, look, value, value_of};
use crate::victims::{kill_victims, until_there_is_room};

/// So many values, of which not all fit.
const KEYS: usize = 40;
const CACHE_BYTES: u64 = 32 * 4096;

/// Forks processes, each of which pins chunks of a shared region or keeps values in a cache of its own,
/// and kills each; answers how many.
pub fn kill_pinners(tokens: &[[u8; 16]], count: usize, at_once: usize) -> Result<usize> {
    kill_victims(count, at_once, |number, session, ready| {
        let mut chance = Chance::new(number as u64);
        if number % 2 == 1 {
            let cache = cache(&session)?;
            ready.say()?;
            loop {
                keep(&session, &cache, &mut chance)?;
            }
        }
        let token = *tokens.get(number / 2 % tokens.len().max(1)).context("no token")?;
        let region = until_there_is_room(|| session.acquire(Token(token)))?;
        let region = PurgeableRegion::new(region)?;
        ready.say()?;
        loop {
            pin(&region, &mut chance)?;
        }
    })
}

/// Pins some chunks, makes again what is gone of them, and sees that what is there is right.
fn pin(region: &PurgeableRegion, chance: &mut Chance) -> Result<()> {
    let chunks = (region.size() / region.chunk_bytes()) as usize;
    let (one, other) = (chance.below(chunks) as u32, chance.below(chunks) as u32);
    let (first, last) = (one.min(other), one.max(other));
    // Each for itself, and all at once.
    let _all = region.pin(bytes_of(region, first).start..bytes_of(region, last).end)?;
    for chunk in first..=last {
        let pinned = region.pin(bytes_of(region, chunk))?;
        if pinned.contents() == Contents::Purged {
            fill(&pinned, value_of(chunk))?;
        }
        let seen = look(&pinned)?;
        ensure!(seen.value == Some(value_of(chunk)), "chunk {chunk}: {seen:?}");
        if chance.below(8) == 0 {
            pinned.discard();
        }
    }
    Ok(())
}

fn cache(session: &Session) -> Result<PurgeableCache<u32, Vec<u8>>> {
    let options = CacheOptions { bytes: CACHE_BYTES, chunk_bytes: 4096, ..CacheOptions::default() };
    until_there_is_room(|| PurgeableCache::new(session, options.clone()))
}

/// Has the cache give a value, or has the service take what it can of all.
fn keep(
    session: &Session,
    cache: &PurgeableCache<u32, Vec<u8>>,
    chance: &mut Chance,
) -> Result<()> {
    if chance.below(32) == 0 {
        session.trim()?;
    }
    let key = chance.below(KEYS) as u32;
    let seen = cache.get_or_make(&key, || value(key))?;
    if seen != value(key) {
        bail!("key {key} has {} other bytes", seen.len());
    }
    Ok(())
}
