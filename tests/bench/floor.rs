// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! The transport's floor: allocations by a service that has the interface's parcels and what its
//! promises need of the kernel, and nothing of the allocator. What it costs beyond a bare call is what
//! this Binder takes to carry the answer.

use std::os::fd::AsFd;
use std::sync::{Mutex, PoisonError};

use berth_kernel::dma_buf::DmaBuf;
use berth_kernel::dma_heap::DmaHeap;
use berth_kernel::identity::Identity;
use berth_kernel::memfd::Memfd;
use hal_binder::{Interface, ParcelFileDescriptor};
use rsbinder::{BinderResult, StatusCode};
use vendor_berth_allocator::aidl::vendor::berth::allocator::{
    AllocatedBuffer::AllocatedBuffer, Allocation::Allocation, BufferDescriptor::BufferDescriptor,
    BufferLayout::BufferLayout, BufferShape::BufferShape,
};

/// Under the allocator's prefix, so that the test VM's service manager lets it register.
pub const NAME: &str = "vendor.berth.allocator.bench/floor";

/// The part of the session's interface that is measured, under its name, which each call carries.
#[rsbinder::interface(descriptor = "vendor.berth.allocator.IAllocatorSession")]
pub trait IFloor {
    /// As IAllocatorSession's: one buffer or region of whole pages.
    fn allocate(&self, descriptor: &BufferDescriptor, count: i32) -> BinderResult<Allocation>;
    /// Gives up all.
    fn free(&self) -> BinderResult<()>;
}

/// What it holds, as the allocator keeps a descriptor of each buffer.
enum Held {
    DmaBuf(DmaBuf),
    Memfd(Memfd),
}

/// The service.
#[derive(Default)]
pub struct Floor {
    heap: Option<DmaHeap>,
    held: Mutex<Vec<Held>>,
}

impl Floor {
    /// A service over the heap `system`, if this kernel has it.
    pub fn new() -> Floor {
        Floor { heap: DmaHeap::open("system").ok(), held: Mutex::default() }
    }
}

impl Interface for Floor {}

impl IFloor for Floor {
    fn allocate(&self, descriptor: &BufferDescriptor, _count: i32) -> BinderResult<Allocation> {
        let name = &descriptor.name;
        let (bytes, held) = match (&descriptor.shape, &self.heap) {
            (BufferShape::LinearBytes(bytes), Some(heap)) => {
                let buffer = heap.allocate(bytes.unsigned_abs()).map_err(refuse)?;
                buffer.set_name(name).map_err(refuse)?;
                (*bytes, Held::DmaBuf(buffer))
            }
            (BufferShape::RegionBytes(bytes), _) => {
                let memfd = Memfd::create(name, bytes.unsigned_abs()).map_err(refuse)?;
                (*bytes, Held::Memfd(memfd))
            }
            _ => return Err(StatusCode::BadValue.into()),
        };
        let (heap, fd) = match &held {
            Held::DmaBuf(buffer) => ("system", buffer.as_fd()),
            Held::Memfd(memfd) => ("memfd", memfd.as_fd()),
        };
        let identity = Identity::of(fd).map_err(refuse)?;
        let layout = BufferLayout {
            sizeBytes: bytes,
            allocationBytes: bytes,
            heap: heap.to_owned(),
            dmaBuf: heap == "system",
            image: None,
        };
        let buffer = AllocatedBuffer {
            id: 1,
            flags: 1,
            fd: Some(ParcelFileDescriptor::new(fd.try_clone_to_owned()?)),
            secondFd: None,
            receipt: identity.inode as i64,
        };
        self.held.lock().unwrap_or_else(PoisonError::into_inner).push(held);
        Ok(Allocation { layout, buffers: vec![buffer] })
    }

    fn free(&self) -> BinderResult<()> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).clear();
        Ok(())
    }
}

fn refuse(error: berth_kernel::KernelError) -> rsbinder::Status {
    std::io::Error::from_raw_os_error(error.errno as i32).into()
}
