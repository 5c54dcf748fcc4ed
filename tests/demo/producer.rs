// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! The producer: finds the HAL, allocates, writes, shares, and is refused where it should be.

use std::time::{Duration, Instant};

use anyhow::{bail, ensure, Context, Result};
use berth_client::{
    Allocator, Buffer, BufferRequest, Error, PixelFormat, RefusalCode, Session, SharePermit, Usage,
};
use berth_shared::Doorbell;

use crate::script::{cue, fact, say, token_text};
use crate::{pattern, proof};

/// The seed of the image's pattern.
pub const IMAGE_SEED: u32 = 1920;
/// The seed of the payload's pattern.
pub const PAYLOAD_SEED: u32 = 10;
/// Bytes of the payload: ten times what one Binder call carries.
pub const PAYLOAD_BYTES: u64 = 10_000_000;

const FINDING: Duration = Duration::from_secs(30);
const LISTENING: Duration = Duration::from_secs(30);

pub fn play() -> Result<()> {
    let allocator = Allocator::connect_within(FINDING)?;
    let capabilities = allocator.capabilities()?;
    let heaps: Vec<_> = capabilities.heaps.iter().map(|heap| heap.name.as_str()).collect();
    say(format!(
        "finds the allocator: heaps {}, {} pixel formats, buffers up to {} MiB",
        heaps.join(" and "),
        capabilities.formats.len(),
        capabilities.maxBufferBytes >> 20
    ));
    let session = allocator.open_session("demo producer")?;
    let began = Instant::now();
    let linear = session.allocate_one(&BufferRequest::linear(1 << 20).name("demo linear"))?;
    let usage = Usage::CPU_READ_OFTEN | Usage::CPU_WRITE_OFTEN | Usage::VIDEO_ENCODER;
    let image = BufferRequest::image(1920, 1080, PixelFormat::Ycbcr420888);
    let images = session.allocate(&image.usage(usage).name("demo preview"), 3)?;
    let elapsed = began.elapsed();
    ensure!(images.len() == 3, "asked for 3 images, got {}", images.len());
    say(format!(
        "allocates 1 MiB and, in one call, three 1920x1080 YCBCR_420_888 images of {} bytes: \
         {:.1} ms",
        images[0].size(),
        elapsed.as_secs_f64() * 1e3
    ));
    for buffer in std::iter::once(&linear).chain(&images) {
        say(format!("sees that /proc agrees: {}", proof::of(buffer)?));
    }
    write_image(&images[0])?;
    share(&session, &images)?;
    refusals(&session, linear)?;
    fact("finished", "yes")?;
    Ok(())
}

fn write_image(image: &Buffer) -> Result<()> {
    let mapped = image.map()?;
    let began = Instant::now();
    let access = mapped.begin_write()?;
    access.write(0, &pattern::bytes(IMAGE_SEED, 0, mapped.size()))?;
    access.end()?;
    let milliseconds = began.elapsed().as_secs_f64() * 1e3;
    say(format!(
        "writes {} bytes of an image under CPU access: {milliseconds:.1} ms",
        mapped.size()
    ));
    Ok(())
}

/// Shares an image to write, a payload to read and a doorbell with the consumer, and waits for it.
fn share(session: &Session, images: &[Buffer]) -> Result<()> {
    let consumer: u32 = cue()?.parse().context("the consumer's uid")?;
    let image = &images[0];
    let payload =
        session.allocate_one(&BufferRequest::region(PAYLOAD_BYTES).name("demo payload"))?;
    let began = Instant::now();
    let filled = payload.map()?;
    filled.begin_write()?.write(0, &pattern::bytes(PAYLOAD_SEED, 0, filled.size()))?;
    say(format!(
        "fills a region with a payload of {PAYLOAD_BYTES} bytes: {:.1} ms",
        began.elapsed().as_secs_f64() * 1e3
    ));
    let bell_region = session.allocate_one(&BufferRequest::region(4096).name("demo doorbell"))?;
    let permit = SharePermit::once(consumer);
    say("shares image, payload (read-only) and a doorbell by tokens for the consumer's uid");
    fact("image", token_text(session.share(image, permit)?))?;
    fact("payload", token_text(session.share(&payload, permit.read_only())?))?;
    fact("doorbell", token_text(session.share(&bell_region, permit)?))?;
    fact("inode", image.info().inode)?;
    let mapped = bell_region.map()?;
    let bell = Doorbell::at(mapped.mapping(), 0)?;
    bell.wait(0, LISTENING).context("the consumer never rang")?;
    say("hears the consumer ring, through shared memory and no call");
    ensure!(cue()? == "go on", "an unknown cue");
    Ok(())
}

/// What is refused, with the codes that say so.
fn refusals(session: &Session, linear: Buffer) -> Result<()> {
    let huge = BufferRequest::linear(1 << 40);
    refused("1 TiB", session.allocate_one(&huge), RefusalCode::TOO_LARGE)?;
    let none = BufferRequest::linear(0);
    refused("0 bytes", session.allocate_one(&none), RefusalCode::BAD_DESCRIPTOR)?;
    let batch = session.allocate(&BufferRequest::linear(4096), 65);
    refused("65 buffers at once", batch, RefusalCode::BAD_ARGUMENT)?;
    let id = linear.id();
    session.free(vec![linear])?;
    refused("a second free", session.free_ids(&[id]), RefusalCode::NOT_FOUND)
}

/// Checks that the service refused, and for this cause.
pub fn refused<T>(what: &str, result: Result<T, Error>, code: RefusalCode) -> Result<()> {
    match result {
        Err(Error::Refused { code: given, message }) if given == code => {
            say(format!("is refused {what}: \"{message}\" (code {})", given.0));
            Ok(())
        }
        Err(error) => bail!("{what} failed otherwise: {error}"),
        Ok(_) => bail!("{what} was not refused"),
    }
}
