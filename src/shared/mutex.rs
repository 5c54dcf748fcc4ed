// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! A mutex and a condition variable between processes, for bytes in shared memory.
//!
//! The mutex is robust: whoever locks it after its owner's process died is told so, once, with the
//! bytes as the dead left them, and either brings them in order ([`Orphan::recover`]) or condemns the
//! mutex for all. Locking and unlocking make no system call while nobody waits. There is no mutex of
//! a C library in it, so bionic, glibc and musl agree.
//!
//! What it guards is never lent as `&mut`: a process that breaks the rules writes to it whether it
//! has the lock or not, and a Rust reference promises that nobody does. So a [`Guard`] copies plain
//! values in and out, and the caller checks what it has copied. Between processes that keep the rules
//! the lock orders the copies.
//!
//! The process is the owner, not the thread: a thread that ends while it has a guard has unwound and
//! dropped it. A guard that is dropped by a panic leaves the bytes to the next as a death does. All
//! who share a mutex live in one pid namespace, where no two of them have the same id.
//!
//! With [`Protocol::Inherit`] the kernel lends the owner the priority of whoever waits
//! (`FUTEX_LOCK_PI`). The word then holds the id of a thread, which no list of ours can hold, and
//! robustness is the kernel's: a death is told to whoever is waiting at that moment and, if nobody
//! is, to the next who locks, as long as no other thread has got the same id meanwhile; then the lock
//! looks held until that thread ends, and waiting for it ends at the deadline.

use std::marker::PhantomData;
use std::os::fd::BorrowedFd;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use berth_kernel::futex::{self, PiRefusal};
use berth_kernel::mapping::{Mapping, OutOfRange, ReadWrite};
use berth_kernel::robust_list::{WatchError, WatchedWord};
use berth_kernel::KernelError;

use crate::block::{self, BlockError, Header, Kind};
use crate::unsuitable::{self, UnsuitableMemory};

mod condition;
pub(crate) mod lock;
mod plain;
pub(crate) mod signal;

pub use condition::{Condition, Woken};
pub use plain::Plain;

use lock::{Acquired, Refused, Words};

const KIND: Kind = Kind { name: "mutex", magic: *b"brMX", version: 1 };

// Offsets in the block.
const PROTOCOL: usize = 16;
const LOCK: usize = 64;
const STATE: usize = 72;
/// Where the guarded bytes begin.
const GUARDED: usize = 128;

/// What the offset of a mutex or a condition variable in its memory is a multiple of: a cache line.
pub const ALIGNMENT: u64 = 64;

/// Whether waiting lends priority.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// It does not.
    Plain,
    /// The owner runs at the priority of the most urgent who waits.
    Inherit,
}

/// Why a mutex or a condition variable could not be made or attached.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AttachError {
    /// They begin at a cache line.
    #[error("a lock at offset {0}, which is no multiple of {ALIGNMENT}")]
    Misaligned(u64),
    /// The memory is not of a kind that holds any.
    #[error(transparent)]
    Memory(#[from] UnsuitableMemory),
    /// Neither of the protocols.
    #[error("a mutex of protocol {0}; there are 0 and 1")]
    Protocol(u32),
    /// There is none, or not one of this version.
    #[error(transparent)]
    Block(#[from] BlockError),
    /// The kernel does not watch it.
    #[error(transparent)]
    Watch(#[from] WatchError),
    /// The memory could not be mapped.
    #[error(transparent)]
    Kernel(#[from] KernelError),
}

impl From<OutOfRange> for AttachError {
    fn from(error: OutOfRange) -> AttachError {
        AttachError::Block(error.into())
    }
}

/// Why a mutex is not held.
#[derive(Debug, thiserror::Error)]
pub enum LockError<'m> {
    /// It is held, but what it guards is as an owner left it that died or panicked.
    #[error("the last owner of the mutex died or panicked")]
    Orphaned(Orphan<'m>),
    /// An owner was told so before and did not bring it in order.
    #[error("what the mutex guards was left in disorder for good")]
    Unrecoverable,
    /// It was not free in that time.
    #[error("the mutex was not free within {0:?}")]
    TimedOut(Duration),
    /// With [`Protocol::Inherit`]: this thread has it already.
    #[error("this thread has the mutex already")]
    Deadlock,
    /// With [`Protocol::Inherit`]: a peer that breaks the rules stored what no owner stores.
    #[error("the mutex holds {0:#010x}, which no owner stored")]
    Corrupt(u32),
    /// It was attached by the process that this one was forked from.
    #[error("the mutex was attached by the process that this one was forked from")]
    Forked,
    /// With [`Protocol::Inherit`]: the kernel refused.
    #[error(transparent)]
    Kernel(KernelError),
}

/// Bytes of memory that a mutex takes which guards so many.
pub fn bytes(guarded: usize) -> usize {
    guarded.saturating_add(GUARDED)
}

/// Makes a mutex that nobody holds at `offset` of what `fd` is open on, around `guarded` bytes, which
/// become 0. Each process then [attaches](Mutex::attach) it.
pub fn create(
    fd: BorrowedFd<'_>,
    offset: u64,
    guarded: usize,
    protocol: Protocol,
) -> Result<(), AttachError> {
    let memory = map(fd, offset, bytes(guarded))?;
    memory.fill(0, bytes(guarded), 0)?;
    memory.word(PROTOCOL)?.store(u32::from(protocol == Protocol::Inherit), Ordering::Relaxed);
    let header = Header { bytes: bytes(guarded), shape: 0 };
    Ok(block::publish(&memory, 0, KIND, header)?)
}

fn map(fd: BorrowedFd<'_>, offset: u64, bytes: usize) -> Result<Mapping<ReadWrite>, AttachError> {
    if offset % ALIGNMENT != 0 {
        return Err(AttachError::Misaligned(offset));
    }
    unsuitable::check(fd)?;
    Ok(Mapping::of_range(fd, offset, u64::try_from(bytes).unwrap_or(u64::MAX))?)
}

/// A mutex in shared memory and the bytes that it guards, usable from all threads.
#[derive(Debug)]
pub struct Mutex {
    memory: Mapping<ReadWrite>,
    watched: WatchedWord,
    protocol: Protocol,
    guarded: usize,
}

impl Mutex {
    /// Attaches the mutex at `offset` of what `fd` is open on.
    pub fn attach(fd: BorrowedFd<'_>, offset: u64) -> Result<Mutex, AttachError> {
        let start = map(fd, offset, GUARDED)?;
        let there = berth_kernel::identity::size(fd)?.saturating_sub(offset);
        let there = usize::try_from(there).unwrap_or(usize::MAX);
        let header = block::check_within(&start, 0, KIND, GUARDED, there)?;
        let protocol = match start.word(PROTOCOL)?.load(Ordering::Relaxed) {
            0 => Protocol::Plain,
            1 => Protocol::Inherit,
            other => return Err(AttachError::Protocol(other)),
        };
        let memory = map(fd, offset, header.bytes)?;
        let word = offset.saturating_add(u64::try_from(LOCK).unwrap_or(u64::MAX));
        let watched = WatchedWord::map(fd, word)?;
        let guarded = header.bytes.saturating_sub(GUARDED);
        Ok(Mutex { memory, watched, protocol, guarded })
    }

    /// Bytes that it guards.
    pub fn guarded(&self) -> usize {
        self.guarded
    }

    /// Whether waiting lends priority.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Whether the others are told if this process dies while it has the mutex; see
    /// [`WatchedWord::is_watched`]. Where they are not, whoever hears of the death otherwise calls
    /// [`bury`](Mutex::bury). With [`Protocol::Inherit`] they are told anyhow.
    pub fn is_watched(&self) -> bool {
        self.watched.is_watched()
    }

    /// The id of whoever has the mutex, `None` if nobody has it. Of a process that is
    /// [not watched](Mutex::is_watched) it is the process id; with [`Protocol::Inherit`] it is a
    /// thread's.
    pub fn owner(&self) -> Option<u32> {
        self.words().owner()
    }

    /// Marks the death of the owner with this [id](Mutex::owner), which the caller is sure of: the
    /// next who locks is told so. What the kernel does by itself where it watches. `false` if it has
    /// not got the mutex, or with [`Protocol::Inherit`], where the kernel always does.
    pub fn bury(&self, id: u32) -> bool {
        self.protocol == Protocol::Plain && self.words().bury(id)
    }

    /// Takes the mutex, once it is free. A thread that has it already waits for itself, until the
    /// deadline. A guard that is forgotten keeps the mutex locked.
    pub fn lock(&self, within: Duration) -> Result<Guard<'_>, LockError<'_>> {
        let id = self.watched.owner().ok_or(LockError::Forked)?;
        let words = self.words();
        let acquired = match self.protocol {
            Protocol::Plain => words.lock(id, countdown(within)),
            Protocol::Inherit => self.lock_inheriting(id, within)?,
        };
        match acquired {
            Ok(Acquired::Clean) => Ok(Guard::new(self, false)),
            Ok(Acquired::Orphaned) => {
                Err(LockError::Orphaned(Orphan { guard: Guard::new(self, true) }))
            }
            Err(Refused::TimedOut) => Err(LockError::TimedOut(within)),
            Err(Refused::Unrecoverable) => {
                self.unlock();
                Err(LockError::Unrecoverable)
            }
        }
    }

    fn lock_inheriting(
        &self,
        process: u32,
        within: Duration,
    ) -> Result<Result<Acquired, Refused>, LockError<'_>> {
        let word = self.watched.word();
        match futex::lock_pi(word, futex::thread_id(process), within) {
            Ok(futex::PiLocked { owner_died }) => Ok(self.words().admit(owner_died)),
            Err(PiRefusal::TimedOut) => Ok(Err(Refused::TimedOut)),
            Err(PiRefusal::Deadlock) => Err(LockError::Deadlock),
            Err(PiRefusal::Corrupt(value)) => Err(LockError::Corrupt(value)),
            Err(PiRefusal::Kernel(error)) => Err(LockError::Kernel(error)),
        }
    }

    fn unlock(&self) {
        match (self.protocol, self.watched.owner()) {
            (Protocol::Plain, Some(_)) => self.words().unlock(),
            (Protocol::Inherit, Some(process)) => {
                futex::unlock_pi(self.watched.word(), futex::thread_id(process));
            }
            // A forked child's copy of the guard: the lock is its parent's.
            (_, None) => {}
        }
    }

    fn words(&self) -> Words<'_> {
        let lock = self.watched.word();
        // Both are in the header, which was mapped.
        Words { lock, state: self.memory.word(STATE).unwrap_or(lock) }
    }
}

/// How long is left of `within`, counted from the first time that it is asked.
fn countdown(within: Duration) -> impl FnMut() -> Option<Duration> {
    let mut began = None;
    move || {
        let began = *began.get_or_insert_with(Instant::now);
        within.checked_sub(began.elapsed()).filter(|left| !left.is_zero())
    }
}

/// The mutex is held until this is dropped, by the thread that locked it.
#[derive(Debug)]
pub struct Guard<'m> {
    mutex: &'m Mutex,
    /// Dropped as it is, the mutex is of no more use.
    orphan: bool,
    panicked_before: bool,
    /// Priority is a thread's.
    _thread: PhantomData<*const ()>,
}

impl<'m> Guard<'m> {
    fn new(mutex: &'m Mutex, orphan: bool) -> Guard<'m> {
        Guard { mutex, orphan, panicked_before: thread::panicking(), _thread: PhantomData }
    }

    /// Copies guarded bytes out.
    pub fn read(&self, offset: usize, into: &mut [u8]) -> Result<(), OutOfRange> {
        self.check(offset, into.len())?;
        self.mutex.memory.read(offset.saturating_add(GUARDED), into)
    }

    /// Copies guarded bytes in.
    pub fn write(&mut self, offset: usize, from: &[u8]) -> Result<(), OutOfRange> {
        self.check(offset, from.len())?;
        self.mutex.memory.write(offset.saturating_add(GUARDED), from)
    }

    /// The value at `offset` bytes, of any alignment.
    pub fn load<T: Plain>(&self, offset: usize) -> Result<T, OutOfRange> {
        let mut bytes = T::ZEROS;
        self.read(offset, bytes.as_mut())?;
        Ok(T::of_bytes(bytes))
    }

    /// Stores a value at `offset` bytes, of any alignment.
    pub fn store<T: Plain>(&mut self, offset: usize, value: T) -> Result<(), OutOfRange> {
        self.write(offset, value.bytes().as_ref())
    }

    fn check(&self, offset: usize, length: usize) -> Result<(), OutOfRange> {
        let size = self.mutex.guarded;
        match offset.checked_add(length) {
            Some(end) if end <= size => Ok(()),
            _ => Err(OutOfRange { offset, length, size }),
        }
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        // A forked child's copy says nothing of what its parent is in the middle of.
        if self.mutex.watched.owner().is_some() {
            if self.orphan {
                self.mutex.words().condemn();
            } else if thread::panicking() && !self.panicked_before {
                self.mutex.words().abandon();
            }
        }
        self.mutex.unlock();
    }
}

/// The mutex is held, but its last owner did not leave what it guards in order. Dropped without
/// [`recover`](Orphan::recover), the mutex is refused to all from then on.
#[derive(Debug)]
pub struct Orphan<'m> {
    guard: Guard<'m>,
}

impl<'m> Orphan<'m> {
    /// The guarded bytes, to look at and to bring in order.
    pub fn guard(&mut self) -> &mut Guard<'m> {
        &mut self.guard
    }

    /// They are in order: the mutex is held as any other.
    pub fn recover(self) -> Guard<'m> {
        let Orphan { mut guard } = self;
        guard.mutex.words().recover();
        guard.orphan = false;
        guard
    }
}

#[cfg(test)]
mod tests;
