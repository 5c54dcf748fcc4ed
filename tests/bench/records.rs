// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Records of 4 KiB to another process: through a ring, through a pipe and through the message queue
//! of rsbinder-fmq; and the mutex that nobody else wants. A pipe holds 64 KiB, the other two 128.
//!
//! Both ends are where the row says: left to itself the kernel puts both ends of a pipe on one
//! processor, and those who do not sleep on two. What two processors take to pass bytes from one's
//! caches to the other's is theirs, and may be more than the figure leaves for all: a row says what it
//! is.

use std::fs::OpenOptions;
use std::hint::{black_box, spin_loop};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{bail, ensure, Context, Result};
use berth_client::shared::mutex::{self, Mutex, Protocol};
use berth_client::shared::ring::{self, Consumer, Layout, Producer};
use berth_kernel::mapping::{Mapping, ReadWrite};
use berth_kernel::memfd::Memfd;
use nix::sched::{sched_getaffinity, sched_setaffinity, CpuSet};
use nix::unistd::Pid;
use rsbinder_fmq::{AttachPolicy, Descriptor, Flavor, Grantor, MessageQueue, NOT_EMPTY, NOT_FULL};

use crate::measure::in_turns;
use crate::role;
use crate::table::{Table, Target};

const RECORD: usize = 4096;
/// What a pipe holds.
const ROOM: usize = 64 << 10;
/// In a round.
const RECORDS: usize = 2000;
const ROUNDS: u32 = 15;
const PATIENCE: Duration = Duration::from_secs(60);
/// Where those who only copy count what was written and what was read, and where the records are.
const WRITTEN: usize = 0;
const READ: usize = 128;
const SLOTS_AT: usize = 4096;
const SLOTS: u32 = (2 * ROOM / RECORD) as u32;

pub fn measure(table: &mut Table) -> Result<()> {
    let allowed = sched_getaffinity(this_thread())?;
    let measured = Places::all(&allowed)?.iter().try_for_each(|places| places.measure(table));
    sched_setaffinity(this_thread(), &allowed)?;
    measured?;
    uncontended(table)
}

/// Where the ends are.
#[derive(Debug)]
struct Places {
    /// The processor of the writing end.
    writer: CpuSet,
    /// And of the reading end.
    reader: CpuSet,
    name: &'static str,
}

impl Places {
    /// On one of the processors, and on two if there are.
    fn all(allowed: &CpuSet) -> Result<Vec<Places>> {
        let one = |processor| -> Result<CpuSet> {
            let mut set = CpuSet::new();
            set.set(processor)?;
            Ok(set)
        };
        let mut processors =
            (0..CpuSet::count()).filter(|processor| allowed.is_set(*processor) == Ok(true));
        let writer = one(processors.next().context("no processor is allowed")?)?;
        let mut all = vec![Places { writer, reader: writer, name: "one processor" }];
        if let Some(other) = processors.next() {
            all.push(Places { writer, reader: one(other)?, name: "two processors" });
        }
        Ok(all)
    }

    fn measure(&self, table: &mut Table) -> Result<()> {
        sched_setaffinity(this_thread(), &self.writer)?;
        let record = vec![0xa5; RECORD];
        // For 4 bytes of length each.
        let layout = Layout::of_capacity(2 * ROOM as u32)?;
        let memfd = Memfd::create("bench", layout.bytes() as u64)?;
        ring::create(memfd.as_fd(), 0, layout)?;
        let mut producer = Producer::attach(memfd.as_fd(), 0)?;
        let mut ringer = self.peer("ring-peer", memfd.as_fd().as_raw_fd(), &[])?;
        let mut through_ring = || {
            for _ in 0..RECORDS {
                producer.write(&record, PATIENCE)?;
            }
            ringer.answer()
        };
        let mut piper = self.peer("pipe-peer", 0, &[])?;
        let mut through_pipe = || {
            for _ in 0..RECORDS {
                piper.to.write_all(&record)?;
            }
            piper.answer()
        };
        let pair = in_turns(ROUNDS, &mut through_ring, &mut through_pipe)?;
        let what = format!("2000 records of 4 KiB to another process, {}", self.name);
        table.pair(&what, "pipe", &pair, Target::FasterBy(5.0));
        if self.writer != self.reader {
            self.floor(&record, &mut through_ring, table)?;
        }

        // Words of 8 bytes, which it copies faster than bytes.
        let words = vec![0xa5u64; RECORD / 8];
        let mut queue = MessageQueue::<u64>::create(2 * ROOM / 8, true)?;
        let shown = queue.descriptor()?;
        let grantors: Vec<String> = shown
            .grantors
            .iter()
            .map(|region| format!("{},{}", region.offset, region.extent))
            .collect();
        let mut queuer = self.peer("queue-peer", shown.fds[0].as_raw_fd(), &grantors)?;
        let through_queue = || {
            for _ in 0..RECORDS {
                queue.write_blocking(&words, NOT_FULL, NOT_EMPTY, Some(PATIENCE))?;
            }
            queuer.answer()
        };
        let pair = in_turns(ROUNDS, &mut through_ring, through_queue)?;
        table.pair("- the same", "rsbinder-fmq", &pair, Target::FasterBy(1.0));
        Ok(())
    }

    /// What the processors take to pass the bytes from one's caches to the other's: two ends that
    /// copy, count, and do nothing else.
    fn floor(
        &self,
        record: &[u8],
        through_ring: impl FnMut() -> Result<()>,
        table: &mut Table,
    ) -> Result<()> {
        let memfd = Memfd::create("bench", SLOTS_AT as u64 + 2 * ROOM as u64)?;
        let memory: Mapping<ReadWrite> = whole(memfd.as_fd())?;
        let mut copier = self.peer("copy-peer", memfd.as_fd().as_raw_fd(), &[])?;
        let mut written = 0;
        let copied = || {
            copier.to.write_all(b"!")?;
            for _ in 0..RECORDS {
                let full = |read: u32| written - read == SLOTS;
                while full(memory.word(READ)?.load(Ordering::Acquire)) {
                    spin_loop();
                }
                memory.write(slot(written), record)?;
                written += 1;
                memory.word(WRITTEN)?.store(written, Ordering::Release);
            }
            copier.answer()
        };
        let pair = in_turns(ROUNDS, through_ring, copied)?;
        table.comparison("- the same", "copies and counters alone", &pair);
        Ok(())
    }

    /// Starts the reading end where it is to be.
    fn peer(&self, name: &str, fd: i32, more: &[String]) -> Result<Peer> {
        sched_setaffinity(this_thread(), &self.reader)?;
        let peer = Peer::start(name, fd, more);
        sched_setaffinity(this_thread(), &self.writer)?;
        peer
    }
}

/// As `sched_setaffinity(2)` takes it.
fn this_thread() -> Pid {
    Pid::from_raw(0)
}

/// 1,000 times, so that the clock does not count.
fn uncontended(table: &mut Table) -> Result<()> {
    let memfd = Memfd::create("bench", 4096)?;
    mutex::create(memfd.as_fd(), 0, 64, Protocol::Plain)?;
    let mutex = Mutex::attach(memfd.as_fd(), 0)?;
    let lock = || {
        for _ in 0..1000 {
            drop(black_box(mutex.lock(PATIENCE).map_err(|error| anyhow::anyhow!("{error}"))?));
        }
        Ok(())
    };
    let call = || {
        for _ in 0..1000 {
            black_box(nix::unistd::getppid());
        }
        Ok(())
    };
    let pair = in_turns(ROUNDS, lock, call)?;
    table.pair("1000 x mutex lock and unlock", "getppid", &pair, Target::AtMost(1.0));
    Ok(())
}

/// The other process.
struct Peer {
    child: Child,
    to: ChildStdin,
    from: ChildStdout,
}

impl Peer {
    fn start(name: &str, fd: i32, more: &[String]) -> Result<Peer> {
        let mut command = role(name)?;
        command.arg(format!("/proc/{}/fd/{fd}", std::process::id())).args(more);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let to = child.stdin.take().context("its input")?;
        let from = child.stdout.take().context("its output")?;
        let mut peer = Peer { child, to, from };
        peer.answer()?;
        Ok(peer)
    }

    /// It is ready, or has read all records of a round.
    fn answer(&mut self) -> Result<()> {
        self.from.read_exact(&mut [0]).context("the peer's answer")
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Answers after every round; reads until killed.
fn read_for_ever(mut read: impl FnMut(&mut [u8; RECORD]) -> Result<()>) -> Result<()> {
    let mut into = [0; RECORD];
    let mut out = io::stdout().lock();
    loop {
        out.write_all(b"!")?;
        out.flush()?;
        for _ in 0..RECORDS {
            read(&mut into)?;
            black_box(&into);
        }
    }
}

/// The consuming process of the ring.
pub fn ring_peer(memory: &str) -> Result<()> {
    let memory = open(memory)?;
    let mut consumer = Consumer::attach(memory.as_fd(), 0)?;
    read_for_ever(|into| {
        let length = consumer.read(into, PATIENCE)?;
        ensure!(length == RECORD, "{length} bytes");
        Ok(())
    })
}

/// The process that copies and counts.
pub fn copy_peer(memory: &str) -> Result<()> {
    let memory = open(memory)?;
    let memory = whole(memory.as_fd())?;
    let mut read = 0;
    read_for_ever(|into| {
        if (read as usize).is_multiple_of(RECORDS) {
            // Not to be in the way of others.
            io::stdin().read_exact(&mut [0])?;
        }
        while memory.word(WRITTEN)?.load(Ordering::Acquire) == read {
            spin_loop();
        }
        memory.read(slot(read), into)?;
        read += 1;
        memory.word(READ)?.store(read, Ordering::Release);
        Ok(())
    })
}

/// Where a record is copied to and from.
fn slot(number: u32) -> usize {
    SLOTS_AT + (number % SLOTS) as usize * RECORD
}

fn whole(memfd: BorrowedFd<'_>) -> Result<Mapping<ReadWrite>> {
    Ok(Mapping::new(memfd, SLOTS_AT as u64 + 2 * ROOM as u64)?)
}

/// The reading process of the pipe.
pub fn pipe_peer() -> Result<()> {
    // Unbuffered: a record is read as it comes.
    let mut pipe = std::fs::File::from(io::stdin().as_fd().try_clone_to_owned()?);
    read_for_ever(|into| Ok(pipe.read_exact(into)?))
}

/// The reading process of the message queue.
pub fn queue_peer(memory: &str, regions: &[String]) -> Result<()> {
    let region = |text: &String| -> Result<Grantor> {
        let Some((offset, extent)) = text.split_once(',') else { bail!("region {text}") };
        Ok(Grantor { fd_index: 0, offset: offset.parse()?, extent: extent.parse()? })
    };
    let descriptor = Descriptor {
        fds: vec![open(memory)?],
        ints: vec![],
        grantors: regions.iter().map(region).collect::<Result<_>>()?,
        quantum: 8,
        flavor: Flavor::SynchronizedReadWrite,
    };
    let policy =
        AttachPolicy { max_capacity: 1 << 20, require_seal: true, require_event_flag: true };
    let mut queue = MessageQueue::<u64>::attach(&descriptor, &policy)?;
    let mut words = [0u64; RECORD / 8];
    read_for_ever(|_| {
        queue.read_blocking(&mut words, NOT_EMPTY, NOT_FULL, Some(PATIENCE))?;
        black_box(&words);
        Ok(())
    })
}

fn open(memory: &str) -> Result<OwnedFd> {
    let file = OpenOptions::new().read(true).write(true).open(memory).context("the memory")?;
    Ok(file.into())
}
