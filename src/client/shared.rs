// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Structures that processes share in a region, without a call to the allocator.
//!
//! One process makes a structure in a region of its own and gives the others a descriptor or a
//! token; each attaches what it needs.
//!
//! ```no_run
//! use std::os::fd::AsFd;
//! use std::time::Duration;
//!
//! use berth_client::shared::ring::{self, Consumer, Layout, Producer};
//! use berth_client::{Allocator, BufferRequest};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let session = Allocator::connect()?.open_session("player")?;
//! let layout = Layout::of_capacity(64 << 10)?;
//! let region = session.allocate_one(&BufferRequest::region(layout.bytes() as u64))?;
//! ring::create(region.as_fd(), 0, layout)?;
//! let mut producer = Producer::attach(region.as_fd(), 0)?;
//! producer.write(b"a record", Duration::from_secs(1))?;
//!
//! // In another process, which has the region by `Session::acquire`:
//! let mut consumer = Consumer::attach(region.as_fd(), 0)?;
//! let mut bytes = [0; 1024];
//! let length = consumer.read(&mut bytes, Duration::from_secs(1))?;
//! assert_eq!(&bytes[..length], b"a record");
//! # Ok(())
//! # }
//! ```

pub use berth_shared::{mutex, presence, ring, UnsuitableMemory};

#[cfg(test)]
mod tests {
    use std::ffi::CString;
    use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

    use berth_facilities::{missing, Facility};
    use berth_kernel::dma_heap::DmaHeap;
    use berth_shared::mutex::{self, AttachError, Condition, Mutex, Protocol};
    use berth_shared::presence::{Presence, PresenceError};
    use berth_shared::ring::{self, Consumer, Layout, Producer, RingError};
    use berth_shared::UnsuitableMemory;
    use nix::fcntl::{fcntl, FcntlArg, SealFlag};
    use nix::sys::memfd::{memfd_create, MemFdCreateFlag};
    use nix::unistd::ftruncate;

    fn nothing_is_put_into(memory: BorrowedFd<'_>, unsuitable: UnsuitableMemory) {
        let ring = Err(RingError::Memory(unsuitable.clone()));
        assert_eq!(ring::create(memory, 0, Layout::of_capacity(4096).unwrap()), ring);
        assert_eq!(Producer::attach(memory, 0).map(drop), ring);
        assert_eq!(Consumer::attach(memory, 0).map(drop), ring);
        let lock = Err(AttachError::Memory(unsuitable.clone()));
        assert_eq!(mutex::create(memory, 0, 64, Protocol::Plain), lock);
        assert_eq!(Mutex::attach(memory, 0).map(drop), lock);
        assert_eq!(Condition::create(memory, 0), lock);
        assert_eq!(Condition::attach(memory, 0).map(drop), lock);
        let presence = Err(PresenceError::Memory(unsuitable));
        assert_eq!(Presence::take(memory, 0).map(drop), presence);
        assert_eq!(Presence::succeed(memory, 0).map(drop), presence);
    }

    #[test]
    #[ignore = "needs dma-heap-system"]
    fn nothing_that_waits_is_put_into_a_dma_buf() {
        if missing(Facility::DmaHeapSystem) {
            return;
        }
        let buffer = DmaHeap::open("system").unwrap().allocate(8192).unwrap();
        nothing_is_put_into(buffer.as_fd(), UnsuitableMemory::DmaBuf);
        assert!(UnsuitableMemory::DmaBuf.to_string().contains("dma-buf"));
    }

    #[test]
    fn nothing_is_put_into_what_a_peer_can_cut_off() {
        let open = memfd(MemFdCreateFlag::MFD_ALLOW_SEALING, 8192);
        nothing_is_put_into(open.as_fd(), UnsuitableMemory::CanShrink);
        let unsealable = memfd(MemFdCreateFlag::empty(), 8192);
        nothing_is_put_into(unsealable.as_fd(), UnsuitableMemory::CanShrink);
    }

    #[test]
    #[ignore = "needs huge-pages"]
    fn nothing_is_put_into_huge_pages() {
        if missing(Facility::HugePages) {
            return;
        }
        // `MFD_HUGETLB`, which nix 0.27 does not have.
        let huge = MemFdCreateFlag::from_bits_retain(0x4) | MemFdCreateFlag::MFD_ALLOW_SEALING;
        let huge = memfd(huge, 1 << 30);
        fcntl(huge.as_raw_fd(), FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_SHRINK)).unwrap();
        nothing_is_put_into(huge.as_fd(), UnsuitableMemory::HugePages);
    }

    fn memfd(flags: MemFdCreateFlag, bytes: i64) -> OwnedFd {
        let name = CString::new("peer").unwrap();
        let memfd = memfd_create(&name, flags | MemFdCreateFlag::MFD_CLOEXEC).unwrap();
        ftruncate(&memfd, bytes).unwrap();
        memfd
    }
}
