// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! `berthctl alloc` and `berthctl region`.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::time::Duration;

use berth_client::{Allocator, Buffer, BufferRequest};

use crate::arguments::{Allocation, Region, What};
use crate::failure::Failure;
use crate::show;
use crate::stop::Stop;

/// The name of our sessions in dumps.
pub const SESSION: &str = "berthctl";

/// How much of a file is copied at once.
const COPY_BYTES: usize = 1 << 20;

/// Allocates, shows, holds and frees.
pub fn buffers(
    allocator: &Allocator,
    asked: &Allocation,
    json: bool,
    stop: &Option<Stop>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let session = allocator.open_session(SESSION)?;
    let buffers = session.allocate(&request(&asked.what), asked.count)?;
    for buffer in &buffers {
        show::buffer(&buffer.info(), json, out)?;
    }
    hold(asked.hold, stop, out)?;
    Ok(session.free(buffers)?)
}

/// Allocates a region, fills it, seals it, shows and holds it.
pub fn region(
    allocator: &Allocator,
    asked: &Region,
    json: bool,
    stop: &Option<Stop>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let bytes = match (asked.size, &asked.from) {
        (Some(bytes), _) => bytes,
        (None, Some(path)) => file_bytes(path)?,
        (None, None) => return Err(Failure::Usage("--size or --from".to_owned())),
    };
    let request = BufferRequest::region(bytes).name(&asked.name);
    let request = from_heap(request, &asked.heap);
    let session = allocator.open_session(SESSION)?;
    let region = session.allocate_one(&request)?;
    if let Some(path) = &asked.from {
        copy_file(path, &region)?;
    }
    if asked.seal {
        region.seal()?;
    }
    show::buffer(&region.info(), json, out)?;
    hold(asked.hold, stop, out)?;
    Ok(session.free(vec![region])?)
}

/// Keeps what there is until the time has passed or somebody says that it is enough.
pub fn hold(
    time: Option<Duration>,
    stop: &Option<Stop>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    // Whoever waits for what was printed has it before.
    out.flush()?;
    if let (Some(time), Some(stop)) = (time, stop) {
        stop.wait(time);
    }
    Ok(())
}

/// What the arguments ask for.
pub fn request(what: &What) -> BufferRequest {
    let shape = &what.shape;
    let request = match (shape.size, shape.region, shape.image) {
        (_, Some(bytes), _) => BufferRequest::region(bytes),
        (_, _, Some((width, height))) => {
            BufferRequest::image(width, height, what.format).layers(what.layers)
        }
        (bytes, None, None) => BufferRequest::linear(bytes.unwrap_or_default()),
    };
    let request = from_heap(request.name(&what.name), &what.heap);
    let request = match what.usage {
        Some(usage) => request.usage(usage),
        None => request,
    };
    match what.read_only_view {
        true => request.read_only_view(),
        false => request,
    }
}

fn from_heap(request: BufferRequest, heap: &Option<String>) -> BufferRequest {
    match heap {
        // Whoever names a heap to try it wants to see that heap, or why not.
        Some(heap) => request.heap(heap).strict_heap(),
        None => request,
    }
}

fn file_bytes(path: &Path) -> Result<u64, Failure> {
    let file = std::fs::metadata(path).map_err(|error| Failure::File(path.into(), error))?;
    match file.len() {
        0 => Err(Failure::Usage(format!("{} is empty: how large? --size", path.display()))),
        bytes => Ok(bytes),
    }
}

/// Copies a file to the start of a buffer.
pub fn copy_file(path: &Path, buffer: &Buffer) -> Result<(), Failure> {
    let failed = |error| Failure::File(path.into(), error);
    let mut file = File::open(path).map_err(failed)?;
    let mapped = buffer.map()?;
    let access = mapped.begin_write()?;
    let mut piece = vec![0; COPY_BYTES];
    let mut offset = 0usize;
    loop {
        let length = match file.read(&mut piece) {
            Ok(0) => return Ok(access.end()?),
            Ok(length) => length,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(failed(error)),
        };
        if length > mapped.size().saturating_sub(offset) {
            let (path, size) = (path.display(), mapped.size());
            return Err(Failure::Usage(format!("{path} is larger than {size} bytes")));
        }
        access.write(offset, piece.get(..length).unwrap_or_default())?;
        offset = offset.saturating_add(length);
    }
}
