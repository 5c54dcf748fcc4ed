// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Records of 4 KiB to another process: through a ring, through a pipe and through the message queue
//! of rsbinder-fmq; and the mutex that nobody else wants. A pipe holds 64 KiB, the other two 128.

use std::fs::OpenOptions;
use std::hint::black_box;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::time::Duration;

use anyhow::{bail, ensure, Context, Result};
use berth_client::shared::mutex::{self, Mutex, Protocol};
use berth_client::shared::ring::{self, Consumer, Layout, Producer};
use berth_kernel::memfd::Memfd;
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

pub fn measure(table: &mut Table) -> Result<()> {
    let record = vec![0xa5; RECORD];
    // For 4 bytes of length each.
    let layout = Layout::of_capacity(2 * ROOM as u32)?;
    let memfd = Memfd::create("bench", layout.bytes() as u64)?;
    ring::create(memfd.as_fd(), 0, layout)?;
    let mut producer = Producer::attach(memfd.as_fd(), 0)?;
    let mut ringer = Peer::start("ring-peer", memfd.as_fd().as_raw_fd(), &[])?;
    let through_ring = || {
        for _ in 0..RECORDS {
            producer.write(&record, PATIENCE)?;
        }
        ringer.answer()
    };
    let mut piper = Peer::start("pipe-peer", 0, &[])?;
    let through_pipe = || {
        for _ in 0..RECORDS {
            piper.to.write_all(&record)?;
        }
        piper.answer()
    };
    let mut through_ring = through_ring;
    let pair = in_turns(ROUNDS, &mut through_ring, through_pipe)?;
    table.pair("2000 records of 4 KiB to another process", "pipe", &pair, Target::FasterBy(5.0));

    // Words of 8 bytes, which it copies faster than bytes.
    let words = vec![0xa5u64; RECORD / 8];
    let mut queue = MessageQueue::<u64>::create(2 * ROOM / 8, true)?;
    let shown = queue.descriptor()?;
    let grantors: Vec<String> = shown
        .grantors
        .iter()
        .map(|region| format!("{},{}", region.offset, region.extent))
        .collect();
    let mut queuer = Peer::start("queue-peer", shown.fds[0].as_raw_fd(), &grantors)?;
    let through_queue = || {
        for _ in 0..RECORDS {
            queue.write_blocking(&words, NOT_FULL, NOT_EMPTY, Some(PATIENCE))?;
        }
        queuer.answer()
    };
    let pair = in_turns(ROUNDS, &mut through_ring, through_queue)?;
    table.pair("the same", "rsbinder-fmq", &pair, Target::FasterBy(1.0));
    uncontended(table)
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
