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

pub use berth_shared::{mutex, presence, ring};

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use berth_facilities::{missing, Facility};
    use berth_kernel::dma_heap::DmaHeap;
    use berth_shared::mutex::{self, AttachError, Condition, Mutex, Protocol};
    use berth_shared::ring::{self, Consumer, Layout, Producer, RingError};

    #[test]
    #[ignore = "needs dma-heap-system"]
    fn nothing_that_waits_is_put_into_a_dma_buf() {
        if missing(Facility::DmaHeapSystem) {
            return;
        }
        let buffer = DmaHeap::open("system").unwrap().allocate(8192).unwrap();
        let layout = Layout::of_capacity(4096).unwrap();
        assert_eq!(ring::create(buffer.as_fd(), 0, layout), Err(RingError::DmaBuf));
        assert_eq!(Producer::attach(buffer.as_fd(), 0).unwrap_err(), RingError::DmaBuf);
        assert_eq!(Consumer::attach(buffer.as_fd(), 0).unwrap_err(), RingError::DmaBuf);
        let refused = [
            mutex::create(buffer.as_fd(), 0, 64, Protocol::Plain).unwrap_err(),
            Mutex::attach(buffer.as_fd(), 0).unwrap_err(),
            Condition::create(buffer.as_fd(), 0).unwrap_err(),
            Condition::attach(buffer.as_fd(), 0).unwrap_err(),
        ];
        assert!(refused.iter().all(|one| *one == AttachError::DmaBuf), "{refused:?}");
        assert!(RingError::DmaBuf.to_string().contains("dma-buf"));
    }
}
