// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! The script for Cuttlefish, which is run in the VM at best: that it names what the build for Android
//! makes.

use crate::blueprint::Blueprints;
use crate::repository::{read, INSTANCE};

const SCRIPT: &str = "tests/cuttlefish/run.sh";

/// What the script gives a variable.
fn value(name: &str) -> String {
    let script = read(SCRIPT);
    let lines: Vec<&str> =
        script.lines().filter_map(|line| line.strip_prefix(&format!("{name}="))).collect();
    let [value] = lines[..] else { panic!("{name} is set {} times", lines.len()) };
    value.trim_matches('"').to_string()
}

#[test]
fn the_script_names_the_instance_the_domain_the_suites_and_programs_that_there_are() {
    assert_eq!(value("INSTANCE"), INSTANCE);
    assert!(read("sepolicy/hal_berth_allocator_default.te")
        .contains(&format!("init_daemon_domain({})", value("DOMAIN"))));
    let blueprints = Blueprints::load();
    for suite in value("TESTS").split_whitespace() {
        assert!(blueprints.module(suite).list("test_suites").contains("vts"), "{suite}");
    }
    for program in value("PROGRAMS").split_whitespace() {
        assert_eq!(blueprints.module(program).typ, "rust_binary");
        assert!(read("berth.mk").lines().any(|line| line.trim_end_matches('\\').trim() == program));
    }
}
