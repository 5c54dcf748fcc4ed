// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! What the client does with brackets that wait for devices, and with planes.

use std::os::fd::AsFd;
use std::time::Duration;

use anyhow::{Context, Result};
use berth_client::{Buffer, Plane};
use berth_end_to_end::protocol::{Answer, Look};
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};

use crate::drivers::{buffer, direction, Buffers, Drivers};

impl Drivers {
    /// Does what is asked of the CPU's access.
    pub fn look(&mut self, ask: Look, buffers: &Buffers) -> Result<Answer> {
        let within = Duration::from_millis;
        Ok(match ask {
            Look::ReadAfter(handle, fence, milliseconds, length) => {
                let fence = fence.map(|fence| self.fence(fence)).transpose()?;
                let mapped = buffer(buffers, handle)?.map_read_only()?;
                let access = mapped.begin_read_after(fence, within(milliseconds))?;
                let mut bytes = vec![0; length];
                access.read(0, &mut bytes)?;
                access.end()?;
                Answer::Bytes(bytes)
            }
            Look::WriteAfter(handle, fence, milliseconds, bytes) => {
                let fence = fence.map(|fence| self.fence(fence)).transpose()?;
                let mapped = buffer(buffers, handle)?.map()?;
                let access = mapped.begin_overwrite_after(fence, within(milliseconds))?;
                access.write(0, &bytes)?;
                access.end()?;
                Answer::Done
            }
            Look::EndWithFence(handle, next_writes) => {
                let mapped = buffer(buffers, handle)?.map_read_only()?;
                let fence = mapped.begin_read()?.end_with_fence(direction(next_writes))?;
                self.hold(fence.context("no fence where one was due")?)
            }
            Look::EndBefore(handle, fence, writes) => {
                let mapped = buffer(buffers, handle)?.map_read_only()?;
                mapped.begin_read()?.end_before(self.fence(fence)?, direction(writes))?;
                Answer::Done
            }
            Look::Ready(handle, fence) => {
                let (buffer, fence) = (buffer(buffers, handle)?, self.fence(fence)?);
                let (reads, writes) = (PollFlags::POLLIN, PollFlags::POLLOUT);
                let mut all = [
                    PollFd::new(fence.as_fd(), reads),
                    PollFd::new(buffer.as_fd(), reads),
                    PollFd::new(buffer.as_fd(), writes),
                ];
                poll(&mut all, PollTimeout::ZERO)?;
                let is_ready = |number: usize, flag| {
                    let found = all[number].revents().is_some_and(|seen| seen.contains(flag));
                    usize::from(found) << number
                };
                Answer::Count(is_ready(0, reads) | is_ready(1, reads) | is_ready(2, writes))
            }
            Look::Paint(handle) => Answer::Count(paint(buffer(buffers, handle)?)?),
            Look::Painted(handle) => Answer::Yes(is_painted(buffer(buffers, handle)?)?),
        })
    }
}

/// The byte of a place in a plane.
fn shade(layer: usize, number: usize, row: usize, byte: usize) -> u8 {
    (layer * 61 + number * 29 + row * 7 + byte) as u8 | 1
}

fn planes(image: &Buffer) -> Result<Vec<(usize, usize, Plane)>> {
    let size = image.layout().sizeBytes;
    let layout = image.layout().image.as_ref().context("no image")?;
    let layers = size.checked_div(layout.layerStrideInBytes).unwrap_or(0) as usize;
    let mut all = Vec::new();
    for layer in 0..layers {
        for number in 0..layout.planes.len() {
            all.push((layer, number, image.plane(layer, number)?));
        }
    }
    Ok(all)
}

fn paint(image: &Buffer) -> Result<usize> {
    let mapped = image.map()?;
    let access = mapped.begin_overwrite()?;
    let mut painted = 0;
    for (layer, number, plane) in planes(image)? {
        let view = access.plane(&plane)?;
        for row in 0..plane.rows() {
            let bytes = 0..plane.row_bytes();
            let bytes: Vec<u8> = bytes.map(|byte| shade(layer, number, row, byte)).collect();
            view.write_row(row, &bytes)?;
            painted += bytes.len();
        }
    }
    access.end()?;
    Ok(painted)
}

/// Looks at each byte of each sample where samples have a distance, and at rows where they have none.
fn is_painted(image: &Buffer) -> Result<bool> {
    let mapped = image.map_read_only()?;
    let access = mapped.begin_read()?;
    for (layer, number, plane) in planes(image)? {
        let view = access.plane(&plane)?;
        let sample_bytes = plane.row_bytes().checked_div(plane.width()).unwrap_or(0);
        let has_samples = view.samples::<u8>(0).is_ok();
        for row in 0..plane.rows() {
            let mut bytes = vec![0; plane.row_bytes()];
            if has_samples {
                let mut column = vec![0; plane.width()];
                for first in 0..sample_bytes {
                    view.samples::<u8>(first)?.read_row(row, 0, &mut column)?;
                    let places = bytes.iter_mut().skip(first).step_by(sample_bytes);
                    places.zip(&column).for_each(|(place, byte)| *place = *byte);
                }
            } else {
                view.read_row(row, &mut bytes)?;
            }
            let is_as_painted =
                |(byte, seen): (usize, &u8)| *seen == shade(layer, number, row, byte);
            if !bytes.iter().enumerate().all(is_as_painted) {
                return Ok(false);
            }
        }
    }
    access.end()?;
    Ok(true)
}
