// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! `cargo xtask`: everything that is done with this checkout on a plain Linux machine. It gets what
//! it needs, builds, boots the device (a VM with a real kernel), demonstrates and tests.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod aidl;
mod archive;
mod bench;
mod cache;
mod cuttlefish;
mod demo;
mod exit;
mod format;
mod fuzz;
mod guest_log;
mod image;
mod kernel;
mod lane;
mod lazy;
mod libgbinder;
mod libtest;
mod machine;
mod miri;
mod mirror;
mod process;
mod progress;
mod qemu;
mod report;
mod selinux;
mod stages;
mod suite;
mod tools;
mod vm;
mod vts;
mod workspace;

/// Builds, boots, tests and demonstrates Berth on a plain Linux machine.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Show it all: service manager, HAL and separate client processes at work
    Demo(demo::Options),
    /// Run the whole test suite
    Test(stages::Options),
    /// Run a command, or a shell, in the VM beside the HAL
    Vm(vm::Options),
    /// Measure the allocator, as ratios to what it cannot do without
    Bench(bench::Options),
    /// Send the service whatever a fuzzer thinks of
    Fuzz(fuzz::Options),
    /// Interpret what shares memory, to find undefined behaviour and data races
    Miri(miri::Options),
    /// The interface, judged by AOSP's own AIDL compiler
    #[command(subcommand)]
    Aidl(aidl::Action),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().task {
        Task::Demo(options) => demo::run(&options),
        Task::Test(options) => stages::run(&options),
        Task::Vm(options) => vm::run(&options),
        Task::Bench(options) => bench::run(&options),
        Task::Fuzz(options) => fuzz::run(&options),
        Task::Miri(options) => miri::run(&options),
        Task::Aidl(action) => aidl::run(action),
    };
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("xtask: error: {error:#}");
            ExitCode::from(exit::VM_FAILED)
        }
    }
}
