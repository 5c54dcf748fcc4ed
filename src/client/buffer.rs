// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Buffers, their mappings, and the brackets in which the CPU may look.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use berth_kernel::cpu_access::{CpuAccess, Direction};
use berth_kernel::identity::{self, Identity};
use berth_kernel::mapping::{Mapping, Protection, ReadOnly, ReadWrite};
use vendor_berth_allocator::aidl::vendor::berth::allocator::{
    Access::Access, Buffer::Buffer as AidlBuffer, BufferInfo::BufferInfo,
};

use crate::session::Session;
use crate::Error;

/// A buffer of a session: the place there, and a descriptor of the memory. Dropping it closes the
/// descriptor and frees the buffer.
#[derive(Debug)]
pub struct Buffer {
    info: BufferInfo,
    fd: OwnedFd,
    /// Where it is to be freed.
    place: Option<Session>,
}

impl Buffer {
    /// A buffer from the service's answer, which is believed only as far as the kernel confirms it.
    pub(crate) fn new(session: &Session, answer: AidlBuffer) -> Result<Buffer, Error> {
        let AidlBuffer { info, fd } = answer;
        let fd = fd.ok_or_else(|| Error::BadAnswer(format!("no descriptor for {}", info.id)))?;
        // Freed on every way out from here.
        let buffer = Buffer { info, fd: fd.into(), place: Some(session.clone()) };
        let there = identity::size(buffer.fd.as_fd())?;
        let info = &buffer.info;
        if info.allocationBytes < info.sizeBytes || info.allocationBytes.unsigned_abs() > there {
            let (id, size, whole) = (info.id, info.sizeBytes, info.allocationBytes);
            let message = format!("{size} of {whole} bytes in {id}, which has {there}");
            return Err(Error::BadAnswer(message));
        }
        Ok(buffer)
    }

    /// What the buffer is.
    pub fn info(&self) -> &BufferInfo {
        &self.info
    }

    /// The memory's identity: the same for every descriptor of it, in every process.
    pub fn identity(&self) -> Result<Identity, Error> {
        Ok(Identity::of(self.fd.as_fd())?)
    }

    /// The bytes that were asked for.
    pub fn size(&self) -> u64 {
        self.info.sizeBytes.unsigned_abs()
    }

    /// Maps the buffer to read and write.
    pub fn map(&self) -> Result<MappedBuffer<'_, ReadWrite>, Error> {
        if self.info.access == Access::READ_ONLY {
            return Err(Error::ReadOnly(self.info.id));
        }
        self.map_as()
    }

    /// Maps the buffer to read.
    pub fn map_read_only(&self) -> Result<MappedBuffer<'_, ReadOnly>, Error> {
        self.map_as()
    }

    fn map_as<P: Protection>(&self) -> Result<MappedBuffer<'_, P>, Error> {
        let mapping = Mapping::new(self.fd.as_fd(), self.size())?;
        Ok(MappedBuffer { buffer: self, mapping })
    }

    /// Lets the buffer stay in its session when the handle goes.
    pub(crate) fn without_place(mut self) -> Buffer {
        self.place = None;
        self
    }

    /// Closes the descriptor and leaves the freeing to the caller.
    pub(crate) fn into_id(self) -> i64 {
        self.without_place().info.id
    }
}

impl AsFd for Buffer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(session) = self.place.take() {
            if let Err(error) = session.free_ids(&[self.info.id]) {
                log::debug!("buffer {} was not freed: {error}", self.info.id);
            }
        }
    }
}

/// A mapped buffer; unmapped when dropped.
#[derive(Debug)]
pub struct MappedBuffer<'buffer, P: Protection> {
    buffer: &'buffer Buffer,
    mapping: Mapping<P>,
}

impl<P: Protection> MappedBuffer<'_, P> {
    /// The mapped bytes: those that were asked for.
    pub fn size(&self) -> usize {
        self.mapping.size()
    }

    /// The mapping itself, for structures that processes share in a region. On a dma-buf its bytes
    /// mean something only inside of a bracket.
    pub fn mapping(&self) -> &Mapping<P> {
        &self.mapping
    }

    /// Begins to read: from here on the CPU sees what devices and processes wrote.
    pub fn begin_read(&self) -> Result<ReadAccess<'_, P>, Error> {
        let access = self.begin(Direction::Read)?;
        Ok(ReadAccess { mapping: &self.mapping, access })
    }

    fn begin(&self, direction: Direction) -> Result<CpuAccess<'_>, Error> {
        if self.buffer.info.dmaBuf {
            Ok(CpuAccess::begin(self.buffer.fd.as_fd(), direction)?)
        } else {
            Ok(CpuAccess::coherent(direction))
        }
    }
}

impl MappedBuffer<'_, ReadWrite> {
    /// Begins to read and write.
    pub fn begin_write(&self) -> Result<WriteAccess<'_>, Error> {
        let access = self.begin(Direction::ReadWrite)?;
        Ok(WriteAccess(ReadAccess { mapping: &self.mapping, access }))
    }
}

/// A bracket in which the CPU may read; ends when dropped. Brackets nest.
#[derive(Debug)]
pub struct ReadAccess<'mapped, P: Protection> {
    mapping: &'mapped Mapping<P>,
    access: CpuAccess<'mapped>,
}

impl<P: Protection> ReadAccess<'_, P> {
    /// Copies bytes from `offset` out of the buffer. Another process may be writing them: they are
    /// what was there, byte by byte, and no more.
    pub fn read(&self, offset: usize, into: &mut [u8]) -> Result<(), Error> {
        Ok(self.mapping.read(offset, into)?)
    }

    /// Ends the bracket and says whether the kernel could.
    pub fn end(self) -> Result<(), Error> {
        Ok(self.access.end()?)
    }
}

/// A bracket in which the CPU may read and write; ends when dropped.
#[derive(Debug)]
pub struct WriteAccess<'mapped>(ReadAccess<'mapped, ReadWrite>);

impl WriteAccess<'_> {
    /// Copies bytes from `offset` out of the buffer.
    pub fn read(&self, offset: usize, into: &mut [u8]) -> Result<(), Error> {
        self.0.read(offset, into)
    }

    /// Copies bytes into the buffer at `offset`.
    pub fn write(&self, offset: usize, from: &[u8]) -> Result<(), Error> {
        Ok(self.0.mapping.write(offset, from)?)
    }

    /// Sets `length` bytes from `offset` to one value.
    pub fn fill(&self, offset: usize, length: usize, value: u8) -> Result<(), Error> {
        Ok(self.0.mapping.fill(offset, length, value)?)
    }

    /// Ends the bracket and says whether the kernel could.
    pub fn end(self) -> Result<(), Error> {
        self.0.end()
    }
}
