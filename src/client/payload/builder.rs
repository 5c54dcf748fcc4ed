// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Payloads that are sent once.

use std::io;
use std::ops::RangeBounds;
use std::os::fd::{AsFd, OwnedFd};

use berth_kernel::descriptor::duplicate;
use berth_kernel::mapping::{Mapping, ReadWrite};
use berth_kernel::memfd::{self, Memfd};
use hal_binder::ParcelFileDescriptor;
use vendor_berth_allocator::aidl::vendor::berth::allocator::AllocationFlag::AllocationFlag;

use super::{PayloadParcel, INLINE_BYTES};
use crate::range::span;
use crate::{Buffer, Error, ForeignKind, ForeignMemory};

/// The name of local regions, which `/proc` shows.
const NAME: &str = "payload";

/// Why a region may not be frozen.
fn must_stay_writable(region: &Buffer, kind: ForeignKind) -> Option<&'static str> {
    let has = |flag: AllocationFlag| region.descriptor().flags & flag.0 != 0;
    if has(AllocationFlag::REVOKE_ON_DEATH) {
        Some("a region with REVOKE_ON_DEATH, which must stay revocable")
    } else if has(AllocationFlag::PURGEABLE) {
        Some("a region with PURGEABLE, whose contents could not go any more")
    } else if region.second_fd().is_some() && kind == ForeignKind::Memfd {
        Some("a region with a dma-buf, which devices write")
    } else {
        None
    }
}

/// Bytes to be sent. Dropping it gives up the sender's share in them; a receiver keeps its own.
#[derive(Debug)]
pub struct Payload(PayloadParcel);

impl Payload {
    /// Takes a copy of bytes: into the message if they are at most [`INLINE_BYTES`], otherwise into a
    /// region that nobody can write any more.
    pub fn from_bytes(bytes: &[u8]) -> Result<Payload, Error> {
        let mut builder = PayloadBuilder::with_capacity(bytes.len() as u64)?;
        builder.append(bytes)?;
        builder.finish()
    }

    /// Bytes of a region that this process has of the service. From now on nobody can write the
    /// region, by whatever descriptor or mapping.
    ///
    /// # Errors
    ///
    /// [`Error::BadPayload`] if it is or has a dma-buf, or was allocated with `REVOKE_ON_DEATH` or
    /// `PURGEABLE`; of the kernel (`EBUSY`) if somebody has it mapped to write. Ashmem and regions that
    /// were [sealed](Buffer::seal) before are taken as they are: the receiver cannot be sure of their
    /// bytes.
    pub fn in_region(region: &Buffer, range: impl RangeBounds<u64>) -> Result<Payload, Error> {
        let memory = ForeignMemory::adopt(duplicate(region.as_fd())?)?;
        let (offset, bytes) = span(range, region.size());
        match offset.checked_add(bytes) {
            Some(end) if end <= region.size() && bytes > 0 => {}
            _ => return Err(Error::OutOfBuffer { offset, bytes, size: region.size() }),
        }
        if let Some(why) = must_stay_writable(region, memory.kind()) {
            return Err(Error::BadPayload(why.to_owned()));
        }
        match memory.kind() {
            ForeignKind::Ashmem => region.seal()?,
            ForeignKind::Memfd if memory.is_writable() => {
                memfd::freeze(memory.as_fd())?;
                region.note_seal();
            }
            ForeignKind::Memfd => {}
            other => return Err(Error::BadPayload(format!("{other} as a region"))),
        }
        Ok(Payload::at(memory.into(), offset, bytes, None))
    }

    pub(super) fn inline(bytes: Vec<u8>) -> Payload {
        Payload(PayloadParcel { inlineBytes: bytes, ..PayloadParcel::default() })
    }

    /// In a region that has these bytes, and whose size is no more than an offset can be.
    pub(super) fn at(region: OwnedFd, offset: u64, bytes: u64, lease: Option<OwnedFd>) -> Payload {
        Payload(PayloadParcel {
            inlineBytes: Vec::new(),
            region: Some(ParcelFileDescriptor::new(region)),
            offsetBytes: i64::try_from(offset).unwrap_or(i64::MAX),
            lengthBytes: i64::try_from(bytes).unwrap_or(i64::MAX),
            lease: lease.map(ParcelFileDescriptor::new),
        })
    }

    /// What a call takes.
    pub fn parcel(&self) -> &PayloadParcel {
        &self.0
    }

    /// What a field of a parcelable takes, or an answer.
    pub fn into_parcel(self) -> PayloadParcel {
        self.0
    }

    /// How many bytes.
    pub fn len(&self) -> u64 {
        match &self.0.region {
            Some(_) => self.0.lengthBytes.unsigned_abs(),
            None => self.0.inlineBytes.len() as u64,
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the bytes go in the message itself.
    pub fn is_inline(&self) -> bool {
        self.0.region.is_none()
    }
}

/// A payload in the making: bytes go straight to where the receiver reads them. Written as any
/// [`io::Write`], or [in place](PayloadBuilder::fill).
#[derive(Debug)]
pub struct PayloadBuilder {
    into: Into,
    written: u64,
    capacity: u64,
}

#[derive(Debug)]
enum Into {
    Inline(Vec<u8>),
    Region(Memfd),
}

impl PayloadBuilder {
    /// For at most `bytes`, which may be more than will come: what is never written takes no memory.
    pub fn with_capacity(bytes: u64) -> Result<PayloadBuilder, Error> {
        let into = match usize::try_from(bytes) {
            Ok(few) if few <= INLINE_BYTES => Into::Inline(Vec::with_capacity(few)),
            _ => Into::Region(Memfd::create_to_seal(NAME, bytes)?),
        };
        Ok(PayloadBuilder { into, written: 0, capacity: bytes })
    }

    /// Adds bytes behind those that are there, all or none.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let end = self.written.saturating_add(bytes.len() as u64);
        if end > self.capacity {
            return Err(Error::PayloadTooLong { length: end, limit: self.capacity });
        }
        match &mut self.into {
            Into::Inline(inline) => inline.extend_from_slice(bytes),
            Into::Region(memfd) => memfd.write_at(self.written, bytes)?,
        }
        self.written = end;
        Ok(())
    }

    /// Gives all of the capacity to a function that writes there and answers how many bytes the payload
    /// has, from the start. What was appended before is there.
    pub fn fill(
        mut self,
        write: impl FnOnce(&Mapping<ReadWrite>) -> Result<u64, Error>,
    ) -> Result<Payload, Error> {
        // Few bytes are mapped all the same, and go in the message then.
        let small = match &self.into {
            Into::Region(_) => None,
            Into::Inline(inline) => {
                let memfd = Memfd::create_to_seal(NAME, self.capacity.max(1))?;
                memfd.write_at(0, inline)?;
                Some(memfd)
            }
        };
        let mapped = match (&self.into, &small) {
            (Into::Region(memfd), _) | (_, Some(memfd)) => {
                Mapping::new(memfd.as_fd(), self.capacity.max(1))?
            }
            (Into::Inline(_), None) => return self.finish(),
        };
        let written = write(&mapped)?;
        if written > self.capacity {
            return Err(Error::PayloadTooLong { length: written, limit: self.capacity });
        }
        if let Into::Inline(inline) = &mut self.into {
            // No more than fits the message.
            inline.resize(usize::try_from(written).unwrap_or(0), 0);
            mapped.read(0, inline)?;
        }
        drop(mapped);
        self.written = written;
        self.finish()
    }

    /// Makes the payload of what was written.
    pub fn finish(self) -> Result<Payload, Error> {
        match self.into {
            Into::Inline(bytes) => Ok(Payload::inline(bytes)),
            Into::Region(_) if self.written == 0 => Ok(Payload::inline(Vec::new())),
            Into::Region(memfd) => {
                memfd.freeze()?;
                Ok(Payload::at(memfd.into(), 0, self.written, None))
            }
        }
    }
}

impl io::Write for PayloadBuilder {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = self.capacity.saturating_sub(self.written);
        let part = usize::try_from(room).map_or(bytes, |room| bytes.get(..room).unwrap_or(bytes));
        self.append(part).map_err(io::Error::other)?;
        Ok(part.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
