// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! The ioctls that the crate `drm` does not know: those of vgem (`include/uapi/drm/vgem_drm.h`) and
//! of sw_sync (`drivers/dma-buf/sw_sync.c`); and the one descriptor that a driver writes into memory
//! of ours.

#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicI32, Ordering};

use nix::errno::Errno;

/// `VGEM_FENCE_WRITE`.
const WRITE: u32 = 1;

mod number {
    /// `struct drm_vgem_fence_attach`.
    #[repr(C)]
    pub struct VgemAttach {
        pub handle: u32,
        pub flags: u32,
        pub out_fence: u32,
        pub pad: u32,
    }

    /// `struct drm_vgem_fence_signal`.
    #[repr(C)]
    pub struct VgemSignal {
        pub fence: u32,
        pub flags: u32,
    }

    /// `struct sw_sync_create_fence_data`.
    #[repr(C)]
    pub struct SwSyncFence {
        pub value: u32,
        pub name: [u8; 32],
        pub fence: i32,
    }

    nix::ioctl_readwrite! {
        /// `DRM_IOCTL_VGEM_FENCE_ATTACH`: number 1 of those that begin at `DRM_COMMAND_BASE`.
        vgem_attach, b'd', 0x41, VgemAttach
    }
    nix::ioctl_write_ptr! {
        /// `DRM_IOCTL_VGEM_FENCE_SIGNAL`.
        vgem_signal, b'd', 0x42, VgemSignal
    }
    nix::ioctl_readwrite! {
        /// `SW_SYNC_IOC_CREATE_FENCE`.
        sw_sync_fence, b'W', 0, SwSyncFence
    }
    nix::ioctl_write_ptr! {
        /// `SW_SYNC_IOC_INC`.
        sw_sync_advance, b'W', 1, u32
    }
}

/// Attaches a fence to the buffer of a GEM handle, as of somebody who writes or reads it, and answers
/// vgem's number for it. It expires after ten seconds. `EBUSY` if a fence is in the way already.
pub fn vgem_attach(node: BorrowedFd<'_>, handle: u32, writes: bool) -> Result<u32, Errno> {
    let flags = if writes { WRITE } else { 0 };
    let mut data = number::VgemAttach { handle, flags, out_fence: 0, pad: 0 };
    // SAFETY: `node` is open as long as it is borrowed, and `data` is a live, exclusive `struct
    // drm_vgem_fence_attach`, which is what this ioctl reads and writes.
    unsafe { number::vgem_attach(node.as_raw_fd(), &mut data) }?;
    Ok(data.out_fence)
}

/// Signals a fence by vgem's number. `ETIMEDOUT` if it has expired.
pub fn vgem_signal(node: BorrowedFd<'_>, fence: u32) -> Result<(), Errno> {
    let data = number::VgemSignal { fence, flags: 0 };
    // SAFETY: `node` is open as long as it is borrowed, and `data` is a live `struct
    // drm_vgem_fence_signal`, which this ioctl only reads.
    unsafe { number::vgem_signal(node.as_raw_fd(), &data) }.map(drop)
}

/// A sync file with a fence that is signalled when the timeline reaches `value`.
pub fn sw_sync_fence(timeline: BorrowedFd<'_>, value: u32) -> Result<OwnedFd, Errno> {
    let mut data = number::SwSyncFence { value, name: [0; 32], fence: -1 };
    // SAFETY: `timeline` is open as long as it is borrowed, and `data` is a live, exclusive `struct
    // sw_sync_create_fence_data`, which is what this ioctl reads and writes.
    unsafe { number::sw_sync_fence(timeline.as_raw_fd(), &mut data) }?;
    // SAFETY: the ioctl succeeded, so `data.fence` is a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(data.fence) })
}

/// Moves a timeline on; it begins at 0.
pub fn sw_sync_advance(timeline: BorrowedFd<'_>, by: u32) -> Result<(), Errno> {
    // SAFETY: `timeline` is open as long as it is borrowed, and the ioctl only reads the four bytes
    // of `by`.
    unsafe { number::sw_sync_advance(timeline.as_raw_fd(), &by) }.map(drop)
}

/// Where a commit puts the descriptor of a fence (`WRITEBACK_OUT_FENCE_PTR`). At one address as long
/// as it lives.
#[derive(Debug)]
pub struct FenceSlot(Box<AtomicI32>);

impl FenceSlot {
    /// An empty one.
    pub fn empty() -> FenceSlot {
        FenceSlot(Box::new(AtomicI32::new(-1)))
    }

    /// What the property takes. The slot must live until the commit has returned.
    pub fn address(&self) -> u64 {
        self.0.as_ptr() as u64
    }

    /// The descriptor that a commit has put there.
    pub fn take(&self) -> Option<OwnedFd> {
        let fd = self.0.swap(-1, Ordering::SeqCst);
        // SAFETY: nothing but a commit writes into the slot, and what it writes is −1 or a new
        // descriptor for us; it is taken out once.
        (fd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(fd) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::mem::size_of;
    use std::os::fd::AsFd;

    #[test]
    fn the_structures_are_as_large_as_the_kernels() {
        assert_eq!(size_of::<number::VgemAttach>(), 16);
        assert_eq!(size_of::<number::VgemSignal>(), 8);
        assert_eq!(size_of::<number::SwSyncFence>(), 40);
    }

    #[test]
    fn what_is_no_driver_knows_none_of_these() {
        let file = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(vgem_attach(file.as_fd(), 1, true), Err(Errno::ENOTTY));
        assert_eq!(vgem_signal(file.as_fd(), 1), Err(Errno::ENOTTY));
        assert_eq!(sw_sync_fence(file.as_fd(), 1).unwrap_err(), Errno::ENOTTY);
        assert_eq!(sw_sync_advance(file.as_fd(), 1), Err(Errno::ENOTTY));
    }

    #[test]
    fn an_empty_slot_has_no_descriptor() {
        assert!(FenceSlot::empty().take().is_none());
    }
}
