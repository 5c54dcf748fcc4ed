// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! What can be wrong with a request: each variant names what was asked and what the limit is, so
//! that a service can hand the text to its caller as it stands. All of them are the caller's
//! doing; nothing here depends on the state of the machine.

use std::fmt;

use thiserror::Error;

use crate::PixelFormat;

/// One of the three extents of an image.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Extent {
    /// Pixels per row; bytes for [`PixelFormat::Blob`].
    Width,
    /// Rows.
    Height,
    /// Images of the same shape in one buffer.
    Layers,
}

impl fmt::Display for Extent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Width => "width",
            Self::Height => "height",
            Self::Layers => "layers",
        })
    }
}

/// Why there is no layout.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum LayoutError {
    /// The number is no pixel format with a layout known to the CPU. This is also the answer for
    /// IMPLEMENTATION_DEFINED and RAW_OPAQUE, whose layout only a driver knows.
    #[error("pixel format {value} ({value:#x}) has no known layout")]
    UnknownFormat {
        /// The number that was given.
        value: i32,
    },

    /// The usage has bits, or values of the CPU fields, to which Android gives no meaning.
    #[error("usage has unknown bits {bits:#x}")]
    UnknownUsage {
        /// The bits without a meaning, and nothing else.
        bits: u64,
    },

    /// The usage asks for more than one linear image per layer holds.
    #[error("usage {usage} has no linear layout")]
    UnsupportedUsage {
        /// The usage, as AIDL spells it.
        usage: &'static str,
    },

    /// The usage has GPU_CUBE_MAP, but the layers are not whole cubes of square faces.
    #[error("a cube map of {width}x{height} with {layers} layers: needs squares, 6 to a cube")]
    NotACube {
        /// The width asked for, in pixels.
        width: u32,
        /// The height asked for, in rows.
        height: u32,
        /// The layers asked for.
        layers: u32,
    },

    /// An extent is 0.
    #[error("{which} is 0")]
    ZeroExtent {
        /// The extent that is 0.
        which: Extent,
    },

    /// An extent is above its limit.
    #[error("{which} {value} is above the limit of {limit}")]
    TooLarge {
        /// The extent that is too large.
        which: Extent,
        /// The value asked for.
        value: u32,
        /// The largest value allowed.
        limit: u32,
    },

    /// The format packs several pixels into one unit, and the extent is no whole number of units.
    #[error("{format} needs a {which} in multiples of {multiple}, not {value}")]
    Misaligned {
        /// The format that was asked for.
        format: PixelFormat,
        /// The extent that does not fit.
        which: Extent,
        /// The value asked for.
        value: u32,
        /// The number that it must be a multiple of.
        multiple: u32,
    },

    /// The format allows one value of this extent only.
    #[error("{format} needs {which} = {required}, not {value}")]
    FixedExtent {
        /// The format that was asked for.
        format: PixelFormat,
        /// The extent that is fixed.
        which: Extent,
        /// The value asked for.
        value: u32,
        /// The only value allowed.
        required: u32,
    },

    /// Each extent is within its limit, but all of them together are not.
    #[error("{format} of {width}x{height} with {layers} layers is larger than {limit} bytes")]
    SizeOverflow {
        /// The format that was asked for.
        format: PixelFormat,
        /// The width asked for, in pixels.
        width: u32,
        /// The height asked for, in rows.
        height: u32,
        /// The layers asked for.
        layers: u32,
        /// The largest size of an image, in bytes.
        limit: u64,
    },

    /// A policy has an alignment that is no power of two or is too large.
    #[error("stride alignment {name} = {value}: needs a power of two up to {limit}")]
    BadAlignment {
        /// The field of [`StridePolicy`](crate::StridePolicy).
        name: &'static str,
        /// The value given, in bytes.
        value: u32,
        /// The largest value allowed, in bytes.
        limit: u32,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_reads_as_a_sentence_with_value_and_limit() {
        let error = LayoutError::TooLarge { which: Extent::Width, value: 40_000, limit: 32_768 };
        assert_eq!(error.to_string(), "width 40000 is above the limit of 32768");
        let error = LayoutError::Misaligned {
            format: PixelFormat::Raw10,
            which: Extent::Width,
            value: 6,
            multiple: 4,
        };
        assert_eq!(error.to_string(), "RAW10 needs a width in multiples of 4, not 6");
        let error = LayoutError::UnknownFormat { value: 0x22 };
        assert_eq!(error.to_string(), "pixel format 34 (0x22) has no known layout");
    }
}
