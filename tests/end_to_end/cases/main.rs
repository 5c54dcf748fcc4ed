// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! The HAL and its clients, end to end: each a process of its own, on the kernel of the lane.

mod access;
mod allocation;
mod any_descriptor;
mod capabilities;
mod churn;
mod command_line;
mod death;
mod dump;
mod exhaustion;
mod heaps;
mod lane;
mod libgbinder;
mod limits;
mod looking;
mod ownership;
mod payload;
mod pools;
mod pressure;
mod proc_truth;
mod purgeable;
mod readme;
mod refusals;
mod regions;
mod restart;
mod second_driver;
mod selinux;
mod sharing;
mod storm;
mod trace;
mod udmabuf;

/// Values of `AllocatorError`.
mod code {
    use vendor_berth_allocator::aidl::vendor::berth::allocator::AllocatorError::AllocatorError;

    pub const BAD_DESCRIPTOR: i32 = AllocatorError::BAD_DESCRIPTOR.0;
    pub const BAD_ARGUMENT: i32 = AllocatorError::BAD_ARGUMENT.0;
    pub const TOO_LARGE: i32 = AllocatorError::TOO_LARGE.0;
    pub const UNSUPPORTED: i32 = AllocatorError::UNSUPPORTED.0;
    pub const NO_MEMORY: i32 = AllocatorError::NO_MEMORY.0;
    pub const QUOTA_EXCEEDED: i32 = AllocatorError::QUOTA_EXCEEDED.0;
    pub const TOO_MANY_BUFFERS: i32 = AllocatorError::TOO_MANY_BUFFERS.0;
    pub const TOO_MANY_FDS: i32 = AllocatorError::TOO_MANY_FDS.0;
    pub const TOO_MANY_SESSIONS: i32 = AllocatorError::TOO_MANY_SESSIONS.0;
    pub const HEAP_UNKNOWN: i32 = AllocatorError::HEAP_UNKNOWN.0;
    pub const HEAP_UNAVAILABLE: i32 = AllocatorError::HEAP_UNAVAILABLE.0;
    pub const HEAP_REFUSED: i32 = AllocatorError::HEAP_REFUSED.0;
    pub const NOT_FOUND: i32 = AllocatorError::NOT_FOUND.0;
    pub const BAD_TOKEN: i32 = AllocatorError::BAD_TOKEN.0;
    pub const BAD_RECEIPT: i32 = AllocatorError::BAD_RECEIPT.0;
    pub const NOT_THE_MEMORY: i32 = AllocatorError::NOT_THE_MEMORY.0;
    pub const ALREADY_ATTACHED: i32 = AllocatorError::ALREADY_ATTACHED.0;
    pub const SESSION_CLOSED: i32 = AllocatorError::SESSION_CLOSED.0;
}

/// How many clients are killed where a great many are. Under emulation, which kernel Binder goes with
/// here, all takes twenty times as long.
fn kills() -> usize {
    match std::env::var("BERTH_TRANSPORT").is_ok_and(|transport| transport == "kernel") {
        true => 300,
        false => 10_000,
    }
}

/// Bits of `AllocationFlag`, and of what `BufferInfo` says.
mod flag {
    use vendor_berth_allocator::aidl::vendor::berth::allocator::{
        AllocationFlag::AllocationFlag, BufferInfo,
    };

    pub const STRICT_HEAP: i32 = AllocationFlag::STRICT_HEAP.0;
    pub const READ_ONLY_VIEW: i32 = AllocationFlag::READ_ONLY_VIEW.0;
    pub const NO_POOL: i32 = AllocationFlag::NO_POOL.0;
    pub const REVOKE_ON_DEATH: i32 = AllocationFlag::REVOKE_ON_DEATH.0;
    pub const PURGEABLE: i32 = AllocationFlag::PURGEABLE.0;

    pub const FALLBACK_HEAP: i32 = BufferInfo::FLAG_FALLBACK_HEAP;
    pub const ACQUIRED: i32 = BufferInfo::FLAG_ACQUIRED;
    pub const SEALED: i32 = BufferInfo::FLAG_SEALED;
    pub const RECYCLED: i32 = BufferInfo::FLAG_RECYCLED;
}

/// Values of `PixelFormat`.
mod format {
    use vendor_berth_allocator::aidl::vendor::berth::allocator::PixelFormat::PixelFormat;

    pub const RGBA_8888: i32 = PixelFormat::RGBA_8888.0;
    pub const RGBX_8888: i32 = PixelFormat::RGBX_8888.0;
    pub const BGRA_8888: i32 = PixelFormat::BGRA_8888.0;
    pub const RGBA_FP16: i32 = PixelFormat::RGBA_FP16.0;
    pub const RGBA_10101010: i32 = PixelFormat::RGBA_10101010.0;
    pub const RGB_565: i32 = PixelFormat::RGB_565.0;
    pub const YCRCB_420_SP: i32 = PixelFormat::YCRCB_420_SP.0;
    pub const YCBCR_420_888: i32 = PixelFormat::YCBCR_420_888.0;
    pub const YV12: i32 = PixelFormat::YV12.0;
    pub const BLOB: i32 = PixelFormat::BLOB.0;
}
