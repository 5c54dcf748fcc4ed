// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! A service and its clients, as the unit tests have them.

use std::sync::{Arc, Mutex};

use hal_binder::Strong;
use vendor_berth_allocator::aidl::vendor::berth::allocator::{
    BufferDescriptor::BufferDescriptor,
    BufferShape::BufferShape,
    IAllocatorCallback::{BnAllocatorCallback, IAllocatorCallback},
    PressureLevel::PressureLevel,
    SessionConfig::SessionConfig,
};

use crate::accounts::Limits;
use crate::lock::lock;
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

/// Warnings of all tests of this process.
#[derive(Debug)]
pub(crate) struct Logged(Mutex<Vec<String>>);

static LOGGED: Logged = Logged(Mutex::new(Vec::new()));

/// What is logged from here on; tests run at once, so each asks for what only it can have logged.
pub(crate) fn logged() -> &'static Logged {
    // Another test may have come first.
    if log::set_logger(&LOGGED).is_ok() {
        log::set_max_level(log::LevelFilter::Warn);
    }
    &LOGGED
}

impl Logged {
    /// The lines that have a part.
    pub(crate) fn with(&self, part: &str) -> Vec<String> {
        lock(&self.0).iter().filter(|line| line.contains(part)).cloned().collect()
    }
}

impl log::Log for Logged {
    fn enabled(&self, metadata: &log::Metadata) -> bool {
        metadata.level() <= log::Level::Warn
    }

    fn log(&self, record: &log::Record) {
        if self.enabled(record.metadata()) {
            lock(&self.0).push(record.args().to_string());
        }
    }

    fn flush(&self) {}
}
