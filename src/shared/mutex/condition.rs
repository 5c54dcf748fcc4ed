// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Waiting, with a mutex, for what another process does under it.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use berth_kernel::mapping::{Mapping, ReadWrite};

use super::signal::Words;
use super::{countdown, map, AttachError, Guard, LockError, Protocol};
use crate::block::{self, Header, Kind};

const KIND: Kind = Kind { name: "condition variable", magic: *b"brCV", version: 1 };

const COUNT: usize = 64;
const SLEEPERS: usize = 68;
const BYTES: usize = 128;

/// Why a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Woken {
    /// By a notification, or for no reason: the caller looks at what it waits for.
    Notified,
    /// There was no notification in time.
    TimedOut,
}

/// A condition variable in shared memory.
///
/// No wake-up is lost: one that is given to a waiter that dies is noticed by the others within
/// 200 ms. If whoever should notify dies with the mutex, a waiter is told so within that time, as the
/// next who has the mutex. Nobody who waits holds anything up by dying.
#[derive(Debug)]
pub struct Condition {
    memory: Mapping<ReadWrite>,
}

impl Condition {
    /// Bytes of memory that it takes.
    pub const BYTES: usize = BYTES;

    /// Makes one that nobody waits for at `offset` of what `fd` is open on.
    pub fn create(fd: BorrowedFd<'_>, offset: u64) -> Result<(), AttachError> {
        let memory = map(fd, offset, BYTES)?;
        memory.fill(0, BYTES, 0)?;
        Ok(block::publish(&memory, 0, KIND, Header { bytes: BYTES, shape: 0 })?)
    }

    /// Attaches the one at `offset` of what `fd` is open on.
    pub fn attach(fd: BorrowedFd<'_>, offset: u64) -> Result<Condition, AttachError> {
        let memory = map(fd, offset, BYTES)?;
        block::check(&memory, 0, KIND, BYTES)?;
        Ok(Condition { memory })
    }

    /// Gives the mutex up, sleeps until a notification or for `within`, and takes the mutex again.
    /// Whoever waits with a condition variable does so with the same mutex.
    ///
    /// # Errors
    ///
    /// Those of [`Mutex::lock`](super::Mutex::lock), which may take `within` once more: the mutex is
    /// then not held, or held as an [`Orphan`](super::Orphan).
    pub fn wait<'m>(
        &self,
        guard: Guard<'m>,
        within: Duration,
    ) -> Result<(Guard<'m>, Woken), LockError<'m>> {
        let mutex = guard.mutex;
        let words = self.words();
        let seen = words.prepare();
        drop(guard);
        // With inheritance the kernel gives the mutex on by itself.
        let orphaned = || mutex.protocol == Protocol::Plain && mutex.words().is_orphaned();
        let notified = words.wait(seen, countdown(within), orphaned);
        let guard = mutex.lock(within)?;
        Ok((guard, if notified { Woken::Notified } else { Woken::TimedOut }))
    }

    /// Wakes one who waits, if somebody does: no system call otherwise.
    pub fn notify_one(&self) {
        self.words().notify_one();
    }

    /// Wakes all who wait, if somebody does: no system call otherwise.
    pub fn notify_all(&self) {
        self.words().notify_all();
    }

    fn words(&self) -> Words<'_> {
        Words { count: self.word(COUNT), sleepers: self.word(SLEEPERS) }
    }

    fn word(&self, at: usize) -> &std::sync::atomic::AtomicU32 {
        static NONE: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        // All of it was mapped.
        self.memory.word(at).unwrap_or(&NONE)
    }
}
