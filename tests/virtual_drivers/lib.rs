// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! What the tests need of drivers that are not ours, to see Berth's buffers with their eyes. Test
//! only; nothing here goes onto a device.
//!
//! * [`vgem`]: a driver without hardware that imports buffers and attaches fences to them.
//! * [`sw_sync`]: fences that are signalled by hand.
//! * [`vkms`]: a display without hardware, and a camera on it: the writeback connector.
//!
//! The crate `drm` speaks to the first and the last; what it does not know is in [`ioctl`].

#![deny(unsafe_code)]

pub mod ioctl;
pub mod node;
pub mod sw_sync;
pub mod vgem;
pub mod vkms;
