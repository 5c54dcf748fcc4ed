// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Records from one process to another: this program starts itself once more to read what it writes.

use std::error::Error;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::time::Duration;

use berth_client::shared::ring::{self, Consumer, Layout, Producer, RingError};
use berth_client::{Allocator, BufferRequest, Session, SharePermit, Token};
use nix::unistd::getuid;

const PATIENCE: Duration = Duration::from_secs(10);

fn main() -> Result<(), Box<dyn Error>> {
    let session = Allocator::connect()?.open_session("ring")?;
    match std::env::args().nth(1) {
        None => write(&session),
        Some(_) => read(&session),
    }
}

fn write(session: &Session) -> Result<(), Box<dyn Error>> {
    let layout = Layout::of_capacity(4096)?;
    let region = session.allocate_one(&BufferRequest::region(layout.bytes() as u64))?;
    ring::create(region.as_fd(), 0, layout)?;
    let mut producer = Producer::attach(region.as_fd(), 0)?;

    let token = session.share(&region, SharePermit::once(getuid().as_raw()))?;
    let mut itself = Command::new(std::env::current_exe()?);
    let mut reader = itself.arg("read").stdin(Stdio::piped()).spawn()?;
    reader.stdin.take().ok_or("no pipe")?.write_all(&token.0)?;

    for number in 0..1000 {
        producer.write(format!("record {number}").as_bytes(), PATIENCE)?;
    }
    drop(producer); // It has left: the reader is told so when it has read everything.
    if !reader.wait()?.success() {
        return Err("the reader failed".into());
    }
    Ok(())
}

fn read(session: &Session) -> Result<(), Box<dyn Error>> {
    let mut token = Token([0; 16]);
    io::stdin().read_exact(&mut token.0)?;
    let region = session.acquire(token)?;
    let mut consumer = Consumer::attach(region.as_fd(), 0)?;
    let (mut bytes, mut records) = ([0; 64], 0);
    loop {
        match consumer.read(&mut bytes, PATIENCE) {
            Ok(length) => assert_eq!(bytes[..length], *format!("record {records}").as_bytes()),
            Err(RingError::Closed) => break, // Died would say that the writer was killed.
            Err(error) => return Err(error.into()),
        }
        records += 1;
    }
    println!("{records} records, and the writer has left");
    Ok(())
}
