// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Allocation against a bare call that returns one descriptor and the kernel's own work.
//!
//! What a call of ours costs more is the larger parcel, and the allocator. The floor (`floor`) tells
//! the two apart.

use std::os::fd::OwnedFd;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{ensure, Result};
use berth_client::{Allocator, Buffer, BufferRequest, Session};
use berth_kernel::dma_heap::DmaHeap;
use berth_kernel::memfd::Memfd;
use hal_binder::Strong;
use vendor_berth_allocator::aidl::vendor::berth::allocator::AllocatedBuffer::AllocatedBuffer;

use crate::bare::IBare;
use crate::floor::IFloor;
use crate::measure::{in_turns_after, Pair};
use crate::table::{Table, Target};

/// Sizes, rounds, names, and whether the parcel is much of what a call costs.
const COLD: [(u64, u32, &str, bool); 4] = [
    (4 << 10, 400, "4 KiB", true),
    (64 << 10, 200, "64 KiB", true),
    (1 << 20, 60, "1 MiB", false),
    (16 << 20, 20, "16 MiB", false),
];

const RECYCLED: [(u64, u32, &str); 4] = [
    (4 << 10, 400, "4 KiB"),
    (64 << 10, 200, "64 KiB"),
    (1 << 20, 100, "1 MiB"),
    (64 << 20, 20, "64 MiB"),
];

/// Buffers of a batch.
const BATCH: usize = 16;

/// The most that ours may be of the floor.
const OF_THE_FLOOR: Target = Target::AtMost(1.15);

/// How long the service may take to clear what was freed.
const PATIENCE: Duration = Duration::from_secs(20);

/// Who is measured.
pub struct Sides<'a> {
    pub allocator: &'a Allocator,
    pub bare: &'a Strong<dyn IBare>,
    pub floor: &'a Strong<dyn IFloor>,
}

impl Sides<'_> {
    /// Adds the rows.
    pub fn measure(&self, table: &mut Table) -> Result<()> {
        let session = self.allocator.open_session("bench")?;
        // Who holds one buffer at a time, and none between, would measure how tables are made.
        let _held = session.allocate_one(&BufferRequest::region(4096))?;
        if let Ok(heap) = DmaHeap::open("system") {
            for (bytes, rounds, name, small) in COLD {
                let request = BufferRequest::linear(bytes).no_pool();
                let raw = || Ok((self.bare.give()?, heap.allocate(bytes)?));
                let ours = || fresh(&session, &request);
                let pair = in_turns_after(rounds, || self.settled(), ours, raw)?;
                let what = format!("allocate {name}, cold");
                table.pair(&what, "bare call + ioctl", &pair, Target::AtMost(1.15));
                if small {
                    self.floor(&session, &request, rounds, "bare call + ioctl", raw, table)?;
                }
            }
            self.named(&session, &heap, table)?;
            self.recycled(&session, table)?;
        }
        let request = BufferRequest::region(1 << 20).name("bench");
        let raw = || Ok((self.bare.give()?, Memfd::create("bench", 1 << 20)?));
        let pair = in_turns_after(400, || self.settled(), || fresh(&session, &request), raw)?;
        table.pair("allocate a region", "bare call + memfd", &pair, Target::AtMost(1.15));
        self.floor(&session, &request, 400, "bare call + memfd", raw, table)?;

        self.batch(&session, table)
    }

    /// Many buffers in one call.
    fn batch(&self, session: &Session, table: &mut Table) -> Result<()> {
        let request = BufferRequest::linear(4 << 10).no_pool();
        let many = || Ok(session.allocate(&request, BATCH)?);
        let pair = self.many_and_one(many, || fresh(session, &request))?;
        table.pair("allocate 16 x 4 KiB in one call", "16 calls", &pair, Target::FasterBy(5.0));
        let heap = DmaHeap::open("system").ok();
        let raw = || -> Result<OwnedFd> {
            Ok(match &heap {
                Some(heap) => heap.allocate(4 << 10)?.into(),
                None => Memfd::create("", 4 << 10)?.into(),
            })
        };
        let many = || {
            let memory = (0..BATCH).map(|_| raw()).collect::<Result<Vec<_>>>()?;
            Ok((self.bare.give_many(BATCH as i32)?, memory))
        };
        let pair = self.many_and_one(many, || Ok((self.bare.give()?, raw()?)))?;
        let against =
            if heap.is_some() { "16 x bare call + ioctl" } else { "16 x bare call + memfd" };
        table.comparison("- the same without an allocator", against, &pair);
        Ok(())
    }

    /// A batch against as many single calls, both having been made just before, as where they are made
    /// again and again.
    fn many_and_one<M, O>(
        &self,
        many: impl Fn() -> Result<M>,
        one: impl Fn() -> Result<O>,
    ) -> Result<Pair> {
        let singles = || (0..BATCH).map(|_| one()).collect::<Result<Vec<O>>>();
        let warm = || {
            drop(many()?);
            drop(one()?);
            self.settled()
        };
        in_turns_after(100, warm, &many, singles)
    }

    /// A buffer with a name, which the kernel is told in a call of its own.
    fn named(&self, session: &Session, heap: &DmaHeap, table: &mut Table) -> Result<()> {
        let request = BufferRequest::linear(4 << 10).name("bench").no_pool();
        let raw = || {
            let (descriptor, buffer) = (self.bare.give()?, heap.allocate(4 << 10)?);
            buffer.set_name("bench")?;
            Ok((descriptor, buffer))
        };
        let pair = in_turns_after(400, || self.settled(), || fresh(session, &request), raw)?;
        let against = "bare call + ioctl + name";
        table.pair("allocate 4 KiB with a name, cold", against, &pair, Target::AtMost(1.15));
        Ok(())
    }

    /// What of the row before is the transport's, and what is ours.
    fn floor<T>(
        &self,
        session: &Session,
        request: &BufferRequest,
        rounds: u32,
        against: &str,
        raw: impl FnMut() -> Result<T>,
        table: &mut Table,
    ) -> Result<()> {
        let known = OfTheFloor::known(self.floor, request)?;
        let floor = || OfTheFloor::again(self.floor, known);
        let pair = in_turns_after(rounds, || self.settled(), floor, raw)?;
        table.comparison("- the same parcels without an allocator", against, &pair);
        let pair = in_turns_after(rounds, || self.settled(), || fresh(session, request), floor)?;
        table.pair("- the allocator", "that", &pair, OF_THE_FLOOR);
        Ok(())
    }

    /// Memory that was freed and cleared before, at the cost of a call whatever its size.
    fn recycled(&self, session: &Session, table: &mut Table) -> Result<()> {
        for (bytes, rounds, name) in RECYCLED {
            // One buffer goes round, beside that of `ready`, so that what is waited for is their being
            // cleared.
            session.trim()?;
            let request = BufferRequest::linear(bytes);
            let ours = || {
                let buffer = session.allocate_one(&request)?;
                ensure!(buffer.is_recycled(), "{name} came from the kernel");
                Ok(buffer)
            };
            let bare = || Ok(self.bare.give()?);
            let ready = || self.ready(session, &request);
            let pair = in_turns_after(rounds, ready, ours, bare)?;
            let what = format!("allocate {name}, recycled and clean");
            table.pair(&what, "bare call", &pair, Target::AtMost(1.25));
            let known = OfTheFloor::known(self.floor, &request)?;
            let floor = || OfTheFloor::again(self.floor, known);
            let pair = in_turns_after(rounds, ready, floor, bare)?;
            table.comparison("- the same parcels without an allocator", "bare call", &pair);
            let pair = in_turns_after(rounds, ready, ours, floor)?;
            table.pair("- the allocator", "that", &pair, OF_THE_FLOOR);
        }
        session.trim()?;
        Ok(())
    }

    /// Waits until what was given up before is back with the kernel, which the service sees to after its
    /// answer.
    fn settled(&self) -> Result<()> {
        let began = Instant::now();
        while self.allocator.stats()?.lingeringBuffers > 0 {
            ensure!(began.elapsed() < PATIENCE, "what was freed is not given back");
        }
        // The last of it is being closed.
        thread::yield_now();
        Ok(())
    }

    /// The same, and that code is where it is when there is much to do: clearing 64 MiB has put
    /// everything out of the processor's caches.
    fn ready(&self, session: &Session, request: &BufferRequest) -> Result<()> {
        self.idle(session, request)?;
        drop(self.bare.give()?);
        drop(session.allocate_one(&other())?);
        // Which keeps what it gave last.
        let known = OfTheFloor::known(self.floor, &other().no_pool())?;
        drop(OfTheFloor::again(self.floor, known)?);
        self.idle(session, request)
    }

    /// Waits until both freed buffers can be handed out again and nothing is at work any more. There
    /// are none at first, and after a moment at which memory was short.
    fn idle(&self, session: &Session, request: &BufferRequest) -> Result<()> {
        let began = Instant::now();
        loop {
            let stats = self.allocator.stats()?;
            if stats.idleBuffers >= 2 && stats.clearedBuffers == stats.idleBuffers {
                return Ok(());
            }
            if stats.idleBuffers < 2 && stats.lingeringBuffers == 0 {
                drop(session.allocate_one(request)?);
                drop(session.allocate_one(&other())?);
            }
            ensure!(began.elapsed() < PATIENCE, "the two are not idle and clean: {stats:?}");
        }
    }
}

/// A buffer that the service keeps until this goes.
pub struct OfTheFloor<'a>(#[allow(dead_code)] AllocatedBuffer, &'a Strong<dyn IFloor>);

impl<'a> OfTheFloor<'a> {
    /// One of a request that the floor knows.
    pub fn again(floor: &'a Strong<dyn IFloor>, request_id: i32) -> Result<Self> {
        Ok(OfTheFloor(floor.allocate_one_again(request_id)?, floor))
    }

    /// Makes a request known; its number.
    fn known(floor: &'a Strong<dyn IFloor>, request: &BufferRequest) -> Result<i32> {
        let request_id = floor.know(&request.descriptor())?;
        drop(OfTheFloor::again(floor, request_id)?);
        Ok(request_id)
    }
}

impl Drop for OfTheFloor<'_> {
    fn drop(&mut self) {
        if let Err(status) = self.1.free() {
            eprintln!("the floor does not free: {status}");
        }
    }
}

/// What is allocated between two measurements.
fn other() -> BufferRequest {
    BufferRequest::linear(12 << 10)
}

/// A buffer of the kernel's.
fn fresh(session: &Session, request: &BufferRequest) -> Result<Buffer> {
    let buffer = session.allocate_one(request)?;
    ensure!(!buffer.is_recycled(), "a cold allocation was none");
    Ok(buffer)
}
