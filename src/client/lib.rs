// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! The client of the Berth allocator.
//!
//! ```no_run
//! use berth_client::{Allocator, BufferRequest, PixelFormat, Usage};
//!
//! # fn main() -> Result<(), berth_client::Error> {
//! let allocator = Allocator::connect()?;
//! let session = allocator.open_session("camera")?;
//! let usage = Usage::CPU_WRITE_OFTEN | Usage::VIDEO_ENCODER;
//! let request =
//!     BufferRequest::image(1920, 1080, PixelFormat::Ycbcr420888).usage(usage).name("preview");
//! let mut frames = session.allocate(&request, 3)?;
//! let mapped = frames[0].map()?;
//! let access = mapped.begin_write()?;
//! access.write(0, b"pixels")?;
//! access.end()?;
//! # Ok(())
//! # }
//! ```
//!
//! A [`Buffer`] owns its place in the session and its descriptor, a [`MappedBuffer`] its mapping;
//! both end with the value. A buffer that is not mapped has no bytes, and a mapped one shows them
//! only inside of a bracket of CPU access. [`ForeignMemory`] is the same for memory that came from
//! somewhere else, and a [`MappingCache`] for memory that comes again and again. A [`Plane`] shows an
//! image by rows and samples; a [`Fence`] is the end of a device's work. A [`payload`] is an argument
//! of any length for any interface.

#![forbid(unsafe_code)]

mod allocator;
mod batch;
mod brackets;
mod buffer;
mod connection;
mod error;
pub mod feed;
mod fence;
mod foreign;
mod holdings;
mod kinds;
mod mapped;
mod mapping_cache;
pub mod payload;
mod plane;
mod pool;
mod purgeable;
mod purgeable_cache;
mod range;
mod request;
mod session;
pub mod shared;

pub use allocator::{Allocator, SERVICE_NAME};
pub use berth_kernel::cpu_access::Direction;
pub use berth_kernel::identity::Identity;
pub use berth_kernel::mapping::{OutOfRange, ReadOnly, ReadWrite};
pub use berth_kernel::sync_file::{FenceInfo, FenceState, SyncFileInfo};
pub use berth_layout::{PixelFormat, Usage};
pub use berth_shared::pool::{
    Crop, Fault as PoolFault, Halt as PoolHalt, Lost as LostSlot, Metadata, Queue,
};
pub use berth_shared::purge::{Contents, Priority};
pub use buffer::Buffer;
pub use error::{Error, RefusalCode};
pub use feed::Feed;
pub use fence::Fence;
pub use foreign::{ForeignKind, ForeignMemory};
pub use mapped::{MappedBuffer, ReadAccess, WriteAccess};
pub use mapping_cache::{CacheLimits, Cached, MappingCache};
pub use plane::{Plane, PlaneView, Sample, Samples};
pub use pool::{Filled, Lease, Pool, PoolOptions};
pub use purgeable::{Pinned, PurgeableRegion, PIN_DEADLINE};
pub use purgeable_cache::{CacheFigures, CacheOptions, Cacheable, PurgeableCache};
pub use request::BufferRequest;
pub use session::{Restored, Session, SessionEvents, SessionOptions, SharePermit, Token};

pub use vendor_berth_allocator::aidl::vendor::berth::allocator::{
    Access::Access,
    AllocatorCapabilities::AllocatorCapabilities,
    AllocatorStats::AllocatorStats,
    BufferDescriptor::BufferDescriptor,
    BufferInfo::{
        BufferInfo, FLAG_ACQUIRED, FLAG_FALLBACK_HEAP, FLAG_GIVEN_UP, FLAG_SEALED, FLAG_ZEROED,
    },
    BufferLayout::BufferLayout,
    HeapClass::HeapClass,
    IAllocator::MAX_BATCH,
    ImageLayout::ImageLayout,
    PlaneComponentType::PlaneComponentType,
    PlaneLayout::PlaneLayout,
    PressureLevel::PressureLevel,
    SessionStats::SessionStats,
};
