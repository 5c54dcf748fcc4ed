// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Mapped memory, and the brackets in which the CPU may look at it.
//!
//! What another process may write has no `&[u8]`, and no `&mut [u8]` at all: a reference promises the
//! compiler that bytes stay what they are. Bytes are copied in and out instead, whole rows at a time,
//! which costs what `memcpy` does.

use std::os::fd::AsFd;
use std::time::Duration;

use berth_kernel::cpu_access::Direction;
use berth_kernel::mapping::{Mapping, Protection, ReadOnly, ReadWrite};

use crate::brackets::{Bracket, BracketedFd, Deadline};
use crate::fence::Fence;
use crate::plane::{Plane, PlaneView};
use crate::Error;

/// Mapped memory: of a [`Buffer`](crate::Buffer), of [`ForeignMemory`](crate::ForeignMemory), or
/// shared by a [`MappingCache`](crate::MappingCache); unmapped when dropped. Its type says whether it
/// can be written.
#[derive(Debug)]
pub struct MappedBuffer<'buffer, P: Protection> {
    mapping: Mapping<P>,
    dma_buf: Option<Lent<'buffer>>,
}

/// What needs brackets.
#[derive(Debug)]
enum Lent<'buffer> {
    Borrowed(&'buffer BracketedFd),
    Owned(BracketedFd),
}

impl<'buffer, P: Protection> MappedBuffer<'buffer, P> {
    /// A mapping of a dma-buf, or of memory that only CPUs share.
    pub(crate) fn new(mapping: Mapping<P>, dma_buf: Option<&'buffer BracketedFd>) -> Self {
        MappedBuffer { mapping, dma_buf: dma_buf.map(Lent::Borrowed) }
    }

    /// The same with a descriptor of its own.
    pub(crate) fn owning(
        mapping: Mapping<P>,
        dma_buf: Option<BracketedFd>,
    ) -> MappedBuffer<'static, P> {
        MappedBuffer { mapping, dma_buf: dma_buf.map(Lent::Owned) }
    }

    /// The mapped bytes: those that were asked for.
    pub fn size(&self) -> usize {
        self.mapping.size()
    }

    /// The mapping itself, for structures that processes share in a region. On a dma-buf its bytes
    /// mean something only inside of a bracket.
    pub fn mapping(&self) -> &Mapping<P> {
        &self.mapping
    }

    /// Has every page of the mapping there before it is touched, charged to this process. The service
    /// never does that for a client.
    pub fn prefault(&self) -> Result<(), Error> {
        Ok(self.mapping.prefault()?)
    }

    /// Begins to read: from here on the CPU sees what devices and processes wrote. Waits as long as a
    /// device is writing.
    ///
    /// Brackets on one handle nest and overlap as they like, in any threads: the kernel is told of the
    /// first and the last to read, and of the first and the last to write.
    pub fn begin_read(&self) -> Result<ReadAccess<'_, P>, Error> {
        self.read_access(None)
    }

    /// The same after a fence, if there is one, waiting at most `within` for it and for devices that
    /// write: [`Error::NotReady`] if they took longer.
    ///
    /// That is no deadline for the call. When they are done the kernel begins the access
    /// (`DMA_BUF_IOCTL_SYNC`), looks for devices itself and waits for them without end: one that goes
    /// to work between the last look and the ioctl, or a driver that takes its time over caches, holds
    /// the call up for as long as it likes. Only who decides when devices begin, as whoever has a slot
    /// of a pool, can rule that out.
    pub fn begin_read_after(
        &self,
        fence: Option<&Fence>,
        within: Duration,
    ) -> Result<ReadAccess<'_, P>, Error> {
        self.read_access(Some(after(fence, within)?))
    }

    fn read_access(&self, deadline: Option<Deadline>) -> Result<ReadAccess<'_, P>, Error> {
        let bracket = self.begin(Direction::Read, deadline)?;
        Ok(ReadAccess(Access { mapping: &self.mapping, bracket }))
    }

    fn begin(
        &self,
        direction: Direction,
        deadline: Option<Deadline>,
    ) -> Result<Bracket<'_>, Error> {
        let dma_buf = self.dma_buf.as_ref().map(|lent| match lent {
            Lent::Borrowed(fd) => *fd,
            Lent::Owned(fd) => fd,
        });
        Bracket::begin(dma_buf, direction, deadline)
    }
}

impl MappedBuffer<'_, ReadWrite> {
    /// Begins to read and write. Waits as long as a device is reading or writing.
    pub fn begin_write(&self) -> Result<WriteAccess<'_>, Error> {
        self.write_access(Direction::ReadWrite, None)
    }

    /// The same after a fence, if there is one, waiting at most `within` for it and for devices:
    /// [`Error::NotReady`] if they took longer. No deadline for the call, as
    /// [`begin_read_after`](Self::begin_read_after) says.
    pub fn begin_write_after(
        &self,
        fence: Option<&Fence>,
        within: Duration,
    ) -> Result<WriteAccess<'_>, Error> {
        self.write_access(Direction::ReadWrite, Some(after(fence, within)?))
    }

    /// Begins to write every byte that matters: what is read meanwhile may be stale. Cheaper than
    /// [`begin_write`](Self::begin_write) where caches are not coherent.
    pub fn begin_overwrite(&self) -> Result<WriteAccess<'_>, Error> {
        self.write_access(Direction::Write, None)
    }

    /// The same after a fence, as [`begin_write_after`](Self::begin_write_after).
    pub fn begin_overwrite_after(
        &self,
        fence: Option<&Fence>,
        within: Duration,
    ) -> Result<WriteAccess<'_>, Error> {
        self.write_access(Direction::Write, Some(after(fence, within)?))
    }

    fn write_access(
        &self,
        direction: Direction,
        deadline: Option<Deadline>,
    ) -> Result<WriteAccess<'_>, Error> {
        let bracket = self.begin(direction, deadline)?;
        Ok(WriteAccess(Access { mapping: &self.mapping, bracket }))
    }
}

/// Waits for a fence; what is left of the time is for the brackets.
fn after(fence: Option<&Fence>, within: Duration) -> Result<Deadline, Error> {
    let deadline = Deadline::after(within);
    if let Some(fence) = fence {
        fence.wait_until(deadline)?;
    }
    Ok(deadline)
}

/// A bracket in which the CPU may read; ends when dropped.
#[derive(Debug)]
pub struct ReadAccess<'mapped, P: Protection>(Access<'mapped, P>);

/// A bracket in which the CPU may read and write; ends when dropped.
#[derive(Debug)]
pub struct WriteAccess<'mapped>(Access<'mapped, ReadWrite>);

#[derive(Debug)]
struct Access<'mapped, P: Protection> {
    mapping: &'mapped Mapping<P>,
    bracket: Bracket<'mapped>,
}

impl<P: Protection> Access<'_, P> {
    fn end_with_fence(self, next: Direction) -> Result<Option<Fence>, Error> {
        let dma_buf = self.bracket.end()?;
        dma_buf.map(|fd| Fence::export(fd.as_fd(), next)).transpose()
    }

    fn end_before(self, fence: &Fence, work: Direction) -> Result<(), Error> {
        match self.bracket.end()? {
            Some(fd) => fence.import(fd.as_fd(), work),
            None => Err(Error::NoFences),
        }
    }
}

/// What every bracket can do.
macro_rules! every_access {
    () => {
        /// Copies bytes from `offset` out of the buffer. Another process may be writing them: they
        /// are what was there, byte by byte, and no more.
        pub fn read(&self, offset: usize, into: &mut [u8]) -> Result<(), Error> {
            Ok(self.0.mapping.read(offset, into)?)
        }

        /// Ends the bracket and says whether the kernel could.
        pub fn end(self) -> Result<(), Error> {
            self.0.bracket.end().map(drop)
        }

        /// Ends the bracket and answers what the next one to access the memory has to wait for: work
        /// that devices were given meanwhile. The CPU's own is done. `None` of memory that only CPUs
        /// share.
        pub fn end_with_fence(self, next: Direction) -> Result<Option<Fence>, Error> {
            self.0.end_with_fence(next)
        }

        /// Ends the bracket and has everybody who comes next wait for a fence: that of work on the
        /// memory, reading or writing it, which begins when the bracket ends.
        /// [`Error::NoFences`] for memory that only CPUs share.
        pub fn end_before(self, fence: &Fence, work: Direction) -> Result<(), Error> {
            self.0.end_before(fence, work)
        }
    };
}

impl<P: Protection> ReadAccess<'_, P> {
    every_access!();

    /// A plane of an image, row by row.
    pub fn plane<'a>(&'a self, plane: &'a Plane) -> Result<PlaneView<'a, P>, Error> {
        PlaneView::new(self.0.mapping, plane)
    }
}

impl WriteAccess<'_> {
    every_access!();

    /// A plane of an image, row by row.
    pub fn plane<'a>(&'a self, plane: &'a Plane) -> Result<PlaneView<'a, ReadWrite>, Error> {
        PlaneView::new(self.0.mapping, plane)
    }

    /// Copies bytes into the buffer at `offset`.
    pub fn write(&self, offset: usize, from: &[u8]) -> Result<(), Error> {
        Ok(self.0.mapping.write(offset, from)?)
    }

    /// Sets `length` bytes from `offset` to one value.
    pub fn fill(&self, offset: usize, length: usize, value: u8) -> Result<(), Error> {
        Ok(self.0.mapping.fill(offset, length, value)?)
    }
}

/// All of this may be used from several threads.
const _: () = {
    const fn is_shared<T: Send + Sync>() {}
    is_shared::<MappedBuffer<'static, ReadOnly>>();
    is_shared::<MappedBuffer<'static, ReadWrite>>();
    is_shared::<ReadAccess<'static, ReadOnly>>();
    is_shared::<WriteAccess<'static>>();
};
