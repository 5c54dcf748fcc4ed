// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! A node of the kernel's direct rendering manager, and the buffers that its driver holds.

use std::fs::{self, File, OpenOptions};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use anyhow::{bail, Context, Result};
use drm::buffer::Handle;
use drm::control::Device as _;
use drm::Device as _;

/// Where the nodes are.
pub const DIRECTORY: &str = "/dev/dri";

/// An open node.
#[derive(Debug)]
pub struct Node(File);

impl AsFd for Node {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl drm::Device for Node {}
impl drm::control::Device for Node {}

impl Node {
    /// Opens the first node of a driver whose file name begins with `kind`: `renderD` for buffers,
    /// `card` for displays.
    pub fn open(driver: &str, kind: &str) -> Result<Arc<Node>> {
        let mut names: Vec<String> = Vec::new();
        for entry in fs::read_dir(DIRECTORY).with_context(|| format!("list {DIRECTORY}"))? {
            names.extend(entry?.file_name().into_string());
        }
        names.sort();
        let mut others = String::new();
        for name in names.iter().filter(|name| name.starts_with(kind)) {
            let path = format!("{DIRECTORY}/{name}");
            let file = OpenOptions::new().read(true).write(true).open(&path);
            let node = Node(file.with_context(|| format!("open {path}"))?);
            let found = node.get_driver().with_context(|| format!("ask {path} for its driver"))?;
            if found.name() == driver {
                return Ok(Arc::new(node));
            }
            others += &format!(" {name} is of {:?};", found.name());
        }
        bail!("no {kind} in {DIRECTORY} is of {driver:?};{others}")
    }

    /// Imports a dma-buf by PRIME. A node knows a dma-buf once only: do not import it again while
    /// the first import lives.
    pub fn import(self: &Arc<Node>, dma_buf: BorrowedFd<'_>) -> Result<Imported> {
        let handle = self.prime_fd_to_buffer(dma_buf).context("import a dma-buf by PRIME")?;
        Ok(Imported { node: self.clone(), handle })
    }
}

/// A dma-buf that a driver holds; it lets go when this is dropped.
#[derive(Debug)]
pub struct Imported {
    node: Arc<Node>,
    handle: Handle,
}

impl Imported {
    /// The GEM handle, which is the node's.
    pub fn handle(&self) -> Handle {
        self.handle
    }

    /// The node.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// A descriptor of the buffer, given out by this driver.
    pub fn export(&self) -> Result<OwnedFd> {
        let flags = drm::CLOEXEC | drm::RDWR;
        self.node.buffer_to_prime_fd(self.handle, flags).context("export a buffer by PRIME")
    }
}

impl Drop for Imported {
    fn drop(&mut self) {
        // The node's end closes what is left; there is nobody to tell here.
        let _ = self.node.close_buffer(self.handle);
    }
}
