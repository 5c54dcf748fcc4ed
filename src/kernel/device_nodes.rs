// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Device nodes that come, go or change their mode while the process runs (inotify(7)): a driver's
//! module is loaded, ueventd sets a node's owner.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::libc::{self, c_int};

use crate::inotify::{Event, Inotify};
use crate::KernelError;

/// What is told of a folder: what is in it, and that it is no longer where it was. That it is gone
/// is told unasked.
const CHANGES: u32 = libc::IN_CREATE
    | libc::IN_DELETE
    | libc::IN_ATTRIB
    | libc::IN_MOVED_FROM
    | libc::IN_MOVED_TO
    | libc::IN_MOVE_SELF
    | libc::IN_ONLYDIR;

/// A watch over folders. Changes since a folder was added are kept until [`wait`](NodeWatch::wait)
/// tells of them; what was there before is not told, so look at a folder after adding it.
#[derive(Debug)]
pub struct NodeWatch {
    inotify: Inotify,
    /// Each with its watch's number.
    folders: Vec<(c_int, PathBuf)>,
}

impl NodeWatch {
    /// Watches those of `folders` that exist.
    pub fn new(folders: &[&Path]) -> Result<NodeWatch, KernelError> {
        let inotify =
            Inotify::new().map_err(KernelError::context(|| "watch device nodes".to_owned()))?;
        let mut watch = NodeWatch { inotify, folders: Vec::new() };
        for folder in folders {
            watch.add(folder)?;
        }
        Ok(watch)
    }

    /// Watches one folder more, and says whether it does: not if there is no such folder. The
    /// appearance of one is told by the watch over the folder that it is in.
    pub fn add(&mut self, folder: &Path) -> Result<bool, KernelError> {
        match self.inotify.add_watch(folder, CHANGES) {
            Ok(watch) => {
                let entry = (watch, folder.to_owned());
                if !self.folders.contains(&entry) {
                    self.folders.push(entry);
                }
                Ok(true)
            }
            Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(false),
            Err(errno) => Err(KernelError::new(format!("watch {}", folder.display()), errno)),
        }
    }

    /// The folders that are watched.
    pub fn watched(&self) -> Vec<&Path> {
        self.folders.iter().map(|(_, folder)| folder.as_path()).collect()
    }

    /// Blocks until something changed and tells what: one path or more, each once, sorted.
    ///
    /// Such a path is that of a node (or of a folder) in a watched folder, or the path **of a watched
    /// folder itself**, which means that anything may have changed in it: look at all of it. So it
    /// is when more changed at once than the kernel keeps (then every watched folder is told), and
    /// when the folder itself changed its mode or went. One that went is not in
    /// [`watched`](NodeWatch::watched) any more.
    ///
    /// An error if no folder is watched, as nothing would ever end the wait.
    pub fn wait(&mut self) -> Result<Vec<PathBuf>, KernelError> {
        let context = || "wait for changes of device nodes".to_owned();
        loop {
            if self.folders.is_empty() {
                return Err(KernelError::new(context() + " in no folder", Errno::ENOENT));
            }
            match self.inotify.read() {
                Ok(events) => {
                    let changed = self.take(&events)?;
                    // Empty if these were the last words of a folder that was told before.
                    if !changed.is_empty() {
                        return Ok(changed.into_iter().collect());
                    }
                }
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(KernelError::new(context(), errno)),
            }
        }
    }

    /// What events mean. Their number is bounded by the buffer that they are read with.
    fn take(&mut self, events: &[Event]) -> Result<BTreeSet<PathBuf>, KernelError> {
        let mut changed = BTreeSet::new();
        for event in events {
            if event.mask & libc::IN_Q_OVERFLOW != 0 {
                changed.extend(self.folders.iter().map(|(_, folder)| folder.clone()));
                self.renew()?;
                continue;
            }
            // Two paths may lead to one folder.
            for (_, folder) in self.folders.iter().filter(|(watch, _)| *watch == event.watch) {
                changed.insert(match &event.name {
                    Some(name) => folder.join(name),
                    None => folder.clone(),
                });
            }
            if event.mask & libc::IN_MOVE_SELF != 0 {
                // Its path leads elsewhere or nowhere now.
                let _ = self.inotify.remove_watch(event.watch);
            }
            if event.mask & (libc::IN_MOVE_SELF | libc::IN_IGNORED) != 0 {
                self.folders.retain(|(watch, _)| *watch != event.watch);
            }
        }
        Ok(changed)
    }

    /// Watches again what is still there: that a folder went may be among what was lost.
    fn renew(&mut self) -> Result<(), KernelError> {
        let folders = std::mem::take(&mut self.folders);
        for (_, folder) in &folders {
            self.add(folder)?;
        }
        Ok(())
    }
}

/// For poll(2): ready to read when [`wait`](NodeWatch::wait) would not block, or hardly.
impl AsFd for NodeWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File, Permissions};
    use std::os::unix::fs::{symlink, PermissionsExt};

    /// A folder that goes with the test.
    struct Folder(PathBuf);

    impl Folder {
        fn new(test: &str) -> Folder {
            let name = format!("berth-{}-{test}", std::process::id());
            let path = std::env::temp_dir().join(name);
            fs::create_dir(&path).unwrap();
            Folder(path)
        }

        fn join(&self, name: &str) -> PathBuf {
            self.0.join(name)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn nodes_that_come_change_and_go_are_told() {
        let dev = Folder::new("nodes");
        let mut watch = NodeWatch::new(&[&dev.0]).unwrap();
        let (node, renamed) = (dev.join("system"), dev.join("renamed"));
        File::create(&node).unwrap();
        assert_eq!(watch.wait().unwrap(), [node.as_path()]);
        set_mode(&node, 0o444);
        assert_eq!(watch.wait().unwrap(), [node.as_path()]);
        fs::rename(&node, &renamed).unwrap();
        assert_eq!(watch.wait().unwrap(), [renamed.as_path(), node.as_path()]);
        fs::remove_file(&renamed).unwrap();
        assert_eq!(watch.wait().unwrap(), [renamed.as_path()]);
    }

    #[test]
    fn many_changes_of_one_node_are_told_as_one() {
        let dev = Folder::new("once");
        let node = dev.join("system");
        File::create(&node).unwrap();
        let mut watch = NodeWatch::new(&[&dev.0]).unwrap();
        for mode in [0o400, 0o440, 0o444] {
            set_mode(&node, mode);
            set_mode(&dev.0, 0o755);
        }
        assert_eq!(watch.wait().unwrap(), [dev.0.as_path(), node.as_path()]);
    }

    #[test]
    fn a_folder_that_appears_is_told_and_can_be_added() {
        let dev = Folder::new("later");
        let heaps = dev.join("dma_heap");
        let mut watch = NodeWatch::new(&[&dev.0, &heaps]).unwrap();
        assert_eq!(watch.watched(), [dev.0.as_path()]);
        assert!(!watch.add(&heaps).unwrap());
        fs::create_dir(&heaps).unwrap();
        assert_eq!(watch.wait().unwrap(), [heaps.as_path()]);
        assert!(watch.add(&heaps).unwrap() && watch.add(&heaps).unwrap());
        assert_eq!(watch.watched(), [dev.0.as_path(), &heaps]);
        File::create(heaps.join("system")).unwrap();
        assert_eq!(watch.wait().unwrap(), [heaps.join("system")]);
    }

    #[test]
    fn a_folder_that_went_is_told_and_no_longer_watched() {
        let dev = Folder::new("gone");
        let (removed, moved) = (dev.join("removed"), dev.join("moved"));
        fs::create_dir(&removed).unwrap();
        fs::create_dir(&moved).unwrap();
        let mut watch = NodeWatch::new(&[&removed, &moved]).unwrap();
        fs::remove_dir(&removed).unwrap();
        assert_eq!(watch.wait().unwrap(), [removed.as_path()]);
        assert_eq!(watch.watched(), [moved.as_path()]);
        fs::rename(&moved, dev.join("elsewhere")).unwrap();
        assert_eq!(watch.wait().unwrap(), [moved.as_path()]);
        assert!(watch.watched().is_empty());
        assert_eq!(watch.wait().unwrap_err().errno, Errno::ENOENT);
        // What the kernel says of the old folder at last does not touch a new one.
        fs::create_dir(&moved).unwrap();
        assert!(watch.add(&moved).unwrap());
        File::create(moved.join("system")).unwrap();
        assert_eq!(watch.wait().unwrap(), [moved.join("system")]);
        assert_eq!(watch.watched(), [moved.as_path()]);
    }

    #[test]
    fn a_change_is_told_under_every_path_of_its_folder() {
        let dev = Folder::new("alias");
        let (folder, alias) = (dev.join("dma_heap"), dev.join("alias"));
        fs::create_dir(&folder).unwrap();
        symlink(&folder, &alias).unwrap();
        let mut watch = NodeWatch::new(&[&folder, &alias]).unwrap();
        File::create(folder.join("system")).unwrap();
        assert_eq!(watch.wait().unwrap(), [alias.join("system"), folder.join("system")]);
    }

    #[test]
    fn more_changes_than_the_kernel_keeps_are_told_as_all_folders() {
        let dev = Folder::new("overflow");
        let (busy, quiet) = (dev.join("busy"), dev.join("quiet"));
        fs::create_dir(&busy).unwrap();
        fs::create_dir(&quiet).unwrap();
        let nodes = [busy.join("0"), busy.join("1")];
        nodes.iter().for_each(|node| drop(File::create(node).unwrap()));
        let mut watch = NodeWatch::new(&[&busy, &quiet]).unwrap();
        let kept: usize = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events")
            .unwrap()
            .trim()
            .parse()
            .unwrap();
        // Equal ones in a row would be kept as one.
        for node in nodes.iter().cycle().take(kept + 1) {
            set_mode(node, 0o444);
        }
        // This is lost.
        fs::remove_dir(&quiet).unwrap();
        let mut told = watch.wait().unwrap();
        while !told.contains(&quiet) {
            assert!(told.iter().all(|path| nodes.contains(path)), "{told:?}");
            told = watch.wait().unwrap();
        }
        assert!(told.contains(&busy), "{told:?}");
        assert_eq!(watch.watched(), [busy.as_path()]);
        set_mode(&nodes[0], 0o400);
        assert_eq!(watch.wait().unwrap(), [nodes[0].as_path()]);
    }

    #[test]
    fn a_file_is_no_folder() {
        let dev = Folder::new("file");
        File::create(dev.join("file")).unwrap();
        let watch = NodeWatch::new(&[&dev.join("file")]).unwrap();
        assert!(watch.watched().is_empty());
    }
}
