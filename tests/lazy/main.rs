// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Shows in a VM that the lazy service is one: nobody starts it but who asks for it, what is in its
//! books keeps it although no client has the allocator, and it ends when nothing is, to come back on
//! demand. The service manager does init's part: its configuration names the program.

#![forbid(unsafe_code)]

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure, Context, Result};
use berth_client::{Allocator, BufferRequest};

const SERVICE: &str = "/vendor/bin/hw/vendor.berth.allocator-service";
const MANAGER: &str = "/bin/rsb_hub";
/// Who may do what at the service manager, as in every VM.
const POLICY: &str = "/etc/rsbinder/hub.d";
/// The same, and what is started on demand. A folder that only root can write, or it is not trusted.
const CONFIGURATION: &str = "/etc/rsbinder/lazy.d";
const LOG: &str = "/var/log/hub";

/// What the service says when it is told that no client has the allocator any more, and stays.
const KEPT: &str = "Shutdown prevented by force_persist";

/// How long anything may take. The service manager looks for clients every five seconds.
const PATIENCE: Duration = Duration::from_secs(120);

/// The service manager, which starts the service; killed if this is dropped.
struct Manager(Child);

impl Manager {
    fn start() -> Result<Manager> {
        fs::create_dir_all(CONFIGURATION)?;
        for entry in fs::read_dir(POLICY).context(POLICY)? {
            let entry = entry?;
            fs::copy(entry.path(), Path::new(CONFIGURATION).join(entry.file_name()))?;
        }
        let declared = format!(
            "[[service]]\nname = \"vendor.berth.allocator.IAllocator/default\"\n\
             start = {{ exec = [\"{SERVICE}\", \"--lazy\"] }}\n"
        );
        fs::write(Path::new(CONFIGURATION).join("lazy.toml"), declared)?;
        let log = File::create(LOG).context(LOG)?;
        let mut manager = Command::new(MANAGER);
        manager.args(["--config", CONFIGURATION]).env("RUST_LOG", "info").stdin(Stdio::null());
        // What it starts inherits all of it.
        manager.stdout(log.try_clone()?).stderr(log);
        Ok(Manager(manager.spawn().context(MANAGER)?))
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// How often the service was told that it has no client, and stayed.
fn times_kept() -> usize {
    fs::read_to_string(LOG).unwrap_or_default().matches(KEPT).count()
}

/// The processes of the service.
fn processes() -> Result<Vec<u32>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // A process that has just ended, or ended and is not waited for, has no command line.
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if line.split(|&byte| byte == 0).next() == Some(SERVICE.as_bytes()) {
            found.push(pid);
        }
    }
    Ok(found)
}

/// The one process of the service.
fn process() -> Result<u32> {
    match processes()?[..] {
        [pid] => Ok(pid),
        ref other => bail!("the service has the processes {other:?}, and not one"),
    }
}

fn wait_until(what: &str, mut reached: impl FnMut() -> Result<bool>) -> Result<()> {
    let began = Instant::now();
    while !reached()? {
        ensure!(began.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        thread::yield_now();
    }
    println!("lazy: {what}");
    Ok(())
}

fn wait_for_the_end(of: u32) -> Result<()> {
    wait_until("nothing is in use, and the service has ended", || Ok(!processes()?.contains(&of)))
}

fn connect() -> Result<Allocator> {
    Allocator::connect_within(PATIENCE).context("nobody started the service")
}

fn main() -> Result<()> {
    let _manager = Manager::start()?;
    wait_until("the service manager is up", || Ok(manager_answers()))?;
    ensure!(processes()?.is_empty(), "the service runs, and nobody asked for it");

    let allocator = connect()?;
    let first = process()?;
    ensure!(!allocator.capabilities()?.heaps.is_empty());
    println!("lazy: it was started for who asked for it");
    drop(allocator);
    wait_for_the_end(first)?;

    let session = connect()?.open_session("lazy")?;
    let second = process()?;
    ensure!(second != first, "pid {first} again");
    println!("lazy: it was started again");
    let buffer = session.allocate_one(&BufferRequest::linear(1 << 20))?;
    wait_until("no client has the allocator, and the session keeps the service", || {
        Ok(times_kept() == 1)
    })?;
    ensure!(process()? == second && session.stats()?.buffers == 1);

    // Memory that somebody holds counts against who allocated it, session or none.
    let kept = buffer.as_fd().try_clone_to_owned()?;
    drop(buffer);
    drop(session);
    let lingering = connect()?.stats()?.lingeringBuffers;
    ensure!(lingering == 1, "{lingering} buffers linger");
    wait_until("no client has anything, and memory that is held keeps the service", || {
        Ok(times_kept() == 2)
    })?;
    ensure!(process()? == second);
    drop(kept);
    wait_for_the_end(second)?;

    let lingering = connect()?.stats()?.lingeringBuffers;
    ensure!(lingering == 0 && process()? != second);
    println!("lazy: ok");
    Ok(())
}

/// Whether the service manager answers its own tool.
fn manager_answers() -> bool {
    let mut check = Command::new("/bin/rsb_service");
    let check = check.args(["check", "manager"]).stdout(Stdio::null()).stderr(Stdio::null());
    check.status().is_ok_and(|status| status.success())
}
