// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! ION: the allocator that dma-heap replaced (`/dev/ion`, `drivers/staging/android/uapi/ion.h`). This
//! is its ABI of Linux 4.12 to 5.10, which gives dma-bufs. The one before gave handles, by ioctls of
//! other sizes; it answers ENOTTY here.

use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use bitflags::bitflags;
use nix::errno::Errno;

use crate::dma_buf::DmaBuf;
use crate::KernelError;

/// The driver's node.
pub const DEVICE: &str = "/dev/ion";

/// `ION_NUM_HEAP_IDS`: a heap's id is a bit of a mask of 32.
const MAX_HEAPS: usize = 32;

mod ioctl {
    /// `struct ion_allocation_data`.
    #[repr(C)]
    pub struct AllocationData {
        pub len: u64,
        pub heap_id_mask: u32,
        pub flags: u32,
        pub fd: u32,
        pub unused: u32,
    }

    /// `struct ion_heap_data`.
    #[derive(Clone, Copy, Default)]
    #[repr(C)]
    pub struct HeapData {
        pub name: [u8; 32],
        pub kind: u32,
        pub heap_id: u32,
        pub reserved: [u32; 3],
    }

    /// `struct ion_heap_query`.
    #[derive(Default)]
    #[repr(C)]
    pub struct HeapQuery {
        pub count: u32,
        pub reserved0: u32,
        pub heaps: u64,
        pub reserved1: u32,
        pub reserved2: u32,
    }

    /// `ION_FLAG_CACHED`.
    pub const CACHED: u32 = 1;

    nix::ioctl_readwrite! {
        /// `ION_IOC_ALLOC`.
        allocate, b'I', 0, AllocationData
    }
    nix::ioctl_readwrite! {
        /// `ION_IOC_HEAP_QUERY`.
        query_heaps, b'I', 8, HeapQuery
    }
}

/// Where a heap takes its memory from: `enum ion_heap_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IonHeapKind {
    /// Single pages.
    System,
    /// Contiguous pages, few of them.
    SystemContig,
    /// A physical range set aside at boot.
    Carveout,
    /// The same, in chunks of one size.
    Chunk,
    /// The DMA API, which is CMA where there is any.
    Dma,
    /// A device's own.
    Other(u32),
}

impl From<u32> for IonHeapKind {
    fn from(number: u32) -> IonHeapKind {
        match number {
            0 => IonHeapKind::System,
            1 => IonHeapKind::SystemContig,
            2 => IonHeapKind::Carveout,
            3 => IonHeapKind::Chunk,
            4 => IonHeapKind::Dma,
            other => IonHeapKind::Other(other),
        }
    }
}

bitflags! {
    /// Heaps to allocate from: the bit of each one's id. The driver tries them from the highest id
    /// down.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub struct HeapMask: u32 {
        /// Which ids there are is the device's affair.
        const _ = !0;
    }
}

impl HeapMask {
    /// The mask of one heap; `None` for an id that has no bit.
    pub fn of_id(id: u32) -> Option<HeapMask> {
        1u32.checked_shl(id).map(HeapMask::from_bits_retain)
    }
}

/// A heap of this device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IonHeap {
    /// Its name, at most 31 bytes without control characters.
    pub name: String,
    /// Its id, less than 32: see [`HeapMask::of_id`].
    pub id: u32,
    /// What it is.
    pub kind: IonHeapKind,
}

impl IonHeap {
    /// `None` for a heap that nobody could ask for.
    fn new(data: &ioctl::HeapData) -> Option<IonHeap> {
        let bytes = data.name.split(|byte| *byte == 0).next()?;
        let name = std::str::from_utf8(bytes).ok()?;
        let is_ended = bytes.len() < data.name.len();
        if !is_ended || name.is_empty() || name.contains(char::is_control) {
            return None;
        }
        HeapMask::of_id(data.heap_id)?;
        Some(IonHeap { name: name.to_owned(), id: data.heap_id, kind: data.kind.into() })
    }
}

/// The open driver.
#[derive(Debug)]
pub struct Ion(OwnedFd);

impl Ion {
    /// Opens the driver.
    pub fn open() -> Result<Ion, KernelError> {
        // The ioctls ask for no access mode, and Android's node grants reading.
        let device = File::open(DEVICE).map_err(KernelError::io(|| format!("open {DEVICE}")))?;
        Ok(Ion(device.into()))
    }

    /// The heaps of this device, at most 32. One that has no proper name or id is left out.
    pub fn heaps(&self) -> Result<Vec<IonHeap>, KernelError> {
        let refuse = |errno| explain("list the heaps of ION".to_owned(), errno);
        let mut query = ioctl::HeapQuery::default();
        // SAFETY: the driver is open for the duration of the call, and `query` is a live, exclusive
        // `struct ion_heap_query`. Without an array the driver only writes the number of heaps.
        unsafe { ioctl::query_heaps(self.0.as_raw_fd(), &mut query) }.map_err(refuse)?;
        let mut heaps = [ioctl::HeapData::default(); MAX_HEAPS];
        let there = usize::try_from(query.count).unwrap_or(MAX_HEAPS).min(MAX_HEAPS);
        if there == 0 {
            return Ok(Vec::new());
        }
        let mut query = ioctl::HeapQuery {
            count: there as u32,
            heaps: heaps.as_mut_ptr() as u64,
            ..ioctl::HeapQuery::default()
        };
        // SAFETY: as above; the driver writes at most `count` entries to `heaps`, which is live,
        // exclusive and at least that long, and any bits are a valid entry.
        unsafe { ioctl::query_heaps(self.0.as_raw_fd(), &mut query) }.map_err(refuse)?;
        let told = usize::try_from(query.count).unwrap_or(there).min(there);
        Ok(heaps.iter().take(told).filter_map(IonHeap::new).collect())
    }

    /// Allocates a dma-buf of `bytes` from the first heap of `mask` that has them; the kernel rounds
    /// up to whole pages and zeroes them. With `cached`, CPU caches hold its bytes between brackets
    /// of [`CpuAccess`](crate::cpu_access::CpuAccess); without, every access goes to memory.
    ///
    /// Heaps differ in what they compare the size with, so that who calls this has checked it. The
    /// descriptor closes on exec: every kernel with this ABI makes it so.
    pub fn allocate(
        &self,
        bytes: u64,
        mask: HeapMask,
        cached: bool,
    ) -> Result<DmaBuf, KernelError> {
        let refuse = |errno| {
            let heaps = mask.bits();
            explain(format!("allocate {bytes} bytes from ION heaps {heaps:#x}"), errno)
        };
        // To the driver it is a `size_t`.
        usize::try_from(bytes).map_err(|_| refuse(Errno::EOVERFLOW))?;
        let mut data = ioctl::AllocationData {
            len: bytes,
            heap_id_mask: mask.bits(),
            flags: if cached { ioctl::CACHED } else { 0 },
            fd: 0,
            unused: 0,
        };
        // SAFETY: the driver is open for the duration of the call, and `data` is a live, exclusive
        // `struct ion_allocation_data`, which is what this ioctl reads and writes.
        unsafe { ioctl::allocate(self.0.as_raw_fd(), &mut data) }.map_err(refuse)?;
        // SAFETY: the ioctl succeeded, so `data.fd` is a new descriptor that nobody else owns.
        let fd = unsafe { OwnedFd::from_raw_fd(data.fd as i32) };
        Ok(DmaBuf::of_heap(fd))
    }
}

fn explain(operation: String, errno: Errno) -> KernelError {
    if errno == Errno::ENOTTY {
        let operation = format!("{operation}: this ION is not that of Linux 4.12 to 5.10");
        return KernelError::new(operation, errno);
    }
    KernelError::new(operation, errno)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu_access::{CpuAccess, Direction};
    use crate::fdinfo::DmaBufInfo;
    use crate::mapping::{Mapping, ReadWrite};
    use crate::page_size;
    use berth_facilities::{missing, Facility};
    use nix::fcntl::{fcntl, FcntlArg, FdFlag};
    use proptest::prelude::*;
    use std::os::fd::AsFd;

    fn data(name: &[u8], kind: u32, heap_id: u32) -> ioctl::HeapData {
        let mut data = ioctl::HeapData { kind, heap_id, ..Default::default() };
        data.name[..name.len()].copy_from_slice(name);
        data
    }

    #[test]
    fn a_heap_has_its_name_to_the_first_nul() {
        let heap = IonHeap::new(&data(b"camera contig\0rest", 4, 5)).unwrap();
        let expected = IonHeap { name: "camera contig".into(), id: 5, kind: IonHeapKind::Dma };
        assert_eq!(heap, expected);
        assert_eq!(IonHeap::new(&data(b"x", 9, 31)).unwrap().kind, IonHeapKind::Other(9));
    }

    #[test]
    fn a_heap_that_nobody_could_ask_for_is_left_out() {
        assert_eq!(IonHeap::new(&data(b"", 0, 0)), None);
        assert_eq!(IonHeap::new(&data(&[b'x'; 32], 0, 0)), None, "no NUL");
        assert_eq!(IonHeap::new(&data(b"\xff", 0, 0)), None, "no UTF-8");
        assert_eq!(IonHeap::new(&data(b"two\nlines", 0, 0)), None);
        assert_eq!(IonHeap::new(&data(b"system", 0, 32)), None, "no bit");
        assert!(IonHeap::new(&data(&[b'x'; 31], 0, 0)).is_some());
    }

    #[test]
    fn an_id_is_a_bit_of_the_mask() {
        assert_eq!(HeapMask::of_id(0).map(|mask| mask.bits()), Some(1));
        assert_eq!(HeapMask::of_id(31).map(|mask| mask.bits()), Some(1 << 31));
        assert_eq!(HeapMask::of_id(32), None);
        assert_eq!(HeapMask::of_id(u32::MAX), None);
        let both = HeapMask::of_id(0).unwrap() | HeapMask::of_id(4).unwrap();
        assert_eq!(both.bits(), 0b10001);
    }

    #[test]
    fn the_old_abi_is_named_in_the_error() {
        let old = explain("allocate".into(), Errno::ENOTTY);
        assert!(old.to_string().contains("4.12 to 5.10"), "{old}");
        let full = explain("allocate".into(), Errno::ENOMEM);
        assert!(!full.to_string().contains("4.12"), "{full}");
    }

    proptest! {
        #[test]
        fn a_name_that_is_taken_is_what_the_kernel_has(name: [u8; 32], heap_id in 0u32..40) {
            if let Some(heap) = IonHeap::new(&data(&name, 0, heap_id)) {
                prop_assert!(name.starts_with(heap.name.as_bytes()));
                prop_assert_eq!(name[heap.name.len()], 0);
                prop_assert!(heap.id < 32);
            }
        }
    }

    #[test]
    #[ignore = "needs ion"]
    fn every_heap_has_a_name_and_a_bit_of_its_own() {
        if missing(Facility::Ion) {
            return;
        }
        let heaps = Ion::open().unwrap().heaps().unwrap();
        let mask = heaps.iter().fold(HeapMask::empty(), |mask, heap| {
            let bit = HeapMask::of_id(heap.id).unwrap();
            assert!(!mask.contains(bit), "{heaps:?}");
            mask | bit
        });
        assert_eq!(mask.bits().count_ones() as usize, heaps.len());
        for kind in [IonHeapKind::System, IonHeapKind::SystemContig, IonHeapKind::Dma] {
            assert!(heaps.iter().any(|heap| heap.kind == kind), "{kind:?} of {heaps:?}");
        }
    }

    #[test]
    #[ignore = "needs ion"]
    fn every_heap_gives_zeroed_dma_bufs_that_close_on_exec() {
        if missing(Facility::Ion) {
            return;
        }
        let ion = Ion::open().unwrap();
        let page = page_size();
        for heap in ion.heaps().unwrap() {
            for cached in [false, true] {
                let mask = HeapMask::of_id(heap.id).unwrap();
                let buffer = ion.allocate(page + 1, mask, cached).unwrap();
                assert_eq!(buffer.size().unwrap(), 2 * page, "{heap:?}");
                let info = DmaBufInfo::of(buffer.as_fd()).unwrap().expect("a dma-buf");
                assert_eq!((info.size, info.count), (2 * page, 1), "{heap:?}");
                let flags = fcntl(buffer.as_fd().as_raw_fd(), FcntlArg::F_GETFD).unwrap();
                assert!(FdFlag::from_bits_retain(flags).contains(FdFlag::FD_CLOEXEC), "{heap:?}");

                let mapping: Mapping<ReadWrite> = Mapping::new(buffer.as_fd(), 2 * page).unwrap();
                let access = CpuAccess::begin(buffer.as_fd(), Direction::ReadWrite).unwrap();
                let mut bytes = vec![1; 2 * page as usize];
                mapping.read(0, &mut bytes).unwrap();
                assert!(bytes.iter().all(|byte| *byte == 0), "{heap:?}");
                mapping.fill(0, bytes.len(), 0xa5).unwrap();
                mapping.read(0, &mut bytes).unwrap();
                assert!(bytes.iter().all(|byte| *byte == 0xa5), "{heap:?}");
                access.end().unwrap();
            }
        }
    }

    #[test]
    #[ignore = "needs ion"]
    fn a_mask_without_a_heap_and_a_size_of_0_are_refused_with_their_values() {
        if missing(Facility::Ion) {
            return;
        }
        let ion = Ion::open().unwrap();
        let error = ion.allocate(4096, HeapMask::empty(), false).unwrap_err();
        assert_eq!(error.errno, Errno::ENODEV);
        assert!(error.to_string().contains("4096 bytes from ION heaps 0x0"), "{error}");
        let all = HeapMask::from_bits_retain(!0);
        assert_eq!(ion.allocate(0, all, false).unwrap_err().errno, Errno::EINVAL);
    }
}
