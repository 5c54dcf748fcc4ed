// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! The interface `vendor.berth.allocator` in Rust, as Cargo builds it.
//!
//! Soong generates a crate of this name with AOSP's `aidl`; this one has the same module paths
//! (`aidl::vendor::berth::allocator::IAllocator::…`) over `rsbinder`. The types are documented in
//! the `.aidl` files beside it.

/// The generated modules, one for each type of the package.
pub mod aidl {
    rsbinder::include_aidl!("allocator");
}
