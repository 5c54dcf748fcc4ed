// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! vkms: a display without hardware (`drivers/gpu/drm/vkms`). It reads a framebuffer pixel by pixel,
//! as its own idea of the format says, and writes what would be seen into another one, which hangs
//! on its writeback connector.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure, Context, Result};
use berth_kernel::fdinfo::DmaBufInfo;
use berth_kernel::sync_file::{FenceState, SyncFile};
use drm::control::atomic::AtomicModeReq;
use drm::control::connector::{self, Interface};
use drm::control::property::Value;
use drm::control::{crtc, framebuffer, from_u32, plane, property};
use drm::control::{AtomicCommitFlags, Device as _, Mode, PlaneType, ResourceHandle};
use drm::{ClientCapability, Device as _};
use drm_ffi::drm_mode_modeinfo;

use crate::ioctl::FenceSlot;
use crate::node::{Imported, Node};

/// Frames per second: a picture takes about four of them. A driver that cannot keep up under
/// emulation leaves some out.
const RATE: u32 = 120;

/// How long a frame may take; some milliseconds but for an overloaded machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// An image in a dma-buf, as its owner describes it.
#[derive(Debug, Clone, Copy)]
pub struct Picture<'a> {
    /// Where the pixels are.
    pub dma_buf: BorrowedFd<'a>,
    /// The code of `drm_fourcc.h`.
    pub fourcc: u32,
    /// Width and height in pixels.
    pub size: (u16, u16),
    /// Offset and stride of each plane, in bytes.
    pub planes: &'a [(u32, u32)],
}

/// A display, its one pipe and the connector to look at it.
#[derive(Debug)]
pub struct Display {
    node: Arc<Node>,
    crtc: Object<crtc::Handle>,
    plane: Object<plane::Handle>,
    writeback: Object<connector::Handle>,
    formats: Vec<u32>,
}

impl Display {
    /// Opens vkms's card: there is one such display, and one process at a time that may set it.
    pub fn open() -> Result<Display> {
        let node = Node::open("vkms", "card")?;
        for capability in [ClientCapability::Atomic, ClientCapability::WritebackConnectors] {
            let set = node.set_client_capability(capability, true);
            set.with_context(|| format!("{capability:?} of vkms"))?;
        }
        let resources = node.resource_handles().context("the parts of vkms")?;
        let crtc = *resources.crtcs().first().context("vkms has no CRTC")?;
        let mut primary = None;
        for handle in node.plane_handles().context("the planes of vkms")? {
            let plane = Object::new(&node, handle)?;
            if plane.value(&node, "type")? == PlaneType::Primary as u64 {
                primary = Some(plane);
            }
        }
        let mut writeback = None;
        for handle in resources.connectors() {
            if node.get_connector(*handle, false)?.interface() == Interface::Writeback {
                writeback = Some(Object::new(&node, *handle)?);
            }
        }
        let plane = primary.context("vkms has no primary plane")?;
        let formats = node.get_plane(plane.handle)?.formats().to_vec();
        let writeback = writeback.context("vkms has no writeback connector")?;
        Ok(Display { crtc: Object::new(&node, crtc)?, plane, writeback, formats, node })
    }

    /// The codes of the formats that it can show.
    pub fn formats(&self) -> &[u32] {
        &self.formats
    }

    /// Shows an image for one frame, from its first pixel to its last, without scaling, and writes
    /// what is seen into `frame`, which is as large and another buffer. The driver has let go of
    /// both when this returns.
    ///
    /// An image begins where its buffer does: vkms of Linux 6.12 counts an image's offset twice
    /// (`drm_gem_fb_vmap` adds it, and `pixel_offset` again), and so reads beyond the buffer, which
    /// the kernel may not survive. A frame's it counts once.
    pub fn show(&self, image: &Picture<'_>, frame: &Picture<'_>) -> Result<()> {
        ensure!(image.planes.iter().all(|plane| plane.0 == 0), "vkms counts offsets twice");
        let holders = [holders(image)?, holders(frame)?];
        let on_display = Framebuffer::new(&self.node, image).context("the image to show")?;
        let seen = Framebuffer::new(&self.node, frame).context("the frame to write")?;
        let mode = Blob::new(&self.node, &mode(image.size))?;
        let done = FenceSlot::empty();
        let on = self.switched_on(image.size, on_display.handle, mode.0, seen.handle, &done)?;
        self.commit(on).context("show an image")?;
        let done = SyncFile::try_from(done.take().context("the frame has no fence")?)?;
        let state = done.wait(Some(PATIENCE))?;
        ensure!(state == FenceState::Signalled, "the frame is {state:?} after {PATIENCE:?}");
        // vkms cleans up after a frame in its own time: it stops composing and lets go of the buffer.
        // A frame that it is given before that would never be written.
        drop(seen);
        await_holders(frame, holders[1])?;
        self.commit(self.switched_off()?).context("switch the display off")?;
        drop(on_display);
        await_holders(image, holders[0])
    }

    fn switched_on(
        &self,
        (width, height): (u16, u16),
        image: framebuffer::Handle,
        mode: Value<'static>,
        frame: framebuffer::Handle,
        done: &FenceSlot,
    ) -> Result<AtomicModeReq> {
        let crtc = Value::CRTC(Some(self.crtc.handle));
        let number = |number: u16| Value::UnsignedRange(number.into());
        // The source is in 16.16 fixed point.
        let fixed = |number: u16| Value::UnsignedRange(u64::from(number) << 16);
        let mut request = AtomicModeReq::new();
        self.crtc.set(&mut request, &[("ACTIVE", Value::Boolean(true)), ("MODE_ID", mode)])?;
        self.plane.set(
            &mut request,
            &[
                ("FB_ID", Value::Framebuffer(Some(image))),
                ("CRTC_ID", crtc),
                ("SRC_X", fixed(0)),
                ("SRC_Y", fixed(0)),
                ("SRC_W", fixed(width)),
                ("SRC_H", fixed(height)),
                ("CRTC_X", Value::SignedRange(0)),
                ("CRTC_Y", Value::SignedRange(0)),
                ("CRTC_W", number(width)),
                ("CRTC_H", number(height)),
            ],
        )?;
        self.writeback.set(
            &mut request,
            &[
                ("CRTC_ID", crtc),
                ("WRITEBACK_FB_ID", Value::Framebuffer(Some(frame))),
                ("WRITEBACK_OUT_FENCE_PTR", Value::UnsignedRange(done.address())),
            ],
        )?;
        Ok(request)
    }

    fn switched_off(&self) -> Result<AtomicModeReq> {
        let mut request = AtomicModeReq::new();
        self.crtc
            .set(&mut request, &[("ACTIVE", Value::Boolean(false)), ("MODE_ID", Value::Blob(0))])?;
        let nothing = [("FB_ID", Value::Framebuffer(None)), ("CRTC_ID", Value::CRTC(None))];
        self.plane.set(&mut request, &nothing)?;
        self.writeback.set(&mut request, &[("CRTC_ID", Value::CRTC(None))])?;
        Ok(request)
    }

    fn commit(&self, request: AtomicModeReq) -> Result<()> {
        Ok(self.node.atomic_commit(AtomicCommitFlags::ALLOW_MODESET, request)?)
    }
}

/// A part of the display, with its properties by name.
#[derive(Debug)]
struct Object<H> {
    handle: H,
    properties: HashMap<String, property::Handle>,
}

impl<H: ResourceHandle> Object<H> {
    fn new(node: &Node, handle: H) -> Result<Object<H>> {
        let all = node.get_properties(handle)?.as_hashmap(node)?;
        let properties = all.into_iter().map(|(name, info)| (name, info.handle())).collect();
        Ok(Object { handle, properties })
    }

    fn property(&self, name: &str) -> Result<property::Handle> {
        self.properties.get(name).copied().with_context(|| format!("vkms has no property {name}"))
    }

    /// What a property is now.
    fn value(&self, node: &Node, name: &str) -> Result<u64> {
        let property = self.property(name)?;
        let values = node.get_properties(self.handle)?;
        let found = values.iter().find(|(handle, _)| **handle == property);
        Ok(*found.with_context(|| format!("{name} has no value"))?.1)
    }

    fn set(&self, request: &mut AtomicModeReq, values: &[(&str, Value<'_>)]) -> Result<()> {
        for (name, value) in values {
            request.add_property(self.handle, self.property(name)?, *value);
        }
        Ok(())
    }
}

/// A framebuffer over an imported dma-buf; both end when this is dropped.
struct Framebuffer {
    buffer: Imported,
    handle: framebuffer::Handle,
}

impl Framebuffer {
    fn new(node: &Arc<Node>, picture: &Picture<'_>) -> Result<Framebuffer> {
        ensure!((1..=4).contains(&picture.planes.len()), "{} planes", picture.planes.len());
        let buffer = node.import(picture.dma_buf)?;
        let (mut handles, mut strides, mut offsets) = ([0; 4], [0; 4], [0; 4]);
        for (index, (offset, stride)) in picture.planes.iter().enumerate() {
            (handles[index], strides[index]) = (buffer.handle().into(), *stride);
            offsets[index] = *offset;
        }
        let (width, height) = (picture.size.0.into(), picture.size.1.into());
        // One level below the crate `drm`, which has names for fewer formats than vkms. Without
        // modifiers a framebuffer is linear here.
        let (fd, fourcc) = (node.as_fd(), picture.fourcc);
        let modifiers = [0; 4];
        let added = drm_ffi::mode::add_fb2(
            fd, width, height, fourcc, &handles, &strides, &offsets, &modifiers, 0,
        );
        let added = added.with_context(|| format!("add a framebuffer {picture:?}"))?;
        let handle = from_u32(added.fb_id).context("a framebuffer without a number")?;
        Ok(Framebuffer { buffer, handle })
    }
}

impl Drop for Framebuffer {
    fn drop(&mut self) {
        // The node's end removes what is left; there is nobody to tell here.
        let _ = self.buffer.node().destroy_framebuffer(self.handle);
    }
}

/// A property's value too large for a number; removed when this is dropped.
struct Blob<'a>(Value<'static>, &'a Node);

impl<'a> Blob<'a> {
    fn new<T>(node: &'a Node, data: &T) -> Result<Blob<'a>> {
        Ok(Blob(node.create_property_blob(data).context("make a property blob")?, node))
    }
}

impl Drop for Blob<'_> {
    fn drop(&mut self) {
        if let Value::Blob(number) = self.0 {
            let _ = self.1.destroy_property_blob(number);
        }
    }
}

/// A mode of exactly this size: no list has it, and no list has to.
fn mode((width, height): (u16, u16)) -> Mode {
    let (across, down) = (width.saturating_add(30), height.saturating_add(10));
    let pixels_per_second = u64::from(across) * u64::from(down) * u64::from(RATE);
    Mode::from(drm_mode_modeinfo {
        // In kHz.
        clock: u32::try_from(pixels_per_second.div_ceil(1000)).unwrap_or(u32::MAX),
        hdisplay: width,
        hsync_start: width.saturating_add(10),
        hsync_end: width.saturating_add(20),
        htotal: across,
        vdisplay: height,
        vsync_start: height.saturating_add(2),
        vsync_end: height.saturating_add(4),
        vtotal: down,
        vrefresh: RATE,
        ..drm_mode_modeinfo::default()
    })
}

/// How many references the kernel counts to the buffer.
fn holders(picture: &Picture<'_>) -> Result<u64> {
    Ok(DmaBufInfo::of(picture.dma_buf)?.context("no dma-buf")?.count)
}

/// Waits until nobody holds the buffer who did not before.
fn await_holders(picture: &Picture<'_>, before: u64) -> Result<()> {
    let began = Instant::now();
    while holders(picture)? > before {
        if began.elapsed() > PATIENCE {
            bail!("vkms still holds the buffer after {PATIENCE:?}");
        }
        thread::yield_now();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_has_the_size_asked_for_and_about_the_rate() {
        for size in [(10, 10), (33, 17), (1920, 1080)] {
            let mode = mode(size);
            assert_eq!(mode.size(), size);
            let (across, down) = (u32::from(mode.hsync().2), u32::from(mode.vsync().2));
            assert!(across > size.0.into() && down > size.1.into());
            let rate = f64::from(mode.clock()) * 1000.0 / f64::from(across * down);
            assert!((115.0..140.0).contains(&rate), "{rate} Hz for {size:?}");
        }
    }
}
