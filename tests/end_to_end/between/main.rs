// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Structures in memory that processes share, between real processes: against a model, against peers
//! that are killed at any moment, and against one that writes what it likes.

mod c_libraries;
mod hostile;
mod killed;
mod model;
mod priority;
mod pthread;

use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use berth_end_to_end::shared::PROGRESS;
use berth_kernel::mapping::{Mapping, ReadWrite};
use berth_kernel::memfd::Memfd;

/// How long anything may take, under emulation too.
const PATIENCE: Duration = Duration::from_secs(60);

/// Memory for one test: structures from its start on, and how far the peer is.
struct Memory {
    memfd: Memfd,
    progress: Mapping<ReadWrite>,
}

impl Memory {
    fn new() -> Memory {
        let memfd = Memfd::create("shared", PROGRESS + 4096).unwrap();
        let progress = Mapping::of_range(memfd.as_fd(), PROGRESS, 64).unwrap();
        Memory { memfd, progress }
    }

    /// Starts a peer with this memory.
    fn peer(&self, role: &str, number: u64) -> Peer {
        self.peer_in("BERTH_BIN_DIR", role, number)
    }

    /// The same by the program in a folder that a variable names.
    fn peer_in(&self, folder: &str, role: &str, number: u64) -> Peer {
        let folder = PathBuf::from(std::env::var_os(folder).expect(folder));
        let memory = format!("/proc/{}/fd/{}", std::process::id(), self.memfd.as_fd().as_raw_fd());
        let mut command = Command::new(folder.join("berth-shared-peer"));
        command.args([role, &memory, &number.to_string()]);
        Peer(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap())
    }

    fn steps(&self) -> u32 {
        self.progress.word(0).unwrap().load(Ordering::Relaxed)
    }

    /// Waits until peers have done so much since.
    fn await_steps(&self, since: u32, steps: u32, mut meanwhile: impl FnMut()) {
        let began = Instant::now();
        while self.steps().wrapping_sub(since) < steps {
            meanwhile();
            assert!(began.elapsed() < PATIENCE, "the peer does nothing");
        }
    }
}

/// Another process; killed when dropped.
struct Peer(Child);

impl Peer {
    /// Kills it, and sees that it lived until then.
    fn kill(mut self) {
        self.0.kill().unwrap();
        let status = self.0.wait().unwrap();
        assert_eq!(status.signal(), Some(9), "the peer ended by itself: {status}");
    }

    /// What it is asked and what it answers.
    fn lines(&mut self) -> (ChildStdin, BufReader<ChildStdout>) {
        (self.0.stdin.take().unwrap(), BufReader::new(self.0.stdout.take().unwrap()))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// One line there and one back.
fn ask(lines: &mut (ChildStdin, BufReader<ChildStdout>), what: &str) -> String {
    if !what.is_empty() {
        writeln!(lines.0, "{what}").unwrap();
    }
    let mut answer = String::new();
    lines.1.read_line(&mut answer).unwrap();
    answer.trim_end().to_owned()
}

/// How many times something is done: all of it on a real machine, a part of it under emulation.
fn rounds(all: u32) -> u32 {
    match std::env::var("BERTH_LANE").as_deref() {
        Ok("host") => all,
        _ => all.div_ceil(10),
    }
}
