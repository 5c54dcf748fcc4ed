// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! `berthctl share` and `berthctl acquire`.

use std::io::{self, BufRead, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use berth_client::{Access, Allocator, Buffer, Error, Session, SessionEvents, SharePermit, Token};
use serde_json::json;

use crate::allocate::{copy_file, hold, request, SESSION};
use crate::arguments::{Acquire, Share, TokenSource};
use crate::dumped;
use crate::failure::Failure;
use crate::show;
use crate::stop::Stop;
use crate::units::{hexadecimal, hexadecimal_line, parse_token};

/// How often it is asked whether a token has been used.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// How often the session's service died.
#[derive(Debug, Clone, Default)]
struct Losses(Arc<AtomicU64>);

impl SessionEvents for Losses {
    fn lost(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Allocates, prints a token, and holds the buffer until the token is used up.
pub fn share(
    allocator: &Allocator,
    asked: &Share,
    json: bool,
    stop: &Stop,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let losses = Losses::default();
    let session = allocator.open_session_with(SESSION, losses.clone())?;
    let buffer = session.allocate_one(&request(&asked.what))?;
    if let Some(path) = &asked.from {
        copy_file(path, &buffer)?;
    }
    let access = if asked.read_only { Access::READ_ONLY } else { Access::READ_WRITE };
    let (recipient_uid, uses, lifetime) = (asked.uid, asked.uses, asked.seconds);
    // Before the service's clock starts: a token that is gone before our end was used.
    let began = Instant::now();
    let token = session.share(&buffer, SharePermit { recipient_uid, uses, lifetime, access })?;
    let token = hexadecimal(&token.0);
    if json {
        let mut value = show::buffer_json(&buffer.info());
        if let Some(value) = value.as_object_mut() {
            value.insert("token".to_owned(), token.into());
        }
        writeln!(out, "{value}")?;
    } else {
        writeln!(out, "{token}")?;
        show::buffer(&buffer.info(), false, out)?;
    }
    out.flush()?;
    loop {
        let left = lifetime.saturating_sub(began.elapsed());
        if stop.wait(LOOK_INTERVAL.min(left)) {
            return Ok(());
        }
        let is_used_up = is_used_up_for_sure(allocator, &session, &losses, &buffer)?;
        if began.elapsed() >= lifetime {
            let seconds = lifetime.as_secs_f64();
            return Err(Failure::Other(format!(
                "uid {recipient_uid} was not seen to use the token up within {seconds} s"
            )));
        }
        if is_used_up {
            return Ok(());
        }
    }
}

/// Whether the one token of a buffer is known to be used up, by the service that has the buffer: one
/// that has just followed it knows of no token before the session has given back what it held.
fn is_used_up_for_sure(
    allocator: &Allocator,
    session: &Session,
    losses: &Losses,
    buffer: &Buffer,
) -> Result<bool, Failure> {
    let before = losses.0.load(Ordering::SeqCst);
    // Each waits until the session has a service, which has everything then.
    check_held(session, buffer)?;
    let is_used_up = is_used_up(allocator, buffer)?;
    check_held(session, buffer)?;
    Ok(is_used_up && losses.0.load(Ordering::SeqCst) == before)
}

/// Sees that the service has a buffer in its books: without it its token is none.
fn check_held(session: &Session, buffer: &Buffer) -> Result<(), Failure> {
    match session.list()?.iter().any(|info| info.id == buffer.id()) {
        true => Ok(()),
        false => Err(Failure::Other("the buffer was lost with the service that died".to_owned())),
    }
}

/// Whether the one token of a buffer is known to be used up. A caller that may not dump knows it
/// when there is no token at all any more.
fn is_used_up(allocator: &Allocator, buffer: &Buffer) -> Result<bool, Failure> {
    if allocator.stats()?.tokens == 0 {
        return Ok(true);
    }
    let own_uid = nix::unistd::getuid().as_raw();
    match dumped::ask(allocator, &["--buffers"], Some(own_uid)) {
        Ok(dumped) => {
            let ours = dumped.buffers.iter().find(|shown| shown.id == buffer.id());
            Ok(ours.is_some_and(|shown| shown.tokens == 0))
        }
        Err(Failure::Client(Error::MayNotDump)) => Ok(false),
        Err(failure) => Err(failure),
    }
}

/// Takes part in a buffer, shows it and what is in it, and holds it.
pub fn acquire(
    allocator: &Allocator,
    asked: &Acquire,
    json: bool,
    stop: &Option<Stop>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let token = match asked.token {
        TokenSource::Given(token) => token,
        TokenSource::Input => {
            let mut line = String::new();
            let read = io::stdin().lock().read_line(&mut line);
            read.map_err(|error| Failure::File("standard input".into(), error))?;
            parse_token(line.trim()).map_err(Failure::Usage)?
        }
    };
    let session = allocator.open_session(SESSION)?;
    let buffer = session.acquire(Token(token))?;
    let bytes = match asked.read {
        Some(count) => Some(first_bytes(&buffer, count)?),
        None => None,
    };
    if json {
        let mut value = show::buffer_json(&buffer.info());
        if let (Some(value), Some(bytes)) = (value.as_object_mut(), &bytes) {
            value.insert("read".to_owned(), json!(hexadecimal(bytes)));
        }
        writeln!(out, "{value}")?;
    } else {
        show::buffer(&buffer.info(), false, out)?;
        for (line, bytes) in bytes.unwrap_or_default().chunks(16).enumerate() {
            writeln!(out, "{}", hexadecimal_line(line.saturating_mul(16), bytes))?;
        }
    }
    hold(asked.hold, stop, out)?;
    Ok(session.free(vec![buffer])?)
}

/// At most so many bytes from the start of a buffer.
fn first_bytes(buffer: &Buffer, count: u64) -> Result<Vec<u8>, Failure> {
    let mapped = buffer.map_read_only()?;
    let count = usize::try_from(count).unwrap_or(usize::MAX).min(mapped.size());
    let mut bytes = vec![0; count];
    let access = mapped.begin_read()?;
    access.read(0, &mut bytes)?;
    access.end()?;
    Ok(bytes)
}
