// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Devices that work on a buffer while processes hand it on: what they have not finished is in the
//! dma-buf, as fences.

use std::os::fd::{AsFd, BorrowedFd};

use anyhow::Result;
use berth_client::{Buffer, Direction, Error, Fence};

/// Work that was begun; called when it is over.
pub type Work = Box<dyn FnOnce() -> Result<()> + Send>;

/// A device.
pub trait Device: Send {
    /// Gives it the buffer of a slot, to write or to read it. From here on the dma-buf has a fence of
    /// it, until the work is called over.
    fn begin(&mut self, slot: u32, buffer: BorrowedFd<'_>, work: Direction) -> Result<Work>;
}

/// A device that takes a buffer's memory and has fences, or why there is none here.
pub fn find(buffer: &Buffer) -> Result<Result<Box<dyn Device>, String>> {
    match Fence::export(buffer.as_fd(), Direction::Write) {
        Ok(_) => Ok(of_this_machine()),
        Err(Error::NoFences) => Ok(Err("its memory is no dma-buf".to_owned())),
        Err(error @ Error::NoSyncFiles) => Ok(Err(error.to_string())),
        Err(error) => Err(error.into()),
    }
}

#[cfg(not(target_os = "android"))]
fn of_this_machine() -> Result<Box<dyn Device>, String> {
    match crate::vgem::Vgem::open() {
        Ok(vgem) => Ok(Box::new(vgem)),
        Err(error) => Err(format!("no device without hardware is here: {error:#}")),
    }
}

/// A real device's are its drivers' business.
#[cfg(target_os = "android")]
fn of_this_machine() -> Result<Box<dyn Device>, String> {
    Err("no device without hardware is here".to_owned())
}
