// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Eight clients at once against eight processes that do without the allocator: is a lock of ours
//! felt?

use std::cell::RefCell;
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

use crate::bare::{self, IBare};
use crate::measure::in_turns_after;
use crate::table::{Table, Target};

const CLIENTS: usize = 8;
const BYTES: u64 = 1 << 20;
/// How much less memory may be free than before, in bytes: less than what a round takes.
const SLACK: u64 = 4 << 20;
/// What each allocates in a round and holds until the clock stops: of all together 32 MiB.
const EACH: usize = 4;
const ROUNDS: u32 = 25;

pub fn measure(table: &mut Table) -> Result<()> {
    let ours = Crowd::start("crowd")?;
    let raw = Crowd::start("raw-crowd")?;
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
    let pair = in_turns_after(ROUNDS, await_memory, || ours.round(), || raw.round())?;
    let against = if there { "8 x bare call + ioctl" } else { "8 x bare call + memfd" };
    table.pair("8 clients, 4 x 1 MiB each, at once", against, &pair, Target::Throughput(0.95));
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

/// One of the clients.
pub fn client() -> Result<()> {
    let allocator = Allocator::connect_within(Duration::from_secs(30))?;
    let session = allocator.open_session("bench crowd")?;
    let heap = DmaHeap::open("system");
    // As the others: from the kernel, and a region with a name.
    let request = match heap {
        Ok(_) => BufferRequest::linear(BYTES).no_pool(),
        Err(_) => BufferRequest::region(BYTES).name("bench crowd"),
    };
    on_order::<Buffer>(|| Ok(session.allocate_one(&request)?))
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
    on_order::<(ParcelFileDescriptor, Raw)>(|| {
        let descriptor = bare.give()?;
        Ok((
            descriptor,
            match &heap {
                Some(heap) => Raw::Heap(heap.allocate(BYTES)?),
                None => Raw::Memfd(Memfd::create("bench crowd", BYTES)?),
            },
        ))
    })
}

fn on_order<T>(allocate: impl Fn() -> Result<T>) -> Result<()> {
    let mut out = std::io::stdout().lock();
    let mut held = Vec::new();
    writeln!(out, "ready")?;
    for order in std::io::stdin().lock().lines() {
        match order?.as_str() {
            "go" => held = (0..EACH).map(|_| allocate()).collect::<Result<Vec<T>>>()?,
            _ => held.clear(),
        }
        writeln!(out, "done")?;
        out.flush()?;
    }
    Ok(())
}
