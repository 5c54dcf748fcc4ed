// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Payloads by one region that is used again and again.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use berth_kernel::descriptor::duplicate;
use berth_kernel::mapping::{Mapping, ReadWrite};
use berth_kernel::memfd::Memfd;
use berth_kernel::{page_size, pipe};
use nix::errno::Errno;

use super::{Payload, INLINE_BYTES};
use crate::Error;

/// Sends payloads one after the other through one region, whose pages stay mapped and warm: no page is
/// cleared or mapped for a payload, which is most of what a large one costs.
///
/// A region is used again only when its receiver has let go of it, which the kernel says: with each
/// payload goes one end of a pipe, and the other tells that its last copy is closed, also by the
/// receiver's death. A receiver that closes it too early, or that writes to the region through what it
/// was given, harms nobody but itself; one that never closes it makes the next payload fail at its
/// deadline. So use one sender for one receiver.
#[derive(Debug)]
pub struct PayloadSender {
    name: String,
    region: Option<Region>,
}

#[derive(Debug)]
struct Region {
    memfd: Memfd,
    mapping: Mapping<ReadWrite>,
    /// Says when the receiver is done; `None` if it is.
    lease: Option<OwnedFd>,
}

impl Default for PayloadSender {
    fn default() -> PayloadSender {
        PayloadSender::new("payload sender")
    }
}

impl PayloadSender {
    /// One that has no region yet. `/proc` shows the name of the region.
    pub fn new(name: &str) -> PayloadSender {
        PayloadSender { name: name.to_owned(), region: None }
    }

    /// Takes a copy of bytes: into the message if they are few, otherwise into the region, as soon as
    /// the receiver of the last payload is done with it and at most `within`. A region that is too small
    /// gives way to a larger one.
    ///
    /// The payload is dropped as soon as it was sent: it counts as held as long as it is here.
    ///
    /// # Errors
    ///
    /// [`Error::PayloadInUse`] if the receiver took longer; nothing is changed then.
    pub fn payload(&mut self, bytes: &[u8], within: Duration) -> Result<Payload, Error> {
        if bytes.len() <= INLINE_BYTES {
            return Ok(Payload::inline(bytes.to_vec()));
        }
        self.fill(bytes.len() as u64, within, |mapping| {
            mapping.write(0, bytes)?;
            Ok(bytes.len() as u64)
        })
    }

    /// The same for bytes that a function writes straight into the region: it has room for at least
    /// `capacity`, with what was there before, and the function answers how many bytes it wrote from the
    /// start.
    pub fn fill(
        &mut self,
        capacity: u64,
        within: Duration,
        write: impl FnOnce(&Mapping<ReadWrite>) -> Result<u64, Error>,
    ) -> Result<Payload, Error> {
        self.await_receiver(within)?;
        let region = match self.region.take() {
            Some(region) if region.mapping.size() as u64 >= capacity => region,
            _ => Region::new(&self.name, capacity)?,
        };
        let region = self.region.insert(region);
        let written = write(&region.mapping)?;
        let limit = region.mapping.size() as u64;
        match written {
            0 => return Ok(Payload::inline(Vec::new())),
            length if length > limit => return Err(Error::PayloadTooLong { length, limit }),
            _ => {}
        }
        let fd = duplicate(region.memfd.as_fd())?;
        let (reader, writer) = pipe::pipe()?;
        region.lease = Some(reader);
        Ok(Payload::at(fd, 0, written, Some(writer)))
    }

    /// Waits until the receiver of the last payload is done with it, at most `within`.
    pub fn await_receiver(&mut self, within: Duration) -> Result<(), Error> {
        let Some(region) = &mut self.region else { return Ok(()) };
        let Some(lease) = &region.lease else { return Ok(()) };
        if !pipe::await_last_writer(lease.as_fd(), within)? {
            return Err(Error::PayloadInUse(within));
        }
        region.lease = None;
        Ok(())
    }

    /// For event loops: hangs up (`POLLHUP`) when the receiver of the last payload is done with it.
    /// `None` if it is, or if there was none.
    pub fn lease(&self) -> Option<BorrowedFd<'_>> {
        self.region.as_ref()?.lease.as_ref().map(OwnedFd::as_fd)
    }

    /// Gives the region up, to be made anew when it is needed.
    pub fn trim(&mut self) {
        self.region = None;
    }
}

impl Region {
    fn new(name: &str, capacity: u64) -> Result<Region, Error> {
        let bytes = capacity.max(1).checked_next_multiple_of(page_size()).unwrap_or(capacity);
        let memfd = Memfd::create_to_seal(name, bytes)?;
        let mapping = Mapping::new(memfd.as_fd(), bytes)?;
        // From here on the mapping is the only way to write. Before Linux 5.1 there are others.
        match memfd.seal_future_writes() {
            Err(error) if error.errno != Errno::EINVAL => Err(error.into()),
            _ => Ok(Region { memfd, mapping, lease: None }),
        }
    }
}
