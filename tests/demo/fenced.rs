// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! What camera, encoder and display do where their devices have fences: nobody waits before he hands
//! a buffer on, and everybody before he touches it.
//!
//! The director keeps the order that shows it. The camera's device writes a frame when the encoder
//! has it and has seen that it is not there; the display's device lets a frame go when the camera has
//! its buffer again and has seen that it must not be written.

use std::os::fd::AsFd;
use std::sync::mpsc::{channel, Receiver, Sender};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{anyhow, ensure, Context, Result};
use berth_client::{Buffer, Direction, Fence, FenceState, MappedBuffer, ReadWrite, WriteAccess};

use crate::actor::Actor;
use crate::camera::{FRAMES, PATIENCE, SLOTS};
use crate::device::{Device, Work};
use crate::pattern;
use crate::script::{cue, fact};

/// The director's part.
pub fn direct(camera: &mut Actor, encoder: &mut Actor, display: &mut Actor) -> Result<()> {
    for frame in 0..FRAMES {
        let taken = encoder.fact("waits")?;
        ensure!(taken == frame.to_string(), "the encoder waits for frame {taken}, not {frame}");
        camera.cue("expose")?;
        if is_followed(frame) {
            let shown = camera.fact("waits")?;
            ensure!(shown == frame.to_string(), "the camera waits for frame {shown}, not {frame}");
            display.cue("flip")?;
        }
    }
    Ok(())
}

/// Whether another frame comes into this one's buffer.
fn is_followed(frame: u32) -> bool {
    frame + SLOTS < FRAMES
}

/// A frame that the camera's device has not written yet.
struct Exposure {
    frame: u32,
    buffer: Arc<Buffer>,
    over: Work,
}

/// The camera's device: it is given buffers, and writes them when there is light.
pub struct Sensor {
    device: Box<dyn Device>,
    exposures: Sender<Exposure>,
    thread: JoinHandle<Result<()>>,
    /// How often a buffer came back that was still shown, and how long that was waited for.
    pub awaited: (u32, Duration),
}

impl Sensor {
    /// Switches it on.
    pub fn new(device: Box<dyn Device>) -> Sensor {
        let (exposures, given) = channel();
        let thread = thread::spawn(move || expose(given));
        Sensor { device, exposures, thread, awaited: (0, Duration::ZERO) }
    }

    /// Gives it the buffer of a slot, as soon as nobody reads what was there before. The buffer may be
    /// handed on at once: a fence is in it.
    pub fn queue(&mut self, frame: u32, slot: u32, buffer: Arc<Buffer>) -> Result<()> {
        let readers = Fence::export(buffer.as_fd(), Direction::Write)?;
        let is_shown = readers.status()? == FenceState::Pending;
        let before = frame.checked_sub(SLOTS);
        ensure!(is_shown == before.is_some(), "frame {frame}: its buffer is shown: {is_shown}");
        if let Some(before) = before {
            fact("waits", before)?;
            let began = Instant::now();
            readers.wait(PATIENCE)?;
            self.awaited.0 += 1;
            self.awaited.1 += began.elapsed();
        }
        let over = self.device.begin(slot, buffer.as_fd(), Direction::Write)?;
        let sent = self.exposures.send(Exposure { frame, buffer, over });
        sent.map_err(|_| anyhow!("the device has ended"))
    }

    /// Waits until all is written.
    pub fn finish(self) -> Result<(u32, Duration)> {
        drop(self.exposures);
        self.thread.join().ok().context("the device's thread panicked")??;
        Ok(self.awaited)
    }
}

/// What the device does, on a thread that nobody waits for but by its fences.
fn expose(given: Receiver<Exposure>) -> Result<()> {
    for Exposure { frame, buffer, over } in given {
        ensure!(cue()? == "expose", "an unknown cue");
        // As a device writes: without a bracket, which would wait for the device.
        let mapped = buffer.map()?;
        mapped.mapping().write(0, &pattern::bytes(frame, 0, mapped.size()))?;
        over()?;
    }
    Ok(())
}

/// What the encoder finds out by waiting.
#[derive(Debug)]
pub struct Arrivals {
    waited: Duration,
    /// Bytes of the frame of which the fewest would have been wrong.
    fewest_wrong: usize,
}

impl Default for Arrivals {
    fn default() -> Arrivals {
        Arrivals { waited: Duration::ZERO, fewest_wrong: usize::MAX }
    }
}

impl Arrivals {
    /// Begins to read and write a frame that came before it was there, and reads it; answers the bytes.
    pub fn begin<'mapped>(
        &mut self,
        frame: u32,
        buffer: &Buffer,
        mapped: &'mapped MappedBuffer<'_, ReadWrite>,
    ) -> Result<(WriteAccess<'mapped>, Vec<u8>)> {
        let camera = Fence::export(buffer.as_fd(), Direction::Write)?;
        let state = camera.status()?;
        ensure!(state == FenceState::Pending, "frame {frame} came with a fence that is {state:?}");
        // What somebody has who does not wait.
        let (mut early, mut bytes) = (vec![0; mapped.size()], vec![0; mapped.size()]);
        mapped.mapping().read(0, &mut early)?;
        fact("waits", frame)?;
        let began = Instant::now();
        let access = mapped.begin_write_after(Some(&camera), PATIENCE)?;
        self.waited += began.elapsed();
        access.read(0, &mut bytes)?;
        let wrong = early.iter().zip(&bytes).filter(|(early, late)| early != late).count();
        ensure!(wrong > 0, "frame {frame} was there before its fence was over");
        self.fewest_wrong = self.fewest_wrong.min(wrong);
        Ok((access, bytes))
    }

    /// Ends the access to a frame: the CPU's own work needs no fence.
    pub fn end(access: WriteAccess<'_>) -> Result<()> {
        let left = access.end_with_fence(Direction::Write)?.context("no fence")?;
        let state = left.status()?;
        ensure!(state == FenceState::Signalled, "the CPU is done, and its fence {state:?}");
        Ok(())
    }

    /// In words.
    pub fn told(&self) -> String {
        let (waited, wrong) = (self.waited.as_secs_f64(), self.fewest_wrong);
        format!(
            "each before the camera's device had written it: waited {waited:.2} s for its fences, \
             and whoever does not would have read {wrong} wrong bytes or more of each"
        )
    }
}

/// The display's device: it reads what is on the screen until the next frame is.
pub struct Panel {
    device: Box<dyn Device>,
    on_screen: Option<(u32, Work)>,
}

impl Panel {
    /// Switches it on.
    pub fn new(device: Box<dyn Device>) -> Panel {
        Panel { device, on_screen: None }
    }

    /// Shows a frame instead of the one before. Its buffer may be given back at once: a fence is in it.
    pub fn show(&mut self, frame: u32, slot: u32, buffer: &Buffer) -> Result<()> {
        let over = self.device.begin(slot, buffer.as_fd(), Direction::Read)?;
        let Some((before, over)) = self.on_screen.replace((frame, over)) else { return Ok(()) };
        if is_followed(before) {
            ensure!(cue()? == "flip", "an unknown cue");
        }
        over()
    }

    /// Switches it off.
    pub fn finish(self) -> Result<()> {
        self.on_screen.map_or(Ok(()), |(_, over)| over())
    }
}
