// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! A service and its clients, as the unit tests have them.

use std::sync::Arc;

use hal_binder::Strong;
use vendor_berth_allocator::aidl::vendor::berth::allocator::{
    BufferDescriptor::BufferDescriptor,
    BufferShape::BufferShape,
    IAllocatorCallback::{BnAllocatorCallback, IAllocatorCallback},
    PressureLevel::PressureLevel,
    SessionConfig::SessionConfig,
};

use crate::accounts::Limits;
use crate::service::Service;
use crate::session::Session;

/// A client that hears everything and does nothing.
struct Deaf;

impl hal_binder::Interface for Deaf {}

impl IAllocatorCallback for Deaf {
    fn onSharedBufferGone(&self, _ids: &[i64]) -> hal_binder::Result<()> {
        Ok(())
    }

    fn onPressure(&self, _level: PressureLevel) -> hal_binder::Result<()> {
        Ok(())
    }
}

/// The callback of such a client.
pub(crate) fn deaf_client() -> Strong<dyn IAllocatorCallback> {
    hal_binder::new_binder!(BnAllocatorCallback, Deaf)
}

/// The limits on a machine with 1 GiB of memory.
pub(crate) fn limits() -> Limits {
    Limits::of_machine(1 << 30, 4096)
}

/// A service on such a machine.
pub(crate) fn service() -> Arc<Service> {
    Service::with_limits(limits()).unwrap()
}

/// A session of a client that does nothing.
pub(crate) fn session(service: &Service, uid: u32) -> Arc<Session> {
    service.open_session(uid, 1, &SessionConfig::default(), &deaf_client()).unwrap()
}

/// A request for a region.
pub(crate) fn region(bytes: i64) -> BufferDescriptor {
    BufferDescriptor { shape: BufferShape::RegionBytes(bytes), ..Default::default() }
}
