// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Camera, encoder and display: three processes under three uids, and one pool of images that go from
//! one to the next without a call to anybody.
//!
//! Devices that work on a frame leave their fences in its dma-buf, with which they reach whoever has
//! the slot next. vgem, a driver without hardware, stands in for the camera's device and the display's
//! where it is; `fenced` is what is different then. Elsewhere the CPU fills the frames.

use std::time::{Duration, Instant};

use anyhow::{anyhow, ensure, Context, Result};
use berth_client::{
    Allocator, Buffer, BufferRequest, Crop, Metadata, PixelFormat, Pool, PoolOptions, Queue,
    SharePermit, Usage,
};

use crate::actor::Actor;
use crate::device;
use crate::fenced::{self, Arrivals, Panel, Sensor};
use crate::script::{cue, fact, say, token, token_text};
use crate::story::{start_hal, wait_until, Step};
use crate::{pattern, Props};

const CAMERA_UID: u32 = 10_001;
const ENCODER_UID: u32 = 10_002;
const DISPLAY_UID: u32 = 10_003;

/// Frames from the camera to the display.
pub const FRAMES: u32 = 60;
/// Buffers that they go in.
pub const SLOTS: u32 = 3;
const WIDTH: i32 = 640;
const HEIGHT: i32 = 480;
/// Between two frames of 30 a second.
const FRAME_NS: i64 = 33_333_333;
/// What the encoder sets in what it passes on.
const ENCODED: u32 = 0x0e0c;

/// What the camera says of fences if there are any; otherwise it says why not.
const FENCES: &str = "there are fences";

/// How long a frame, or a process, may take.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The steps of this demo.
pub fn steps(props: &Props, step: &mut Step) -> Result<()> {
    let (stage, _running, allocator) = start_hal(props, step)?;

    step.begin("a camera makes a pool and shares it with an encoder and a display");
    let mut camera = Actor::enter("the camera", &mut stage.role("camera-source"), CAMERA_UID)?;
    let for_encoder = camera.fact("encoder")?;
    let for_display = camera.fact("display")?;
    let fences = camera.fact("fences")?;
    let mut encoder = Actor::enter("the encoder", &mut stage.role("camera-encoder"), ENCODER_UID)?;
    encoder.cue(for_encoder)?;
    encoder.cue(&fences)?;
    let mut display = Actor::enter("the display", &mut stage.role("camera-display"), DISPLAY_UID)?;
    display.cue(for_display)?;
    display.cue(&fences)?;
    let encoder_number = encoder.fact("joined")?;
    display.cue(&encoder_number)?;
    display.fact("joined")?;
    let stats = allocator.stats()?;
    ensure!(stats.pools == 1, "the ledger shows {} pools", stats.pools);
    let images = SLOTS as i32;
    // The pool's pages are one more.
    ensure!(stats.buffers == images + 1, "the ledger shows {} buffers", stats.buffers);

    step.begin("frames go from camera to encoder to display");
    camera.cue("go")?;
    if fences == FENCES {
        println!(
            "  vgem, a driver without hardware, stands in for the devices of camera and display"
        );
        fenced::direct(&mut camera, &mut encoder, &mut display)?;
    } else {
        ensure!(!props.fences, "no fences: {fences}");
        println!("  the CPU fills the frames, and there is no fence to wait for: {fences}");
    }
    display.leave()?;
    encoder.leave()?;
    camera.leave()?;

    step.begin("what the ledger says at the end");
    let (stats, _) = wait_until(&allocator, |now| now.buffers == 0 && now.pools == 0)?;
    ensure!(stats.sessions == 0 && stats.tokens == 0, "something is left: {stats:?}");
    println!("  no pool, no buffer, no token");
    Ok(())
}

/// The camera: fills free slots.
pub fn source() -> Result<()> {
    let session = Allocator::connect_within(PATIENCE)?.open_session("demo camera")?;
    let usage = Usage::CPU_READ_OFTEN | Usage::CPU_WRITE_OFTEN | Usage::VIDEO_ENCODER;
    let image = BufferRequest::image(WIDTH as u32, HEIGHT as u32, PixelFormat::Ycbcr420888);
    let pool = session
        .create_pool(&image.usage(usage).name("demo frame"), PoolOptions::slots(SLOTS))
        .context("make a pool")?;
    say(format!("makes a pool of {SLOTS} images of {WIDTH}x{HEIGHT} pixels"));
    fact("encoder", token_text(pool.share(SharePermit::once(ENCODER_UID))?))?;
    fact("display", token_text(pool.share(SharePermit::once(DISPLAY_UID))?))?;
    let mut sensor = find_sensor(&pool)?;
    ensure!(cue()? == "go", "an unknown cue");
    let began = Instant::now();
    for frame in 0..FRAMES {
        let lease = pool.acquire(PATIENCE)?;
        let buffer = lease.buffer()?;
        match &mut sensor {
            Some(sensor) => sensor.queue(frame, lease.slot(), buffer)?,
            None => fill(frame, &buffer)?,
        }
        let timestamp_ns = i64::from(frame) * FRAME_NS;
        let sequence = frame.into();
        lease.submit(&Metadata { timestamp_ns, sequence, ..Metadata::default() })?;
    }
    let awaited = sensor.map(Sensor::finish).transpose()?;
    let seconds = began.elapsed().as_secs_f64();
    match awaited {
        Some((often, waited)) => say(format!(
            "handed on {FRAMES} frames in {seconds:.2} s before its device wrote them; {often} times \
             a buffer came back that the display's device still read, and waited {:.2} s for it",
            waited.as_secs_f64()
        )),
        None => say(format!("filled {FRAMES} frames in {seconds:.2} s")),
    }
    // The pool ends with its creator: not before the others have seen all of it.
    while pool.participants() > 1 {
        std::thread::yield_now();
        ensure!(began.elapsed() < 4 * PATIENCE, "the others do not come to an end");
    }
    fact("finished", "yes")
}

/// The camera's device, if there is one; tells the director.
fn find_sensor(pool: &Pool) -> Result<Option<Sensor>> {
    // Given back unused.
    let found = device::find(&*pool.acquire(PATIENCE)?.buffer()?)?;
    match &found {
        Ok(_) => fact("fences", FENCES)?,
        Err(why) => fact("fences", why)?,
    }
    Ok(found.ok().map(Sensor::new))
}

/// Fills a frame where no device does.
fn fill(frame: u32, buffer: &Buffer) -> Result<()> {
    let mapped = buffer.map()?;
    let access = mapped.begin_write()?;
    access.write(0, &pattern::bytes(frame, 0, mapped.size()))?;
    Ok(access.end()?)
}

/// The encoder: works on what the camera filled, in place, and passes it on.
pub fn encoder() -> Result<()> {
    let pool = join("demo encoder")?;
    let mut arrivals = (cue()? == FENCES).then(Arrivals::default);
    fact("joined", pool.participant())?;
    for frame in 0..FRAMES {
        let raw = pool.take(PATIENCE)?;
        let metadata = *raw.metadata();
        ensure!(metadata.sequence == u64::from(frame), "frame {} after {frame}", metadata.sequence);
        let buffer = raw.buffer()?;
        let mapped = buffer.map()?;
        let (access, mut bytes) = match &mut arrivals {
            Some(arrivals) => arrivals.begin(frame, &buffer, &mapped)?,
            None => {
                let (access, mut bytes) = (mapped.begin_write()?, vec![0; mapped.size()]);
                access.read(0, &mut bytes)?;
                (access, bytes)
            }
        };
        let expected = pattern::bytes(frame, 0, bytes.len());
        ensure!(bytes == expected, "frame {frame} has other bytes");
        bytes.iter_mut().for_each(|byte| *byte = !*byte);
        access.write(0, &bytes)?;
        match arrivals {
            Some(_) => Arrivals::end(access)?,
            None => access.end()?,
        }
        let crop = Crop { left: 0, top: 0, right: WIDTH, bottom: HEIGHT - 8 };
        raw.pass_on(Queue::Second, &Metadata { crop, tag: ENCODED, ..metadata })?;
    }
    let what = "found what the camera wrote, inverted and passed them on";
    match arrivals {
        Some(arrivals) => say(format!("took {FRAMES} frames, {}; {what}", arrivals.told())),
        None => say(format!("took {FRAMES} frames, {what}")),
    }
    fact("finished", "yes")
}

/// The display: checks what comes at the end.
pub fn display() -> Result<()> {
    let pool = join("demo display")?;
    let has_fences = cue()? == FENCES;
    let mut panel = None;
    let encoder: u32 = cue()?.parse().context("the encoder's number")?;
    fact("joined", pool.participant())?;
    let mut slots = 0u32;
    for frame in 0..FRAMES {
        let shown = pool.take_from(Queue::Second, PATIENCE)?;
        let Metadata { timestamp_ns, sequence, crop, tag } = *shown.metadata();
        ensure!(sequence == u64::from(frame), "frame {sequence} after {frame}");
        ensure!(timestamp_ns == i64::from(frame) * FRAME_NS, "frame {frame} at {timestamp_ns} ns");
        ensure!(shown.producer() == encoder && tag == ENCODED, "frame {frame} is not encoded");
        ensure!(crop.bottom == HEIGHT - 8, "frame {frame} is cropped to {crop:?}");
        let buffer = shown.buffer()?;
        let mapped = buffer.map_read_only()?;
        let mut bytes = vec![0; mapped.size()];
        let access = mapped.begin_read()?;
        access.read(0, &mut bytes)?;
        access.end()?;
        bytes.iter_mut().for_each(|byte| *byte = !*byte);
        let expected = pattern::bytes(frame, 0, bytes.len());
        ensure!(bytes == expected, "frame {frame} has other bytes");
        slots |= 1 << shown.slot();
        if has_fences {
            if panel.is_none() {
                let found = device::find(&buffer)?;
                panel = Some(Panel::new(found.map_err(|why| anyhow!("no device: {why}"))?));
            }
            if let Some(panel) = &mut panel {
                panel.show(frame, shown.slot(), &buffer)?;
            }
        }
    }
    panel.map_or(Ok(()), Panel::finish)?;
    let used = slots.count_ones();
    say(format!(
        "showed {FRAMES} frames in order, each byte as camera and encoder left it, in {used} buffers"
    ));
    fact("finished", "yes")
}

fn join(name: &str) -> Result<Pool> {
    let session = Allocator::connect_within(PATIENCE)?.open_session(name)?;
    session.join_pool(token(&cue()?)?).context("join the pool")
}
