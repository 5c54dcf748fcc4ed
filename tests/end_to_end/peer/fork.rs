// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Processes without a program of their own: they cost no start of one, and they alone hold their
//! parent's mappings too.

#![allow(unsafe_code)]

use std::convert::Infallible;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure, Result};
use nix::libc::_exit;
use nix::sys::signal::{kill, Signal};
use nix::sys::wait::{waitpid, WaitPidFlag, WaitStatus};
use nix::unistd::{fork, pause, ForkResult, Pid};

/// How long a child may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Forks a process that does `work`, or ends with 1. Refused to a process that has threads.
pub fn fork_and(work: impl FnOnce() -> Result<Infallible>) -> Result<Pid> {
    let threads = fs::read_dir("/proc/self/task")?.count();
    ensure!(threads == 1, "{threads} threads: a client forks before it does anything else");
    // SAFETY: the only thread is this one, so that no other can have left a lock or a half-made
    // structure behind in the child.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => {
            let Err(error) = work();
            eprintln!("a forked client: {error:#}");
            // SAFETY: ends the process at once; destructors and what the parent had buffered for its
            // output stay the parent's.
            unsafe { _exit(1) }
        }
    }
}

/// Forks a process that does `work` and ends, and waits for it: an error if the work fails or does not
/// end. Only what must not fail in a process with threads is to be done there.
pub fn do_in_child(work: impl FnOnce() -> Result<()>) -> Result<()> {
    // SAFETY: none of this process's threads is at work when it is asked for anything, and the
    // allocators of both C libraries are whole after a fork.
    let child = match unsafe { fork() }? {
        ForkResult::Parent { child } => child,
        ForkResult::Child => {
            let done = work();
            if let Err(error) = &done {
                eprintln!("a forked child: {error:#}");
            }
            // SAFETY: as in `fork_and`.
            unsafe { _exit(i32::from(done.is_err())) }
        }
    };
    let began = Instant::now();
    loop {
        match waitpid(child, Some(WaitPidFlag::WNOHANG))? {
            WaitStatus::StillAlive if began.elapsed() > PATIENCE => {
                kill(child, Signal::SIGKILL)?;
                waitpid(child, None)?;
                bail!("the child hangs");
            }
            WaitStatus::StillAlive => thread::sleep(Duration::from_millis(1)),
            WaitStatus::Exited(_, 0) => return Ok(()),
            ended => bail!("the child: {ended:?}"),
        }
    }
}

/// Forks a process that sleeps until it is killed.
pub fn fork_asleep() -> Result<Pid> {
    // SAFETY: a process with threads may do in its child what is safe in a signal handler: `pause`
    // is (signal-safety(7)), and nothing else is done there.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => loop {
            pause();
        },
    }
}
