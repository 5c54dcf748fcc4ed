// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Memory of others that is exchanged while threads read it, which therefore need no lock.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::errno::Errno;
use nix::libc::{c_int, c_void, mmap, msync, munmap};
use nix::libc::{
    MAP_ANONYMOUS, MAP_FAILED, MAP_FIXED, MAP_NORESERVE, MAP_PRIVATE, MAP_SHARED, MS_ASYNC,
    PROT_READ,
};

use crate::mapping::check_end;
use crate::KernelError;

/// `COUNT` places in the address space of `BYTES` each, both powers of two. A place has zeros until
/// memory is put there, and other memory when that is exchanged; it is never without any, so that a
/// thread that reads meanwhile has the one or the other.
#[derive(Debug)]
pub struct PageRow<const COUNT: usize, const BYTES: usize> {
    start: NonNull<c_void>,
}

// SAFETY: the places belong to the process, not to a thread, and are read by atomics only.
unsafe impl<const COUNT: usize, const BYTES: usize> Send for PageRow<COUNT, BYTES> {}
// SAFETY: as for `Send`. An exchange is the kernel's, which has the one memory or the other for whoever
// reads meanwhile.
unsafe impl<const COUNT: usize, const BYTES: usize> Sync for PageRow<COUNT, BYTES> {}

impl<const COUNT: usize, const BYTES: usize> PageRow<COUNT, BYTES> {
    /// Otherwise a masked offset could leave its place.
    const CAN_BE_MASKED: () = assert!(
        COUNT.is_power_of_two()
            && BYTES.is_power_of_two()
            && BYTES >= 4
            && COUNT * BYTES <= 1 << 30
    );
    /// From one place to the next: whole pages of any kernel, of which the largest have 64 KiB.
    const STEP: usize = if BYTES < 1 << 16 { 1 << 16 } else { BYTES };
    const LENGTH: usize = COUNT * Self::STEP;

    /// Places with zeros.
    pub fn new() -> Result<Self, KernelError> {
        let () = Self::CAN_BE_MASKED;
        let flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
        // SAFETY: without MAP_FIXED the kernel chooses an address range that nothing else uses, so no
        // memory of this program changes.
        let start = unsafe { mmap(ptr::null_mut(), Self::LENGTH, PROT_READ, flags, -1, 0) };
        let refuse = |errno| KernelError::new(format!("reserve {} bytes", Self::LENGTH), errno);
        if start == MAP_FAILED {
            return Err(refuse(Errno::last()));
        }
        let start = NonNull::new(start).ok_or(refuse(Errno::EFAULT))?;
        Ok(PageRow { start })
    }

    /// Puts the first bytes of what `fd` is open on into a place; a descriptor of less is refused, and
    /// the place is left as it was. An index wraps at the end of the row.
    pub fn exchange(&self, index: usize, fd: BorrowedFd<'_>) -> Result<(), KernelError> {
        check_end(fd, 0, BYTES as u64)?;
        self.put(index, MAP_SHARED, fd.as_raw_fd()).map_err(|errno| {
            self.keep_readable(index);
            KernelError::new(format!("map {BYTES} bytes in the place of others"), errno)
        })
    }

    /// After an exchange that failed. As a rule the kernel finds that it cannot before it touches what is
    /// there; when it runs out of memory of its own in the midst, nothing may be there any more.
    fn keep_readable(&self, index: usize) {
        let place = self.place(index).cast_mut().cast();
        // SAFETY: the place is of this row, and asking for what is anonymous or only read to be written
        // back changes nothing: the kernel says ENOMEM where nothing is mapped (msync(2)).
        let there = unsafe { msync(place, BYTES, MS_ASYNC) } == 0;
        if !there && self.put(index, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1).is_err() {
            // A thread that reads now would end the process less clearly.
            std::process::abort();
        }
    }

    fn put(&self, index: usize, flags: c_int, fd: c_int) -> Result<(), Errno> {
        let place = self.place(index).cast_mut().cast();
        // SAFETY: the place is of this row, which nothing else uses and which lives as long as `self`;
        // it stays readable, and is only ever read by atomics, which bear any change.
        let mapped = unsafe { mmap(place, BYTES, PROT_READ, flags | MAP_FIXED, fd, 0) };
        if mapped == MAP_FAILED {
            return Err(Errno::last());
        }
        Ok(())
    }

    /// Reads words one after another, the first at an offset of a place. Everything wraps: at the
    /// place's end and the row's.
    ///
    /// Relaxed, as memory that may only be read bears no other: who needs an order has a fence.
    pub fn load<const N: usize>(&self, index: usize, offset: usize) -> [u32; N] {
        let place = self.place(index);
        std::array::from_fn(|number| {
            let offset = offset.wrapping_add(number.wrapping_mul(4)) & (BYTES - 4);
            let word = place.wrapping_add(offset).cast::<AtomicU32>();
            // SAFETY: the masks leave a place of the row, and in it a multiple of 4 that is at most
            // BYTES - 4; there is readable memory as long as `self` lives. Others write the word and
            // exchange the memory, which an atomic permits; a relaxed load writes nothing on any
            // target.
            unsafe { (*word).load(Ordering::Relaxed) }
        })
    }

    fn place(&self, index: usize) -> *const u8 {
        let start: *const u8 = self.start.as_ptr().cast_const().cast();
        start.wrapping_add((index & (COUNT - 1)).wrapping_mul(Self::STEP))
    }
}

impl<const COUNT: usize, const BYTES: usize> Drop for PageRow<COUNT, BYTES> {
    fn drop(&mut self) {
        // SAFETY: the range is that of `new`, with what was put into it since, which this value owns
        // alone.
        let unmapped = unsafe { munmap(self.start.as_ptr(), Self::LENGTH) };
        debug_assert!(unmapped == 0, "munmap of an owned range");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mapping::{Mapping, ReadWrite};
    use crate::memfd::Memfd;
    use std::os::fd::AsFd;
    use std::sync::atomic::AtomicBool;

    fn filled(value: u8) -> Memfd {
        let memfd = Memfd::create("row", 8192).unwrap();
        memfd.write_at(0, &[value; 8192]).unwrap();
        memfd
    }

    fn word<const COUNT: usize>(row: &PageRow<COUNT, 8192>, index: usize, offset: usize) -> u32 {
        let [word] = row.load(index, offset);
        word
    }

    #[test]
    fn a_place_has_zeros_and_then_what_was_put_there_last() {
        let row: PageRow<4, 8192> = PageRow::new().unwrap();
        assert_eq!(word(&row, 3, 8188), 0);
        row.exchange(3, filled(1).as_fd()).unwrap();
        assert_eq!(word(&row, 3, 8188), 0x0101_0101);
        let memfd = filled(2);
        row.exchange(3, memfd.open_read_only().unwrap().as_fd()).unwrap();
        assert_eq!(word(&row, 3, 0), 0x0202_0202);
        let mapping: Mapping<ReadWrite> = Mapping::new(memfd.as_fd(), 8192).unwrap();
        mapping.word(4).unwrap().store(7, Ordering::Relaxed);
        assert_eq!(word(&row, 3, 4), 7, "it is shared");
        assert_eq!([0, 1, 2].map(|other| word(&row, other, 4)), [0; 3]);
    }

    #[test]
    fn no_index_and_no_offset_leave_the_row() {
        let row: PageRow<2, 8192> = PageRow::new().unwrap();
        row.exchange(1, filled(1).as_fd()).unwrap();
        for index in [1, 3, usize::MAX] {
            for offset in [0, 1, 8191, 8192, usize::MAX] {
                assert_eq!(word(&row, index, offset), 0x0101_0101, "{index} {offset}");
            }
        }
        row.exchange(usize::MAX - 1, filled(2).as_fd()).unwrap();
        assert_eq!((word(&row, 0, 0), word(&row, 1, 0)), (0x0202_0202, 0x0101_0101));
    }

    #[test]
    fn what_is_too_small_is_refused_and_the_place_stays() {
        let row: PageRow<2, 8192> = PageRow::new().unwrap();
        row.exchange(0, filled(1).as_fd()).unwrap();
        let small = Memfd::create("row", 8191).unwrap();
        assert_eq!(row.exchange(0, small.as_fd()).unwrap_err().errno, Errno::EOVERFLOW);
        assert_eq!(word(&row, 0, 8188), 0x0101_0101);
    }

    #[test]
    fn what_cannot_be_mapped_leaves_what_was_there() {
        let row: PageRow<2, 8192> = PageRow::new().unwrap();
        row.exchange(1, filled(1).as_fd()).unwrap();
        let unmappable = std::fs::File::open("/proc/self/cmdline").unwrap();
        assert!(row.put(1, MAP_SHARED, unmappable.as_raw_fd()).is_err());
        row.keep_readable(1);
        assert_eq!(word(&row, 1, 0), 0x0101_0101);
        // SAFETY: the place is of the row, and nothing reads it until it is readable again.
        let unmapped = unsafe { munmap(row.place(1).cast_mut().cast(), 8192) };
        assert_eq!(unmapped, 0);
        row.keep_readable(1);
        assert_eq!(word(&row, 1, 0), 0);
        row.exchange(1, filled(2).as_fd()).unwrap();
        assert_eq!(word(&row, 1, 0), 0x0202_0202);
    }

    #[test]
    fn who_reads_while_memory_is_exchanged_has_the_one_or_the_other() {
        let row: PageRow<2, 8192> = PageRow::new().unwrap();
        let (one, other) = (filled(1), filled(2));
        row.exchange(0, one.as_fd()).unwrap();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut seen = [0u64; 3];
                while !done.load(Ordering::Relaxed) {
                    match word(&row, 0, 4096) {
                        0x0101_0101 => seen[1] += 1,
                        0x0202_0202 => seen[2] += 1,
                        _ => seen[0] += 1,
                    }
                }
                seen
            });
            for _ in 0..2000 {
                row.exchange(0, other.as_fd()).unwrap();
                row.exchange(0, one.as_fd()).unwrap();
            }
            done.store(true, Ordering::Relaxed);
            assert_eq!(reader.join().unwrap()[0], 0, "something else");
        });
    }
}
