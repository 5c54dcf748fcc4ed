// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Answers, for people and for programs.

use berth_client::{AllocatorCapabilities, AllocatorStats, BufferInfo, HeapClass, PixelFormat};
use serde_json::json;

/// Bytes in the largest unit that leaves no fraction of less than a tenth unsaid.
fn size(bytes: i64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let digits = usize::from(value.fract() != 0.0);
    format!("{value:.digits$} {}", UNITS[unit])
}

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
pub fn capabilities(capabilities: &AllocatorCapabilities, json: bool) {
    let formats: Vec<_> = capabilities.formats.iter().map(|f| format_name(f.0)).collect();
    if json {
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
        let value = json!({
            "heaps": heaps,
            "formats": formats,
            "supported_usage": capabilities.supportedUsage,
            "supported_flags": capabilities.supportedFlags,
            "page_size_bytes": capabilities.pageSizeBytes,
            "max_buffer_bytes": capabilities.maxBufferBytes,
            "max_session_bytes": capabilities.maxSessionBytes,
            "max_session_buffers": capabilities.maxSessionBuffers,
            "max_sessions_per_uid": capabilities.maxSessionsPerUid,
        });
        println!("{value}");
        return;
    }
    for heap in &capabilities.heaps {
        let kind = if heap.dmaBuf { "dma-buf" } else { "memory of CPUs, no dma-buf" };
        let (name, class) = (&heap.name, class_name(heap.heapClass));
        println!("heap {name}: {kind}, {class}, up to {} a buffer", size(heap.maxBufferBytes));
    }
    println!(
        "a session holds up to {} in {} buffers; a uid opens up to {} sessions",
        size(capabilities.maxSessionBytes),
        capabilities.maxSessionBuffers,
        capabilities.maxSessionsPerUid
    );
    println!("formats: {}", formats.join(", "));
}

/// What the allocator holds.
pub fn stats(stats: &AllocatorStats, json: bool) {
    if json {
        let value = json!({
            "sessions": stats.sessions,
            "buffers": stats.buffers,
            "bytes": stats.bytes,
            "tokens": stats.tokens,
            "allocated_buffers": stats.allocatedBuffers,
            "refusals": stats.refusals,
            "abandoned_sessions": stats.abandonedSessions,
        });
        println!("{value}");
        return;
    }
    println!(
        "{} sessions, {} buffers, {}, {} open tokens",
        stats.sessions,
        stats.buffers,
        size(stats.bytes),
        stats.tokens
    );
    println!(
        "since start: {} buffers allocated, {} calls refused, {} sessions ended without close",
        stats.allocatedBuffers, stats.refusals, stats.abandonedSessions
    );
}

/// Buffers that were allocated.
pub fn buffers(infos: &[BufferInfo], json: bool) {
    for info in infos {
        let layout = &info.layout;
        if json {
            let planes: Vec<_> = layout
                .planes
                .iter()
                .map(|plane| {
                    json!({
                        "offset": plane.offsetInBytes,
                        "stride": plane.strideInBytes,
                        "size": plane.totalSizeInBytes,
                    })
                })
                .collect();
            let value = json!({
                "id": info.id,
                "name": info.descriptor.name,
                "size_bytes": layout.sizeBytes,
                "allocation_bytes": layout.allocationBytes,
                "heap": layout.heap,
                "dma_buf": layout.dmaBuf,
                "device": info.device,
                "inode": info.inode,
                "planes": planes,
            });
            println!("{value}");
            continue;
        }
        println!(
            "buffer {} {:?}: {} of heap {}, inode {}",
            info.id,
            info.descriptor.name,
            size(layout.allocationBytes),
            layout.heap,
            info.inode
        );
        for (number, plane) in layout.planes.iter().enumerate() {
            println!(
                "  plane {number}: {} bytes from {}, rows of {}",
                plane.totalSizeInBytes, plane.offsetInBytes, plane.strideInBytes
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_by_people() {
        assert_eq!(size(0), "0 B");
        assert_eq!(size(4096), "4 KiB");
        assert_eq!(size(1536), "1.5 KiB");
        assert_eq!(size(64 << 20), "64 MiB");
        assert_eq!(size(i64::MAX), "8388608 TiB");
    }
}
