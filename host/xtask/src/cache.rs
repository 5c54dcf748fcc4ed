// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! The cache: what is expensive to get or to build, kept outside the checkout and checked by
//! content.
//!
//! An entry is a folder with two files of its own: `INPUTS` says what it was made from,
//! `SHA256SUMS` what it holds. It is used only if the one matches what is wanted now and the other
//! what is there. It is built beside (`NAME.partial`) and renamed when complete, so that an
//! interrupted run leaves nothing that looks finished. A lock keeps two runs from building at the
//! same time.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{anyhow, Context, Result};
use nix::fcntl::{Flock, FlockArg};

use crate::process;
use crate::progress::Step;

const SUMS: &str = "SHA256SUMS";
const INPUTS: &str = "INPUTS";

/// The cache folder.
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// Opens the cache in `$BERTH_CACHE`, `$XDG_CACHE_HOME/berth` or `~/.cache/berth`.
    pub fn open() -> Result<Self> {
        let variable = |name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        let root = variable("BERTH_CACHE")
            .or_else(|| variable("XDG_CACHE_HOME").map(|folder| folder.join("berth")))
            .or_else(|| variable("HOME").map(|home| home.join(".cache/berth")))
            .context("no cache folder: set BERTH_CACHE, XDG_CACHE_HOME or HOME")?;
        Self::at(root)
    }

    fn at(root: PathBuf) -> Result<Self> {
        fs::create_dir_all(&root)
            .with_context(|| format!("cannot create the cache folder {}", root.display()))?;
        let root = fs::canonicalize(&root)
            .with_context(|| format!("cannot resolve the cache folder {}", root.display()))?;
        Ok(Self { root })
    }

    /// A folder for what a builder wants to keep between interrupted runs; its content is not
    /// trusted.
    pub fn scratch(&self, name: &str) -> Result<PathBuf> {
        let folder = self.root.join("scratch").join(name);
        fs::create_dir_all(&folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
        Ok(folder)
    }

    /// An empty folder for what a builder throws away; an interrupted run may have left something
    /// in it.
    pub fn empty_scratch(&self, name: &str) -> Result<PathBuf> {
        let folder = self.scratch(name)?;
        remove(&folder)?;
        self.scratch(name)
    }

    /// The entry `name` made from `inputs`, built by `build` if it is not there or does not match.
    /// `build` gets the empty folder to fill.
    pub fn entry(
        &self,
        name: &str,
        inputs: &str,
        build: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<PathBuf> {
        let _lock = self.lock()?;
        let folder = self.root.join(name);
        if folder.exists() {
            match verified(&folder, inputs) {
                Ok(()) => return Ok(folder),
                Err(why) => eprintln!("xtask: {name} in the cache is made anew: {why:#}"),
            }
        }
        let partial = self.root.join(format!("{name}.partial"));
        remove(&partial)?;
        fs::create_dir(&partial).with_context(|| format!("cannot create {}", partial.display()))?;
        build(&partial).with_context(|| format!("cannot make `{name}` for the cache"))?;
        let sums = checksums(&partial)?;
        write(&partial.join(SUMS), &sums)?;
        write(&partial.join(INPUTS), inputs)?;
        remove(&folder)?;
        fs::rename(&partial, &folder)
            .with_context(|| format!("cannot move {} in place", partial.display()))?;
        Ok(folder)
    }

    fn lock(&self) -> Result<Flock<File>> {
        let path = self.root.join("lock");
        let open = || {
            File::create(&path).with_context(|| format!("cannot open the lock {}", path.display()))
        };
        match Flock::lock(open()?, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(lock),
            Err(_) => {
                let step = Step::start("waiting for another cargo xtask that fills the cache");
                let lock = Flock::lock(open()?, FlockArg::LockExclusive)
                    .map_err(|(_, errno)| anyhow!("cannot lock {}: {errno}", path.display()))?;
                step.done();
                Ok(lock)
            }
        }
    }
}

/// What an entry holds, as one text: its checksums. An entry that is made from others names them
/// so.
pub fn fingerprint(entry: &Path) -> Result<String> {
    let path = entry.join(SUMS);
    fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
}

/// The checksums of some files, in the format of sha256sum.
pub fn sums_of(files: &[PathBuf]) -> Result<String> {
    process::output(Command::new("sha256sum").arg("--").args(files))
}

fn verified(folder: &Path, inputs: &str) -> Result<()> {
    let made_from = fs::read_to_string(folder.join(INPUTS)).context("it is incomplete")?;
    if made_from != inputs {
        return Err(anyhow!("it was made from other inputs"));
    }
    let check = Command::new("sha256sum")
        .args(["--check", "--strict", "--quiet", SUMS])
        .current_dir(folder)
        .output()
        .context("cannot start sha256sum")?;
    if !check.status.success() {
        let damaged = String::from_utf8_lossy(&check.stdout).trim_end().replace('\n', ", ");
        return Err(anyhow!("its content does not match its checksums: {damaged}"));
    }
    Ok(())
}

fn checksums(folder: &Path) -> Result<String> {
    let mut files = Vec::new();
    list(folder, Path::new(""), &mut files)?;
    files.sort();
    process::output(Command::new("sha256sum").arg("--").args(&files).current_dir(folder))
}

fn list(root: &Path, under: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let folder = root.join(under);
    for entry in
        fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))?
    {
        let entry = entry?;
        let path = under.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            list(root, &path, files)?;
        } else if kind.is_file() {
            files.push(path);
        }
    }
    Ok(())
}

fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(cache: &Cache, inputs: &str, content: &str) -> (bool, PathBuf) {
        let mut built = false;
        let entry = cache.entry("thing", inputs, |folder| {
            built = true;
            write(&folder.join("file"), content)
        });
        (built, entry.unwrap())
    }

    #[test]
    fn an_entry_is_built_once_and_again_when_its_inputs_or_its_content_changed() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path().join("cache")).unwrap();
        assert!(made(&cache, "one", "a").0);
        let (built, entry) = made(&cache, "one", "a");
        assert!(!built);
        assert!(fingerprint(&entry).unwrap().ends_with("  file\n"));
        assert!(made(&cache, "two", "a").0);
        write(&entry.join("file"), "tampered").unwrap();
        assert!(made(&cache, "two", "a").0);
        fs::remove_file(entry.join(INPUTS)).unwrap();
        assert!(made(&cache, "two", "a").0);
    }

    #[test]
    fn a_failed_build_leaves_no_entry() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path().to_owned()).unwrap();
        let failed = cache.entry("thing", "one", |folder| {
            write(&folder.join("file"), "half")?;
            Err(anyhow!("interrupted"))
        });
        assert!(failed.is_err());
        assert!(!folder.path().join("thing").exists());
        let (built, entry) = made(&cache, "one", "whole");
        assert!(built);
        assert_eq!(fs::read_to_string(entry.join("file")).unwrap(), "whole");
    }
}
