// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! A C library's mutex in a region, as `pthread_mutex.c` shows it, where there is a C compiler.

use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use berth_end_to_end::facilities::{missing, Facility};

use super::Memory;

/// The example, compiled.
fn example(folder: &Path) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("between/pthread_mutex.c");
    let program = folder.join("pthread_mutex");
    let mut compiler = Command::new("cc");
    compiler.args(["-Wall", "-Werror", "-pthread", "-o"]).arg(&program).arg(source);
    assert!(compiler.status().expect("a C compiler").success());
    program
}

#[test]
fn a_pthread_mutex_in_a_region_tells_peers_in_c_of_a_death() {
    if missing(Facility::CCompiler) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let program = example(folder.path());
    let memory = Memory::new();
    let region = format!("/proc/{}/fd/{}", std::process::id(), memory.memfd.as_fd().as_raw_fd());
    let run =
        |role: &str| -> Output { Command::new(&program).args([role, &region]).output().unwrap() };
    let says = |role: &str| String::from_utf8(run(role).stdout).unwrap();
    assert!(run("init").status.success());
    assert_eq!(says("look"), "free: \n");
    assert_eq!(run("die").status.signal(), Some(9));
    assert_eq!(says("recover"), "dead: in order\n");
    assert_eq!(says("look"), "free: in order\n");
    assert_eq!(run("die").status.signal(), Some(9));
    // Told once, and not brought in order.
    assert_eq!(says("look"), "dead: half\n");
    assert_eq!(says("look"), "unrecoverable: half\n");
}
