// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! The guest's file system: what is the same in every run (the base, cached), and what a run adds.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::archive::Archive;
use crate::cache::{self, Cache};
use crate::kernel::Built;
use crate::progress::Step;
use crate::{process, tools, workspace};

/// Bumped when the same inputs make another image.
const RECIPE: u32 = 1;

/// Where the HAL is in the guest.
pub const SERVICE: &str = "/vendor/bin/hw/vendor.berth.allocator-service";

/// Where the service manager's policy is in the guest.
pub const POLICY: &str = "/etc/rsbinder/hub.d";

/// Where a device has the service's policy file, in the guest.
pub const POLICY_FILE: &str = "/vendor/etc/berth/allocator.policy";

/// The folder of that file.
pub fn policy_folder() -> &'static str {
    POLICY_FILE.rsplit_once('/').map_or(POLICY_FILE, |(folder, _)| folder)
}

/// Folders that there are although nothing is in them.
const FOLDERS: &[&str] =
    &["/dev", "/proc", "/sys", "/data/vendor/berth", "/tmp", "/var/log", "/vendor/bin/hw"];

/// What the guest's first process starts before the command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Start {
    /// Nothing: the command is alone.
    Nothing,
    /// The service manager.
    Hub,
    /// The service manager and the HAL.
    #[default]
    Hal,
}

impl Start {
    fn word(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Hub => "hub",
            Self::Hal => "hal",
        }
    }
}

/// What the guest runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// A shell script; its exit code is the guest's.
    Script(String),
    /// A shell on a terminal of that many rows and columns.
    Shell(u16, u16),
}

impl Command {
    /// Words as they come from a command line: one is a line for the shell, several are taken as
    /// they are.
    pub fn from_words(words: &[String]) -> Self {
        Self::Script(match words {
            [line] => line.clone(),
            _ => words.iter().map(|word| process::quoted(word)).collect::<Vec<_>>().join(" "),
        })
    }
}

/// What a run adds to the base.
pub struct Payload {
    /// What is started before the command.
    pub start: Start,
    /// The command.
    pub command: Command,
    /// Files and folders: the guest's path and this machine's.
    pub files: Vec<(String, PathBuf)>,
    /// Symbolic links: the guest's path and the target.
    pub links: Vec<(String, String)>,
}

/// The base image for a kernel, from the cache or made.
pub fn base(cache: &Cache, lane: &str, kernel: &Built) -> Result<PathBuf> {
    let manager = tools::service_manager(cache)?;
    let busybox = tools::busybox(cache)?;
    let definition = workspace::root()?.join("tests/vm");
    let policy = definition.join("hub.d");
    let mut texts = vec![
        ("/init".to_owned(), definition.join("init"), 0o755),
        ("/etc/passwd".to_owned(), definition.join("passwd"), 0o644),
        ("/etc/group".to_owned(), definition.join("group"), 0o644),
    ];
    for (name, path) in files_in(&policy)? {
        texts.push((format!("{POLICY}/{name}"), path, 0o644));
    }
    let sources: Vec<PathBuf> = texts.iter().map(|(_, source, _)| source.clone()).collect();
    let order: String = kernel.modules.iter().map(|module| format!("{module}\n")).collect();
    let mut inputs = format!("recipe {RECIPE}\n{order}{}", cache::sums_of(&sources)?);
    for entry in [&kernel.folder, &manager, &busybox] {
        inputs += &cache::fingerprint(entry)?;
    }
    let entry = cache.entry(&format!("image-{lane}"), &inputs, |into| {
        let step = Step::start(format!("making the guest's base image for lane {lane}"));
        let mut archive = Archive::default();
        for folder in FOLDERS {
            archive.folder(folder);
        }
        archive.device("/dev/console", 5, 1);
        archive.file("/bin/busybox", &busybox.join("busybox"), 0o755);
        for applet in fs::read_to_string(busybox.join("APPLETS"))?.lines() {
            if applet != "busybox" {
                archive.link(&format!("/bin/{applet}"), "busybox");
            }
        }
        for program in ["rsb_hub", "rsb_service"] {
            archive.file(&format!("/bin/{program}"), &manager.join("bin").join(program), 0o755);
        }
        for (name, path) in files_in(&kernel.folder.join("modules"))? {
            archive.file(&format!("/lib/modules/{name}"), &path, 0o644);
        }
        archive.text("/lib/modules/order", &order, 0o644);
        for (path, source, mode) in &texts {
            archive.file(path, source, *mode);
        }
        let mut file = BufWriter::new(File::create(into.join("base.cpio"))?);
        archive.write(&mut file)?;
        file.flush()?;
        step.done();
        Ok(())
    })?;
    Ok(entry.join("base.cpio"))
}

/// Writes base and payload as one image, with further files that every run of the lane has.
pub fn compose(
    base: &Path,
    payload: &Payload,
    further: &[(String, PathBuf)],
    into: &mut File,
) -> Result<()> {
    let mut archive = Archive::default();
    archive.text("/etc/berth/plan", &plan(payload), 0o644);
    if let Command::Script(script) = &payload.command {
        archive.text("/etc/berth/command", &format!("{script}\n"), 0o644);
    }
    for (path, source) in further.iter().chain(&payload.files) {
        archive.tree(path, source)?;
    }
    for (path, target) in &payload.links {
        archive.link(path, target);
    }
    let mut source = File::open(base).with_context(|| format!("cannot open {}", base.display()))?;
    std::io::copy(&mut source, into).with_context(|| format!("cannot copy {}", base.display()))?;
    archive.write(into)
}

/// What the guest's init reads: shell assignments.
fn plan(payload: &Payload) -> String {
    let start = payload.start.word();
    match payload.command {
        Command::Script(_) => format!("START={start}\nSHELL_ON_TERMINAL=\n"),
        Command::Shell(rows, columns) => {
            format!("START={start}\nSHELL_ON_TERMINAL=yes\nROWS={rows}\nCOLUMNS={columns}\n")
        }
    }
}

fn files_in(folder: &Path) -> Result<Vec<(String, PathBuf)>> {
    let mut files = Vec::new();
    for entry in
        fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?
    {
        let entry = entry?;
        files.push((entry.file_name().to_string_lossy().into_owned(), entry.path()));
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_word_is_a_shell_line_and_several_are_taken_as_they_are() {
        let words = |words: &[&str]| {
            Command::from_words(&words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(words(&["ls | wc -l"]), Command::Script("ls | wc -l".into()));
        assert_eq!(words(&["echo", "a b", "$x"]), Command::Script("echo 'a b' '$x'".into()));
    }

    #[test]
    fn the_plan_is_shell() {
        let payload =
            |command| Payload { start: Start::Hub, command, files: vec![], links: vec![] };
        let script = plan(&payload(Command::Script("true".into())));
        assert_eq!(script, "START=hub\nSHELL_ON_TERMINAL=\n");
        assert!(plan(&payload(Command::Shell(24, 80))).ends_with("ROWS=24\nCOLUMNS=80\n"));
    }
}
