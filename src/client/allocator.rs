// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! The way to the service.

use std::fmt;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use berth_kernel::owner_process::OwnerProcess;
use berth_kernel::pipe::pipe;
use hal_binder::{ProcessState, Status, Strong};
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

/// How long a service that died is waited for by whoever asks something of it.
const AGAIN_WITHIN: Duration = Duration::from_secs(10);

/// A connection to the allocator service; may be used from several threads, and cloned.
///
/// If the service dies, whatever is asked next is asked of the one that follows, if that is there
/// within ten seconds. A process that is forked from this one is refused everything
/// ([`Error::Forked`]).
#[derive(Debug, Clone)]
pub struct Allocator(Arc<Service>);

struct Service {
    /// Shared: a forked child leaves the transport's references alone.
    binder: Mutex<Arc<Strong<dyn IAllocator>>>,
    owner: OwnerProcess,
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").finish_non_exhaustive()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if !self.owner.is_this() {
            let binder = self.binder.get_mut().unwrap_or_else(PoisonError::into_inner);
            // What a child lets go of, its parent has lost.
            std::mem::forget(binder.clone());
        }
    }
}

impl Allocator {
    /// Finds the service; waits until it is registered, on Android starting it if it is lazy.
    pub fn connect() -> Result<Allocator, Error> {
        // Deaths and notices arrive on Binder threads.
        ProcessState::start_thread_pool();
        Allocator::of(hal_binder::wait_for_interface(SERVICE_NAME)?)
    }

    /// Finds the service within a time.
    pub fn connect_within(within: Duration) -> Result<Allocator, Error> {
        ProcessState::start_thread_pool();
        look_up(within, |_| true).and_then(Allocator::of)
    }

    fn of(service: Strong<dyn IAllocator>) -> Result<Allocator, Error> {
        let (binder, owner) = (Mutex::new(Arc::new(service)), OwnerProcess::this()?);
        Ok(Allocator(Arc::new(Service { binder, owner })))
    }

    fn binder(&self) -> MutexGuard<'_, Arc<Strong<dyn IAllocator>>> {
        self.0.binder.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the service, or the one that follows it. Nothing that is asked here leaves anything behind
    /// with a service that is dead.
    fn ask<T>(
        &self,
        ask: impl Fn(&Strong<dyn IAllocator>) -> Result<T, Status>,
    ) -> Result<T, Error> {
        if !self.0.owner.is_this() {
            return Err(Error::Forked);
        }
        let service = self.binder().clone();
        match ask(&service) {
            Err(status) if hal_binder::is_dead(&status) => {}
            answer => return Ok(answer?),
        }
        // The old name may be found for a moment yet.
        let next = Arc::new(look_up(AGAIN_WITHIN, |service| service.getStats().is_ok())?);
        let before = std::mem::replace(&mut *self.binder(), next.clone());
        // Not with the lock: what is let go of is told to the transport.
        drop(before);
        Ok(ask(&next)?)
    }

    /// What the service can do on this kernel, and its limits.
    pub fn capabilities(&self) -> Result<AllocatorCapabilities, Error> {
        self.ask(|service| service.getCapabilities())
    }

    /// Whether a request can ever succeed; the answer may be kept.
    pub fn is_supported(&self, request: &BufferRequest) -> Result<bool, Error> {
        self.is_descriptor_supported(&request.descriptor())
    }

    /// The same for a caller that has a descriptor of its own.
    pub fn is_descriptor_supported(&self, descriptor: &BufferDescriptor) -> Result<bool, Error> {
        self.ask(|service| service.isSupported(descriptor))
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
        let (options, events) = (options.into(), Arc::new(events));
        let owner = self.0.owner;
        self.ask(|service| Session::open(owner, service, options.clone(), events.clone()))
    }

    /// What the service holds.
    pub fn stats(&self) -> Result<AllocatorStats, Error> {
        self.ask(|service| service.getStats())
    }

    /// Writes the service's dump to a descriptor; `args` as `--help` lists them. For root, system
    /// and shell only. The text is there even if the service did not understand the arguments.
    pub fn dump(&self, to: OwnedFd, args: &[&str]) -> Result<(), Error> {
        let service = self.ask(|service| service.getStats().map(|_| service.clone()))?;
        hal_binder::dump(SERVICE_NAME, &service, to, args).map_err(|status| {
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

/// Looks for the service within a time, until one suits.
fn look_up(
    within: Duration,
    suits: impl Fn(&Strong<dyn IAllocator>) -> bool,
) -> Result<Strong<dyn IAllocator>, Error> {
    let began = Instant::now();
    loop {
        let last = match hal_binder::check_interface(SERVICE_NAME) {
            Ok(service) if suits(&service) => return Ok(service),
            Ok(_) => "it does not answer".to_owned(),
            Err(status) => hal_binder::message(&status),
        };
        if began.elapsed() >= within {
            return Err(Error::NotFound { name: SERVICE_NAME.to_owned(), within, last });
        }
        thread::sleep(LOOKUP_INTERVAL);
    }
}
