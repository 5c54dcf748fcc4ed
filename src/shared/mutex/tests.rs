// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

use super::*;
use berth_kernel::memfd::Memfd;
use std::os::fd::AsFd;
use std::panic::{catch_unwind, AssertUnwindSafe};

const SECONDS: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_millis(3);

fn memory(protocol: Protocol) -> (Memfd, Mutex) {
    let memfd = Memfd::create("mutex", 4096).unwrap();
    create(memfd.as_fd(), 0, 64, protocol).unwrap();
    Condition::create(memfd.as_fd(), 1024).unwrap();
    let mutex = Mutex::attach(memfd.as_fd(), 0).unwrap();
    (memfd, mutex)
}

const BOTH: [Protocol; 2] = [Protocol::Plain, Protocol::Inherit];

#[test]
#[cfg_attr(miri, ignore = "needs a kernel")]
fn four_threads_over_two_attachments_lose_no_count() {
    for protocol in BOTH {
        let (memfd, one) = memory(protocol);
        let other = Mutex::attach(memfd.as_fd(), 0).unwrap();
        std::thread::scope(|scope| {
            for mutex in [&one, &one, &other, &other] {
                scope.spawn(|| {
                    for _ in 0..2000 {
                        let mut guard = mutex.lock(SECONDS).unwrap();
                        let count: u64 = guard.load(8).unwrap();
                        guard.store(8, count + 1).unwrap();
                    }
                });
            }
        });
        assert_eq!(one.lock(SECONDS).unwrap().load::<u64>(8), Ok(8000), "{protocol:?}");
    }
}

#[test]
#[cfg_attr(miri, ignore = "needs a kernel")]
fn a_held_mutex_ends_the_wait_at_the_deadline() {
    for protocol in BOTH {
        let (_memfd, mutex) = memory(protocol);
        let guard = mutex.lock(SECONDS).unwrap();
        for within in [Duration::ZERO, SHORT] {
            let refused = std::thread::scope(|scope| {
                let lock = || mutex.lock(within).map(drop).unwrap_err().to_string();
                scope.spawn(lock).join().unwrap()
            });
            assert_eq!(refused, format!("the mutex was not free within {within:?}"));
        }
        drop(guard);
        mutex.lock(Duration::ZERO).unwrap();
    }
}

#[test]
#[cfg_attr(miri, ignore = "needs a kernel")]
fn a_thread_that_inherits_is_told_that_it_waits_for_itself() {
    let (_memfd, mutex) = memory(Protocol::Inherit);
    let _guard = mutex.lock(SECONDS).unwrap();
    assert!(matches!(mutex.lock(SECONDS), Err(LockError::Deadlock)));
}

#[test]
#[cfg_attr(miri, ignore = "needs a kernel")]
fn a_panic_with_the_mutex_is_told_to_the_next_alone() {
    for protocol in BOTH {
        let (_memfd, mutex) = memory(protocol);
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let mut guard = mutex.lock(SECONDS).unwrap();
            guard.write(0, b"half").unwrap();
            panic!("in the middle");
        }));
        assert!(panicked.is_err());
        let Err(LockError::Orphaned(mut orphan)) = mutex.lock(SECONDS) else { panic!("a death") };
        assert_eq!(orphan.guard().load::<[u8; 4]>(0), Ok(*b"half"));
        orphan.guard().write(0, b"done").unwrap();
        drop(orphan.recover());
        assert_eq!(mutex.lock(SECONDS).unwrap().load::<[u8; 4]>(0), Ok(*b"done"));
    }
}

#[test]
#[cfg_attr(miri, ignore = "needs a kernel")]
fn what_nobody_brings_in_order_is_refused_to_all() {
    let (memfd, mutex) = memory(Protocol::Plain);
    let words = Mapping::<ReadWrite>::new(memfd.as_fd(), 4096).unwrap();
    // As the kernel leaves it.
    words.word(LOCK).unwrap().store(0x4000_0000, Ordering::Relaxed);
    let Err(LockError::Orphaned(orphan)) = mutex.lock(SECONDS) else { panic!("a death") };
    drop(orphan);
    for _ in 0..2 {
        assert!(matches!(mutex.lock(SECONDS), Err(LockError::Unrecoverable)));
    }
}

#[test]
#[cfg_attr(miri, ignore = "needs a kernel")]
fn an_owner_that_the_kernel_does_not_watch_is_buried_by_whoever_hears_of_its_death() {
    let (memfd, mutex) = memory(Protocol::Plain);
    assert_eq!(mutex.owner(), None);
    assert!(mutex.is_watched());
    let words = Mapping::<ReadWrite>::new(memfd.as_fd(), 4096).unwrap();
    // As a process leaves it that may not register a list: its own id, and nobody marks it.
    words.word(LOCK).unwrap().store(4242, Ordering::Relaxed);
    assert!(matches!(mutex.lock(SHORT), Err(LockError::TimedOut(_))));
    assert_eq!(mutex.owner(), Some(4242));
    assert!(!mutex.bury(4241), "that is another one");
    assert!(mutex.bury(4242) && !mutex.bury(4242));
    assert_eq!(mutex.owner(), None);
    let Err(LockError::Orphaned(orphan)) = mutex.lock(SECONDS) else { panic!("a death") };
    drop(orphan.recover());
    drop(mutex.lock(SECONDS).unwrap());
    // There the kernel tells, whoever is watched.
    let (_memfd, inheriting) = memory(Protocol::Inherit);
    let _guard = inheriting.lock(SECONDS).unwrap();
    let owner = inheriting.owner().unwrap();
    assert!(!inheriting.bury(owner));
}

#[test]
#[cfg_attr(miri, ignore = "needs a kernel")]
fn whatever_a_peer_stores_the_wait_ends() {
    for protocol in BOTH {
        for value in [1, 0x3fff_ffff, 0x4000_0000, 0x8000_0000, 0xc000_0001, u32::MAX, 7 << 20] {
            let (memfd, mutex) = memory(protocol);
            let words = Mapping::<ReadWrite>::new(memfd.as_fd(), 4096).unwrap();
            words.word(LOCK).unwrap().store(value, Ordering::Relaxed);
            drop(mutex.lock(SHORT));
            words.word(STATE).unwrap().store(value, Ordering::Relaxed);
            drop(mutex.lock(SHORT));
        }
    }
}

#[test]
#[cfg_attr(miri, ignore = "needs a kernel")]
fn the_guard_ends_with_the_guarded_bytes() {
    let (_memfd, mutex) = memory(Protocol::Plain);
    let mut guard = mutex.lock(SECONDS).unwrap();
    assert_eq!(mutex.guarded(), 64);
    guard.store(62, 7u16).unwrap();
    for offset in [61, 64, usize::MAX] {
        let refused = OutOfRange { offset, length: 4, size: 64 };
        assert_eq!(guard.store(offset, 1.0f32), Err(refused));
        assert_eq!(guard.load::<f32>(offset), Err(refused));
    }
}

#[test]
#[cfg_attr(miri, ignore = "needs a kernel")]
fn malformed_blocks_are_refused_with_their_own_errors() {
    type Expected = fn(&AttachError) -> bool;
    let cases: [(usize, u32, Expected); 5] = [
        (0, 7, |e| matches!(e, AttachError::Block(BlockError::Magic { .. }))),
        (4, 2, |e| matches!(e, AttachError::Block(BlockError::Version { .. }))),
        (8, 127, |e| matches!(e, AttachError::Block(BlockError::Length { .. }))),
        (8, 4097, |e| matches!(e, AttachError::Block(BlockError::Length { .. }))),
        (PROTOCOL, 2, |e| matches!(e, AttachError::Protocol(2))),
    ];
    for (at, value, expected) in cases {
        let (memfd, _mutex) = memory(Protocol::Plain);
        let words = Mapping::<ReadWrite>::new(memfd.as_fd(), 4096).unwrap();
        words.word(at).unwrap().store(value, Ordering::Relaxed);
        let error = Mutex::attach(memfd.as_fd(), 0).unwrap_err();
        assert!(expected(&error), "{value} at {at}: {error:?}");
    }
    let (memfd, _mutex) = memory(Protocol::Plain);
    assert!(matches!(Mutex::attach(memfd.as_fd(), 32), Err(AttachError::Misaligned(32))));
    assert!(matches!(Condition::attach(memfd.as_fd(), 0), Err(AttachError::Block(_))));
    assert!(Condition::attach(memfd.as_fd(), 4096).is_err());
    let file = std::fs::File::open(std::env::current_exe().unwrap()).unwrap();
    let refused = Mutex::attach(file.as_fd(), 0).map(drop);
    assert_eq!(refused, Err(UnsuitableMemory::CanShrink.into()));
}

#[test]
#[cfg_attr(miri, ignore = "needs a kernel")]
fn two_threads_hand_a_ball_to_and_fro() {
    for protocol in BOTH {
        let (memfd, mutex) = memory(protocol);
        let condition = Condition::attach(memfd.as_fd(), 1024).unwrap();
        let play = |mine: u32| {
            for round in 0..500u32 {
                let mut guard = mutex.lock(SECONDS).unwrap();
                while guard.load::<u32>(0).unwrap() != round * 2 + mine {
                    guard = condition.wait(guard, SECONDS).unwrap().0;
                }
                guard.store(0, round * 2 + mine + 1).unwrap();
                drop(guard);
                condition.notify_one();
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(|| play(0));
            play(1);
        });
    }
}

#[test]
#[cfg_attr(miri, ignore = "needs a kernel")]
fn a_notification_for_all_wakes_all_and_none_ends_at_the_deadline() {
    let (memfd, mutex) = memory(Protocol::Plain);
    let condition = Condition::attach(memfd.as_fd(), 1024).unwrap();
    let guard = mutex.lock(SECONDS).unwrap();
    let (guard, woken) = condition.wait(guard, SHORT).unwrap();
    assert_eq!(woken, Woken::TimedOut);
    drop(guard);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut guard = mutex.lock(SECONDS).unwrap();
                let come: u8 = guard.load(1).unwrap();
                guard.store(1, come + 1).unwrap();
                while guard.load::<u8>(0).unwrap() == 0 {
                    guard = condition.wait(guard, SECONDS).unwrap().0;
                }
            });
        }
        loop {
            let mut guard = mutex.lock(SECONDS).unwrap();
            // Whoever has come has given the mutex up only to wait.
            if guard.load::<u8>(1).unwrap() == 3 {
                guard.store(0, 1u8).unwrap();
                break;
            }
        }
        condition.notify_all();
    });
}
