// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! inotify(7): what happens in folders. Not nix's, which Android 14 and 15 build without it.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use nix::errno::Errno;
use nix::libc::{self, c_int};
use nix::NixPath;

/// Room for many events; one alone has at most 16 bytes and a name of 256.
const BUFFER_BYTES: usize = 4096;

/// A queue of events; closed when dropped.
#[derive(Debug)]
pub struct Inotify(File);

/// One event.
#[derive(Debug, PartialEq, Eq)]
pub struct Event {
    /// The watch that it belongs to; −1 for `IN_Q_OVERFLOW`.
    pub watch: c_int,
    /// What happened: bits `IN_*`.
    pub mask: u32,
    /// The name in the folder that is watched; `None` if it happened to the folder itself.
    pub name: Option<OsString>,
}

impl Inotify {
    /// An empty queue, closed on exec.
    pub fn new() -> Result<Inotify, Errno> {
        // SAFETY: the call takes no pointer.
        let fd = Errno::result(unsafe { libc::inotify_init1(libc::IN_CLOEXEC) })?;
        // SAFETY: the call succeeded, so `fd` is a new descriptor that nobody else owns.
        Ok(Inotify(unsafe { File::from_raw_fd(fd) }))
    }

    /// Watches what is at `path` for the events of `mask`, and answers the watch's number: the same
    /// as before if the same file is watched already.
    pub fn add_watch(&self, path: &Path, mask: u32) -> Result<c_int, Errno> {
        path.with_nix_path(|path| {
            // SAFETY: the descriptor is open as long as `self` is; `path` is a string that ends in
            // NUL, lives over the call and is only read.
            let watch = unsafe { libc::inotify_add_watch(self.0.as_raw_fd(), path.as_ptr(), mask) };
            Errno::result(watch)
        })?
    }

    /// Ends a watch; `IN_IGNORED` is its last event.
    pub fn remove_watch(&self, watch: c_int) -> Result<(), Errno> {
        // The number's sign differs between the C libraries.
        #[allow(clippy::unnecessary_cast)]
        // SAFETY: the descriptor is open as long as `self` is; the call takes no pointer.
        let removed = unsafe { libc::inotify_rm_watch(self.0.as_raw_fd(), watch as _) };
        Errno::result(removed).map(drop)
    }

    /// Blocks until there is an event and takes as many as fit a buffer.
    pub fn read(&self) -> Result<Vec<Event>, Errno> {
        let mut buffer = [0; BUFFER_BYTES];
        let read = (&self.0).read(&mut buffer);
        let length = read.map_err(|error| Errno::try_from(error).unwrap_or(Errno::EIO))?;
        Ok(events(buffer.get(..length).unwrap_or_default()))
    }
}

/// For poll(2): ready to read when there is an event.
impl AsFd for Inotify {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Takes apart what was read: each a `struct inotify_event` and the name, filled up with NULs. The
/// kernel never gives a part of one.
fn events(mut bytes: &[u8]) -> Vec<Event> {
    let mut events = Vec::new();
    while let Some((event, rest)) = split_event(bytes) {
        events.push(event);
        bytes = rest;
    }
    events
}

fn split_event(bytes: &[u8]) -> Option<(Event, &[u8])> {
    let (watch, bytes) = split_field(bytes)?;
    let (mask, bytes) = split_field(bytes)?;
    let (_cookie, bytes) = split_field(bytes)?;
    let (length, bytes) = split_field(bytes)?;
    let length = usize::try_from(u32::from_ne_bytes(length)).ok()?;
    let (name, rest) = (bytes.get(..length)?, bytes.get(length..)?);
    let name: Vec<u8> = name.iter().copied().take_while(|byte| *byte != 0).collect();
    let event = Event {
        watch: c_int::from_ne_bytes(watch),
        mask: u32::from_ne_bytes(mask),
        name: (length > 0).then(|| OsString::from_vec(name)),
    };
    Some((event, rest))
}

/// The next field of `struct inotify_event`: all have four bytes.
fn split_field(bytes: &[u8]) -> Option<([u8; 4], &[u8])> {
    Some((bytes.get(..4)?.try_into().ok()?, bytes.get(4..)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encoded(watch: c_int, mask: u32, name: &[u8]) -> Vec<u8> {
        let length = u32::try_from(name.len()).unwrap();
        let numbers = [watch.to_ne_bytes(), mask.to_ne_bytes(), [0; 4], length.to_ne_bytes()];
        [&numbers.concat()[..], name].concat()
    }

    #[test]
    fn an_event_has_a_name_if_it_is_not_that_of_the_folder() {
        let node = encoded(1, libc::IN_CREATE, b"system\0\0\0\0\0\0\0\0\0\0");
        let folder = encoded(2, libc::IN_ATTRIB, b"");
        assert_eq!(
            events(&[node, folder].concat()),
            [
                Event { watch: 1, mask: libc::IN_CREATE, name: Some("system".into()) },
                Event { watch: 2, mask: libc::IN_ATTRIB, name: None },
            ]
        );
    }

    #[test]
    fn an_overflow_belongs_to_no_watch() {
        let overflow = Event { watch: -1, mask: libc::IN_Q_OVERFLOW, name: None };
        assert_eq!(events(&encoded(-1, libc::IN_Q_OVERFLOW, b"")), [overflow]);
    }

    proptest! {
        #[test]
        fn any_bytes_end_in_events_that_fit_them(
            bytes in proptest::collection::vec(any::<u8>(), 0..100),
        ) {
            let names = events(&bytes).into_iter().filter_map(|event| event.name);
            let length: usize = names.map(|name| name.len()).sum();
            prop_assert!(length <= bytes.len());
        }
    }
}
