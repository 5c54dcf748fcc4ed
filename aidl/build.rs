// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Generates the Rust types of the AIDL package beside this file.

use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    println!("cargo:rerun-if-changed=vendor");
    let generated = rsbinder_aidl::Builder::new()
        .source(PathBuf::from("vendor/berth/allocator"))
        .include_dir(PathBuf::from("."))
        .output(PathBuf::from("allocator.rs"))
        .set_async_support(false)
        .generate();
    match generated {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
