// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Memory that is short for one process alone. Needs root and [`Facility::MemoryController`].
//!
//! [`Facility::MemoryController`]: crate::Facility::MemoryController

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// What that process may have before it is made to wait, in bytes.
const LIMIT: &str = "262144";

/// A control group in which memory is short: whoever is in it waits, nobody is killed. It goes with
/// this.
#[derive(Debug)]
pub struct Shortage {
    hierarchy: PathBuf,
    group: PathBuf,
    sufferer: Option<Child>,
}

impl Shortage {
    /// Makes it; nobody is in it yet.
    ///
    /// # Panics
    ///
    /// If the kernel does not let this process.
    pub fn new() -> Shortage {
        let name = format!("berth-shortage-{}", std::process::id());
        let hierarchy = std::env::temp_dir().join(&name);
        fs::create_dir(&hierarchy).expect("a folder");
        run(Command::new("mount").args(["-t", "cgroup2", "none"]).arg(&hierarchy));
        let shortage = Shortage { group: hierarchy.join(name), hierarchy, sufferer: None };
        let subtree = shortage.hierarchy.join("cgroup.subtree_control");
        fs::write(subtree, "+memory").expect("the memory controller");
        fs::create_dir(&shortage.group).expect("a control group");
        fs::write(shortage.group.join("memory.high"), LIMIT).expect("a limit");
        shortage
    }

    /// Lets a process of its own want more than there is.
    ///
    /// # Panics
    ///
    /// If it cannot be started.
    pub fn suffer(&mut self) {
        let script = "echo $$ >\"$0/cgroup.procs\" && exec tail /dev/zero";
        let mut shell = Command::new("sh");
        let shell = shell.args(["-c", script]).arg(&self.group);
        self.sufferer = Some(shell.stdout(Stdio::null()).spawn().expect("a process"));
    }

    /// Ends that process.
    pub fn relieve(&mut self) {
        if let Some(mut sufferer) = self.sufferer.take() {
            let _ = sufferer.kill();
            let _ = sufferer.wait();
        }
    }
}

impl Default for Shortage {
    fn default() -> Shortage {
        Shortage::new()
    }
}

impl Drop for Shortage {
    fn drop(&mut self) {
        self.relieve();
        let _ = fs::remove_dir(&self.group);
        let _ = Command::new("umount").arg(&self.hierarchy).status();
        let _ = fs::remove_dir(&self.hierarchy);
    }
}

fn run(command: &mut Command) {
    let status = command.status().expect("a command");
    assert!(status.success(), "{command:?}: {status}");
}
