// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! What is larger than memory should hold at once, as one payload after the other.

use std::io::{self, Read};
use std::time::Duration;

use berth_kernel::mapping::{Mapping, ReadWrite};

use super::{Payload, PayloadParcel, PayloadSender};
use crate::Error;

/// The bytes of a payload of a stream, unless told otherwise.
pub const CHUNK_BYTES: u64 = 1 << 20;

/// Regions of a stream: one is filled while others are read.
const WINDOW: usize = 3;

/// How much is copied at a time from a source into a region.
const BLOCK_BYTES: usize = 64 << 10;

/// Cuts a stream of bytes into payloads, in order, each of them full but the last. There is memory for
/// three of them: a fourth waits until the receiver is done with the first. An empty payload ends the
/// stream.
#[derive(Debug)]
pub struct PayloadStream {
    chunk: u64,
    senders: [PayloadSender; WINDOW],
    next: usize,
}

impl Default for PayloadStream {
    fn default() -> PayloadStream {
        PayloadStream::of_chunks(CHUNK_BYTES)
    }
}

impl PayloadStream {
    /// A stream of payloads of `bytes` each, 1 or more.
    pub fn of_chunks(bytes: u64) -> PayloadStream {
        PayloadStream { chunk: bytes.max(1), senders: Default::default(), next: 0 }
    }

    /// The next payload: what a source gives next, as soon as there is memory for it and at most
    /// `within`. Empty if the source has ended.
    ///
    /// # Errors
    ///
    /// [`Error::PayloadInUse`] if the receiver took longer: nothing was taken from the source.
    pub fn next_payload(
        &mut self,
        source: &mut impl Read,
        within: Duration,
    ) -> Result<Payload, Error> {
        let (chunk, next) = (self.chunk, self.next);
        self.next = next.wrapping_add(1) % WINDOW;
        let Some(sender) = self.senders.get_mut(next) else {
            return Err(Error::BadPayload(format!("window {next} of {WINDOW}")));
        };
        let made = sender.fill(chunk, within, |region| copy(source, region, chunk));
        if matches!(made, Err(Error::PayloadInUse(_))) {
            self.next = next;
        }
        made
    }

    /// Sends all that a source has, and the empty payload that ends it, by a function that makes the
    /// call. Answers how many bytes that was. Each payload may wait for the receiver, at most `within`.
    pub fn send(
        &mut self,
        source: &mut impl Read,
        within: Duration,
        mut call: impl FnMut(&PayloadParcel) -> Result<(), Error>,
    ) -> Result<u64, Error> {
        let mut sent = 0u64;
        loop {
            let payload = self.next_payload(source, within)?;
            call(payload.parcel())?;
            if payload.is_empty() {
                return Ok(sent);
            }
            sent = sent.saturating_add(payload.len());
        }
    }
}

/// Fills a region from a source; answers how many bytes it had.
fn copy(source: &mut impl Read, region: &Mapping<ReadWrite>, most: u64) -> Result<u64, Error> {
    let mut block = vec![0; usize::try_from(most).unwrap_or(BLOCK_BYTES).min(BLOCK_BYTES)];
    let mut done = 0u64;
    while done < most {
        let room = usize::try_from(most.saturating_sub(done)).unwrap_or(block.len());
        let length = block.len().min(room);
        let part = block.get_mut(..length).unwrap_or_default();
        let bytes = match source.read(part) {
            Ok(0) => break,
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error.into()),
        };
        let offset = usize::try_from(done).unwrap_or(usize::MAX);
        region.write(offset, part.get(..bytes).unwrap_or_default())?;
        done = done.saturating_add(bytes as u64);
    }
    Ok(done)
}
