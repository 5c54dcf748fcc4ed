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

/// Where a suite's package lists come from.
#[derive(Clone)]
struct Source {
    mirror: String,
    suite: String,
}

impl Source {
    fn of(mirror: String, suite: &str) -> Self {
        Self { mirror, suite: suite.to_owned() }
    }

    /// The line of apt's source list.
    fn line(&self) -> String {
        let options = format!("arch=amd64 target=Packages signed-by={KEYRING}");
        format!("deb [{options}] {} {} main\n", self.mirror, self.suite)
    }
}

/// A Debian suite whose package lists are fetched.
pub struct Suite {
    name: String,
    folder: PathBuf,
    downloads: PathBuf,
}

impl Suite {
    /// Fetches the suite's package lists.
    pub fn open(cache: &Cache, name: &str) -> Result<Self> {
        let source = Source::of(mirror::discover()?, name);
        Self::fetch(cache, name, std::slice::from_ref(&source))
    }

    /// The same with the lists of its security updates: apt takes the newest version. Either will
    /// do where the other cannot be had: an old suite's parts do not leave a mirror together.
    pub fn open_with_security(cache: &Cache, name: &str) -> Result<Self> {
        let main = mirror::discover()?;
        let Some(security) = mirror::discover_security(&main) else {
            return Self::open(cache, name);
        };
        let main = Source::of(main, name);
        let security = Source::of(security, &format!("{name}-security"));
        let folder = format!("{name}-with-security");
        let both = [main.clone(), security.clone()];
        Self::fetch(cache, &folder, &both).or_else(|error| {
            eprintln!("xtask: trying with half of Debian {name}: {error:#}");
            Self::fetch(cache, &folder, &[security])
                .or_else(|_| Self::fetch(cache, &folder, &[main]))
                // Of three errors the first says most.
                .map_err(|_| error)
        })
    }

    fn fetch(cache: &Cache, name: &str, sources: &[Source]) -> Result<Self> {
        machine::ensure_packages(&["debian-archive-keyring"])?;
        let folder = cache.scratch(&format!("apt-{name}"))?;
        for part in ["state/lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(folder.join(part))
                .with_context(|| format!("cannot create {part} in {}", folder.display()))?;
        }
        let list: String = sources.iter().map(Source::line).collect();
        for (file, content) in [("sources.list", list.as_str()), ("status", "")] {
            fs::write(folder.join(file), content)
                .with_context(|| format!("cannot write {file} in {}", folder.display()))?;
        }
        let downloads = cache.empty_scratch("packages")?;
        let names: Vec<&str> = sources.iter().map(|source| source.suite.as_str()).collect();
        let names = names.join(" and ");
        let step = Step::start(format!("fetching the package lists of Debian {names}"));
        let suite = Self { name: names, folder, downloads };
        process::with_retry(&step, || {
            process::run(
                &step,
                suite.apt("apt-get").args(["-o", "APT::Update::Error-Mode=any", "update"]),
            )
        })
        .map_err(|error| explained(error, sources))?;
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
        // folder. A snapshot, or a mirror that lags, has lists whose time is over; the archive's
        // signature on them is checked all the same, and nothing from them is installed.
        for option in [
            format!("Dir::Etc::sourcelist={}", path("sources.list")),
            "Dir::Etc::sourceparts=-".to_owned(),
            format!("Dir::State={}", path("state")),
            format!("Dir::State::status={}", path("status")),
            format!("Dir::Cache={}", path("cache")),
            "APT::Architecture=amd64".to_owned(),
            "APT::Sandbox::User=".to_owned(),
            "Acquire::Languages=none".to_owned(),
            "Acquire::Check-Valid-Until=false".to_owned(),
            "Acquire::Retries=2".to_owned(),
        ] {
            command.args(["-o", &option]);
        }
        command.arg("-q");
        command
    }
}

/// Says what to do when the keyring is too old to know the suite's keys.
fn explained(error: anyhow::Error, sources: &[Source]) -> anyhow::Error {
    let said = format!("{error:#}");
    let suites: Vec<&str> = sources.iter().map(|source| source.suite.as_str()).collect();
    let suites = suites.join(" and ");
    if said.contains("NO_PUBKEY") || said.contains("Missing key") {
        return error.context(format!(
            "the archive's keys on this machine are too old for Debian {suites}; as root run:\n    \
             apt-get update && apt-get install --only-upgrade debian-archive-keyring"
        ));
    }
    let mirrors: Vec<&str> = sources.iter().map(|source| source.mirror.as_str()).collect();
    error.context(format!(
        "cannot fetch the package lists of Debian {suites} from {}; another mirror can be named in \
         {} (and {})",
        mirrors.join(" and "),
        mirror::VARIABLE,
        mirror::SECURITY_VARIABLE
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
        let sources = [Source::of("http://d.example/debian".to_owned(), "sid")];
        let error = anyhow::anyhow!("GPG error: NO_PUBKEY 1234");
        assert!(format!("{:#}", explained(error, &sources)).contains("debian-archive-keyring"));
        let error = anyhow::anyhow!("could not resolve");
        assert!(format!("{:#}", explained(error, &sources)).contains(mirror::VARIABLE));
    }
}
