// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Which chunk goes before which.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::{Arc, Weak};

use berth_shared::purge::{ChunkState, Stamp};

use crate::purgeable::{Purgeable, Unpinned};

/// A chunk that may be purged.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    uid: u32,
    pub(super) region: Weak<Purgeable>,
    pub(super) unpinned: Unpinned,
    pub(super) bytes: u64,
    /// 0 for contents that nobody can use, otherwise 1 above the priority.
    rank: u8,
    /// How long it is unpinned.
    age: u32,
}

impl Candidate {
    pub(super) fn new(
        uid: u32,
        region: &Arc<Purgeable>,
        unpinned: &Unpinned,
        now: Stamp,
    ) -> Candidate {
        let (rank, age) = match unpinned.state {
            ChunkState::Unpinned { priority, since, filled: true } => {
                (priority.level().saturating_add(1), since.age(now))
            }
            // Whoever pinned it died: what it wished is not known.
            ChunkState::Pinned { filled: true, .. } => (1, u32::MAX),
            _ => (0, u32::MAX),
        };
        let range = region.chunks.bytes_of(unpinned.chunk);
        let bytes = range.end.saturating_sub(range.start);
        let region = Arc::downgrade(region);
        Candidate { uid, region, unpinned: *unpinned, bytes, rank, age }
    }
}

/// The lowest rank first; in one rank what is of the uid that has the most left of it; of one uid's
/// the oldest.
pub(super) fn in_order(mut candidates: Vec<Candidate>) -> impl Iterator<Item = Candidate> {
    // What is left for a uid in a rank is counted from its youngest to its oldest: so much it has
    // when the oldest of these is next.
    candidates.sort_by_key(|one| (one.rank, one.uid, one.age));
    let mut left: HashMap<(u8, u32), u64> = HashMap::new();
    let mut keyed: Vec<(u8, Reverse<u64>, Candidate)> = candidates
        .into_iter()
        .map(|one| {
            let left = left.entry((one.rank, one.uid)).or_default();
            *left = left.saturating_add(one.bytes);
            (one.rank, Reverse(*left), one)
        })
        .collect();
    keyed.sort_by_key(|(rank, left, _)| (*rank, *left));
    keyed.into_iter().map(|(_, _, candidate)| candidate)
}
