// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Writing cpio archives (newc), which is what the kernel unpacks as the guest's first root.
//! Archives may follow one another in one file: a base that is made once, and what a run adds.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{bail, Context, Result};
use cpio::newc::{trailer, Builder};

/// The kernel skips zeroes between archives up to a multiple of four; more alignment does no harm.
const ALIGNMENT: usize = 512;

const FOLDER: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_000;
const CHARACTER_DEVICE: u32 = 0o020_000;

enum Node {
    Folder,
    File { content: Content, mode: u32 },
    Link(String),
    Device { major: u32, minor: u32 },
}

enum Content {
    Path(PathBuf),
    Bytes(Vec<u8>),
}

/// An archive to be written. Paths are those of the guest, absolute; everything belongs to root.
#[derive(Default)]
pub struct Archive {
    // Sorted by path, so that a folder always comes before what is in it: the kernel wants that.
    nodes: BTreeMap<String, Node>,
}

impl Archive {
    /// Adds a folder, and those above it.
    pub fn folder(&mut self, path: &str) {
        self.parents(path);
        self.nodes.entry(relative(path)).or_insert(Node::Folder);
    }

    /// Adds a file of this machine.
    pub fn file(&mut self, path: &str, source: &Path, mode: u32) {
        self.add(path, Node::File { content: Content::Path(source.to_owned()), mode });
    }

    /// Adds a file with the given content.
    pub fn text(&mut self, path: &str, content: &str, mode: u32) {
        let content = Content::Bytes(content.as_bytes().to_vec());
        self.add(path, Node::File { content, mode });
    }

    /// Adds a symbolic link.
    pub fn link(&mut self, path: &str, target: &str) {
        self.add(path, Node::Link(target.to_owned()));
    }

    /// Adds a character device, readable and writable by root only.
    pub fn device(&mut self, path: &str, major: u32, minor: u32) {
        self.add(path, Node::Device { major, minor });
    }

    /// Adds a file or a whole folder of this machine, with the modes that it has; what its owner
    /// may read and run, everybody may.
    pub fn tree(&mut self, path: &str, source: &Path) -> Result<()> {
        let metadata = fs::metadata(source)
            .with_context(|| format!("cannot push {}: no such file?", source.display()))?;
        if metadata.is_dir() {
            self.folder(path);
            for entry in fs::read_dir(source)? {
                let entry = entry?;
                let name = entry.file_name();
                let name = name.to_str().context("a file to push has a name that is no text")?;
                self.tree(&format!("{path}/{name}"), &entry.path())?;
            }
        } else if metadata.is_file() {
            // What the owner may read and run, every uid of the guest may: the umask under which it
            // was made is this machine's affair.
            let mode = metadata.permissions().mode() & 0o777;
            let owners = mode & 0o500;
            self.file(path, source, mode | (owners >> 3) | (owners >> 6));
        } else {
            bail!("cannot push {}: neither a file nor a folder", source.display());
        }
        Ok(())
    }

    /// Writes the archive, padded so that another may follow.
    pub fn write(&self, into: &mut impl Write) -> Result<()> {
        let mut bytes = Vec::new();
        for (number, (path, node)) in (1u32..).zip(&self.nodes) {
            let entry = Builder::new(path).ino(number).nlink(1);
            let (entry, content) = match node {
                Node::Folder => (entry.mode(FOLDER | 0o755).nlink(2), Vec::new()),
                Node::File { content, mode } => (entry.mode(FILE | mode), content.bytes()?),
                Node::Link(target) => (entry.mode(LINK | 0o777), target.clone().into_bytes()),
                Node::Device { major, minor } => {
                    let entry = entry.mode(CHARACTER_DEVICE | 0o600);
                    (entry.rdev_major(*major).rdev_minor(*minor), Vec::new())
                }
            };
            let size = u32::try_from(content.len()).with_context(|| {
                format!("{path} is too large for a cpio archive: 4 GiB or more")
            })?;
            let mut writer = entry.write(&mut bytes, size);
            writer.write_all(&content)?;
            writer.finish()?;
        }
        trailer(&mut bytes)?;
        bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
        into.write_all(&bytes).context("cannot write the guest's image")
    }

    fn add(&mut self, path: &str, node: Node) {
        self.parents(path);
        self.nodes.insert(relative(path), node);
    }

    fn parents(&mut self, path: &str) {
        let relative = relative(path);
        for (end, _) in relative.match_indices('/') {
            self.nodes.entry(relative[..end].to_owned()).or_insert(Node::Folder);
        }
    }
}

impl Content {
    fn bytes(&self) -> Result<Vec<u8>> {
        match self {
            Self::Bytes(bytes) => Ok(bytes.clone()),
            Self::Path(path) => fs::read(path)
                .with_context(|| format!("cannot read {} for the guest's image", path.display())),
        }
    }
}

fn relative(path: &str) -> String {
    path.trim_matches('/').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(mut bytes: &[u8]) -> Vec<(String, u32, Vec<u8>)> {
        let mut found = Vec::new();
        loop {
            let mut reader = cpio::newc::Reader::new(bytes).unwrap();
            if reader.entry().is_trailer() {
                return found;
            }
            let mut content = Vec::new();
            std::io::copy(&mut reader, &mut content).unwrap();
            let entry = reader.entry();
            found.push((entry.name().to_owned(), entry.mode(), content));
            bytes = reader.finish().unwrap();
        }
    }

    #[test]
    fn folders_come_before_their_content_and_are_made_as_needed() {
        let mut archive = Archive::default();
        archive.text("/vendor/bin/hw/service", "x", 0o755);
        archive.link("/bin/sh", "busybox");
        archive.text("/init", "#!/bin/sh\n", 0o755);
        archive.folder("/vendor/bin");
        archive.device("/dev/console", 5, 1);
        let mut bytes = Vec::new();
        archive.write(&mut bytes).unwrap();
        assert_eq!(bytes.len() % ALIGNMENT, 0);
        let found = names(&bytes);
        let paths: Vec<&str> = found.iter().map(|(name, ..)| name.as_str()).collect();
        let expected = ["bin", "bin/sh", "dev", "dev/console", "init", "vendor", "vendor/bin"];
        assert_eq!(paths[..7], expected);
        assert_eq!(paths[7..], ["vendor/bin/hw", "vendor/bin/hw/service"]);
        assert_eq!(found[1].1, LINK | 0o777);
        assert_eq!(found[1].2, b"busybox");
        assert_eq!(found[4].1, FILE | 0o755);
        assert_eq!(found[8].2, b"x");
    }

    #[test]
    fn what_its_owner_may_run_in_a_tree_everybody_in_the_guest_may() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("sub")).unwrap();
        let file = folder.path().join("sub/run");
        fs::write(&file, "y").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o740)).unwrap();
        let mut archive = Archive::default();
        archive.tree("/data/t", folder.path()).unwrap();
        assert!(archive.tree("/data/none", &folder.path().join("none")).is_err());
        let mut bytes = Vec::new();
        archive.write(&mut bytes).unwrap();
        let found = names(&bytes);
        assert_eq!(found.last().unwrap(), &("data/t/sub/run".into(), FILE | 0o755, b"y".to_vec()));
    }
}
