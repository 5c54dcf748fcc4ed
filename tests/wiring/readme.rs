// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! What the README shows whole is what is built and run.

use crate::repository::{files_with, read};

const PROGRAMS: &str = "tests/end_to_end/readme";

#[test]
fn the_readme_shows_each_program_as_it_is_built_and_run() {
    let readme = read("README.md");
    let manifest = read("tests/end_to_end/Cargo.toml");
    let programs = files_with(PROGRAMS, &["rs"]);
    assert!(!programs.is_empty(), "nothing in {PROGRAMS}");
    for path in programs {
        let text = read(&path);
        // Without the licence and what the program is.
        let is_above = |line: &&str| line.starts_with("//") || line.trim().is_empty();
        let shown: String = text.split_inclusive('\n').skip_while(is_above).collect();
        let block = format!("```rust\n{shown}```\n");
        assert!(readme.contains(&block), "{} is not in the README as it is", path.display());
        let name = path.file_name().unwrap().to_string_lossy();
        assert!(manifest.contains(&format!("\"readme/{name}\"")), "{name} is not built");
    }
}
