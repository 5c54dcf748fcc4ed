// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Living through the death of the service: what a session is told, and what a hostile client presents.

use std::fs::{self, File};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{channel, Receiver, Sender};
use std::time::Duration;

use anyhow::{Context, Result};
use berth_client::{Buffer, Error, FLAG_ACQUIRED};
use berth_end_to_end::protocol::{Forgery, Restored};
use berth_kernel::memfd::Memfd;
use hal_binder::ParcelFileDescriptor;
use vendor_berth_allocator::aidl::vendor::berth::allocator::ReattachEntry::ReattachEntry;

use crate::bare;

/// Longer than any restart takes.
const PATIENCE: Duration = Duration::from_secs(100);

/// Where a session's news go.
pub struct Tell {
    lost: Sender<()>,
    restored: Sender<Restored>,
    gave_up: Sender<()>,
}

/// Where they come out.
pub struct News {
    lost: Receiver<()>,
    restored: Receiver<Restored>,
    gave_up: Receiver<()>,
}

/// A way for news.
pub fn news() -> (Tell, News) {
    let ((lost, lost_out), (restored, restored_out), (gave_up, gave_up_out)) =
        (channel(), channel(), channel());
    let news = News { lost: lost_out, restored: restored_out, gave_up: gave_up_out };
    (Tell { lost, restored, gave_up }, news)
}

impl Tell {
    // Nobody listens any more only when the session is over.
    pub fn lost(&self) {
        let _ = self.lost.send(());
    }

    pub fn restored(&self, outcome: &berth_client::Restored) {
        let mut buffers = outcome.buffers.clone();
        buffers.sort_unstable();
        let code = |error: &Error| error.refusal().map_or(0, |code| code.0);
        let failed = outcome.failed.iter().map(|(id, error)| (*id, code(error))).collect();
        let _ = self.restored.send(Restored { buffers, failed });
    }

    pub fn gave_up(&self) {
        let _ = self.gave_up.send(());
    }
}

impl News {
    pub fn await_lost(&self) -> Result<()> {
        self.lost.recv_timeout(PATIENCE).context("nobody told of a loss")
    }

    pub fn await_restored(&self) -> Result<Restored> {
        self.restored.recv_timeout(PATIENCE).context("nobody told of a service")
    }

    pub fn await_given_up(&self) -> Result<()> {
        self.gave_up.recv_timeout(PATIENCE).context("nobody gave up")
    }
}

/// How many threads look for the service.
pub fn threads() -> Result<usize> {
    let mut count = 0;
    for task in fs::read_dir("/proc/self/task")? {
        // A thread may end while it is looked at.
        let name = fs::read_to_string(task?.path().join("comm")).unwrap_or_default();
        count += usize::from(name.trim() == "berth-reconnect");
    }
    Ok(count)
}

/// Presents a buffer in a session of its own, and answers the error.
pub fn forge(buffer: &Buffer, other: Option<&Buffer>, forgery: &Forgery) -> Result<i32> {
    let session = bare::session()?;
    let mut info = buffer.info();
    let mut fd = buffer.as_fd().try_clone_to_owned()?;
    match forgery {
        Forgery::None => {}
        Forgery::Other(_) => fd = other.context("no other")?.as_fd().try_clone_to_owned()?,
        Forgery::Socket => fd = UnixStream::pair()?.0.into(),
        Forgery::Folder => fd = File::open("/")?.into(),
        Forgery::Pipe => fd = nix::unistd::pipe()?.0,
        Forgery::Lookalike => {
            let bytes = info.layout.allocationBytes.unsigned_abs();
            fd = OwnedFd::from(Memfd::create(&info.request.name, bytes)?);
        }
        Forgery::Id(id) => (info.id, info.ownerId) = (*id, *id),
        Forgery::Receipt => info.receipt = !info.receipt,
        Forgery::Name => info.request.name.push('!'),
        Forgery::Owned => {
            info.flags &= !FLAG_ACQUIRED;
            info.id = info.ownerId;
        }
        Forgery::Words(id, receipt) => {
            info.flags &= !FLAG_ACQUIRED;
            (info.id, info.ownerId, info.receipt) = (*id, *id, *receipt);
        }
    }
    let entry = ReattachEntry {
        info,
        fd: Some(ParcelFileDescriptor::new(fd)),
        secondFd: None,
        acquiredBy: None,
        tokens: Vec::new(),
        options: Vec::new(),
    };
    let results = session.reattach(&[entry])?;
    session.close()?;
    Ok(results.first().context("no result")?.error)
}
