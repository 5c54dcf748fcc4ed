// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Regions whose contents may go when memory is short, where nobody has them pinned.
//!
//! ```no_run
//! # fn main() -> Result<(), berth_client::Error> {
//! # use berth_client::{Allocator, BufferRequest, Contents, PurgeableRegion};
//! let session = Allocator::connect()?.open_session("gallery")?;
//! let request = BufferRequest::region(8 << 20).purgeable().name("thumbnails");
//! let region = PurgeableRegion::new(session.allocate_one(&request)?)?;
//! let pinned = region.pin(0..65_536)?;
//! if pinned.contents() == Contents::Purged {
//!     pinned.write(0, b"made again")?;
//!     pinned.set_filled();
//! }
//! # Ok(())
//! # }
//! ```

use std::ops::Range;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use berth_kernel::descriptor::DescriptorKind;
use berth_kernel::mapping::{Mapping, OutOfRange, ReadWrite};
use berth_shared::purge::{Chunks, Contents, Pinner, Priority, PurgeBlock};
use vendor_berth_allocator::aidl::vendor::berth::allocator::{
    Access::Access, AllocationOption, BufferDescriptor::BufferDescriptor,
};

use crate::{Buffer, Error};

mod pins;

use pins::Keeping;
pub(crate) use pins::Pins;

/// How long [`PurgeableRegion::pin`] waits for a chunk of which the service is just taking the
/// memory, which takes a fraction of a millisecond for each MiB of it.
pub const PIN_DEADLINE: Duration = Duration::from_secs(5);

/// A region in chunks that stay while they are pinned, and may be purged while they are not; freed
/// when dropped. May be used from several threads.
///
/// Where a memfd serves it, pin and unpin cost no system call and no allocation. Where ashmem does,
/// they are ashmem's ioctls, and the kernel knows no priorities.
///
/// The pins are this process's and end with its session: a process that is forked from it pins and
/// unpins nothing ([`Error::Forked`]), and after [`Session::close`](crate::Session::close) nobody does
/// ([`Error::PinsEnded`]).
#[derive(Debug)]
pub struct PurgeableRegion {
    mapping: Mapping<ReadWrite>,
    chunks: Chunks,
    pins: Arc<Pins>,
    priority: Priority,
    buffer: Buffer,
}

impl PurgeableRegion {
    /// Makes one of a buffer that was allocated as purgeable, or that was acquired to read and write.
    /// Chunks are unpinned with [`Priority::NORMAL`].
    ///
    /// # Errors
    ///
    /// [`Error::NotPurgeable`] for another buffer, [`Error::ReadOnly`] for one that may only be read:
    /// that can be mapped, and reads zero wherever and whenever a chunk was purged.
    /// [`Error::CannotPin`] for a second handle, as `get` gives, and for ashmem of another session.
    pub fn new(buffer: Buffer) -> Result<PurgeableRegion, Error> {
        PurgeableRegion::with_priority(buffer, Priority::NORMAL)
    }

    /// The same with another priority.
    pub fn with_priority(buffer: Buffer, priority: Priority) -> Result<PurgeableRegion, Error> {
        let id = buffer.id();
        if !buffer.is_purgeable() {
            return Err(Error::NotPurgeable(id));
        }
        if buffer.access() == Access::READ_ONLY {
            return Err(Error::ReadOnly(id));
        }
        let nonsense = || Error::BadAnswer(format!("no chunks in purgeable region {id}"));
        let chunk_bytes = chunk_bytes(buffer.descriptor());
        let chunks = Chunks::of(buffer.size(), chunk_bytes).ok_or_else(nonsense)?;
        let keeping = match buffer.second_fd() {
            Some(block) => {
                let number = usize::try_from(buffer.pinner()).ok();
                let pinner = number.and_then(Pinner::new).ok_or_else(nonsense)?;
                Keeping::Block(PurgeBlock::map(block, &chunks)?, pinner)
            }
            None => {
                let is_ashmem = DescriptorKind::of(buffer.as_fd())? == DescriptorKind::Ashmem;
                if !is_ashmem || !buffer.is_the_owners() {
                    return Err(Error::CannotPin(id));
                }
                Keeping::Kernel
            }
        };
        let mapping = Mapping::new(buffer.as_fd(), buffer.size())?;
        let pins = Arc::new(Pins::new(id, chunks, keeping)?);
        pins.begin(&buffer)?;
        buffer.held().note_pins(&pins);
        Ok(PurgeableRegion { mapping, chunks, pins, priority, buffer })
    }

    /// Bytes of the region.
    pub fn size(&self) -> u64 {
        self.chunks.region_bytes()
    }

    /// Bytes of a chunk; the last may have fewer.
    pub fn chunk_bytes(&self) -> u64 {
        self.chunks.chunk_bytes()
    }

    /// The buffer: to share it, for one. What [`Buffer::map`] gives may be gone at any moment where
    /// it is not pinned.
    pub fn buffer(&self) -> &Buffer {
        &self.buffer
    }

    /// Keeps the chunks that a range of bytes touches, from now until the answer is dropped, and says
    /// whether their contents are there: see [`Pinned::contents`]. Waits for at most
    /// [`PIN_DEADLINE`] a chunk.
    pub fn pin(&self, bytes: Range<u64>) -> Result<Pinned<'_>, Error> {
        self.pin_within(bytes, PIN_DEADLINE)
    }

    /// The same with another deadline.
    pub fn pin_within(&self, bytes: Range<u64>, within: Duration) -> Result<Pinned<'_>, Error> {
        let outside = || OutOfRange {
            offset: usize::try_from(bytes.start).unwrap_or(usize::MAX),
            length: usize::try_from(bytes.end.saturating_sub(bytes.start)).unwrap_or(usize::MAX),
            size: self.mapping.size(),
        };
        let chunks = self.chunks.touched_by(&bytes).ok_or_else(outside)?;
        let (first, end) = (chunks.start, chunks.start);
        let (priority, contents) = (self.priority, Contents::Kept);
        // On an error those that are pinned by then are unpinned.
        let mut pinned = Pinned { region: self, bytes, chunks: first..end, contents, priority };
        for chunk in chunks {
            if self.pins.pin(&self.buffer, chunk, within)? == Contents::Purged {
                pinned.contents = Contents::Purged;
            }
            pinned.chunks.end = chunk.saturating_add(1);
        }
        Ok(pinned)
    }
}

/// Bytes of a chunk of a region that was asked for with such a descriptor.
fn chunk_bytes(descriptor: &BufferDescriptor) -> u64 {
    let mut options = descriptor.options.iter();
    let asked = options.find(|option| option.name == AllocationOption::PURGE_CHUNK_BYTES);
    let default = i64::from(AllocationOption::DEFAULT_PURGE_CHUNK_BYTES);
    asked.map_or(default, |option| option.value).unsigned_abs()
}

/// Bytes of a region that are kept; they may go again when this is dropped. All offsets count from
/// the first of them.
///
/// Once the session is closed, and in a forked child, they are pinned no more: nothing is read or
/// written then.
///
/// Bytes are copied in and out, and no slice of them is given: the region may be shared, and whoever
/// may write to it may do so at any moment.
#[derive(Debug)]
pub struct Pinned<'region> {
    region: &'region PurgeableRegion,
    bytes: Range<u64>,
    chunks: Range<u32>,
    contents: Contents,
    priority: Priority,
}

impl Pinned<'_> {
    /// Whether all of the chunks had their contents when they were pinned; they have them since.
    ///
    /// A chunk whose contents are gone says so to everybody who pins it, until somebody who wrote it
    /// calls [`set_filled`](Pinned::set_filled). Several who do that at once agree among themselves.
    pub fn contents(&self) -> Contents {
        self.contents
    }

    /// Bytes that are pinned.
    pub fn size(&self) -> usize {
        usize::try_from(self.bytes.end.saturating_sub(self.bytes.start)).unwrap_or(usize::MAX)
    }

    /// Says that the contents of the chunks are whole, all of them and not only of the range's bytes.
    /// What was written before is seen by whoever finds them [`Contents::Kept`].
    pub fn set_filled(&self) {
        self.say_filled(true);
    }

    /// Says that the contents are worth nothing any more: they go first, and nobody finds them again.
    pub fn discard(&self) {
        self.say_filled(false);
    }

    fn say_filled(&self, filled: bool) {
        for chunk in self.chunks.clone() {
            // The chunk was pinned, so that there is one; it may be pinned no more.
            if let Err(error) = self.region.pins.set_filled(chunk, filled) {
                log::debug!("chunk {chunk}: {error}");
            }
        }
    }

    /// Unpins with this priority instead of the region's.
    pub fn set_priority(&mut self, priority: Priority) {
        self.priority = priority;
    }

    /// Copies bytes from `offset` out of what is pinned.
    pub fn read(&self, offset: usize, into: &mut [u8]) -> Result<(), Error> {
        Ok(self.region.mapping.read(self.at(offset, into.len())?, into)?)
    }

    /// Copies bytes into what is pinned, at `offset`.
    pub fn write(&self, offset: usize, from: &[u8]) -> Result<(), Error> {
        Ok(self.region.mapping.write(self.at(offset, from.len())?, from)?)
    }

    /// Sets `length` bytes from `offset` to one value.
    pub fn fill(&self, offset: usize, length: usize, value: u8) -> Result<(), Error> {
        Ok(self.region.mapping.fill(self.at(offset, length)?, length, value)?)
    }

    /// The offset in the region of bytes that lie in what is pinned.
    fn at(&self, offset: usize, length: usize) -> Result<usize, Error> {
        self.region.pins.check()?;
        let size = self.size();
        let start = usize::try_from(self.bytes.start).ok();
        match (offset.checked_add(length), start.and_then(|start| start.checked_add(offset))) {
            (Some(end), Some(at)) if end <= size => Ok(at),
            _ => Err(OutOfRange { offset, length, size }.into()),
        }
    }
}

impl Drop for Pinned<'_> {
    fn drop(&mut self) {
        for chunk in self.chunks.clone() {
            let PurgeableRegion { pins, buffer, .. } = self.region;
            if let Err(error) = pins.unpin(buffer, chunk, self.priority) {
                log::warn!("chunk {chunk} stays pinned: {error}");
            }
        }
    }
}
