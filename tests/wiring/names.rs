// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! The instance name in the AIDL file and in the code. The other places have their own modules.

use regex::Regex;

use crate::repository::{files_with, read, INSTANCE};

/// The interface's descriptor, from its AIDL file.
fn descriptor() -> String {
    let aidl = read("aidl/vendor/berth/allocator/IAllocator.aidl");
    let word = |pattern: &str| {
        let found = Regex::new(pattern).unwrap().captures(&aidl);
        found.unwrap_or_else(|| panic!("no {pattern}"))[1].to_string()
    };
    let package = word(r"(?m)^package ([\w.]+);");
    let interface = word(r"(?m)^(?:oneway )?interface (\w+) \{");
    format!("{package}.{interface}")
}

#[test]
fn the_instance_is_the_default_one_of_the_aidl_descriptor() {
    assert_eq!(format!("{}/default", descriptor()), INSTANCE);
}

#[test]
fn the_code_spells_the_instance_as_the_platform_files_do() {
    let descriptor = descriptor();
    let literal = Regex::new(r#""([^"\n]*vendor\.berth\.allocator\.IAllocator[^"\n]*)""#).unwrap();
    let mut instances = 0;
    for path in files_with("src", &["rs"]) {
        for line in read(&path).lines().filter(|line| !line.trim_start().starts_with("//")) {
            for found in literal.captures_iter(line) {
                let text = &found[1];
                assert!(text == INSTANCE || text == descriptor, "{path:?}: {text:?}");
                instances += usize::from(text == INSTANCE);
            }
        }
    }
    assert!(instances > 0, "no string literal {INSTANCE:?} in src/");
}
