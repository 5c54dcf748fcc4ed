// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! What the demo runs on: the transport, and programs that every uid can reach.

use std::fs;
use std::os::unix::fs::{chown, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use berth_kernel::random::Random;

use crate::{Props, Transport};

/// The environment variable by which a process learns its transport.
const TRANSPORT_VARIABLE: &str = "BERTH_BINDER";
/// Android's uid `system`, under which HALs run.
pub const SYSTEM_UID: u32 = 1000;

/// The stage; what it has of its own goes when the demo ends.
pub struct Stage {
    program: PathBuf,
    own: Option<Folder>,
}

impl Stage {
    /// Sets the stage, and the transport of this process and of all that it starts.
    pub fn set(props: &Props) -> Result<Stage> {
        let program = std::env::current_exe().context("find this program")?;
        let (Some(service), Some(transport)) = (&props.service, props.transport) else {
            // With the HAL that runs, on its transport; this program is installed as it is.
            return Ok(Stage { program, own: None });
        };
        let folder = Folder::make()?;
        let sockets = folder.sockets();
        chown(&sockets, Some(SYSTEM_UID), Some(SYSTEM_UID))
            .context("the demo needs root, to give each process a uid")?;
        // Other uids start these programs, and may not reach where they were built.
        copy_program(&program, &folder.program())?;
        copy_program(service, &folder.service())?;
        let transport = match transport {
            Transport::Kernel => "kernel".to_owned(),
            Transport::Rpc => format!("unix:{}", sockets.display()),
        };
        std::env::set_var(TRANSPORT_VARIABLE, transport);
        Ok(Stage { program: folder.program(), own: Some(folder) })
    }

    /// This program in another role.
    pub fn role(&self, role: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.arg(role);
        command
    }

    /// The HAL, if the demo starts it.
    pub fn service(&self) -> Option<Command> {
        self.own.as_ref().map(|folder| Command::new(folder.service()))
    }
}

/// A folder that every uid can reach; removed when dropped.
struct Folder(PathBuf);

impl Folder {
    fn make() -> Result<Folder> {
        // Root puts programs there: a name that nobody can guess, and no folder of somebody else's.
        let name = format!("berth-demo-{:016x}", Random::open()?.draw()?);
        let folder = Folder(std::env::temp_dir().join(name));
        for new in [&folder.0, &folder.sockets()] {
            // Reached by all, whatever the caller's umask is.
            fs::create_dir(new)
                .and_then(|()| fs::set_permissions(new, fs::Permissions::from_mode(0o755)))
                .with_context(|| format!("create {}", new.display()))?;
        }
        Ok(folder)
    }

    fn sockets(&self) -> PathBuf {
        self.0.join("sockets")
    }

    fn program(&self) -> PathBuf {
        self.0.join("berth-demo")
    }

    fn service(&self) -> PathBuf {
        self.0.join("vendor.berth.allocator-service")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("{} stays behind: {error}", self.0.display());
        }
    }
}

fn copy_program(from: &Path, to: &Path) -> Result<()> {
    let copy =
        fs::copy(from, to).and_then(|_| fs::set_permissions(to, fs::Permissions::from_mode(0o755)));
    copy.with_context(|| format!("copy {} to {}", from.display(), to.display()))
}
