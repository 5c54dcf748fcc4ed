// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! CPU access to a dma-buf: the bracket in which the CPU sees what devices wrote and devices will
//! see what the CPU wrote (`DMA_BUF_IOCTL_SYNC`, Documentation/driver-api/dma-buf.rst).

use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;

use crate::KernelError;

mod ioctl {
    nix::ioctl_write_ptr! {
        /// `DMA_BUF_IOCTL_SYNC` with a `struct dma_buf_sync`, which is its flags.
        sync, b'b', 0, u64
    }
}

/// `DMA_BUF_SYNC_END`; without it the bracket begins.
const END: u64 = 1 << 2;

/// What the CPU does inside the bracket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// It reads.
    Read,
    /// It writes every byte that it cares for.
    Write,
    /// It reads and writes.
    ReadWrite,
}

impl Direction {
    /// `DMA_BUF_SYNC_READ` and `DMA_BUF_SYNC_WRITE`.
    fn bits(self) -> u64 {
        match self {
            Direction::Read => 1,
            Direction::Write => 2,
            Direction::ReadWrite => 3,
        }
    }

    /// Whether bytes may be read.
    pub fn reads(self) -> bool {
        self != Direction::Write
    }

    /// Whether bytes may be written.
    pub fn writes(self) -> bool {
        self != Direction::Read
    }
}

/// Begins access to a dma-buf. Whoever calls this calls [`end`] for the same directions, at once or
/// one after the other; [`CpuAccess`] does it by itself. The kernel keeps no count.
pub fn begin(fd: BorrowedFd<'_>, direction: Direction) -> Result<(), KernelError> {
    sync(fd, direction.bits())
        .map_err(KernelError::context(|| format!("begin CPU access, {direction:?}")))
}

/// Ends access to a dma-buf.
pub fn end(fd: BorrowedFd<'_>, direction: Direction) -> Result<(), KernelError> {
    sync(fd, direction.bits() | END)
        .map_err(KernelError::context(|| format!("end CPU access, {direction:?}")))
}

/// CPU access that has begun and ends when this is dropped. Brackets nest.
#[derive(Debug)]
pub struct CpuAccess<'fd> {
    /// `None` once it has ended.
    dma_buf: Option<BorrowedFd<'fd>>,
    direction: Direction,
}

impl<'fd> CpuAccess<'fd> {
    /// Begins access to a dma-buf.
    pub fn begin(fd: BorrowedFd<'fd>, direction: Direction) -> Result<Self, KernelError> {
        begin(fd, direction)?;
        Ok(CpuAccess { dma_buf: Some(fd), direction })
    }

    /// Ends the access and says whether the kernel could; dropping ends it in silence.
    pub fn end(mut self) -> Result<(), KernelError> {
        self.finish()
    }

    fn finish(&mut self) -> Result<(), KernelError> {
        match self.dma_buf.take() {
            Some(fd) => end(fd, self.direction),
            None => Ok(()),
        }
    }
}

impl Drop for CpuAccess<'_> {
    fn drop(&mut self) {
        // `end` reports; here nobody is left to be told.
        let _ = self.finish();
    }
}

fn sync(fd: BorrowedFd<'_>, flags: u64) -> Result<(), Errno> {
    loop {
        // SAFETY: the descriptor is open as long as it is borrowed, and the ioctl only reads the
        // eight bytes of `flags`.
        match unsafe { ioctl::sync(fd.as_raw_fd(), &flags) } {
            Ok(_) => return Ok(()),
            // A signal, or a fence that is still in the way: the documentation says to try again.
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            Err(errno) => return Err(errno),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dma_heap::DmaHeap;
    use crate::memfd::Memfd;
    use berth_facilities::{missing, Facility};
    use std::os::fd::AsFd;

    #[test]
    fn a_descriptor_that_is_no_dma_buf_is_refused() {
        let memfd = Memfd::create("no dma-buf", 4096).unwrap();
        let error = CpuAccess::begin(memfd.as_fd(), Direction::Read).unwrap_err();
        assert_eq!(error.errno, Errno::ENOTTY);
    }

    #[test]
    #[ignore = "needs dma-heap-system"]
    fn brackets_on_a_dma_buf_nest_and_end_in_any_order() {
        if missing(Facility::DmaHeapSystem) {
            return;
        }
        let buffer = DmaHeap::open("system").unwrap().allocate(4096).unwrap();
        let begin = |direction| CpuAccess::begin(buffer.as_fd(), direction).unwrap();
        let reader = begin(Direction::Read);
        let writer = begin(Direction::Write);
        drop(begin(Direction::ReadWrite));
        reader.end().unwrap();
        begin(Direction::Read).end().unwrap();
        writer.end().unwrap();
    }

    #[test]
    #[ignore = "needs dma-heap-system"]
    fn the_kernel_refuses_a_bracket_without_a_direction() {
        if missing(Facility::DmaHeapSystem) {
            return;
        }
        // So the bits that `Direction` sets are those that the kernel reads.
        let buffer = DmaHeap::open("system").unwrap().allocate(4096).unwrap();
        for flags in [0, END, 1 << 3] {
            assert_eq!(sync(buffer.as_fd(), flags), Err(Errno::EINVAL), "flags {flags:#x}");
        }
    }
}
