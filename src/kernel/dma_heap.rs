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
    use crate::fdinfo::DmaBufInfo;
    use crate::mapping::{Mapping, ReadOnly};
    use berth_facilities::{missing, Facility, CMA_HEAPS};
    use nix::fcntl::{fcntl, FcntlArg, FdFlag};
    use std::os::fd::AsFd;

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

    #[test]
    #[ignore = "needs dma-heap-system"]
    fn a_heap_gives_whole_zeroed_pages_that_the_kernel_knows_by_name() {
        if missing(Facility::DmaHeapSystem) {
            return;
        }
        assert!(DmaHeap::names().iter().any(|name| name == "system"));
        let buffer = DmaHeap::open("system").unwrap().allocate(5000).unwrap();
        assert_eq!(buffer.size().unwrap(), 8192);
        buffer.set_name("preview").unwrap();
        let info = DmaBufInfo::of(buffer.as_fd()).unwrap().expect("a dma-buf");
        assert_eq!((info.size, info.name.as_deref()), (8192, Some("preview")));
        // On 5.10 the heaps have one exporter.
        assert!(["system", "heap_helpers"].contains(&info.exporter.as_str()), "{info:?}");
        let flags = fcntl(buffer.as_fd().as_raw_fd(), FcntlArg::F_GETFD).unwrap();
        assert!(FdFlag::from_bits_retain(flags).contains(FdFlag::FD_CLOEXEC));
        let mapping: Mapping<ReadOnly> = Mapping::new(buffer.as_fd(), 8192).unwrap();
        let mut bytes = [0xff; 8192];
        mapping.read(0, &mut bytes).unwrap();
        assert!(bytes.iter().all(|byte| *byte == 0));
    }

    #[test]
    #[ignore = "needs dma-heap-system"]
    fn a_heap_refuses_a_size_of_nothing_and_names_it() {
        if missing(Facility::DmaHeapSystem) {
            return;
        }
        let error = DmaHeap::open("system").unwrap().allocate(0).unwrap_err();
        assert_eq!(error.errno, Errno::EINVAL);
        assert!(error.to_string().contains("0 bytes from heap system"), "{error}");
    }

    #[test]
    #[ignore = "needs cma"]
    fn the_contiguous_heap_is_a_heap_like_any_other() {
        if missing(Facility::Cma) {
            return;
        }
        let is_contiguous = |name: &String| CMA_HEAPS.contains(&name.as_str());
        let name = DmaHeap::names().into_iter().find(is_contiguous).unwrap();
        let buffer = DmaHeap::open(&name).unwrap().allocate(1 << 20).unwrap();
        assert_eq!(buffer.size().unwrap(), 1 << 20);
        assert!(DmaBufInfo::of(buffer.as_fd()).unwrap().is_some(), "{name}");
    }
}
