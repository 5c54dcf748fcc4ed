// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! The VTS suite in C++ and the headers of the NDK back end, as a C++ compiler sees them: the AIDL
//! compiler itself does not know what C++ cannot have. What libbinder_ndk would bring is declared in
//! `tests/vts/cpp/stubs`; gtest is a real one.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::progress::Step;
use crate::{machine, process, workspace};

const SUITE: &str = "tests/vts/cpp/VtsHalBerthAllocatorNdkTargetTest.cpp";
const STUBS: &str = "tests/vts/cpp/stubs";

/// The dialects that the tree has had: Android 14's, and that of later ones.
const DIALECTS: &[&str] = &["gnu++17", "gnu++20"];

/// Has the compiler look at the suite with headers that were just generated.
pub fn look_at_suite(headers: &Path) -> Result<()> {
    machine::ensure_packages(&["g++", "libc6-dev", "libgtest-dev", "linux-libc-dev"])?;
    let root = workspace::root()?;
    let step = Step::start("looking at the C++ suite over the NDK headers");
    for dialect in DIALECTS {
        let mut command = Command::new("g++");
        command.arg(format!("-std={dialect}"));
        // The generated headers are read as the system's: their warnings are clang's to give.
        command.args(["-fsyntax-only", "-Wall", "-Wextra", "-Werror", "-isystem"]);
        command.arg(root.join(STUBS)).arg("-isystem").arg(headers).arg(root.join(SUITE));
        process::run(&step, &mut command)
            .with_context(|| format!("{SUITE} or a header of the NDK back end, as {dialect}"))?;
    }
    step.done();
    Ok(())
}
