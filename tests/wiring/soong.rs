// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! The two build systems agree: every crate that Cargo builds for the device has its module in an
//! `Android.bp`, with the same root, name and dependencies.
//!
//! Soong gives each module its own dependency list where Cargo has one for a whole package, so the
//! expected list of a module is: the package's dependencies that the module's own sources mention.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use cargo_metadata::cargo_platform::Cfg;
use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package, Target, TargetKind};
use regex::Regex;

use crate::blueprint::{Blueprints, Module};
use crate::init::{files_of_init, services};
use crate::repository::{files_with, read, root};

/// The platform's libraries that modules of the vendor may link since Android 14 QPR3: each
/// `vendor_available` there, in 15 and in 16, in its Android.bp under external/rust (libbinder_rs in
/// frameworks/native).
const OF_THE_PLATFORM: &[&str] = &[
    "libandroid_logger",
    "libanyhow",
    "libbinder_rs",
    "libbitflags",
    "libclap",
    "libclap_complete",
    "liblog_rust",
    "libnix",
    "libserde",
    "libserde_json",
    "libthiserror",
];

/// Those that only tests may link, which are no modules of the vendor.
const OF_THE_PLATFORM_FOR_TESTS: &[&str] = &["liblibtest_mimic", "libproptest"];

/// What nix has in Android 14 QPR3 (external/rust/crates/nix/Android.bp): later ones have more, as
/// inotify from 16 on.
const FEATURES_OF_NIX: &[&str] = &[
    "event",
    "feature",
    "fs",
    "ioctl",
    "memoffset",
    "mman",
    "mount",
    "net",
    "poll",
    "process",
    "sched",
    "signal",
    "socket",
    "term",
    "time",
    "uio",
    "user",
];

/// The one crate whose sources differ: the door to Binder.
const DOOR: &str = "hal_binder";
const DOOR_UNDER_SOONG: &str = "aosp.rs";

/// The module of a crate, where its name is not `lib` and the crate's.
pub fn soong_name(name: &str) -> String {
    match name {
        "binder" => "libbinder_rs".into(),
        "log" => "liblog_rust".into(),
        "vendor_berth_allocator" => "vendor.berth.allocator-V1-rust".into(),
        _ => format!("lib{name}"),
    }
}

/// A target that is built for the device, by both build systems.
struct DeviceTarget {
    package: Package,
    target: Target,
    /// Its folder, from the repository's root.
    folder: PathBuf,
    /// The file name of the crate root, as Soong must name it.
    root: String,
    is_library: bool,
}

impl DeviceTarget {
    /// Its module of a type. A program's module has a name of its own: it is known by the root.
    fn module<'a>(&self, blueprints: &'a Blueprints, typ: &'a str) -> &'a Module {
        let srcs = BTreeSet::from([self.root.clone()]);
        let modules = self.modules(blueprints, typ, &srcs);
        let [module, variants @ ..] = &modules[..] else {
            panic!("{}: no {typ} of {}", self.folder.display(), self.root)
        };
        for variant in variants {
            // One program, installed in another way.
            assert_eq!(typ, "rust_binary", "{} and {}", module.name(), variant.name());
            assert_eq!(variant.list("defaults"), module.list("defaults"), "{}", variant.name());
            assert_eq!(variant.list("rustlibs"), module.list("rustlibs"), "{}", variant.name());
        }
        module
    }

    fn modules<'a>(
        &self,
        blueprints: &'a Blueprints,
        typ: &'a str,
        srcs: &BTreeSet<String>,
    ) -> Vec<&'a Module> {
        let fits = |module: &&Module| module.folder == self.folder && module.list("srcs") == *srcs;
        blueprints.of_type(typ).filter(fits).collect()
    }

    fn main_module<'a>(&self, blueprints: &'a Blueprints) -> &'a Module {
        self.module(blueprints, if self.is_library { "rust_library" } else { "rust_binary" })
    }

    /// The modules that the sources need of what the package depends on.
    fn needs(&self, with_dev: bool) -> BTreeSet<String> {
        let mut crates = dependencies(&self.package, with_dev);
        if self.package.name.as_str() == DOOR {
            crates.remove("rsbinder");
            crates.insert("binder".into());
        }
        if !self.is_library {
            // The program's own library.
            crates.extend(self.package.targets.iter().filter(|t| is_library(t)).map(crate_name));
        }
        let code: String = sources(&self.folder.join(&self.root)).iter().map(read_code).collect();
        crates.retain(|name| mentions(&code, name));
        crates.iter().map(|name| soong_name(name)).collect()
    }
}

/// The workspace, without its dependencies: this needs no network.
pub fn workspace() -> Metadata {
    let mut command = MetadataCommand::new();
    command.manifest_path(root().join("Cargo.toml")).no_deps();
    command.other_options(["--offline".to_string()]).exec().unwrap()
}

/// What both build systems build outside src/.
const OUTSIDE_SRC: [&str; 2] = ["tests/demo", "tests/facilities"];

/// Libraries and programs of src/, the demo, and what the unit tests of src/ need.
fn device_targets() -> Vec<DeviceTarget> {
    let mut targets = Vec::new();
    for package in workspace().packages {
        let folder = package.manifest_path.parent().unwrap().as_std_path();
        let folder = folder.strip_prefix(root()).unwrap().to_path_buf();
        if !folder.starts_with("src") && !OUTSIDE_SRC.iter().any(|other| folder == Path::new(other))
        {
            continue;
        }
        for target in package.targets.clone() {
            let is_library = is_library(&target);
            if is_library || target.kind.contains(&TargetKind::Bin) {
                let under_soong = (package.name.as_str() == DOOR).then_some(DOOR_UNDER_SOONG);
                let root = under_soong.or(target.src_path.file_name()).unwrap().to_string();
                let (package, folder) = (package.clone(), folder.clone());
                targets.push(DeviceTarget { package, target, folder, root, is_library });
            }
        }
    }
    assert!(targets.len() >= 8, "only {} device targets in the workspace", targets.len());
    targets
}

fn is_library(target: &Target) -> bool {
    target.kind.contains(&TargetKind::Lib)
}

fn crate_name(target: &Target) -> String {
    target.name.replace('-', "_")
}

/// The crates that a package depends on when it is built for Android.
pub fn dependencies(package: &Package, with_dev: bool) -> BTreeSet<String> {
    let android: Vec<Cfg> = ["unix", "target_os=\"android\"", "target_family=\"unix\""]
        .iter()
        .map(|cfg| Cfg::from_str(cfg).unwrap())
        .collect();
    package
        .dependencies
        .iter()
        .filter(|dependency| match dependency.kind {
            DependencyKind::Normal => true,
            DependencyKind::Development => with_dev,
            _ => false,
        })
        .filter(|dependency| match &dependency.target {
            Some(platform) => platform.matches("aarch64-linux-android", &android),
            None => true,
        })
        .map(|dependency| dependency.rename.as_ref().unwrap_or(&dependency.name).replace('-', "_"))
        .collect()
}

/// The files that a crate root reaches by `mod name;`, itself included; paths from the root.
pub fn sources(file: &Path) -> Vec<PathBuf> {
    let folder = file.parent().unwrap();
    let inner = match file.file_stem().unwrap().to_str().unwrap() {
        "lib" | "main" | "mod" | "aosp" | "linux" => folder.to_path_buf(),
        stem => folder.join(stem),
    };
    let module = Regex::new(r"(?m)^\s*(?:pub(?:\([^)]*\))?\s+)?mod\s+(\w+);").unwrap();
    let mut files = vec![file.to_path_buf()];
    for found in module.captures_iter(&read_code(file)) {
        let names = [format!("{}.rs", &found[1]), format!("{}/mod.rs", &found[1])];
        let mut paths = names.iter().map(|name| inner.join(name));
        let path = paths.find(|path| root().join(path).is_file());
        files.extend(sources(&path.unwrap_or_else(|| panic!("{file:?}: mod {}", &found[1]))));
    }
    files
}

/// A Rust file without its comment lines.
pub fn read_code(path: impl AsRef<Path>) -> String {
    let is_code = |line: &&str| !line.trim_start().starts_with("//");
    read(path).lines().filter(is_code).map(|line| format!("{line}\n")).collect()
}

/// What a list lacks and what it has too much, in words; nothing if it is as needed.
pub fn difference(
    what: &str,
    listed: &BTreeSet<String>,
    needed: &BTreeSet<String>,
) -> Option<String> {
    let missing: Vec<_> = needed.difference(listed).collect();
    let needless: Vec<_> = listed.difference(needed).collect();
    (listed != needed).then(|| format!("{what}: missing {missing:?}, needless {needless:?}"))
}

/// Whether code names a crate in a path.
pub fn mentions(code: &str, name: &str) -> bool {
    Regex::new(&format!(r"(?m)(?:^|[^\w:.]|[^:]::){name}::|\buse {name};")).unwrap().is_match(code)
}

#[test]
fn every_crate_of_the_device_is_one_module_of_the_same_name() {
    let blueprints = Blueprints::load();
    for target in device_targets() {
        let module = target.main_module(&blueprints);
        if target.is_library {
            assert_eq!(module.string("crate_name"), Some(crate_name(&target.target)));
            assert_eq!(module.name(), soong_name(&crate_name(&target.target)));
        }
        assert_eq!(module.string("edition"), Some(target.target.edition.to_string()));
    }
}

#[test]
fn every_module_is_a_crate_of_the_workspace() {
    let blueprints = Blueprints::load();
    let mut known = BTreeSet::new();
    for target in device_targets() {
        let typ = target.main_module(&blueprints).typ.clone();
        let srcs = BTreeSet::from([target.root.clone()]);
        let modules = target.modules(&blueprints, &typ, &srcs);
        known.extend(modules.iter().map(|module| module.name().to_string()));
    }
    for module in blueprints.of_type("rust_library").chain(blueprints.of_type("rust_binary")) {
        assert!(known.contains(module.name()), "{} is in no Cargo.toml", module.name());
    }
}

#[test]
fn every_module_lists_exactly_the_dependencies_that_its_sources_use() {
    let blueprints = Blueprints::load();
    let mut wrong = Vec::new();
    for target in device_targets() {
        let module = target.main_module(&blueprints);
        wrong.extend(difference(module.name(), &module.list("rustlibs"), &target.needs(false)));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_library_that_a_module_links_is_ours_or_one_that_the_platform_gives_vendors() {
    let blueprints = Blueprints::load();
    let ours: BTreeSet<String> =
        blueprints.of_type("rust_library").map(|module| module.name().to_string()).collect();
    let interface = soong_name("vendor_berth_allocator");
    for typ in ["rust_library", "rust_binary", "rust_test"] {
        for module in blueprints.of_type(typ) {
            for library in module.list("rustlibs") {
                let name = library.as_str();
                let known = ours.contains(name) || name == interface;
                let test = typ == "rust_test" && OF_THE_PLATFORM_FOR_TESTS.contains(&name);
                assert!(
                    known || test || OF_THE_PLATFORM.contains(&name),
                    "{}: {name}",
                    module.name()
                );
            }
        }
    }
}

#[test]
fn no_crate_of_the_device_asks_nix_for_what_android_14_builds_it_without() {
    let mut dependencies = 0;
    for package in device_targets().into_iter().map(|target| target.package) {
        for nix in package.dependencies.iter().filter(|dependency| dependency.name == "nix") {
            dependencies += 1;
            for feature in &nix.features {
                let known = FEATURES_OF_NIX.contains(&feature.as_str());
                assert!(known, "{}: nix's {feature}", package.name);
            }
        }
    }
    assert!(dependencies > 0);
}

#[test]
fn every_cargo_dependency_is_used_under_soong_too() {
    let mut wrong = Vec::new();
    for package in workspace().packages {
        let targets: Vec<DeviceTarget> =
            device_targets().into_iter().filter(|target| target.package.id == package.id).collect();
        if targets.is_empty() || package.name.as_str() == DOOR {
            continue;
        }
        let mut used: BTreeSet<String> =
            targets.iter().flat_map(|target| target.needs(false)).collect();
        used.remove(&soong_name(&package.name));
        let listed: BTreeSet<String> =
            dependencies(&package, false).iter().map(|name| soong_name(name)).collect();
        let manifest = format!("{}'s Cargo.toml", package.name);
        wrong.extend(difference(&manifest, &listed, &used));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_crate_with_unit_tests_has_a_test_module() {
    let blueprints = Blueprints::load();
    let mut wrong = Vec::new();
    for target in device_targets() {
        let files = sources(&target.folder.join(&target.root));
        if files.iter().any(|path| read_code(path).contains("#[test]")) {
            let test = target.module(&blueprints, "rust_test");
            let crate_name = target.is_library.then(|| crate_name(&target.target));
            assert_eq!(test.string("crate_name"), crate_name);
            assert!(test.list("test_suites").contains("general-tests"), "{}", test.name());
            wrong.extend(difference(test.name(), &test.list("rustlibs"), &target.needs(true)));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The package of cargo-fuzz, a workspace of its own.
const FUZZ: &str = "tests/fuzz";

#[test]
fn the_fuzz_target_is_the_same_under_both_build_systems() {
    let mut command = MetadataCommand::new();
    command.manifest_path(root().join(FUZZ).join("Cargo.toml")).no_deps();
    let metadata = command.other_options(["--offline".to_string()]).exec().unwrap();
    let [package] = &metadata.packages[..] else { panic!("{:?}", metadata.packages) };
    let blueprints = Blueprints::load();
    let modules: Vec<&Module> = blueprints.of_type("rust_fuzz").collect();
    assert_eq!(modules.len(), package.targets.len());
    for target in &package.targets {
        let source = Path::new(FUZZ).join(target.src_path.file_name().unwrap());
        let is_its = |module: &&&Module| {
            module.list("srcs").iter().any(|src| module.folder.join(src) == source)
        };
        let module = modules.iter().find(is_its).unwrap_or_else(|| panic!("{source:?}"));
        let mut crates = dependencies(package, false);
        // Soong adds it to each such module.
        assert!(crates.remove("libfuzzer_sys"));
        let code = read_code(&source);
        assert!(crates.iter().all(|name| mentions(&code, name)), "{crates:?}");
        let needed = crates.iter().map(|name| soong_name(name)).collect();
        assert_eq!(difference(module.name(), &module.list("rustlibs"), &needed), None);
    }
}

#[test]
fn every_source_file_belongs_to_a_crate() {
    let mut reached = BTreeSet::new();
    for target in device_targets() {
        reached.extend(sources(&target.folder.join(&target.root)));
        let cargo_root = target.target.src_path.file_name().unwrap();
        reached.extend(sources(&target.folder.join(cargo_root)));
    }
    let folders = OUTSIDE_SRC.iter().chain(&["src"]);
    let lost: Vec<PathBuf> = folders
        .flat_map(|folder| files_with(folder, &["rs"]))
        .filter(|path| !reached.contains(path))
        .collect();
    assert!(lost.is_empty(), "no `mod` leads to {lost:?}");
}

#[test]
fn libraries_are_no_partitions_own_and_programs_are_the_vendors() {
    let blueprints = Blueprints::load();
    let libraries: Vec<&Module> = blueprints.of_type("rust_library").collect();
    let programs: Vec<&Module> = blueprints.of_type("rust_binary").collect();
    for module in &libraries {
        assert!(!module.is("vendor"), "{}", module.name());
    }
    for module in &programs {
        assert!(module.is("vendor") && module.is("prefer_rlib"), "{}", module.name());
    }
    for module in libraries.iter().chain(&programs).copied().chain(blueprints.of_type("rust_test"))
    {
        for property in ["lints", "clippy_lints"] {
            assert_eq!(module.string(property).as_deref(), Some("android"), "{}", module.name());
        }
    }
}

#[test]
fn every_package_has_the_licence_and_every_module_name_is_unique() {
    let blueprints = Blueprints::load();
    let license: Vec<&Module> = blueprints.of_type("license").collect();
    let [license] = license[..] else { panic!("{} license modules", license.len()) };
    assert!(license.list("license_text").contains("LICENSE"));
    let licenses = BTreeSet::from([license.name().to_string()]);
    let mut licensed = BTreeSet::new();
    for package in blueprints.of_type("package") {
        assert_eq!(package.list("default_applicable_licenses"), licenses, "{:?}", package.folder);
        licensed.insert(package.folder.clone());
    }
    let mut names = BTreeSet::new();
    for module in blueprints.modules().filter(|module| module.typ != "package") {
        assert!(licensed.contains(&module.folder), "{:?} has no package", module.folder);
        assert!(names.insert(module.name()), "{} stands twice", module.name());
    }
}

#[test]
fn every_file_and_module_that_a_module_names_exists() {
    let blueprints = Blueprints::load();
    for module in blueprints.modules().filter(|module| module.typ != "aidl_interface") {
        let mut one: BTreeSet<String> = BTreeSet::new();
        for property in ["src", "manifest", "file_contexts", "test_config"] {
            one.extend(module.string(property));
        }
        for name in module.list("binaries").iter().chain(&module.list("prebuilts")) {
            blueprints.module(name);
        }
        for list in ["srcs", "license_text", "init_rc", "vintf_fragments"]
            .map(|property| module.list(property))
            .iter()
            .chain([&one])
        {
            for name in list {
                match name.strip_prefix(':') {
                    Some(other) => assert_eq!(blueprints.module(other).typ, "filegroup"),
                    None => assert!(root().join(&module.folder).join(name).is_file(), "{name}"),
                }
            }
        }
    }
}

#[test]
fn each_service_installs_its_rc_and_the_vintf_fragment() {
    let blueprints = Blueprints::load();
    let files = |service: &Module, property: &str| -> BTreeSet<PathBuf> {
        let groups = service.list(property);
        let groups = groups.iter().map(|name| blueprints.module(name.trim_start_matches(':')));
        groups
            .flat_map(|group| group.list("srcs").into_iter().map(|src| group.folder.join(src)))
            .collect()
    };
    let mut installed = BTreeSet::new();
    for service in services() {
        let module = blueprints.module(service.program.rsplit_once('/').unwrap().1);
        let rc = files(module, "init_rc");
        let due = BTreeSet::from([PathBuf::from(format!("init/{}.rc", module.name()))]);
        assert_eq!(rc, due, "{}", module.name());
        installed.extend(rc);
        assert_eq!(
            files(module, "vintf_fragments"),
            BTreeSet::from(["vintf/vendor.berth.allocator.xml".into()])
        );
    }
    assert_eq!(installed, BTreeSet::from_iter(files_of_init()));
}

#[test]
fn the_aidl_interface_covers_the_package_and_is_stable_for_rust_and_ndk() {
    let blueprints = Blueprints::load();
    let interface = blueprints.module("vendor.berth.allocator");
    assert_eq!(interface.typ, "aidl_interface");
    assert_eq!(interface.string("stability").as_deref(), Some("vintf"));
    assert_eq!(interface.list("visibility"), BTreeSet::from(["//visibility:public".to_string()]));
    assert!(interface.is("vendor_available"));
    let backends = ["rust", "ndk", "cpp", "java"].map(|name| interface.backend(name));
    assert_eq!(backends, [Some(true), Some(true), Some(false), Some(false)]);
    // The glob is of one folder, so every file must lie in it and say that package.
    let glob = format!("{}/*.aidl", interface.name().replace('.', "/"));
    assert_eq!(interface.list("srcs"), BTreeSet::from([glob]));
    let folder = interface.folder.join(interface.name().replace('.', "/"));
    let package = format!("package {};", interface.name());
    for path in files_with("aidl/vendor", &["aidl"]) {
        assert_eq!(path.parent(), Some(folder.as_path()), "{path:?}");
        assert!(read(&path).lines().any(|line| line == package), "{path:?}");
    }
}

#[test]
fn the_product_makefile_names_modules_and_files_that_exist() {
    let blueprints = Blueprints::load();
    let text = crate::repository::read_without_comments("berth.mk").replace("\\\n", " ");
    let is_assignment = |line: &&str| !line.contains("ifdef ") && !["else", "endif"].contains(line);
    let mut packages = BTreeSet::new();
    for line in text.lines().filter(is_assignment) {
        let (variable, words) = line.split_once(" += ").unwrap_or_else(|| panic!("{line:?}"));
        for word in words.split_whitespace() {
            if variable.starts_with("PRODUCT_PACKAGES") {
                packages.insert(word);
            } else if variable != "PRODUCT_COPY_FILES" {
                let path = word.strip_prefix("$(LOCAL_PATH)/").unwrap_or_else(|| panic!("{word}"));
                assert!(root().join(path).exists(), "{path}");
            }
        }
    }
    let installed = ["apex", "rust_binary", "prebuilt_etc"].map(|typ| blueprints.of_type(typ));
    let installed = installed
        .into_iter()
        .flatten()
        .filter(|module| module.boolean("installable") != Some(false));
    assert_eq!(packages, installed.map(Module::name).collect());
}
