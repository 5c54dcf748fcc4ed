// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! The one door to Binder, as Soong builds it: AOSP's `binder` crate, and what Berth needs beyond
//! its names. `linux.rs` gives the same names over rsbinder; the build file chooses.
//!
//! Needs the `binder` crate of Android 14 QPR3 or later (`Interface::dump` with a `Write`).

use std::os::fd::OwnedFd;

use binder::binder_impl::{IBinderInternal, Remotable};
use binder::{DeathRecipient, FromIBinder, IBinder, SpIBinder};

pub use binder::{
    BinderFeatures, ExceptionCode, Interface, LazyServiceGuard, ParcelFileDescriptor, ProcessState,
    Result, Status, StatusCode, Strong, ThreadState,
};

/// Wraps a service in its generated `Bn` type.
#[macro_export]
macro_rules! new_binder {
    ($native:ident, $service:expr) => {
        $native::new_binder($service, $crate::BinderFeatures::default())
    };
}

/// Inside `impl Interface`: sends `dump` to a method `(&self, &mut dyn Write, &[&str]) -> io::Result<()>`.
#[macro_export]
macro_rules! forward_dump {
    ($method:ident) => {
        fn dump(
            &self,
            writer: &mut dyn std::io::Write,
            args: &[&std::ffi::CStr],
        ) -> std::result::Result<(), $crate::StatusCode> {
            let args: Vec<_> = args.iter().map(|arg| arg.to_string_lossy()).collect();
            let args: Vec<&str> = args.iter().map(|arg| arg.as_ref()).collect();
            self.$method(writer, &args).map_err(|error| match error.kind() {
                std::io::ErrorKind::PermissionDenied => $crate::StatusCode::PERMISSION_DENIED,
                std::io::ErrorKind::InvalidInput => $crate::StatusCode::BAD_VALUE,
                _ => $crate::StatusCode::FAILED_TRANSACTION,
            })
        }
    };
}

/// Registers a service with ServiceManager. `N` is the service's generated `Bn` type.
pub fn add_service<N: Remotable, T: FromIBinder + ?Sized>(
    name: &str,
    service: &Strong<T>,
) -> Result<()> {
    Ok(binder::add_service(name, service.as_binder())?)
}

/// The same for a lazy service: the process ends when nobody has it any more and there is no
/// [`LazyServiceGuard`], and whoever asks for it starts it again.
pub fn add_lazy_service<N: Remotable, T: FromIBinder + ?Sized>(
    name: &str,
    service: &Strong<T>,
) -> Result<()> {
    Ok(binder::register_lazy_service(name, service.as_binder())?)
}

/// A service that is registered, at once; an error if there is none.
pub fn check_interface<T: FromIBinder + ?Sized>(name: &str) -> Result<Strong<T>> {
    // `binder::check_interface` came with Android 15; this one asks for up to five seconds.
    #[allow(deprecated)]
    Ok(binder::get_interface(name)?)
}

/// A service, as soon as it is registered; waits for ever.
pub fn wait_for_interface<T: FromIBinder + ?Sized>(name: &str) -> Result<Strong<T>> {
    Ok(binder::wait_for_interface(name)?)
}

/// The instances of an interface that the device declares: of `a.b.IC/default` the word `default`.
pub fn instances(interface: &str) -> Result<Vec<String>> {
    Ok(binder::get_declared_instances(interface)?)
}

/// The exception of [`service_error`].
pub const SERVICE_SPECIFIC: ExceptionCode = ExceptionCode::SERVICE_SPECIFIC;

/// A service-specific error with a message.
pub fn service_error(code: i32, message: &str) -> Status {
    Status::new_service_specific_error_str(code, Some(message))
}

/// What a status says to people.
pub fn message(status: &Status) -> String {
    // The crate gives no way to the message alone: `Status(-8, EX_SERVICE_SPECIFIC): '7: message'`.
    let description = status.get_description();
    let start = format!("'{}: ", status.service_specific_error());
    match description.split_once(&start) {
        Some((_, message)) if status.exception_code() == SERVICE_SPECIFIC => {
            message.strip_suffix('\'').unwrap_or(message).to_owned()
        }
        _ => description,
    }
}

/// Whether a call failed because the service's process is gone.
pub fn is_dead(status: &Status) -> bool {
    status.exception_code() == ExceptionCode::TRANSACTION_FAILED
        && status.transaction_error() == StatusCode::DEAD_OBJECT
}

/// Asks a service for its dump, into a descriptor.
pub fn dump<T: FromIBinder + ?Sized>(
    _name: &str,
    service: &Strong<T>,
    to: OwnedFd,
    args: &[&str],
) -> Result<()> {
    Ok(service.as_binder().dump(&to, args)?)
}

/// Why a service did not [`dump`], if it said so: what [`forward_dump`] makes statuses of.
pub fn dump_refusal(status: &Status) -> Option<std::io::ErrorKind> {
    if status.exception_code() != ExceptionCode::TRANSACTION_FAILED {
        return None;
    }
    match status.transaction_error() {
        StatusCode::PERMISSION_DENIED => Some(std::io::ErrorKind::PermissionDenied),
        StatusCode::BAD_VALUE => Some(std::io::ErrorKind::InvalidInput),
        _ => None,
    }
}

/// A watch over the process behind a binder; dropping it ends the watch.
pub struct DeathLink {
    _recipient: DeathRecipient,
    _binder: SpIBinder,
}

impl DeathLink {
    /// Calls `on_death` once, on a Binder thread, when the process behind `object` dies. A binder of
    /// this very process cannot die before its watcher, so it is never called for one.
    pub fn new<T: FromIBinder + ?Sized>(
        object: &Strong<T>,
        on_death: impl Fn() + Send + Sync + 'static,
    ) -> Result<DeathLink> {
        let mut recipient = DeathRecipient::new(on_death);
        let mut binder = object.as_binder();
        if binder.is_remote() {
            binder.link_to_death(&mut recipient)?;
        }
        Ok(DeathLink { _recipient: recipient, _binder: binder })
    }
}
