// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Eight clients at once against eight processes that do without the allocator: is a lock of ours
//! felt?

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::time::{Duration, Instant};

use anyhow::{ensure, Context, Result};
use berth_client::{Allocator, Buffer, BufferRequest};
use berth_kernel::dma_buf::DmaBuf;
use berth_kernel::dma_heap::DmaHeap;
use berth_kernel::memfd::Memfd;
use berth_kernel::meminfo::MemInfo;
use hal_binder::{ParcelFileDescriptor, Strong};

use crate::allocation::OfTheFloor;
use crate::bare::{self, IBare};
use crate::floor::{self, IFloor};
use crate::measure::in_turns_after;
use crate::table::{Table, Target};

const CLIENTS: usize = 8;
const BYTES: u64 = 1 << 20;
/// What each allocates before it is measured.
const SMALL: u64 = 4096;
/// How much less memory may be free than before, in bytes: less than what a round takes.
const SLACK: u64 = 4 << 20;
/// What each allocates in a round and holds until the clock stops: of all together 32 MiB.
const EACH: usize = 4;
/// Bytes that the pool has then at least: of a round's what a sixteenth of the VM's memory has room for.
const KEPT: i64 = 24 << 20;
const ROUNDS: u32 = 25;
/// Where nothing is cleared, a round is over in a millisecond.
const ROUNDS_OF_REGIONS: u32 = 400;
/// Rounds of small buffers that each has behind it. musl maps memory for a call and unmaps it, until that
/// has happened a hundred times (`bounces` in its mallocng), and locks out all other threads meanwhile.
const BEFORE: usize = 120;

pub fn measure(table: &mut Table) -> Result<()> {
    if DmaHeap::open("system").is_ok() {
        of_the_pool(table)?;
    }
    from_the_kernel(table)
}

/// Of memory that was given back before and is clean, as far as the pool may keep it: a sixteenth of the
/// machine's, which in the VM is nearly all of a round's. A client has it so unless it wants it otherwise.
fn of_the_pool(table: &mut Table) -> Result<()> {
    let allocator = Allocator::connect_within(Duration::from_secs(30))?;
    let ours = Crowd::start("pooled-crowd")?;
    let raw = Crowd::start("raw-crowd")?;
    drop(ours.round()?);
    let await_kept = || {
        let began = Instant::now();
        loop {
            let stats = allocator.stats()?;
            let kept = stats.idleBytes >= KEPT && stats.clearedBuffers == stats.idleBuffers;
            if kept && stats.lingeringBuffers == 0 {
                return Ok(());
            }
            ensure!(
                began.elapsed() < Duration::from_secs(20),
                "the memory is not cleared: {stats:?}"
            );
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    let pair = in_turns_after(ROUNDS, await_kept, || ours.round(), || raw.round())?;
    let what = "8 clients, 4 x 1 MiB each, at once";
    table.pair(what, "8 x bare call + ioctl", &pair, Target::Throughput(0.95));
    // What is kept would be in the way of others.
    drop((ours, raw));
    allocator.open_session("bench")?.trim()?;
    Ok(())
}

fn from_the_kernel(table: &mut Table) -> Result<()> {
    let ours = Crowd::start("crowd")?;
    let raw = Crowd::start("raw-crowd")?;
    let floor = Crowd::start("floor-crowd")?;
    let there = DmaHeap::open("system").is_ok();
    let before = MemInfo::read()?.free;
    // The allocator gives memory back behind its clients' backs, which is not for others to pay.
    let is_back =
        || -> Result<bool> { Ok(!there || MemInfo::read()?.free.saturating_add(SLACK) >= before) };
    let await_memory = || {
        let began = Instant::now();
        while !is_back()? {
            ensure!(began.elapsed() < Duration::from_secs(20), "the memory does not come back");
        }
        Ok(())
    };
    let rounds = if there { ROUNDS } else { ROUNDS_OF_REGIONS };
    let pair = in_turns_after(rounds, await_memory, || ours.round(), || raw.round())?;
    let against = if there { "8 x bare call + ioctl" } else { "8 x bare call + memfd" };
    table.pair("- all of it from the kernel", against, &pair, Target::Throughput(0.95));
    let pair = in_turns_after(rounds, await_memory, || floor.round(), || raw.round())?;
    table.comparison("- the same parcels without an allocator", against, &pair);
    let pair = in_turns_after(rounds, await_memory, || ours.round(), || floor.round())?;
    table.pair("- the allocator", "that", &pair, Target::Throughput(0.95));
    Ok(())
}

/// Processes that all begin when they are told to.
struct Crowd(RefCell<Vec<Member>>);

struct Member {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Crowd {
    fn start(role: &str) -> Result<Crowd> {
        let members = (0..CLIENTS).map(|_| {
            let mut command = crate::role(role)?;
            let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
            let orders = child.stdin.take().context("a way to order")?;
            let answers = BufReader::new(child.stdout.take().context("its output")?);
            Ok(Member { child, orders, answers })
        });
        let crowd = Crowd(RefCell::new(members.collect::<Result<_>>()?));
        crowd.hear()?;
        Ok(crowd)
    }

    /// Lets all of them allocate at once. They give it up when what is answered is dropped, so that
    /// this is not timed.
    fn round(&self) -> Result<Held<'_>> {
        self.tell("go")?;
        self.hear()?;
        Ok(Held(self))
    }

    fn tell(&self, order: &str) -> Result<()> {
        self.0
            .borrow_mut()
            .iter_mut()
            .try_for_each(|member| Ok(writeln!(member.orders, "{order}")?))
    }

    fn hear(&self) -> Result<()> {
        self.0.borrow_mut().iter_mut().try_for_each(|member| {
            let mut line = String::new();
            let read = member.answers.read_line(&mut line)?;
            ensure!(read > 0, "one of a crowd ended; it says above why");
            Ok(())
        })
    }
}

/// What a crowd holds.
struct Held<'crowd>(&'crowd Crowd);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.0.tell("rest").and_then(|()| self.0.hear()) {
            eprintln!("{error:#}");
        }
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        for member in self.0.borrow_mut().iter_mut() {
            let _ = member.child.kill();
            let _ = member.child.wait();
        }
    }
}

/// One of the clients that get what the pool has.
pub fn pooled_client() -> Result<()> {
    let allocator = Allocator::connect_within(Duration::from_secs(30))?;
    let session = allocator.open_session("bench crowd")?;
    on_order::<Buffer>(|bytes| Ok(session.allocate_one(&BufferRequest::linear(bytes))?))
}

/// One of those that get it from the kernel.
pub fn client() -> Result<()> {
    let allocator = Allocator::connect_within(Duration::from_secs(30))?;
    let session = allocator.open_session("bench crowd")?;
    let requests = requests();
    on_order::<Buffer>(|bytes| Ok(session.allocate_one(&requests(bytes))?))
}

/// As those who do without the allocator: from the kernel, and a region with a name.
fn requests() -> impl Fn(u64) -> BufferRequest {
    let there = DmaHeap::open("system").is_ok();
    move |bytes| match there {
        true => BufferRequest::linear(bytes).no_pool(),
        false => BufferRequest::region(bytes).name("bench crowd"),
    }
}

/// One who has the allocator's parcels of a service that is none.
pub fn floor() -> Result<()> {
    let floor: Strong<dyn IFloor> = bare::find(floor::NAME)?;
    let requests = requests();
    let known = [SMALL, BYTES].map(|bytes| Ok((bytes, floor.know(&requests(bytes).descriptor())?)));
    let known: BTreeMap<u64, i32> = known.into_iter().collect::<Result<_>>()?;
    on_order::<OfTheFloor>(|bytes| {
        let id = known.get(&bytes).context("a size that is known")?;
        OfTheFloor::again(&floor, *id)
    })
}

/// The memory of one who does without the allocator.
enum Raw {
    Heap(#[allow(dead_code)] DmaBuf),
    Memfd(#[allow(dead_code)] Memfd),
}

/// One who does without the allocator.
pub fn raw() -> Result<()> {
    let bare: Strong<dyn IBare> = bare::find(bare::NAME)?;
    let heap = DmaHeap::open("system").ok();
    on_order::<(ParcelFileDescriptor, Raw)>(|bytes| {
        let descriptor = bare.give()?;
        Ok((
            descriptor,
            match &heap {
                Some(heap) => Raw::Heap(heap.allocate(bytes)?),
                None => Raw::Memfd(Memfd::create("bench crowd", bytes)?),
            },
        ))
    })
}

fn on_order<T>(allocate: impl Fn(u64) -> Result<T>) -> Result<()> {
    let all = |bytes| (0..EACH).map(|_| allocate(bytes)).collect::<Result<Vec<T>>>();
    for _ in 0..BEFORE {
        all(SMALL)?;
    }
    let mut out = std::io::stdout().lock();
    let mut held = Vec::new();
    writeln!(out, "ready")?;
    for order in std::io::stdin().lock().lines() {
        match order?.as_str() {
            "go" => held = all(BYTES)?,
            _ => held.clear(),
        }
        writeln!(out, "done")?;
        out.flush()?;
    }
    Ok(())
}
