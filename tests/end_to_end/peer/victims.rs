// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Processes that are forked to be killed, each at a moment of chance.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::thread;
use std::time::Duration;

use anyhow::{ensure, Context, Result};
use berth_client::{Allocator, Error, RefusalCode, Session};
use berth_end_to_end::chance::Chance;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{kill, Signal};
use nix::sys::wait::{waitpid, WaitStatus};
use nix::unistd::{pipe, Pid};

use crate::fork::fork_and;

/// How long a victim looks for the service.
const FINDING: Duration = Duration::from_secs(30);
/// The longest between two deaths.
const LONGEST_LIFE_MICROSECONDS: usize = 1000;

/// So many are at work at a time; the others come up meanwhile, which takes longer.
const AT_WORK: usize = 2;

/// What a victim says before it goes to work, and the word to do so.
pub struct Ready {
    say: OwnedFd,
    go: OwnedFd,
}

impl Ready {
    /// Says it, and waits for its turn.
    pub fn say(self) -> Result<()> {
        File::from(self.say).write_all(b"!")?;
        Ok(File::from(self.go).read_exact(&mut [0])?)
    }
}

/// A process that comes up or works, and the pipes between it and this one.
struct Victim {
    pid: Pid,
    ready: File,
    go: File,
    is_at_work: bool,
}

impl Victim {
    /// Lets it go to work, as soon as it is ready.
    fn set_to_work(&mut self) -> Result<()> {
        if !self.is_at_work {
            let said = self.ready.read(&mut [0]).context("wait for a client that was forked")?;
            ensure!(said == 1, "a client ended before it took part; it says above why");
            self.go.write_all(b"!").context("a client ended before it went to work")?;
            self.is_at_work = true;
        }
        Ok(())
    }

    fn end(self) -> Result<()> {
        kill(self.pid, Signal::SIGKILL)?;
        let status = waitpid(self.pid, None)?;
        ensure!(
            matches!(status, WaitStatus::Signaled(_, Signal::SIGKILL, _)),
            "a client ended by itself: {status:?}; it says above why"
        );
        Ok(())
    }
}

/// Forks so many processes, so many at a time, each of which is given its number and lives in a session
/// of its own until it is killed; answers how many. The caller must be a process without threads.
pub fn kill_victims(
    count: usize,
    at_once: usize,
    live: impl Fn(usize, Session, Ready) -> Result<Infallible>,
) -> Result<usize> {
    let mut chance = Chance::new(count as u64);
    let mut alive: VecDeque<Victim> = VecDeque::new();
    for number in 0..count {
        if alive.len() == at_once {
            kill_first(&mut alive, &mut chance)?;
        }
        let ((ready, say_ready), (wait_for_go, go)) = (pipe()?, pipe()?);
        let pid = fork_and(|| {
            // Where the test ends early, nothing stays behind.
            set_pdeathsig(Signal::SIGKILL)?;
            let session = Allocator::connect_within(FINDING)?.open_session("to be killed")?;
            live(number, session, Ready { say: say_ready, go: wait_for_go })
        })?;
        let (ready, go) = (File::from(ready), File::from(go));
        alive.push_back(Victim { pid, ready, go, is_at_work: false });
    }
    while !alive.is_empty() {
        kill_first(&mut alive, &mut chance)?;
    }
    Ok(count)
}

/// Asks the service for what is short as long as it has not heard of all who are dead.
pub fn until_there_is_room<T>(ask: impl Fn() -> Result<T, Error>) -> Result<T> {
    loop {
        match ask() {
            Ok(answer) => break Ok(answer),
            Err(Error::Refused { code: RefusalCode::QUOTA_EXCEEDED, .. }) => thread::yield_now(),
            Err(error) => break Err(error.into()),
        }
    }
}

/// Kills the one that is there longest, while others work.
fn kill_first(alive: &mut VecDeque<Victim>, chance: &mut Chance) -> Result<()> {
    alive.iter_mut().take(AT_WORK).try_for_each(Victim::set_to_work)?;
    thread::sleep(Duration::from_micros(chance.below(LONGEST_LIFE_MICROSECONDS) as u64));
    alive.pop_front().map_or(Ok(()), Victim::end)
}
