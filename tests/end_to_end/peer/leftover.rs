// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! What can be put on an open file that others have too, and what is there.

use std::fs;
use std::os::fd::{AsRawFd, BorrowedFd};

use anyhow::{Context, Result};
use berth_end_to_end::protocol::Handle;
use berth_kernel::dma_buf::DmaBuf;
use nix::fcntl::{fcntl, FcntlArg, OFlag};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

/// Flags that fcntl(2) sets on any open file.
const FLAGS: [OFlag; 2] = [OFlag::O_NONBLOCK, OFlag::O_APPEND];

/// Puts on it what can be put there.
pub fn mark(fd: BorrowedFd<'_>) -> Result<()> {
    let all = FLAGS.into_iter().fold(OFlag::empty(), OFlag::union);
    fcntl(fd.as_raw_fd(), FcntlArg::F_SETFL(all)).context("F_SETFL")?;
    crate::kernel::lock(fd, 3)?;
    flock(fd)?;
    let (dma_buf, _) = DmaBuf::adopt(fd.try_clone_to_owned()?)?;
    Ok(dma_buf.set_name("marked")?)
}

/// flock(2) by number: nix's wants to own the descriptor.
#[allow(deprecated)]
fn flock(fd: BorrowedFd<'_>) -> Result<()> {
    nix::fcntl::flock(fd.as_raw_fd(), nix::fcntl::FlockArg::LockExclusive).context("flock")
}

/// How much of that is on it.
pub fn marks(fd: BorrowedFd<'_>) -> Result<Handle> {
    let flags = OFlag::from_bits_retain(fcntl(fd.as_raw_fd(), FcntlArg::F_GETFL)?);
    let flags = FLAGS.into_iter().filter(|flag| flags.contains(*flag)).count();
    let told = fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd()))?;
    let locks = told.lines().filter(|line| line.starts_with("lock:")).count();
    Ok((flags + locks) as Handle)
}

/// An epoll set with it.
pub fn watch(fd: BorrowedFd<'_>) -> Result<Epoll> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    epoll.add(fd, EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT, 0))?;
    Ok(epoll)
}

/// How many events it tells now.
pub fn events(epoll: &Epoll) -> Result<Handle> {
    let mut events = [EpollEvent::empty(); 4];
    Ok(epoll.wait(&mut events, EpollTimeout::ZERO)? as Handle)
}
