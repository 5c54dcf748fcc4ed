// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Writes the seeds as files, one an input: `write_seeds FOLDER`.

use std::fs;
use std::io;
use std::path::PathBuf;

use binder_random_parcel_rs::{seeds, Call};

fn main() -> io::Result<()> {
    let usage = || io::Error::new(io::ErrorKind::InvalidInput, "usage: write_seeds FOLDER");
    let folder = PathBuf::from(std::env::args_os().nth(1).ok_or_else(usage)?);
    fs::create_dir_all(&folder)?;
    for (name, calls) in seeds::seeds() {
        let bytes: Vec<u8> = calls.iter().flat_map(Call::to_bytes).collect();
        fs::write(folder.join(name), bytes)?;
    }
    Ok(())
}
