// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! What the client does with pools.

mod device;
mod hostile;
mod mill;

use std::collections::HashMap;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{ensure, Context, Result};
use berth_client::{
    Access, Buffer, Crop, Error, Feed, Filled, Lease, Metadata, Pool, PoolFault, PoolHalt,
    PoolOptions, Queue, Session, SharePermit, Token,
};
use berth_end_to_end::pools::{AskPool, LeaseHandle, PoolAnswer, PoolHandle, Said};
use berth_end_to_end::protocol::Answer;
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};

use crate::{drivers, wire};
use device::Devices;
use mill::Mill;

pub use hostile::{hide, scribble};
pub use mill::kill_mills;

/// The client's pools.
#[derive(Default)]
pub struct Pools {
    // The slots go before their pools.
    leases: HashMap<LeaseHandle, (PoolHandle, Held)>,
    mill: Option<Mill>,
    devices: Devices,
    pools: HashMap<PoolHandle, Pool>,
    next: u64,
}

/// A slot that the client holds.
enum Held {
    Empty(Lease),
    Full(Filled),
}

impl Held {
    fn slot(&self) -> u32 {
        match self {
            Held::Empty(lease) => lease.slot(),
            Held::Full(filled) => filled.slot(),
        }
    }

    fn buffer(&self) -> Result<Arc<Buffer>> {
        Ok(match self {
            Held::Empty(lease) => lease.buffer()?,
            Held::Full(filled) => filled.buffer()?,
        })
    }
}

impl Pools {
    /// In a child that was forked.
    pub fn check_that_all_is_refused(&self) -> Result<()> {
        for pool in self.pools.values() {
            let acquired = pool.try_acquire().map(drop);
            ensure!(matches!(acquired, Err(Error::Forked)), "{acquired:?}");
        }
        Ok(())
    }

    /// Does what is asked.
    pub fn answer(&mut self, session: &Session, ask: AskPool) -> Result<Answer> {
        Ok(match ask {
            AskPool::Create(descriptor, slots, max_participants, max_held) => {
                let max_held = Some(max_held).filter(|most| *most > 0);
                let options = PoolOptions { slots, max_participants, max_held };
                let descriptor = wire::descriptor(&descriptor);
                self.keep(session.create_pool_descriptor(&descriptor, options)?)
            }
            AskPool::Share(pool, uid, uses, read_only) => {
                let access = if read_only { Access::READ_ONLY } else { Access::READ_WRITE };
                let lifetime = Duration::from_secs(3600);
                let permit = SharePermit { recipient_uid: uid, uses, lifetime, access };
                Answer::Token(self.pool(pool)?.share(permit)?.0)
            }
            AskPool::Join(token) => self.keep(session.join_pool(Token(token))?),
            AskPool::Acquire(pool, milliseconds) => {
                let acquired = self.pool(pool)?.acquire(Duration::from_millis(milliseconds));
                match or_not(acquired)? {
                    Ok(lease) => {
                        let slot = lease.slot();
                        Answer::Pool(PoolAnswer::Leased(self.hold(pool, Held::Empty(lease)), slot))
                    }
                    Err(nothing) => Answer::Pool(nothing),
                }
            }
            AskPool::Take(pool, milliseconds) => {
                let taken = self.pool(pool)?.take(Duration::from_millis(milliseconds));
                self.taken(pool, taken)?
            }
            AskPool::TakeFrom(pool, number, milliseconds) => {
                let within = Duration::from_millis(milliseconds);
                let taken = self.pool(pool)?.take_from(queue(number)?, within);
                self.taken(pool, taken)?
            }
            AskPool::Watch(pool, frames) => Answer::Count(watch(self.pool(pool)?, frames)?),
            AskPool::Serve(pool, frames) => Answer::Count(serve(self.pool(pool)?, frames)?),
            AskPool::PassOn(lease, number, said) => {
                let (_, held) = self.leases.remove(&lease).context("no such slot here")?;
                let Held::Full(filled) = held else { anyhow::bail!("it was not taken") };
                filled.pass_on(queue(number)?, &metadata(said))?;
                Answer::Done
            }
            AskPool::Fill(lease, value) => {
                let buffer = self.held(lease)?.buffer()?;
                let mapped = buffer.map()?;
                let access = mapped.begin_write()?;
                access.fill(0, mapped.size(), value)?;
                access.end()?;
                Answer::Done
            }
            AskPool::Submit(lease, said) => {
                let (_, held) = self.leases.remove(&lease).context("no such slot here")?;
                let Held::Empty(lease) = held else { anyhow::bail!("it was taken") };
                lease.submit(&metadata(said))?;
                Answer::Done
            }
            AskPool::AllBytesAre(lease, value) => {
                Answer::Yes(mill::all_bytes_are(&*self.held(lease)?.buffer()?, value)?)
            }
            AskPool::Identity(lease) => {
                let identity = self.held(lease)?.buffer()?.identity()?;
                Answer::Identity(identity.device, identity.inode)
            }
            AskPool::Fences(lease, for_writer) => {
                let buffer = self.held(lease)?.buffer()?;
                Answer::Fence(drivers::fences_of(&buffer, for_writer)?)
            }
            AskPool::DeviceBegins(lease, writes) => {
                let held = self.held(lease)?;
                let (slot, buffer) = (held.slot(), held.buffer()?);
                self.devices.begin(slot, buffer, writes)?;
                Answer::Done
            }
            AskPool::DeviceEnds(slot, value) => {
                self.devices.end(slot, value)?;
                Answer::Done
            }
            AskPool::Release(lease) => {
                match self.leases.remove(&lease).context("no such slot here")? {
                    (_, Held::Empty(lease)) => lease.discard(),
                    (_, Held::Full(frame)) => frame.release(),
                }
                Answer::Done
            }
            AskPool::Resize(pool, slots) => {
                self.pool(pool)?.resize(slots)?;
                Answer::Done
            }
            AskPool::Restore(pool) => Answer::Count(self.pool(pool)?.restore()? as usize),
            AskPool::Leave(pool) => {
                self.leases.retain(|_, (of, _)| *of != pool);
                self.pools.remove(&pool).context("no such pool here")?;
                Answer::Done
            }
            AskPool::Mill(pool, threads, among_enemies) => {
                self.mill = Some(Mill::start(self.pool(pool)?, threads, among_enemies));
                Answer::Done
            }
            AskPool::Milled => Answer::Count(self.mill.as_ref().context("no mill")?.done()),
            AskPool::StopMill => Answer::Count(self.mill.take().context("no mill")?.stop()?),
            AskPool::Scribble(..) | AskPool::Hide(..) | AskPool::KillMills(..) => {
                anyhow::bail!("not with a session")
            }
        })
    }

    fn taken(&mut self, pool: PoolHandle, taken: Result<Filled, Error>) -> Result<Answer> {
        Ok(Answer::Pool(match or_not(taken)? {
            Ok(filled) => {
                let (slot, producer) = (filled.slot(), filled.producer());
                let said = said(filled.metadata());
                PoolAnswer::Taken(self.hold(pool, Held::Full(filled)), slot, producer, said)
            }
            Err(nothing) => nothing,
        }))
    }

    fn keep(&mut self, pool: Pool) -> Answer {
        self.next += 1;
        let number = pool.participant();
        self.pools.insert(self.next, pool);
        Answer::Pool(PoolAnswer::Joined(self.next, number))
    }

    fn hold(&mut self, pool: PoolHandle, held: Held) -> LeaseHandle {
        self.next += 1;
        self.leases.insert(self.next, (pool, held));
        self.next
    }

    fn pool(&self, pool: PoolHandle) -> Result<&Pool> {
        self.pools.get(&pool).context("no such pool here")
    }

    fn held(&self, lease: LeaseHandle) -> Result<&Held> {
        self.leases.get(&lease).map(|(_, held)| held).context("no such slot here")
    }
}

/// Takes frames as an event loop does, until the pool ends.
fn watch(pool: &Pool, frames: u64) -> Result<usize> {
    let feed = pool.frames(Queue::First)?;
    for sequence in 0..frames {
        let frame = next(&feed)??;
        anyhow::ensure!(frame.metadata().sequence == sequence, "{:?}", frame.metadata());
        anyhow::ensure!(mill::all_bytes_are(&*frame.buffer()?, sequence as u8)?, "other bytes");
        frame.release();
    }
    match next(&feed)? {
        Err(Error::Pool(PoolFault::Halt(PoolHalt::Closed))) => Ok(frames as usize),
        other => anyhow::bail!("{other:?} instead of the pool's end"),
    }
}

/// Makes frames as an event loop does.
fn serve(pool: &Pool, frames: u64) -> Result<usize> {
    let feed = pool.leases()?;
    for sequence in 0..frames {
        let lease = next(&feed)??;
        mill::fill(&*lease.buffer()?, sequence as u8)?;
        lease.submit(&Metadata { sequence, ..Metadata::default() })?;
    }
    // A slot that was taken ahead is free again.
    drop(feed.end());
    Ok(frames as usize)
}

/// What comes next by a descriptor.
fn next<T: Send + 'static>(feed: &Feed<T, Error>) -> Result<Result<T, Error>> {
    let mut entries = [PollFd::new(feed.as_fd(), PollFlags::POLLIN)];
    anyhow::ensure!(poll(&mut entries, PollTimeout::from(60_000u16))? == 1, "nothing came");
    feed.next().context("the descriptor is ready, and nothing is there")
}

/// What a pool gave, or why it gave nothing; anything else is an error.
fn or_not<T>(result: Result<T, Error>) -> Result<Result<T, PoolAnswer>> {
    Ok(match result {
        Ok(given) => Ok(given),
        Err(Error::Pool(PoolFault::TimedOut(_))) => Err(PoolAnswer::TimedOut),
        Err(Error::Pool(PoolFault::Halt(PoolHalt::TooManyHeld(_)))) => Err(PoolAnswer::TooMany),
        Err(Error::Pool(PoolFault::Halt(PoolHalt::Closed))) => Err(PoolAnswer::Closed),
        Err(error) => return Err(error.into()),
    })
}

fn queue(number: u8) -> Result<Queue> {
    [Queue::First, Queue::Second, Queue::Third].get(usize::from(number)).copied().context("a queue")
}

fn metadata(said: Said) -> Metadata {
    let [left, top, right, bottom] = said.crop;
    let crop = Crop { left, top, right, bottom };
    Metadata { timestamp_ns: said.timestamp, sequence: said.sequence, crop, tag: said.tag }
}

fn said(metadata: &Metadata) -> Said {
    let Crop { left, top, right, bottom } = metadata.crop;
    let crop = [left, top, right, bottom];
    Said { timestamp: metadata.timestamp_ns, sequence: metadata.sequence, crop, tag: metadata.tag }
}
