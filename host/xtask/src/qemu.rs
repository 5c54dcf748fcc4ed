// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! One run of QEMU: software emulation (KVM is not to be relied on in containers and CI), the
//! kernel's console in a file, and one virtio port each for the command's output, its errors and
//! the guest's log.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::termios::{self, SetArg, Termios};

use crate::exit::{self, Outcome};
use crate::lane::Machine;
use crate::progress::Step;

const KERNEL_COMMAND_LINE: &str =
    "console=ttyS0 panic=-1 quiet loglevel=4 log_buf_len=1M mitigations=off cryptomgr.notests";

/// How often QEMU is asked whether it ended.
const POLL: Duration = Duration::from_millis(20);

/// Where bytes of the guest go while it runs.
pub type Sink = Box<dyn Write + Send>;

/// What to boot, and how.
pub struct Boot<'a> {
    /// The lane's name, for messages.
    pub lane: &'a str,
    /// The virtual machine.
    pub machine: &'a Machine,
    /// The kernel.
    pub vmlinux: &'a Path,
    /// The guest's file system.
    pub image: &'a Path,
    /// After that long it is killed; `None`: never.
    pub timeout: Option<Duration>,
    /// Whether this process's terminal is the guest's.
    pub interactive: bool,
}

/// How it went.
pub struct Report {
    /// How it ended.
    pub outcome: Outcome,
    /// The kernel's console.
    pub console: String,
    /// The guest's log (see `guest_log`).
    pub guest_log: String,
}

/// Boots, streams what the guest prints to `out` and `err`, and waits for the end.
pub fn run(boot: &Boot, out: Sink, err: Sink) -> Result<Report> {
    let folder = tempfile::tempdir().context("cannot make a folder for the VM's sockets")?;
    let console = folder.path().join("console");
    let (to_log, log) = mpsc::channel();
    let channels = [
        Channel::open(folder.path(), "out", Port::Sink(out))?,
        Channel::open(folder.path(), "err", Port::Sink(err))?,
        Channel::open(folder.path(), "log", Port::Log(to_log))?,
    ];
    let step = Step::start(format!("booting lane {}", boot.lane));
    let terminal = boot.interactive.then(Terminal::save).flatten();
    let mut child =
        Qemu(command(boot, &console, &channels).spawn().context(
            "cannot start qemu-system-x86_64: is the package qemu-system-x86 installed?",
        )?);
    let deadline = boot.timeout.map(|timeout| Instant::now() + timeout);
    let mut step = Some(step);
    let mut guest_log = Vec::new();
    let outcome = loop {
        match log.recv_timeout(POLL) {
            Ok(bytes) => {
                guest_log.extend_from_slice(&bytes);
                // The first that the guest logs is that it is ready.
                step.take().map(Step::done);
            }
            Err(RecvTimeoutError::Timeout) => {}
            // The log's port is closed: QEMU is about to end.
            Err(RecvTimeoutError::Disconnected) => std::thread::sleep(POLL),
        }
        if let Some(status) = child.0.try_wait().context("cannot wait for QEMU")? {
            break Ok(status.code());
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            break Err(Outcome::TimedOut);
        }
    };
    drop(child);
    drop(terminal);
    for channel in channels {
        channel.close();
    }
    guest_log.extend(log.try_iter().flatten());
    drop(step);
    let console = fs::read(&console).unwrap_or_default();
    let console = String::from_utf8_lossy(&console).into_owned();
    let outcome = outcome.map_or_else(|outcome| outcome, |status| exit::judge(status, &console));
    let guest_log = String::from_utf8_lossy(&guest_log).into_owned();
    Ok(Report { outcome, console, guest_log })
}

fn command(boot: &Boot, console: &Path, channels: &[Channel]) -> Command {
    // setpriv: the VM must not outlive us, whatever ends us.
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "qemu-system-x86_64"]);
    command.args(["-accel", "tcg", "-M", "q35", "-display", "none"]);
    command.args(["-cpu", boot.machine.model]);
    command.args(["-nodefaults", "-no-user-config", "-no-reboot"]);
    command.args(["-smp", &boot.machine.processors.to_string()]);
    command.args(["-m", &boot.machine.memory_mib.to_string()]);
    command.args(["-device", "isa-debug-exit,iobase=0xf4,iosize=1"]);
    command.arg("-serial").arg(format!("file:{}", console.display()));
    command.args(["-device", "virtio-serial-pci"]);
    if boot.interactive {
        // Ctrl-C goes to the guest; Ctrl-A X ends QEMU when the guest does not answer.
        command.args(["-chardev", "stdio,id=terminal,mux=on,signal=off"]);
        command.args(["-device", "virtconsole,nr=0,chardev=terminal"]);
        command.args(["-mon", "chardev=terminal,mode=readline"]);
    } else {
        command.stdin(Stdio::null());
    }
    for (number, channel) in (1..).zip(channels) {
        let (name, socket) = (channel.name, channel.socket.display());
        command.arg("-chardev").arg(format!("socket,id={name},path={socket}"));
        command.arg("-device");
        command.arg(format!("virtserialport,nr={number},chardev={name},name=berth.{name}"));
    }
    command.arg("-kernel").arg(boot.vmlinux).arg("-initrd").arg(boot.image);
    let line = format!("{KERNEL_COMMAND_LINE} {}", boot.machine.command_line);
    command.args(["-append", line.trim_end()]);
    command
}

/// A running QEMU; it does not survive an early return.
struct Qemu(Child);

impl Drop for Qemu {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The terminal's settings, put back when dropped: QEMU sets it raw, and a killed QEMU leaves it
/// so.
struct Terminal(Termios);

impl Terminal {
    fn save() -> Option<Self> {
        termios::tcgetattr(std::io::stdin()).ok().map(Self)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Nothing can be done about a terminal that went away.
        let _ = termios::tcsetattr(std::io::stdin(), SetArg::TCSADRAIN, &self.0);
    }
}

enum Port {
    Sink(Sink),
    Log(Sender<Vec<u8>>),
}

/// A socket that QEMU connects to, and the thread that reads what comes.
struct Channel {
    name: &'static str,
    socket: PathBuf,
    reader: JoinHandle<()>,
}

impl Channel {
    fn open(folder: &Path, name: &'static str, port: Port) -> Result<Self> {
        let socket = folder.join(name);
        let listener = UnixListener::bind(&socket)
            .with_context(|| format!("cannot make the socket {}", socket.display()))?;
        let reader = std::thread::spawn(move || {
            if let Ok((stream, _)) = listener.accept() {
                copy(stream, port);
            }
        });
        Ok(Self { name, socket, reader })
    }

    /// Waits until all that QEMU sent is passed on. If it never connected, a connection of our own
    /// lets the thread go.
    fn close(self) {
        drop(UnixStream::connect(&self.socket));
        // A reader that panicked has nothing more to pass on.
        let _ = self.reader.join();
    }
}

fn copy(mut stream: UnixStream, mut port: Port) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        let bytes = &buffer[..count];
        // A sink that is closed (a pipe into `head`) must not stop the guest: read on.
        match &mut port {
            Port::Sink(sink) => drop(sink.write_all(bytes).and_then(|()| sink.flush())),
            Port::Log(sender) => drop(sender.send(bytes.to_vec())),
        }
    }
}

/// Keeps a run's console and log for whoever wants to look.
pub fn keep(report: &Report, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    for (name, text) in [("console.log", &report.console), ("guest.log", &report.guest_log)] {
        File::create(folder.join(name))
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .with_context(|| format!("cannot write {name} in {}", folder.display()))?;
    }
    Ok(())
}
