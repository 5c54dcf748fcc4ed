// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! The frozen versions of the interface: those that `Android.bp` names are those whose dumps are there.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::blueprint::Blueprints;
use crate::repository::{files, files_with, read};

const API: &str = "aidl/aidl_api/vendor.berth.allocator";

/// The files of a version's dump, below its folder, and what they say.
fn dump(version: &str) -> BTreeSet<(PathBuf, String)> {
    let folder = format!("{API}/{version}");
    let files = files_with(&folder, &["aidl"]).into_iter();
    files.map(|path| (path.strip_prefix(&folder).unwrap().to_owned(), read(&path))).collect()
}

/// The versions that have a folder.
fn folders() -> BTreeSet<String> {
    let first = |path: PathBuf| {
        let below = path.strip_prefix(API).unwrap().to_owned();
        below.components().next().unwrap().as_os_str().to_str().unwrap().to_owned()
    };
    files(API).into_iter().map(first).filter(|name| name != "current").collect()
}

#[test]
fn the_versions_that_soong_knows_are_those_whose_dumps_are_there() {
    let blueprints = Blueprints::load();
    let interface = blueprints.module("vendor.berth.allocator");
    assert_eq!(interface.versions(), folders());
}

#[test]
fn soong_takes_the_interface_for_frozen_exactly_if_it_is_what_the_last_version_was() {
    let blueprints = Blueprints::load();
    let interface = blueprints.module("vendor.berth.allocator");
    let last = folders().into_iter().max_by_key(|version| version.parse::<u32>().unwrap());
    let is_last = last.is_some_and(|last| dump(&last) == dump("current"));
    assert!(!dump("current").is_empty());
    assert_eq!(interface.boolean("frozen"), Some(is_last));
}
