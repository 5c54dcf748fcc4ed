// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Waiting for a word of shared memory to change, between processes (futex(2), without
//! `FUTEX_PRIVATE_FLAG`).

use std::cell::Cell;
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use nix::sys::time::TimeSpec;
use nix::unistd::gettid;

use crate::robust_list::{OWNER_DIED, TID_MASK, WAITERS};
use crate::KernelError;

/// As good as never, 34 years: the kernel takes no time beyond its own range, which a C library for 32
/// bits may narrow further.
const NEVER: Duration = Duration::from_secs(1 << 30);

/// Sleeps while `word` holds `expected`, until it is woken or `timeout` has passed. It may also
/// return for no reason: the caller looks at the word again.
pub fn wait(word: &AtomicU32, expected: u32, timeout: Duration) {
    let timeout = TimeSpec::from_duration(timeout.min(NEVER));
    let timeout: *const libc::timespec = timeout.as_ref();
    // SAFETY: FUTEX_WAIT reads the aligned word and the timespec, which both live across the call,
    // and writes neither. Whatever it answers, the caller checks the word itself.
    unsafe {
        libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT, expected, timeout);
    }
}

/// Wakes everybody who waits for `word`, in every process.
pub fn wake_all(word: &AtomicU32) -> Result<(), Errno> {
    wake(word, libc::c_int::MAX)
}

/// Wakes one who waits for `word`, in whatever process.
pub fn wake_one(word: &AtomicU32) -> Result<(), Errno> {
    wake(word, 1)
}

fn wake(word: &AtomicU32, most: libc::c_int) -> Result<(), Errno> {
    // SAFETY: FUTEX_WAKE only takes the address of the word as a name.
    let woken = unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, most) };
    Errno::result(woken).map(|_| ())
}

/// The id of the calling thread. `process` is any number, not 0, that a forked child does not share
/// with its parent: the thread's id is asked for once for each.
pub fn thread_id(process: u32) -> u32 {
    thread_local! {
        static KNOWN: Cell<(u32, u32)> = const { Cell::new((0, 0)) };
    }
    KNOWN.with(|known| match known.get() {
        (of, id) if of == process => id,
        _ => {
            let id = gettid().as_raw().unsigned_abs();
            known.set((process, id));
            id
        }
    })
}

/// A lock that lends priority is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PiLocked {
    /// The owner before ended without giving it up.
    pub owner_died: bool,
}

/// Why a lock that lends priority is not held.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PiRefusal {
    /// It was not free in time.
    #[error("the lock was not free in time")]
    TimedOut,
    /// The calling thread has it.
    #[error("the calling thread has the lock already")]
    Deadlock,
    /// The word is not what the kernel knows of it.
    #[error("the lock holds {0:#010x}, which no owner stored")]
    Corrupt(u32),
    /// The kernel refused otherwise.
    #[error(transparent)]
    Kernel(KernelError),
}

/// How often in a row the kernel must say of one owner that it is gone. Its answer is for the word as
/// it was during the call: once, another owner may have come, gone and died unseen in between.
const TIMES_GONE: u32 = 3;

/// How long to leave a word alone that the kernel is about to change.
const MOMENT: Duration = Duration::from_millis(1);

/// Takes the lock in `word`, which holds 0 or its owner's thread id, for the calling thread, whose id
/// is `tid`; while it waits, the owner runs at its priority (futex(2), "Priority-inheritance
/// futexes"). No system call if the word is 0.
///
/// If the owner ended while somebody waited, the kernel gives the lock on and says so. If nobody
/// waited, the word still holds its id: no thread has that now (`ESRCH`), and the lock is taken from
/// it here.
pub fn lock_pi(word: &AtomicU32, tid: u32, within: Duration) -> Result<PiLocked, PiRefusal> {
    if word.compare_exchange(0, tid, Ordering::Acquire, Ordering::Relaxed).is_ok() {
        return Ok(PiLocked { owner_died: false });
    }
    let until = Deadline::after(within);
    let mut gone = (0, 0);
    let mut tries = 0u32;
    loop {
        tries = tries.saturating_add(1);
        match until.lock(word) {
            Ok(()) => {
                // The bit stays until it is taken away.
                let died = word.fetch_and(!OWNER_DIED, Ordering::Acquire) & OWNER_DIED != 0;
                return Ok(PiLocked { owner_died: died });
            }
            Err(Errno::ESRCH) => {
                let seen = word.load(Ordering::Relaxed);
                let owner = seen & TID_MASK;
                gone =
                    if gone.0 == owner { (owner, gone.1.min(TIMES_GONE) + 1) } else { (owner, 1) };
                let taken = tid | seen & WAITERS;
                let (success, failure) = (Ordering::Acquire, Ordering::Relaxed);
                if owner != 0
                    && gone.1 >= TIMES_GONE
                    && word.compare_exchange(seen, taken, success, failure).is_ok()
                {
                    return Ok(PiLocked { owner_died: true });
                }
            }
            // The owner is ending, or a signal came.
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(Errno::ETIMEDOUT) => return Err(PiRefusal::TimedOut),
            Err(Errno::EDEADLK) => return Err(PiRefusal::Deadlock),
            // Of a dead owner that nobody's list told of, also until the one who waited for it, and
            // has the lock now, gets to say so in the word.
            Err(Errno::EINVAL | Errno::EPERM) if !until.is_over() => std::thread::sleep(MOMENT),
            Err(Errno::EINVAL | Errno::EPERM) => {
                return Err(PiRefusal::Corrupt(word.load(Ordering::Relaxed)))
            }
            Err(errno) => {
                let operation = "wait for a lock that lends priority";
                return Err(PiRefusal::Kernel(KernelError::new(operation, errno)));
            }
        }
        // The kernel looks at the time only when it has somebody to wait for. Whoever has none may
        // still find the owner gone.
        if tries > TIMES_GONE && until.is_over() {
            return Err(PiRefusal::TimedOut);
        }
    }
}

/// Gives up the lock that the calling thread, whose id is `tid`, took with [`lock_pi`]. The most
/// urgent who waits has it then. No system call if nobody waits.
pub fn unlock_pi(word: &AtomicU32, tid: u32) {
    if word.compare_exchange(tid, 0, Ordering::Release, Ordering::Relaxed).is_err() {
        // SAFETY: FUTEX_UNLOCK_PI changes the aligned word, which is shared and atomic. It fails if
        // somebody who breaks the rules stored another id: then nothing is left to give up.
        unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_UNLOCK_PI) };
    }
}

/// When to stop waiting: the two calls go by different clocks.
#[derive(Debug, Clone, Copy)]
struct Deadline {
    monotonic: TimeSpec,
    real: TimeSpec,
}

impl Deadline {
    fn after(within: Duration) -> Deadline {
        let within = TimeSpec::from_duration(within.min(NEVER));
        Deadline {
            monotonic: now(libc::CLOCK_MONOTONIC) + within,
            real: now(libc::CLOCK_REALTIME) + within,
        }
    }

    fn is_over(&self) -> bool {
        now(libc::CLOCK_MONOTONIC) >= self.monotonic
    }

    /// `FUTEX_LOCK_PI2` (Linux 5.14) by the monotonic clock, before it `FUTEX_LOCK_PI` by the clock of
    /// the day.
    fn lock(&self, word: &AtomicU32) -> Result<(), Errno> {
        match lock_until(word, FUTEX_LOCK_PI2, &self.monotonic) {
            Err(Errno::ENOSYS) => lock_until(word, libc::FUTEX_LOCK_PI, &self.real),
            result => result,
        }
    }
}

/// `include/uapi/linux/futex.h`; not in the libc crate of Android 14.
const FUTEX_LOCK_PI2: libc::c_int = 13;

fn lock_until(word: &AtomicU32, operation: libc::c_int, until: &TimeSpec) -> Result<(), Errno> {
    let until: *const libc::timespec = until.as_ref();
    // SAFETY: the kernel reads the timespec, which lives across the call, and changes the aligned
    // word, which is shared and atomic.
    let locked = unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), operation, 0, until) };
    Errno::result(locked).map(|_| ())
}

fn now(clock: libc::clockid_t) -> TimeSpec {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes a timespec, for which there is room. Both clocks are always there.
    unsafe { libc::clock_gettime(clock, ptr::addr_of_mut!(now)) };
    TimeSpec::from_timespec(now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::sync::mpsc::channel;
    use std::thread;

    /// Whether a thread sleeps in a call of futex(2) for `word`.
    fn sleeps_on(thread: u32, word: &AtomicU32) -> bool {
        let call = fs::read_to_string(format!("/proc/self/task/{thread}/syscall")).unwrap();
        call.starts_with(&format!("{} {:p} ", libc::SYS_futex, word))
    }

    #[test]
    #[cfg_attr(miri, ignore = "needs a kernel")]
    fn a_wait_without_an_end_sleeps_until_it_is_woken() {
        for timeout in [Duration::MAX, Duration::from_secs(u64::MAX >> 1), NEVER] {
            let (word, returns) = (AtomicU32::new(0), AtomicU32::new(0));
            let (started, starts) = channel();
            thread::scope(|scope| {
                scope.spawn(|| {
                    started.send(thread_id(1)).unwrap();
                    while word.load(Ordering::Acquire) == 0 {
                        wait(&word, 0, timeout);
                        returns.fetch_add(1, Ordering::AcqRel);
                    }
                });
                let waiter = starts.recv().unwrap();
                let returned = || returns.load(Ordering::Acquire) > 0;
                while !sleeps_on(waiter, &word) && !returned() {
                    thread::yield_now();
                }
                let returned_early = returned();
                word.store(1, Ordering::Release);
                wake_one(&word).unwrap();
                assert!(!returned_early, "nobody woke it, and {timeout:?} have not passed");
            });
            assert_eq!(returns.into_inner(), 1);
        }
    }
}
