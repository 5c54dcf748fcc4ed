// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! The SELinux policy: its names resolve, its contexts fit, and it has nothing that hides a denial.
//! Whether it suffices, and whether each rule is needed, is seen in the VM, enforcing.

use std::collections::BTreeSet;

use regex::Regex;

use crate::init;
use crate::repository::{files_with, read, read_without_comments, INSTANCE};

/// The types and attributes of system/sepolicy that vendor policy may name and this one does.
const PLATFORM_NAMES: &[&str] = &[
    "data_file_type",
    "dev_type",
    "device",
    "dmabuf_heap_device",
    "dmabuf_system_heap_device",
    "dmabuf_system_secure_heap_device",
    "domain",
    "exec_type",
    "file_type",
    "fs_type",
    "hal_service_type",
    "ion_device",
    "mlstrustedobject",
    "proc_meminfo",
    "proc_pressure_mem",
    "protected_service",
    "service_manager_type",
    "sysfs_type",
    "vendor_file_type",
];

/// The rest of the language, as far as this policy speaks it: statements, macros of te_macros,
/// classes and permissions. A word that is in no list is a slip or a decision to be made here.
const LANGUAGE: &[&str] = &[
    // Statements.
    "allow",
    "attribute",
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
    "dir",
    "fd",
    "file",
    // Permissions and sets of them.
    "call",
    "create_file_perms",
    "getattr",
    "lock",
    "map",
    "open",
    "r_file_perms",
    "read",
    "rw_dir_perms",
    "rw_file_perms",
    "setattr",
    "use",
    "watch",
    "write",
];

fn policy() -> String {
    let rules: String = files_with("sepolicy", &["te"]).iter().map(read_without_comments).collect();
    read_without_comments("sepolicy/attributes") + &rules
}

/// What the policy declares: its types and attributes, and the three of its HAL.
fn declared() -> BTreeSet<String> {
    let policy = policy();
    let types = Regex::new(r"(?m)^(?:type|attribute) (\w+)[,;]").unwrap();
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
fn every_file_context_is_of_a_declared_type_and_a_program_a_node_with_a_mode_or_a_folder() {
    let programs = init::services().into_iter().map(|service| service.program);
    let nodes = init::node_modes().into_iter().map(|(node, _)| node);
    let files: Vec<String> = programs.chain(nodes).chain(init::folders()).collect();
    for (pattern, label) in contexts("sepolicy/file_contexts") {
        assert!(declared().contains(&label), "{label}");
        let whole = Regex::new(&format!("^(?:{pattern})$")).unwrap();
        assert!(files.iter().any(|file| whole.is_match(file)), "{pattern}");
    }
}

#[test]
fn every_label_in_sysfs_is_of_a_declared_type_and_a_file_that_the_code_reads() {
    let statement = Regex::new(r"^genfscon sysfs (/\S+) u:object_r:(\w+):s0$").unwrap();
    let code: String = files_with("src/kernel", &["rs"]).iter().map(read).collect();
    let lines = read_without_comments("sepolicy/genfs_contexts");
    assert!(!lines.is_empty());
    for line in lines.lines() {
        let found = statement.captures(line).unwrap_or_else(|| panic!("{line:?}"));
        assert!(declared().contains(&found[2]), "{line}");
        assert!(code.contains(&format!("\"/sys{}\"", &found[1])), "{line}");
    }
}

#[test]
fn every_device_and_sysfs_type_is_a_label_and_has_the_attribute_of_its_place() {
    // AOSP's sepolicy_tests ask for the attributes, on the device's whole policy.
    let policy = policy();
    let labels = contexts("sepolicy/file_contexts");
    let nodes = labels.iter().filter(|(pattern, _)| pattern.starts_with("/dev/"));
    for (node, label) in nodes {
        assert!(policy.contains(&format!("type {label}, dev_type;")), "{node}");
    }
    let used: BTreeSet<String> = labels.into_iter().map(|(_, label)| label).collect();
    let devices = Regex::new(r"(?m)^type (\w+), dev_type;").unwrap();
    for found in devices.captures_iter(&policy) {
        assert!(used.contains(&found[1]), "nothing is labelled {}", &found[1]);
    }
    let genfs = read_without_comments("sepolicy/genfs_contexts");
    let sysfs = Regex::new(r"(?m)^type (\w+), fs_type, sysfs_type;").unwrap();
    for found in sysfs.captures_iter(&policy) {
        assert!(genfs.contains(&format!(":{}:", &found[1])), "nothing is labelled {}", &found[1]);
    }
}
