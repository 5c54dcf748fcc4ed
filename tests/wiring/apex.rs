// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! The vendor APEX: what it holds is the service of the vendor partition, at another path.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use regex::Regex;

use crate::blueprint::Blueprints;
use crate::init::{mkdirs, sections, services, services_of};
use crate::repository::{read, read_without_comments};

const FOLDER: &str = "apex";

#[test]
fn it_has_the_service_an_rc_and_the_vintf_fragment_and_is_signed_by_nobodys_secret() {
    let blueprints = Blueprints::load();
    let apexes: Vec<_> = blueprints.of_type("apex").collect();
    let [apex] = apexes[..] else { panic!("{} APEXes", apexes.len()) };
    assert_eq!((apex.boolean("vendor"), apex.boolean("updatable")), (Some(true), Some(false)));
    // Public keys of AOSP's, by module: there is none here.
    assert_eq!(apex.string("key").as_deref(), Some("com.android.hardware.key"));
    assert_eq!(apex.string("certificate").as_deref(), Some(":com.android.hardware.certificate"));
    let manifest = read(Path::new(FOLDER).join(apex.string("manifest").unwrap()));
    let manifest: serde_json::Value = serde_json::from_str(&manifest).expect("it is JSON");
    assert_eq!(manifest["name"].as_str(), Some(apex.name()));
    assert!(manifest["version"].as_u64().is_some_and(|version| version > 0));

    let program = blueprints.module("vendor.berth.allocator-service_apex");
    assert_eq!(apex.list("binaries"), BTreeSet::from([program.name().to_string()]));
    // What is in the APEX is not beside it too.
    assert_eq!(program.boolean("installable"), Some(false));
    assert!(program.list("init_rc").is_empty() && program.list("vintf_fragments").is_empty());
    for name in apex.list("prebuilts") {
        let prebuilt = blueprints.module(&name);
        assert_eq!(prebuilt.boolean("installable"), Some(false), "{name}");
        let xml = name.ends_with(".xml");
        assert_eq!(prebuilt.string("sub_dir").as_deref(), xml.then_some("vintf"), "{name}");
    }
    assert_eq!(apex.list("prebuilts").len(), 2);
}

#[test]
fn its_rc_differs_from_the_vendor_partitions_in_the_programs_path_alone() {
    let rc = PathBuf::from(FOLDER).join("com.berth.allocator.rc");
    let own = services_of(&rc);
    let [own] = &own[..] else { panic!("{} services", own.len()) };
    let services = services();
    let eager = services.iter().find(|service| !service.program.ends_with("-lazy")).unwrap();
    let inside = eager.program.strip_prefix("/vendor/").unwrap();
    assert_eq!(own.program, format!("/apex/com.berth.allocator/{inside}"));
    assert_eq!((&own.name, &own.options), (&eager.name, &eager.options));
    // The folders are made by a file of the vendor partition.
    assert_eq!(sections(&rc).len(), 1);
    let made: Vec<_> = sections(&PathBuf::from(FOLDER).join("berth_data.rc"));
    let [(trigger, commands)] = &made[..] else { panic!("{} sections", made.len()) };
    assert_eq!(trigger, &["on", "post-fs-data"]);
    assert!(mkdirs().iter().all(|line| commands.contains(line)) && !commands.is_empty());
}

#[test]
fn its_program_has_the_label_that_it_has_on_the_vendor_partition() {
    let contexts = read_without_comments(Path::new(FOLDER).join("file_contexts"));
    let label = |contexts: &str, path: &str| {
        // The last line that fits holds.
        let mut fits = contexts.lines().filter(|line| {
            let pattern = line.split_whitespace().next().unwrap_or_default();
            Regex::new(&format!("^(?:{pattern})$")).unwrap().is_match(path)
        });
        fits.next_back().and_then(|line| line.split_whitespace().last()).map(str::to_owned)
    };
    let program = "/bin/hw/vendor.berth.allocator-service";
    let vendor = read_without_comments("sepolicy/file_contexts");
    let due = label(&vendor, &format!("/vendor{program}"));
    assert!(due.is_some());
    assert_eq!(label(&contexts, program), due);
    let other = label(&contexts, "/lib64/libother.so");
    assert_eq!(other.as_deref(), Some("u:object_r:vendor_file:s0"));
    assert!(!contexts.contains("allocator-service_apex"), "it is installed under its stem");
}
