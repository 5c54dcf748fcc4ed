// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Fences: the end of work that a device was given, by descriptor (sync files, Linux 4.7 and later).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use berth_kernel::cpu_access::Direction;
use berth_kernel::sync_file::{FenceState, SyncFile, SyncFileInfo};
use berth_kernel::KernelError;
use nix::errno::Errno;

use crate::brackets::Deadline;
use crate::Error;

/// Seen that this kernel has no sync files of dma-bufs; that it has them is seen by their coming.
static WITHOUT_EXPORT: AtomicBool = AtomicBool::new(false);

/// One fence or several, in an owned descriptor that any event loop can poll: it is ready to read
/// (`POLLIN`) as soon as nothing is pending.
///
/// It is a snapshot. What devices are given later is not in it.
#[derive(Debug)]
pub struct Fence(SyncFile);

impl Fence {
    /// Takes a descriptor that came from elsewhere, as from Android's `Fence` or a driver; it is
    /// closed if it is no sync file.
    pub fn adopt(fd: OwnedFd) -> Result<Fence, Error> {
        Ok(Fence(SyncFile::try_from(fd)?))
    }

    /// What somebody who is to access a dma-buf has to wait for: a reader ([`Direction::Read`]) for
    /// those who write, a writer for everybody. Already signalled if there is nobody.
    ///
    /// # Errors
    ///
    /// [`Error::NoSyncFiles`] before Linux 6.0, [`Error::NoFences`] of memory that is no dma-buf.
    pub fn export(memory: impl AsFd, next: Direction) -> Result<Fence, Error> {
        with_export(|| SyncFile::of_dma_buf(memory.as_fd(), next)).map(Fence)
    }

    /// Has everybody who is to access a dma-buf wait for this: writers, and readers too if the `work`
    /// that the fence is of writes.
    ///
    /// # Errors
    ///
    /// As those of [`export`](Fence::export).
    pub fn import(&self, memory: impl AsFd, work: Direction) -> Result<(), Error> {
        with_export(|| self.0.import_into(memory.as_fd(), work))
    }

    /// Waits until nothing is pending, at most `within`.
    ///
    /// # Errors
    ///
    /// [`Error::NotReady`] if the time was up first, [`Error::FenceFailed`] if the work is over and was
    /// not done.
    pub fn wait(&self, within: Duration) -> Result<(), Error> {
        self.wait_until(Deadline::after(within))
    }

    pub(crate) fn wait_until(&self, deadline: Deadline) -> Result<(), Error> {
        match self.0.wait(Some(deadline.left()))? {
            FenceState::Signalled => Ok(()),
            FenceState::Pending => Err(Error::NotReady(deadline.within)),
            FenceState::Failed(errno) => {
                Err(Error::FenceFailed(KernelError::new("work before a fence", errno)))
            }
        }
    }

    /// What has become of it until now.
    pub fn status(&self) -> Result<FenceState, Error> {
        Ok(self.0.state()?)
    }

    /// When the last of it was over, of `CLOCK_MONOTONIC`; `None` as long as anything is pending.
    pub fn signalled_at(&self) -> Result<Option<Duration>, Error> {
        let info = self.info()?;
        let pending = info.fences.iter().any(|fence| fence.signalled_at_ns.is_none());
        let last = info.fences.iter().filter_map(|fence| fence.signalled_at_ns).max();
        Ok(last.filter(|_| !pending).map(Duration::from_nanos))
    }

    /// Its name, and each fence in it with driver, timeline, state and time.
    pub fn info(&self) -> Result<SyncFileInfo, Error> {
        Ok(self.0.info()?)
    }

    /// One fence that is signalled when both are. The kernel keeps the first 31 bytes of `name`, for
    /// people.
    pub fn merge(&self, other: &Fence, name: &str) -> Result<Fence, Error> {
        Ok(Fence(self.0.merge(&other.0, name)?))
    }
}

/// Asks the kernel for what it may be too old for: in vain at most once.
fn with_export<T>(ask: impl FnOnce() -> Result<T, KernelError>) -> Result<T, Error> {
    if WITHOUT_EXPORT.load(Ordering::Relaxed) {
        return Err(Error::NoSyncFiles);
    }
    ask().map_err(|error| match error.errno {
        Errno::ENOSYS => {
            WITHOUT_EXPORT.store(true, Ordering::Relaxed);
            Error::NoSyncFiles
        }
        Errno::ENOTTY => Error::NoFences,
        _ => error.into(),
    })
}

impl AsFd for Fence {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<Fence> for OwnedFd {
    fn from(fence: Fence) -> OwnedFd {
        fence.0.into()
    }
}

const _: () = {
    const fn is_shared<T: Send + Sync>() {}
    is_shared::<Fence>();
};

#[cfg(test)]
mod tests {
    use super::*;
    use berth_kernel::memfd::Memfd;

    #[test]
    fn memory_that_is_no_dma_buf_has_no_fences() {
        let memfd = Memfd::create("no dma-buf", 4096).unwrap();
        let error = Fence::export(&memfd, Direction::Read).unwrap_err();
        // Where the kernel was found to be too old, it is not asked again.
        assert!(matches!(error, Error::NoFences | Error::NoSyncFiles), "{error}");
        let error = Fence::adopt(memfd.into()).unwrap_err();
        assert!(matches!(&error, Error::Kernel(error) if error.errno == Errno::ENOTTY), "{error}");
    }
}
