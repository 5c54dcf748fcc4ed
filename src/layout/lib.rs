// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Where the pixels of an image lie in a buffer.
//!
//! [`ImageLayout::compute`] takes width, height, layers, format and usage and answers with the
//! bytes to allocate, the stride, and the planes as `android.hardware.graphics.common.PlaneLayout`
//! describes them. Formats and usages carry the numeric values of that package's `PixelFormat`
//! and `BufferUsage`, so that a Gralloc or Codec2 caller passes what it already has.
//!
//! The crate is arithmetic only: it opens nothing, allocates nothing and cannot panic. Every
//! image is linear (`DRM_FORMAT_MOD_LINEAR`); tiled and compressed layouts belong to a driver and
//! are not described here. Sizes are those of the pixels: who allocates rounds up to pages.
//!
//! * `format`: the table, one row per pixel format.
//! * `usage`: the usage bits and the alignment that each of them asks for.
//! * `plane`: planes and components, field by field as AIDL has them.
//! * `compute`: the one function over the table.
//! * `error`: what can be wrong with a request.

#![forbid(unsafe_code)]

mod compute;
mod error;
mod format;
mod plane;
mod usage;

#[cfg(test)]
mod known_answers;
#[cfg(test)]
mod properties;

pub use compute::{
    ImageLayout, ImageRequest, MAX_BLOB_BYTES, MAX_LAYERS, MAX_PLANES, MAX_SIDE, MAX_SIZE,
};
pub use error::{Extent, LayoutError};
pub use format::PixelFormat;
pub use plane::{ComponentType, PlaneComponent, PlaneLayout};
pub use usage::{StridePolicy, Usage, MAX_STRIDE_ALIGNMENT};
