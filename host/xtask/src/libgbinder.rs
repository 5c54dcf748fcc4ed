// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! A client of the HAL over another implementation of Binder: libgbinder of Debian sid, unpacked
//! beside the system's libraries with the C library that it wants, and `tests/libgbinder/client.c`
//! built against it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::cache::Cache;
use crate::progress::Step;
use crate::suite::Suite;
use crate::{machine, process, workspace};

const SUITE: &str = "sid";

/// The library and its headers, with what both build on.
const PACKAGES: &[&str] = &[
    "libatomic1",
    "libc6",
    "libffi8",
    "libgbinder-dev",
    "libgbinder1",
    "libgio-2.0-dev",
    "libglib2.0-0t64",
    "libglibutil-dev",
    "libglibutil1",
    "libpcre2-8-0",
];

/// What the loader and the libraries are called; they are all that the guest gets.
const LIBRARIES: &[&str] = &[
    "ld-linux-x86-64.so.2",
    "libatomic.so.1",
    "libc.so.6",
    "libffi.so.8",
    "libgbinder.so.1",
    "libglib-2.0.so.0",
    "libglibutil.so.1",
    "libgobject-2.0.so.0",
    "libm.so.6",
    "libpcre2-8.so.0",
];

/// Folders of headers below `include` in the cache.
const HEADERS: &[(&str, &str)] = &[
    ("gbinder", "usr/include/gbinder"),
    ("gutil", "usr/include/gutil"),
    ("glib", "usr/include/glib-2.0"),
    ("glibconfig", "usr/lib/x86_64-linux-gnu/glib-2.0/include"),
];

/// Where all of it is in the guest.
const GUEST_FOLDER: &str = "/vendor/libgbinder";

/// Gets the library and builds the client: where each file goes in the guest, and where it is here.
pub fn client(cache: &Cache) -> Result<Vec<(String, PathBuf)>> {
    let unpacked = ensure(cache)?;
    let client = compile(&unpacked)?;
    Ok(vec![
        (format!("{GUEST_FOLDER}/lib"), unpacked.join("lib")),
        (format!("{GUEST_FOLDER}/client"), client),
    ])
}

fn ensure(cache: &Cache) -> Result<PathBuf> {
    let inputs = format!("recipe 1\n{SUITE}\n{}\n{}\n", PACKAGES.join("\n"), LIBRARIES.join("\n"));
    cache.entry("libgbinder", &inputs, |into| {
        let unpacked = tempfile::tempdir_in(cache.empty_scratch("unpacked")?)?;
        let suite = Suite::open(cache, SUITE)?;
        fs::write(into.join("PACKAGES"), suite.unpack(PACKAGES, unpacked.path())?)?;
        fs::create_dir(into.join("lib"))?;
        for name in LIBRARIES {
            let from = unpacked.path().join("usr/lib/x86_64-linux-gnu").join(name);
            // Through the links that carry a library's version.
            fs::copy(&from, into.join("lib").join(name))
                .with_context(|| format!("the packages have no {name}"))?;
        }
        fs::create_dir(into.join("include"))?;
        for (name, folder) in HEADERS {
            fs::rename(unpacked.path().join(folder), into.join("include").join(name))
                .with_context(|| format!("the packages have no {folder}"))?;
        }
        Ok(())
    })
}

fn compile(unpacked: &Path) -> Result<PathBuf> {
    machine::ensure_packages(&["gcc", "libc6-dev"])?;
    let folder = workspace::target_folder()?.join("vm");
    fs::create_dir_all(&folder)?;
    let client = folder.join("libgbinder-client");
    let lib = unpacked.join("lib");
    let mut command = Command::new("gcc");
    command.args(["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror"]);
    for (name, _) in HEADERS {
        command.arg("-isystem").arg(unpacked.join("include").join(name));
    }
    command.arg(workspace::root()?.join("tests/libgbinder/client.c")).arg("-o").arg(&client);
    command.arg("-L").arg(&lib).args(["-l:libgbinder.so.1", "-l:libglib-2.0.so.0"]);
    // This machine's C library is older than the one that the libraries were linked with, and the
    // client runs with theirs. An RPATH, unlike a RUNPATH, counts for libraries of libraries too.
    command.arg("-Wl,--unresolved-symbols=ignore-in-shared-libs,--disable-new-dtags");
    command.arg(format!("-Wl,-rpath,{GUEST_FOLDER}/lib"));
    command.arg(format!("-Wl,--dynamic-linker={GUEST_FOLDER}/lib/ld-linux-x86-64.so.2"));
    let step = Step::start("building the client over libgbinder");
    process::run(&step, &mut command).context("tests/libgbinder/client.c")?;
    step.done();
    Ok(client)
}
