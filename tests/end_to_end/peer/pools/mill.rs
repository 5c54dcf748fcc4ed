// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Frames without end, made and taken, each with marks by which it shows if two held it at once.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{bail, ensure, Context, Result};
use berth_client::{Buffer, Error, Metadata, Pool, PoolFault, Token};

use crate::memory::first_byte;
use crate::victims::{kill_victims, until_there_is_room};

/// How long one round waits for a slot, and for a frame. A round that had none goes on with the other:
/// those who were killed may have left frames in all slots.
const PATIENCE: Duration = Duration::from_millis(200);

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

/// Sets all bytes of a buffer to a value.
pub fn fill(buffer: &Buffer, value: u8) -> Result<()> {
    let mapped = buffer.map()?;
    let access = mapped.begin_write()?;
    access.fill(0, mapped.size(), value)?;
    Ok(access.end()?)
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

/// Forks processes that mill, and kills each; answers how many.
pub fn kill_mills(tokens: &[[u8; 16]], count: usize, at_once: usize) -> Result<usize> {
    kill_victims(count, at_once, |number, session, ready| {
        let token = *tokens.get(number % tokens.len().max(1)).context("no token")?;
        let pool = until_there_is_room(|| session.join_pool(Token(token)))?;
        ready.say()?;
        for round in 0.. {
            mill(&pool, round, false)?;
        }
        bail!("there are no more rounds")
    })
}
