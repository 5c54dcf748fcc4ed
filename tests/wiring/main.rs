// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Holds together the files that no compiler reads: the instance name and the paths that init,
//! VINTF, SELinux, Soong and the code must spell alike, and the two build systems' view of each
//! crate. It needs no device and no AOSP tree; what only those can tell is tested elsewhere.

mod allocator_policy;
mod apex;
mod blueprint;
mod cuttlefish;
mod headers;
mod init;
mod names;
mod policy;
mod properties;
mod readme;
mod repository;
mod soong;
mod versions;
mod vintf;
mod vts;
