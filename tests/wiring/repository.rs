// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! The repository as the tests read it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What clients ask ServiceManager for.
pub const INSTANCE: &str = "vendor.berth.allocator.IAllocator/default";

/// The folder that holds everything.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// A file's text, by its path from the root.
pub fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A file's lines without comments (`#` to the end) and without empty ones.
pub fn read_without_comments(path: impl AsRef<Path>) -> String {
    let mut text = String::new();
    for line in read(path).lines() {
        let line = line.split('#').next().unwrap_or_default().trim_end();
        if !line.is_empty() {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

/// The files under a folder that git tracks, or would if one added them; paths from the root.
pub fn files(folder: &str) -> Vec<PathBuf> {
    let git = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", folder])
        .current_dir(root())
        .output()
        .expect("git lists the files");
    assert!(git.status.success(), "{}", String::from_utf8_lossy(&git.stderr));
    let paths = String::from_utf8(git.stdout).unwrap();
    let mut files: Vec<PathBuf> = paths.split_terminator('\0').map(PathBuf::from).collect();
    files.sort();
    files.dedup();
    // A file that was deleted, and whose deletion is not committed yet, is still listed.
    files.retain(|path| root().join(path).is_file());
    files
}

/// The files under a folder with one of these extensions.
pub fn files_with(folder: &str, extensions: &[&str]) -> Vec<PathBuf> {
    let mut files = files(folder);
    files.retain(|path| {
        let extension = path.extension().unwrap_or_default();
        extensions.iter().any(|wanted| extension == *wanted)
    });
    files
}
