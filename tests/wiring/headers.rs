// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! The licence at the head of every file.

use crate::repository::{files_with, read};

const EXTENSIONS: &[&str] = &[
    "aidl", "bp", "c", "config", "cpp", "h", "mk", "policy", "rc", "rs", "sh", "te", "toml", "xml",
];
const HEADER: [&str; 2] =
    ["Copyright (C) 2026 The Berth Authors", "SPDX-License-Identifier: Apache-2.0"];

#[test]
fn every_file_begins_with_the_licence_header() {
    let files = files_with(".", EXTENSIONS);
    assert!(files.len() > 20, "git lists only {} files", files.len());
    let bare: Vec<_> = files
        .iter()
        .filter(|path| {
            let text = read(path);
            // Room for a shebang, an XML declaration or the licence's own text between the two.
            let head: Vec<&str> = text.lines().take(20).collect();
            !HEADER.iter().all(|wanted| head.iter().any(|line| line.ends_with(wanted)))
        })
        .collect();
    assert!(bare.is_empty(), "without licence header: {bare:#?}");
}
