// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! What type of file a descriptor is open on, asked so that no file system waits for whoever runs it.

use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::libc::{self, c_int, c_uint};
use nix::sys::stat::SFlag;

/// `AT_EMPTY_PATH` (`include/uapi/linux/fcntl.h`): of the descriptor itself.
const EMPTY_PATH: c_int = 0x1000;
/// `AT_STATX_DONT_SYNC`: as the kernel knows it. fstat(2) may ask the process that runs a FUSE file
/// system, which need never answer.
const DONT_SYNC: c_int = 0x4000;
/// `STATX_TYPE` (`include/uapi/linux/stat.h`).
const TYPE: c_uint = 1;

/// `struct statx` of `include/uapi/linux/stat.h`.
#[repr(C)]
#[derive(Default)]
struct Statx {
    mask_to_gid: [u32; 7],
    mode: u16,
    spare: u16,
    ino_to_attributes_mask: [u64; 4],
    times: [u64; 8],
    device_major: u32,
    device_minor: u32,
    rest: [u64; 15],
}

/// The type of a file, and of a device its major number. Linux 4.11 and later.
pub(crate) fn of(fd: BorrowedFd<'_>) -> Result<(SFlag, u32), Errno> {
    let mut found = Statx::default();
    let (number, flags) = (fd.as_raw_fd(), EMPTY_PATH | DONT_SYNC);
    // SAFETY: the descriptor is open as long as it is borrowed, the path is a NUL-terminated string,
    // and the kernel writes no more than the 256 bytes of its structure into `found`, which is live,
    // exclusive, that large, and valid whatever is written.
    let done = unsafe {
        let path = b"\0".as_ptr();
        libc::syscall(libc::SYS_statx, number, path, flags, TYPE, &mut found as *mut Statx)
    };
    Errno::result(done)?;
    let kind = SFlag::from_bits_truncate(libc::mode_t::from(found.mode) & SFlag::S_IFMT.bits());
    Ok((kind, found.device_major))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    #[test]
    fn types_are_told_apart() {
        assert_eq!(std::mem::size_of::<Statx>(), 256);
        let status = Statx::default();
        let (start, field) = (&status as *const Statx, &status.device_major as *const u32);
        assert_eq!(field as usize - start as usize, 128);
        let of = |file: &File| super::of(file.as_fd()).unwrap();
        assert_eq!(of(&File::open("/").unwrap()).0, SFlag::S_IFDIR);
        assert_eq!(of(&File::open("/proc/self/exe").unwrap()).0, SFlag::S_IFREG);
        // `MEM_MAJOR` of `include/uapi/linux/major.h`.
        assert_eq!(of(&File::open("/dev/zero").unwrap()), (SFlag::S_IFCHR, 1));
        let (socket, _other) = UnixStream::pair().unwrap();
        assert_eq!(super::of(socket.as_fd()).unwrap().0, SFlag::S_IFSOCK);
    }
}
