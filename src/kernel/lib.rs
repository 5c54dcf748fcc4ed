// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! The kernel's memory facilities, one file each: what the kernel offers behind safe types, and no
//! policy at all. Every descriptor and every mapping has one owner here and ends with it.

#![deny(unsafe_op_in_unsafe_fn)]

pub mod ashmem;
pub mod clock;
pub mod cpu_access;
pub mod descriptor;
pub mod descriptor_limit;
pub mod device_nodes;
pub mod dma_buf;
pub mod dma_heap;
pub mod fdinfo;
pub mod frozen;
pub mod futex;
pub mod identity;
pub mod ion;
pub mod mapping;
pub mod memfd;
pub mod meminfo;
pub mod open_file;
pub mod owner_process;
pub mod page_row;
pub mod pipe;
pub mod pressure;
pub mod random;
pub mod robust_list;
pub mod sync_file;
pub mod terminal;
pub mod thread_priority;
pub mod trace;
pub mod udmabuf;

mod error;
mod file_type;
#[cfg(test)]
mod forking;
mod inotify;
mod poll;
mod private_pages;

pub use error::KernelError;

/// The kernel's page size in bytes.
pub fn page_size() -> u64 {
    use nix::unistd::{sysconf, SysconfVar};
    // 4 KiB is the smallest page of any kernel that Android runs on.
    match sysconf(SysconfVar::PAGE_SIZE) {
        Ok(Some(bytes)) => u64::try_from(bytes).unwrap_or(4096),
        _ => 4096,
    }
}
