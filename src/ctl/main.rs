// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! `berthctl`: the allocator from the command line.
//!
//! Exit codes: 0 done, 1 the allocator refused, 2 wrong usage, 3 no allocator, 4 anything else.

#![forbid(unsafe_code)]

mod arguments;
mod show;

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::Duration;

use berth_client::{Allocator, Buffer, BufferRequest, Error};
use clap::Parser;

use arguments::{Allocation, Arguments, Command};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("berthctl: {error}");
            ExitCode::from(exit_code(&error))
        }
    }
}

fn exit_code(error: &Error) -> u8 {
    match error {
        Error::Refused { .. } => 1,
        Error::NotFound { .. } => 3,
        _ => 4,
    }
}

fn run(arguments: &Arguments) -> Result<(), Error> {
    let allocator = Allocator::connect_within(Duration::from_secs(arguments.wait))?;
    let json = arguments.json;
    match &arguments.command {
        Command::Heaps => show::capabilities(&allocator.capabilities()?, json),
        Command::Stats => show::stats(&allocator.stats()?, json),
        Command::Dump => {
            let to = io::stdout().as_fd().try_clone_to_owned().map_err(as_output_error)?;
            let args: &[&str] = if json { &["--json"] } else { &[] };
            allocator.dump(to, args)?;
        }
        Command::Alloc(allocation) => allocate(&allocator, allocation, json)?,
    }
    io::stdout().flush().map_err(as_output_error)
}

fn allocate(allocator: &Allocator, allocation: &Allocation, json: bool) -> Result<(), Error> {
    let session = allocator.open_session("berthctl")?;
    let buffers = session.allocate(&request(allocation), allocation.count)?;
    let infos: Vec<_> = buffers.iter().map(Buffer::info).collect();
    show::buffers(&infos, json);
    session.free(buffers)
}

fn request(allocation: &Allocation) -> BufferRequest {
    let shape = &allocation.shape;
    let request = match (shape.size, shape.region, shape.image) {
        (_, Some(bytes), _) => BufferRequest::region(bytes),
        (_, _, Some((width, height))) => BufferRequest::image(width, height, allocation.format),
        (bytes, None, None) => BufferRequest::linear(bytes.unwrap_or_default()),
    };
    let request = request.name(&allocation.name);
    let request = match &allocation.heap {
        // Whoever names a heap to try it wants to see that heap, or why not.
        Some(heap) => request.heap(heap).strict_heap(),
        None => request,
    };
    if allocation.read_only_view {
        return request.read_only_view();
    }
    request
}

fn as_output_error(error: io::Error) -> Error {
    Error::Transport(format!("standard output: {error}"))
}
