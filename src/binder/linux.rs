// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! The one door to Binder, as Cargo builds it: the names of AOSP's `binder` crate over rsbinder.
//! `aosp.rs` gives the same names in an AOSP tree; the build file chooses.
//!
//! The transport is chosen when the process first needs it, by the environment variable
//! [`TRANSPORT_VARIABLE`]: `kernel` for the driver and its service manager, or `unix:DIRECTORY` for
//! RPC Binder over Unix sockets in that directory, for hosts without the driver. Unset, it is the
//! driver where there is one.

mod lazy;
mod rpc;
mod transport;

use std::os::fd::OwnedFd;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use rsbinder::lazy_service::LazyServiceRegistrar;
use rsbinder::{hub, FromIBinder, Remotable, SIBinder, WIBinder};

pub use lazy::LazyServiceGuard;
pub use rsbinder::{ExceptionCode, Interface, ParcelFileDescriptor, Status, StatusCode, Strong};
pub use transport::{Transport, TRANSPORT_VARIABLE};

/// How long a service waits for the service manager to come up.
const SERVICE_MANAGER_TIMEOUT: Duration = Duration::from_secs(30);
/// How often it looks.
const SERVICE_MANAGER_INTERVAL: Duration = Duration::from_millis(10);

/// What a call returns: a value, or a status with exception, code and message.
pub type Result<T> = std::result::Result<T, Status>;

/// Wraps a service in its generated `Bn` type.
#[macro_export]
macro_rules! new_binder {
    ($native:ident, $service:expr) => {
        $native::new_binder($service)
    };
}

/// Inside `impl Interface`: sends `dump` to a method `(&self, &mut dyn Write, &[&str]) -> io::Result<()>`.
#[macro_export]
macro_rules! forward_dump {
    ($method:ident) => {
        fn dump(
            &self,
            writer: &mut dyn std::io::Write,
            args: &[String],
        ) -> std::result::Result<(), $crate::StatusCode> {
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            self.$method(writer, &args).map_err(|error| match error.kind() {
                std::io::ErrorKind::PermissionDenied => $crate::StatusCode::PermissionDenied,
                std::io::ErrorKind::InvalidInput => $crate::StatusCode::BadValue,
                _ => $crate::StatusCode::FailedTransaction,
            })
        }
    };
}

/// The identity of who calls.
pub struct ThreadState;

impl ThreadState {
    /// The uid of the calling process, as the kernel reports it; outside of a call, our own.
    pub fn get_calling_uid() -> u32 {
        rsbinder::get_calling_uid()
    }

    /// The pid of the calling process; outside of a call, our own.
    pub fn get_calling_pid() -> i32 {
        rsbinder::get_calling_pid()
    }
}

/// The threads on which calls arrive.
pub struct ProcessState;

impl ProcessState {
    /// How many threads the transport may add to serve calls. Only before the transport is used.
    pub fn set_thread_pool_max_thread_count(threads: u32) {
        transport::set_threads(threads);
    }

    /// Starts to serve calls.
    pub fn start_thread_pool() {
        if *transport::current() == Transport::Kernel {
            match transport::init_kernel() {
                Ok(()) => rsbinder::ProcessState::start_thread_pool(),
                Err(status) => log::error!("no Binder threads: {}", message(&status)),
            }
        }
    }

    /// Gives the calling thread to the transport; returns only if the transport fails.
    pub fn join_thread_pool() {
        match transport::current() {
            Transport::Kernel => {
                if let Err(status) = rsbinder::ProcessState::join_thread_pool() {
                    log::error!("the Binder thread ended: {status}");
                }
            }
            // RPC servers run on threads of their own.
            Transport::Rpc(_) => loop {
                std::thread::park();
            },
        }
    }
}

/// Registers a service: with the service manager, or as a socket in the transport's directory.
/// `N` is the service's generated `Bn` type.
pub fn add_service<N: Remotable + 'static, T: FromIBinder + ?Sized>(
    name: &str,
    service: &Strong<T>,
) -> Result<()> {
    match transport::current() {
        Transport::Kernel => {
            transport::init_kernel()?;
            let service = service.as_binder();
            register(|| hub::add_service(name, service.clone()))
        }
        Transport::Rpc(directory) => rpc::serve::<N, T>(directory, name, service),
    }
}

/// The same for a lazy service: the process ends when nobody has it any more and there is no
/// [`LazyServiceGuard`], and whoever asks for it starts it again. A directory of sockets starts
/// nobody, so there it stays.
pub fn add_lazy_service<N: Remotable + 'static, T: FromIBinder + ?Sized>(
    name: &str,
    service: &Strong<T>,
) -> Result<()> {
    match transport::current() {
        Transport::Kernel => {
            transport::init_kernel()?;
            let registrar = LazyServiceRegistrar::instance();
            register(|| registrar.register_service(name, service.as_binder()))
        }
        Transport::Rpc(directory) => {
            log::info!("{name} is not lazy: nobody could start it again");
            rpc::serve::<N, T>(directory, name, service)
        }
    }
}

/// Registers with the service manager, waiting for it to come up, as AOSP's library does.
fn register(add: impl Fn() -> Result<()>) -> Result<()> {
    let began = Instant::now();
    loop {
        match add() {
            Err(status) if is_dead(&status) && began.elapsed() < SERVICE_MANAGER_TIMEOUT => {
                std::thread::sleep(SERVICE_MANAGER_INTERVAL);
            }
            result => return result,
        }
    }
}

/// A service that is registered, at once; `NameNotFound` if there is none. One that is declared to be
/// started on demand is being started then.
pub fn check_interface<T: FromIBinder + ?Sized>(name: &str) -> Result<Strong<T>> {
    match transport::current() {
        Transport::Kernel => {
            transport::init_kernel()?;
            Ok(hub::try_get_interface(name)?.ok_or(StatusCode::NameNotFound)?)
        }
        Transport::Rpc(directory) => Ok(rpc::connect(directory, name)?),
    }
}

/// A service, as soon as it is registered; waits for ever.
pub fn wait_for_interface<T: FromIBinder + ?Sized>(name: &str) -> Result<Strong<T>> {
    match transport::current() {
        Transport::Kernel => {
            transport::init_kernel()?;
            Ok(hub::wait_for_interface(name)?)
        }
        Transport::Rpc(directory) => Ok(rpc::wait_and_connect(directory, name)?),
    }
}

/// The instances of an interface that are there: of `a.b.IC/default` the word `default`. Nothing is
/// declared on Linux; these are registered.
pub fn instances(interface: &str) -> Result<Vec<String>> {
    match transport::current() {
        Transport::Kernel => {
            transport::init_kernel()?;
            let instance =
                |name: &String| name.strip_prefix(interface)?.strip_prefix('/').map(str::to_owned);
            Ok(hub::list_services(hub::DUMP_FLAG_PRIORITY_ALL)
                .iter()
                .filter_map(instance)
                .collect())
        }
        Transport::Rpc(directory) => Ok(rpc::instances(directory, interface)?),
    }
}

/// The exception of [`service_error`].
pub const SERVICE_SPECIFIC: ExceptionCode = ExceptionCode::ServiceSpecific;

/// A service-specific error with a message.
pub fn service_error(code: i32, message: &str) -> Status {
    Status::new_service_specific_error(code, Some(message.to_owned()))
}

/// What a status says to people.
pub fn message(status: &Status) -> String {
    status.message().map_or_else(|| status.to_string(), str::to_owned)
}

/// Whether a call failed because the service's process is gone.
pub fn is_dead(status: &Status) -> bool {
    status.exception_code() == ExceptionCode::TransactionFailed
        && matches!(status.transaction_error(), StatusCode::DeadObject | StatusCode::RpcError)
}

/// Asks the service that `name` found for its dump, into a descriptor.
pub fn dump<T: FromIBinder + ?Sized>(
    name: &str,
    service: &Strong<T>,
    to: OwnedFd,
    args: &[&str],
) -> Result<()> {
    let args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
    match transport::current() {
        Transport::Kernel => {
            let binder = service.as_binder();
            let proxy = binder.as_proxy().ok_or(StatusCode::InvalidOperation)?;
            Ok(proxy.dump(to, &args)?)
        }
        Transport::Rpc(directory) => rpc::dump(directory, name, to, &args),
    }
}

/// Why a service did not [`dump`], if it said so: what [`forward_dump`] makes statuses of.
pub fn dump_refusal(status: &Status) -> Option<std::io::ErrorKind> {
    if status.exception_code() != ExceptionCode::TransactionFailed {
        return None;
    }
    match status.transaction_error() {
        StatusCode::PermissionDenied => Some(std::io::ErrorKind::PermissionDenied),
        StatusCode::BadValue => Some(std::io::ErrorKind::InvalidInput),
        _ => None,
    }
}

/// A watch over the process behind a binder; dropping it ends the watch.
pub struct DeathLink {
    recipient: Arc<dyn rsbinder::DeathRecipient>,
    binder: SIBinder,
}

impl DeathLink {
    /// Calls `on_death` once, on a transport's thread, when the process behind `object` dies. A
    /// binder of this very process cannot die before its watcher, so it is never called for one.
    pub fn new<T: FromIBinder + ?Sized>(
        object: &Strong<T>,
        on_death: impl Fn() + Send + Sync + 'static,
    ) -> Result<DeathLink> {
        let recipient: Arc<dyn rsbinder::DeathRecipient> = Arc::new(Recipient(on_death));
        let binder = object.as_binder();
        if binder.is_remote() {
            binder.link_to_death(Arc::downgrade(&recipient))?;
        }
        Ok(DeathLink { recipient, binder })
    }
}

impl Drop for DeathLink {
    fn drop(&mut self) {
        if self.binder.is_remote() {
            let recipient: Weak<dyn rsbinder::DeathRecipient> = Arc::downgrade(&self.recipient);
            // The link of a binder that is dead is gone already.
            let _ = self.binder.unlink_to_death(recipient);
        }
    }
}

struct Recipient<F>(F);

impl<F: Fn() + Send + Sync> rsbinder::DeathRecipient for Recipient<F> {
    fn binder_died(&self, _who: &WIBinder) {
        (self.0)();
    }
}
