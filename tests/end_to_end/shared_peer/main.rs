// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! The other process of the tests of shared structures. It needs no HAL.
//!
//! `berth-shared-peer ROLE PATH [NUMBER]`: PATH is the test's own memory, as `/proc/PID/fd/N`.

#![forbid(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, Write};
use std::os::fd::AsFd;
use std::time::Duration;

use anyhow::{bail, ensure, Context, Result};
use berth_client::shared::mutex::{Condition, LockError, Mutex};
use berth_client::shared::ring::{Consumer, Producer, RingError};
use berth_end_to_end::chance::Chance;
use berth_end_to_end::shared::{check, fill, CONDITION, LENGTHS, MUTEX, PROGRESS};
use berth_kernel::mapping::{Mapping, ReadWrite};

const PATIENCE: Duration = Duration::from_secs(60);

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [role, path, rest @ ..] = &arguments[..] else { bail!("a role and a path") };
    let memory = OpenOptions::new().read(true).write(true).open(path).context("the memory")?;
    let number = rest.first().map_or(Ok(0), |number| number.parse()).context("a number")?;
    match role.as_str() {
        "answer" => answer(&memory),
        "produce" => produce(&memory, number),
        "consume" => consume(&memory, number),
        "count" => count(&memory),
        "own" => own(&memory),
        "wait" => wait(&memory),
        "play" => play(&memory),
        "scribble" => scribble(&memory, number),
        other => bail!("no role {other}"),
    }
}

/// What the test asks on standard input, of the consuming end of a ring.
fn answer(memory: &File) -> Result<()> {
    let mut consumer = Consumer::attach(memory.as_fd(), 0)?;
    let mut into = vec![0; consumer.layout().largest_record()];
    let mut out = io::stdout().lock();
    writeln!(out, "ready")?;
    for line in io::stdin().lock().lines() {
        let line = line?;
        let told = match line.split_once(' ').unwrap_or((&line, "0")) {
            ("read", _) => match consumer.read(&mut into, Duration::ZERO) {
                Ok(length) => told(&into[..length]),
                Err(RingError::TimedOut(_)) => "none".to_owned(),
                Err(error) => format!("{error:?}"),
            },
            ("peek", _) => match consumer.peek(Duration::ZERO) {
                Ok(record) => {
                    let part = &mut into[..record.length()];
                    record.read(0, part)?;
                    told(part)
                }
                Err(RingError::TimedOut(_)) => "none".to_owned(),
                Err(error) => format!("{error:?}"),
            },
            (word @ ("batch" | "look"), most) => {
                let mut batch = consumer.batch();
                let mut all = Vec::new();
                for _ in 0..most.parse::<u32>()? {
                    let Some(length) = batch.next(&mut into)? else { break };
                    all.push(told(&into[..length]));
                }
                if word == "batch" {
                    batch.release()?;
                }
                all.join(" ")
            }
            (other, _) => bail!("asked {other}"),
        };
        writeln!(out, "{told}")?;
    }
    Ok(())
}

/// A record in words.
fn told(record: &[u8]) -> String {
    let sum = record.iter().fold(7u32, |sum, byte| sum.wrapping_mul(31) + u32::from(*byte));
    format!("{}:{sum}", record.len())
}

/// Writes numbered records until killed.
fn produce(memory: &File, first: u64) -> Result<()> {
    let mut producer = Producer::attach(memory.as_fd(), 0)?;
    let mut chance = Chance::new(first);
    let progress = Progress::map(memory)?;
    let mut record = [0; LENGTHS];
    let mut number = first;
    loop {
        let length = 8 + chance.below(LENGTHS - 8);
        fill(&mut record[..length], number);
        match chance.below(3) {
            0 => producer.write(&record[..length], PATIENCE)?,
            1 => {
                let reservation = producer.reserve(length, PATIENCE)?;
                reservation.write(length / 2, &record[length / 2..length])?;
                reservation.write(0, &record[..length / 2])?;
                reservation.commit()?;
            }
            _ => {
                let mut batch = producer.batch();
                match batch.push(&record[..length]) {
                    Ok(()) => batch.commit()?,
                    Err(RingError::Full(_)) => continue,
                    Err(error) => return Err(error.into()),
                }
            }
        }
        number += 1;
        progress.made();
    }
}

/// Reads numbered records until killed, and checks them.
fn consume(memory: &File, seed: u64) -> Result<()> {
    let mut consumer = Consumer::attach(memory.as_fd(), 0)?;
    let mut chance = Chance::new(seed);
    let progress = Progress::map(memory)?;
    let mut expected = None;
    let mut into = [0; LENGTHS];
    loop {
        let length = match chance.below(2) {
            0 => consumer.read(&mut into, PATIENCE)?,
            _ => {
                let record = consumer.peek(PATIENCE)?;
                let length = record.length();
                record.read(0, &mut into[..length])?;
                record.release()?;
                length
            }
        };
        let number = check(&into[..length]).context("a torn record")?;
        ensure!(expected.is_none_or(|expected| expected == number), "{expected:?}, {number}");
        expected = Some(number + 1);
        progress.made();
    }
}

/// Counts two numbers up under the mutex, one after the other, until killed.
fn count(memory: &File) -> Result<()> {
    let mutex = Mutex::attach(memory.as_fd(), MUTEX)?;
    let progress = Progress::map(memory)?;
    loop {
        let mut guard = match mutex.lock(PATIENCE) {
            Ok(guard) => guard,
            Err(LockError::Orphaned(mut orphan)) => {
                let first: u64 = orphan.guard().load(0)?;
                orphan.guard().store(8, first)?;
                orphan.recover()
            }
            Err(error) => bail!("{error}"),
        };
        let (first, second): (u64, u64) = (guard.load(0)?, guard.load(8)?);
        ensure!(first == second, "{first} and {second}: somebody else was at it");
        guard.store(0, first + 1)?;
        guard.store(8, second + 1)?;
        drop(guard);
        progress.made();
    }
}

/// Takes the mutex and has it until it is asked for anything; then lives on.
fn own(memory: &File) -> Result<()> {
    let mutex = Mutex::attach(memory.as_fd(), MUTEX)?;
    let Ok(guard) = mutex.lock(PATIENCE) else { bail!("the mutex is not free") };
    let (mut lines, mut out) = (io::stdin().lock().lines(), io::stdout().lock());
    writeln!(out, "locked")?;
    lines.next().transpose()?;
    drop(guard);
    writeln!(out, "unlocked")?;
    lines.next().transpose()?;
    Ok(())
}

/// Waits for a condition that never comes, and passes on what was meant for another, until killed.
fn wait(memory: &File) -> Result<()> {
    let mutex = Mutex::attach(memory.as_fd(), MUTEX)?;
    let condition = Condition::attach(memory.as_fd(), CONDITION)?;
    let progress = Progress::map(memory)?;
    loop {
        let guard = match mutex.lock(PATIENCE) {
            Ok(guard) => guard,
            Err(LockError::Orphaned(orphan)) => orphan.recover(),
            Err(error) => bail!("{error}"),
        };
        progress.made();
        match condition.wait(guard, PATIENCE) {
            Ok((guard, _)) => drop(guard),
            Err(LockError::Orphaned(orphan)) => drop(orphan.recover()),
            Err(error) => bail!("{error}"),
        }
        condition.notify_one();
    }
}

/// Returns each ball that the test plays, until killed.
fn play(memory: &File) -> Result<()> {
    let mutex = Mutex::attach(memory.as_fd(), MUTEX)?;
    let condition = Condition::attach(memory.as_fd(), CONDITION)?;
    loop {
        let mut guard = match mutex.lock(PATIENCE) {
            Ok(guard) => guard,
            Err(LockError::Orphaned(orphan)) => orphan.recover(),
            Err(error) => bail!("{error}"),
        };
        let ball: u64 = guard.load(0)?;
        if ball % 2 == 1 {
            guard.store(0, ball + 1)?;
            drop(guard);
            condition.notify_all();
            continue;
        }
        match condition.wait(guard, PATIENCE) {
            Ok((guard, _)) => drop(guard),
            Err(LockError::Orphaned(orphan)) => drop(orphan.recover()),
            Err(error) => bail!("{error}"),
        }
    }
}

/// Writes words that do harm all over the first bytes of the memory, until killed.
fn scribble(memory: &File, seed: u64) -> Result<()> {
    let mapping = Mapping::<ReadWrite>::new(memory.as_fd(), 4096)?;
    let mut chance = Chance::new(seed);
    let chosen: &[u32] = &[
        0,
        1,
        3,
        4,
        63,
        64,
        65,
        1 << 16,
        1 << 31,
        u32::MAX,
        u32::MAX - 3,
        0x4000_0000,
        0x3fff_ffff,
    ];
    // The words of the structures, and any.
    let places: &[usize] = &[64, 72, 128, 136, 256, 320, 1024 + 64, 1024 + 68];
    let progress = Progress::map(memory)?;
    loop {
        let place = match chance.below(3) {
            0 => 16 + 4 * chance.below(200),
            _ => *chance.pick(places).unwrap_or(&64),
        };
        let value = match chance.below(3) {
            0 => chance.draw() as u32,
            1 => mapping.word(place)?.load(std::sync::atomic::Ordering::Relaxed).wrapping_add(4),
            _ => *chance.pick(chosen).unwrap_or(&0),
        };
        mapping.word(place)?.store(value, std::sync::atomic::Ordering::Relaxed);
        progress.made();
    }
}

/// What the test sees of how far this process is.
struct Progress(Mapping<ReadWrite>);

impl Progress {
    fn map(memory: &File) -> Result<Progress> {
        Ok(Progress(Mapping::of_range(memory.as_fd(), PROGRESS, 64)?))
    }

    fn made(&self) {
        if let Ok(word) = self.0.word(0) {
            word.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
    }
}
