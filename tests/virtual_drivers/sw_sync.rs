// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! sw_sync: fences that are signalled by hand (`drivers/dma-buf/sw_sync.c`; debugfs, so root only).

use std::fs::{File, OpenOptions};
use std::os::fd::AsFd;

use anyhow::{Context, Result};
use berth_kernel::sync_file::SyncFile;

use crate::ioctl;

/// Where timelines come from.
pub const PATH: &str = "/sys/kernel/debug/sync/sw_sync";

/// A timeline at 0, named as the process that opened it. When it is dropped, its pending fences fail
/// with `ENOENT`.
#[derive(Debug)]
pub struct Timeline(File);

impl Timeline {
    /// A new one.
    pub fn open() -> Result<Timeline> {
        let file = OpenOptions::new().read(true).write(true).open(PATH);
        Ok(Timeline(file.with_context(|| format!("open {PATH}"))?))
    }

    /// A fence that is signalled when the timeline reaches `value`.
    pub fn fence(&self, value: u32) -> Result<SyncFile> {
        let file =
            ioctl::sw_sync_fence(self.0.as_fd(), value).context("make a fence of sw_sync")?;
        Ok(SyncFile::try_from(file)?)
    }

    /// Moves on.
    pub fn advance(&self, by: u32) -> Result<()> {
        ioctl::sw_sync_advance(self.0.as_fd(), by).context("advance a timeline of sw_sync")
    }
}
