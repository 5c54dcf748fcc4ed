// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Which transport this process uses, decided once.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::OnceLock;

use rsbinder::{ProcessState, Status, StatusCode};

/// The environment variable that names the transport: `kernel` or `unix:DIRECTORY`.
pub const TRANSPORT_VARIABLE: &str = "BERTH_BINDER";

/// Where rsbinder and its service manager look for the driver's nodes.
const BINDERFS_NODE: &str = "/dev/binderfs/binder";

/// A way for calls to cross processes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transport {
    /// The kernel's driver, and the service manager behind it.
    Kernel,
    /// RPC Binder; each service is a socket in this directory.
    Rpc(PathBuf),
}

impl Transport {
    /// The transport that a value of [`TRANSPORT_VARIABLE`] names; `None` if it names none.
    pub fn parse(value: &str) -> Option<Transport> {
        match value.split_once(':') {
            None if value == "kernel" => Some(Transport::Kernel),
            Some(("unix", directory)) if Path::new(directory).is_absolute() => {
                Some(Transport::Rpc(PathBuf::from(directory)))
            }
            _ => None,
        }
    }

    /// The driver where there is one, else sockets in the user's runtime directory.
    fn of_this_host() -> Transport {
        if Path::new(BINDERFS_NODE).exists() {
            return Transport::Kernel;
        }
        let runtime = std::env::var_os("XDG_RUNTIME_DIR")
            .map_or_else(std::env::temp_dir, PathBuf::from)
            .join("berth");
        Transport::Rpc(runtime)
    }
}

/// The transport of this process.
pub(crate) fn current() -> &'static Transport {
    static CURRENT: OnceLock<Transport> = OnceLock::new();
    CURRENT.get_or_init(|| match std::env::var(TRANSPORT_VARIABLE) {
        Err(_) => Transport::of_this_host(),
        Ok(value) => Transport::parse(&value).unwrap_or_else(|| {
            let fallback = Transport::of_this_host();
            log::error!(
                "{TRANSPORT_VARIABLE}={value:?} is neither `kernel` nor `unix:` and an absolute \
                 directory; using {fallback:?}"
            );
            fallback
        }),
    })
}

static THREADS: AtomicU32 = AtomicU32::new(rsbinder::DEFAULT_MAX_BINDER_THREADS);

/// How many threads the kernel may ask for, or connections one RPC session may have.
pub(crate) fn set_threads(threads: u32) {
    THREADS.store(threads, Ordering::Relaxed);
}

/// See [`set_threads`].
pub(crate) fn threads() -> u32 {
    THREADS.load(Ordering::Relaxed)
}

/// Opens the driver, once for the process.
pub(crate) fn init_kernel() -> Result<(), Status> {
    let opened = ProcessState::init(BINDERFS_NODE, threads());
    opened.map(|_| ()).map_err(|error| {
        log::error!("{BINDERFS_NODE}: {error}");
        Status::from(StatusCode::NoInit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_names_the_driver_or_an_absolute_directory() {
        assert_eq!(Transport::parse("kernel"), Some(Transport::Kernel));
        assert_eq!(Transport::parse("unix:/run/b"), Some(Transport::Rpc("/run/b".into())));
        for wrong in ["", "Kernel", "kernel:", "unix", "unix:", "unix:relative", "tcp:/x"] {
            assert_eq!(Transport::parse(wrong), None, "{wrong:?}");
        }
    }
}
