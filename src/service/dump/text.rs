// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! The dump for people.

use std::fmt;
use std::io::{self, Write};

use super::arguments::Arguments;
use super::snapshot::{
    largest_first, sessions, Overview, ShownBuffer, ShownChange, ShownHeap, ShownLatency,
    ShownLimits, ShownLingering, ShownPressure, ShownSession, ShownUid, Totals,
};
use crate::notices::Figures;
use crate::service::Service;

/// How many uids are shown: those that hold the most.
const TOP_OWNERS: usize = 10;

/// Bytes as people read them: with the largest unit that leaves a whole number before the point, and
/// one digit after it, rounded down, where that is not 0.
struct Size(u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(u32, &str); 5] =
            [(50, "PiB"), (40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
        let text = match UNITS.iter().find(|(shift, _)| self.0 >> shift > 0) {
            None => format!("{} B", self.0),
            Some((shift, unit)) => {
                let (whole, rest) = (self.0 >> shift, self.0 & ((1 << shift) - 1));
                match u128::from(rest).saturating_mul(10) >> shift {
                    0 => format!("{whole} {unit}"),
                    tenths => format!("{whole}.{tenths} {unit}"),
                }
            }
        };
        f.pad(&text)
    }
}

/// An age as people read it: in its two largest units.
struct Age(u64);

impl fmt::Display for Age {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0 / 1000;
        let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
        let text = match (minutes, hours, days) {
            (0, ..) => format!("{}.{}s", seconds, self.0 % 1000 / 100),
            (_, 0, _) => format!("{minutes}m{}s", seconds % 60),
            (_, _, 0) => format!("{hours}h{}m", minutes % 60),
            _ => format!("{days}d{}h", hours % 24),
        };
        f.pad(&text)
    }
}

/// The name of a buffer, and its pool if it has one.
struct Label<'a>(&'a ShownBuffer);

impl fmt::Display for Label<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ShownBuffer { name, pool, .. } = self.0;
        match pool {
            0 => f.write_str(name),
            pool => write!(f, "{name}, pool {pool}"),
        }
    }
}

/// Writes it.
pub(super) fn write(
    service: &Service,
    arguments: &Arguments,
    overview: &Overview,
    writer: &mut dyn Write,
) -> io::Result<()> {
    write_overview(overview, writer)?;
    if arguments.buffers_of_sessions {
        for view in sessions(service, arguments.uid) {
            let Some(shown) = view.shown() else { continue };
            let ShownSession { id, name, uid, pid, age_ms, .. } = shown;
            writeln!(writer, "Session {id} {name:?}: uid {uid}, pid {pid}, {} old", Age(age_ms))?;
            let mut buffers = view.buffers(&service.tokens).peekable();
            if buffers.peek().is_some() {
                write_buffer_titles(writer)?;
            }
            for buffer in buffers {
                write_buffer(&buffer, writer)?;
                writeln!(writer, "{}", Label(&buffer))?;
            }
        }
    } else if arguments.sessions {
        writeln!(writer, "Sessions")?;
        writeln!(
            writer,
            "  {:>8} {:>7} {:>7} {:>7} {:>8} {:>10} {:>7}  name",
            "id", "uid", "pid", "buffers", "acquired", "size", "age"
        )?;
        for shown in sessions(service, arguments.uid).filter_map(|view| view.shown()) {
            let ShownSession { id, name, uid, pid, age_ms, owned, acquired, bytes, .. } = shown;
            let (size, age) = (Size(bytes), Age(age_ms));
            writeln!(
                writer,
                "  {id:>8} {uid:>7} {pid:>7} {owned:>7} {acquired:>8} {size:>10} {age:>7}  {name}"
            )?;
        }
    }
    if arguments.buffers {
        writeln!(writer, "Buffers, the largest first")?;
        write_buffer_titles(writer)?;
        for shown in largest_first(service, arguments.uid) {
            write_buffer(&shown.buffer, writer)?;
            let (session, session_name) = (shown.session, &shown.session_name);
            let (name, uid, pid) = (Label(&shown.buffer), shown.uid, shown.pid);
            writeln!(writer, "{name} (session {session} {session_name:?}, uid {uid}, pid {pid})")?;
        }
    }
    Ok(())
}

fn write_overview(overview: &Overview, writer: &mut dyn Write) -> io::Result<()> {
    let Totals { sessions, buffers, bytes, tokens, .. } = overview.totals;
    let size = Size(bytes);
    writeln!(writer, "Berth allocator")?;
    writeln!(
        writer,
        "  sessions: {sessions}, buffers: {buffers}, memory: {size}, open tokens: {tokens}"
    )?;
    let Totals { allocated_buffers, refusals, abandoned_sessions, .. } = overview.totals;
    writeln!(
        writer,
        "  since start: {allocated_buffers} buffers allocated, {refusals} calls refused, \
         {abandoned_sessions} sessions ended without close"
    )?;
    let Totals { pools, pool_slots, pool_participants, .. } = overview.totals;
    if pools > 0 {
        writeln!(
            writer,
            "  pools: {pools}, with {pool_slots} slots and {pool_participants} participants"
        )?;
    }
    write_rest(&overview.totals, writer)?;
    let Figures { sent, refused, waiting, held_up } = overview.notices;
    writeln!(
        writer,
        "  notices: {sent} sent, {refused} refused by clients' transports; {waiting} sessions wait \
         for theirs, {held_up} threads wait for a client to read"
    )?;
    write_pressure(&overview.pressure, writer)?;
    for (cause, times) in overview.refusals_by_cause.iter().filter(|(_, times)| **times > 0) {
        writeln!(writer, "  refused for {cause}: {times}")?;
    }
    let ShownLimits { buffer_bytes, session_bytes, uid_bytes, .. } = overview.limits;
    let ShownLimits { service_bytes, reserve_bytes, .. } = overview.limits;
    let ShownLimits { session_buffers, uid_buffers, .. } = overview.limits;
    let ShownLimits { session_descriptors, uid_descriptors, service_descriptors, .. } =
        overview.limits;
    writeln!(
        writer,
        "  limits: buffer {}, session {}, uid {}, service {}, reserve {}",
        Size(buffer_bytes),
        Size(session_bytes),
        Size(uid_bytes),
        Size(service_bytes),
        Size(reserve_bytes)
    )?;
    writeln!(
        writer,
        "  limits of buffers: session {session_buffers}, uid {uid_buffers}; of descriptors: session \
         {session_descriptors}, uid {uid_descriptors}, service {service_descriptors}"
    )?;
    for heap in &overview.heaps {
        write_heap(heap, writer)?;
    }
    for (name, latency) in overview.latencies.iter().filter(|(_, seen)| seen.count > 0) {
        write_latency(name, latency, writer)?;
    }
    for memory in &overview.lingering {
        write_lingering(memory, writer)?;
    }
    for ShownUid { uid, sessions, buffers, acquired, bytes, descriptors } in
        overview.uids.iter().take(TOP_OWNERS)
    {
        let size = Size(*bytes);
        writeln!(
            writer,
            "  uid {uid}: sessions: {sessions}, buffers: {buffers}, acquired: {acquired}, memory: \
             {size}, descriptors: {descriptors}"
        )?;
    }
    match overview.uids.len().saturating_sub(TOP_OWNERS) {
        0 => Ok(()),
        more => writeln!(writer, "  and {more} uids more, which hold less"),
    }
}

/// What no session holds: what lingers, and what is kept to be used again.
fn write_rest(totals: &Totals, writer: &mut dyn Write) -> io::Result<()> {
    let Totals { lingering_buffers, idle_buffers, cleared_buffers, .. } = totals;
    let (lingering, idle) = (Size(totals.lingering_bytes), Size(totals.idle_bytes));
    let Totals { recycled_buffers, abandoned_buffers, .. } = totals;
    let pressure = match totals.pressure {
        0 => "normal",
        1 => "moderate",
        _ => "critical",
    };
    writeln!(
        writer,
        "  given up and still held: {lingering_buffers} buffers, {lingering}; forgotten by their \
         clients: {abandoned_buffers} since start"
    )?;
    writeln!(
        writer,
        "  idle: {idle_buffers} buffers, {idle}, {cleared_buffers} of them cleared; used again: \
         {recycled_buffers} since start; memory pressure: {pressure}"
    )?;
    let (purgeable, unpinned) = (Size(totals.purgeable_bytes), Size(totals.unpinned_bytes));
    let purged = Size(totals.purged_bytes);
    writeln!(
        writer,
        "  purgeable: {purgeable}, {unpinned} of it unpinned; purged: {purged} since start"
    )
}

fn write_pressure(pressure: &ShownPressure, writer: &mut dyn Write) -> io::Result<()> {
    write!(writer, "  memory pressure is told by {}; changes:", pressure.told_by)?;
    if pressure.changes.is_empty() {
        write!(writer, " none")?;
    }
    for ShownChange { level, age_ms } in &pressure.changes {
        write!(writer, " {level} {} ago", Age(*age_ms))?;
    }
    writeln!(writer)
}

fn write_latency(name: &str, latency: &ShownLatency, writer: &mut dyn Write) -> io::Result<()> {
    let ShownLatency { count, p50_us, p90_us, p99_us, max_us } = latency;
    writeln!(
        writer,
        "  {name}: {count} calls, in microseconds p50 {p50_us}, p90 {p90_us}, p99 {p99_us}, longest \
         {max_us}"
    )
}

fn write_lingering(memory: &ShownLingering, writer: &mut dyn Write) -> io::Result<()> {
    let ShownLingering { name, heap, charged_uid, inode, takers, .. } = memory;
    let size = Size(memory.bytes);
    writeln!(
        writer,
        "  still held: {size} of heap {heap}, inode {inode}, charged to uid {charged_uid}, acquired \
         {takers} times: {name}"
    )
}

fn write_heap(heap: &ShownHeap, writer: &mut dyn Write) -> io::Result<()> {
    let kind = if heap.dma_buf { "dma-buf" } else { "memory of CPUs, no dma-buf" };
    let gone = if heap.present { "" } else { ", not there any more" };
    let ShownHeap { name, class, max_buffer_bytes, buffers, bytes, .. } = heap;
    let (most, used) = (Size(*max_buffer_bytes), Size(*bytes));
    writeln!(
        writer,
        "  heap {name}: {kind} of class {class}, at most {most} a buffer; in use: {used} in \
         {buffers} buffers{gone}"
    )
}

fn write_buffer_titles(writer: &mut dyn Write) -> io::Result<()> {
    writeln!(
        writer,
        "  {:>8} {:>10} {:<7} {:<8} {:<6} {:>7} {:>6} {:>6} {:>7} {:>12}  name",
        "id", "size", "kind", "heap", "role", "charged", "takers", "tokens", "age", "inode"
    )
}

/// All but the name and the end of the line.
fn write_buffer(buffer: &ShownBuffer, writer: &mut dyn Write) -> io::Result<()> {
    write!(
        writer,
        "  {:>8} {:>10} {:<7} {:<8} {:<6} {:>7} {:>6} {:>6} {:>7} {:>12}  ",
        buffer.id,
        Size(buffer.bytes),
        buffer.kind,
        buffer.heap,
        buffer.role,
        buffer.charged_uid,
        buffer.takers,
        buffer.tokens,
        Age(buffer.age_ms),
        buffer.inode
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_ages_are_read_by_people() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (4096, "4 KiB"),
            (1536, "1.5 KiB"),
            ((1 << 20) + 3 * 8192, "1 MiB"),
            (5 << 29, "2.5 GiB"),
            (u64::MAX, "16383.9 PiB"),
        ] {
            assert_eq!(Size(bytes).to_string(), text);
        }
        for (milliseconds, text) in [
            (0, "0.0s"),
            (59_999, "59.9s"),
            (60_000, "1m0s"),
            (3_599_999, "59m59s"),
            (7_260_000, "2h1m"),
            (90_000_000, "1d1h"),
        ] {
            assert_eq!(Age(milliseconds).to_string(), text);
        }
        assert_eq!(format!("{:>6}|{:<6}|", Size(1), Age(0)), "   1 B|0.0s  |");
    }
}
