// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! The algorithms of `berth_shared` under loom, which runs each test once for every order of steps,
//! and every value that a load may see, that the memory model permits.
//!
//! The files are those of `src/shared` themselves. They reach atomics and the futex by the names
//! `crate::atomics` and `crate::futex`, which here are loom's and a model of the kernel's. A thread
//! that sleeps for ever because a wake-up was lost is reported as a deadlock: in the model no sleep
//! ends by itself, so what real sleepers find when they look again hides nothing here.
//!
//! The pool's algorithm takes its memory as a parameter instead.

#![cfg(test)]
#![allow(missing_docs, dead_code)]
// Device code is written for a compiler that does not have it.
#![allow(clippy::manual_is_multiple_of)]

mod atomics;
mod futex;

#[path = "../../src/shared/mutex"]
mod mutex {
    pub mod lock;
    pub mod signal;
}

#[path = "../../src/shared/presence"]
mod presence {
    pub mod word;
}

#[path = "../../src/shared/ring"]
mod ring {
    pub mod cursor;
}

mod mutexes;
mod pools;
mod rings;

use std::time::Duration;

/// For ever: in the model no time passes.
fn patience() -> Option<Duration> {
    Some(Duration::MAX)
}

/// Tries every order with up to so many switches from a thread that could have gone on.
fn explore(switches: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(switches);
    builder.check(model);
}
