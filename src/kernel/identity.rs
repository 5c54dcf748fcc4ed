// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! What memory a descriptor stands for, and how much of it. Descriptor numbers say neither.

use std::os::fd::{AsRawFd, BorrowedFd};

use nix::sys::stat::{fstat, SFlag};
use nix::unistd::{lseek, Whence};

use crate::{ashmem, KernelError};

/// The identity of memory: equal for every descriptor of it, in every process, and what
/// `/proc/PID/maps` shows of its mappings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity {
    /// `st_dev`.
    pub device: u64,
    /// `st_ino`.
    pub inode: u64,
}

impl Identity {
    /// The identity of what `fd` is open on. Of ashmem that is the memory behind the device node
    /// (Linux 4.20 and later); the node itself before the first mapping, and on older kernels.
    pub fn of(fd: BorrowedFd<'_>) -> Result<Identity, KernelError> {
        let status = fstat(fd.as_raw_fd()).map_err(KernelError::context(|| "fstat".to_owned()))?;
        if status.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFCHR.bits() {
            if let Some(identity) = ashmem::identity(fd)? {
                return Ok(identity);
            }
        }
        // The widths of both fields differ between architectures.
        #[allow(clippy::unnecessary_cast)]
        Ok(Identity { device: status.st_dev as u64, inode: status.st_ino as u64 })
    }

    /// The identity of a memfd, a dma-buf or a file, if no other memory can have it while `fd` is open.
    /// `None` for ashmem, and for a dma-buf of a kernel before 5.3: they have one inode for all.
    pub fn of_one(fd: BorrowedFd<'_>) -> Result<Option<Identity>, KernelError> {
        let status = fstat(fd.as_raw_fd()).map_err(KernelError::context(|| "fstat".to_owned()))?;
        // A device node has no size, and neither has the inode that all anonymous files share.
        if status.st_size <= 0 {
            return Ok(None);
        }
        Identity::of(fd).map(Some)
    }
}

/// The size in bytes of a memfd, a dma-buf, a shared-memory object, a file or an ashmem region.
/// Asked of the kernel: what a message says of a descriptor is no proof.
pub fn size(fd: BorrowedFd<'_>) -> Result<u64, KernelError> {
    let status = fstat(fd.as_raw_fd()).map_err(KernelError::context(|| "fstat".to_owned()))?;
    let regular = status.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFREG.bits();
    if regular || status.st_size > 0 {
        return Ok(u64::try_from(status.st_size).unwrap_or(0));
    }
    // Its end can be sought when it was mapped, and not before.
    if let Some(bytes) = ashmem::size_of(fd)? {
        return Ok(bytes);
    }
    // A dma-buf tells its size to fstat from Linux 5.3 on; before, its end can be sought.
    let end = lseek(fd.as_raw_fd(), 0, Whence::SeekEnd)
        .map_err(KernelError::context(|| "seek to the end of a descriptor".to_owned()))?;
    Ok(u64::try_from(end).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memfd::Memfd;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_duplicate_has_the_same_identity_and_another_memfd_has_not() {
        let one = Memfd::create("one", 4096).unwrap();
        let other = Memfd::create("other", 4096).unwrap();
        let duplicate = one.as_fd().try_clone_to_owned().unwrap();
        let identity = Identity::of(one.as_fd()).unwrap();
        assert_eq!(identity, Identity::of(duplicate.as_fd()).unwrap());
        assert_ne!(identity, Identity::of(other.as_fd()).unwrap());
    }

    #[test]
    fn what_shares_its_inode_with_other_memory_has_no_identity_of_its_own() {
        let memfd = Memfd::create("one", 4096).unwrap();
        let identity = Identity::of(memfd.as_fd()).unwrap();
        assert_eq!(Identity::of_one(memfd.as_fd()).unwrap(), Some(identity));
        for shared in ["/dev/null", "/dev/zero"] {
            let node = std::fs::File::open(shared).unwrap();
            assert_eq!(Identity::of_one(node.as_fd()).unwrap(), None, "{shared}");
        }
    }

    #[test]
    fn a_socket_has_no_size() {
        let (socket, _peer) = UnixStream::pair().unwrap();
        assert!(size(socket.as_fd()).is_err());
    }
}
