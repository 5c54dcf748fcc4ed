// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Buffers of the service before this one, given back to the books by those who hold them.
//!
//! An entry is believed in three steps, each by somebody else's word: what it says is held against the
//! rules for every request; the descriptor against the kernel, which tells what memory it is; and both
//! against the receipt, which says that a service of this boot gave this memory, so described, to this
//! uid. Then limits hold as for any other buffer.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use berth_kernel::identity::Identity;
use berth_kernel::KernelError;
use nix::errno::Errno;
use vendor_berth_allocator::aidl::vendor::berth::allocator::{
    Access::Access, BufferInfo, IAllocator, OpenToken::OpenToken, ReattachEntry::ReattachEntry,
};

use crate::accounts::{Charge, Used};
use crate::heap::Heap;
use crate::lingering::Address;
use crate::memory::{Former, Memory, Place};
use crate::proof::Proof;
use crate::receipts::{Facts, Receipts, Taken};
use crate::refusal::Refusal;
use crate::request::Request;
use crate::restored::{Back, Presented};
use crate::service::Service;
use crate::session::{Holding, Role, Session};
use crate::tokens::{public_half, Permit};
use crate::wire;

/// How often a session that takes part looks for the owner's entry before it has one made.
const LOOKS: usize = 3;

/// What an entry says, checked as far as words go.
struct Claim {
    request: Arc<Request>,
    heap: Arc<Heap>,
    id: i64,
    /// The id with the owner.
    owner: i64,
    taken: Option<Taken>,
    bytes: u64,
    fallback: bool,
    recycled: bool,
}

impl Service {
    /// Gives buffers back to the books, each by itself; with each the number of its tokens.
    pub(crate) fn reattach(
        &self,
        session: &Session,
        entries: &[ReattachEntry],
    ) -> Result<Vec<Result<u64, Refusal>>, Refusal> {
        self.checked_count("number of entries", entries.len() as i64)?;
        session.held()?;
        Ok(entries.iter().map(|entry| self.reattach_one(session, entry)).collect())
    }

    fn reattach_one(&self, session: &Session, entry: &ReattachEntry) -> Result<u64, Refusal> {
        let claim = Claim::check(self, entry)?;
        let (mark, former) = claim.prove(self, session.uid, entry)?;
        match claim.taken {
            None => {
                let former = former.ok_or(Refusal::OwnerMissing(claim.owner))?;
                let memory = self.own_again(session, &claim, mark, former)?;
                Ok(self.restore_tokens(session, claim.id, &memory, &entry.tokens))
            }
            Some(taken) => self.take_again(session, &claim, mark, former, taken).map(|()| 0),
        }
    }

    /// Gives an owner his buffer, which he pays for.
    fn own_again(
        &self,
        session: &Session,
        claim: &Claim,
        mark: Identity,
        former: Former,
    ) -> Result<Arc<Memory>, Refusal> {
        let (bytes, descriptors) = (claim.bytes, claim.descriptors());
        let amount = Used { buffers: 1, bytes, descriptors, ..Used::default() };
        let room = session.reserve(amount)?;
        let charge = self.admit_again(session.uid, claim)?;
        let mut presented = Presented { former: Some(former), charge: Some(charge), taking: None };
        let back = self.restored.known().own(mark, claim.owner, &mut presented)?;
        drop(presented);
        self.strike_out(back.void.as_ref());
        if !back.new {
            self.reclaimer.forget(&back.memory);
        }
        self.purge_again(session.uid, &back);
        if let Err(refusal) = room.fill(std::iter::once((claim.id, back.memory.clone()))) {
            let holding = Holding { memory: back.memory, role: Role::Owner(Vec::new()) };
            self.let_go(session.id, vec![(claim.id, holding)], false);
            return Err(refusal);
        }
        Ok(back.memory)
    }

    /// Lets a session take part in a buffer again.
    fn take_again(
        &self,
        session: &Session,
        claim: &Claim,
        mark: Identity,
        former: Option<Former>,
        taken: Taken,
    ) -> Result<(), Refusal> {
        session.check_room()?;
        let taking = Some(self.admit_taking(session.uid)?);
        let place = Place { session: session.id, buffer: claim.id };
        let mut presented = Presented { former, charge: None, taking };
        let back = self.find_or_present(session.uid, claim, mark, place, taken, &mut presented)?;
        drop(presented);
        self.strike_out(back.void.as_ref());
        self.purge_again(session.uid, &back);
        let holding = Holding { memory: back.memory.clone(), role: Role::Taker(taken) };
        let taken = session.take(claim.id, holding);
        if taken.is_err() {
            back.memory.leave(place);
            let left = Address::of(&back.memory);
            drop(back);
            self.reclaimer.look_again([left]);
        }
        taken
    }

    /// Lets the purger know of a region that came back, whose purges of before are ended first: from
    /// then on they are the purger's. A region for which there are too many chunks by now stays, and is
    /// not purged.
    fn purge_again(&self, uid: u32, back: &Back) {
        let Some(region) = back.memory.purgeable() else { return };
        if back.new {
            if let Err(error) = region.end_purges() {
                log::warn!("a region that came back has chunks that cannot be pinned: {error}");
            }
        }
        if let Err(refusal) = self.purger.register(uid, region) {
            log::warn!("a region that came back is not purged: {refusal}");
        }
    }

    fn find_or_present(
        &self,
        uid: u32,
        claim: &Claim,
        mark: Identity,
        place: Place,
        taken: Taken,
        presented: &mut Presented,
    ) -> Result<Back, Refusal> {
        for _ in 0..LOOKS {
            let found = {
                let mut known = self.restored.known();
                let found = known.take(mark, claim.owner, place, taken, presented)?;
                if let Some(back) = &found {
                    // Under the same lock as in `restore_tokens`: it is counted once.
                    self.tokens.was_used(taken.token);
                    if back.new {
                        // Until its owner comes it is as if he had given it up. Before he can find it: he
                        // may give it up at once, and nothing is to be watched twice.
                        self.reclaimer.watch(back.memory.clone());
                    }
                }
                found
            };
            match found {
                Some(back) => return Ok(back),
                None if presented.former.is_none() => break,
                None => presented.charge = Some(self.admit_again(uid, claim)?),
            }
        }
        Err(Refusal::OwnerMissing(claim.owner))
    }

    /// The tokens of a buffer let in again; answers how many.
    fn restore_tokens(
        &self,
        session: &Session,
        id: i64,
        memory: &Arc<Memory>,
        tokens: &[OpenToken],
    ) -> u64 {
        let most = self.accounts.limits().session_tokens;
        let restore = |open: &OpenToken| {
            let permit = wire::permit(&open.options)?;
            let token = {
                let _known = self.restored.known();
                let public = public_half(&open.token.value)?;
                let used = u32::try_from(memory.takers_by(public)).unwrap_or(u32::MAX);
                let left = Permit { uses: permit.uses.saturating_sub(used), ..permit };
                self.tokens.restore(memory, &open.token.value, left)?
            };
            let noted = session.add_token(id, token, most, |ids| self.sweep_tokens(ids));
            if noted.is_err() {
                self.tokens.revoke(&[token]);
            }
            noted
        };
        tokens.iter().map(restore).filter(Result::is_ok).count() as u64
    }

    /// Books a buffer that is there already.
    fn admit_again(&self, uid: u32, claim: &Claim) -> Result<Charge, Refusal> {
        let descriptors = claim.descriptors();
        self.admitted_or_settled(uid, || {
            self.accounts.admit_within_limits(uid, claim.bytes, descriptors, 1)
        })
    }

    /// Strikes memory out of the books that has had an owner since.
    fn strike_out(&self, void: Option<&Arc<Memory>>) {
        let Some(memory) = void else { return };
        log::warn!("buffer {} was presented with a void receipt; it is struck out", memory.owner);
        memory.waive();
        for session in self.sessions() {
            let held = session.get(memory.owner).is_ok_and(|it| Arc::ptr_eq(&it.memory, memory));
            if held {
                // The session may have freed it, or ended, since.
                if let Ok(removed) = session.remove(&[memory.owner]) {
                    self.let_go(session.id, removed, true);
                }
            }
        }
    }
}

impl Claim {
    fn check(service: &Service, entry: &ReattachEntry) -> Result<Claim, Refusal> {
        let info = &entry.info;
        if let Some(option) = entry.options.first() {
            let name: String = option.name.chars().take(64).collect();
            return Err(Refusal::Unsupported(format!("option {name:?} is not known")));
        }
        let (tokens, limit) = (entry.tokens.len(), IAllocator::MAX_BATCH);
        if tokens > limit as usize {
            return Err(Refusal::BadArgument(format!("{tokens} tokens, at most {limit}")));
        }
        for id in [info.id, info.ownerId] {
            if !service.receipts.is_former(id) {
                let message = format!("no service before this one gave out the id {id}");
                return Err(Refusal::BadReceipt(message));
            }
        }
        let reads_only = wire::access(info.access)? == Access::READ_ONLY;
        let acquired = info.flags & BufferInfo::FLAG_ACQUIRED != 0;
        let taken = match &entry.acquiredBy {
            Some(token) if acquired => {
                Some(Taken { reads_only, token: public_half(&token.value)? })
            }
            None if !acquired && info.id == info.ownerId => None,
            _ => {
                let (id, owner) = (info.id, info.ownerId);
                let message = format!("buffer {id} of {owner} is acquired, or it is not");
                return Err(Refusal::BadReceipt(message));
            }
        };
        let request = Arc::new(service.check(&info.request)?);
        let layout = &info.layout;
        let heap = service.heaps().of_name(&layout.heap).cloned().ok_or_else(|| {
            let name: String = layout.heap.chars().take(64).collect();
            Refusal::HeapUnavailable(format!("no heap {name:?} here"))
        })?;
        let bytes = u64::try_from(layout.allocationBytes).unwrap_or(0);
        if bytes < request.bytes() || !wire::is_layout_of(layout, &request) {
            let message = format!("buffer {} with a layout that it would not have", info.id);
            return Err(Refusal::Unsupported(message));
        }
        let has = |flag: i32| info.flags & flag != 0;
        Ok(Claim {
            request,
            heap,
            id: info.id,
            owner: info.ownerId,
            taken,
            bytes,
            fallback: has(BufferInfo::FLAG_FALLBACK_HEAP),
            recycled: has(BufferInfo::FLAG_RECYCLED),
        })
    }

    /// How many descriptors the service will keep.
    fn descriptors(&self) -> u64 {
        self.heap.descriptors(self.request.face())
    }

    /// What the kernel and the receipt say: which memory it is, and the memory, unless only a part of
    /// it was presented.
    fn prove(
        &self,
        service: &Service,
        uid: u32,
        entry: &ReattachEntry,
    ) -> Result<(Identity, Option<Former>), Refusal> {
        let id = self.id;
        let duplicate = |fd: &OwnedFd| {
            fd.try_clone().map_err(|error| {
                let errno = Errno::try_from(error).unwrap_or(Errno::EIO);
                Refusal::of_kernel(KernelError::new("duplicate a descriptor", errno))
            })
        };
        let fd = entry.fd.as_ref().map(|fd| duplicate(fd.as_ref())).transpose()?;
        let fd = fd.ok_or_else(|| Refusal::NotTheMemory(format!("buffer {id}: no descriptor")))?;
        let second = entry.secondFd.as_ref().map(|fd| duplicate(fd.as_ref())).transpose()?;
        let reads_only = self.taken.is_some_and(|taken| taken.reads_only);
        let proof = Proof::of(&self.heap, self.request.face(), reads_only, fd, second, self.bytes)?;
        let told = (entry.info.device, entry.info.inode);
        if proof.told() != told {
            let message = format!("buffer {id} is {told:?}, and its descriptor {:?}", proof.told());
            return Err(Refusal::NotTheMemory(message));
        }
        self.check_receipt(&service.receipts, uid, proof.marks, entry.info.receipt)?;
        service.exporters.check(&self.heap, &proof)?;
        let Proof { marks, held, sealed, .. } = proof;
        let identity = Some(marks.0);
        let former = held.map(|held| Former {
            request: self.request.clone(),
            heap: self.heap.clone(),
            held,
            identity,
            bytes: self.bytes,
            fallback: self.fallback,
            recycled: self.recycled,
            sealed,
            owner: self.owner,
        });
        Ok((marks.0, former))
    }

    fn check_receipt(
        &self,
        receipts: &Receipts,
        uid: u32,
        marks: (Identity, Option<Identity>),
        receipt: i64,
    ) -> Result<(), Refusal> {
        let facts = Facts {
            uid,
            id: self.id,
            owner: self.owner,
            taken: self.taken,
            marks,
            bytes: self.bytes,
            heap: &self.heap.name,
            fallback: self.fallback,
            recycled: self.recycled,
            request: &self.request,
        };
        match receipts.is_for(receipt, &facts) {
            true => Ok(()),
            false => Err(Refusal::BadReceipt(format!("buffer {} of uid {uid}", self.id))),
        }
    }
}

#[cfg(test)]
mod tests;
