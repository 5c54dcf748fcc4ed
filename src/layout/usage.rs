// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Usage bits with the values of `android.hardware.graphics.common.BufferUsage`, and the policy
//! that turns them into an alignment of the stride. The policy is data, so that a device which
//! knows its blocks better replaces the numbers and nothing else.

use bitflags::bitflags;

use crate::LayoutError;

bitflags! {
    /// What a buffer is for: `BufferUsage.aidl`, version 4 of `android.hardware.graphics.common`.
    ///
    /// Build it with `Usage::from_bits_retain` from the number that a caller sent, and look at
    /// [`unknown_bits`](Usage::unknown_bits) before trusting it. The two CPU fields are
    /// enumerations of 4 bits, not flags: compare under their mask, as
    /// [`cpu_reads`](Usage::cpu_reads) does.
    #[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
    pub struct Usage: u64 {
        /// Bits 0 to 3: how often the CPU reads. 0 is never.
        const CPU_READ_MASK = 0xf;
        /// The CPU reads rarely (2 under the mask).
        const CPU_READ_RARELY = 2;
        /// The CPU reads often (3 under the mask).
        const CPU_READ_OFTEN = 3;
        /// Bits 4 to 7: how often the CPU writes. 0 is never.
        const CPU_WRITE_MASK = 0xf << 4;
        /// The CPU writes rarely (2 under the mask).
        const CPU_WRITE_RARELY = 2 << 4;
        /// The CPU writes often (3 under the mask).
        const CPU_WRITE_OFTEN = 3 << 4;
        /// The GPU samples it.
        const GPU_TEXTURE = 1 << 8;
        /// The GPU draws into it.
        const GPU_RENDER_TARGET = 1 << 9;
        /// The composer scans it out as a layer.
        const COMPOSER_OVERLAY = 1 << 11;
        /// The composer scans it out as what the GPU composed.
        const COMPOSER_CLIENT_TARGET = 1 << 12;
        /// Only protected hardware reads it.
        const PROTECTED = 1 << 14;
        /// The composer scans it out as a cursor.
        const COMPOSER_CURSOR = 1 << 15;
        /// A video encoder reads it.
        const VIDEO_ENCODER = 1 << 16;
        /// The camera writes it.
        const CAMERA_OUTPUT = 1 << 17;
        /// The camera reads it.
        const CAMERA_INPUT = 1 << 18;
        /// RenderScript uses it, on the CPU or the GPU.
        const RENDERSCRIPT = 1 << 20;
        /// A video decoder writes it.
        const VIDEO_DECODER = 1 << 22;
        /// A sensor hub writes its reports into it.
        const SENSOR_DIRECT_DATA = 1 << 23;
        /// The GPU uses it as a buffer object.
        const GPU_DATA_BUFFER = 1 << 24;
        /// The layers are the faces of cubes.
        const GPU_CUBE_MAP = 1 << 25;
        /// Every layer has all its mip levels.
        const GPU_MIPMAP_COMPLETE = 1 << 26;
        /// An image encoder (HEIC) reads it.
        const HW_IMAGE_ENCODER = 1 << 27;
        /// Bits 28 to 31: vendors'. Berth gives them no meaning.
        const VENDOR_MASK = 0xf << 28;
        /// Drawn into while it is on display.
        const FRONT_BUFFER = 1 << 32;
        /// Bits 48 to 63: vendors'. Berth gives them no meaning.
        const VENDOR_MASK_HI = 0xffff << 48;
    }
}

impl Usage {
    /// Any way of drawing, sampling or computing on the GPU that looks at rows.
    const GPU: Self = Self::GPU_TEXTURE
        .union(Self::GPU_RENDER_TARGET)
        .union(Self::GPU_CUBE_MAP)
        .union(Self::RENDERSCRIPT);
    /// Any way of scanning out.
    const COMPOSER: Self = Self::COMPOSER_OVERLAY
        .union(Self::COMPOSER_CLIENT_TARGET)
        .union(Self::COMPOSER_CURSOR)
        .union(Self::FRONT_BUFFER);
    /// Any video or image codec.
    const VIDEO: Self =
        Self::VIDEO_ENCODER.union(Self::VIDEO_DECODER).union(Self::HW_IMAGE_ENCODER);
    /// Either direction of the camera.
    const CAMERA: Self = Self::CAMERA_OUTPUT.union(Self::CAMERA_INPUT);

    /// The bits that mean nothing here; 0 if every bit is understood.
    ///
    /// These are the bits that AIDL reserves (10, 13, 19, 21, 33 to 47), the vendors' bits
    /// (28 to 31, 48 to 63: no vendor has told Berth what they mean), and a CPU field whose value
    /// is none of never (0), rarely (2) and often (3). No combination of defined values gives
    /// another value of a CPU field.
    pub const fn unknown_bits(self) -> u64 {
        let vendor = Self::VENDOR_MASK.bits() | Self::VENDOR_MASK_HI.bits();
        let mut unknown = self.bits() & (!Self::all().bits() | vendor);
        let read = self.bits() & Self::CPU_READ_MASK.bits();
        if !matches!(read, 0 | 2 | 3) {
            unknown |= read;
        }
        let write = self.bits() & Self::CPU_WRITE_MASK.bits();
        if !matches!(write >> 4, 0 | 2 | 3) {
            unknown |= write;
        }
        unknown
    }

    /// Whether the CPU reads at all.
    pub const fn cpu_reads(self) -> bool {
        self.intersects(Self::CPU_READ_MASK)
    }

    /// Whether the CPU writes at all.
    pub const fn cpu_writes(self) -> bool {
        self.intersects(Self::CPU_WRITE_MASK)
    }
}

/// The largest alignment that a policy may ask for, in bytes: a page of 4 KiB. More would make a
/// narrow image many times its pixels.
pub const MAX_STRIDE_ALIGNMENT: u32 = 4096;

/// What the stride of a buffer is a multiple of, in bytes, by who touches the buffer.
///
/// The largest alignment of all uses that apply wins; as all are powers of two, it satisfies the
/// others. A format may ask for more on top, in pixels (YV12, Y8, Y16, RAW16: Android documents
/// 16), and a stride counted in pixels is always a whole number of them. Rows are never added: a
/// vertical stride equals the height, which Android documents for YV12, Y8, Y16 and RAW.
///
/// ```
/// use berth_layout::{LayoutError, StridePolicy, Usage};
///
/// // A device whose display fetches 32 bytes and whose GPU fetches 128.
/// let policy =
///     StridePolicy { gpu: 128, composer: 32, ..StridePolicy::DEFAULT }.validated()?;
/// assert_eq!(policy.alignment(Usage::GPU_TEXTURE | Usage::COMPOSER_OVERLAY), 128);
/// # Ok::<(), LayoutError>(())
/// ```
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct StridePolicy {
    /// Every buffer, whatever its usage. 64 by default: the cache line of the CPUs that Android
    /// runs on, so that two rows never share one and a cache is maintained row by row; and what
    /// linear images need on most embedded GPUs and displays (minigbm aligns to 64 for Tegra,
    /// MediaTek, vc4 and Rockchip).
    pub base: u32,
    /// GPU_TEXTURE, GPU_RENDER_TARGET, GPU_CUBE_MAP, RENDERSCRIPT. 256 by default: the pitch of a
    /// linear image on AMD's GPUs since GFX9, the strictest of the common ones.
    pub gpu: u32,
    /// COMPOSER_OVERLAY, COMPOSER_CLIENT_TARGET, COMPOSER_CURSOR, FRONT_BUFFER. 256 by default:
    /// what the GPU draws is scanned out without a copy, so both need the same.
    pub composer: u32,
    /// VIDEO_ENCODER, VIDEO_DECODER, HW_IMAGE_ENCODER. 128 by default: Qualcomm's Venus wants the
    /// luma stride of NV12 in 128 bytes; it holds 16-pixel macroblocks of 8 and 16 bits too.
    pub video: u32,
    /// CAMERA_OUTPUT, CAMERA_INPUT. 64 by default: one burst of the camera's DMA.
    pub camera: u32,
}

impl StridePolicy {
    /// The defaults that the fields describe.
    pub const DEFAULT: Self = Self { base: 64, gpu: 256, composer: 256, video: 128, camera: 64 };

    /// No alignment beyond what a format itself asks for.
    pub const TIGHT: Self = Self { base: 1, gpu: 1, composer: 1, video: 1, camera: 1 };

    /// The same policy if every alignment is a power of two from 1 to [`MAX_STRIDE_ALIGNMENT`].
    ///
    /// # Errors
    ///
    /// [`LayoutError::BadAlignment`] with the first field that is not.
    pub fn validated(self) -> Result<Self, LayoutError> {
        for (name, value) in [
            ("base", self.base),
            ("gpu", self.gpu),
            ("composer", self.composer),
            ("video", self.video),
            ("camera", self.camera),
        ] {
            if !value.is_power_of_two() || value > MAX_STRIDE_ALIGNMENT {
                let limit = MAX_STRIDE_ALIGNMENT;
                return Err(LayoutError::BadAlignment { name, value, limit });
            }
        }
        Ok(self)
    }

    /// The alignment of the stride for this usage, in bytes.
    pub fn alignment(&self, usage: Usage) -> u32 {
        [
            (Usage::GPU, self.gpu),
            (Usage::COMPOSER, self.composer),
            (Usage::VIDEO, self.video),
            (Usage::CAMERA, self.camera),
        ]
        .into_iter()
        .filter(|(who, _)| usage.intersects(*who))
        .fold(self.base, |widest, (_, bytes)| widest.max(bytes))
    }
}

impl Default for StridePolicy {
    fn default() -> Self {
        Self::DEFAULT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CPU: Usage = Usage::CPU_READ_OFTEN.union(Usage::CPU_WRITE_OFTEN);

    #[test]
    fn every_named_bit_of_aidl_is_known() {
        // BufferUsage.aidl: 8, 9, 11, 12, 14 to 18, 20, 22 to 27 and 32, beside the CPU fields.
        for bit in [8, 9, 11, 12, 14, 15, 16, 17, 18, 20, 22, 23, 24, 25, 26, 27, 32] {
            assert_eq!(Usage::from_bits_retain(1 << bit).unknown_bits(), 0, "bit {bit}");
        }
        assert_eq!(CPU.unknown_bits(), 0);
        assert_eq!((Usage::CPU_READ_RARELY | Usage::CPU_WRITE_RARELY).unknown_bits(), 0);
    }

    #[test]
    fn every_reserved_and_vendor_bit_is_unknown_alone_and_among_known_ones() {
        for bit in [10, 13, 19, 21].into_iter().chain(28..32).chain(33..64) {
            let usage = Usage::from_bits_retain(1 << bit) | CPU | Usage::GPU_TEXTURE;
            assert_eq!(usage.unknown_bits(), 1 << bit, "bit {bit}");
        }
    }

    #[test]
    fn a_cpu_field_without_a_meaning_is_unknown() {
        for value in [1, 4, 5, 6, 7, 8, 15] {
            assert_eq!(Usage::from_bits_retain(value).unknown_bits(), value);
            assert_eq!(Usage::from_bits_retain(value << 4).unknown_bits(), value << 4);
        }
    }

    #[test]
    fn the_widest_alignment_wins() {
        let policy = StridePolicy::DEFAULT;
        assert_eq!(policy.alignment(Usage::empty()), 64);
        assert_eq!(policy.alignment(CPU), 64);
        assert_eq!(policy.alignment(CPU | Usage::VIDEO_ENCODER), 128);
        assert_eq!(policy.alignment(Usage::VIDEO_DECODER | Usage::GPU_TEXTURE), 256);
        assert_eq!(policy.alignment(Usage::COMPOSER_CURSOR), 256);
        assert_eq!(policy.alignment(Usage::CAMERA_OUTPUT | Usage::PROTECTED), 64);
    }

    #[test]
    fn a_policy_of_no_power_of_two_is_refused_by_name() {
        for value in [0, 3, 8192, u32::MAX] {
            let policy = StridePolicy { video: value, ..StridePolicy::DEFAULT };
            let error = LayoutError::BadAlignment { name: "video", value, limit: 4096 };
            assert_eq!(policy.validated(), Err(error));
        }
        assert_eq!(StridePolicy::DEFAULT.validated(), Ok(StridePolicy::default()));
        assert_eq!(StridePolicy::TIGHT.validated(), Ok(StridePolicy::TIGHT));
    }
}
