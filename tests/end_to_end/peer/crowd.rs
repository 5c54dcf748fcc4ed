// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! A client that takes what it can get, and one that works beside it.

use std::collections::HashSet;
use std::sync::mpsc::channel;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use anyhow::{bail, ensure, Context, Result};
use berth_client::{
    Access, Allocator, Buffer, Error, Pool, PoolOptions, RefusalCode, Session, SharePermit, Token,
    FLAG_GIVEN_UP,
};
use berth_end_to_end::protocol::{self, Descriptor};
use hal_binder::TRANSPORT_VARIABLE;
use nix::unistd::getuid;

use crate::memory::first_byte;
use crate::wire;

const LIFETIME: Duration = Duration::from_secs(600);
/// How often a token can be used, and how many of those are given out for one buffer.
const USES: u32 = 64;
const TOKENS: usize = 15;
/// How long news of a buffer may take: no measure of speed, only that it comes at all.
const NEWS: Duration = Duration::from_secs(60);

/// What the client has got.
#[derive(Default)]
pub struct Crowd {
    sessions: Vec<Session>,
    buffers: Vec<Buffer>,
    pools: Vec<Pool>,
}

impl Crowd {
    /// Does what is asked.
    pub fn answer(&mut self, allocator: &Allocator, ask: protocol::Crowd) -> Result<usize> {
        use protocol::Crowd;
        match ask {
            Crowd::Sessions => self.take_sessions(allocator),
            Crowd::Race(descriptor, threads) => self.race(allocator, &descriptor, threads),
            Crowd::Scramble(descriptor, threads, rounds) => {
                let all = in_threads(threads, || scramble(allocator, &descriptor, rounds))?;
                Ok(self.keep(all))
            }
            Crowd::Tokens => self.take_tokens(allocator),
            Crowd::Acquisitions(sessions) => self.acquire_all(allocator, sessions),
            Crowd::Pools => self.take_pools(allocator),
            Crowd::Busy(descriptor, threads) => {
                for _ in 0..threads {
                    let (allocator, descriptor) = (allocator.clone(), descriptor.clone());
                    thread::spawn(move || loop {
                        // Whatever is refused to it.
                        let _ = keep_busy(&allocator, &descriptor);
                    });
                }
                Ok(threads)
            }
            Crowd::Deaf(rounds) => self.be_deaf(allocator, rounds),
            Crowd::Late(rounds) => self.be_late(allocator, rounds),
            Crowd::Work(descriptor, rounds) => work(allocator, &descriptor, rounds),
        }
    }

    fn take_sessions(&mut self, allocator: &Allocator) -> Result<usize> {
        let before = self.sessions.len();
        loop {
            match allocator.open_session("one of many") {
                Ok(session) => self.sessions.push(session),
                Err(Error::Refused { code: RefusalCode::TOO_MANY_SESSIONS, .. }) => {
                    return Ok(self.sessions.len() - before);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn race(
        &mut self,
        allocator: &Allocator,
        descriptor: &Descriptor,
        threads: usize,
    ) -> Result<usize> {
        let take = || {
            let session = allocator.open_session("racer")?;
            let mut got = Vec::new();
            while let Some(batch) = granted(&session, descriptor, 1)? {
                got.extend(batch);
            }
            Ok((session, got))
        };
        let all = in_threads(threads, take)?;
        Ok(self.keep(all))
    }

    fn keep(&mut self, all: Vec<(Session, Vec<Buffer>)>) -> usize {
        let mut count = 0;
        for (session, got) in all {
            count += got.len();
            self.sessions.push(session);
            self.buffers.extend(got);
        }
        count
    }

    fn take_tokens(&mut self, allocator: &Allocator) -> Result<usize> {
        let session = allocator.open_session("tokens")?;
        let mut batch = session.allocate_descriptor(wire::descriptor(&Descriptor::region(1)), 1)?;
        let buffer = batch.pop().context("no buffer")?;
        let permit = SharePermit { lifetime: LIFETIME, ..SharePermit::once(0) };
        let mut count = 0;
        loop {
            match session.share(&buffer, permit) {
                Ok(_) => count += 1,
                Err(Error::Refused { code: RefusalCode::QUOTA_EXCEEDED, .. }) => break,
                Err(error) => return Err(error.into()),
            }
        }
        self.sessions.push(session);
        self.buffers.push(buffer);
        Ok(count)
    }

    fn acquire_all(&mut self, allocator: &Allocator, sessions: usize) -> Result<usize> {
        let owner = allocator.open_session("shares with itself")?;
        let takers: Vec<Session> = (0..sessions)
            .map(|_| allocator.open_session("acquires it"))
            .collect::<Result<_, _>>()?;
        let own = getuid().as_raw();
        let permit = SharePermit { lifetime: LIFETIME, uses: USES, ..SharePermit::once(own) };
        let mut count = 0;
        let refused = |code| code == RefusalCode::TOO_MANY_BUFFERS;
        'all: while let Some(batch) = granted(&owner, &Descriptor::region(1), 1)? {
            self.buffers.extend(batch);
            let buffer = self.buffers.last().context("no buffer")?;
            // Fewer than a buffer can be acquired.
            for taker in takers.iter().cycle().take(TOKENS) {
                let token = owner.share(buffer, permit)?;
                for _ in 0..USES {
                    match taker.acquire(token) {
                        // It stays in the session, without a descriptor here.
                        Ok(taken) => taken.forget(),
                        Err(Error::Refused { code, .. }) if refused(code) => break 'all,
                        Err(error) => return Err(error.into()),
                    }
                    count += 1;
                }
            }
        }
        self.sessions.push(owner);
        self.sessions.extend(takers);
        Ok(count)
    }

    fn take_pools(&mut self, allocator: &Allocator) -> Result<usize> {
        let region = wire::descriptor(&Descriptor::region(1));
        let options = PoolOptions { slots: 1, max_participants: 16, max_held: None };
        let before = self.pools.len();
        loop {
            let session = allocator.open_session("makes pools")?;
            let of_others = self.pools.len();
            let refused = loop {
                match session.create_pool_descriptor(&region, options) {
                    Ok(pool) => self.pools.push(pool),
                    Err(Error::Refused { code, .. }) => break code,
                    Err(error) => return Err(error.into()),
                }
            };
            self.sessions.push(session);
            // A session takes part in so many, and the next in as many.
            if refused != RefusalCode::QUOTA_EXCEEDED || self.pools.len() == of_others {
                ensure!(refused == RefusalCode::TOO_MANY_FDS, "refused with {refused:?}");
                return Ok(self.pools.len() - before);
            }
        }
    }

    fn be_deaf(&mut self, allocator: &Allocator, rounds: usize) -> Result<usize> {
        let (told, first_news) = channel();
        let deaf = allocator.open_session_with("deaf", move |_: &[i64]| {
            let _ = told.send(());
            loop {
                thread::park();
            }
        })?;
        let owner = allocator.open_session("owner")?;
        let region = wire::descriptor(&Descriptor::region(1));
        let permit = SharePermit { lifetime: LIFETIME, ..SharePermit::once(getuid().as_raw()) };
        let round = || {
            let buffers = owner.allocate_descriptor(region.clone(), 1)?;
            let tokens: Vec<_> =
                buffers.iter().map(|own| owner.share(own, permit)).collect::<Result<_, _>>()?;
            let taken: Vec<_> =
                tokens.into_iter().map(|token| deaf.acquire(token)).collect::<Result<_, _>>()?;
            owner.free(buffers)?;
            deaf.free(taken)
        };
        for _ in 0..rounds {
            match round() {
                Ok(()) => {}
                // RPC Binder cuts off who takes nothing for ten seconds, which are over before the last
                // round where the machine is busy.
                Err(Error::ServiceDied(_) | Error::Transport(_)) if over_rpc() => break,
                Err(error) => return Err(error.into()),
            }
        }
        // It is in the callback now, and stays there.
        first_news.recv_timeout(NEWS).context("the deaf client was never called")?;
        self.sessions.extend([deaf, owner]);
        Ok(rounds)
    }
}

/// Whether the transport is RPC Binder.
fn over_rpc() -> bool {
    std::env::var(TRANSPORT_VARIABLE).is_ok_and(|transport| transport.starts_with("unix:"))
}

impl Crowd {
    fn be_late(&mut self, allocator: &Allocator, rounds: usize) -> Result<usize> {
        let ((told, news), (go_on, wait)) = (channel(), channel::<()>());
        let wait = Mutex::new(wait);
        let late = allocator.open_session_with("late", move |ids: &[i64]| {
            let _ = told.send(ids.to_vec());
            // Until the other end is dropped.
            let _ = wait.lock().map(|wait| wait.recv());
        })?;
        let owner = allocator.open_session("owner")?;
        let region = wire::descriptor(&Descriptor::region(1));
        let permit = SharePermit { lifetime: LIFETIME, ..SharePermit::once(getuid().as_raw()) };
        let mut expected = HashSet::new();
        for _ in 0..rounds {
            let own = owner.allocate_descriptor(region.clone(), 1)?.pop().context("no buffer")?;
            let taken = late.acquire(owner.share(&own, permit)?)?;
            expected.insert(taken.id());
            // It stays in the session, without a descriptor here.
            taken.forget();
            owner.free(vec![own])?;
        }
        drop(go_on);
        let mut heard = HashSet::new();
        while heard.len() < rounds {
            let ids = news.recv_timeout(NEWS).context("some news never came")?;
            if ids.is_empty() {
                let gone = late.list()?.into_iter().filter(|info| info.flags & FLAG_GIVEN_UP != 0);
                heard.extend(gone.map(|info| info.id));
            } else {
                heard.extend(ids);
            }
        }
        ensure!(heard == expected, "it heard of others' buffers");
        self.sessions.extend([late, owner]);
        Ok(heard.len())
    }
}

/// What is got, or nothing if a limit is in the way.
fn granted(session: &Session, descriptor: &Descriptor, count: i32) -> Result<Option<Vec<Buffer>>> {
    match session.allocate_descriptor(wire::descriptor(descriptor), count) {
        Ok(batch) => Ok(Some(batch)),
        Err(Error::Refused { code, .. })
            if [
                RefusalCode::QUOTA_EXCEEDED,
                RefusalCode::TOO_MANY_BUFFERS,
                RefusalCode::TOO_MANY_FDS,
                RefusalCode::NO_MEMORY,
            ]
            .contains(&code) =>
        {
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

fn scramble(
    allocator: &Allocator,
    descriptor: &Descriptor,
    rounds: usize,
) -> Result<(Session, Vec<Buffer>)> {
    let session = allocator.open_session("scrambler")?;
    let mut held = Vec::new();
    for round in 0..rounds {
        match granted(&session, descriptor, 1 + (round % 3) as i32)? {
            Some(batch) => held.extend(batch),
            // It makes room and tries again.
            None => drop(held.pop()),
        }
        if round % 5 == 4 {
            held.truncate(held.len() / 2);
        }
    }
    Ok((session, held))
}

fn keep_busy(allocator: &Allocator, descriptor: &Descriptor) -> Result<()> {
    let session = allocator.open_session("busy")?;
    loop {
        let batch = session.allocate_descriptor(wire::descriptor(descriptor), 8)?;
        session.list()?;
        let _ = session.acquire(Token([1; 16]));
        session.free(batch)?;
    }
}

/// An owner and a taker of the same uid; nothing may be refused to either, and the taker hears of
/// every end.
fn work(allocator: &Allocator, descriptor: &Descriptor, rounds: usize) -> Result<usize> {
    let (told, news) = channel();
    let owner = allocator.open_session("at work")?;
    let taker = allocator.open_session_with("taking part", move |ids: &[i64]| {
        let _ = told.send(ids.to_vec());
    })?;
    let permit = SharePermit { lifetime: LIFETIME, ..SharePermit::once(getuid().as_raw()) };
    let mut done = 0;
    for round in 0..rounds {
        let buffers = owner.allocate_descriptor(wire::descriptor(descriptor), 2)?;
        let first = buffers.first().context("no buffer")?;
        write(first, round as u8 | 1)?;
        let taken = taker.acquire(owner.share(first, permit)?)?;
        ensure!(first_byte(&taken)? == round as u8 | 1, "other bytes");
        owner.get(first.id(), Access::READ_WRITE)?;
        let id = taken.id();
        owner.free(buffers)?;
        let gone = news.recv_timeout(NEWS).context("no news of a buffer that is gone")?;
        ensure!(gone == [id], "{gone:?} are gone, not {id}");
        taker.free(vec![taken])?;
        done += 1;
    }
    Ok(done)
}

fn write(buffer: &Buffer, value: u8) -> Result<()> {
    let mapped = buffer.map()?;
    let access = mapped.begin_write()?;
    access.fill(0, mapped.size().min(4096), value)?;
    Ok(access.end()?)
}

fn in_threads<T: Send>(threads: usize, act: impl Fn() -> Result<T> + Sync) -> Result<Vec<T>> {
    thread::scope(|scope| {
        let all: Vec<_> = (0..threads).map(|_| scope.spawn(&act)).collect();
        all.into_iter()
            .map(|one| match one.join() {
                Ok(result) => result,
                Err(_) => bail!("a thread panicked"),
            })
            .collect()
    })
}
