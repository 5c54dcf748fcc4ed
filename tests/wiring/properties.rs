// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Soong refuses a file with a property that it does not know, and what it knows differs from release
//! to release: every property used here is one of both Android 14 QPR3 and the main branch of March
//! 2025, looked up in the sources that are named.

use std::collections::BTreeSet;

use crate::blueprint::{Blueprints, Module};

/// What every module may say, and a package: build/soong, android/module.go and android/package.go.
const OF_ALL: &[&str] =
    &["default_applicable_licenses", "default_visibility", "name", "vendor", "visibility"];

/// build/soong, rust/compiler.go and rust/clippy.go; android/defaults.go. Not among them: `overrides`,
/// which Rust modules have since Android 15 QPR1 only.
const OF_RUST: &[&str] = &[
    "cargo_env_compat",
    "cargo_pkg_version",
    "clippy_lints",
    "crate_name",
    "defaults",
    "edition",
    "lints",
    "prefer_rlib",
    "relative_install_path",
    "rustlibs",
    "srcs",
    "stem",
];

/// What each type of module may say besides.
const OF_TYPE: &[(&str, &[&str])] = &[
    ("package", &[]),
    // android/license.go
    ("license", &["license_kinds", "license_text"]),
    // android/filegroup.go
    ("filegroup", &["srcs"]),
    // cc/cc.go
    ("rust_library", &["vendor_available"]),
    ("rust_defaults", &[]),
    // rust/rust.go; android/module.go
    ("rust_binary", &["init_rc", "installable", "vintf_fragments"]),
    // rust/test.go
    ("rust_test", &["auto_gen_config", "test_config", "test_harness", "test_suites"]),
    ("rust_fuzz", &[]),
    // cc/compiler.go, cc/linker.go, cc/test.go
    (
        "cc_test",
        &["cflags", "defaults", "shared_libs", "srcs", "static_libs", "test_config", "test_suites"],
    ),
    // etc/prebuilt_etc.go
    ("prebuilt_etc", &["filename", "installable", "src", "sub_dir"]),
    // apex/apex.go
    (
        "apex",
        &["binaries", "certificate", "file_contexts", "key", "manifest", "prebuilts", "updatable"],
    ),
    // system/tools/aidl, build/aidl_interface.go
    (
        "aidl_interface",
        &[
            "backend",
            "frozen",
            "host_supported",
            "local_include_dir",
            "owner",
            "srcs",
            "stability",
            "vendor_available",
            "versions_with_info",
        ],
    ),
];

/// What Soong knows of a type of module.
fn known(typ: &str) -> BTreeSet<&'static str> {
    let own = OF_TYPE.iter().find(|(name, _)| *name == typ);
    let (_, own) = own.unwrap_or_else(|| panic!("{typ} is no type of module that is looked up"));
    let of_rust = if typ.starts_with("rust_") { OF_RUST } else { &[] };
    [OF_ALL, of_rust, own].into_iter().flatten().copied().collect()
}

fn unknown(module: &Module) -> Vec<&str> {
    module.properties().difference(&known(&module.typ)).copied().collect()
}

#[test]
fn every_property_is_known_to_android_14_and_to_main() {
    let blueprints = Blueprints::load();
    for module in blueprints.modules() {
        let unknown = unknown(module);
        assert!(unknown.is_empty(), "{}, a {}: {unknown:?}", module.name(), module.typ);
    }
}

#[test]
fn no_library_is_the_vendors_too_that_only_tests_link() {
    let blueprints = Blueprints::load();
    let of_programs = ["rust_binary", "rust_library", "rust_defaults"];
    let linked: BTreeSet<String> = of_programs
        .iter()
        .flat_map(|typ| blueprints.of_type(typ))
        .flat_map(|module| module.list("rustlibs"))
        .collect();
    for library in blueprints.of_type("rust_library") {
        let public = library.list("visibility").contains("//visibility:public");
        let used = public || linked.contains(library.name());
        assert_eq!(library.is("vendor_available"), used, "{}", library.name());
    }
}
