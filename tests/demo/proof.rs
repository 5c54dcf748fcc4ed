// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! What the kernel says of a buffer, held against what the allocator said.

use std::fs;
use std::os::fd::{AsFd, AsRawFd};

use anyhow::{ensure, Context, Result};
use berth_client::Buffer;
use berth_kernel::dma_buf::kernel_name;
use berth_kernel::fdinfo::DmaBufInfo;

/// Checks a buffer against `/proc`, and says in words what was found there.
pub fn of(buffer: &Buffer) -> Result<String> {
    let info = buffer.info();
    let identity = buffer.identity()?;
    ensure!(
        (identity.device as i64, identity.inode as i64) == (info.device, info.inode),
        "buffer {}: fstat says {identity:?}, the allocator ({}, {})",
        info.id,
        info.device,
        info.inode
    );
    let name = &info.request.name;
    let fd = buffer.as_fd();
    let found = DmaBufInfo::of(fd)?;
    if !info.layout.dmaBuf {
        ensure!(found.is_none(), "buffer {} is a dma-buf that says it is none", info.id);
        let link = fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()))?;
        let link = link.to_string_lossy();
        ensure!(link.starts_with(&format!("/memfd:{name}")), "{name:?} is linked to {link:?}");
        return Ok(format!("/proc/self/fd links to {link}, inode {}", info.inode));
    }
    let found = found.with_context(|| format!("fdinfo of {name:?} is not that of a dma-buf"))?;
    let (size, allocated) = (found.size, info.layout.allocationBytes.unsigned_abs());
    ensure!(size == allocated, "{name:?}: fdinfo says {size} bytes, the allocator {allocated}");
    let (exporter, heap) = (&found.exporter, &info.layout.heap);
    // Kernels before 5.12 name the code that exports, not the heap.
    ensure!(
        exporter == heap || exporter == "heap_helpers",
        "{name:?}: exported by {exporter}, said to be of heap {heap}"
    );
    let kernel_says = found.name.unwrap_or_default();
    ensure!(kernel_says == kernel_name(name), "{name:?} is called {kernel_says:?} by the kernel");
    Ok(format!(
        "dma-buf {kernel_says:?} of {exporter}, {size} bytes, inode {}, {} holders",
        info.inode, found.count
    ))
}
