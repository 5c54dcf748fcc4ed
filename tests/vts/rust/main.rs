// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! The VTS suite of `vendor.berth.allocator.IAllocator` in Rust.
//!
//! It asks of each instance what the comments of the AIDL files promise and nothing else, so it holds
//! for every implementation, on every kernel: what heaps, formats and flags there are it learns from
//! `getCapabilities`, and a test whose subject an implementation does not have sees that it is refused
//! as the interface says.
//!
//! Each test is run once for each instance, under a name that says which, as AOSP's rdroidtest does it
//! with parameters. rdroidtest is built on libtest-mimic, and this uses that directly: it is in every
//! tree since Android 14 and on crates.io, while rdroidtest is in newer trees only. So one source is a
//! `rust_test` for the device and a program for `cargo xtask test`.

#![forbid(unsafe_code)]

mod again;
mod capabilities;
mod client;
mod images;
mod memory;
mod pools;
mod refusals;
mod regions;
mod sessions;
mod sharing;

use libtest_mimic::{Arguments, Trial};

use client::Instance;

/// A test: its name and what it does with an instance.
pub type Test = (&'static str, fn(&Instance));

/// Names functions as tests.
#[macro_export]
macro_rules! tests {
    ($($name:ident),* $(,)?) => {
        /// The tests of this module.
        pub const TESTS: &[$crate::Test] =
            &[$((concat!(module_path!(), "::", stringify!($name)), $name)),*];
    };
}

const MODULES: &[&[Test]] = &[
    again::TESTS,
    capabilities::TESTS,
    images::TESTS,
    memory::TESTS,
    pools::TESTS,
    refusals::TESTS,
    regions::TESTS,
    sessions::TESTS,
    sharing::TESTS,
];

fn main() {
    let arguments = Arguments::from_args();
    hal_binder::ProcessState::set_thread_pool_max_thread_count(1);
    hal_binder::ProcessState::start_thread_pool();
    let instances = match hal_binder::instances(client::INTERFACE) {
        Ok(instances) => instances,
        Err(status) => panic!("the instances of {}: {status:?}", client::INTERFACE),
    };
    let mut trials = Vec::new();
    for name in &instances {
        for &(test, run) in MODULES.iter().copied().flatten() {
            let (_, short) = test.split_once("::").unwrap_or(("", test));
            let instance = Instance::new(name);
            let run = move || {
                run(&instance);
                Ok(())
            };
            trials.push(Trial::test(format!("{short}/{name}"), run));
        }
    }
    libtest_mimic::run(&arguments, trials).exit();
}
