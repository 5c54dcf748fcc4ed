// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Every heap, kind, format and usage, one after the other: does the service do what it says?

use anyhow::Result;
use berth_client::{Allocator, BufferInfo, Session, FLAG_FALLBACK_HEAP};
use berth_end_to_end::protocol::{Descriptor, Shape, Sweep};

use crate::wire;

/// Read and written often by the CPU.
const CPU: i64 = 0x33;
/// `BufferUsage.GPU_CUBE_MAP`, which wants six square layers.
const GPU_CUBE_MAP: i64 = 1 << 25;
/// `BufferUsage.PROTECTED` of Gralloc: known, and for secure heaps only.
const PROTECTED: i64 = 1 << 14;
/// A usage bit that nobody has defined.
const UNKNOWN: i64 = 1 << 40;
/// `PixelFormat.BLOB`, which has one row.
const BLOB: i32 = 0x21;
/// `AllocationFlag.STRICT_HEAP`, `READ_ONLY_VIEW`, `NO_POOL` and `PURGEABLE`; bit 20 is unknown.
const FLAGS: [i32; 8] = [0, 1, 2, 3, 4, 16, 17, 1 << 20];

/// Asks for everything, and frees what it gets.
pub fn sweep(allocator: &Allocator, session: &Session) -> Result<Sweep> {
    let capabilities = allocator.capabilities()?;
    let mut heaps: Vec<Option<String>> = vec![None];
    heaps.extend(capabilities.heaps.iter().map(|heap| Some(heap.name.clone())));
    let mut usages: Vec<i64> =
        (0..64).map(|bit| 1 << bit).filter(|bit| capabilities.supportedUsage & bit != 0).collect();
    usages.extend([0, CPU, PROTECTED, UNKNOWN, CPU | UNKNOWN]);
    let mut shapes = vec![Shape::Linear(4096), Shape::Linear(1), Shape::Region(4096)];
    for format in &capabilities.formats {
        let height = if format.0 == BLOB { 1 } else { 32 };
        shapes.push(Shape::Image(32, height, 1, format.0));
    }
    let mut done = Sweep { asked: 0, allocated: 0, wrong: Vec::new() };
    for heap in &heaps {
        for flags in FLAGS {
            // Flags do not look at every usage; those that do are here.
            let few = [CPU, PROTECTED, 1 << 8];
            let usages = if flags == 0 { usages.as_slice() } else { few.as_slice() };
            for &usage in usages {
                for &shape in &shapes {
                    let shape = of_layers(shape, usage);
                    let asked = Descriptor { shape, flags, ..Descriptor::linear(1) };
                    let asked = Descriptor { heap: heap.clone(), usage, ..asked };
                    try_one(allocator, session, &asked, &mut done)?;
                }
            }
        }
    }
    Ok(done)
}

fn of_layers(shape: Shape, usage: i64) -> Shape {
    match shape {
        Shape::Image(width, height, _, format) if usage == GPU_CUBE_MAP => {
            Shape::Image(width, height, 6, format)
        }
        other => other,
    }
}

fn try_one(
    allocator: &Allocator,
    session: &Session,
    asked: &Descriptor,
    done: &mut Sweep,
) -> Result<()> {
    let descriptor = wire::descriptor(asked);
    let supported = allocator.is_descriptor_supported(&descriptor)?;
    let allocated = session.allocate_descriptor(descriptor, 1);
    done.asked += 1;
    let problem = match &allocated {
        Ok(buffers) => {
            done.allocated += 1;
            let told = buffers.first().and_then(|buffer| untruth(asked, &buffer.info()));
            (!supported).then(|| "not supported, and allocated".to_owned()).or(told)
        }
        Err(error) => supported.then(|| format!("supported, and {error}")),
    };
    done.wrong.extend(problem.map(|problem| format!("{asked:?}: {problem}")));
    Ok(())
}

/// Where the answer is not what was asked for and does not say so.
fn untruth(asked: &Descriptor, info: &BufferInfo) -> Option<String> {
    let fallback = info.flags & FLAG_FALLBACK_HEAP != 0;
    let heap = &info.layout.heap;
    match &asked.heap {
        Some(named) if named == heap && fallback => Some(format!("{heap} is no fallback")),
        Some(named) if named != heap && !fallback => Some(format!("{heap} is a fallback")),
        _ if fallback && asked.flags & 1 != 0 => Some("a fallback with STRICT_HEAP".to_owned()),
        _ => None,
    }
}
