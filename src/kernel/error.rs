// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! What the kernel refused, and with which errno.

use nix::errno::Errno;

/// A system call that failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{operation}: {}", .errno.desc())]
pub struct KernelError {
    /// What was asked, with its values.
    pub operation: String,
    /// The kernel's answer.
    pub errno: Errno,
}

impl KernelError {
    /// An error of our own making in the kernel's terms, as a size that does not fit.
    pub fn new(operation: impl Into<String>, errno: Errno) -> KernelError {
        KernelError { operation: operation.into(), errno }
    }

    /// For `map_err` on a `nix` call; the text is only made if the call failed.
    pub(crate) fn context(operation: impl FnOnce() -> String) -> impl FnOnce(Errno) -> KernelError {
        move |errno| KernelError { operation: operation(), errno }
    }

    /// For `map_err` on a `std::io` call.
    pub(crate) fn io(
        operation: impl FnOnce() -> String,
    ) -> impl FnOnce(std::io::Error) -> KernelError {
        move |error| KernelError {
            operation: operation(),
            errno: Errno::try_from(error).unwrap_or(Errno::EIO),
        }
    }
}
