// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! The VTS suites: built from the same sources by Soong and here, and what Tradefed is told of them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use roxmltree::Document;

use crate::blueprint::{Blueprints, Module};
use crate::repository::{files_with, read, root};
use crate::soong::{dependencies, difference, mentions, read_code, soong_name, sources, workspace};

const FOLDER: &str = "tests/vts";
const RUST: &str = "tests/vts/rust";

/// The modules of the suites.
fn suites(blueprints: &Blueprints) -> Vec<&Module> {
    let suites: Vec<&Module> =
        blueprints.modules().filter(|module| module.folder.starts_with(FOLDER)).collect();
    let suites: Vec<&Module> =
        suites.into_iter().filter(|module| module.typ.ends_with("_test")).collect();
    assert!(!suites.is_empty());
    suites
}

#[test]
fn the_suite_in_rust_is_the_same_under_both_build_systems() {
    let blueprints = Blueprints::load();
    let packages = workspace().packages;
    let is_its = |package: &&cargo_metadata::Package| {
        package.manifest_path.as_std_path() == root().join(RUST).join("Cargo.toml")
    };
    let package = packages.iter().find(is_its).expect("the suite's package");
    let [target] = &package.targets[..] else { panic!("{:?}", package.targets) };
    let module = blueprints.module(&target.name);
    let file = target.src_path.file_name().unwrap().to_owned();
    assert_eq!((module.typ.as_str(), module.folder.as_path()), ("rust_test", Path::new(RUST)));
    assert_eq!(module.list("srcs"), BTreeSet::from([file.clone()]));
    assert_eq!(module.string("edition"), Some(target.edition.to_string()));
    // Its `main` is its own.
    assert_eq!(module.boolean("test_harness"), Some(false));
    let files = sources(&Path::new(RUST).join(file));
    let code: String = files.iter().map(read_code).collect();
    let crates = dependencies(package, false);
    assert!(crates.iter().all(|name| mentions(&code, name)), "{crates:?}");
    let needed = crates.iter().map(|name| soong_name(name)).collect();
    assert_eq!(difference(module.name(), &module.list("rustlibs"), &needed), None);
    let reached: BTreeSet<PathBuf> = files.into_iter().collect();
    assert_eq!(reached, files_with(RUST, &["rs"]).into_iter().collect(), "a file without `mod`");
}

#[test]
fn every_suite_is_of_vts_and_its_configuration_pushes_and_runs_it() {
    let blueprints = Blueprints::load();
    for suite in suites(&blueprints) {
        for name in ["general-tests", "vts"] {
            assert!(suite.list("test_suites").contains(name), "{}: {name}", suite.name());
        }
        let path = suite.folder.join(suite.string("test_config").expect("a test_config"));
        let text = read(&path);
        let document = Document::parse(&text).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        assert_eq!(document.root_element().tag_name().name(), "configuration");
        let option = |name: &str| {
            let mut found = document
                .descendants()
                .filter(|node| node.has_tag_name("option") && node.attribute("name") == Some(name));
            let node = found.next().unwrap_or_else(|| panic!("{path:?}: no option {name}"));
            assert!(found.next().is_none(), "{path:?}: {name} stands twice");
            ["key", "value"].map(|attribute| node.attribute(attribute).unwrap_or_default())
        };
        let [pushed, to] = option("push-file");
        assert_eq!(pushed, suite.name(), "what is pushed is what was built");
        assert_eq!(option("module-name")[1], suite.name());
        let folder = match suite.typ.as_str() {
            "cc_test" => option("native-test-device-path"),
            _ => option("test-device-path"),
        };
        assert_eq!(to, format!("{}/{}", folder[1], suite.name()));
    }
}

#[test]
fn the_suite_in_cpp_is_over_the_ndk_library_of_the_version_that_the_one_in_rust_has() {
    let blueprints = Blueprints::load();
    let suite = blueprints.module("VtsHalBerthAllocatorNdkTargetTest");
    let rust = blueprints.module("VtsHalBerthAllocatorTargetTest").list("rustlibs");
    let library = rust.iter().find_map(|name| name.strip_suffix("-rust")).expect("the interface");
    assert_eq!(suite.list("static_libs"), BTreeSet::from([format!("{library}-ndk")]));
    let stubs = suite.list("srcs").into_iter().chain(suite.list("local_include_dirs"));
    assert!(stubs.into_iter().all(|path| !path.contains("stubs")), "Soong has the real headers");
}

#[test]
fn presubmit_runs_every_suite_and_every_unit_test_whatever_was_changed() {
    let blueprints = Blueprints::load();
    // A mapping is for changes in its own folder and below.
    let mapping: serde_json::Value =
        serde_json::from_str(&read("TEST_MAPPING")).expect("it is JSON");
    let entries = mapping["presubmit"].as_array().expect("a list");
    let named: BTreeSet<&str> = entries.iter().filter_map(|entry| entry["name"].as_str()).collect();
    let tests = ["rust_test", "cc_test"].map(|typ| blueprints.of_type(typ));
    assert_eq!(named, tests.into_iter().flatten().map(Module::name).collect());
}
