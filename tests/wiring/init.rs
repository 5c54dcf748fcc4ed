// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! The `.rc` files: what init and ueventd themselves would refuse, and what init's verifier does not
//! look at.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use berth_service::receipts::DEVICE_PATH;
use berth_service::HeapClass;
use regex::Regex;

use crate::blueprint::Blueprints;
use crate::repository::{files_with, read, read_without_comments, INSTANCE};

/// The one that ueventd reads.
const UEVENTD: &str = "init/ueventd.berth.rc";

/// The options that these services may have. A new one is added here on purpose, never by a slip.
const KNOWN_OPTIONS: &[&str] = &[
    "capabilities",
    "class",
    "disabled",
    "group",
    "interface",
    "oneshot",
    "rlimit",
    "shutdown",
    "task_profiles",
    "user",
];

/// A `service` section.
pub struct Service {
    /// Its name in init.
    pub name: String,
    /// The program's path on the device.
    pub program: String,
    /// What it is started with.
    arguments: Vec<String>,
    /// Its options, each as the words of its line.
    pub options: Vec<Vec<String>>,
}

impl Service {
    /// The arguments of an option that may stand once, or nothing.
    fn option(&self, name: &str) -> Option<Vec<&str>> {
        let mut lines = self.options.iter().filter(|words| words[0] == name);
        let words = lines.next()?;
        assert!(lines.next().is_none(), "{}: {name} stands twice", self.name);
        Some(words[1..].iter().map(String::as_str).collect())
    }
}

/// The `.rc` files that init reads.
pub fn files_of_init() -> Vec<PathBuf> {
    let mut files = files_with("init", &["rc"]);
    files.retain(|path| path != &PathBuf::from(UEVENTD));
    files
}

/// The sections of a `.rc` file: the words of the first line, and of those below it.
pub fn sections(path: &PathBuf) -> Vec<(Vec<String>, Vec<Vec<String>>)> {
    let mut sections: Vec<(Vec<String>, Vec<Vec<String>>)> = Vec::new();
    for line in read_without_comments(path).lines() {
        let words: Vec<String> = line.split_whitespace().map(String::from).collect();
        if line.starts_with(char::is_whitespace) {
            let section = sections.last_mut();
            section.unwrap_or_else(|| panic!("{path:?}: {line:?}")).1.push(words);
        } else {
            sections.push((words, Vec::new()));
        }
    }
    sections
}

/// The lines `mkdir PATH MODE USER GROUP` that init runs when /data is there.
pub fn mkdirs() -> Vec<Vec<String>> {
    let mut lines = Vec::new();
    for path in files_of_init() {
        for (words, commands) in sections(&path) {
            if words[0] == "on" {
                assert_eq!(words, ["on", "post-fs-data"], "{path:?}");
                assert!(commands.iter().all(|words| words[0] == "mkdir" && words.len() == 5));
                lines.extend(commands);
            }
        }
    }
    lines
}

/// The folders that init makes.
pub fn folders() -> Vec<String> {
    mkdirs().into_iter().map(|words| words[1].clone()).collect()
}

/// Every service of every `.rc` file that init reads.
pub fn services() -> Vec<Service> {
    let mut services: Vec<Service> = Vec::new();
    for path in files_of_init() {
        services.extend(services_of(&path));
    }
    assert!(!services.is_empty(), "init/ has no service");
    services
}

/// The services of one file.
pub fn services_of(path: &PathBuf) -> Vec<Service> {
    let mut services: Vec<Service> = Vec::new();
    {
        for (words, options) in sections(path) {
            if words[0] == "on" {
                continue;
            }
            assert!(words[0] == "service" && words.len() >= 3, "{path:?}: {words:?}");
            let (name, program, arguments) =
                (words[1].clone(), words[2].clone(), words[3..].to_vec());
            services.push(Service { name, program, arguments, options });
        }
    }
    assert!(!services.is_empty(), "{path:?} has no service");
    services
}

#[test]
fn every_service_runs_the_binary_that_soong_installs() {
    let blueprints = Blueprints::load();
    for service in services() {
        let (folder, name) = service.program.rsplit_once('/').unwrap();
        let module = blueprints.module(name);
        assert_eq!(module.typ, "rust_binary");
        let install = module.string("relative_install_path").unwrap_or_default();
        assert_eq!(folder, format!("/vendor/bin/{install}").trim_end_matches('/'));
    }
}

#[test]
fn every_service_declares_the_instance_as_its_aidl_interface() {
    for service in services() {
        let interface = service.option("interface");
        assert_eq!(interface, Some(vec!["aidl", INSTANCE]), "{}", service.name);
    }
}

#[test]
fn every_service_names_user_group_and_class_and_only_known_options() {
    for service in services() {
        let name = &service.name;
        let user = service.option("user").unwrap_or_default();
        assert!(user.len() == 1 && user[0] != "root", "{name}: user {user:?}");
        assert!(!service.option("group").unwrap_or_default().is_empty(), "{name}: group");
        assert!(!service.option("class").unwrap_or_default().is_empty(), "{name}: class");
        for words in &service.options {
            assert!(KNOWN_OPTIONS.contains(&words[0].as_str()), "{name}: {words:?}");
        }
    }
}

#[test]
fn a_service_is_disabled_and_oneshot_together_or_neither() {
    // Alone, `disabled` is never started again after a lazy exit, and `oneshot` not after a crash.
    for service in services() {
        let (disabled, oneshot) = (service.option("disabled"), service.option("oneshot"));
        assert_eq!(disabled.is_some(), oneshot.is_some(), "{}", service.name);
    }
}

#[test]
fn a_service_is_told_to_be_lazy_exactly_if_it_is_started_on_demand() {
    let services = services();
    assert!(services.iter().any(|service| service.option("disabled").is_some()));
    for service in services {
        let lazy = service.option("disabled").is_some();
        let due: &[&str] = if lazy { &["--lazy"] } else { &[] };
        assert_eq!(service.arguments, due, "{}", service.program);
        assert_eq!(service.program.ends_with("-lazy"), lazy, "{}", service.program);
    }
}

#[test]
fn a_service_outlives_the_display_exactly_if_it_is_not_started_on_demand() {
    // init starts what is critical for the shutdown if it does not run (DoReboot, init/reboot.cpp).
    for service in services() {
        let due = service.option("disabled").is_none().then(|| vec!["critical"]);
        assert_eq!(service.option("shutdown"), due, "{}", service.program);
    }
}

#[test]
fn services_of_one_name_differ_in_nothing_but_when_they_run() {
    let services = services();
    let often = |service: &Service| -> Vec<Vec<String>> {
        let when = ["disabled", "oneshot", "shutdown"];
        let others = |words: &&Vec<String>| !when.contains(&words[0].as_str());
        service.options.iter().filter(others).cloned().collect()
    };
    for service in &services {
        assert_eq!(service.name, services[0].name, "one of them is installed");
        assert_eq!(often(service), often(&services[0]), "{}", service.program);
    }
}

#[test]
fn every_service_may_open_a_descriptor_for_each_buffer() {
    for service in services() {
        let limit = service.option("rlimit").unwrap_or_default();
        let [resource, soft, hard] = limit[..] else { panic!("{}: {limit:?}", service.name) };
        assert_eq!((resource, soft), ("nofile", hard), "{}", service.name);
        assert!(soft.parse::<u64>().unwrap() > 32_768, "not above init's own limit: {soft}");
    }
}

#[test]
fn every_capability_has_its_policy_rule() {
    let policy: String =
        files_with("sepolicy", &["te"]).iter().map(read_without_comments).collect();
    let rule = Regex::new(
        r"allow\s+hal_berth_allocator\w*\s+self:(?:capability|global_capability_class_set)\s+([^;]*);",
    )
    .unwrap();
    let allowed: String =
        rule.captures_iter(&policy).map(|rule| format!(" {} ", &rule[1])).collect();
    for service in services() {
        for capability in service.option("capabilities").unwrap_or_default() {
            let permission = capability.to_lowercase();
            assert!(allowed.split_whitespace().any(|word| word == permission), "{capability}");
        }
    }
}

/// The nodes that ueventd gives a mode, each with the rest of its line.
pub fn node_modes() -> Vec<(String, String)> {
    let line = Regex::new(r"^(/dev/\S+)\s+(0[0-7]{3})\s+(\w+)\s+(\w+)$").unwrap();
    let parse = |text: &str| {
        let found = line.captures(text).unwrap_or_else(|| panic!("{UEVENTD}: {text:?}"));
        (found[1].to_string(), format!("{} {} {}", &found[2], &found[3], &found[4]))
    };
    read_without_comments(UEVENTD).lines().map(parse).collect()
}

#[test]
fn the_folder_of_the_receipts_is_the_services_alone_and_there_before_it_starts() {
    let folder = Path::new(DEVICE_PATH).parent().and_then(Path::to_str).unwrap();
    for service in services() {
        let user = service.option("user").unwrap()[0];
        let due = ["mkdir", folder, "0700", user, user];
        assert!(mkdirs().iter().any(|words| *words == due), "{due:?}");
        // Of the classes that start earlier than /data is there.
        let class = service.option("class").unwrap();
        assert!(!class.contains(&"early_hal") && !class.contains(&"core"), "{class:?}");
    }
}

#[test]
fn ueventd_lets_the_services_user_open_udmabuf_and_every_contiguous_heap() {
    let contiguous = HeapClass::Contiguous.aliases().iter();
    let mut nodes: BTreeSet<String> =
        contiguous.map(|name| format!("/dev/dma_heap/{name}")).collect();
    nodes.insert("/dev/udmabuf".to_string());
    let lines = node_modes();
    let named: BTreeSet<String> = lines.iter().map(|(node, _)| node.clone()).collect();
    assert_eq!((named, lines.len()), (nodes.clone(), nodes.len()));
    for service in services() {
        let [user, group] =
            ["user", "group"].map(|name| service.option(name).unwrap_or_default().join(" "));
        for (node, mode) in &lines {
            let owner = format!(" {user} {group}");
            assert!(mode.starts_with("04") && mode.ends_with(&owner), "{node}: {mode}");
        }
    }
}

#[test]
fn the_file_for_ueventd_is_installed_where_it_tells_to_import_it_from() {
    let blueprints = Blueprints::load();
    let module = blueprints.module("berth_ueventd.rc");
    assert_eq!((module.typ.as_str(), module.is("vendor")), ("prebuilt_etc", true));
    assert_eq!(module.folder.join(module.string("src").unwrap()), PathBuf::from(UEVENTD));
    let [folder, name] = ["sub_dir", "filename"].map(|property| module.string(property).unwrap());
    let import = format!("import /vendor/etc/{folder}/{name}");
    assert!(read(UEVENTD).lines().any(|line| line == format!("#     {import}")), "{import}");
    assert!(read("README.md").contains(&import), "{import}");
}
