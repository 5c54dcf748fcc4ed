// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! The SELinux policy: its names resolve, its contexts fit, and it has nothing that hides a denial.
//! Whether it suffices, and whether each rule is needed, is seen in the VM, enforcing.

use std::collections::BTreeSet;

use regex::Regex;

use crate::init;
use crate::repository::{files_with, read_without_comments, INSTANCE};

/// The types and attributes of system/sepolicy that vendor policy may name and this one does.
const PLATFORM_NAMES: &[&str] = &[
    "dmabuf_system_heap_device",
    "domain",
    "exec_type",
    "file_type",
    "hal_service_type",
    "proc_meminfo",
    "protected_service",
    "service_manager_type",
    "vendor_file_type",
];

/// The rest of the language, as far as this policy speaks it: statements, macros of te_macros,
/// classes and permissions. A word that is in no list is a slip or a decision to be made here.
const LANGUAGE: &[&str] = &[
    // Statements.
    "allow",
    "type",
    // Macros.
    "binder_call",
    "binder_use",
    "dump_hal",
    "hal_attribute",
    "hal_attribute_service",
    "hal_server_domain",
    "init_daemon_domain",
    "tmpfs_domain",
    // Classes.
    "binder",
    "chr_file",
    "file",
    // Permissions and sets of them.
    "call",
    "getattr",
    "map",
    "open",
    "r_file_perms",
    "read",
    "setattr",
    "write",
];

fn policy() -> String {
    let rules: String = files_with("sepolicy", &["te"]).iter().map(read_without_comments).collect();
    read_without_comments("sepolicy/attributes") + &rules
}

/// What the policy declares: its types, and the three attributes of its HAL.
fn declared() -> BTreeSet<String> {
    let policy = policy();
    let types = Regex::new(r"(?m)^type (\w+),").unwrap();
    let hals = Regex::new(r"(?m)^hal_attribute\((\w+)\)").unwrap();
    let mut names: BTreeSet<String> =
        types.captures_iter(&policy).map(|found| found[1].to_string()).collect();
    for hal in hals.captures_iter(&policy) {
        for role in ["", "_client", "_server"] {
            names.insert(format!("hal_{}{role}", &hal[1]));
        }
    }
    names
}

/// The entries of a contexts file, each as its pattern and its type.
fn contexts(path: &str) -> Vec<(String, String)> {
    let context = Regex::new(r"^u:object_r:(\w+):s0$").unwrap();
    let entry = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [pattern, label] = words[..] else { panic!("{path}: {line:?}") };
        let label = context.captures(label).unwrap_or_else(|| panic!("{path}: {label:?}"));
        (pattern.to_string(), label[1].to_string())
    };
    read_without_comments(path).lines().map(entry).collect()
}

#[test]
fn every_name_is_declared_here_or_known_of_the_platform() {
    let declared = declared();
    // The argument of hal_attribute is a part of names, not one.
    let policy =
        Regex::new(r"hal_attribute\(\w+\)").unwrap().replace_all(&policy(), "").into_owned();
    let words = Regex::new(r"[A-Za-z_]\w*").unwrap();
    let unknown: BTreeSet<&str> = words
        .find_iter(&policy)
        .map(|word| word.as_str())
        .filter(|word| !declared.contains(*word))
        .filter(|word| !PLATFORM_NAMES.contains(word) && !LANGUAGE.contains(word))
        .collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[test]
fn every_platform_name_in_the_list_is_still_used() {
    let policy = policy();
    for name in PLATFORM_NAMES.iter().chain(LANGUAGE) {
        assert!(Regex::new(&format!(r"\b{name}\b")).unwrap().is_match(&policy), "{name}");
    }
}

#[test]
fn nothing_hides_a_denial_or_grants_by_wildcard() {
    let policy = policy();
    for forbidden in ["permissive", "dontaudit", "*", "~", "-"] {
        assert!(!policy.contains(forbidden), "{forbidden:?}");
    }
}

#[test]
fn the_service_context_is_the_instance_literally() {
    // ServiceManager compares the whole string; an escaped dot would match nothing.
    let service = "hal_berth_allocator_service".to_string();
    assert_eq!(contexts("sepolicy/service_contexts"), [(INSTANCE.to_string(), service.clone())]);
    assert!(declared().contains(&service));
}

#[test]
fn the_label_of_each_services_binary_is_the_exec_type_of_its_domain() {
    let contexts = contexts("sepolicy/file_contexts");
    for service in init::services() {
        let matching: Vec<_> = contexts
            .iter()
            .filter(|(pattern, _)| {
                let whole = Regex::new(&format!("^(?:{pattern})$")).unwrap();
                for (dot, _) in service.program.match_indices('.') {
                    let mut other = service.program.clone();
                    other.replace_range(dot..=dot, "x");
                    assert!(!whole.is_match(&other), "{pattern}: a dot is not escaped");
                }
                whole.is_match(&service.program)
            })
            .collect();
        let [(_, label)] = matching[..] else { panic!("{}: {matching:?}", service.program) };
        let domain = label.strip_suffix("_exec").unwrap();
        assert!(declared().contains(label) && declared().contains(domain), "{label}");
        assert!(policy().contains(&format!("init_daemon_domain({domain})")), "{domain}");
    }
}

#[test]
fn every_file_context_is_of_a_declared_type_and_an_installed_binary() {
    let programs: Vec<String> =
        init::services().into_iter().map(|service| service.program).collect();
    for (pattern, label) in contexts("sepolicy/file_contexts") {
        assert!(declared().contains(&label), "{label}");
        let whole = Regex::new(&format!("^(?:{pattern})$")).unwrap();
        assert!(programs.iter().any(|program| whole.is_match(program)), "{pattern}");
    }
}
