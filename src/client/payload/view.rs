// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Payloads as their receiver sees them, who believes nothing but the kernel.

use std::borrow::Cow;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use berth_kernel::descriptor::{duplicate, DescriptorKind};
use berth_kernel::frozen::FrozenMapping;
use berth_kernel::mapping::{Mapping, ReadOnly};
use berth_kernel::memfd::{self, SealFlag};
use berth_kernel::{ashmem, identity};

use super::PayloadParcel;
use crate::{Error, ForeignKind};

/// How much is copied at a time where bytes go elsewhere.
const BLOCK_BYTES: usize = 64 << 10;

/// The bytes of a payload that came. The variant says whether somebody may still change them.
#[derive(Debug)]
pub enum PayloadView<'parcel> {
    /// In the message, which is this process's own.
    Inline(Cow<'parcel, [u8]>),
    /// In a region that nobody can write any more: a slice without a copy.
    Frozen(FrozenMapping),
    /// In a region that its sender, at least, may write at any time: to be copied before it is looked
    /// at.
    Live(LiveBytes),
}

impl<'parcel> PayloadView<'parcel> {
    /// Looks at a payload of at most `limit` bytes, from whomever. As long as the view lives, its
    /// sender does not use the region again.
    ///
    /// Pages of a region that the sender never wrote come when they are read, at the receiver's cost:
    /// `limit` bounds that too.
    ///
    /// # Errors
    ///
    /// [`Error::PayloadTooLong`]; [`Error::MayShrink`] if the region could be made smaller while it is
    /// read, which would end the reader; [`Error::BadPayload`] for a descriptor of anything but a memfd or
    /// an ashmem region, and for offsets and lengths that are not there.
    pub fn open(parcel: &'parcel PayloadParcel, limit: u64) -> Result<PayloadView<'parcel>, Error> {
        let Some(region) = &parcel.region else { return inline(parcel, limit) };
        if !parcel.inlineBytes.is_empty() {
            let bytes = parcel.inlineBytes.len();
            return Err(Error::BadPayload(format!("{bytes} bytes beside a region")));
        }
        let (offset, length) = (parcel.offsetBytes, parcel.lengthBytes);
        let place = u64::try_from(offset).ok().zip(u64::try_from(length).ok());
        let Some((offset, length)) = place.filter(|(_, length)| *length > 0) else {
            return Err(Error::BadPayload(format!("{length} bytes at offset {offset}")));
        };
        if length > limit {
            return Err(Error::PayloadTooLong { length, limit });
        }
        let fd = region.as_ref().as_fd();
        let is_frozen = check_seals(fd)?;
        let there = identity::size(fd)?;
        if offset.checked_add(length).map_or(true, |end| end > there) {
            return Err(Error::BadPayload(format!(
                "{length} bytes at offset {offset} of a region of {there}"
            )));
        }
        if is_frozen {
            return Ok(PayloadView::Frozen(FrozenMapping::of_range(fd, offset, length)?));
        }
        let lease = parcel.lease.as_ref().map(|lease| duplicate(lease.as_ref().as_fd()));
        Ok(PayloadView::Live(LiveBytes {
            mapping: Mapping::of_range(fd, offset, length)?,
            _lease: lease.transpose()?,
        }))
    }

    /// The same view beyond the call that brought the payload. What came in the message is copied,
    /// what is in a region is not.
    pub fn into_owned(self) -> PayloadView<'static> {
        match self {
            PayloadView::Inline(bytes) => PayloadView::Inline(Cow::Owned(bytes.into_owned())),
            PayloadView::Frozen(bytes) => PayloadView::Frozen(bytes),
            PayloadView::Live(bytes) => PayloadView::Live(bytes),
        }
    }

    /// How many bytes.
    pub fn len(&self) -> usize {
        match self {
            PayloadView::Inline(bytes) => bytes.len(),
            PayloadView::Frozen(bytes) => bytes.len(),
            PayloadView::Live(bytes) => bytes.mapping.size(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes without a copy; `None` if somebody may still write them.
    pub fn bytes(&self) -> Option<&[u8]> {
        match self {
            PayloadView::Inline(bytes) => Some(bytes),
            PayloadView::Frozen(bytes) => Some(bytes),
            PayloadView::Live(_) => None,
        }
    }

    /// Copies bytes from `offset` on out.
    pub fn read(&self, offset: usize, into: &mut [u8]) -> Result<(), Error> {
        let bytes: &[u8] = match self {
            PayloadView::Live(bytes) => return bytes.read(offset, into),
            PayloadView::Inline(bytes) => bytes,
            PayloadView::Frozen(bytes) => bytes,
        };
        let end = offset.checked_add(into.len());
        let part = end.and_then(|end| bytes.get(offset..end));
        let out = crate::OutOfRange { offset, length: into.len(), size: bytes.len() };
        into.copy_from_slice(part.ok_or(out)?);
        Ok(())
    }

    /// A copy of all of them.
    pub fn to_vec(&self) -> Result<Vec<u8>, Error> {
        if let Some(bytes) = self.bytes() {
            return Ok(bytes.to_vec());
        }
        let mut all = vec![0; self.len()];
        self.read(0, &mut all)?;
        Ok(all)
    }

    /// Writes all of them somewhere, at most 64 KiB of copies at a time.
    pub fn write_to(&self, mut to: impl io::Write) -> Result<(), Error> {
        if let Some(bytes) = self.bytes() {
            return Ok(to.write_all(bytes)?);
        }
        let mut block = vec![0; BLOCK_BYTES.min(self.len())];
        let mut done = 0;
        while done < self.len() {
            let length = block.len().min(self.len().saturating_sub(done));
            let part = block.get_mut(..length).unwrap_or_default();
            self.read(done, part)?;
            to.write_all(part)?;
            done = done.saturating_add(length);
        }
        Ok(())
    }
}

fn inline(parcel: &PayloadParcel, limit: u64) -> Result<PayloadView<'_>, Error> {
    if parcel.offsetBytes != 0 || parcel.lengthBytes != 0 || parcel.lease.is_some() {
        return Err(Error::BadPayload("a place in a region that did not come".to_owned()));
    }
    let length = parcel.inlineBytes.len() as u64;
    if length > limit {
        return Err(Error::PayloadTooLong { length, limit });
    }
    Ok(PayloadView::Inline(Cow::Borrowed(&parcel.inlineBytes)))
}

/// Whether nobody can write the region any more; an error if it is none, or could shrink.
fn check_seals(fd: BorrowedFd<'_>) -> Result<bool, Error> {
    match DescriptorKind::of(fd)? {
        DescriptorKind::Memfd if FrozenMapping::is_frozen(fd) => Ok(true),
        DescriptorKind::Memfd if memfd::seals(fd)?.contains(SealFlag::F_SEAL_SHRINK) => Ok(false),
        DescriptorKind::Memfd => Err(Error::MayShrink(ForeignKind::Memfd)),
        DescriptorKind::Ashmem => {
            ashmem::fix(fd)?;
            Ok(false)
        }
        other => Err(Error::BadPayload(format!("{other} as a region"))),
    }
}

/// Bytes that their sender may still write. Two reads of the same place may differ: what is to be
/// checked is copied first.
#[derive(Debug)]
pub struct LiveBytes {
    mapping: Mapping<ReadOnly>,
    /// As long as it is here the sender does not use the region again.
    _lease: Option<OwnedFd>,
}

impl LiveBytes {
    /// How many bytes.
    pub fn len(&self) -> usize {
        self.mapping.size()
    }

    /// Whether there are none; there always are.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Copies bytes from `offset` on out.
    pub fn read(&self, offset: usize, into: &mut [u8]) -> Result<(), Error> {
        Ok(self.mapping.read(offset, into)?)
    }

    /// The mapping itself, for atomic words that both ends agree on.
    pub fn mapping(&self) -> &Mapping<ReadOnly> {
        &self.mapping
    }
}
