// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Frames without end, made and taken, each with marks by which it shows if two held it at once.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{bail, ensure, Context, Result};
use berth_client::{Allocator, Buffer, Error, Metadata, Pool, PoolFault, RefusalCode, Token};
use berth_end_to_end::chance::Chance;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{kill, Signal};
use nix::sys::wait::waitpid;
use nix::unistd::{pipe, Pid};

use crate::fork::fork_and;

/// How long one round waits for a slot, and for a frame. A round that had none goes on with the other:
/// those who were killed may have left frames in all slots.
const PATIENCE: Duration = Duration::from_millis(200);
const FINDING: Duration = Duration::from_secs(30);
/// The longest that a process works before it is killed.
const LONGEST_LIFE_MICROSECONDS: usize = 3000;

/// Threads that make and take frames.
pub struct Mill {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
    threads: Vec<JoinHandle<Result<()>>>,
}

impl Mill {
    /// Starts it.
    pub fn start(pool: &Pool, threads: usize, among_enemies: bool) -> Mill {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let work = |thread: usize| {
            let (pool, stop, done) = (pool.clone(), stop.clone(), done.clone());
            thread::spawn(move || {
                for round in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    mill(&pool, (thread as u64) << 32 | round, among_enemies)?;
                    done.fetch_add(1, Ordering::Relaxed);
                }
                Ok(())
            })
        };
        let threads = (0..threads).map(work).collect();
        Mill { stop, done, threads }
    }

    /// How many rounds were done.
    pub fn done(&self) -> usize {
        self.done.load(Ordering::Relaxed)
    }

    /// Ends it.
    pub fn stop(self) -> Result<usize> {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            match thread.join() {
                Ok(result) => result?,
                Err(_) => bail!("a thread panicked"),
            }
        }
        Ok(self.done.load(Ordering::Relaxed))
    }
}

/// One frame made, if there is a slot for it, and one taken. Where somebody writes nonsense to the
/// table, frames get lost or come again; two still never hold one slot.
fn mill(pool: &Pool, round: u64, among_enemies: bool) -> Result<()> {
    match pool.acquire(PATIENCE) {
        Ok(lease) => {
            let buffer = lease.buffer()?;
            // Marks of this process and this round.
            let mark = (round as u8).wrapping_mul(31) ^ (pool.participant() as u8) << 4;
            fill(&buffer, mark)?;
            ensure!(all_bytes_are(&buffer, mark)?, "another wrote to a slot that is held");
            let metadata =
                Metadata { tag: u32::from(mark), sequence: round, ..Metadata::default() };
            match lease.submit(&metadata) {
                Ok(()) => {}
                Err(Error::LostSlot(_)) if among_enemies => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(error) => only_late(error)?,
    }
    match pool.take(PATIENCE) {
        Ok(frame) => {
            let buffer = frame.buffer()?;
            let mark = frame.metadata().tag as u8;
            // A frame that comes again has the marks of a later one, but all of one kind.
            let mark = if among_enemies { first_byte(&buffer)? } else { mark };
            ensure!(all_bytes_are(&buffer, mark)?, "a frame has not the marks of its producer");
            // From here on it is this process's to write.
            fill(&buffer, !mark)?;
            ensure!(all_bytes_are(&buffer, !mark)?, "another wrote to a frame that is held");
        }
        Err(error) => only_late(error)?,
    }
    Ok(())
}

fn only_late(error: Error) -> Result<()> {
    match error {
        Error::Pool(PoolFault::TimedOut(_)) => Ok(()),
        error => Err(error.into()),
    }
}

fn fill(buffer: &Buffer, value: u8) -> Result<()> {
    let mapped = buffer.map()?;
    let access = mapped.begin_write()?;
    access.fill(0, mapped.size(), value)?;
    Ok(access.end()?)
}

fn first_byte(buffer: &Buffer) -> Result<u8> {
    let mapped = buffer.map_read_only()?;
    let mut byte = [0];
    let access = mapped.begin_read()?;
    access.read(0, &mut byte)?;
    access.end()?;
    Ok(byte[0])
}

/// Whether all bytes of a buffer have a value.
pub fn all_bytes_are(buffer: &Buffer, value: u8) -> Result<bool> {
    let mapped = buffer.map_read_only()?;
    let mut bytes = vec![0; mapped.size()];
    let access = mapped.begin_read()?;
    access.read(0, &mut bytes)?;
    access.end()?;
    Ok(bytes.iter().all(|byte| *byte == value))
}

/// A process that mills, and the pipe in which it says that it does.
struct Victim {
    pid: Pid,
    ready: File,
}

/// Forks processes that mill, and kills each; answers how many.
pub fn kill_mills(tokens: &[[u8; 16]], cycles: usize, at_once: usize) -> Result<usize> {
    let mut chance = Chance::new(cycles as u64);
    let mut alive: VecDeque<Victim> = VecDeque::new();
    for cycle in 0..cycles {
        if alive.len() == at_once {
            alive.pop_front().map_or(Ok(()), |victim| end(victim, &mut chance))?;
        }
        let token = *tokens.get(cycle % tokens.len().max(1)).context("no token")?;
        let (ready, say_ready) = pipe()?;
        let pid = fork_and(|| live(token, say_ready))?;
        alive.push_back(Victim { pid, ready: File::from(ready) });
    }
    alive.into_iter().try_for_each(|victim| end(victim, &mut chance))?;
    Ok(cycles)
}

fn live(token: [u8; 16], say_ready: OwnedFd) -> Result<Infallible> {
    // Where the test ends early, nothing stays behind.
    set_pdeathsig(Signal::SIGKILL)?;
    let session = Allocator::connect_within(FINDING)?.open_session("to be killed")?;
    let pool = loop {
        match session.join_pool(Token(token)) {
            Ok(pool) => break pool,
            // Those before it are dead, and the service has not heard of them yet.
            Err(Error::Refused { code: RefusalCode::QUOTA_EXCEEDED, .. }) => thread::yield_now(),
            Err(error) => return Err(error.into()),
        }
    };
    File::from(say_ready).write_all(b"!")?;
    for round in 0.. {
        mill(&pool, round, false)?;
    }
    bail!("there are no more rounds")
}

fn end(mut victim: Victim, chance: &mut Chance) -> Result<()> {
    let said = victim.ready.read(&mut [0]).context("wait for a client that was forked")?;
    thread::sleep(Duration::from_micros(chance.below(LONGEST_LIFE_MICROSECONDS) as u64));
    kill(victim.pid, Signal::SIGKILL)?;
    let status = waitpid(victim.pid, None)?;
    ensure!(said == 1, "a client ended before it took part; it says above why");
    ensure!(
        matches!(status, nix::sys::wait::WaitStatus::Signaled(_, Signal::SIGKILL, _)),
        "a client ended by itself: {status:?}; it says above why"
    );
    Ok(())
}
