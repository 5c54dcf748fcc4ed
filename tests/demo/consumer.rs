// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! The consumer: acquires what the producer shared and reads the same bytes.

use std::time::{Duration, Instant};

use anyhow::{bail, ensure, Result};
use berth_client::{Access, Allocator, Error, RefusalCode, Session, Token};
use berth_shared::Doorbell;

use crate::pattern;
use crate::producer::{refused, IMAGE_SEED, PAYLOAD_BYTES, PAYLOAD_SEED};
use crate::script::{cue, fact, say, token};

pub fn play() -> Result<()> {
    let session =
        Allocator::connect_within(Duration::from_secs(30))?.open_session("demo consumer")?;
    let image = token(&cue()?)?;
    let mut wrong = image;
    wrong.0[15] ^= 1;
    refused("a wrong token", session.acquire(wrong), RefusalCode::BAD_TOKEN)?;
    if cue()? == "steal" {
        // Another uid than the one that the token is bound to.
        refused("a stolen token", session.acquire(image), RefusalCode::BAD_TOKEN)?;
        return fact("finished", "yes");
    }
    read_image(&session, image)?;
    refused("the same token again", session.acquire(image), RefusalCode::BAD_TOKEN)?;
    read_payload(&session, token(&cue()?)?)?;
    let bell_region = session.acquire(token(&cue()?)?)?;
    let mapped = bell_region.map()?;
    Doorbell::at(mapped.mapping(), 0)?.ring();
    fact("finished", "yes")
}

fn read_image(session: &Session, token: Token) -> Result<()> {
    let image = session.acquire(token)?;
    let mapped = image.map_read_only()?;
    let mut bytes = vec![0; mapped.size()];
    let access = mapped.begin_read()?;
    access.read(0, &mut bytes)?;
    access.end()?;
    ensure!(bytes == pattern::bytes(IMAGE_SEED, 0, bytes.len()), "the image has other bytes");
    fact("inode", image.info().inode)?;
    say(format!(
        "acquires the image and reads the same {} bytes; it is the same memory, inode {}",
        bytes.len(),
        image.info().inode
    ));
    Ok(())
}

fn read_payload(session: &Session, token: Token) -> Result<()> {
    let began = Instant::now();
    let payload = session.acquire(token)?;
    ensure!(payload.size() == PAYLOAD_BYTES, "the payload has {} bytes", payload.size());
    let mapped = payload.map_read_only()?;
    let mut bytes = vec![0; mapped.size()];
    mapped.begin_read()?.read(0, &mut bytes)?;
    let milliseconds = began.elapsed().as_secs_f64() * 1e3;
    ensure!(bytes == pattern::bytes(PAYLOAD_SEED, 0, bytes.len()), "the payload has other bytes");
    say(format!(
        "receives the payload: {} bytes in {milliseconds:.1} ms, ten Binder calls' worth in one",
        bytes.len()
    ));
    let writable = session.get(payload.id(), Access::READ_WRITE);
    refused("to write the payload", writable, RefusalCode::UNSUPPORTED)?;
    match payload.map() {
        Err(Error::ReadOnly(_)) => Ok(()),
        Err(error) => bail!("mapping the payload to write failed otherwise: {error}"),
        Ok(_) => bail!("the payload could be mapped to write"),
    }
}
