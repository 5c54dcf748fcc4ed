// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! A session without the client library, for what the library would never send.

use anyhow::Result;
use berth_client::SERVICE_NAME;
use hal_binder::{Interface, Strong};
use vendor_berth_allocator::aidl::vendor::berth::allocator::{
    IAllocator::IAllocator,
    IAllocatorCallback::{BnAllocatorCallback, IAllocatorCallback},
    IAllocatorSession::IAllocatorSession,
    PressureLevel::PressureLevel,
    SessionConfig::SessionConfig,
};

/// Hears everything and does nothing.
struct Deaf;

impl Interface for Deaf {}

impl IAllocatorCallback for Deaf {
    fn onSharedBufferGone(&self, _ids: &[i64]) -> hal_binder::Result<()> {
        Ok(())
    }

    fn onPressure(&self, _level: PressureLevel) -> hal_binder::Result<()> {
        Ok(())
    }
}

/// Opens one; it ends when it is dropped.
pub fn session() -> Result<Strong<dyn IAllocatorSession>> {
    let allocator: Strong<dyn IAllocator> = hal_binder::check_interface(SERVICE_NAME)?;
    let callback = hal_binder::new_binder!(BnAllocatorCallback, Deaf);
    Ok(allocator.openSession(&SessionConfig::default(), &callback)?)
}
