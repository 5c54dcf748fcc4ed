// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! What the client does with drivers that are not ours, and with fences.

use std::collections::HashMap;
use std::os::fd::AsFd;
use std::time::Duration;

use anyhow::{Context, Result};
use berth_client::{Buffer, Direction, Error, Fence, FenceState, Identity};
use berth_end_to_end::protocol::{self, Answer, FenceHandle, Fences, Handle, SwSync};
use berth_virtual_drivers::node::Imported;
use berth_virtual_drivers::sw_sync::Timeline;
use berth_virtual_drivers::vgem::{self, Vgem};
use berth_virtual_drivers::vkms::{Display, Picture};

/// What the client holds of them; opened when first asked for.
#[derive(Default)]
pub struct Drivers {
    fences: HashMap<FenceHandle, Fence>,
    next: FenceHandle,
    timeline: Option<Timeline>,
    vgem: Option<Vgem>,
    at_vgem: HashMap<Handle, AtVgem>,
    display: Option<Display>,
}

/// A buffer that vgem took, and the work that it has not finished.
struct AtVgem {
    imported: Imported,
    work: Option<vgem::Fence>,
}

pub(crate) type Buffers = HashMap<Handle, Buffer>;

impl Drivers {
    /// Does what is asked of fences.
    pub fn fences(&mut self, ask: Fences, buffers: &Buffers) -> Result<Answer> {
        Ok(match ask {
            Fences::Of(handle, for_writer) => {
                let buffer = buffer(buffers, handle)?;
                self.hold(Fence::export(buffer, direction(for_writer))?)
            }
            Fences::Into(fence, handle, of_writer) => {
                let buffer = buffer(buffers, handle)?;
                self.fence(fence)?.import(buffer, direction(of_writer))?;
                Answer::Done
            }
            Fences::Merge(one, other, name) => {
                let merged = self.fence(one)?.merge(self.fence(other)?, &name)?;
                self.hold(merged)
            }
            Fences::Await(fence, milliseconds) => {
                let fence = self.fence(fence)?;
                match fence.wait(Duration::from_millis(milliseconds)) {
                    Ok(()) | Err(Error::NotReady(_) | Error::FenceFailed(_)) => {}
                    Err(error) => return Err(error.into()),
                }
                Answer::Fence(described(fence)?)
            }
        })
    }

    /// Does what is asked of vgem.
    pub fn vgem(&mut self, ask: protocol::Vgem, buffers: &Buffers) -> Result<Answer> {
        if self.vgem.is_none() {
            self.vgem = Some(Vgem::open()?);
        }
        let vgem = self.vgem.as_ref().context("no vgem")?;
        let at_vgem = &mut self.at_vgem;
        match ask {
            protocol::Vgem::Import(handle) => {
                let imported = vgem.import(buffer(buffers, handle)?.as_fd())?;
                at_vgem.insert(handle, AtVgem { imported, work: None });
            }
            protocol::Vgem::Export(handle) => {
                let exported = at_vgem.get(&handle).context("not at vgem")?.imported.export()?;
                let identity = Identity::of(exported.as_fd())?;
                return Ok(Answer::Identity(identity.device, identity.inode));
            }
            protocol::Vgem::Attach(handle, writes) => {
                let at_vgem = at_vgem.get_mut(&handle).context("not at vgem")?;
                at_vgem.work = Some(vgem.attach(&at_vgem.imported, writes)?);
            }
            protocol::Vgem::Signal(handle) => {
                let at_vgem = at_vgem.get_mut(&handle).context("not at vgem")?;
                vgem.signal(at_vgem.work.take().context("vgem is not at work")?)?;
            }
            protocol::Vgem::Drop(handle) => {
                at_vgem.remove(&handle).context("not at vgem")?;
            }
        }
        Ok(Answer::Done)
    }

    /// Does what is asked of sw_sync.
    pub fn sw_sync(&mut self, ask: SwSync) -> Result<Answer> {
        if self.timeline.is_none() {
            self.timeline = Some(Timeline::open()?);
        }
        let timeline = self.timeline.as_ref().context("no timeline")?;
        match ask {
            SwSync::Fence(value) => {
                let fence = Fence::adopt(timeline.fence(value)?.into())?;
                return Ok(self.hold(fence));
            }
            SwSync::Advance(by) => timeline.advance(by)?,
            SwSync::Close => self.timeline = None,
        }
        Ok(Answer::Done)
    }

    /// Does what is asked of vkms.
    pub fn vkms(&mut self, ask: protocol::Vkms, buffers: &Buffers) -> Result<Answer> {
        if self.display.is_none() {
            self.display = Some(Display::open()?);
        }
        let display = self.display.as_ref().context("no display")?;
        Ok(match ask {
            protocol::Vkms::Formats => Answer::Formats(display.formats().to_vec()),
            protocol::Vkms::Show(image, frame) => {
                display.show(&picture(buffers, &image)?, &picture(buffers, &frame)?)?;
                Answer::Done
            }
        })
    }

    pub(crate) fn hold(&mut self, fence: Fence) -> Answer {
        self.next += 1;
        self.fences.insert(self.next, fence);
        Answer::FenceHeld(self.next)
    }

    pub(crate) fn fence(&self, handle: FenceHandle) -> Result<&Fence> {
        self.fences.get(&handle).context("no such fence here")
    }
}

pub(crate) fn buffer(buffers: &Buffers, handle: Handle) -> Result<&Buffer> {
    buffers.get(&handle).context("no such buffer here")
}

fn picture<'a>(buffers: &'a Buffers, asked: &'a protocol::Picture) -> Result<Picture<'a>> {
    let dma_buf = buffer(buffers, asked.handle)?.as_fd();
    Ok(Picture { dma_buf, fourcc: asked.fourcc, size: asked.size, planes: &asked.planes })
}

pub(crate) fn direction(writes: bool) -> Direction {
    if writes {
        Direction::Write
    } else {
        Direction::Read
    }
}

/// What somebody who is to write or read a buffer has to wait for at this moment.
pub(crate) fn fences_of(buffer: &Buffer, for_writer: bool) -> Result<protocol::Fence> {
    described(&Fence::export(buffer, direction(for_writer))?)
}

fn described(fence: &Fence) -> Result<protocol::Fence> {
    let info = fence.info()?;
    let parts = info.fences.into_iter().map(|part| {
        let over_at = part.signalled_at_ns.map(Duration::from_nanos);
        (part.driver, part.timeline, state(part.state), over_at)
    });
    Ok(protocol::Fence {
        name: info.name,
        state: state(info.state),
        parts: parts.collect(),
        over_at: fence.signalled_at()?,
    })
}

fn state(state: FenceState) -> protocol::FenceState {
    match state {
        FenceState::Pending => protocol::FenceState::Pending,
        FenceState::Signalled => protocol::FenceState::Signalled,
        FenceState::Failed(errno) => protocol::FenceState::Failed(errno as i32),
    }
}
