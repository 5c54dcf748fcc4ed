// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! The allocator's policy file that is shipped: what it says is what holds without it, its examples
//! are right, and it is installed where the service looks.

use berth_service::policy::{LimitKey, Policy, DEVICE_PATH};
use regex::Regex;

use crate::blueprint::Blueprints;
use crate::repository::{read, read_without_comments};

const FILE: &str = "init/allocator.policy";

#[test]
fn the_shipped_policy_says_what_holds_without_one() {
    assert_eq!(Policy::parse(&read(FILE)), Ok(Policy::default()));
}

#[test]
fn every_usage_and_stride_that_holds_without_a_policy_is_in_the_shipped_one() {
    let shipped = read_without_comments(FILE);
    let missing: Vec<_> = Policy::default()
        .to_string()
        .lines()
        .filter(|line| !shipped.lines().any(|shipped| shipped == *line))
        .map(String::from)
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn the_examples_in_the_shipped_policy_are_right_and_show_every_limit() {
    // An example begins with `#` and a word, prose with `#` and a space.
    let example = Regex::new(r"(?m)^#(\w)").unwrap();
    let text = example.replace_all(&read(FILE), "$1").into_owned();
    let policy = Policy::parse(&text).unwrap_or_else(|error| panic!("{FILE}: {error}"));
    for key in LimitKey::ALL {
        assert!(policy.limits.get(key).is_some(), "no example of {}", key.name());
    }
    assert!(!policy.heaps.is_empty() && policy.usages.len() > 1 && !policy.uids.is_empty());
}

#[test]
fn the_policy_is_installed_where_the_service_looks_whoever_brings_it() {
    let blueprints = Blueprints::load();
    let module = blueprints.module("berth_allocator.policy");
    assert_eq!((module.typ.as_str(), module.is("vendor")), ("prebuilt_etc", true));
    assert_eq!(module.folder.join(module.string("src").unwrap()), std::path::Path::new(FILE));
    let [folder, name] = ["sub_dir", "filename"].map(|property| module.string(property).unwrap());
    assert_eq!(format!("/vendor/etc/{folder}/{name}"), DEVICE_PATH);
    let copied = DEVICE_PATH.replacen("/vendor/", "$(TARGET_COPY_OUT_VENDOR)/", 1);
    let makefile = read_without_comments("berth.mk");
    let copy = format!("PRODUCT_COPY_FILES += $(BERTH_DEVICE_POLICY):{copied}");
    assert!(makefile.lines().any(|line| line == copy), "{copy}");
}
