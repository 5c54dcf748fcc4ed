// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! What the kernel says and permits, asked without the client library where that would be in the
//! way.

use std::fs;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use anyhow::{Context, Result};
use berth_end_to_end::protocol::{Proof, WriteRoads};
use berth_kernel::fdinfo::DmaBufInfo;
use berth_kernel::identity::Identity;
use berth_kernel::mapping::{Mapping, ReadWrite};
use berth_kernel::memfd;
use nix::errno::Errno;
use nix::fcntl::{fcntl, open, FcntlArg, FdFlag, OFlag};
use nix::sys::stat::{fstat, Mode};
use nix::unistd::{close, ftruncate, pipe, write};

use crate::memory::Memory;

/// Collects what `/proc` and `fcntl` say of a buffer.
pub fn proof(memory: &Memory<'_>) -> Result<Proof> {
    let fd = memory.as_fd();
    let identity = Identity::of(fd)?;
    // In units of 512 bytes, whatever the file.
    let touched = fstat(fd.as_raw_fd())?.st_blocks * 512;
    let link = fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()))?;
    let mapped = memory.map_read_only()?;
    let start = format!("{:x}-", mapped.mapping().as_ptr() as usize);
    let maps = fs::read_to_string("/proc/self/maps")?;
    let line = maps.lines().find(|line| line.starts_with(&start)).context("not in maps")?;
    let flags = FdFlag::from_bits_retain(fcntl(fd.as_raw_fd(), FcntlArg::F_GETFD)?);
    Ok(Proof {
        identity: (identity.device, identity.inode),
        link: link.to_string_lossy().into_owned(),
        dma_buf: DmaBufInfo::of(fd)?.map(|info| (info.size, info.count, info.exporter, info.name)),
        mapped_as: line.splitn(6, ' ').last().unwrap_or_default().trim().to_owned(),
        close_on_exec: flags.contains(FdFlag::FD_CLOEXEC),
        seals: memfd::seals(fd).ok().map(|seals| seals.bits()),
        touched,
    })
}

/// Puts locks on the open file of a descriptor, each on a byte of its own: fdinfo has a line for each
/// (`F_OFD_SETLK`, fcntl(2)).
pub fn lock(fd: BorrowedFd<'_>, count: usize) -> Result<()> {
    for number in 0..count {
        let lock = nix::libc::flock {
            l_type: nix::libc::F_RDLCK as _,
            l_whence: nix::libc::SEEK_SET as _,
            l_start: i64::try_from(number * 2)?,
            l_len: 1,
            l_pid: 0,
        };
        fcntl(fd.as_raw_fd(), FcntlArg::F_OFD_SETLK(&lock))?;
    }
    Ok(())
}

/// A pipe that takes not one byte more, and blocks whoever writes to it.
pub fn full_pipe() -> Result<(OwnedFd, OwnedFd)> {
    let (reader, writer) = pipe()?;
    let flags = FcntlArg::F_SETFL;
    fcntl(writer.as_raw_fd(), flags(OFlag::O_NONBLOCK))?;
    for piece in [&[0; 4096][..], &[0]] {
        while write(&writer, piece).is_ok() {}
    }
    fcntl(writer.as_raw_fd(), flags(OFlag::empty()))?;
    Ok((reader, writer))
}

/// Seals a memfd against writing from now on: the errno, 0 if it succeeds.
pub fn seal_future_writes(fd: BorrowedFd<'_>) -> i32 {
    let sealed = fcntl(fd.as_raw_fd(), FcntlArg::F_ADD_SEALS(memfd::FUTURE_WRITE_SEAL));
    sealed.err().map_or(0, |errno| errno as i32)
}

/// Tries every road to write.
pub fn write_roads(memory: &Memory<'_>) -> Result<WriteRoads> {
    let (fd, size) = (memory.as_fd(), memory.size()?);
    let code = |result: Result<(), Errno>| result.err().map_or(0, |errno| errno as i32);
    let map = Mapping::<ReadWrite>::new(fd, size).map(drop);
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    let reopened = open(path.as_str(), OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty());
    Ok(WriteRoads {
        map: code(map.map_err(|error| error.errno)),
        reopen: code(reopened.and_then(close)),
        write: code(write(fd, b"x").map(drop)),
        grow: code(ftruncate(fd, i64::try_from(size)? * 2)),
    })
}
