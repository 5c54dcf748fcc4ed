// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Devices that work on the buffers of slots while the slots change hands: vgem has the fences.

use std::collections::hash_map::{Entry, HashMap};
use std::os::fd::AsFd;
use std::sync::Arc;

use anyhow::{Context, Result};
use berth_client::Buffer;
use berth_virtual_drivers::node::Imported;
use berth_virtual_drivers::vgem::{Fence, Vgem};

/// What the client's device is at work on, by slot.
#[derive(Default)]
pub struct Devices {
    vgem: Option<Vgem>,
    buffers: HashMap<u32, (Arc<Buffer>, Imported)>,
    works: HashMap<u32, Fence>,
}

impl Devices {
    /// Begins to work on a slot's buffer.
    pub fn begin(&mut self, slot: u32, buffer: Arc<Buffer>, writes: bool) -> Result<()> {
        if self.vgem.is_none() {
            self.vgem = Some(Vgem::open()?);
        }
        let vgem = self.vgem.as_ref().context("no vgem")?;
        let (_, imported) = match self.buffers.entry(slot) {
            Entry::Occupied(there) => there.into_mut(),
            Entry::Vacant(new) => {
                let imported = vgem.import(buffer.as_fd())?;
                new.insert((buffer, imported))
            }
        };
        self.works.insert(slot, vgem.attach(imported, writes)?);
        Ok(())
    }

    /// Ends that, having written a value if there is one: as devices do, without a bracket.
    pub fn end(&mut self, slot: u32, value: Option<u8>) -> Result<()> {
        let (buffer, _) = self.buffers.get(&slot).context("the device has no such buffer")?;
        if let Some(value) = value {
            let mapped = buffer.map()?;
            mapped.mapping().fill(0, mapped.size(), value)?;
        }
        let work = self.works.remove(&slot).context("the device is not at work")?;
        self.vgem.as_ref().context("no vgem")?.signal(work)
    }
}
