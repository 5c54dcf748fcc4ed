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
    /// The modules that the guest inserts, in this order.
    pub modules: Vec<&'static str>,
}

impl Built {
    /// What QEMU boots.
    pub fn vmlinux(&self) -> PathBuf {
        self.folder.join("vmlinux")
    }
}

/// The kernel, from the cache or made.
pub fn ensure(cache: &Cache, kernel: &Kernel) -> Result<Built> {
    Ok(match kernel {
        Kernel::Stock(stock) => Built {
            folder: stock::ensure(cache, stock)?,
            modules: stock.modules.iter().copied().map(stock::module_name).collect(),
        },
        Kernel::Own(own) => Built { folder: own::ensure(cache, own)?, modules: Vec::new() },
    })
}
