// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! The interface's API as Soong keeps it beside the sources: `current`, the dump of what the sources
//! say, and a folder for each frozen version with its hash. What is here is what Soong's
//! `update-api` and `freeze-api` would write (system/tools/aidl/build/aidl_api.go).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{bail, ensure, Context, Result};
use sha1::{Digest, Sha1};

/// The file of a frozen version that has its hash in its last line.
const HASH: &str = ".hash";

/// The folder `aidl_api/NAME`.
pub struct Api {
    folder: PathBuf,
}

impl Api {
    /// That of an interface whose `Android.bp` is in `sources`.
    pub fn of(sources: &Path, name: &str) -> Self {
        Self { folder: sources.join("aidl_api").join(name) }
    }

    /// The dump of the sources as they were when it was written.
    pub fn current(&self) -> PathBuf {
        self.folder.join("current")
    }

    /// The dump of a frozen version.
    pub fn version(&self, number: u32) -> PathBuf {
        self.folder.join(number.to_string())
    }

    /// The frozen versions, from 1 without a gap.
    pub fn versions(&self) -> Result<Vec<u32>> {
        let mut numbers = Vec::new();
        for entry in fs::read_dir(&self.folder)
            .with_context(|| format!("cannot list {}", self.folder.display()))?
        {
            let name = entry?.file_name();
            if name != "current" {
                let number = name.to_str().and_then(|name| name.parse().ok());
                numbers.push(number.with_context(|| {
                    format!("{} holds {name:?}, which is no version", self.folder.display())
                })?);
            }
        }
        numbers.sort_unstable();
        let expected: Vec<u32> = (1..).take(numbers.len()).collect();
        ensure!(numbers == expected, "there are versions {numbers:?}, and not {expected:?}");
        Ok(numbers)
    }

    /// Makes `current` hold what was dumped.
    pub fn update(&self, dump: &Path) -> Result<()> {
        let current = self.current();
        replace(&current, dump).with_context(|| format!("cannot write {}", current.display()))
    }

    /// Makes a version of `current`, and answers its number and hash.
    pub fn freeze(&self) -> Result<(u32, String)> {
        let versions = self.versions()?;
        let current = texts(&self.current())?;
        if let Some(latest) = versions.last() {
            let frozen = texts(&self.version(*latest))?;
            ensure!(
                frozen != current,
                "version {latest} is what the sources say: nothing to freeze"
            );
        }
        let number = versions.last().map_or(1, |latest| latest + 1);
        let into = self.version(number);
        replace(&into, &self.current())?;
        let hash = hash(&into, number)?;
        fs::write(into.join(HASH), format!("{hash}\n"))?;
        Ok((number, hash))
    }

    /// That a frozen version is as it was frozen.
    pub fn verify(&self, number: u32) -> Result<()> {
        let folder = self.version(number);
        let file = folder.join(HASH);
        let text = fs::read_to_string(&file)
            .with_context(|| format!("version {number} has no {}", file.display()))?;
        let (kept, is) = (text.lines().last().unwrap_or_default(), hash(&folder, number)?);
        ensure!(kept == is, "version {number} was changed: its hash is {is}, and was {kept}");
        Ok(())
    }

    /// That `current` is what was dumped, to the letter.
    pub fn is_current(&self, dump: &Path) -> Result<()> {
        let (kept, is) = (texts(&self.current()).unwrap_or_default(), texts(dump)?);
        let names = kept.keys().chain(is.keys());
        let Some(differs) = names.into_iter().find(|name| kept.get(*name) != is.get(*name)) else {
            return Ok(());
        };
        bail!(
            "{} is not what the sources say: {} differs; run `cargo xtask aidl update` and look at \
             what changes",
            self.current().display(),
            differs.display()
        )
    }
}

/// The hash of a version's folder: SHA-1 over what `sha1sum` prints of each .aidl file, in the order
/// of their names, and over the number of the version before, or `latest-version` for the first.
fn hash(folder: &Path, number: u32) -> Result<String> {
    let mut lines = String::new();
    for (name, text) in texts(folder)? {
        lines += &format!("{}  ./{}\n", hex(&Sha1::digest(text)), name.display());
    }
    match number {
        0 | 1 => lines += "latest-version\n",
        _ => lines += &format!("{}\n", number - 1),
    }
    Ok(hex(&Sha1::digest(lines)))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The .aidl files below a folder, by their names from there; all are in one folder of it, where the
/// order of paths is the C locale's.
fn texts(folder: &Path) -> Result<BTreeMap<PathBuf, String>> {
    let mut found = BTreeMap::new();
    for name in super::files(folder, folder)? {
        let text = fs::read_to_string(folder.join(&name))?;
        found.insert(name, text);
    }
    ensure!(!found.is_empty(), "there is no .aidl file in {}", folder.display());
    Ok(found)
}

/// Makes `into` hold the .aidl files of `from` and nothing else.
fn replace(into: &Path, from: &Path) -> Result<()> {
    let files = texts(from)?;
    if into.exists() {
        fs::remove_dir_all(into)?;
    }
    for (name, text) in files {
        let file = into.join(name);
        fs::create_dir_all(file.parent().context("a file without a folder")?)?;
        fs::write(file, text)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "vendor.a";

    fn dump(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("vendor/a")).unwrap();
        for (name, text) in files {
            fs::write(folder.path().join("vendor/a").join(name), text).unwrap();
        }
        folder
    }

    #[test]
    fn what_was_dumped_is_current_until_a_file_changes_comes_or_goes() {
        let sources = tempfile::tempdir().unwrap();
        let api = Api::of(sources.path(), NAME);
        let first = dump(&[("A.aidl", "a"), ("B.aidl", "b")]);
        assert!(api.is_current(first.path()).unwrap_err().to_string().contains("A.aidl"));
        api.update(first.path()).unwrap();
        api.is_current(first.path()).unwrap();
        let others = [
            dump(&[("A.aidl", "a"), ("B.aidl", "c")]),
            dump(&[("A.aidl", "a"), ("B.aidl", "b"), ("C.aidl", "")]),
            dump(&[("A.aidl", "a")]),
        ];
        for (other, differs) in others.iter().zip(["B.aidl", "C.aidl", "B.aidl"]) {
            assert!(api.is_current(other.path()).unwrap_err().to_string().contains(differs));
        }
        api.update(others[2].path()).unwrap();
        api.is_current(others[2].path()).unwrap();
    }

    #[test]
    fn a_frozen_version_is_verified_and_the_same_is_frozen_once() {
        let sources = tempfile::tempdir().unwrap();
        let api = Api::of(sources.path(), NAME);
        api.update(dump(&[("A.aidl", "a")]).path()).unwrap();
        assert!(api.versions().unwrap().is_empty());
        assert_eq!(api.freeze().unwrap().0, 1);
        api.verify(1).unwrap();
        assert!(api.freeze().unwrap_err().to_string().contains("nothing to freeze"));
        api.update(dump(&[("A.aidl", "a"), ("B.aidl", "b")]).path()).unwrap();
        assert_eq!(api.freeze().unwrap().0, 2);
        assert_eq!(api.versions().unwrap(), [1, 2]);
        fs::write(api.version(1).join("vendor/a/A.aidl"), "changed").unwrap();
        assert!(api.verify(1).unwrap_err().to_string().contains("was changed"));
        api.verify(2).unwrap();
        fs::remove_dir_all(api.version(1)).unwrap();
        assert!(api.versions().is_err());
    }

    #[test]
    fn the_hash_is_that_of_soongs_shell_line() {
        let folder = dump(&[("B.aidl", "two\n"), ("A.aidl", "one\n")]);
        for (number, last) in [(1, "latest-version"), (3, "2")] {
            let line = format!(
                "cd '{}' && {{ find ./ -name '*.aidl' -print0 | LC_ALL=C sort -z | xargs -0 sha1sum \
                 && echo {last}; }} | sha1sum | cut -d ' ' -f 1",
                folder.path().display()
            );
            let mut shell = std::process::Command::new("sh");
            let printed = crate::process::output(shell.args(["-c", &line])).unwrap();
            assert_eq!(hash(folder.path(), number).unwrap(), printed.trim());
        }
    }
}
