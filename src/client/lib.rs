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
//! somewhere else.

#![forbid(unsafe_code)]

mod allocator;
mod buffer;
mod error;
mod foreign;
mod request;
mod session;
pub mod shared;

pub use allocator::{Allocator, SERVICE_NAME};
pub use berth_kernel::cpu_access::Direction;
pub use berth_kernel::identity::Identity;
pub use berth_kernel::mapping::{OutOfRange, ReadOnly, ReadWrite};
pub use berth_layout::{PixelFormat, Usage};
pub use buffer::{Buffer, MappedBuffer, ReadAccess, WriteAccess};
pub use error::{Error, RefusalCode};
pub use foreign::{ForeignKind, ForeignMemory};
pub use request::BufferRequest;
pub use session::{Session, SessionEvents, SessionOptions, SharePermit, Token};

pub use vendor_berth_allocator::aidl::vendor::berth::allocator::{
    Access::Access,
    AllocatorCapabilities::AllocatorCapabilities,
    AllocatorStats::AllocatorStats,
    BufferDescriptor::BufferDescriptor,
    BufferInfo::{BufferInfo, FLAG_ACQUIRED, FLAG_FALLBACK_HEAP, FLAG_SEALED, FLAG_ZEROED},
    BufferLayout::BufferLayout,
    HeapClass::HeapClass,
    IAllocator::MAX_BATCH,
    ImageLayout::ImageLayout,
    PlaneLayout::PlaneLayout,
    PressureLevel::PressureLevel,
    SessionStats::SessionStats,
};
