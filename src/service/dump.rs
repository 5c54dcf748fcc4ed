// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! What the service holds, for people and for programs.
//!
//! A snapshot copies what it shows, one session after the other, and is formatted afterwards: no
//! lock that an allocation waits for is held while text is made or written.

use std::io::{self, Write};
use std::sync::atomic::Ordering;

use serde::Serialize;
use vendor_berth_allocator::aidl::vendor::berth::allocator::{
    AllocatorStats::AllocatorStats, SessionStats::SessionStats,
};

use crate::request::Shape;
use crate::service::Service;
use crate::session::{Held, Role, Session, SessionLimits};

/// Who may ask for a dump: root, system, shell, and whoever runs the service. A reader that stops
/// reading holds the thread that writes to it, so not everybody may.
const PRIVILEGED_UIDS: [u32; 3] = [0, 1000, 2000];

const HELP: &str = "\
Arguments of the dump:
  (none)   totals, heaps, sessions and buffers as text
  --json   the same as one line of JSON
  --help   this text
";

#[derive(Debug, Serialize)]
struct Snapshot {
    totals: Totals,
    limits: ShownLimits,
    heaps: Vec<ShownHeap>,
    uids: Vec<ShownUid>,
    sessions: Vec<ShownSession>,
}

#[derive(Debug, Serialize)]
struct Totals {
    sessions: u64,
    buffers: u64,
    bytes: u64,
    tokens: u64,
    allocated_buffers: u64,
    refusals: u64,
    abandoned_sessions: u64,
}

#[derive(Debug, Serialize)]
struct ShownLimits {
    buffer_bytes: u64,
    session_bytes: u64,
    session_buffers: u64,
    uid_bytes: u64,
    service_bytes: u64,
    service_descriptors: u64,
    reserve_bytes: u64,
}

#[derive(Debug, Serialize)]
struct ShownHeap {
    name: String,
    class: String,
    dma_buf: bool,
    max_buffer_bytes: u64,
}

#[derive(Debug, Serialize)]
struct ShownUid {
    uid: u32,
    sessions: u64,
    buffers: u64,
    bytes: u64,
}

#[derive(Debug, Serialize)]
struct ShownSession {
    id: i64,
    name: String,
    uid: u32,
    pid: i32,
    age_ms: u128,
    buffers: Vec<ShownBuffer>,
}

#[derive(Debug, Serialize)]
struct ShownBuffer {
    id: i64,
    name: String,
    kind: &'static str,
    heap: String,
    bytes: u64,
    device: u64,
    inode: u64,
    sealed: bool,
    age_ms: u128,
    role: &'static str,
    charged_uid: u32,
    takers: usize,
}

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
        tokens: int(service.tokens.usable() as u64),
        allocatedBuffers: long(service.counters.allocated.load(Ordering::Relaxed)),
        recycledBuffers: long(recycler.reused.load(Ordering::Relaxed)),
        abandonedBuffers: long(service.counters.taken_back.load(Ordering::Relaxed)),
        refusals: long(service.counters.refusals.load(Ordering::Relaxed)),
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
    match args {
        [] => write_text(&Snapshot::take(service), writer),
        ["--json"] => {
            let json = serde_json::to_string(&Snapshot::take(service))?;
            writeln!(writer, "{json}")
        }
        ["--help"] => writer.write_all(HELP.as_bytes()),
        unknown => {
            writeln!(writer, "unknown arguments {unknown:?}")?;
            writer.write_all(HELP.as_bytes())
        }
    }
}

impl Snapshot {
    fn take(service: &Service) -> Snapshot {
        let stats = stats(service);
        let limits = service.accounts.limits();
        let whole = |value: i64| value.unsigned_abs();
        let uid = |(uid, used): (u32, crate::accounts::Used)| ShownUid {
            uid,
            sessions: used.sessions,
            buffers: used.buffers,
            bytes: used.bytes,
        };
        Snapshot {
            totals: Totals {
                sessions: stats.sessions.unsigned_abs().into(),
                buffers: stats.buffers.unsigned_abs().into(),
                bytes: whole(stats.bytes),
                tokens: stats.tokens.unsigned_abs().into(),
                allocated_buffers: whole(stats.allocatedBuffers),
                refusals: whole(stats.refusals),
                abandoned_sessions: whole(stats.abandonedSessions),
            },
            limits: ShownLimits {
                buffer_bytes: limits.buffer_bytes,
                session_bytes: limits.session_bytes,
                session_buffers: limits.session_buffers,
                uid_bytes: limits.uid_bytes,
                service_bytes: limits.service_bytes,
                service_descriptors: limits.service_descriptors,
                reserve_bytes: limits.reserve_bytes,
            },
            heaps: service
                .heaps()
                .iter()
                .map(|heap| ShownHeap {
                    name: heap.name.clone(),
                    class: heap.class.to_string(),
                    dma_buf: heap.gives_dma_bufs(),
                    max_buffer_bytes: heap.max_bytes,
                })
                .collect(),
            uids: service.accounts.uids().into_iter().map(uid).collect(),
            sessions: service.sessions().iter().map(|session| ShownSession::of(session)).collect(),
        }
    }
}

impl ShownSession {
    fn of(session: &Session) -> ShownSession {
        let buffers = session.list(0, usize::MAX).unwrap_or_default();
        ShownSession {
            id: session.id,
            name: session.name.clone(),
            uid: session.uid,
            pid: session.pid,
            age_ms: session.since.elapsed().as_millis(),
            buffers: buffers
                .into_iter()
                .map(|(id, holding)| ShownBuffer {
                    id,
                    name: holding.memory.request.name.clone(),
                    kind: match holding.memory.request.shape {
                        Shape::Linear(_) => "buffer",
                        Shape::Image(..) => "image",
                        Shape::Region(_) => "region",
                    },
                    heap: holding.memory.heap.name.clone(),
                    bytes: holding.memory.bytes,
                    device: holding.memory.identity.map_or(0, |identity| identity.device),
                    inode: holding.memory.identity.map_or(0, |identity| identity.inode),
                    sealed: holding.memory.is_sealed(),
                    age_ms: holding.memory.since.elapsed().as_millis(),
                    role: if matches!(holding.role, Role::Owner(_)) { "owner" } else { "taker" },
                    charged_uid: holding.memory.uid(),
                    takers: holding.memory.takers(),
                })
                .collect(),
        }
    }
}

fn write_text(snapshot: &Snapshot, writer: &mut dyn Write) -> io::Result<()> {
    let Totals { sessions, buffers, bytes, tokens, .. } = snapshot.totals;
    writeln!(writer, "Berth allocator")?;
    writeln!(
        writer,
        "  sessions: {sessions}, buffers: {buffers}, KiB: {}, open tokens: {tokens}",
        bytes / 1024
    )?;
    let Totals { allocated_buffers, refusals, abandoned_sessions, .. } = snapshot.totals;
    writeln!(
        writer,
        "  since start: {allocated_buffers} buffers allocated, {refusals} calls refused, \
         {abandoned_sessions} sessions ended without close"
    )?;
    let limits = &snapshot.limits;
    writeln!(
        writer,
        "  limits in KiB: buffer {}, session {}, uid {}, service {}, reserve {}",
        limits.buffer_bytes / 1024,
        limits.session_bytes / 1024,
        limits.uid_bytes / 1024,
        limits.service_bytes / 1024,
        limits.reserve_bytes / 1024
    )?;
    for heap in &snapshot.heaps {
        let kind = if heap.dma_buf { "dma-buf" } else { "memory of CPUs, no dma-buf" };
        let ShownHeap { name, class, max_buffer_bytes, .. } = heap;
        let most = max_buffer_bytes / 1024;
        writeln!(writer, "  heap {name}: {kind} of class {class}, at most {most} KiB a buffer")?;
    }
    for uid in &snapshot.uids {
        let ShownUid { uid, sessions, buffers, bytes } = uid;
        writeln!(
            writer,
            "  uid {uid}: sessions: {sessions}, buffers: {buffers}, KiB: {}",
            bytes / 1024
        )?;
    }
    for session in &snapshot.sessions {
        let ShownSession { id, name, uid, pid, age_ms, buffers } = session;
        writeln!(writer, "Session {id} {name:?}: uid {uid}, pid {pid}, {age_ms} ms old")?;
        if !buffers.is_empty() {
            writeln!(
                writer,
                "  {:>8} {:>10} {:<7} {:<8} {:<6} {:>7} {:>6} {:>12}  name",
                "id", "KiB", "kind", "heap", "role", "charged", "takers", "inode"
            )?;
        }
        for buffer in buffers {
            writeln!(
                writer,
                "  {:>8} {:>10} {:<7} {:<8} {:<6} {:>7} {:>6} {:>12}  {}",
                buffer.id,
                buffer.bytes / 1024,
                buffer.kind,
                buffer.heap,
                buffer.role,
                buffer.charged_uid,
                buffer.takers,
                buffer.inode,
                buffer.name
            )?;
        }
    }
    Ok(())
}
