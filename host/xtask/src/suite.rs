// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Packages of a Debian suite that is not this machine's own: fetched by apt with a source list,
//! state and cache of our own, so that apt verifies the archive's signature and the system's own
//! sources stay as they are. They are unpacked, never installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{bail, Context, Result};

use crate::cache::Cache;
use crate::progress::Step;
use crate::{machine, mirror, process};

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// A Debian suite whose package lists are fetched.
pub struct Suite {
    name: String,
    folder: PathBuf,
    downloads: PathBuf,
}

impl Suite {
    /// Fetches the suite's package lists.
    pub fn open(cache: &Cache, name: &str) -> Result<Self> {
        machine::ensure_packages(&["debian-archive-keyring"])?;
        let mirror = mirror::discover()?;
        let folder = cache.scratch(&format!("apt-{name}"))?;
        for part in ["state/lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(folder.join(part))
                .with_context(|| format!("cannot create {part} in {}", folder.display()))?;
        }
        let source =
            format!("deb [arch=amd64 target=Packages signed-by={KEYRING}] {mirror} {name} main\n");
        for (file, content) in [("sources.list", source.as_str()), ("status", "")] {
            fs::write(folder.join(file), content)
                .with_context(|| format!("cannot write {file} in {}", folder.display()))?;
        }
        let downloads = cache.empty_scratch("packages")?;
        let suite = Self { name: name.to_owned(), folder, downloads };
        let step = Step::start(format!("fetching the package lists of Debian {name}"));
        process::with_retry(&step, || {
            process::run(
                &step,
                suite.apt("apt-get").args(["-o", "APT::Update::Error-Mode=any", "update"]),
            )
        })
        .map_err(|error| explained(error, name, &mirror))?;
        step.done();
        Ok(suite)
    }

    /// The package starting with `prefix` that `package` depends on: how a meta package names the
    /// real one.
    pub fn dependency(&self, package: &str, prefix: &str) -> Result<String> {
        let shown =
            process::output(self.apt("apt-cache").args(["show", "--no-all-versions", package]))?;
        first_dependency(&shown, prefix).with_context(|| {
            format!("{package} of Debian {} depends on nothing called {prefix}…", self.name)
        })
    }

    /// Fetches packages and unpacks them all into one folder; answers names and versions.
    pub fn unpack(&self, packages: &[&str], into: &Path) -> Result<String> {
        let step = Step::start(format!("fetching {} of Debian {}", packages.join(" "), self.name));
        let folder =
            tempfile::tempdir_in(&self.downloads).context("cannot make a folder for packages")?;
        process::with_retry(&step, || {
            let mut command = self.apt("apt-get");
            process::run(&step, command.arg("download").args(packages).current_dir(folder.path()))
        })?;
        let mut archives = Vec::new();
        for entry in fs::read_dir(folder.path())? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "deb") {
                archives.push(path);
            }
        }
        if archives.len() != packages.len() {
            bail!("asked apt for {} packages and got {}", packages.len(), archives.len());
        }
        archives.sort();
        let mut names = String::new();
        for archive in &archives {
            process::run(&step, Command::new("dpkg-deb").arg("--extract").arg(archive).arg(into))?;
            let format = "--showformat=${Package} ${Version} ${Architecture}\n";
            names +=
                &process::output(Command::new("dpkg-deb").args(["--show", format]).arg(archive))?;
        }
        step.done();
        Ok(names)
    }

    fn apt(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let path = |part: &str| self.folder.join(part).display().to_string();
        // Languages and sandbox: the former are never read, the latter cannot write into a home
        // folder.
        for option in [
            format!("Dir::Etc::sourcelist={}", path("sources.list")),
            "Dir::Etc::sourceparts=-".to_owned(),
            format!("Dir::State={}", path("state")),
            format!("Dir::State::status={}", path("status")),
            format!("Dir::Cache={}", path("cache")),
            "APT::Architecture=amd64".to_owned(),
            "APT::Sandbox::User=".to_owned(),
            "Acquire::Languages=none".to_owned(),
            "Acquire::Retries=2".to_owned(),
        ] {
            command.args(["-o", &option]);
        }
        command.arg("-q");
        command
    }
}

/// Says what to do when the keyring is too old to know the suite's keys.
fn explained(error: anyhow::Error, suite: &str, mirror: &str) -> anyhow::Error {
    let said = format!("{error:#}");
    if said.contains("NO_PUBKEY") || said.contains("Missing key") {
        return error.context(format!(
            "the archive's keys on this machine are too old for Debian {suite}; as root run:\n    \
             apt-get update && apt-get install --only-upgrade debian-archive-keyring"
        ));
    }
    error.context(format!(
        "cannot fetch the package lists of Debian {suite} from {mirror}; another mirror can be named in {}",
        mirror::VARIABLE
    ))
}

/// The first package starting with `prefix` in the `Depends:` line of a package's description.
fn first_dependency(description: &str, prefix: &str) -> Option<String> {
    let depends = description.lines().find_map(|line| line.strip_prefix("Depends:"))?;
    let names = depends.split([',', '|']).filter_map(|entry| entry.split_whitespace().next());
    names.into_iter().find(|name| name.starts_with(prefix)).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_real_package_of_a_meta_package() {
        let shown = "Package: linux-image-amd64\nVersion: 6.12.1-1\n\
                     Depends: dpkg (>= 1), linux-image-6.12.1+deb13-amd64 (= 6.12.1-1)\nSize: 1\n";
        let found = first_dependency(shown, "linux-image-6");
        assert_eq!(found.as_deref(), Some("linux-image-6.12.1+deb13-amd64"));
        assert_eq!(first_dependency(shown, "linux-headers"), None);
        assert_eq!(first_dependency("Package: x\n", "x"), None);
    }

    #[test]
    fn an_old_keyring_is_named() {
        let error = anyhow::anyhow!("GPG error: NO_PUBKEY 1234");
        assert!(format!("{:#}", explained(error, "sid", "m")).contains("debian-archive-keyring"));
        let error = anyhow::anyhow!("could not resolve");
        assert!(format!("{:#}", explained(error, "sid", "m")).contains(mirror::VARIABLE));
    }
}
