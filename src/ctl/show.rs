// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Answers, for people and for programs.

use std::io::{self, Write};

use berth_client::{
    Access, AllocatorCapabilities, AllocatorStats, BufferInfo, BufferLayout, HeapClass,
    PixelFormat, PlaneLayout, FLAG_FALLBACK_HEAP,
};
use serde_json::{json, Value};

use crate::table::{Side, Table};
use crate::units::size;

fn format_name(value: i32) -> &'static str {
    PixelFormat::try_from(value).map_or("unknown", PixelFormat::name)
}

fn class_name(class: HeapClass) -> &'static str {
    match class {
        HeapClass::SYSTEM => "system",
        HeapClass::SYSTEM_UNCACHED => "system-uncached",
        HeapClass::CONTIGUOUS => "contiguous",
        HeapClass::SECURE => "secure",
        HeapClass::SHMEM => "shmem",
        HeapClass::UDMABUF => "udmabuf",
        HeapClass::VENDOR => "vendor",
        _ => "of a class that this program does not know",
    }
}

/// What the allocator can do.
pub fn capabilities(
    capabilities: &AllocatorCapabilities,
    json: bool,
    out: &mut dyn Write,
) -> io::Result<()> {
    let formats: Vec<_> = capabilities.formats.iter().map(|f| format_name(f.0)).collect();
    if json {
        return writeln!(out, "{}", capabilities_json(capabilities, &formats));
    }
    let mut table = Table::new([
        ("HEAP", Side::Left),
        ("CLASS", Side::Left),
        ("LARGEST", Side::Right),
        ("GIVES", Side::Left),
    ]);
    for heap in &capabilities.heaps {
        table.row([
            heap.name.clone(),
            class_name(heap.heapClass).to_owned(),
            size(heap.maxBufferBytes.unsigned_abs()),
            if heap.dmaBuf { "dma-bufs" } else { "memory of CPUs, no dma-bufs" }.to_owned(),
        ]);
    }
    table.write(out)?;
    writeln!(
        out,
        "a session holds up to {} in {} buffers; a uid opens up to {} sessions",
        size(capabilities.maxSessionBytes.unsigned_abs()),
        capabilities.maxSessionBuffers,
        capabilities.maxSessionsPerUid
    )?;
    writeln!(out, "formats: {}", formats.join(", "))
}

fn capabilities_json(capabilities: &AllocatorCapabilities, formats: &[&str]) -> Value {
    let heaps: Vec<_> = capabilities
        .heaps
        .iter()
        .map(|heap| {
            json!({
                "name": heap.name,
                "class": class_name(heap.heapClass),
                "dma_buf": heap.dmaBuf,
                "read_only_descriptors": heap.readOnlyDescriptors,
                "max_buffer_bytes": heap.maxBufferBytes,
            })
        })
        .collect();
    json!({
        "heaps": heaps,
        "formats": formats,
        "supported_usage": capabilities.supportedUsage,
        "supported_flags": capabilities.supportedFlags,
        "page_size_bytes": capabilities.pageSizeBytes,
        "max_buffer_bytes": capabilities.maxBufferBytes,
        "max_session_bytes": capabilities.maxSessionBytes,
        "max_session_buffers": capabilities.maxSessionBuffers,
        "max_sessions_per_uid": capabilities.maxSessionsPerUid,
    })
}

/// What the allocator holds.
pub fn stats(stats: &AllocatorStats, json: bool, out: &mut dyn Write) -> io::Result<()> {
    if json {
        return writeln!(out, "{}", stats_json(stats));
    }
    writeln!(
        out,
        "{} sessions, {} buffers, {}, {} open tokens",
        stats.sessions,
        stats.buffers,
        size(stats.bytes.unsigned_abs()),
        stats.tokens
    )?;
    writeln!(
        out,
        "since start: {} buffers allocated, {} calls refused, {} sessions ended without close",
        stats.allocatedBuffers, stats.refusals, stats.abandonedSessions
    )?;
    writeln!(
        out,
        "given up and still held: {} buffers, {}; idle: {} buffers, {}; used again: {} since start",
        stats.lingeringBuffers,
        size(stats.lingeringBytes.unsigned_abs()),
        stats.idleBuffers,
        size(stats.idleBytes.unsigned_abs()),
        stats.recycledBuffers
    )?;
    writeln!(
        out,
        "purgeable: {}; purged since start: {}",
        size(stats.purgeableBytes.unsigned_abs()),
        size(stats.purgedBytes.unsigned_abs())
    )
}

/// What was given back to the kernel.
pub fn trimmed(bytes: u64, json: bool, out: &mut dyn Write) -> io::Result<()> {
    match json {
        true => writeln!(out, "{}", json!({ "bytes": bytes })),
        false => writeln!(out, "{} given back", size(bytes)),
    }
}

/// The same for programs.
pub fn stats_json(stats: &AllocatorStats) -> Value {
    json!({
        "sessions": stats.sessions,
        "buffers": stats.buffers,
        "bytes": stats.bytes,
        "tokens": stats.tokens,
        "allocated_buffers": stats.allocatedBuffers,
        "refusals": stats.refusals,
        "abandoned_sessions": stats.abandonedSessions,
        "abandoned_buffers": stats.abandonedBuffers,
        "lingering_buffers": stats.lingeringBuffers,
        "lingering_bytes": stats.lingeringBytes,
        "idle_buffers": stats.idleBuffers,
        "idle_bytes": stats.idleBytes,
        "cleared_buffers": stats.clearedBuffers,
        "recycled_buffers": stats.recycledBuffers,
        "purgeable_bytes": stats.purgeableBytes,
        "purged_bytes": stats.purgedBytes,
    })
}

/// A buffer that was allocated or acquired.
pub fn buffer(info: &BufferInfo, json: bool, out: &mut dyn Write) -> io::Result<()> {
    if json {
        return writeln!(out, "{}", buffer_json(info));
    }
    let layout = &info.layout;
    let fallback = match is_fallback(info) {
        true => ", as a better one is missing",
        false => "",
    };
    let access = match info.access {
        Access::READ_ONLY => ", to read only",
        _ => "",
    };
    writeln!(
        out,
        "buffer {} {:?}: {} of heap {}{fallback}, inode {}{access}",
        info.id,
        info.request.name,
        size(layout.allocationBytes.unsigned_abs()),
        layout.heap,
        info.inode
    )?;
    for (number, plane) in planes(layout).enumerate() {
        writeln!(
            out,
            "  plane {number}: {} bytes from {}, rows of {}",
            plane.totalSizeInBytes, plane.offsetInBytes, plane.strideInBytes
        )?;
    }
    Ok(())
}

fn planes(layout: &BufferLayout) -> impl Iterator<Item = &PlaneLayout> {
    layout.image.iter().flat_map(|image| &image.planes)
}

fn is_fallback(info: &BufferInfo) -> bool {
    info.flags & FLAG_FALLBACK_HEAP != 0
}

/// The same for programs.
pub fn buffer_json(info: &BufferInfo) -> Value {
    let layout = &info.layout;
    let planes: Vec<_> = planes(layout)
        .map(|plane| {
            json!({
                "offset": plane.offsetInBytes,
                "stride": plane.strideInBytes,
                "size": plane.totalSizeInBytes,
            })
        })
        .collect();
    json!({
        "id": info.id,
        "name": info.request.name,
        "size_bytes": layout.sizeBytes,
        "allocation_bytes": layout.allocationBytes,
        "heap": layout.heap,
        "dma_buf": layout.dmaBuf,
        "fallback_heap": is_fallback(info),
        "access": if info.access == Access::READ_ONLY { "read-only" } else { "read-write" },
        "device": info.device,
        "inode": info.inode,
        "planes": planes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::help;

    #[test]
    fn the_help_has_every_key_of_the_figures() {
        let words: Vec<&str> =
            help::STATS.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
        let json = stats_json(&AllocatorStats::default());
        for key in json.as_object().unwrap().keys() {
            assert!(words.contains(&key.as_str()), "{key}");
        }
    }
}
