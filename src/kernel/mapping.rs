// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Shared mappings of buffers and regions.
//!
//! Another process may write to the memory at any moment, so no Rust reference to it is ever made:
//! bytes are copied in and out through raw pointers. What is read may be torn; it is never unsound.
//! What was copied out is a value like any other: the compiler does not read the shared bytes a second
//! time for it, so that what was checked is what is used.

use std::marker::PhantomData;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{compiler_fence, AtomicU32, Ordering};

use nix::errno::Errno;
// Not nix's, whose types changed with each of the versions that Android 14, 15 and 16 carry.
use nix::libc::{c_int, c_void, madvise, mmap, munmap, off_t};
use nix::libc::{MAP_FAILED, MAP_SHARED, PROT_READ, PROT_WRITE};

use crate::{identity, page_size, KernelError};

mod sealed {
    pub trait Sealed {
        const PROTECTION: super::c_int;
        /// What makes all pages of such a mapping present: `MADV_POPULATE_READ` or
        /// `MADV_POPULATE_WRITE` (`include/uapi/asm-generic/mman-common.h`, Linux 5.14).
        const POPULATE: super::c_int;
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
    const POPULATE: c_int = 22;
}
impl Protection for ReadOnly {}
impl sealed::Sealed for ReadWrite {
    const PROTECTION: c_int = PROT_READ | PROT_WRITE;
    const POPULATE: c_int = 23;
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

/// A mapping of shared memory, or of a part of it; unmapped when dropped.
#[derive(Debug)]
pub struct Mapping<P: Protection> {
    /// Where the range begins.
    start: NonNull<u8>,
    /// How far that is in the first of the pages that the kernel mapped.
    skew: usize,
    /// Bytes of the range.
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
        Mapping::of_range(fd, 0, bytes)
    }

    /// Maps `bytes` from `offset`, which need not be a multiple of anything. All offsets in the
    /// mapping count from there.
    pub fn of_range(
        fd: BorrowedFd<'_>,
        offset: u64,
        bytes: u64,
    ) -> Result<Mapping<P>, KernelError> {
        let refuse =
            |errno| KernelError::new(format!("map {bytes} bytes at offset {offset}"), errno);
        if bytes == 0 {
            return Err(refuse(Errno::EINVAL));
        }
        check_end(fd, offset, bytes)?;
        let skew = offset % page_size();
        let length = bytes.checked_add(skew).and_then(|length| usize::try_from(length).ok());
        let length = length.ok_or_else(|| refuse(Errno::ENOMEM))?;
        let from = off_t::try_from(offset.saturating_sub(skew));
        let from = from.map_err(|_| refuse(Errno::EOVERFLOW))?;
        // SAFETY: without MAP_FIXED the kernel chooses an address range that nothing else uses, so
        // no memory of this program changes.
        let pages = unsafe {
            mmap(ptr::null_mut(), length, P::PROTECTION, MAP_SHARED, fd.as_raw_fd(), from)
        };
        if pages == MAP_FAILED {
            return Err(refuse(Errno::last()));
        }
        // Both are less than `length`.
        let (skew, size) = (skew as usize, bytes as usize);
        let start = pages.cast::<u8>().wrapping_add(skew);
        let start = NonNull::new(start).ok_or(refuse(Errno::EFAULT))?;
        let mapping = Mapping { start, skew, size, _protection: PhantomData };
        // ashmem's size is fixed by the first mapping, perhaps this one, and its driver does not
        // compare the offset with it.
        if offset > 0 {
            check_end(fd, offset, bytes)?;
        }
        Ok(mapping)
    }

    /// Bytes mapped.
    pub fn size(&self) -> usize {
        self.size
    }

    /// The first byte of the range. Valid while the mapping lives; another process may write there
    /// at any time.
    pub fn as_ptr(&self) -> *const u8 {
        self.start.as_ptr()
    }

    /// The first of the pages.
    fn pages(&self) -> *mut c_void {
        self.start.as_ptr().wrapping_sub(self.skew).cast()
    }

    /// Makes every page of the mapping present now, so that no later access waits for one: memory
    /// comes, zeroed, and is charged to the caller. Costs about what touching every page does. Any
    /// kernel; from 5.14 on in one call where the memory is pages of the kernel's.
    pub fn prefault(&self) -> Result<(), KernelError> {
        loop {
            // SAFETY: the range is that of the mapping, which lives as long as `self`; the advice
            // changes no byte of it.
            let done = unsafe { madvise(self.pages(), self.length(), P::POPULATE) };
            match Errno::result(done) {
                Ok(_) => return Ok(()),
                Err(Errno::EINTR) => {}
                // An older kernel, or a device's memory, as most dma-bufs are: those were mapped
                // with all their pages.
                Err(Errno::EINVAL) => {
                    self.touch();
                    return Ok(());
                }
                Err(errno) => {
                    let operation = format!("prefault a mapping of {} bytes", self.size);
                    return Err(KernelError::new(operation, errno));
                }
            }
        }
    }

    /// Reads a byte of each page. That also makes the pages of shared memory that nobody wrote yet,
    /// memfd's and ashmem's; only of a private mapping reading would give the zero page.
    fn touch(&self) {
        let first: *const u8 = self.pages().cast_const().cast();
        let page = usize::try_from(page_size()).unwrap_or(4096);
        for offset in (0..self.length()).step_by(page) {
            // SAFETY: the byte lies in the mapping, which lives as long as `self`. Others may write
            // it meanwhile: a volatile read of any bits, which nobody looks at.
            unsafe { ptr::read_volatile(first.add(offset)) };
        }
    }

    /// Bytes from the first page's start to the range's end; what `of_range` mapped.
    fn length(&self) -> usize {
        self.skew.saturating_add(self.size)
    }

    /// Copies bytes from `offset` out of the mapping.
    pub fn read(&self, offset: usize, into: &mut [u8]) -> Result<(), OutOfRange> {
        self.check(offset, into.len())?;
        // SAFETY: `check` proved that the range lies in the mapping, which lives as long as `self`;
        // `into` is memory of this program that cannot overlap it. No reference to the shared bytes
        // is made, and any value of a byte is a valid `u8`.
        unsafe {
            let from = self.as_ptr().add(offset);
            ptr::copy_nonoverlapping(from, into.as_mut_ptr(), into.len());
        }
        // A compiler that sees a copy of the copy may fetch it from the first place: not from one that
        // changes.
        compiler_fence(Ordering::SeqCst);
        Ok(())
    }

    /// Hands out `count` items of `N` bytes, the first at `offset` and each `step` bytes after the one
    /// before it, with their numbers. Each is read once.
    pub fn gather<const N: usize>(
        &self,
        offset: usize,
        step: usize,
        count: usize,
        mut each: impl FnMut(usize, [u8; N]),
    ) -> Result<(), OutOfRange> {
        self.check_items(offset, step, count, N)?;
        let mut at = offset;
        for number in 0..count {
            // SAFETY: `check_items` proved that every item lies in the mapping, which lives as long as
            // `self`; bytes need no alignment, and any are valid. Volatile, since others write them.
            each(number, unsafe { ptr::read_volatile(self.as_ptr().add(at).cast::<[u8; N]>()) });
            at = at.wrapping_add(step);
        }
        Ok(())
    }

    fn check_items(
        &self,
        offset: usize,
        step: usize,
        count: usize,
        bytes: usize,
    ) -> Result<(), OutOfRange> {
        let Some(steps) = count.checked_sub(1) else { return Ok(()) };
        let length = steps.checked_mul(step).and_then(|last| last.checked_add(bytes));
        self.check(offset, length.unwrap_or(usize::MAX))
    }

    fn check(&self, offset: usize, length: usize) -> Result<(), OutOfRange> {
        match offset.checked_add(length) {
            Some(end) if end <= self.size => Ok(()),
            _ => Err(OutOfRange { offset, length, size: self.size }),
        }
    }
}

impl Mapping<ReadWrite> {
    /// The 32-bit word at `offset`, for processes that agree on it. Its address is a multiple of 4:
    /// so is `offset` if that of the mapping is. Any process may have stored any value there.
    pub fn word(&self, offset: usize) -> Result<&AtomicU32, OutOfRange> {
        let length = size_of::<AtomicU32>();
        self.check(offset, length)?;
        let word = self.as_mut_ptr().wrapping_add(offset).cast::<AtomicU32>();
        if word as usize % length != 0 {
            return Err(OutOfRange { offset, length, size: self.size });
        }
        // SAFETY: the word lies in the mapping, is aligned, and is valid for the life of `self`.
        // Other processes change it, which an atomic permits, and any bits are a valid `u32`.
        Ok(unsafe { &*word })
    }

    /// Copies bytes into the mapping at `offset`.
    pub fn write(&self, offset: usize, from: &[u8]) -> Result<(), OutOfRange> {
        self.check(offset, from.len())?;
        // SAFETY: as in `read`, with the directions exchanged; the mapping is writable by its type.
        unsafe {
            let into = self.as_mut_ptr().add(offset);
            ptr::copy_nonoverlapping(from.as_ptr(), into, from.len());
        }
        Ok(())
    }

    /// Stores `count` items of `N` bytes, as [`gather`](Mapping::gather) reads them, and nothing
    /// between them.
    pub fn scatter<const N: usize>(
        &self,
        offset: usize,
        step: usize,
        count: usize,
        mut item: impl FnMut(usize) -> [u8; N],
    ) -> Result<(), OutOfRange> {
        self.check_items(offset, step, count, N)?;
        let mut at = offset;
        for number in 0..count {
            // SAFETY: as in `gather`; the mapping is writable by its type.
            unsafe { ptr::write_volatile(self.as_mut_ptr().add(at).cast(), item(number)) };
            at = at.wrapping_add(step);
        }
        Ok(())
    }

    /// Sets `length` bytes from `offset` to one value.
    pub fn fill(&self, offset: usize, length: usize, value: u8) -> Result<(), OutOfRange> {
        self.check(offset, length)?;
        // SAFETY: as in `write`.
        unsafe {
            let into = self.as_mut_ptr().add(offset);
            ptr::write_bytes(into, value, length);
        }
        Ok(())
    }

    fn as_mut_ptr(&self) -> *mut u8 {
        self.as_ptr().cast_mut()
    }
}

impl<P: Protection> Drop for Mapping<P> {
    fn drop(&mut self) {
        // SAFETY: the range is that of the mapping made in `of_range`, which this value owns alone;
        // no pointer that it gave out may be used after it.
        let unmapped = unsafe { munmap(self.pages(), self.length()) };
        debug_assert!(unmapped == 0, "munmap of an owned mapping");
    }
}

/// Whether what `fd` is open on has `bytes` from `offset`.
pub(crate) fn check_end(fd: BorrowedFd<'_>, offset: u64, bytes: u64) -> Result<(), KernelError> {
    let there = identity::size(fd)?;
    match offset.checked_add(bytes) {
        Some(end) if end <= there => Ok(()),
        _ => {
            let operation =
                format!("map {bytes} bytes at offset {offset} of a descriptor that has {there}");
            Err(KernelError::new(operation, Errno::EOVERFLOW))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ashmem::Ashmem;
    use crate::dma_heap::DmaHeap;
    use crate::memfd::Memfd;
    use berth_facilities::{missing, Facility};
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

    #[test]
    fn a_range_begins_at_its_offset_and_ends_with_its_size() {
        let memfd = Memfd::create("range", 3 * page_size()).unwrap();
        let whole: Mapping<ReadWrite> = Mapping::new(memfd.as_fd(), 3 * page_size()).unwrap();
        let offset = page_size() + 100;
        let range: Mapping<ReadWrite> = Mapping::of_range(memfd.as_fd(), offset, 5000).unwrap();
        assert_eq!(range.size(), 5000);
        range.write(0, b"first").unwrap();
        range.fill(4999, 1, b'!').unwrap();
        assert!(range.write(4999, b"!!").is_err());
        let offset = offset as usize;
        let mut seen = [0; 7];
        whole.read(offset - 1, &mut seen).unwrap();
        assert_eq!(&seen, b"\0first\0");
        whole.read(offset + 4998, &mut seen[..3]).unwrap();
        assert_eq!(&seen[..3], b"\0!\0");
    }

    #[test]
    fn a_range_that_ends_beyond_the_memory_is_refused() {
        let memfd = Memfd::create("range", 10_000).unwrap();
        let of_range = |offset, bytes| Mapping::<ReadOnly>::of_range(memfd.as_fd(), offset, bytes);
        for (offset, bytes) in [(1, 10_000), (10_000, 1), (u64::MAX, 2), (2, u64::MAX), (9999, 2)] {
            let error = of_range(offset, bytes).unwrap_err();
            assert_eq!(error.errno, Errno::EOVERFLOW, "{offset} {bytes}");
            assert!(error.to_string().contains("has 10000"), "{error}");
        }
        assert_eq!(of_range(5000, 0).unwrap_err().errno, Errno::EINVAL);
        of_range(9999, 1).unwrap();
    }

    #[test]
    fn a_word_in_a_range_is_aligned_where_it_really_is() {
        let memfd = Memfd::create("word", 4096).unwrap();
        let whole: Mapping<ReadWrite> = Mapping::new(memfd.as_fd(), 4096).unwrap();
        let range: Mapping<ReadWrite> = Mapping::of_range(memfd.as_fd(), 6, 100).unwrap();
        assert!(range.word(0).is_err() && range.word(4).is_err());
        range.word(2).unwrap().store(7, std::sync::atomic::Ordering::Release);
        assert_eq!(whole.word(8).unwrap().load(std::sync::atomic::Ordering::Acquire), 7);
    }

    /// Bytes of memory that a memfd has.
    fn present(memfd: &Memfd) -> u64 {
        let status = nix::sys::stat::fstat(memfd.as_fd().as_raw_fd()).unwrap();
        u64::try_from(status.st_blocks).unwrap() * 512
    }

    #[test]
    fn prefaulting_makes_the_pages_of_the_range_and_no_others() {
        let page = page_size();
        let memfd = Memfd::create("prefault", 5 * page).unwrap();
        // The last byte of a page, the next page, and the first byte of the one after it.
        let range: Mapping<ReadWrite> =
            Mapping::of_range(memfd.as_fd(), page - 1, page + 2).unwrap();
        assert_eq!(present(&memfd), 0, "mapping is not touching");
        range.prefault().unwrap();
        assert_eq!(present(&memfd), 3 * page);
        let rest: Mapping<ReadOnly> = Mapping::of_range(memfd.as_fd(), 4 * page, 1).unwrap();
        rest.prefault().unwrap();
        assert_eq!(present(&memfd), 4 * page);
    }

    #[test]
    fn reading_makes_the_pages_of_shared_memory_too() {
        let page = page_size();
        for offset in [0, page - 1] {
            let memfd = Memfd::create("touch", 5 * page).unwrap();
            let writer: Mapping<ReadWrite> =
                Mapping::of_range(memfd.as_fd(), offset, page + 2).unwrap();
            writer.touch();
            assert_eq!(present(&memfd), if offset == 0 { 2 * page } else { 3 * page });
            let reader: Mapping<ReadOnly> = Mapping::new(memfd.as_fd(), 5 * page).unwrap();
            reader.touch();
            assert_eq!(present(&memfd), 5 * page);
        }
    }

    #[test]
    #[ignore = "needs dma-heap-system"]
    fn a_dma_buf_is_mapped_by_ranges_and_prefaulted() {
        if missing(Facility::DmaHeapSystem) {
            return;
        }
        let page = page_size();
        let buffer = DmaHeap::open("system").unwrap().allocate(4 * page).unwrap();
        let range: Mapping<ReadWrite> =
            Mapping::of_range(buffer.as_fd(), page + 8, 2 * page).unwrap();
        range.prefault().unwrap();
        range.write(0, b"in a range").unwrap();
        let whole: Mapping<ReadOnly> = Mapping::new(buffer.as_fd(), 4 * page).unwrap();
        let mut seen = [0; 10];
        whole.read(page as usize + 8, &mut seen).unwrap();
        assert_eq!(&seen, b"in a range");
        let beyond = Mapping::<ReadOnly>::of_range(buffer.as_fd(), 4 * page - 1, 2).unwrap_err();
        assert_eq!(beyond.errno, Errno::EOVERFLOW);
    }

    #[test]
    #[ignore = "needs ashmem"]
    fn a_range_of_ashmem_is_mapped_and_prefaulted() {
        if missing(Facility::Ashmem) {
            return;
        }
        let page = page_size();
        let region = Ashmem::create("range", 3 * page).unwrap();
        let range: Mapping<ReadWrite> = Mapping::of_range(region.as_fd(), page + 8, page).unwrap();
        range.prefault().unwrap();
        range.write(0, b"in a range").unwrap();
        let whole: Mapping<ReadOnly> = Mapping::new(region.as_fd(), 3 * page).unwrap();
        let mut seen = [0; 10];
        whole.read(page as usize + 8, &mut seen).unwrap();
        assert_eq!(&seen, b"in a range");
    }

    proptest! {
        #[test]
        fn a_range_shows_the_bytes_of_the_memory_from_its_offset(
            offset in prop_oneof![0u64..13_000, any::<u64>()],
            bytes in prop_oneof![0u64..13_000, any::<u64>()],
        ) {
            let memfd = Memfd::create("range", 12_000).unwrap();
            let whole: Mapping<ReadWrite> = Mapping::new(memfd.as_fd(), 12_000).unwrap();
            let pattern: Vec<u8> = (0..12_000u32).map(|index| (index % 251) as u8).collect();
            whole.write(0, &pattern).unwrap();
            let inside = bytes > 0 && offset.checked_add(bytes).is_some_and(|end| end <= 12_000);
            let range = Mapping::<ReadOnly>::of_range(memfd.as_fd(), offset, bytes);
            prop_assert_eq!(range.is_ok(), inside);
            if let Ok(range) = range {
                let mut seen = vec![0; bytes as usize];
                range.read(0, &mut seen).unwrap();
                let expected = &pattern[offset as usize..][..bytes as usize];
                prop_assert_eq!(&seen[..], expected);
                let last = bytes as usize - 1;
                range.read(last, &mut seen[..1]).unwrap();
                prop_assert_eq!(seen[0], expected[last]);
                prop_assert!(range.read(last, &mut [0; 2]).is_err());
            }
        }

        #[test]
        fn items_are_those_at_their_steps_and_none_leaves_the_mapping(
            offset in 0usize..5000,
            step in prop_oneof![0usize..9, any::<usize>()],
            count in 0usize..1500,
        ) {
            let memfd = Memfd::create("items", 4096).unwrap();
            let mapping: Mapping<ReadWrite> = Mapping::new(memfd.as_fd(), 4096).unwrap();
            let mut shadow: Vec<u8> = (0..4096u32).map(|index| (index % 251) as u8).collect();
            mapping.write(0, &shadow).unwrap();
            let end = count.checked_sub(1).map_or(Some(0), |steps| {
                steps.checked_mul(step)?.checked_add(offset)?.checked_add(2)
            });
            let inside = end.is_some_and(|end| end <= 4096);
            let mut seen = Vec::new();
            let read = mapping.gather(offset, step, count, |_, item: [u8; 2]| seen.push(item));
            prop_assert_eq!(read.is_ok(), inside);
            let written = mapping.scatter(offset, step, count, |number| [number as u8, 7]);
            prop_assert_eq!(written.is_ok(), inside);
            if !inside {
                prop_assert!(seen.is_empty());
                seen.clear();
            }
            for (number, item) in seen.into_iter().enumerate() {
                let at = offset + number * step;
                // What overlaps was read before any of it was written.
                prop_assert_eq!(item[0], ((at % 4096) % 251) as u8);
                prop_assert_eq!(item[1], ((at + 1) % 251) as u8);
            }
            if inside {
                for number in 0..count {
                    let at = offset + number * step;
                    shadow[at..at + 2].copy_from_slice(&[number as u8, 7]);
                }
            }
            let mut after = vec![0; 4096];
            mapping.read(0, &mut after).unwrap();
            prop_assert_eq!(after, shadow);
        }

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
