// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! A lane's kernel in the cache, ready to boot: Debian's own, or one of our configuration.

use std::path::PathBuf;

use anyhow::Result;

use crate::cache::Cache;
use crate::lane::Kernel;

mod config;
mod own;
mod stock;

/// A kernel in the cache.
pub struct Built {
    /// The cache's entry: `vmlinux`, `modules/*.ko` and `PACKAGES`.
    pub folder: PathBuf,
}

impl Built {
    /// What QEMU boots.
    pub fn vmlinux(&self) -> PathBuf {
        self.folder.join("vmlinux")
    }
}

/// The kernel, from the cache or made.
pub fn ensure(cache: &Cache, kernel: &Kernel) -> Result<Built> {
    let folder = match kernel {
        Kernel::Stock(stock) => stock::ensure(cache, stock)?,
        Kernel::Own(own) => own::ensure(cache, own)?,
    };
    Ok(Built { folder })
}
