// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Whatever a client sends, the service answers it and stays up.
//!
//! Soong builds this with AOSP's `binder_random_parcel_rs`, cargo-fuzz with the crate of that name
//! in `tests/random_parcel` (`cargo xtask fuzz`).

#![allow(missing_docs)]
#![no_main]

use std::sync::OnceLock;

use berth_service::policy::Policy;
use berth_service::{allocator, Service};
use binder_random_parcel_rs::fuzz_service;
use hal_binder::{Interface, Strong};
use libfuzzer_sys::fuzz_target;
use vendor_berth_allocator::aidl::vendor::berth::allocator::IAllocator::IAllocator;

/// One service for all inputs: what one leaves behind, another may find.
static ALLOCATOR: OnceLock<Strong<dyn IAllocator>> = OnceLock::new();

fuzz_target!(|data: &[u8]| {
    let allocator = ALLOCATOR.get_or_init(|| {
        allocator::new_binder(Service::new(Policy::default()).expect("the service on this kernel"))
    });
    fuzz_service(&mut allocator.as_binder(), data);
});
