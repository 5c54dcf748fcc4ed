// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! What a session holds, as far as this process can prove it to a service that was started again: the
//! buffers of which it has descriptors, and the tokens that it gave out.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use berth_kernel::open_file::remove_locks;
use hal_binder::ParcelFileDescriptor;
use vendor_berth_allocator::aidl::vendor::berth::allocator::{
    IAllocator::MAX_BATCH, OpenToken::OpenToken, ReattachEntry::ReattachEntry,
    ShareOptions::ShareOptions, ShareToken::ShareToken,
};

use crate::buffer::Held;
use crate::Error;

/// What a session holds, by id.
#[derive(Debug, Default)]
pub(crate) struct Holdings(Mutex<BTreeMap<i64, Holding>>);

#[derive(Debug)]
struct Holding {
    /// Gone if the descriptors were closed and the buffer was left in the session.
    held: Weak<Held>,
    /// The token that it was acquired by.
    acquired_by: Option<[u8; 16]>,
    shared: Vec<Shared>,
}

/// A token that was given out.
#[derive(Debug)]
struct Shared {
    token: [u8; 16],
    options: ShareOptions,
    until: Instant,
}

impl Holdings {
    fn all(&self) -> MutexGuard<'_, BTreeMap<i64, Holding>> {
        // Each change is one step: a panic elsewhere leaves nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a buffer that the session holds from now on.
    pub(crate) fn add(&self, held: &Arc<Held>, acquired_by: Option<[u8; 16]>) {
        let holding = Holding { held: Arc::downgrade(held), acquired_by, shared: Vec::new() };
        self.all().insert(held.id(), holding);
    }

    /// Notes descriptors of a buffer that the session holds and that has none here any more.
    pub(crate) fn refresh(&self, held: &Arc<Held>) {
        if let Some(holding) = self.all().get_mut(&held.id()) {
            if holding.held.strong_count() == 0 {
                holding.held = Arc::downgrade(held);
            }
        }
    }

    /// Forgets a buffer; false if the session does not hold it.
    pub(crate) fn remove(&self, id: i64) -> bool {
        self.all().remove(&id).is_some()
    }

    /// Notes a token for a buffer.
    pub(crate) fn share(&self, id: i64, token: [u8; 16], options: ShareOptions, until: Instant) {
        let now = Instant::now();
        if let Some(holding) = self.all().get_mut(&id) {
            holding.shared.retain(|shared| shared.until > now);
            holding.shared.push(Shared { token, options, until });
        }
    }

    /// Whether the session holds a buffer.
    pub(crate) fn has(&self, id: i64) -> bool {
        self.all().contains_key(&id)
    }

    /// The buffers of which there are descriptors here: those with these ids, or all.
    pub(crate) fn held(&self, ids: Option<&[i64]>) -> Vec<Arc<Held>> {
        let all = self.all();
        let wanted = all.iter().filter(|(id, _)| ids.map_or(true, |ids| ids.contains(id)));
        wanted.filter_map(|(_, holding)| holding.held.upgrade()).collect()
    }

    /// The ids of all buffers that are not among `known`.
    pub(crate) fn not_in(&self, known: &BTreeSet<i64>) -> Vec<i64> {
        self.all().keys().filter(|id| !known.contains(id)).copied().collect()
    }

    /// What a service needs to give a buffer back to its books; `None` if there is no such buffer any
    /// more.
    pub(crate) fn entry(&self, id: i64) -> Option<Result<ReattachEntry, Error>> {
        let (held, acquired_by, tokens) = {
            let all = self.all();
            let holding = all.get(&id)?;
            (holding.held.upgrade(), holding.acquired_by, holding.open_tokens())
        };
        // Duplicating is done when nothing is locked.
        let Some(held) = held else { return Some(Err(Error::NoDescriptor(id))) };
        if held.info().layout.dmaBuf {
            // Whoever shares its open file can put locks on it, which hide what the kernel says of it.
            // The service takes none from what it does not know yet.
            if let Err(error) = remove_locks(held.as_fd()) {
                log::debug!("buffer {id}: {error}");
            }
        }
        let duplicate = |fd: std::os::fd::BorrowedFd<'_>| {
            let fd = fd.try_clone_to_owned();
            fd.map(ParcelFileDescriptor::new)
                .map_err(|error| Error::Transport(format!("no further descriptor: {error}")))
        };
        let entry = || {
            Ok(ReattachEntry {
                info: held.info(),
                fd: Some(duplicate(held.as_fd())?),
                secondFd: held.second_fd().map(duplicate).transpose()?,
                acquiredBy: acquired_by.map(|value| ShareToken { value }),
                tokens,
                options: Vec::new(),
            })
        };
        Some(entry())
    }
}

impl Holding {
    /// The tokens that have not expired; of too many the latest.
    fn open_tokens(&self) -> Vec<OpenToken> {
        let now = Instant::now();
        let open = |shared: &Shared| {
            let left = shared.until.checked_duration_since(now)?;
            let millis = i64::try_from(left.as_millis()).ok().filter(|millis| *millis > 0)?;
            let options = &shared.options;
            Some(OpenToken {
                token: ShareToken { value: shared.token },
                options: ShareOptions {
                    recipientUid: options.recipientUid,
                    uses: options.uses,
                    lifetimeMillis: millis,
                    access: options.access,
                },
            })
        };
        self.shared.iter().rev().filter_map(open).take(MAX_BATCH as usize).collect()
    }
}
