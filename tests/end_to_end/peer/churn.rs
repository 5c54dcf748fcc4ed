// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Clients that are killed while they hold buffers, many of them one after another.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::time::Duration;

use anyhow::{ensure, Context, Result};
use berth_client::Allocator;
use berth_end_to_end::protocol::KillCycles;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{kill, Signal};
use nix::sys::wait::waitpid;
use nix::unistd::{pause, pipe, Pid};

use crate::fork::fork_and;
use crate::wire;

const FINDING: Duration = Duration::from_secs(30);

/// A client that was forked, and the pipe in which it says that it holds what it should.
struct Victim {
    pid: Pid,
    ready: File,
}

/// Forks clients that allocate and kills each when it has; answers how many.
pub fn kill_cycles(ask: &KillCycles) -> Result<usize> {
    let mut alive: VecDeque<Victim> = VecDeque::new();
    let mut killed = 0;
    for _ in 0..ask.cycles {
        if alive.len() == ask.at_once {
            killed += alive.pop_front().map_or(Ok(0), end)?;
        }
        alive.push_back(begin(ask)?);
    }
    for victim in alive {
        killed += end(victim)?;
    }
    Ok(killed)
}

fn begin(ask: &KillCycles) -> Result<Victim> {
    let (ready, say_ready) = pipe()?;
    let pid = fork_and(|| live(ask, say_ready))?;
    Ok(Victim { pid, ready: File::from(ready) })
}

/// The life of a client.
fn live(ask: &KillCycles, say_ready: OwnedFd) -> Result<Infallible> {
    // Where the test ends early, nothing stays behind.
    set_pdeathsig(Signal::SIGKILL)?;
    let session = Allocator::connect_within(FINDING)?.open_session("to be killed")?;
    let _held = session.allocate_descriptor(wire::descriptor(&ask.descriptor), ask.buffers)?;
    File::from(say_ready).write_all(b"!")?;
    loop {
        pause();
    }
}

fn end(mut victim: Victim) -> Result<usize> {
    let said = victim.ready.read(&mut [0]).context("wait for a client that was forked")?;
    kill(victim.pid, Signal::SIGKILL)?;
    waitpid(victim.pid, None)?;
    ensure!(said == 1, "a client ended before it had its buffers; it says above why");
    Ok(1)
}
