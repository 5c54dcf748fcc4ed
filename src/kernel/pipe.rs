// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Pipes: what one process writes another reads, pipe(2).

use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;

use crate::{poll, KernelError};

/// A pipe that is closed on exec: the end to read from and the end to write to. The descriptors are
/// the caller's; reading ends when the last copy of the other is closed.
///
/// nix has it too, with another type of descriptor before 0.28.
pub fn pipe() -> Result<(OwnedFd, OwnedFd), KernelError> {
    let mut ends = [-1; 2];
    // SAFETY: the kernel writes two descriptors, for which the array has room.
    let result = unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) };
    Errno::result(result).map_err(KernelError::context(|| "pipe".to_owned()))?;
    let [reader, writer] = ends;
    // SAFETY: the kernel has just opened both, and nobody else knows of them.
    unsafe { Ok((OwnedFd::from_raw_fd(reader), OwnedFd::from_raw_fd(writer))) }
}

/// Waits, at most `within`, until every copy of the end to write to is closed, by whatever process and
/// also by its death. Answers whether it came to that. What was written meanwhile stays unread.
///
/// An event loop sees the same in `POLLHUP`, which it need not ask for.
pub fn await_last_writer(reader: BorrowedFd<'_>, within: Duration) -> Result<bool, KernelError> {
    let happened = poll::wait(reader, 0, Some(within));
    let happened = happened.map_err(KernelError::context(|| "wait for a pipe".to_owned()))?;
    Ok(happened & libc::POLLHUP != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::{Read, Write};
    use std::os::fd::AsFd;

    #[test]
    fn what_is_written_is_read_and_ends_with_its_writer() {
        let (reader, writer) = pipe().unwrap();
        let mut writer = File::from(writer);
        writer.write_all(b"through").unwrap();
        drop(writer);
        let mut text = String::new();
        File::from(reader).read_to_string(&mut text).unwrap();
        assert_eq!(text, "through");
    }

    #[test]
    fn neither_end_goes_to_a_program_that_is_started() {
        let (reader, writer) = pipe().unwrap();
        for end in [&reader, &writer] {
            let flags = nix::fcntl::fcntl(
                std::os::fd::AsRawFd::as_raw_fd(end),
                nix::fcntl::FcntlArg::F_GETFD,
            );
            assert_eq!(flags.unwrap() & libc::FD_CLOEXEC, libc::FD_CLOEXEC);
        }
    }

    #[test]
    fn the_last_writer_is_gone_with_its_last_copy_whatever_was_written() {
        let (reader, writer) = pipe().unwrap();
        let mut copy = File::from(writer.try_clone().unwrap());
        copy.write_all(b"unread").unwrap();
        drop(writer);
        assert!(!await_last_writer(reader.as_fd(), Duration::ZERO).unwrap());
        let closer = std::thread::spawn(move || drop(copy));
        assert!(await_last_writer(reader.as_fd(), Duration::MAX).unwrap());
        closer.join().unwrap();
    }
}
