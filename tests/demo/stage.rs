// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! What the demo runs on: the transport, the programs, and a folder that every uid can reach.

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

/// The stage; its folder goes when the demo ends.
pub struct Stage {
    folder: PathBuf,
    program: PathBuf,
    service: PathBuf,
    transport: String,
}

impl Stage {
    /// Sets the stage, and this process's own transport.
    pub fn set(props: &Props) -> Result<Stage> {
        // Root puts programs there: a name that nobody can guess, and no folder of somebody else's.
        let name = format!("berth-demo-{:016x}", Random::open()?.draw()?);
        let folder = std::env::temp_dir().join(name);
        let sockets = folder.join("sockets");
        for new in [&folder, &sockets] {
            // Reached by all, whatever the caller's umask is.
            fs::create_dir(new)
                .and_then(|()| fs::set_permissions(new, fs::Permissions::from_mode(0o755)))
                .with_context(|| format!("create {}", new.display()))?;
        }
        let transport = match props.transport {
            Transport::Kernel => "kernel".to_owned(),
            Transport::Rpc => format!("unix:{}", sockets.display()),
        };
        // Other uids start these programs, and may not reach where they were built.
        let stage = Stage {
            program: folder.join("berth-demo"),
            service: folder.join("vendor.berth.allocator-service"),
            folder,
            transport,
        };
        chown(&sockets, Some(SYSTEM_UID), Some(SYSTEM_UID))
            .context("the demo needs root, to give each process a uid")?;
        let own = std::env::current_exe().context("find this program")?;
        for (from, to) in [(own.as_path(), &stage.program), (&props.service, &stage.service)] {
            copy_program(from, to)?;
        }
        std::env::set_var(TRANSPORT_VARIABLE, &stage.transport);
        Ok(stage)
    }

    /// A program that joins the stage's transport.
    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env(TRANSPORT_VARIABLE, &self.transport);
        command
    }

    /// This program in another role.
    pub fn role(&self, role: &str) -> Command {
        let mut command = self.command(&self.program);
        command.arg(role);
        command
    }

    /// The HAL.
    pub fn service(&self) -> Command {
        self.command(&self.service)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.folder) {
            eprintln!("{} stays behind: {error}", self.folder.display());
        }
    }
}

fn copy_program(from: &Path, to: &Path) -> Result<()> {
    let copy =
        fs::copy(from, to).and_then(|_| fs::set_permissions(to, fs::Permissions::from_mode(0o755)));
    copy.with_context(|| format!("copy {} to {}", from.display(), to.display()))
}
