// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! What the service holds, for people and for programs.
//!
//! A dump copies what it shows in small pieces and writes each piece before it copies the next: no
//! lock and no memory of a client is held while it writes, however slowly its reader reads, and what
//! it needs itself does not grow with what a client holds. So it is no picture of one moment: what
//! comes or goes meanwhile may be in it or not.

mod arguments;
mod json;
mod snapshot;
mod text;

use std::io::{self, BufWriter, Write};
use std::sync::atomic::Ordering;

use vendor_berth_allocator::aidl::vendor::berth::allocator::{
    AllocatorStats::AllocatorStats, SessionStats::SessionStats,
};

use crate::service::Service;
use crate::session::{Held, SessionLimits};

use arguments::{Arguments, HELP};
use snapshot::Overview;

/// Who may ask for a dump: root, system, shell, and whoever runs the service. A reader that stops
/// reading holds the thread that writes to it, so not everybody may.
const PRIVILEGED_UIDS: [u32; 3] = [0, 1000, 2000];

/// Bytes of a dump that are written at once: what a pipe takes.
const WRITE_BYTES: usize = 64 << 10;

/// The figures of the service.
pub(crate) fn stats(service: &Service) -> AllocatorStats {
    let used = service.accounts.live();
    let lingering = service.accounts.lingering();
    let recycler = &service.reclaimer.recycler;
    let idle = recycler.kept();
    let long = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    let int = |value: u64| i32::try_from(value).unwrap_or(i32::MAX);
    AllocatorStats {
        sessions: int(service.open_sessions() as u64),
        buffers: int(used.buffers),
        bytes: long(used.bytes),
        lingeringBuffers: int(lingering.buffers),
        lingeringBytes: long(lingering.bytes),
        idleBuffers: int(idle.buffers),
        clearedBuffers: int(idle.cleared),
        idleBytes: long(idle.bytes),
        purgeableBytes: long(service.purger.purgeable_bytes()),
        purgedBytes: long(service.purger.purged.load(Ordering::Relaxed)),
        tokens: int(service.tokens.usable().saturating_add(service.pools.tokens.usable()) as u64),
        pools: int(service.pools.count() as u64),
        allocatedBuffers: long(service.counters.allocated.load(Ordering::Relaxed)),
        recycledBuffers: long(recycler.reused.load(Ordering::Relaxed)),
        abandonedBuffers: long(service.counters.taken_back.load(Ordering::Relaxed)),
        refusals: long(service.counters.refusals.total()),
        abandonedSessions: long(service.counters.abandoned.load(Ordering::Relaxed)),
    }
}

/// The figures of a session.
pub(crate) fn session_stats(held: &Held, limits: &SessionLimits) -> SessionStats {
    let int = |value: u64| i32::try_from(value).unwrap_or(i32::MAX);
    SessionStats {
        buffers: int(held.owned),
        bytes: i64::try_from(held.bytes).unwrap_or(i64::MAX),
        acquired: int(held.taken),
        maxBuffers: int(limits.buffers),
        maxBytes: i64::try_from(limits.bytes).unwrap_or(i64::MAX),
    }
}

/// Answers a dump.
pub(crate) fn write(
    service: &Service,
    caller_uid: u32,
    writer: &mut dyn Write,
    args: &[&str],
) -> io::Result<()> {
    let own_uid = nix::unistd::getuid().as_raw();
    if caller_uid != own_uid && !PRIVILEGED_UIDS.contains(&caller_uid) {
        // Not a byte is written: a pipe that nobody reads would hold this thread for ever.
        let message = format!("uid {caller_uid} may not dump; root, system and shell may");
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
    }
    let mut writer = BufWriter::with_capacity(WRITE_BYTES, writer);
    match Arguments::parse(args) {
        Ok(arguments) => {
            read_or_not(answer(service, &arguments, &mut writer).and_then(|()| writer.flush()))
        }
        Err(unknown) => {
            read_or_not(write!(writer, "{unknown}\n{HELP}").and_then(|()| writer.flush()))?;
            Err(io::Error::new(io::ErrorKind::InvalidInput, unknown))
        }
    }
}

/// Who has seen enough, as `head` does, has been answered.
fn read_or_not(written: io::Result<()>) -> io::Result<()> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

fn answer(service: &Service, arguments: &Arguments, writer: &mut dyn Write) -> io::Result<()> {
    if arguments.help {
        return writer.write_all(HELP.as_bytes());
    }
    let overview = Overview::take(service, arguments.uid);
    match arguments.json {
        true => json::write(service, arguments, &overview, writer),
        false => text::write(service, arguments, &overview, writer),
    }
}

#[cfg(test)]
mod tests;
