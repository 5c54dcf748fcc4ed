// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! That what nobody waits for makes no system call: it is done where the kernel ends the thread for
//! any.

use std::os::fd::AsFd;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use berth_kernel::memfd::Memfd;
use nix::libc::{self, c_void};

use crate::mutex::{self, Condition, Mutex, Protocol};
use crate::pool::{self, Metadata, Queue};
use crate::ring::{self, Consumer, Layout, Producer};

struct Job<F> {
    work: F,
    done: AtomicBool,
}

/// Whether a thread gets through `work` and makes no system call in it.
fn is_quiet(work: impl FnMut()) -> bool {
    extern "C" fn run<F: FnMut()>(job: *mut c_void) -> *mut c_void {
        // SAFETY: the job that is passed below, which lives until this thread is joined and is its
        // alone but for `done`.
        let job = unsafe { &mut *job.cast::<Job<F>>() };
        // SAFETY: changes no memory. From here on the kernel kills this thread, and it alone, for any
        // call but read, write, exit and sigreturn (seccomp(2), `SECCOMP_MODE_STRICT`).
        if unsafe { libc::prctl(libc::PR_SET_SECCOMP, 1, 0, 0, 0) } == 0 {
            (job.work)();
            job.done.store(true, Ordering::Release);
        }
        // SAFETY: ends this thread, on whose stack nothing is left to drop; the C library's own way
        // would make other calls.
        unsafe { libc::syscall(libc::SYS_exit, 0) };
        ptr::null_mut()
    }

    fn start<F: FnMut()>(job: &mut Job<F>) {
        let (mut thread, job) = (0, ptr::addr_of_mut!(*job).cast());
        // SAFETY: `job` outlives the thread, which is joined here.
        unsafe {
            assert_eq!(libc::pthread_create(&mut thread, ptr::null(), run::<F>, job), 0);
            assert_eq!(libc::pthread_join(thread, ptr::null_mut()), 0);
        }
    }

    let mut job = Job { work, done: AtomicBool::new(false) };
    start(&mut job);
    job.done.load(Ordering::Acquire)
}

const LONG: Duration = Duration::from_secs(30);

#[test]
#[cfg_attr(miri, ignore = "needs a kernel")]
fn a_thread_that_calls_the_kernel_is_told_from_one_that_does_not() {
    assert!(is_quiet(|| ()));
    assert!(!is_quiet(|| assert!(nix::unistd::getppid().as_raw() > 0)));
}

#[test]
#[cfg_attr(miri, ignore = "needs a kernel")]
fn a_mutex_that_nobody_else_wants_costs_no_system_call() {
    let memfd = Memfd::create("quiet", 4096).unwrap();
    mutex::create(memfd.as_fd(), 0, 64, Protocol::Plain).unwrap();
    Condition::create(memfd.as_fd(), 1024).unwrap();
    let mutex = Mutex::attach(memfd.as_fd(), 0).unwrap();
    let condition = Condition::attach(memfd.as_fd(), 1024).unwrap();
    let quiet = is_quiet(|| {
        for number in 0..10_000u64 {
            let Ok(mut guard) = mutex.lock(LONG) else { return };
            let stored = guard.store(0, number);
            drop(guard);
            condition.notify_one();
            condition.notify_all();
            assert_eq!(stored, Ok(()));
        }
    });
    assert!(quiet);
    assert_eq!(mutex.lock(LONG).unwrap().load(0), Ok(9_999u64));
}

#[test]
#[cfg_attr(miri, ignore = "needs a kernel")]
fn a_ring_whose_ends_do_not_wait_costs_no_system_call() {
    let layout = Layout::of_capacity(4096).unwrap();
    let memfd = Memfd::create("quiet", layout.bytes() as u64).unwrap();
    ring::create(memfd.as_fd(), 0, layout).unwrap();
    let mut producer = Producer::attach(memfd.as_fd(), 0).unwrap();
    let mut consumer = Consumer::attach(memfd.as_fd(), 0).unwrap();
    let mut into = [0; 512];
    let mut read = 0;
    let quiet = is_quiet(|| {
        for _ in 0..10_000 {
            let written = producer.write(&[7; 500], LONG).is_ok();
            read += usize::from(written && consumer.read(&mut into, LONG) == Ok(500));
        }
    });
    assert!(quiet);
    assert_eq!((read, into[499]), (10_000, 7));
}

#[test]
#[cfg_attr(miri, ignore = "needs a kernel")]
fn a_frame_that_nobody_waits_for_costs_no_system_call() {
    let mut keeper = pool::tests::keeper(2, 2);
    let [producer, consumer] = pool::tests::crowd(&mut keeper);
    let mut taken = 0;
    let quiet = is_quiet(|| {
        for sequence in 0..10_000u64 {
            let Ok(slot) = producer.acquire(LONG) else { return };
            let said = Metadata { sequence, ..Metadata::default() };
            let submitted = producer.submit(slot, Queue::First, &said).is_ok();
            let Ok(frame) = consumer.take(Queue::First, LONG) else { return };
            let retiring = consumer.release(frame.slot);
            let is_it = frame.metadata.sequence == sequence;
            taken += u32::from(submitted && is_it && !retiring);
        }
    });
    assert!(quiet);
    assert_eq!(taken, 10_000);
}
