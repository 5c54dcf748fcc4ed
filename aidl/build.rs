// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Generates the Rust types of the AIDL package beside this file, with the version and the hash that
//! Soong would give them: those of the frozen version that the sources are, or the next one's number
//! and `notfrozen`.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const SOURCES: &str = "vendor/berth/allocator";
const API: &str = "aidl_api/vendor.berth.allocator";

fn main() -> ExitCode {
    for folder in ["vendor", API] {
        println!("cargo:rerun-if-changed={folder}");
    }
    match generate() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn generate() -> Result<(), Box<dyn Error>> {
    let (version, hash) = version()?;
    let mut builder = rsbinder_aidl::Builder::new();
    for name in aidl_files(Path::new(SOURCES))? {
        builder = builder.source(Path::new(SOURCES).join(name)).version(version).hash(&hash);
    }
    builder
        .include_dir(PathBuf::from("."))
        .output(PathBuf::from("allocator.rs"))
        .set_async_support(false)
        .generate()?;
    Ok(())
}

/// The number and the hash of the version that the sources are.
fn version() -> Result<(i32, String), Box<dyn Error>> {
    let folder = |number: i32| Path::new(API).join(number.to_string());
    let mut latest = 0;
    while folder(latest + 1).is_dir() {
        latest += 1;
    }
    let current = dumped(&Path::new(API).join("current"))?;
    if latest > 0 && dumped(&folder(latest))? == current {
        let hash = fs::read_to_string(folder(latest).join(".hash"))?;
        return Ok((latest, hash.lines().last().unwrap_or_default().to_owned()));
    }
    Ok((latest + 1, "notfrozen".to_owned()))
}

/// The dump in a folder, file by file.
fn dumped(folder: &Path) -> std::io::Result<Vec<(String, String)>> {
    let package = folder.join(SOURCES);
    let names = aidl_files(&package)?;
    names
        .into_iter()
        .map(|name| fs::read_to_string(package.join(&name)).map(|t| (name, t)))
        .collect()
}

fn aidl_files(folder: &Path) -> std::io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.ends_with(".aidl") {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}
