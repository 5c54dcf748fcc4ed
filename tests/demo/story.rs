// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! The steps of the demo. Whatever deviates ends it, with the step's name.

use std::io;
use std::os::fd::AsFd;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure, Context, Result};
use berth_client::{Allocator, AllocatorStats};
use berth_kernel::meminfo::MemInfo;

use crate::actor::Actor;
use crate::hoarder::{BUFFERS, BYTES_EACH};
use crate::stage::{Stage, SYSTEM_UID};
use crate::{Props, Transport};

const PRODUCER_UID: u32 = 10_001;
const CONSUMER_UID: u32 = 10_002;
const THIEF_UID: u32 = 10_003;
const HOARDER_UID: u32 = 10_004;

/// How long the service may take to come up.
const COMING_UP: Duration = Duration::from_secs(60);
/// How long memory may take to come back.
pub const COMING_BACK: Duration = Duration::from_secs(10);

/// Tells a story by its steps.
pub fn tell(props: &Props, steps: impl FnOnce(&Props, &mut Step) -> Result<()>) -> Result<()> {
    let began = Instant::now();
    let mut step = Step::default();
    match steps(props, &mut step) {
        Ok(()) => {
            println!("all of it in {:.1} s", began.elapsed().as_secs_f64());
            println!("demo: ok");
            Ok(())
        }
        Err(error) => Err(error.context(format!("demo: FAILED in step {step}"))),
    }
}

/// The step that is being told.
#[derive(Debug, Default)]
pub struct Step {
    number: u32,
    name: &'static str,
}

impl Step {
    /// Begins the next step.
    pub fn begin(&mut self, name: &'static str) {
        self.number += 1;
        self.name = name;
        println!("{}. {name}", self.number);
    }
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.number, self.name)
    }
}

/// What runs as long as a story does: the HAL, and before it the service manager; neither where they
/// ran before.
pub struct Running {
    _service: Option<Actor>,
    _manager: Option<Actor>,
}

/// The first steps of every story: the service manager and the HAL start, or are there.
pub fn start_hal(props: &Props, step: &mut Step) -> Result<(Stage, Running, Allocator)> {
    let stage = Stage::set(props)?;
    let Some(mut service) = stage.service() else {
        let allocator = find_hal(step)?;
        return Ok((stage, Running { _service: None, _manager: None }, allocator));
    };
    step.begin("the service manager starts");
    let manager = start_manager(props)?;

    step.begin("the HAL registers");
    let service = Actor::enter("the HAL", &mut service, SYSTEM_UID)?;
    let began = Instant::now();
    let allocator = Allocator::connect_within(COMING_UP)?;
    let milliseconds = began.elapsed().as_secs_f64() * 1e3;
    println!(
        "  the HAL runs as uid {SYSTEM_UID}, pid {}, and was found after {milliseconds:.0} ms",
        service.pid()
    );
    Ok((stage, Running { _service: Some(service), _manager: manager }, allocator))
}

/// The first step with a HAL that was there before.
fn find_hal(step: &mut Step) -> Result<Allocator> {
    step.begin("the HAL is found");
    let allocator = Allocator::connect_within(COMING_UP)?;
    let stats = allocator.stats()?;
    // What is counted from here on is to be the demo's.
    ensure!(stats.sessions == 0, "others use the allocator: {} sessions are open", stats.sessions);
    wait_until(&allocator, |now| now.buffers == 0).context("somebody holds buffers")?;
    println!("  it runs, and nobody uses it");
    Ok(allocator)
}

/// The steps of the whole demo.
pub fn steps(props: &Props, step: &mut Step) -> Result<()> {
    let (stage, _running, allocator) = start_hal(props, step)?;
    let at_first = allocator.stats()?;
    ensure!(at_first.sessions == 0 && at_first.buffers == 0, "the ledger is not empty");
    dump(&allocator)?;

    step.begin("a producer allocates, writes and shares");
    let mut producer = Actor::enter("the producer", &mut stage.role("producer"), PRODUCER_UID)?;
    producer.cue(CONSUMER_UID)?;
    let image = producer.fact("image")?;
    let payload = producer.fact("payload")?;
    let doorbell = producer.fact("doorbell")?;
    let inode = producer.fact("inode")?;

    step.begin("a thief has the token and another uid");
    let mut thief = Actor::enter("the thief", &mut stage.role("consumer"), THIEF_UID)?;
    thief.cue(&image)?;
    thief.cue("steal")?;
    thief.leave()?;

    step.begin("a consumer acquires, and reads the same bytes");
    let mut consumer = Actor::enter("the consumer", &mut stage.role("consumer"), CONSUMER_UID)?;
    consumer.cue(&image)?;
    consumer.cue("read")?;
    let acquired = consumer.fact("inode")?;
    ensure!(acquired == inode, "the consumer has inode {acquired}, the producer {inode}");
    consumer.cue(&payload)?;
    consumer.cue(&doorbell)?;
    consumer.leave()?;

    step.begin("what the ledger says now");
    dump(&allocator)?;

    step.begin("requests that must be refused");
    producer.cue("go on")?;
    producer.leave()?;
    let (_, waited) = wait_until(&allocator, |now| now.sessions == 0 && now.buffers == 0)?;
    println!("  the producer is gone, its buffers were taken back within {}", shown(waited));

    step.begin("a client with 64 buffers is killed");
    kill_the_hoarder(&stage, &allocator)?;

    step.begin("what the ledger says at the end");
    dump(&allocator)?;
    let at_last = allocator.stats()?;
    ensure!(at_last.tokens == 0, "{} tokens are left", at_last.tokens);
    let abandoned = at_last.abandonedSessions - at_first.abandonedSessions;
    ensure!(abandoned == 1, "{abandoned} sessions were abandoned");
    Ok(())
}

fn start_manager(props: &Props) -> Result<Option<Actor>> {
    if props.transport == Some(Transport::Rpc) {
        println!("  no Binder driver is used here: a folder of Unix sockets stands in for it");
        return Ok(None);
    }
    let program = props.service_manager.as_ref().context("no service manager was named")?;
    let policy = props.service_manager_policy.as_ref().context("no policy was named")?;
    let mut command = Command::new(program);
    command.arg("--config").arg(policy);
    let manager = Actor::enter("the service manager", &mut command, 0)?;
    println!("  {} runs as uid 0, pid {}", program.display(), manager.pid());
    Ok(Some(manager))
}

fn kill_the_hoarder(stage: &Stage, allocator: &Allocator) -> Result<()> {
    let before = allocator.stats()?;
    let memory_before = used_memory(allocator)?;
    let mut hoarder = Actor::enter("the hoarder", &mut stage.role("hoarder"), HOARDER_UID)?;
    let held: usize = hoarder.fact("holding")?.parse().context("how many it holds")?;
    ensure!(held == BUFFERS, "it holds {held} buffers, not {BUFFERS}");
    let during = allocator.stats()?;
    let hoard = BUFFERS as u64 * BYTES_EACH;
    ensure!(
        during.bytes - before.bytes == hoard as i64,
        "the ledger grew by {} bytes, not {hoard}",
        during.bytes - before.bytes
    );
    let memory_during = used_memory(allocator)?;
    let grown = memory_during.bytes.saturating_sub(memory_before.bytes);
    println!(
        "  it holds {held} buffers: the ledger grew by {} MiB, {} by {} MiB",
        hoard >> 20,
        memory_during.what,
        grown >> 20
    );
    // The rest of the machine is at work too.
    ensure!(grown >= hoard / 4 * 3, "the kernel shows {grown} bytes of {hoard} used");
    let pid = hoarder.pid();
    let killed = Instant::now();
    hoarder.kill()?;
    let (after, ledger) = wait_until(allocator, |now| now.buffers == before.buffers)?;
    ensure!(after.bytes == before.bytes, "{} bytes are left", after.bytes - before.bytes);
    let memory = loop {
        let now = used_memory(allocator)?;
        if memory_during.bytes.saturating_sub(now.bytes) >= grown / 8 * 7 {
            break killed.elapsed();
        }
        ensure!(
            killed.elapsed() < COMING_BACK,
            "{} MiB of {} are back in the kernel",
            memory_during.bytes.saturating_sub(now.bytes) >> 20,
            grown >> 20
        );
    };
    println!(
        "  SIGKILL to pid {pid}: the ledger is back after {}, the memory after {}",
        shown(ledger),
        shown(memory)
    );
    Ok(())
}

/// Memory in use, where the kernel shows it.
struct UsedMemory {
    what: &'static str,
    bytes: u64,
}

/// dma-heap memory shows only in what is missing from MemAvailable, a memfd's in Shmem. Not from
/// MemFree: Android's system heap keeps freed pages, which are available and not free.
fn used_memory(allocator: &Allocator) -> Result<UsedMemory> {
    let memory = MemInfo::read()?;
    let dma_bufs = allocator.capabilities()?.heaps.first().is_some_and(|heap| heap.dmaBuf);
    Ok(if dma_bufs {
        let bytes = memory.total.saturating_sub(memory.available);
        UsedMemory { what: "MemTotal less MemAvailable", bytes }
    } else {
        UsedMemory { what: "Shmem", bytes: memory.shared }
    })
}

/// Asks until the figures are as they should be; how long that took.
pub fn wait_until(
    allocator: &Allocator,
    reached: impl Fn(&AllocatorStats) -> bool,
) -> Result<(AllocatorStats, Duration)> {
    let began = Instant::now();
    loop {
        let now = allocator.stats()?;
        if reached(&now) {
            return Ok((now, began.elapsed()));
        }
        if began.elapsed() > COMING_BACK {
            bail!("after {COMING_BACK:?} the ledger says {now:?}");
        }
    }
}

fn dump(allocator: &Allocator) -> Result<()> {
    let out = io::stdout().as_fd().try_clone_to_owned().context("standard output")?;
    allocator.dump(out, &[])?;
    Ok(())
}

fn shown(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1e3)
}
