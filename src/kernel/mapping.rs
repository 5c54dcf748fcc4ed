// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Shared mappings of buffers and regions.
//!
//! Another process may write to the memory at any moment, so no Rust reference to it is ever made:
//! bytes are copied in and out through raw pointers. What is read may be torn; it is never unsound.

use std::marker::PhantomData;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::AtomicU32;

use nix::errno::Errno;
// Not nix's, whose types changed with each of the versions that Android 14, 15 and 16 carry.
use nix::libc::{c_int, c_void, mmap, munmap, MAP_FAILED, MAP_SHARED, PROT_READ, PROT_WRITE};

use crate::{identity, KernelError};

mod sealed {
    pub trait Sealed {
        const PROTECTION: super::c_int;
    }
}

/// What a mapping permits: [`ReadOnly`] or [`ReadWrite`].
pub trait Protection: sealed::Sealed {}

/// Bytes can be read.
#[derive(Debug)]
pub enum ReadOnly {}
/// Bytes can be read and written.
#[derive(Debug)]
pub enum ReadWrite {}

impl sealed::Sealed for ReadOnly {
    const PROTECTION: c_int = PROT_READ;
}
impl Protection for ReadOnly {}
impl sealed::Sealed for ReadWrite {
    const PROTECTION: c_int = PROT_READ | PROT_WRITE;
}
impl Protection for ReadWrite {}

/// An access that leaves the mapping, or a word that is not aligned in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{length} bytes at offset {offset} leave a mapping of {size} bytes or cross a word in it")]
pub struct OutOfRange {
    /// Where the access began, in bytes.
    pub offset: usize,
    /// How many bytes it wanted.
    pub length: usize,
    /// How many bytes there are.
    pub size: usize,
}

/// A mapping of shared memory from its start; unmapped when dropped.
#[derive(Debug)]
pub struct Mapping<P: Protection> {
    start: NonNull<c_void>,
    size: usize,
    _protection: PhantomData<P>,
}

// SAFETY: the mapping belongs to the process, not to a thread, and is only reached by copies
// through raw pointers, which make no assumption about who else writes.
unsafe impl<P: Protection> Send for Mapping<P> {}
// SAFETY: as for `Send`; concurrent copies by several threads are no worse than by several
// processes, which the type has to bear anyhow.
unsafe impl<P: Protection> Sync for Mapping<P> {}

impl<P: Protection> Mapping<P> {
    /// Maps the first `bytes` of what `fd` is open on, 1 or more. The kernel is asked how much there
    /// is: a mapping beyond the end would raise SIGBUS when touched.
    pub fn new(fd: BorrowedFd<'_>, bytes: u64) -> Result<Mapping<P>, KernelError> {
        let refuse = |errno| KernelError::new(format!("map {bytes} bytes"), errno);
        let there = identity::size(fd)?;
        if bytes > there {
            let operation = format!("map {bytes} bytes of a descriptor that has {there}");
            return Err(KernelError::new(operation, Errno::EOVERFLOW));
        }
        let size = usize::try_from(bytes).map_err(|_| refuse(Errno::ENOMEM))?;
        // SAFETY: without MAP_FIXED the kernel chooses an address range that nothing else uses, so
        // no memory of this program changes.
        let start =
            unsafe { mmap(ptr::null_mut(), size, P::PROTECTION, MAP_SHARED, fd.as_raw_fd(), 0) };
        if start == MAP_FAILED {
            return Err(refuse(Errno::last()));
        }
        let start = NonNull::new(start).ok_or(refuse(Errno::EFAULT))?;
        Ok(Mapping { start, size, _protection: PhantomData })
    }

    /// Bytes mapped.
    pub fn size(&self) -> usize {
        self.size
    }

    /// The first byte. Valid while the mapping lives; another process may write there at any time.
    pub fn as_ptr(&self) -> *const u8 {
        self.start.as_ptr().cast_const().cast()
    }

    /// Copies bytes from `offset` out of the mapping.
    pub fn read(&self, offset: usize, into: &mut [u8]) -> Result<(), OutOfRange> {
        self.check(offset, into.len())?;
        // SAFETY: `check` proved that the range lies in the mapping, which lives as long as `self`;
        // `into` is memory of this program that cannot overlap it. No reference to the shared bytes
        // is made, and any value of a byte is a valid `u8`.
        unsafe {
            let from = self.as_ptr().add(offset);
            std::ptr::copy_nonoverlapping(from, into.as_mut_ptr(), into.len());
        }
        Ok(())
    }

    fn check(&self, offset: usize, length: usize) -> Result<(), OutOfRange> {
        match offset.checked_add(length) {
            Some(end) if end <= self.size => Ok(()),
            _ => Err(OutOfRange { offset, length, size: self.size }),
        }
    }
}

impl Mapping<ReadWrite> {
    /// The aligned 32-bit word at `offset`, a multiple of 4, for processes that agree on it. Any
    /// process may have stored any value there.
    pub fn word(&self, offset: usize) -> Result<&AtomicU32, OutOfRange> {
        let length = size_of::<AtomicU32>();
        self.check(offset, length)?;
        if offset % length != 0 {
            return Err(OutOfRange { offset, length, size: self.size });
        }
        // SAFETY: the word lies in the mapping and is aligned, as mappings start at a page; it is
        // valid for the life of `self`. Other processes change it, which an atomic permits, and any
        // bits are a valid `u32`.
        Ok(unsafe { &*self.start.as_ptr().cast::<u8>().add(offset).cast::<AtomicU32>() })
    }

    /// Copies bytes into the mapping at `offset`.
    pub fn write(&self, offset: usize, from: &[u8]) -> Result<(), OutOfRange> {
        self.check(offset, from.len())?;
        // SAFETY: as in `read`, with the directions exchanged; the mapping is writable by its type.
        unsafe {
            let into = self.start.as_ptr().cast::<u8>().add(offset);
            std::ptr::copy_nonoverlapping(from.as_ptr(), into, from.len());
        }
        Ok(())
    }

    /// Sets `length` bytes from `offset` to one value.
    pub fn fill(&self, offset: usize, length: usize, value: u8) -> Result<(), OutOfRange> {
        self.check(offset, length)?;
        // SAFETY: as in `write`.
        unsafe {
            let into = self.start.as_ptr().cast::<u8>().add(offset);
            std::ptr::write_bytes(into, value, length);
        }
        Ok(())
    }
}

impl<P: Protection> Drop for Mapping<P> {
    fn drop(&mut self) {
        // SAFETY: `start` and `size` are those of the mapping made in `new`, which this value owns
        // alone; no pointer that it gave out may be used after it.
        let unmapped = unsafe { munmap(self.start.as_ptr(), self.size) };
        debug_assert!(unmapped == 0, "munmap of an owned mapping");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memfd::Memfd;
    use proptest::prelude::*;
    use std::os::fd::AsFd;

    #[test]
    fn two_mappings_of_one_memfd_share_bytes() {
        let memfd = Memfd::create("shared", 8192).unwrap();
        let writer: Mapping<ReadWrite> = Mapping::new(memfd.as_fd(), 8192).unwrap();
        let reader_fd = memfd.open_read_only().unwrap();
        let reader: Mapping<ReadOnly> = Mapping::new(reader_fd.as_fd(), 8192).unwrap();
        writer.write(5000, b"hello").unwrap();
        writer.fill(5005, 3, b'!').unwrap();
        let mut seen = [0; 8];
        reader.read(5000, &mut seen).unwrap();
        assert_eq!(&seen, b"hello!!!");
    }

    #[test]
    fn a_read_only_descriptor_gives_no_writable_mapping() {
        let memfd = Memfd::create("read-only", 4096).unwrap();
        let reader = memfd.open_read_only().unwrap();
        let refused = Mapping::<ReadWrite>::new(reader.as_fd(), 4096).unwrap_err();
        assert_eq!(refused.errno, Errno::EACCES);
    }

    #[test]
    fn more_than_the_descriptor_has_is_refused_before_it_is_mapped() {
        let memfd = Memfd::create("small", 4096).unwrap();
        let refused = Mapping::<ReadOnly>::new(memfd.as_fd(), 4097).unwrap_err();
        assert_eq!(refused.errno, Errno::EOVERFLOW);
        assert!(refused.to_string().contains("4097") && refused.to_string().contains("4096"));
        assert_eq!(Mapping::<ReadOnly>::new(memfd.as_fd(), 0).unwrap_err().errno, Errno::EINVAL);
    }

    #[test]
    fn a_word_is_shared_and_must_be_aligned() {
        let memfd = Memfd::create("word", 4096).unwrap();
        let mapping: Mapping<ReadWrite> = Mapping::new(memfd.as_fd(), 4096).unwrap();
        mapping.word(8).unwrap().store(0x0102_0304, std::sync::atomic::Ordering::Release);
        let mut bytes = [0; 4];
        mapping.read(8, &mut bytes).unwrap();
        assert_eq!(u32::from_ne_bytes(bytes), 0x0102_0304);
        for offset in [1, 2, 3, 4093, 4096, usize::MAX] {
            assert!(mapping.word(offset).is_err(), "offset {offset}");
        }
    }

    proptest! {
        #[test]
        fn no_access_leaves_the_mapping(offset: usize, length in 0usize..100_000) {
            let memfd = Memfd::create("range", 4096).unwrap();
            let mapping: Mapping<ReadWrite> = Mapping::new(memfd.as_fd(), 4096).unwrap();
            let inside = offset.checked_add(length).is_some_and(|end| end <= 4096);
            let mut bytes = vec![0; length];
            prop_assert_eq!(mapping.read(offset, &mut bytes).is_ok(), inside);
            prop_assert_eq!(mapping.write(offset, &bytes).is_ok(), inside);
            prop_assert_eq!(mapping.fill(offset, length, 1).is_ok(), inside);
        }
    }
}
