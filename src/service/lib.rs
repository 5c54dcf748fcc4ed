// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! The allocator HAL.
//!
//! A call arrives in `allocator`, the implementation of the AIDL interfaces, which checks who calls
//! and converts errors and nothing else. `service` puts the parts together: `request` judges a
//! descriptor, `heaps` chooses who serves it, `accounts` admits it before the kernel is asked, `heap`
//! asks the kernel and gives `heap_memory`, `session` is the table of what one client holds, `tokens`
//! are the rights to take part in a buffer of another. `pools` are buffers that processes hand to each
//! other without the service, which keeps what `pool` knows of each and puts their pages right, at a
//! second look on the thread of `mender`. Sessions end on the thread of `reaper`, news goes out on the
//! thread of `notices`, so that no client waits for another, and `heap_watch` is the thread that sees heaps come and go. When a service dies its clients keep the books: each buffer has
//! one of `receipts`, by which `reattach` proves it to the service that follows, and `restored` is what
//! came back so. `dump` shows it all, `trace` when it happens. `policy` is what the device says of its
//! heaps and limits, `heap_class` what the heaps' names say.
//!
//! No lock is held across a system call that allocates, a close, or a call to a client.

#![forbid(unsafe_code)]

mod abandoned;
pub mod accounts;
mod allocation;
pub mod allocator;
mod dump;
mod heap;
mod heap_class;
mod heap_memory;
mod heap_watch;
mod heaps;
mod in_use;
mod latency;
mod lingering;
mod lock;
mod memory;
mod mender;
mod notices;
mod operations;
pub mod policy;
mod pool;
mod pools;
mod pressure;
mod proof;
mod purgeable;
mod purger;
mod reaper;
mod reattach;
pub mod receipts;
mod reclaimer;
mod recycler;
mod refusal;
mod refusals;
mod remembered;
mod request;
mod reserve;
mod restored;
mod service;
mod session;
mod shelf;
mod size_class;
#[cfg(test)]
mod testing;
mod tokens;
mod trace;
mod wire;

pub use heap_class::{HeapClass, UnknownHeapClass};
pub use service::{Service, SERVICE_NAME};
