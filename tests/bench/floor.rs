// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! The transport's floor: allocations by a service that has the interface's parcels and what its
//! promises need of the kernel, and nothing of the allocator: nobody is asked whether there may be so
//! much, and what is handed out again is not even cleared. What it costs beyond a bare call is what this
//! Binder takes to carry the answer.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use berth_kernel::dma_buf::DmaBuf;
use berth_kernel::dma_heap::DmaHeap;
use berth_kernel::identity::Identity;
use berth_kernel::memfd::Memfd;
use hal_binder::{Interface, ParcelFileDescriptor};
use rsbinder::{BinderResult, StatusCode};
use vendor_berth_allocator::aidl::vendor::berth::allocator::{
    AllocatedBuffer::AllocatedBuffer, AllocationFlag::AllocationFlag,
    BufferDescriptor::BufferDescriptor, BufferShape::BufferShape,
};

/// Under the allocator's prefix, so that the test VM's service manager lets it register.
pub const NAME: &str = "vendor.berth.allocator.bench/floor";

/// The part of the session's interface that is measured, under its name, which each call carries.
#[rsbinder::interface(descriptor = "vendor.berth.allocator.IAllocatorSession")]
pub trait IFloor {
    /// The number of a request: a buffer or a region of whole pages.
    fn know(&self, descriptor: &BufferDescriptor) -> BinderResult<i32>;
    /// As IAllocatorSession's: one more.
    fn allocate_one_again(&self, request_id: i32) -> BinderResult<AllocatedBuffer>;
    /// Gives up all.
    fn free(&self) -> BinderResult<()>;
}

/// Memory of the kernel's.
enum Memory {
    DmaBuf(DmaBuf),
    Memfd(Memfd),
}

/// What it holds, as the allocator keeps a descriptor of each buffer.
struct Held {
    memory: Memory,
    inode: u64,
    bytes: i64,
    /// Whether it may be handed out again.
    pooled: bool,
}

/// The service.
#[derive(Default)]
pub struct Floor {
    heap: Option<DmaHeap>,
    held: Mutex<Vec<Held>>,
    /// What was asked for, each once.
    requests: Mutex<Vec<Arc<BufferDescriptor>>>,
    /// What was given up last and may be handed out again.
    spare: Mutex<Option<Held>>,
}

impl Floor {
    /// A service over the heap `system`, if this kernel has it.
    pub fn new() -> Floor {
        Floor { heap: DmaHeap::open("system").ok(), ..Floor::default() }
    }

    /// Memory of the kernel's, named and with its identity.
    fn fresh(&self, descriptor: &BufferDescriptor, pooled: bool) -> BinderResult<Held> {
        let name = &descriptor.name;
        let (bytes, memory) = match (&descriptor.shape, &self.heap) {
            (BufferShape::LinearBytes(bytes), Some(heap)) => {
                let buffer = heap.allocate(bytes.unsigned_abs()).map_err(refuse)?;
                if !name.is_empty() {
                    buffer.set_name(name).map_err(refuse)?;
                }
                (*bytes, Memory::DmaBuf(buffer))
            }
            (BufferShape::RegionBytes(bytes), _) => {
                let memfd = Memfd::create(name, bytes.unsigned_abs()).map_err(refuse)?;
                (*bytes, Memory::Memfd(memfd))
            }
            _ => return Err(StatusCode::BadValue.into()),
        };
        let inode = Identity::of(memory.as_fd()).map_err(refuse)?.inode;
        Ok(Held { memory, inode, bytes, pooled })
    }
}

impl AsFd for Memory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Memory::DmaBuf(buffer) => buffer.as_fd(),
            Memory::Memfd(memfd) => memfd.as_fd(),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Interface for Floor {}

impl IFloor for Floor {
    fn know(&self, descriptor: &BufferDescriptor) -> BinderResult<i32> {
        let mut requests = lock(&self.requests);
        let known = requests.iter().position(|request| **request == *descriptor);
        let number = known.unwrap_or_else(|| {
            requests.push(Arc::new(descriptor.clone()));
            requests.len() - 1
        });
        Ok(number as i32)
    }

    fn allocate_one_again(&self, request_id: i32) -> BinderResult<AllocatedBuffer> {
        let known = lock(&self.requests).get(request_id as usize).cloned();
        let descriptor = known.ok_or(StatusCode::BadValue)?;
        let pooled = match descriptor.shape {
            BufferShape::LinearBytes(bytes)
                if descriptor.flags & AllocationFlag::NO_POOL.0 == 0 =>
            {
                Some(bytes)
            }
            _ => None,
        };
        let spare =
            pooled.and_then(|bytes| lock(&self.spare).take_if(|spare| spare.bytes == bytes));
        let held = match spare {
            Some(spare) => spare,
            None => self.fresh(&descriptor, pooled.is_some())?,
        };
        let buffer = AllocatedBuffer {
            id: 1,
            flags: 1,
            fd: Some(ParcelFileDescriptor::new(held.memory.as_fd().try_clone_to_owned()?)),
            secondFd: None,
            receipt: held.inode as i64,
        };
        lock(&self.held).push(held);
        Ok(buffer)
    }

    fn free(&self) -> BinderResult<()> {
        let mut held = std::mem::take(&mut *lock(&self.held));
        if let Some(last) = held.pop().filter(|last| last.pooled) {
            *lock(&self.spare) = Some(last);
        }
        Ok(())
    }
}

fn refuse(error: berth_kernel::KernelError) -> rsbinder::Status {
    std::io::Error::from_raw_os_error(error.errno as i32).into()
}
