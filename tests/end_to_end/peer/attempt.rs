// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! What a process may not do where SELinux enforces, tried once each: the client library would try
//! some of it again.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use anyhow::{anyhow, Result};
use berth_client::Allocator;
use berth_end_to_end::protocol::Access;
use berth_kernel::identity;
use berth_kernel::mapping::{Mapping, ReadOnly, ReadWrite};
use hal_binder::Strong;
use nix::errno::Errno;
use nix::fcntl::{open, OFlag};
use nix::sys::stat::Mode;
use nix::unistd::close;
use vendor_berth_allocator::aidl::vendor::berth::allocator::IAllocator::{BnAllocator, IAllocator};

/// The allocator's name.
const ALLOCATOR: &str = "vendor.berth.allocator.IAllocator/default";

/// Looks for the allocator, once.
pub fn find() -> Result<()> {
    Allocator::connect_within(Duration::ZERO)?;
    Ok(())
}

/// Registers the allocator that is found under its own name.
pub fn register() -> Result<()> {
    let found: Strong<dyn IAllocator> = hal_binder::check_interface(ALLOCATOR).map_err(told)?;
    hal_binder::add_service::<BnAllocator, dyn IAllocator>(ALLOCATOR, &found).map_err(told)
}

fn told(status: hal_binder::Status) -> anyhow::Error {
    anyhow!(hal_binder::message(&status))
}

/// Opens a file; answers the errno, or 0.
pub fn open_file(path: &str, access: Access) -> i32 {
    let flags = match access {
        Access::Read => OFlag::O_RDONLY,
        Access::Write => OFlag::O_RDWR,
    };
    code(open(path, flags | OFlag::O_CLOEXEC, Mode::empty()).and_then(close))
}

/// Opens what a descriptor is of once more; answers the errno, or 0.
pub fn open_again(fd: BorrowedFd<'_>, access: Access) -> i32 {
    open_file(&format!("/proc/self/fd/{}", fd.as_raw_fd()), access)
}

/// Maps what a descriptor is of; answers the errno, or 0.
pub fn map(fd: BorrowedFd<'_>, access: Access) -> Result<i32> {
    let size = identity::size(fd)?;
    let mapped = match access {
        Access::Read => Mapping::<ReadOnly>::new(fd, size).map(drop),
        Access::Write => Mapping::<ReadWrite>::new(fd, size).map(drop),
    };
    Ok(code(mapped.map_err(|error| error.errno)))
}

fn code(result: Result<(), Errno>) -> i32 {
    result.err().map_or(0, |errno| errno as i32)
}
