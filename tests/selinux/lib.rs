// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! SELinux as the tests meet it: labels by contexts files, the kernel's own interface in selinuxfs,
//! and the denials in its log.
//!
//! On a device Android's init loads the policy, restorecon labels files and servicemanager asks
//! about services. In the VM, where there is no Android, the program of this package loads and
//! labels, and `tests/servicemanager` asks.

#![forbid(unsafe_code)]

pub mod contexts;
pub mod denials;
pub mod selinuxfs;
