// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Heaps that come and go while the service runs: a driver's module is loaded late, or init gives a
//! node the mode that lets us open it after we looked.

use std::io;
use std::path::Path;
use std::sync::Weak;
use std::thread;

use berth_kernel::device_nodes::NodeWatch;
use berth_kernel::{ashmem, dma_heap, ion, udmabuf, KernelError};

use crate::service::Service;

/// Where nodes of other facilities are, and where the folder of the dma-heaps appears.
const DEVICES: &str = "/dev";

/// A watch over the folders in which heaps appear; `None` if this kernel has no inotify.
#[derive(Debug)]
pub(crate) struct Nodes(Option<NodeWatch>);

impl Nodes {
    /// Starts to notice changes.
    pub(crate) fn watch() -> Nodes {
        let folders = [Path::new(DEVICES), Path::new(dma_heap::DIRECTORY)];
        let watch = NodeWatch::new(&folders);
        Nodes(watch.map_err(|error| log::warn!("new heaps will go unnoticed: {error}")).ok())
    }
}

/// Starts the thread that looks for heaps again whenever their nodes changed; it ends with the
/// service.
pub(crate) fn start(nodes: Nodes, service: Weak<Service>) -> io::Result<()> {
    let Some(mut watch) = nodes.0 else { return Ok(()) };
    thread::Builder::new().name("heap-watch".to_owned()).spawn(move || {
        if let Err(error) = follow(&mut watch, &service) {
            log::error!("new heaps will go unnoticed: {error}");
        }
    })?;
    Ok(())
}

fn follow(watch: &mut NodeWatch, service: &Weak<Service>) -> Result<(), KernelError> {
    loop {
        let changed = watch.wait()?;
        // The folder of the dma-heaps may be new, or new again.
        watch.add(Path::new(dma_heap::DIRECTORY))?;
        if !changed.iter().any(|path| concerns_heaps(path)) {
            continue;
        }
        let Some(service) = service.upgrade() else { return Ok(()) };
        service.rediscover_heaps();
    }
}

/// Whether a change of this node, or anywhere in this folder, may be that of a heap.
fn concerns_heaps(path: &Path) -> bool {
    let nodes = [DEVICES, dma_heap::DIRECTORY, ion::DEVICE, udmabuf::DEVICE];
    path.starts_with(dma_heap::DIRECTORY)
        || nodes.iter().any(|node| path == Path::new(node))
        // Android's ashmem nodes have the boot's id behind their name.
        || path.to_str().is_some_and(|path| path.starts_with(ashmem::DEVICE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_be_a_heap_makes_the_service_look() {
        for path in [
            "/dev",
            "/dev/dma_heap",
            "/dev/dma_heap/system",
            "/dev/ion",
            "/dev/udmabuf",
            "/dev/ashmem",
            "/dev/ashmem0ca2c1e5-9b9b-4ab4-a2ea-6b1d9d3f9b7c",
        ] {
            assert!(concerns_heaps(Path::new(path)), "{path}");
        }
        for path in ["/dev/null", "/dev/input", "/dev/ion2/x", "/dev/tty1"] {
            assert!(!concerns_heaps(Path::new(path)), "{path}");
        }
    }
}
