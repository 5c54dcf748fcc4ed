// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! A client of the instance under test, with what it hears, and descriptors of what it asks for.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::mpsc::{channel, Receiver, Sender};
use std::sync::Mutex;
use std::time::Duration;

use hal_binder::{Interface, ParcelFileDescriptor, Strong};
use vendor_berth_allocator::aidl::vendor::berth::allocator::{
    AllocatedBuffer::AllocatedBuffer,
    AllocatedBuffers::AllocatedBuffers,
    Allocation::Allocation,
    AllocationFlag::AllocationFlag,
    AllocatorCapabilities::AllocatorCapabilities,
    AllocatorError::AllocatorError,
    BufferDescriptor::BufferDescriptor,
    BufferLayout::BufferLayout,
    BufferShape::BufferShape,
    BufferUsage::BufferUsage,
    HeapClass::HeapClass,
    HeapInfo::HeapInfo,
    IAllocator::IAllocator,
    IAllocatorCallback::{BnAllocatorCallback, IAllocatorCallback},
    IAllocatorSession::IAllocatorSession,
    PressureLevel::PressureLevel,
    SessionConfig::SessionConfig,
};

/// The interface whose instances are tested.
pub const INTERFACE: &str = "vendor.berth.allocator.IAllocator";

/// How long a notice, or what a session's end brings about, may take. It is waited for, not measured.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What a CPU does with most buffers of these tests.
pub const CPU: i64 = BufferUsage::CPU_READ_OFTEN.0 | BufferUsage::CPU_WRITE_OFTEN.0;

/// An instance under test.
pub struct Instance(String);

impl Instance {
    /// The instance of this name.
    pub fn new(name: &str) -> Instance {
        Instance(format!("{INTERFACE}/{name}"))
    }

    /// Its allocator.
    pub fn allocator(&self) -> Strong<dyn IAllocator> {
        hal_binder::wait_for_interface(&self.0).expect("the instance is registered")
    }

    /// What it can do.
    pub fn capabilities(&self) -> AllocatorCapabilities {
        self.allocator().getCapabilities().expect("getCapabilities")
    }

    /// A client with a session.
    pub fn client(&self) -> Client {
        self.client_with(&SessionConfig { name: "vts".to_owned(), ..Default::default() })
    }

    /// The same with limits.
    pub fn client_with(&self, config: &SessionConfig) -> Client {
        let (callback, gone) = callback();
        let allocator = self.allocator();
        let session = allocator.openSession(config, &callback).expect("openSession");
        Client { session, gone, _callback: callback }
    }
}

/// A session, and what its callback heard.
pub struct Client {
    /// The session.
    pub session: Strong<dyn IAllocatorSession>,
    gone: Receiver<Vec<i64>>,
    // The death token: the service may let go of the session when nobody holds it.
    _callback: Strong<dyn IAllocatorCallback>,
}

impl Client {
    /// One buffer.
    pub fn allocate(&self, descriptor: &BufferDescriptor) -> One {
        let Allocation { layout, buffers, .. } =
            self.session.allocate(descriptor, 1).expect("allocate");
        let mut buffers = each(buffers);
        assert_eq!(buffers.len(), 1, "as many as were asked for");
        One { layout, buffer: buffers.remove(0) }
    }

    /// Why a descriptor is refused.
    pub fn refusal(&self, descriptor: &BufferDescriptor) -> AllocatorError {
        refused(self.session.allocate(descriptor, 1))
    }

    /// Waits for the news that a shared buffer is gone.
    pub fn await_gone(&self) -> Vec<i64> {
        self.gone.recv_timeout(PATIENCE).expect("onSharedBufferGone")
    }

    /// Buffers and bytes that are charged to the session.
    pub fn charged(&self) -> (i32, i64) {
        let stats = self.session.getStats().expect("getStats");
        (stats.buffers, stats.bytes)
    }
}

/// One allocated buffer.
pub struct One {
    /// Where its bytes are.
    pub layout: BufferLayout,
    /// What is its own.
    pub buffer: AllocatedBuffer,
}

impl One {
    /// Its descriptor.
    pub fn fd(&self) -> BorrowedFd<'_> {
        fd(&self.buffer.fd)
    }
}

/// The buffers of one call, one by one.
pub fn each(buffers: AllocatedBuffers) -> Vec<AllocatedBuffer> {
    let AllocatedBuffers { firstId, flags, fds, secondFds, receipts } = buffers;
    assert_eq!((flags.len(), receipts.len()), (fds.len(), fds.len()), "of each one");
    assert!(secondFds.is_empty() || secondFds.len() == fds.len(), "of each one, or none");
    let mut seconds = secondFds.into_iter();
    let numbers = (firstId..).zip(flags).zip(receipts);
    let buffer = |(((id, flags), receipt), fd)| AllocatedBuffer {
        id,
        flags,
        fd: Some(fd),
        secondFd: seconds.next(),
        receipt,
    };
    numbers.zip(fds).map(buffer).collect()
}

/// A descriptor that the interface never leaves out.
pub fn fd(fd: &Option<ParcelFileDescriptor>) -> BorrowedFd<'_> {
    let fd: &OwnedFd = fd.as_ref().expect("a descriptor").as_ref();
    fd.as_fd()
}

/// The error that a call is refused with: service-specific, one of the interface's, with a message.
pub fn refused<T>(result: hal_binder::Result<T>) -> AllocatorError {
    let Err(status) = result else { panic!("was not refused") };
    assert_eq!(status.exception_code(), hal_binder::SERVICE_SPECIFIC, "{status:?}");
    assert!(!hal_binder::message(&status).is_empty(), "an error without a message");
    let error = AllocatorError(status.service_specific_error());
    assert!(AllocatorError::enum_values().contains(&error), "{error:?} is no AllocatorError");
    error
}

/// A client's end of a session, and what it hears.
pub fn callback() -> (Strong<dyn IAllocatorCallback>, Receiver<Vec<i64>>) {
    let (sender, gone) = channel();
    let notices = Notices { gone: Mutex::new(sender) };
    (hal_binder::new_binder!(BnAllocatorCallback, notices), gone)
}

struct Notices {
    gone: Mutex<Sender<Vec<i64>>>,
}

impl Interface for Notices {}

impl IAllocatorCallback for Notices {
    fn onSharedBufferGone(&self, ids: &[i64]) -> hal_binder::Result<()> {
        if let Ok(gone) = self.gone.lock() {
            // Nobody listens any more when the test is over.
            let _ = gone.send(ids.to_vec());
        }
        Ok(())
    }

    fn onPressure(&self, _level: PressureLevel) -> hal_binder::Result<()> {
        Ok(())
    }
}

/// A buffer of some bytes for the CPU.
pub fn linear(bytes: i64) -> BufferDescriptor {
    BufferDescriptor {
        name: "vts".to_owned(),
        shape: BufferShape::LinearBytes(bytes),
        usage: CPU,
        ..Default::default()
    }
}

/// A region of some bytes.
pub fn region(bytes: i64) -> BufferDescriptor {
    BufferDescriptor { shape: BufferShape::RegionBytes(bytes), ..linear(1) }
}

/// What a heap gives at its smallest, from that heap and no other.
pub fn of_heap(heap: &HeapInfo) -> BufferDescriptor {
    let usage = if heap.heapClass == HeapClass::SECURE { BufferUsage::PROTECTED.0 } else { CPU };
    BufferDescriptor {
        usage,
        heap: Some(heap.name.clone()),
        flags: AllocationFlag::STRICT_HEAP.0,
        ..linear(1)
    }
}
