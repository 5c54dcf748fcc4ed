// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! vgem, a driver without hardware, in a device's place: it takes the buffers and has real fences.
//! What such a device would write is written by its process, when the device would.

use std::collections::hash_map::{Entry, HashMap};
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use anyhow::{Context, Result};
use berth_client::Direction;
use berth_virtual_drivers::node::Imported;
use berth_virtual_drivers::vgem;

use crate::device::{Device, Work};

/// The driver, and the buffers that it took.
pub struct Vgem {
    driver: Arc<vgem::Vgem>,
    buffers: HashMap<u32, Imported>,
}

impl Vgem {
    /// Opens it.
    pub fn open() -> Result<Vgem> {
        Ok(Vgem { driver: Arc::new(vgem::Vgem::open()?), buffers: HashMap::new() })
    }
}

impl Device for Vgem {
    fn begin(&mut self, slot: u32, buffer: BorrowedFd<'_>, work: Direction) -> Result<Work> {
        let imported = match self.buffers.entry(slot) {
            Entry::Occupied(there) => there.into_mut(),
            Entry::Vacant(new) => new.insert(self.driver.import(buffer)?),
        };
        let fence = self.driver.attach(imported, work.writes())?;
        let driver = self.driver.clone();
        Ok(Box::new(move || driver.signal(fence).context("a fence that was over by itself")))
    }
}
