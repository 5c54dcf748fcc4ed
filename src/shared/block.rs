// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! What every structure in shared memory begins with: what it is, in which version, how long.
//!
//! ```text
//! 0   magic     u32  what it is; written last, so that nobody takes half a block for one
//! 4   version   u32  of the layout behind this header
//! 8   bytes     u32  of the whole block, this header included
//! 12  shape     u32  what else the kind needs to know before it reads on, as a capacity
//! ```
//!
//! All numbers are in the machine's own byte order: the memory never leaves it.

use std::sync::atomic::Ordering;

use berth_kernel::mapping::{Mapping, OutOfRange, ReadWrite};

/// Bytes of the header.
pub const HEADER_BYTES: usize = 16;

/// A kind of block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// In words, for errors.
    pub name: &'static str,
    /// Four letters.
    pub magic: [u8; 4],
    /// Of its layout.
    pub version: u32,
}

/// Why memory is not the block that somebody says it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    /// It says that it is something else, or nobody made one there.
    #[error("no {kind} is there: it begins with {found:#010x}, not {expected:#010x}")]
    Magic {
        /// What was looked for.
        kind: &'static str,
        /// What the memory begins with.
        found: u32,
        /// What it should begin with.
        expected: u32,
    },
    /// Its layout is another one.
    #[error("a {kind} of version {found}; known is {known}")]
    Version {
        /// What it is.
        kind: &'static str,
        /// The version in the header.
        found: u32,
        /// The version of this library.
        known: u32,
    },
    /// It says that it is longer than the memory, or shorter than its kind can be.
    #[error("a {kind} that calls itself {bytes} bytes long; it must have {least} to {most}")]
    Length {
        /// What it is.
        kind: &'static str,
        /// The length in the header.
        bytes: u32,
        /// The least that such a block has.
        least: usize,
        /// Bytes of memory from its start.
        most: usize,
    },
    /// The header itself leaves the memory.
    #[error(transparent)]
    OutOfRange(#[from] OutOfRange),
}

/// A header that was read once and checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Bytes of the block, all of them in the memory.
    pub bytes: usize,
    /// As its maker wrote it; not checked.
    pub shape: u32,
}

/// Writes a header at `offset`, a multiple of 4. All else in the block is written before: who finds
/// the header finds the rest.
pub fn publish(
    memory: &Mapping<ReadWrite>,
    offset: usize,
    kind: Kind,
    header: Header,
) -> Result<(), BlockError> {
    let most = memory.size().saturating_sub(offset);
    let bytes = u32::try_from(header.bytes).unwrap_or(u32::MAX);
    if header.bytes > most || header.bytes < HEADER_BYTES {
        return Err(BlockError::Length { kind: kind.name, bytes, least: HEADER_BYTES, most });
    }
    memory.word(offset.saturating_add(4))?.store(kind.version, Ordering::Relaxed);
    memory.word(offset.saturating_add(8))?.store(bytes, Ordering::Relaxed);
    memory.word(offset.saturating_add(12))?.store(header.shape, Ordering::Relaxed);
    memory.word(offset)?.store(u32::from_ne_bytes(kind.magic), Ordering::Release);
    Ok(())
}

/// Reads the header at `offset` once. A block of this kind has `least` bytes or more.
pub fn check(
    memory: &Mapping<ReadWrite>,
    offset: usize,
    kind: Kind,
    least: usize,
) -> Result<Header, BlockError> {
    check_within(memory, offset, kind, least, memory.size().saturating_sub(offset))
}

/// The same when only a part of the memory is mapped yet, of which `most` bytes follow from `offset`.
pub fn check_within(
    memory: &Mapping<ReadWrite>,
    offset: usize,
    kind: Kind,
    least: usize,
    most: usize,
) -> Result<Header, BlockError> {
    let expected = u32::from_ne_bytes(kind.magic);
    let found = memory.word(offset)?.load(Ordering::Acquire);
    if found != expected {
        return Err(BlockError::Magic { kind: kind.name, found, expected });
    }
    let found = memory.word(offset.saturating_add(4))?.load(Ordering::Relaxed);
    if found != kind.version {
        return Err(BlockError::Version { kind: kind.name, found, known: kind.version });
    }
    let bytes = memory.word(offset.saturating_add(8))?.load(Ordering::Relaxed);
    let shape = memory.word(offset.saturating_add(12))?.load(Ordering::Relaxed);
    match usize::try_from(bytes) {
        Ok(length) if (least.max(HEADER_BYTES)..=most).contains(&length) => {
            Ok(Header { bytes: length, shape })
        }
        _ => Err(BlockError::Length { kind: kind.name, bytes, least, most }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use berth_kernel::memfd::Memfd;
    use std::os::fd::AsFd;

    const KIND: Kind = Kind { name: "test block", magic: *b"test", version: 3 };

    fn page() -> Mapping<ReadWrite> {
        let memfd = Memfd::create("block", 4096).unwrap();
        Mapping::new(memfd.as_fd(), 4096).unwrap()
    }

    #[test]
    #[cfg_attr(miri, ignore = "needs a kernel")]
    fn a_header_is_found_as_it_was_published() {
        let memory = page();
        let header = Header { bytes: 4096 - 64, shape: 7 };
        publish(&memory, 64, KIND, header).unwrap();
        assert_eq!(check(&memory, 64, KIND, 4032), Ok(header));
    }

    #[test]
    #[cfg_attr(miri, ignore = "needs a kernel")]
    fn each_field_that_is_wrong_has_its_own_error() {
        let memory = page();
        let expected = u32::from_ne_bytes(*b"test");
        let magic = BlockError::Magic { kind: "test block", found: 0, expected };
        assert_eq!(check(&memory, 0, KIND, 16), Err(magic));
        publish(&memory, 0, KIND, Header { bytes: 1024, shape: 0 }).unwrap();
        let newer = Kind { version: 4, ..KIND };
        let version = BlockError::Version { kind: "test block", found: 3, known: 4 };
        assert_eq!(check(&memory, 0, newer, 16), Err(version));
        for bytes in [0, 15, 1023, 4097, u32::MAX] {
            memory.word(8).unwrap().store(bytes, Ordering::Relaxed);
            let length = BlockError::Length { kind: "test block", bytes, least: 1024, most: 4096 };
            assert_eq!(check(&memory, 0, KIND, 1024), Err(length));
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "needs a kernel")]
    fn a_header_that_leaves_the_memory_is_refused() {
        let memory = page();
        for offset in [4092, 4096, 2, usize::MAX - 3] {
            assert!(check(&memory, offset, KIND, 16).is_err(), "offset {offset}");
            let header = Header { bytes: 16, shape: 0 };
            assert!(publish(&memory, offset, KIND, header).is_err(), "offset {offset}");
        }
    }
}
