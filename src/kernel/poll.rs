// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Waiting for one descriptor (poll(2)), whatever interrupts.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc::{self, c_int, c_short};

/// Waits for one of `events`, at most `within`, without it as long as that takes. Answers what
/// happened, which may be `POLLERR` or `POLLHUP` unasked; 0 if the time was up first.
///
/// `nix::poll` takes another timeout in 0.28 than in 0.27.
pub(crate) fn wait(
    fd: BorrowedFd<'_>,
    events: c_short,
    within: Option<Duration>,
) -> Result<c_short, Errno> {
    // A time that no clock reaches is none.
    let end = within.and_then(|within| Instant::now().checked_add(within));
    loop {
        let left = end.map(|end| end.saturating_duration_since(Instant::now()));
        let mut entry = libc::pollfd { fd: fd.as_raw_fd(), events, revents: 0 };
        // SAFETY: `entry` is live and exclusive, and one entry is what the call is told of; its
        // descriptor is open as long as it is borrowed.
        match Errno::result(unsafe { libc::poll(&mut entry, 1, left.map_or(-1, milliseconds)) }) {
            // What poll takes at once may be less than what is left.
            Ok(0) if left.is_some_and(|left| !left.is_zero()) => {}
            Ok(_) => return Ok(entry.revents),
            // A signal; POSIX allows the other.
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// Whole milliseconds, rounded up so that a wait does not end early, and the most that poll takes.
fn milliseconds(left: Duration) -> c_int {
    let whole = left.saturating_add(Duration::from_nanos(999_999)).as_millis();
    c_int::try_from(whole).unwrap_or(c_int::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::signal::{sigaction, SaFlags, SigAction, SigHandler, SigSet, Signal};
    use nix::unistd::{getpid, gettid};
    use proptest::prelude::*;
    use std::io::Write;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::mpsc;
    use std::thread;

    #[test]
    fn a_wait_ends_with_what_happened_or_with_nothing() {
        let (mut near, far) = UnixStream::pair().unwrap();
        let wait = |within| super::wait(far.as_fd(), libc::POLLIN, Some(within)).unwrap();
        assert_eq!(wait(Duration::ZERO), 0);
        assert_eq!(wait(Duration::from_nanos(1)), 0);
        near.write_all(b"x").unwrap();
        assert_eq!(wait(Duration::MAX), libc::POLLIN);
        drop(near);
        assert_ne!(wait(Duration::ZERO) & libc::POLLHUP, 0);
    }

    static SIGNALS: AtomicU32 = AtomicU32::new(0);

    extern "C" fn count(_: c_int) {
        SIGNALS.fetch_add(1, Ordering::Relaxed);
    }

    #[test]
    fn signals_do_not_end_a_wait() {
        let handler = SigAction::new(SigHandler::Handler(count), SaFlags::empty(), SigSet::empty());
        // SAFETY: the handler only adds to an atomic, which a signal may interrupt.
        unsafe { sigaction(Signal::SIGUSR2, &handler) }.unwrap();
        let (mut near, far) = UnixStream::pair().unwrap();
        let (tell, told) = mpsc::channel();
        let waiter = thread::spawn(move || {
            tell.send(gettid().as_raw()).unwrap();
            wait(far.as_fd(), libc::POLLIN, Some(Duration::from_secs(600)))
        });
        let tid = told.recv().unwrap();
        while SIGNALS.load(Ordering::Relaxed) < 100 {
            // SAFETY: tgkill takes three numbers. The thread is there until something is written.
            let sent =
                unsafe { libc::syscall(libc::SYS_tgkill, getpid().as_raw(), tid, libc::SIGUSR2) };
            Errno::result(sent).unwrap();
            thread::yield_now();
        }
        near.write_all(b"x").unwrap();
        assert_eq!(waiter.join().unwrap(), Ok(libc::POLLIN));
    }

    proptest! {
        #[test]
        fn poll_is_never_told_less_than_what_is_left(
            seconds in 0..10_000_000u64,
            nanos in 0..1_000_000_000u32,
        ) {
            let left = Duration::new(seconds, nanos);
            let told = milliseconds(left);
            let exact = told != c_int::MAX;
            let told = Duration::from_millis(told as u64);
            prop_assert!(!exact || (told >= left && told < left + Duration::from_millis(1)));
            prop_assert_eq!(exact, left <= Duration::from_millis(c_int::MAX as u64 - 1));
        }
    }
}
