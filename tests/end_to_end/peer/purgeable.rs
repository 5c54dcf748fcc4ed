// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Regions whose contents may go, and a cache in one.

#![allow(unsafe_code)]

use std::collections::HashMap;
use std::ops::Range;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::sync::Arc;
use std::thread;

use anyhow::{ensure, Context, Result};
use berth_client::{
    Buffer, CacheOptions, Contents, Error, Pinned, Priority, PurgeableCache, PurgeableRegion,
    Session,
};
use berth_end_to_end::chance::Chance;
use berth_end_to_end::protocol::{Answer, Cached, Handle, Purge, Seen};
use berth_kernel::mapping::{Mapping, ReadWrite};
use berth_kernel::{clock, identity};
use berth_shared::purge::{ChunkState, Chunks, PurgeBlock};
use nix::libc;
use nix::unistd::gettid;

type Cache = PurgeableCache<u32, Vec<u8>>;

/// Regions here live as long as the process: so can what is pinned of them.
#[derive(Default)]
pub struct Purging {
    regions: HashMap<Handle, &'static PurgeableRegion>,
    kept: Vec<Pinned<'static>>,
    hogged: Vec<Vec<u8>>,
    cache: Option<Cache>,
}

impl Purging {
    /// Makes a region of a buffer.
    pub fn keep(&mut self, handle: Handle, buffer: Buffer, priority: u8) -> Result<()> {
        let priority = Priority::new(priority).context("a priority")?;
        let region = PurgeableRegion::with_priority(buffer, priority)?;
        self.regions.insert(handle, Box::leak(Box::new(region)));
        Ok(())
    }

    /// The buffer of a region.
    pub fn buffer(&self, handle: Handle) -> Option<&Buffer> {
        self.regions.get(&handle).map(|region| region.buffer())
    }

    /// Makes a cache.
    pub fn make_cache(
        &mut self,
        session: &Session,
        bytes: usize,
        heap: Option<String>,
    ) -> Result<()> {
        let options = CacheOptions {
            bytes: bytes as u64,
            chunk_bytes: 4096,
            heap,
            ..CacheOptions::default()
        };
        self.cache = Some(Cache::new(session, options)?);
        Ok(())
    }

    /// In a child that was forked.
    pub fn check_that_all_is_refused(&self) -> Result<()> {
        for region in self.regions.values() {
            let pinned = region.pin(0..1);
            ensure!(matches!(pinned, Err(Error::Forked)), "{pinned:?}");
        }
        for pinned in &self.kept {
            pinned.discard();
            let read = pinned.read(0, &mut [0]);
            ensure!(matches!(read, Err(Error::Forked)), "{read:?}");
        }
        Ok(())
    }

    /// Does what else is asked.
    pub fn answer(&mut self, ask: Purge) -> Result<Answer> {
        match ask {
            Purge::Region(..) | Purge::Cache(..) | Purge::KillPinners(..) => {
                unreachable!("asked of the client")
            }
            Purge::Fill(handle, chunks, value) => {
                let region = self.region(handle)?;
                for chunk in chunks {
                    fill(&region.pin(bytes_of(region, chunk))?, value)?;
                }
            }
            Purge::FillAs(handle, chunks, value, priority) => {
                let region = self.region(handle)?;
                for chunk in chunks {
                    let mut pinned = region.pin(bytes_of(region, chunk))?;
                    fill(&pinned, value)?;
                    pinned.set_priority(Priority::new(priority).context("a priority")?);
                }
            }
            Purge::PriorityOf(handle, chunk) => {
                let region = self.region(handle)?;
                let block = region.buffer().second_fd().context("no control block")?;
                let chunks = Chunks::of(region.size(), region.chunk_bytes()).context("chunks")?;
                let state = PurgeBlock::map(block, &chunks)?.state(chunk)?;
                let ChunkState::Unpinned { priority, .. } = state else {
                    anyhow::bail!("chunk {chunk} is {state:?}")
                };
                return Ok(Answer::Count(priority.level().into()));
            }
            Purge::Look(handle, chunks) => {
                let region = self.region(handle)?;
                let seen = chunks.map(|chunk| look(&region.pin(bytes_of(region, chunk))?));
                return Ok(Answer::Chunks(seen.collect::<Result<_>>()?));
            }
            Purge::Keep(handle, chunks) => {
                let region = self.region(handle)?;
                let (first, last) =
                    (bytes_of(region, chunks.start), bytes_of(region, chunks.end - 1));
                self.kept.push(region.pin(first.start..last.end)?);
            }
            Purge::LetGo => self.kept.clear(),
            Purge::Tick => {
                // Two units, so that the second has begun after now.
                let began = clock::coarse_nanoseconds();
                while clock::coarse_nanoseconds() < began + (2 << 23) {
                    thread::yield_now();
                }
            }
            Purge::Scribble(handle, seed, words) => self.scribble(handle, seed, words)?,
            Purge::Race(handle, rounds) => {
                return Ok(Answer::Count(race(self.region(handle)?, rounds)?));
            }
            Purge::Spin(handle) => {
                let region = self.region(handle)?;
                loop {
                    drop(region.pin(0..region.size())?);
                }
            }
            Purge::WithoutCalls(handle, rounds, with_one) => {
                return Ok(Answer::Yes(without_calls(self.region(handle)?, rounds, with_one)?));
            }
            Purge::Hog(bytes) => self.hogged.push(vec![0x11; bytes]),
            Purge::Unhog => self.hogged.clear(),
            Purge::UseCache(keys, threads) => {
                let cache = self.cache.as_ref().context("no cache")?;
                return Ok(Answer::Cached(use_cache(cache, keys, threads)?));
            }
        }
        Ok(Answer::Done)
    }

    fn region(&self, handle: Handle) -> Result<&'static PurgeableRegion> {
        self.regions.get(&handle).copied().context("no such region here")
    }

    fn scribble(&self, handle: Handle, seed: u64, words: usize) -> Result<()> {
        let block = self.region(handle)?.buffer().second_fd().context("no control block")?;
        let bytes = identity::size(block.as_fd())?;
        let block: Mapping<ReadWrite> = Mapping::new(block.as_fd(), bytes)?;
        let mut chance = Chance::new(seed);
        for _ in 0..words {
            let at = chance.below(bytes as usize / 4) * 4;
            block.word(at)?.store(chance.draw() as u32, Ordering::Release);
        }
        Ok(())
    }
}

pub(crate) fn bytes_of(region: &PurgeableRegion, chunk: u32) -> Range<u64> {
    let start = u64::from(chunk) * region.chunk_bytes();
    start..(start + region.chunk_bytes()).min(region.size())
}

pub(crate) fn fill(pinned: &Pinned<'_>, value: u8) -> Result<()> {
    pinned.fill(0, pinned.size(), value)?;
    pinned.set_filled();
    Ok(())
}

pub(crate) fn look(pinned: &Pinned<'_>) -> Result<Seen> {
    let mut bytes = vec![0; pinned.size()];
    pinned.read(0, &mut bytes)?;
    let first = bytes.first().copied();
    let value = first.filter(|_| bytes.get(1..) == bytes.get(..bytes.len() - 1));
    Ok(Seen { kept: pinned.contents() == Contents::Kept, value })
}

/// What all bytes of a chunk are where several make it again.
pub(crate) fn value_of(chunk: u32) -> u8 {
    (chunk + 1) as u8
}

/// Each thread has chunks of its own, every second one: who makes what is gone again is one thread.
fn race(region: &'static PurgeableRegion, rounds: usize) -> Result<usize> {
    let chunks = (region.size() / region.chunk_bytes()) as u32;
    let work = |thread: u32| -> Result<usize> {
        let mut lies = 0;
        for _ in 0..rounds {
            for chunk in (0..chunks).filter(|chunk| chunk % 2 == thread) {
                let value = value_of(chunk);
                let pinned = region.pin(bytes_of(region, chunk))?;
                if pinned.contents() == Contents::Purged {
                    fill(&pinned, value)?;
                }
                // What was there, or was made again, is there for as long as it is pinned.
                lies += usize::from(look(&pinned)?.value != Some(value));
            }
        }
        Ok(lies)
    };
    thread::scope(|scope| {
        let threads = [0, 1].map(|number| scope.spawn(move || work(number)));
        let lies = threads.into_iter().map(|thread| thread.join().expect("a thread"));
        lies.sum()
    })
}

/// In a thread that may make no system call but read, write and exit (seccomp(2), strict mode): the
/// kernel kills it at any other.
fn without_calls(region: &'static PurgeableRegion, rounds: usize, with_one: bool) -> Result<bool> {
    let (done, tid) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicI32::new(0)));
    thread::spawn({
        let (done, tid) = (done.clone(), tid.clone());
        move || {
            // Whatever is made once is made by now.
            drop(region.pin(0..region.size()));
            tid.store(gettid().as_raw(), Ordering::Release);
            // SAFETY: from here on this thread calls nothing that is not named below, and never ends
            // as threads usually do.
            unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_STRICT) };
            if with_one {
                // SAFETY: a call with no effect, but for the thread's death.
                unsafe { libc::syscall(libc::SYS_getppid) };
            }
            let is_done = (0..rounds).all(|_| region.pin(0..region.size()).is_ok());
            done.store(is_done, Ordering::Release);
            // SAFETY: ends this thread and nothing else. What it had is left to the process's end.
            unsafe { libc::syscall(libc::SYS_exit, 0) };
        }
    });
    let tid = loop {
        match tid.load(Ordering::Acquire) {
            0 => thread::yield_now(),
            tid => break tid,
        }
    };
    let task = format!("/proc/self/task/{tid}");
    while Path::new(&task).exists() {
        thread::yield_now();
    }
    Ok(done.load(Ordering::Acquire))
}

/// The value of a key: of a length and of bytes that no other has.
pub(crate) fn value(key: u32) -> Vec<u8> {
    let length = 1 + key as usize * 977 % 9000;
    (0..length).map(|at| (key as usize * 31 + at * 7) as u8).collect()
}

fn use_cache(cache: &Cache, keys: u32, threads: usize) -> Result<Cached> {
    let wrong = AtomicU64::new(0);
    thread::scope(|scope| {
        let all: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| -> Result<()> {
                    for key in 0..keys {
                        let seen = cache.get_or_make(&key, || value(key))?;
                        wrong.fetch_add(u64::from(seen != value(key)), Ordering::Relaxed);
                    }
                    Ok(())
                })
            })
            .collect();
        all.into_iter().try_for_each(|one| one.join().expect("a thread"))
    })?;
    let figures = cache.figures();
    Ok(Cached {
        hits: figures.hits,
        misses: figures.misses,
        remade: figures.remade,
        evicted: figures.evicted,
        unkept: figures.unkept,
        wrong: wrong.load(Ordering::Relaxed),
    })
}
