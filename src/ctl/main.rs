// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! `berthctl`: the allocator from the command line.

#![forbid(unsafe_code)]

mod allocate;
mod arguments;
mod dumped;
mod failure;
mod help;
mod list;
mod share;
mod show;
mod stop;
mod table;
mod units;
mod watch;

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::Duration;

use berth_client::Allocator;
use clap::{CommandFactory, Parser};

use arguments::{Arguments, Command};
use failure::Failure;
use stop::Stop;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut out = io::stdout().lock();
    let done = run(&arguments, &mut out);
    match done.and_then(|()| out.flush().map_err(Failure::from)) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read it has seen enough.
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(failure) => {
            // Where nobody hears it, the exit code says it still.
            let _ = writeln!(io::stderr(), "berthctl: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}

fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<(), Failure> {
    if let Command::Completions { shell } = arguments.command {
        // Into memory first: the generator panics where a write fails.
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Arguments::command(), "berthctl", &mut script);
        return Ok(out.write_all(&script)?);
    }
    // Before the connection's threads, which would take the signals otherwise.
    let stop = if arguments.command.holds() { Some(Stop::listen()?) } else { None };
    let allocator = Allocator::connect_within(Duration::from_secs(arguments.wait))?;
    let json = arguments.json;
    match (&arguments.command, &stop) {
        (Command::Heaps, _) => show::capabilities(&allocator.capabilities()?, json, out)?,
        (Command::Stats, _) => show::stats(&allocator.stats()?, json, out)?,
        (Command::List(asked), _) => list::list(&allocator, asked, json, out)?,
        (Command::Dump { args }, _) => dump(&allocator, args, json)?,
        (Command::Trim, _) => {
            let bytes = allocator.open_session("berthctl")?.trim()?;
            show::trimmed(bytes, json, out)?;
        }
        (Command::Alloc(asked), stop) => allocate::buffers(&allocator, asked, json, stop, out)?,
        (Command::Region(asked), stop) => allocate::region(&allocator, asked, json, stop, out)?,
        (Command::Acquire(asked), stop) => share::acquire(&allocator, asked, json, stop, out)?,
        (Command::Share(asked), Some(stop)) => share::share(&allocator, asked, json, stop, out)?,
        (Command::Watch(asked), Some(stop)) => watch::watch(&allocator, asked, json, stop, out)?,
        (Command::Share(_) | Command::Watch(_) | Command::Completions { .. }, _) => {}
    }
    Ok(())
}

/// Lets the service write its dump to standard output, however long it is.
fn dump(allocator: &Allocator, args: &[String], json: bool) -> Result<(), Failure> {
    let to = io::stdout().as_fd().try_clone_to_owned()?;
    let mut args: Vec<&str> = args.iter().map(String::as_str).collect();
    if json {
        args.push("--json");
    }
    Ok(allocator.dump(to, &args)?)
}
