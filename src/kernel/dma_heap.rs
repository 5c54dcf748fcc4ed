// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! dma-heaps: character devices under `/dev/dma_heap` that allocate dma-bufs (Linux 5.6 and later,
//! `include/uapi/linux/dma-heap.h`).

use std::fs::{self, File};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;

use crate::dma_buf::DmaBuf;
use crate::KernelError;

/// Where the heaps are.
pub const DIRECTORY: &str = "/dev/dma_heap";

mod ioctl {
    /// `struct dma_heap_allocation_data`.
    #[repr(C)]
    pub struct AllocationData {
        pub len: u64,
        pub fd: u32,
        pub fd_flags: u32,
        pub heap_flags: u64,
    }

    nix::ioctl_readwrite! {
        /// `DMA_HEAP_IOCTL_ALLOC`.
        allocate, b'H', 0x0, AllocationData
    }
}

/// An open dma-heap.
#[derive(Debug)]
pub struct DmaHeap {
    name: String,
    device: OwnedFd,
}

impl DmaHeap {
    /// The names of the heaps of this kernel, sorted; empty where there is no dma-heap.
    pub fn names() -> Vec<String> {
        let Ok(entries) = fs::read_dir(DIRECTORY) else { return Vec::new() };
        let mut names: Vec<String> =
            entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        names
    }

    /// Opens the heap of this name.
    pub fn open(name: &str) -> Result<DmaHeap, KernelError> {
        let operation = || format!("open {DIRECTORY}/{name}");
        if name.is_empty() || name.contains('/') || name.starts_with('.') {
            return Err(KernelError::new(operation(), Errno::EINVAL));
        }
        // Read access is all that the ioctl asks for, and all that Android's node grants.
        let path = Path::new(DIRECTORY).join(name);
        let device = File::open(path).map_err(KernelError::io(operation))?;
        Ok(DmaHeap { name: name.to_owned(), device: device.into() })
    }

    /// The heap's name under [`DIRECTORY`].
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Allocates a dma-buf of `bytes`, which the kernel rounds up to whole pages and zeroes.
    ///
    /// The kernel compares the size with nothing: a size beyond the memory of the machine ends in
    /// the out-of-memory killer or a panic. Who calls this has checked it.
    pub fn allocate(&self, bytes: u64) -> Result<DmaBuf, KernelError> {
        let mut data = ioctl::AllocationData {
            len: bytes,
            fd: 0,
            // Access mode and close-on-exec of the new descriptor.
            fd_flags: (OFlag::O_RDWR | OFlag::O_CLOEXEC).bits() as u32,
            heap_flags: 0,
        };
        // SAFETY: `device` is open for the duration of the call, and `data` is a live, exclusive
        // `struct dma_heap_allocation_data`, which is what this ioctl reads and writes.
        unsafe { ioctl::allocate(self.device.as_raw_fd(), &mut data) }.map_err(
            KernelError::context(|| format!("allocate {bytes} bytes from heap {}", self.name)),
        )?;
        // SAFETY: the ioctl succeeded, so `data.fd` is a new descriptor that nobody else owns.
        let fd = unsafe { OwnedFd::from_raw_fd(data.fd as i32) };
        Ok(DmaBuf::of_heap(fd))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heap_name_cannot_leave_the_directory() {
        for name in ["", ".", "..", "../zero", "a/b"] {
            assert_eq!(DmaHeap::open(name).unwrap_err().errno, Errno::EINVAL, "{name:?}");
        }
    }

    #[test]
    fn a_heap_that_is_not_there_is_named_in_the_error() {
        let error = DmaHeap::open("no-such-heap").unwrap_err();
        assert_eq!(error.errno, Errno::ENOENT);
        assert!(error.to_string().contains("/dev/dma_heap/no-such-heap"), "{error}");
    }
}
