// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! udmabuf: a dma-buf made of the pages of a memfd, without a copy (Linux 4.20 and later,
//! `include/uapi/linux/udmabuf.h`).
//!
//! Both descriptors then show the same bytes, unless a hole is punched into the memfd: that gives
//! the memfd new pages and leaves the old ones to the dma-buf, without a word. A memfd under a
//! udmabuf is never purged.

use std::fs::{self, File};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use nix::errno::Errno;

use crate::dma_buf::DmaBuf;
use crate::memfd::Memfd;
use crate::{identity, page_size, KernelError};

/// The driver's node.
pub const DEVICE: &str = "/dev/udmabuf";

/// Where the driver says how much it takes; a parameter since Linux 5.15, 64 MiB before.
const LIMIT_PARAMETER: &str = "/sys/module/udmabuf/parameters/size_limit_mb";
const DEFAULT_LIMIT_MIB: i64 = 64;

mod ioctl {
    /// `struct udmabuf_create`.
    #[repr(C)]
    pub struct Create {
        pub memfd: u32,
        pub flags: u32,
        pub offset: u64,
        pub size: u64,
    }

    /// `UDMABUF_FLAGS_CLOEXEC`.
    pub const CLOEXEC: u32 = 0x01;

    nix::ioctl_write_ptr! {
        /// `UDMABUF_CREATE`, which answers the new descriptor.
        create, b'u', 0x42, Create
    }
}

/// The most bytes that one udmabuf may have. The parameter can be changed at any time.
pub fn max_bytes() -> u64 {
    limit(fs::read_to_string(LIMIT_PARAMETER).ok().as_deref())
}

/// The limit by the parameter's text, if there is such a parameter.
fn limit(parameter: Option<&str>) -> u64 {
    let mib = parameter.and_then(|text| text.trim().parse().ok()).unwrap_or(DEFAULT_LIMIT_MIB);
    u64::try_from(mib).map_or(0, |mib| mib.saturating_mul(1 << 20))
}

/// The open driver.
#[derive(Debug)]
pub struct Udmabuf(OwnedFd);

impl Udmabuf {
    /// Opens the driver.
    pub fn open() -> Result<Udmabuf, KernelError> {
        // The ioctl asks for no access mode.
        let device = File::open(DEVICE).map_err(KernelError::io(|| format!("open {DEVICE}")))?;
        Ok(Udmabuf(device.into()))
    }

    /// Makes a dma-buf of `bytes` of a memfd from `offset`, both multiples of the page size, at
    /// most [`max_bytes`].
    ///
    /// Every page comes now if it was not there, and is charged to the caller. The memfd must not
    /// be sealed against writing: not by F_SEAL_WRITE, and on newer kernels (6.12 is one) not by
    /// [`Memfd::seal_future_writes`] either, which may follow when the dma-buf is made. Whoever has
    /// the dma-buf can write in any case.
    pub fn create(&self, memfd: &Memfd, offset: u64, bytes: u64) -> Result<DmaBuf, KernelError> {
        check(offset, bytes, identity::size(memfd.as_fd())?, max_bytes())?;
        let refuse =
            |errno| KernelError::new(format!("udmabuf of {bytes} bytes at offset {offset}"), errno);
        let number = memfd.as_fd().as_raw_fd();
        let request = ioctl::Create {
            memfd: u32::try_from(number).map_err(|_| refuse(Errno::EBADF))?,
            flags: ioctl::CLOEXEC,
            offset,
            size: bytes,
        };
        // SAFETY: both descriptors are open for the duration of the call, which only reads
        // `request`, a live `struct udmabuf_create`.
        let fd = unsafe { ioctl::create(self.0.as_raw_fd(), &request) }.map_err(refuse)?;
        // SAFETY: the ioctl succeeded, so `fd` is a new descriptor that nobody else owns.
        Ok(DmaBuf::of_heap(unsafe { OwnedFd::from_raw_fd(fd) }))
    }
}

/// What the driver would refuse with nothing but EINVAL, or, in old kernels, not at all.
fn check(offset: u64, bytes: u64, there: u64, limit: u64) -> Result<(), KernelError> {
    let page = page_size();
    let what = format!("udmabuf of {bytes} bytes at offset {offset}");
    if bytes == 0 || bytes % page != 0 || offset % page != 0 {
        let operation = format!("{what}: not whole pages of {page} bytes, one or more");
        return Err(KernelError::new(operation, Errno::EINVAL));
    }
    if bytes > limit {
        return Err(KernelError::new(format!("{what}: at most {limit} bytes"), Errno::EFBIG));
    }
    match offset.checked_add(bytes) {
        Some(end) if end <= there => Ok(()),
        _ => {
            let operation = format!("{what} of a memfd that has {there}");
            Err(KernelError::new(operation, Errno::EOVERFLOW))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fdinfo::DmaBufInfo;
    use crate::mapping::{Mapping, ReadOnly, ReadWrite};
    use berth_facilities::{missing, Facility};
    use nix::fcntl::{fcntl, FcntlArg, FdFlag};
    use proptest::prelude::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn the_limit_is_64_mib_unless_the_driver_says_otherwise() {
        assert_eq!(limit(None), 64 * MIB);
        assert_eq!(limit(Some("128\n")), 128 * MIB);
        assert_eq!(limit(Some("0\n")), 0);
        assert_eq!(limit(Some("-1\n")), 0);
        assert_eq!(limit(Some("many\n")), 64 * MIB);
    }

    #[test]
    fn a_refusal_names_value_and_limit() {
        let page = page_size();
        let refused = |offset, bytes, there| check(offset, bytes, there, 64 * MIB).unwrap_err();
        let unaligned = refused(0, page - 1, page);
        assert_eq!(unaligned.errno, Errno::EINVAL);
        assert!(unaligned.to_string().contains(&(page - 1).to_string()), "{unaligned}");
        assert!(unaligned.to_string().contains(&page.to_string()), "{unaligned}");
        assert_eq!(refused(1, page, 2 * page).errno, Errno::EINVAL);
        assert_eq!(refused(0, 0, page).errno, Errno::EINVAL);
        let large = refused(0, 64 * MIB + page, 128 * MIB);
        assert_eq!(large.errno, Errno::EFBIG);
        assert!(large.to_string().contains("at most 67108864"), "{large}");
        assert_eq!(refused(page, page, page).errno, Errno::EOVERFLOW);
        check(page, page, 2 * page, 64 * MIB).unwrap();
    }

    /// Numbers of bytes: any, and such that might pass.
    fn bytes() -> impl Strategy<Value = u64> {
        prop_oneof![any::<u64>(), (0u64..80).prop_map(|pages| pages * page_size())]
    }

    proptest! {
        #[test]
        fn what_is_let_through_is_whole_pages_of_the_memfd_within_the_limit(
            offset in bytes(), bytes in bytes(), there in bytes()
        ) {
            let good = offset % page_size() == 0
                && bytes % page_size() == 0
                && (1..=MIB / 4).contains(&bytes)
                && u128::from(offset) + u128::from(bytes) <= u128::from(there);
            prop_assert_eq!(check(offset, bytes, there, MIB / 4).is_ok(), good);
        }
    }

    #[test]
    #[ignore = "needs udmabuf"]
    fn the_dma_buf_and_the_memfd_are_the_same_memory() {
        if missing(Facility::Udmabuf) {
            return;
        }
        let page = page_size();
        let memfd = Memfd::create("two views", 3 * page).unwrap();
        let buffer = Udmabuf::open().unwrap().create(&memfd, page, 2 * page).unwrap();
        assert_eq!(buffer.size().unwrap(), 2 * page);
        let of_buffer: Mapping<ReadWrite> = Mapping::new(buffer.as_fd(), 2 * page).unwrap();
        let of_memfd: Mapping<ReadWrite> = Mapping::new(memfd.as_fd(), 3 * page).unwrap();
        let page = page as usize;
        of_memfd.write(page + 5, b"from the memfd").unwrap();
        let mut seen = [0; 14];
        of_buffer.read(5, &mut seen).unwrap();
        assert_eq!(&seen, b"from the memfd");
        of_buffer.write(page, b"from the buffer").unwrap();
        let mut seen = [0; 15];
        of_memfd.read(2 * page, &mut seen).unwrap();
        assert_eq!(&seen, b"from the buffer");
    }

    #[test]
    #[ignore = "needs udmabuf"]
    fn the_descriptor_is_a_dma_buf_that_closes_on_exec() {
        if missing(Facility::Udmabuf) {
            return;
        }
        let memfd = Memfd::create("a dma-buf", page_size()).unwrap();
        let buffer = Udmabuf::open().unwrap().create(&memfd, 0, page_size()).unwrap();
        let info = DmaBufInfo::of(buffer.as_fd()).unwrap().expect("a dma-buf");
        assert_eq!((info.size, info.count), (page_size(), 1));
        let flags = fcntl(buffer.as_fd().as_raw_fd(), FcntlArg::F_GETFD).unwrap();
        assert!(FdFlag::from_bits_retain(flags).contains(FdFlag::FD_CLOEXEC));
    }

    #[test]
    #[ignore = "needs udmabuf"]
    fn the_driver_takes_what_the_limit_says_and_no_more() {
        if missing(Facility::Udmabuf) {
            return;
        }
        let (limit, page) = (max_bytes(), page_size());
        let memfd = Memfd::create("limit", limit + page).unwrap();
        let udmabuf = Udmabuf::open().unwrap();
        assert_eq!(udmabuf.create(&memfd, 0, limit + page).unwrap_err().errno, Errno::EFBIG);
        assert_eq!(udmabuf.create(&memfd, page, limit).unwrap().size().unwrap(), limit);
    }

    #[test]
    #[ignore = "needs udmabuf"]
    fn a_memfd_sealed_afterwards_is_a_read_only_view_of_a_writable_buffer() {
        if missing(Facility::Udmabuf) {
            return;
        }
        let page = page_size();
        let memfd = Memfd::create("a view", page).unwrap();
        let buffer = Udmabuf::open().unwrap().create(&memfd, 0, page).unwrap();
        memfd.seal_future_writes().unwrap();
        let writer: Mapping<ReadWrite> = Mapping::new(buffer.as_fd(), page).unwrap();
        let reader: Mapping<ReadOnly> = Mapping::new(memfd.as_fd(), page).unwrap();
        writer.write(0, b"a frame").unwrap();
        let mut seen = [0; 7];
        reader.read(0, &mut seen).unwrap();
        assert_eq!(&seen, b"a frame");
        let refused = Mapping::<ReadWrite>::new(memfd.as_fd(), page).unwrap_err();
        assert_eq!(refused.errno, Errno::EPERM);
    }
}
