// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! The way to the service.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::fd::OwnedFd;
use std::thread;
use std::time::{Duration, Instant};

use berth_kernel::pipe::pipe;
use hal_binder::{ProcessState, Strong};
use vendor_berth_allocator::aidl::vendor::berth::allocator::{
    AllocatorCapabilities::AllocatorCapabilities, AllocatorStats::AllocatorStats,
    BufferDescriptor::BufferDescriptor, IAllocator::IAllocator,
};

use crate::session::{Session, SessionEvents, SessionOptions};
use crate::{BufferRequest, Error};

/// The name under which the service is registered.
pub const SERVICE_NAME: &str = "vendor.berth.allocator.IAllocator/default";

/// How long a service that is not there is left alone between two looks.
const LOOKUP_INTERVAL: Duration = Duration::from_millis(20);

/// A connection to the allocator service; may be used from several threads, and cloned.
#[derive(Debug, Clone)]
pub struct Allocator(Strong<dyn IAllocator>);

impl Allocator {
    /// Finds the service; waits until it is registered, on Android starting it if it is lazy.
    pub fn connect() -> Result<Allocator, Error> {
        // Deaths and notices arrive on Binder threads.
        ProcessState::start_thread_pool();
        Ok(Allocator(hal_binder::wait_for_interface(SERVICE_NAME)?))
    }

    /// Finds the service within a time.
    pub fn connect_within(within: Duration) -> Result<Allocator, Error> {
        ProcessState::start_thread_pool();
        let began = Instant::now();
        loop {
            let last = match hal_binder::check_interface(SERVICE_NAME) {
                Ok(service) => return Ok(Allocator(service)),
                Err(status) => hal_binder::message(&status),
            };
            if began.elapsed() >= within {
                return Err(Error::NotFound { name: SERVICE_NAME.to_owned(), within, last });
            }
            thread::sleep(LOOKUP_INTERVAL);
        }
    }

    /// What the service can do on this kernel, and its limits.
    pub fn capabilities(&self) -> Result<AllocatorCapabilities, Error> {
        Ok(self.0.getCapabilities()?)
    }

    /// Whether a request can ever succeed; the answer may be kept.
    pub fn is_supported(&self, request: &BufferRequest) -> Result<bool, Error> {
        self.is_descriptor_supported(&request.descriptor())
    }

    /// The same for a caller that has a descriptor of its own.
    pub fn is_descriptor_supported(&self, descriptor: &BufferDescriptor) -> Result<bool, Error> {
        Ok(self.0.isSupported(descriptor)?)
    }

    /// Opens a session. `name` says who the client is, for dumps and logs.
    pub fn open_session(&self, name: &str) -> Result<Session, Error> {
        self.open_session_with(name, ())
    }

    /// Opens a session, by its name or with limits of its own, whose events are told.
    pub fn open_session_with(
        &self,
        options: impl Into<SessionOptions>,
        events: impl SessionEvents,
    ) -> Result<Session, Error> {
        Session::open(&self.0, options.into(), events)
    }

    /// What the service holds.
    pub fn stats(&self) -> Result<AllocatorStats, Error> {
        Ok(self.0.getStats()?)
    }

    /// Writes the service's dump to a descriptor; `args` as `--help` lists them. For root, system
    /// and shell only. The text is there even if the service did not understand the arguments.
    pub fn dump(&self, to: OwnedFd, args: &[&str]) -> Result<(), Error> {
        hal_binder::dump(SERVICE_NAME, &self.0, to, args).map_err(|status| {
            match hal_binder::dump_refusal(&status) {
                Some(ErrorKind::PermissionDenied) => Error::MayNotDump,
                Some(ErrorKind::InvalidInput) => Error::BadDumpArguments,
                _ => status.into(),
            }
        })
    }

    /// The service's dump, as bytes.
    pub fn dump_bytes(&self, args: &[&str]) -> Result<Vec<u8>, Error> {
        let (reader, writer) = pipe()?;
        // A dump is longer than a pipe holds, and the call returns when all of it is written.
        let reading = thread::Builder::new().name("dump".to_owned()).spawn(move || {
            let mut bytes = Vec::new();
            File::from(reader).read_to_end(&mut bytes).map(|_| bytes)
        });
        let reading = reading.map_err(|error| Error::Transport(format!("no thread: {error}")))?;
        self.dump(writer, args)?;
        match reading.join() {
            Ok(Ok(bytes)) => Ok(bytes),
            Ok(Err(error)) => Err(Error::Transport(format!("the dump: {error}"))),
            Err(_) => Err(Error::Transport("the dump's reader panicked".to_owned())),
        }
    }
}
