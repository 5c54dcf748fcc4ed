// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! dma-bufs: memory that devices and processes share by descriptor
//! (`include/uapi/linux/dma-buf.h`).

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::libc::{self, c_char};
use nix::NixPath;

use crate::cpu_access::Direction;
use crate::descriptor::AccessMode;
use crate::fdinfo;
use crate::{identity, poll, KernelError};

/// The longest name that the kernel keeps, in bytes: `DMA_BUF_NAME_LEN` less the final NUL.
pub const MAX_NAME_BYTES: usize = 31;

mod ioctl {
    use nix::libc::c_char;

    nix::ioctl_write_ptr! {
        /// `DMA_BUF_SET_NAME`; the size of the pointer makes it `_A` on 32 and `_B` on 64 bits.
        set_name, b'b', 1, *const c_char
    }
}

/// An owned descriptor of a dma-buf.
#[derive(Debug)]
pub struct DmaBuf(OwnedFd);

impl DmaBuf {
    /// A descriptor that a heap just returned.
    pub(crate) fn of_heap(fd: OwnedFd) -> DmaBuf {
        DmaBuf(fd)
    }

    /// Takes a descriptor that somebody sent for a dma-buf, whatever it is, and says who exported it.
    /// No file system is asked.
    ///
    /// # Errors
    ///
    /// `EINVAL` if it is none, or may not be read and written.
    pub fn adopt(fd: OwnedFd) -> Result<(DmaBuf, String), KernelError> {
        let refuse =
            |what: &str| KernelError::new(format!("adopt a dma-buf: {what}"), Errno::EINVAL);
        let exporter = fdinfo::exporter(fd.as_fd())?.ok_or_else(|| refuse("it is none"))?;
        let access = AccessMode::of(fd.as_fd())?;
        if !access.reads || !access.writes {
            return Err(refuse("it may not be read and written"));
        }
        Ok((DmaBuf(fd), exporter))
    }

    /// Who exported it: [`DmaBufInfo::exporter`](fdinfo::DmaBufInfo::exporter).
    pub fn exporter(&self) -> Result<String, KernelError> {
        let none = || KernelError::new("exporter of a dma-buf", Errno::EINVAL);
        fdinfo::exporter(self.as_fd())?.ok_or_else(none)
    }

    /// The size in bytes, a multiple of the page size.
    pub fn size(&self) -> Result<u64, KernelError> {
        identity::size(self.as_fd())
    }

    /// Names the buffer: fdinfo and `/proc/PID/maps` show it. At most [`MAX_NAME_BYTES`]; see
    /// [`kernel_name`] for a name that fits.
    pub fn set_name(&self, name: &str) -> Result<(), KernelError> {
        let named = name.with_nix_path(|name| {
            // `_IOW` encodes the size of what the argument points to; this ioctl takes the string
            // itself.
            let argument = name.as_ptr().cast::<*const c_char>();
            // SAFETY: the descriptor is open, and `argument` points to a NUL-terminated string that
            // lives across the call; the kernel reads at most DMA_BUF_NAME_LEN bytes up to its NUL.
            unsafe { ioctl::set_name(self.0.as_raw_fd(), argument) }
        });
        let refuse = KernelError::context(|| format!("name a dma-buf {name:?}"));
        named.and_then(|named| named).map(|_| ()).map_err(refuse)
    }
}

impl AsFd for DmaBuf {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<DmaBuf> for OwnedFd {
    fn from(buffer: DmaBuf) -> OwnedFd {
        buffer.0
    }
}

/// Waits, at most `within`, until no device is in the way of an access: a reader waits for those that
/// write, a writer for everybody. Answers whether it came to that; new work may begin at any time.
///
/// This is what polling the descriptor does (poll(2), Linux 3.17 and later): `POLLIN` for a reader,
/// `POLLOUT` for a writer.
pub fn await_ready(
    fd: BorrowedFd<'_>,
    direction: Direction,
    within: Option<Duration>,
) -> Result<bool, KernelError> {
    let event = if direction.writes() { libc::POLLOUT } else { libc::POLLIN };
    let refuse = |errno| KernelError::new(format!("wait for a dma-buf, {direction:?}"), errno);
    match poll::wait(fd, event, within).map_err(refuse)? {
        0 => Ok(false),
        events if events & event != 0 => Ok(true),
        _ => Err(refuse(Errno::EIO)),
    }
}

/// The part of a name that the kernel can keep: [`MAX_NAME_BYTES`], cut at a character.
pub fn kernel_name(name: &str) -> &str {
    let mut end = name.len().min(MAX_NAME_BYTES);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    name.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_kernel_name_is_cut_at_a_character() {
        assert_eq!(kernel_name("camera"), "camera");
        assert_eq!(kernel_name(&"x".repeat(40)), "x".repeat(31));
        // 10 characters of 3 bytes are 30 bytes; an eleventh would be cut in two.
        assert_eq!(kernel_name(&"€".repeat(11)), "€".repeat(10));
    }

    proptest! {
        #[test]
        fn a_kernel_name_is_a_prefix_that_fits(name in ".*") {
            let cut = kernel_name(&name);
            prop_assert!(name.starts_with(cut));
            prop_assert!(cut.len() <= MAX_NAME_BYTES);
            prop_assert!(cut.len() == name.len() || cut.len() + 4 > MAX_NAME_BYTES);
        }
    }
}
