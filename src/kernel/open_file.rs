// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! What hangs on an open file beside its memory, and outlives whoever put it there: whoever gets a
//! descriptor of a dma-buf gets the one open file that it will ever have.
//!
//! Two things cannot be taken off. A process that put the file into an epoll set goes on to be told
//! when devices are done with it, for as long as the file lives (epoll(7), question 6): when, and
//! nothing else, and it cannot even name the file there again. And readahead advice, of which a
//! dma-buf makes nothing.

use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::fcntl::{fcntl, FcntlArg, OFlag};
use nix::libc::{self, c_int, c_short, flock, F_UNLCK, SEEK_SET};

use crate::KernelError;

/// `F_SETSIG` (`include/uapi/asm-generic/fcntl.h`): the signal that tells that something happened.
const SET_SIGNAL: c_int = 10;

/// Takes off what former holders left on it: status flags, locks, and whom signals are sent to.
pub fn reset(fd: BorrowedFd<'_>) -> Result<(), KernelError> {
    fcntl(fd.as_raw_fd(), FcntlArg::F_SETFL(OFlag::empty()))
        .map_err(KernelError::context(|| "reset the flags of an open file".to_owned()))?;
    remove_locks(fd)?;
    for command in [libc::F_SETOWN, SET_SIGNAL] {
        // SAFETY: the descriptor is open as long as it is borrowed; the rest are numbers.
        let set = unsafe { libc::fcntl(fd.as_raw_fd(), command, 0) };
        Errno::result(set).map_err(KernelError::context(|| {
            "reset who is told what happens to an open file".to_owned()
        }))?;
    }
    Ok(())
}

/// Removes the locks that belong to an open file, whoever put them on it (`F_OFD_SETLK`, fcntl(2);
/// flock(2)).
pub fn remove_locks(fd: BorrowedFd<'_>) -> Result<(), KernelError> {
    let context = || KernelError::context(|| "remove the locks of an open file".to_owned());
    let whole = flock {
        l_type: F_UNLCK as c_short,
        l_whence: SEEK_SET as c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    fcntl(fd.as_raw_fd(), FcntlArg::F_OFD_SETLK(&whole)).map_err(context())?;
    // SAFETY: the descriptor is open as long as it is borrowed; the other is a number.
    let unlocked = unsafe { libc::flock(fd.as_raw_fd(), libc::LOCK_UN) };
    Errno::result(unlocked).map(drop).map_err(context())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memfd::Memfd;
    use nix::libc::{F_OFD_GETLK, F_WRLCK};
    use std::os::fd::AsFd;

    fn ofd_lock() -> flock {
        flock {
            l_type: F_WRLCK as c_short,
            l_whence: SEEK_SET as c_short,
            l_start: 0,
            l_len: 1,
            l_pid: 0,
        }
    }

    #[test]
    fn what_a_holder_left_on_an_open_file_is_taken_off() {
        let memfd = Memfd::create("shared", 4096).unwrap();
        let holder = memfd.as_fd().try_clone_to_owned().unwrap();
        let other = memfd.open_again().unwrap();
        let number = holder.as_raw_fd();
        let left = OFlag::O_NONBLOCK | OFlag::O_APPEND;
        fcntl(number, FcntlArg::F_SETFL(left)).unwrap();
        fcntl(number, FcntlArg::F_OFD_SETLK(&ofd_lock())).unwrap();
        // SAFETY: the descriptors are open; the rest are numbers.
        unsafe {
            assert_eq!(libc::flock(number, libc::LOCK_EX), 0);
            assert_eq!(libc::fcntl(number, libc::F_SETOWN, std::process::id() as c_int), 0);
            assert_eq!(libc::fcntl(number, SET_SIGNAL, libc::SIGUSR1), 0);
            assert_eq!(libc::flock(other.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB), -1);
        }
        drop(holder);
        reset(memfd.as_fd()).unwrap();
        let number = memfd.as_fd().as_raw_fd();
        let flags = OFlag::from_bits_retain(fcntl(number, FcntlArg::F_GETFL).unwrap());
        assert!(!flags.intersects(left), "{flags:?}");
        assert_eq!(fcntl(number, FcntlArg::F_GETFL).unwrap() & libc::O_ACCMODE, libc::O_RDWR);
        let mut seen = ofd_lock();
        // SAFETY: the descriptors are open, and `seen` lives while the kernel writes to it.
        unsafe {
            assert_eq!(libc::fcntl(other.as_raw_fd(), F_OFD_GETLK, &mut seen), 0);
            assert_eq!(libc::flock(other.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB), 0);
            assert_eq!(libc::fcntl(number, libc::F_GETOWN), 0);
        }
        assert_eq!(c_int::from(seen.l_type), F_UNLCK);
        reset(memfd.as_fd()).unwrap();
    }
}
