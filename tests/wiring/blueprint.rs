// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! The `Android.bp` files: read by the crate `android_bp`, which parses those of AOSP.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use android_bp::{BluePrint, Value};

use crate::repository::{files, read};

/// The platform's own defaults, for VTS suites in C++: they hold what such a suite links, and nothing
/// that these tests ask for.
const DEFAULTS_OF_THE_PLATFORM: &[&str] =
    &["VtsHalTargetTestDefaults", "use_libaidlvintf_gtest_helper_static"];

/// One module, with what it takes from its defaults.
pub struct Module {
    /// Where its file lies, from the root.
    pub folder: PathBuf,
    /// Its type, for example `rust_library`.
    pub typ: String,
    own: android_bp::Module,
    defaults: Vec<android_bp::Module>,
}

impl Module {
    /// The module's name; `package` has none.
    pub fn name(&self) -> &str {
        self.own.get_string("name").map(String::as_str).unwrap_or_default()
    }

    /// A property's value, its own before its defaults'.
    fn value(&self, property: &str) -> Option<&Value> {
        std::iter::once(&self.own).chain(&self.defaults).find_map(|module| module.get(property))
    }

    /// A string.
    pub fn string(&self, property: &str) -> Option<String> {
        match self.value(property)? {
            Value::String(text) => Some(text.clone()),
            other => panic!("{}: {property} is {other:?}", self.name()),
        }
    }

    /// Whether a property is true.
    pub fn is(&self, property: &str) -> bool {
        self.value(property) == Some(&Value::Boolean(true))
    }

    /// A boolean, if it is said.
    pub fn boolean(&self, property: &str) -> Option<bool> {
        match self.value(property)? {
            Value::Boolean(value) => Some(*value),
            other => panic!("{}: {property} is {other:?}", self.name()),
        }
    }

    /// A list, joined with those of the defaults as Soong does.
    pub fn list(&self, property: &str) -> BTreeSet<String> {
        let lists = std::iter::once(&self.own).chain(&self.defaults);
        lists.filter_map(|module| module.get_array(property)).flatten().map(text).collect()
    }

    /// The names of the properties that it says itself.
    pub fn properties(&self) -> BTreeSet<&str> {
        self.own.entries.keys().map(String::as_str).collect()
    }

    /// The versions in an `aidl_interface`'s `versions_with_info`.
    pub fn versions(&self) -> BTreeSet<String> {
        let version = |value: &Value| match value {
            Value::Map(info) => text(info.get("version").expect("a version")),
            other => panic!("{}: {other:?}", self.name()),
        };
        self.own.get_array("versions_with_info").into_iter().flatten().map(version).collect()
    }

    /// Whether a backend of an `aidl_interface` says `enabled: true` (or false).
    pub fn backend(&self, name: &str) -> Option<bool> {
        let Some(Value::Map(backend)) = self.own.get_map("backend")?.get(name) else { return None };
        match backend.get("enabled")? {
            Value::Boolean(enabled) => Some(*enabled),
            other => panic!("{}: {other:?}", self.name()),
        }
    }
}

/// All modules of the repository.
pub struct Blueprints(Vec<Module>);

impl Blueprints {
    /// Reads every `Android.bp`.
    pub fn load() -> Blueprints {
        let mut modules = Vec::new();
        for path in files(".").iter().filter(|path| path.ends_with("Android.bp")) {
            let parsed = BluePrint::parse(&read(path));
            let parsed = parsed.unwrap_or_else(|error| panic!("{path:?}: {error}"));
            let folder = path.parent().unwrap_or(Path::new("")).to_path_buf();
            modules.extend(parsed.modules.into_iter().map(|own| (folder.clone(), own)));
        }
        let defaults: Vec<android_bp::Module> = modules
            .iter()
            .map(|(_, module)| module.clone())
            .filter(|module| module.typ.ends_with("_defaults"))
            .collect();
        let with_defaults = |(folder, own): (PathBuf, android_bp::Module)| {
            let names: Vec<String> =
                own.get_array("defaults").into_iter().flatten().map(text).collect();
            let find = |name: &String| {
                let found = defaults.iter().find(|module| module.get_string("name") == Some(name));
                found.unwrap_or_else(|| panic!("{folder:?}: no defaults {name}")).clone()
            };
            let ours = |name: &&String| !DEFAULTS_OF_THE_PLATFORM.contains(&name.as_str());
            let defaults = names.iter().filter(ours).map(find).collect();
            Module { folder, typ: own.typ.clone(), own, defaults }
        };
        Blueprints(modules.into_iter().map(with_defaults).collect())
    }

    /// All modules.
    pub fn modules(&self) -> impl Iterator<Item = &Module> {
        self.0.iter()
    }

    /// The modules of one type.
    pub fn of_type<'a>(&'a self, typ: &'a str) -> impl Iterator<Item = &'a Module> {
        self.modules().filter(move |module| module.typ == typ)
    }

    /// The module of a name.
    pub fn module(&self, name: &str) -> &Module {
        let found = self.modules().find(|module| module.name() == name);
        found.unwrap_or_else(|| panic!("no module {name}"))
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => panic!("{other:?} is not a string"),
    }
}
