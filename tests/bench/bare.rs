// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! A service that does nothing but answer: what a call costs that carries a descriptor or bytes.

use std::os::fd::AsFd;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{bail, Context, Result};
use berth_client::payload::PayloadParcel;
use berth_kernel::memfd::Memfd;
use hal_binder::{Interface, ParcelFileDescriptor, ProcessState, Strong};
use rsbinder::{BinderResult, FromIBinder};

use crate::floor::{self, BnFloor, Floor};

/// Under the allocator's prefix, so that the test VM's service manager lets it register.
pub const NAME: &str = "vendor.berth.allocator.bench/bare";

/// Bare calls, of an interface whose name is as long as that of the allocator's session: each call carries
/// it, and what that takes is the transport's.
#[rsbinder::interface(descriptor = "vendor.berth.allocator.bench.IBareService")]
pub trait IBare {
    /// Returns a descriptor.
    fn give(&self) -> BinderResult<ParcelFileDescriptor>;
    /// Returns so many descriptors.
    fn give_many(&self, count: i32) -> BinderResult<Vec<ParcelFileDescriptor>>;
    /// Takes a descriptor.
    fn take(&self, descriptor: &ParcelFileDescriptor) -> BinderResult<()>;
    /// Takes bytes.
    fn swallow(&self, bytes: &[u8]) -> BinderResult<i32>;
    /// Takes a payload.
    fn accept(&self, payload: &PayloadParcel) -> BinderResult<()>;
}

struct Bare(Memfd);

impl Interface for Bare {}

impl IBare for Bare {
    fn give(&self) -> BinderResult<ParcelFileDescriptor> {
        Ok(ParcelFileDescriptor::new(self.0.as_fd().try_clone_to_owned()?))
    }

    fn give_many(&self, count: i32) -> BinderResult<Vec<ParcelFileDescriptor>> {
        (0..count).map(|_| self.give()).collect()
    }

    fn take(&self, _descriptor: &ParcelFileDescriptor) -> BinderResult<()> {
        Ok(())
    }

    fn swallow(&self, bytes: &[u8]) -> BinderResult<i32> {
        Ok(bytes.len() as i32)
    }

    fn accept(&self, _payload: &PayloadParcel) -> BinderResult<()> {
        Ok(())
    }
}

/// Serves until killed.
pub fn serve() -> Result<()> {
    let bare = BnBare::new_binder(Bare(Memfd::create("bare", 4096)?));
    ProcessState::start_thread_pool();
    hal_binder::add_service::<BnBare, _>(NAME, &bare).context("register the bare service")?;
    let floor = BnFloor::new_binder(Floor::new());
    hal_binder::add_service::<BnFloor, _>(floor::NAME, &floor).context("register the floor")?;
    ProcessState::join_thread_pool();
    bail!("the bare service ended")
}

/// Finds a service that `serve` registers.
pub fn find<T: FromIBinder + ?Sized>(name: &str) -> Result<Strong<T>> {
    let began = Instant::now();
    loop {
        match hal_binder::check_interface(name) {
            Ok(found) => return Ok(found),
            Err(error) if began.elapsed() > Duration::from_secs(30) => {
                return Err(error).with_context(|| format!("find {name}"));
            }
            Err(_) => thread::sleep(Duration::from_millis(10)),
        }
    }
}
