// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Processes that end, and what the kernel leaves in their words.

use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::{ptr, thread};

use nix::libc;
use nix::sys::signal::{kill, Signal};
use nix::sys::wait::waitpid;
use nix::unistd::{fork, ForkResult};

use super::filter::{child_dies_of_registering, SECCOMP_MODE_FILTER};
use super::*;
use crate::forking::turn;
use crate::memfd::Memfd;
use crate::pipe::pipe;

/// Words that each take 8 bytes of the memory.
fn words(memfd: &Memfd, count: u64) -> Vec<WatchedWord> {
    (0..count).map(|index| WatchedWord::map(memfd.as_fd(), index * 8).unwrap()).collect()
}

/// What a child leaves in the words after it has put itself into them and ended.
fn left_by(memfd: &Memfd, count: u64, end: fn()) -> Vec<u32> {
    let before = words(memfd, count);
    let (ready, done) = pipe().unwrap();
    // SAFETY: the tests of this module fork with no lock held that the child takes: see `turn`.
    match unsafe { fork() }.unwrap() {
        ForkResult::Child => {
            for word in words(memfd, count) {
                word.word().store(word.owner().unwrap_or(0) | WAITERS, Ordering::Relaxed);
                std::mem::forget(word);
            }
            drop(done);
            end();
            loop {
                thread::park();
            }
        }
        ForkResult::Parent { child } => {
            drop(done);
            // Ends when the child has closed the other end.
            File::from(ready).read_exact(&mut [0]).unwrap_err();
            let _ = kill(child, Signal::SIGKILL);
            waitpid(child, None).unwrap();
        }
    }
    before.iter().map(|word| word.word().load(Ordering::Relaxed)).collect()
}

#[test]
fn a_killed_process_is_marked_in_each_of_its_words() {
    let _turn = turn();
    let memfd = Memfd::create("watched", 8192).unwrap();
    assert_eq!(left_by(&memfd, 700, || ()), vec![OWNER_DIED | WAITERS; 700]);
}

#[test]
fn a_process_that_exits_or_aborts_or_becomes_another_program_is_marked_too() {
    let _turn = turn();
    // SAFETY: ends the process, which has nothing to clean up.
    let exit: fn() = || unsafe { libc::_exit(3) };
    let exec: fn() = || drop(Command::new("/bin/true").exec());
    let fault: fn() = || nix::sys::signal::raise(Signal::SIGSEGV).unwrap();
    for end in [exit, exec, fault] {
        let memfd = Memfd::create("watched", 4096).unwrap();
        assert_eq!(left_by(&memfd, 3, end), vec![OWNER_DIED | WAITERS; 3]);
    }
}

#[test]
fn a_word_that_holds_another_id_or_is_no_longer_watched_stays_as_it_is() {
    let _turn = turn();
    let memfd = Memfd::create("watched", 4096).unwrap();
    let ours = words(&memfd, 3);
    // SAFETY: as in `left_by`.
    match unsafe { fork() }.unwrap() {
        ForkResult::Child => {
            let mut words = words(&memfd, 3);
            let owner = words[0].owner().unwrap();
            words[0].word().store(owner, Ordering::Relaxed);
            words[1].word().store(owner + 1, Ordering::Relaxed);
            words[2].word().store(owner, Ordering::Relaxed);
            drop(words.pop());
            // SAFETY: ends the process, which has nothing to clean up.
            unsafe { libc::_exit(0) }
        }
        ForkResult::Parent { child } => waitpid(child, None).unwrap(),
    };
    let values: Vec<u32> = ours.iter().map(|word| word.word().load(Ordering::Relaxed)).collect();
    assert_eq!(values[0], OWNER_DIED);
    assert_eq!(values[1], values[2] + 1);
}

#[test]
fn a_forked_child_owns_none_of_its_parents_words() {
    let _turn = turn();
    let memfd = Memfd::create("watched", 4096).unwrap();
    let word = WatchedWord::map(memfd.as_fd(), 16).unwrap();
    let owner = word.owner().unwrap();
    word.word().store(owner, Ordering::Relaxed);
    // SAFETY: as in `left_by`.
    let child = match unsafe { fork() }.unwrap() {
        ForkResult::Child => {
            let inherited = word.owner();
            drop(word);
            let own = WatchedWord::map(memfd.as_fd(), 24).unwrap().owner();
            let right = inherited.is_none() && own.is_some_and(|own| own != owner);
            // SAFETY: as above.
            unsafe { libc::_exit(libc::c_int::from(!right)) }
        }
        ForkResult::Parent { child } => child,
    };
    let status = waitpid(child, None).unwrap();
    assert_eq!(status, nix::sys::wait::WaitStatus::Exited(child, 0));
    assert_eq!(word.word().load(Ordering::Relaxed), owner, "its parent lives");
}

#[test]
fn the_limit_is_told_and_room_comes_back() {
    let _turn = turn();
    let memfd = Memfd::create("watched", 4096).unwrap();
    let mut watched = Vec::new();
    let refused = loop {
        match WatchedWord::map(memfd.as_fd(), 0) {
            Ok(word) => watched.push(word),
            Err(error) => break error,
        }
    };
    assert_eq!((watched.len(), &refused), (MAX_WATCHED, &WatchError::TooMany));
    assert!(refused.to_string().contains("2048"), "{refused}");
    // From the middle, the front and the end of the list.
    for index in [1000, 0, watched.len() - 3] {
        drop(watched.remove(index));
    }
    watched.extend(words(&memfd, 3));
    assert_eq!(WatchedWord::map(memfd.as_fd(), 0).unwrap_err(), WatchError::TooMany);
}

/// Has the kernel send SIGSYS for set_robust_list(2) from here on, as Android's zygote does.
fn forbid_robust_lists() {
    let statement = |code: u32, k: u32, jump_if_false: u8| libc::sock_filter {
        code: code as u16,
        jt: 0,
        jf: jump_if_false,
        k,
    };
    let mut program = [
        // The number of the call is the first field of `struct seccomp_data`.
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0),
        statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, libc::SYS_set_robust_list as u32, 1),
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_TRAP, 0),
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW, 0),
    ];
    let filter = libc::sock_fprog { len: 4, filter: program.as_mut_ptr() };
    // SAFETY: the kernel copies the program, which lives across the calls.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        let mode = SECCOMP_MODE_FILTER;
        assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, mode, ptr::addr_of!(filter)), 0);
    }
}

#[test]
fn a_filter_that_kills_for_it_leaves_words_unwatched_and_the_process_alive() {
    let _turn = turn();
    assert!(!child_dies_of_registering(), "nothing forbids it here");
    let memfd = Memfd::create("watched", 4096).unwrap();
    // SAFETY: as in `left_by`.
    let child = match unsafe { fork() }.unwrap() {
        ForkResult::Child => {
            forbid_robust_lists();
            let mut right = child_dies_of_registering();
            // glibc registers a list for every thread, so it cannot live under such a filter.
            if !cfg!(target_env = "gnu") {
                let word = WatchedWord::map(memfd.as_fd(), 0).unwrap();
                let pid = nix::unistd::getpid().as_raw() as u32;
                right &= !word.is_watched() && word.owner() == Some(pid);
            }
            // SAFETY: as above.
            unsafe { libc::_exit(libc::c_int::from(!right)) }
        }
        ForkResult::Parent { child } => child,
    };
    let status = waitpid(child, None).unwrap();
    assert_eq!(status, nix::sys::wait::WaitStatus::Exited(child, 0));
}

#[test]
fn what_cannot_be_watched_names_itself() {
    let _turn = turn();
    let memfd = Memfd::create("watched", 4096).unwrap();
    let refused = WatchedWord::map(memfd.as_fd(), 4).unwrap_err();
    assert_eq!(refused, WatchError::Misaligned(4));
    for offset in [4096, 1 << 40, u64::MAX - 7] {
        let refused = WatchedWord::map(memfd.as_fd(), offset).unwrap_err();
        assert!(matches!(refused, WatchError::Kernel(_)), "offset {offset}: {refused}");
    }
}
