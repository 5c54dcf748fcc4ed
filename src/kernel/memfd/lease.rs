// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Who can still write a memfd: told by a lease, which the kernel gives for a file that nobody else has
//! open to write.

use std::fs::{File, OpenOptions};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::{MutexGuard, PoisonError};

use nix::errno::Errno;
use nix::fcntl::{fcntl, FcntlArg, OFlag};
use nix::libc::{self, c_int};

use super::Memfd;
use crate::KernelError;

/// `F_SETSIG` (`include/uapi/asm-generic/fcntl.h`): which signal tells that a lease is broken.
const SET_SIGNAL: c_int = 10;

/// How often it is tried to open what somebody has a lease on.
const MOST_RETRIES: usize = 100;

impl Memfd {
    /// As long as this is held, this process takes no lease on it.
    pub(super) fn no_lease(&self) -> MutexGuard<'_, ()> {
        self.lease.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A descriptor to read and write with an open file of its own, so that
    /// [`has_other_writers`](Self::has_other_writers) knows of it. A duplicate of this memfd's own it
    /// never sees.
    pub fn open_again(&self) -> Result<OwnedFd, KernelError> {
        let _no_lease = self.no_lease();
        // Another process of this uid may have a lease on it for a moment.
        let mut opened = self.reopen();
        for _ in 0..MOST_RETRIES {
            match &opened {
                Err(error) if error.errno == Errno::EWOULDBLOCK => std::thread::yield_now(),
                _ => break,
            }
            opened = self.reopen();
        }
        let file = opened?;
        fcntl(file.as_raw_fd(), FcntlArg::F_SETFL(OFlag::empty()))
            .map_err(KernelError::context(|| "reset the flags of a memfd".to_owned()))?;
        Ok(file.into())
    }

    /// Whether anybody, in any process, still has a descriptor of [`open_again`](Self::open_again),
    /// a duplicate of one, or a mapping made of one, of whatever protection.
    ///
    /// The kernel gives a write lease only for a file that nobody else has open to write
    /// (`check_conflicting_open` in `fs/locks.c`; fcntl(2), `F_SETLEASE`), and a mapping keeps the
    /// file open that it was made of. What the memfd itself is open by, which no open(2) made, does
    /// not count there; nor, but on kernels with `CONFIG_IMA`, does what is open only to read.
    ///
    /// # Errors
    ///
    /// `EACCES` if the memfd belongs to another uid, or SELinux forbids `lock`.
    pub fn has_other_writers(&self) -> Result<bool, KernelError> {
        let _no_lease = self.no_lease();
        if self.is_reopened {
            let alone = lease(self.fd.as_fd(), libc::F_WRLCK)?;
            if alone {
                lease(self.fd.as_fd(), libc::F_UNLCK)?;
            }
            return Ok(!alone);
        }
        match self.reopen() {
            // The lease ends with the probe.
            Ok(probe) => lease(probe.as_fd(), libc::F_WRLCK).map(|alone| !alone),
            // Somebody has a lease on it.
            Err(error) if error.errno == Errno::EWOULDBLOCK => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Opens it to read and write, without waiting for whoever has a lease on it.
    fn reopen(&self) -> Result<File, KernelError> {
        let path = format!("/proc/self/fd/{}", self.fd.as_raw_fd());
        let mut options = OpenOptions::new();
        let opened = options.read(true).write(true).custom_flags(libc::O_NONBLOCK).open(path);
        opened.map_err(KernelError::io(|| "re-open a memfd to write".to_owned()))
    }
}

/// Takes or gives back a lease; false if somebody else has the file open.
fn lease(fd: BorrowedFd<'_>, kind: c_int) -> Result<bool, KernelError> {
    let context = || KernelError::context(|| "take a lease on a memfd".to_owned());
    // Whoever opens it while the lease lasts has this process told by a signal, which would end it.
    // This one is ignored unless somebody asks for it.
    // SAFETY: the descriptor is open as long as it is borrowed; the rest are numbers.
    let set = unsafe { libc::fcntl(fd.as_raw_fd(), SET_SIGNAL, libc::SIGURG) };
    Errno::result(set).map_err(context())?;
    // SAFETY: as above.
    match Errno::result(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETLEASE, kind) }) {
        Ok(_) => Ok(true),
        Err(Errno::EAGAIN) => Ok(false),
        Err(errno) => Err(context()(errno)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forking::turn;
    use crate::mapping::{Mapping, ReadOnly};

    #[test]
    fn every_writer_of_a_memfd_is_seen_until_it_lets_go() {
        let _turn = turn();
        for sealed in [false, true] {
            let memfd = Memfd::create("counted", 4096).unwrap();
            assert!(!memfd.has_other_writers().unwrap(), "its own descriptor does not count");
            let first = memfd.open_again().unwrap();
            if sealed {
                memfd.seal_future_writes().unwrap();
            }
            assert!(memfd.has_other_writers().unwrap());
            let flags = fcntl(first.as_raw_fd(), FcntlArg::F_GETFL).unwrap();
            assert_eq!(flags & libc::O_NONBLOCK, 0);
            let second = first.try_clone().unwrap();
            drop(first);
            assert!(memfd.has_other_writers().unwrap(), "a duplicate is left");
            let mapping: Mapping<ReadOnly> = Mapping::new(second.as_fd(), 4096).unwrap();
            drop(second);
            assert!(memfd.has_other_writers().unwrap(), "a mapping to read is left");
            drop(mapping);
            assert!(!memfd.has_other_writers().unwrap());
            let another = memfd.open_again().unwrap();
            assert!(memfd.has_other_writers().unwrap());
            // What adopts it counts for the memfd itself, and not for itself.
            let adopted = Memfd::adopt(another.as_fd()).unwrap();
            drop(another);
            assert!(memfd.has_other_writers().unwrap());
            drop(memfd);
            for _ in 0..2 {
                assert!(!adopted.has_other_writers().unwrap());
                let again = adopted.open_again().unwrap();
                assert!(adopted.has_other_writers().unwrap());
                drop(again);
            }
        }
    }

    #[test]
    fn a_memfd_is_opened_while_it_is_looked_for_its_writers() {
        let _turn = turn();
        let memfd = Memfd::create("both", 4096).unwrap();
        std::thread::scope(|scope| {
            let looking =
                scope.spawn(|| (0..2000).filter(|_| memfd.has_other_writers().unwrap()).count());
            while !looking.is_finished() {
                drop(memfd.open_again().unwrap());
            }
        });
        assert!(!memfd.has_other_writers().unwrap());
    }

    #[test]
    fn writers_in_other_processes_are_seen() {
        let _turn = turn();
        let memfd = Memfd::create("elsewhere", 4096).unwrap();
        let writer = memfd.open_again().unwrap();
        let input = std::process::Stdio::from(writer);
        let mut other =
            std::process::Command::new("sleep").arg("1000").stdin(input).spawn().unwrap();
        assert!(memfd.has_other_writers().unwrap());
        other.kill().unwrap();
        other.wait().unwrap();
        assert!(!memfd.has_other_writers().unwrap());
    }
}
