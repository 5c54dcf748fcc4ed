// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! vgem: a driver without hardware (`drivers/gpu/drm/vgem`). It takes buffers as a device would, and
//! a fence of its own says that it is at work on one.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use anyhow::{Context, Result};

use crate::ioctl;
use crate::node::{Imported, Node};

/// The open driver.
#[derive(Debug)]
pub struct Vgem(Arc<Node>);

impl Vgem {
    /// Opens vgem's render node.
    pub fn open() -> Result<Vgem> {
        Ok(Vgem(Node::open("vgem", "renderD")?))
    }

    /// Imports a dma-buf.
    pub fn import(&self, dma_buf: BorrowedFd<'_>) -> Result<Imported> {
        self.0.import(dma_buf)
    }

    /// Goes to work on a buffer of ours, writing or only reading it. An error whose cause is `EBUSY`
    /// if others are at work on it. After ten seconds vgem is done, signalled or not.
    pub fn attach(&self, buffer: &Imported, writes: bool) -> Result<Fence> {
        let number = ioctl::vgem_attach(self.0.as_fd(), buffer.handle().into(), writes);
        Ok(Fence(number.context("attach a fence of vgem")?))
    }

    /// Is done.
    pub fn signal(&self, fence: Fence) -> Result<()> {
        ioctl::vgem_signal(self.0.as_fd(), fence.0).context("signal a fence of vgem")
    }
}

/// Work that vgem has not finished.
#[derive(Debug)]
pub struct Fence(u32);
