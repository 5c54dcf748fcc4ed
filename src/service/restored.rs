// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! What came back from the service before this one: which memory is which owner's, so that owners and
//! those who take part find each other, whichever comes first.
//!
//! Memory can have been one owner's, given up, cleared and another's. The owner whose id is higher
//! came later, and the receipts of those before him are void.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use berth_kernel::identity::Identity;

use crate::accounts::Charge;
use crate::lock::lock;
use crate::memory::{Former, Memory, Place};
use crate::receipts::Taken;
use crate::refusal::Refusal;

/// Below this nothing is swept.
const FEW: usize = 1024;

/// What came back. Nothing here keeps memory alive.
#[derive(Debug, Default)]
pub(crate) struct Restored(Mutex<Known>);

#[derive(Debug)]
pub(crate) struct Known {
    /// By the id with the owner.
    by_owner: HashMap<i64, Weak<Memory>>,
    /// The latest owner.
    latest: HashMap<Identity, i64>,
    /// How many there may be before those that are gone are looked for.
    sweep_at: usize,
}

impl Default for Known {
    fn default() -> Known {
        Known { by_owner: HashMap::new(), latest: HashMap::new(), sweep_at: FEW }
    }
}

/// Memory that is in the books again.
pub(crate) struct Back {
    pub(crate) memory: Arc<Memory>,
    /// Whether it is here only now.
    pub(crate) new: bool,
    /// The same memory in the books of one who owned it before, to be struck out.
    pub(crate) void: Option<Arc<Memory>>,
}

/// Memory that is presented, and who would pay for it. What is not needed stays here, and is dropped
/// when nothing is locked.
pub(crate) struct Presented {
    pub(crate) former: Option<Former>,
    pub(crate) charge: Option<Charge>,
    /// What a session pays that takes part.
    pub(crate) taking: Option<Charge>,
}

impl Presented {
    fn restore(&mut self, has_owner: bool) -> Option<Arc<Memory>> {
        // Not one without the other.
        let charge = self.former.is_some().then(|| self.charge.take()).flatten()?;
        Some(Memory::restore(self.former.take()?, charge, has_owner))
    }
}

impl Restored {
    /// Everything that is known, for as long as nobody else is to change it. Nothing that waits is
    /// done meanwhile.
    pub(crate) fn known(&self) -> MutexGuard<'_, Known> {
        lock(&self.0)
    }
}

impl Known {
    /// Gives memory to its owner, who pays for it.
    pub(crate) fn own(
        &mut self,
        mark: Identity,
        owner: i64,
        presented: &mut Presented,
    ) -> Result<Back, Refusal> {
        let void = self.void(mark, owner)?;
        let nothing = || Refusal::Internal(format!("nothing was presented as buffer {owner}"));
        let Some(memory) = self.find(owner) else {
            let memory = presented.restore(true).ok_or_else(nothing)?;
            self.note(mark, owner, &memory, void.as_deref());
            return Ok(Back { memory, new: true, void });
        };
        let charge = presented.charge.take().ok_or_else(nothing)?;
        match memory.adopt(charge) {
            Ok(_) => {
                self.note(mark, owner, &memory, void.as_deref());
                Ok(Back { memory, new: false, void })
            }
            Err(_) => Err(Refusal::AlreadyAttached(format!("buffer {owner}"))),
        }
    }

    /// Lets a session take part in memory again. Where nobody has presented it before, what is
    /// presented is the memory, and who pays for it until the owner comes; `None` says that it is
    /// needed.
    pub(crate) fn take(
        &mut self,
        mark: Identity,
        owner: i64,
        place: Place,
        taken: Taken,
        presented: &mut Presented,
    ) -> Result<Option<Back>, Refusal> {
        let back = match self.find(owner) {
            Some(memory) => Back { memory, new: false, void: None },
            None => {
                let void = self.void(mark, owner)?;
                let Some(memory) = presented.restore(false) else { return Ok(None) };
                self.note(mark, owner, &memory, void.as_deref());
                Back { memory, new: true, void }
            }
        };
        let nothing = || Refusal::Internal(format!("nobody pays for buffer {}", place.buffer));
        let charge = presented.taking.take().ok_or_else(nothing)?;
        back.memory.rejoin(place, taken.token, charge)?;
        Ok(Some(back))
    }

    /// Memory by the id with its owner.
    pub(crate) fn find(&self, owner: i64) -> Option<Arc<Memory>> {
        self.by_owner.get(&owner).and_then(Weak::upgrade)
    }

    /// Refuses an owner after whom there was another; of one before whom there was another it says
    /// what that one has in the books.
    fn void(&self, mark: Identity, owner: i64) -> Result<Option<Arc<Memory>>, Refusal> {
        let Some(&latest) = self.latest.get(&mark) else { return Ok(None) };
        match self.find(latest) {
            Some(_) if latest > owner => Err(Refusal::AlreadyAttached(format!(
                "the memory of buffer {owner} became buffer {latest}"
            ))),
            void if latest < owner => Ok(void),
            _ => Ok(None),
        }
    }

    /// Notes whose memory it is now, and no longer.
    fn note(&mut self, mark: Identity, owner: i64, memory: &Arc<Memory>, void: Option<&Memory>) {
        if let Some(void) = void {
            self.by_owner.remove(&void.owner);
        }
        if self.by_owner.len() >= self.sweep_at {
            self.by_owner.retain(|_, memory| memory.strong_count() > 0);
            let known = &self.by_owner;
            self.latest.retain(|_, owner| known.contains_key(owner));
            self.sweep_at = self.by_owner.len().saturating_mul(2).max(FEW);
        }
        self.by_owner.insert(owner, Arc::downgrade(memory));
        self.latest.insert(mark, owner);
    }
}
