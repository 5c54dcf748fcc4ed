// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! What a handle stands for: a buffer, or the second descriptor of one, mapped like anybody's.

use std::os::fd::{AsFd, BorrowedFd};

use anyhow::Result;
use berth_client::{Buffer, ForeignMemory, MappedBuffer, ReadOnly, ReadWrite};

/// Memory under a handle.
pub enum Memory<'held> {
    Buffer(&'held Buffer),
    Second(&'held ForeignMemory),
}

impl<'held> Memory<'held> {
    /// Bytes that can be mapped.
    pub fn size(&self) -> Result<u64> {
        Ok(match self {
            Memory::Buffer(buffer) => buffer.size(),
            Memory::Second(memory) => memory.size()?,
        })
    }

    /// Maps it to read and write.
    pub fn map(&self) -> Result<MappedBuffer<'held, ReadWrite>> {
        Ok(match self {
            Memory::Buffer(buffer) => buffer.map()?,
            Memory::Second(memory) => memory.map(..)?,
        })
    }

    /// Maps it to read.
    pub fn map_read_only(&self) -> Result<MappedBuffer<'held, ReadOnly>> {
        Ok(match self {
            Memory::Buffer(buffer) => buffer.map_read_only()?,
            Memory::Second(memory) => memory.map_read_only(..)?,
        })
    }
}

impl AsFd for Memory<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Memory::Buffer(buffer) => buffer.as_fd(),
            Memory::Second(memory) => memory.as_fd(),
        }
    }
}

/// The first byte of a buffer, read as a reader should.
pub fn first_byte(buffer: &Buffer) -> Result<u8> {
    let mapped = buffer.map_read_only()?;
    let mut byte = [0];
    let access = mapped.begin_read()?;
    access.read(0, &mut byte)?;
    access.end()?;
    Ok(byte[0])
}
