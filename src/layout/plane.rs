// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Planes and components, field by field as `PlaneLayout.aidl`, `PlaneLayoutComponent.aidl` and
//! `PlaneLayoutComponentType.aidl` of `android.hardware.graphics.common` have them, with AIDL's
//! types (`long` is `i64`), so that they are copied into a parcelable without conversion. The
//! crop rectangle is left out: it always is the whole plane.

/// What a component is: the numeric values of `PlaneLayoutComponentType`.
///
/// That enumeration stops at colour and raw; [`D`](Self::D) and [`S`](Self::S) are Berth's own,
/// and [`is_standard`](Self::is_standard) tells them apart. AIDL carries the type as an
/// `ExtendableType`, so the two go there under a name of their own.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(i64)]
pub enum ComponentType {
    /// Luma.
    Y = 1 << 0,
    /// Chroma, blue.
    Cb = 1 << 1,
    /// Chroma, red.
    Cr = 1 << 2,
    /// Red.
    R = 1 << 10,
    /// Green.
    G = 1 << 11,
    /// Blue.
    B = 1 << 12,
    /// Bytes or sensor values without a colour.
    Raw = 1 << 20,
    /// Depth. Not in `PlaneLayoutComponentType`; the next free value after RAW.
    D = 1 << 21,
    /// Stencil. Not in `PlaneLayoutComponentType`; the next free value after [`D`](Self::D).
    S = 1 << 22,
    /// Alpha.
    A = 1 << 30,
}

impl ComponentType {
    /// The number that AIDL carries.
    pub const fn value(self) -> i64 {
        self as i64
    }

    /// Whether `PlaneLayoutComponentType` has this value.
    pub const fn is_standard(self) -> bool {
        !matches!(self, Self::D | Self::S)
    }

    /// This component at a place within the sample; both in bits.
    pub(crate) const fn at(self, offset_in_bits: i64, size_in_bits: i64) -> PlaneComponent {
        PlaneComponent { component_type: self, offset_in_bits, size_in_bits }
    }
}

/// One component of a plane: `PlaneLayoutComponent`.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct PlaneComponent {
    /// What it is.
    pub component_type: ComponentType,
    /// Bits from the start of the plane to the first such component. Within a sample of several
    /// bytes, bit 0 is the lowest bit of the lowest byte (little endian).
    pub offset_in_bits: i64,
    /// Bits per component; −1 where its bits do not lie together (RAW10, RAW12).
    pub size_in_bits: i64,
}

/// One plane of the first layer: `PlaneLayout`. No field is negative.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct PlaneLayout {
    /// The components, in the order of their offsets or, in packed words, of the format's name.
    pub components: &'static [PlaneComponent],
    /// Bytes from the start of the buffer to the plane.
    pub offset_in_bytes: i64,
    /// Bits from one sample to the next in a row; 0 where that varies (RAW10, RAW12).
    pub sample_increment_in_bits: i64,
    /// Bytes from one row to the next; the last row has its padding too.
    pub stride_in_bytes: i64,
    /// Samples in a row.
    pub width_in_samples: i64,
    /// Rows of samples.
    pub height_in_samples: i64,
    /// Bytes of the plane with all padding: stride times height.
    pub total_size_in_bytes: i64,
    /// Pixels of a row that share one sample: 1 or 2.
    pub horizontal_subsampling: i64,
    /// Rows of pixels that share one row of samples: 1 or 2.
    pub vertical_subsampling: i64,
    /// Bytes of a row that hold samples, without padding. Not in AIDL; what a copy of the plane
    /// moves per row.
    pub row_bytes: i64,
}

impl PlaneLayout {
    /// Fills the places of an array that no plane has.
    pub(crate) const EMPTY: Self = Self {
        components: &[],
        offset_in_bytes: 0,
        sample_increment_in_bits: 0,
        stride_in_bytes: 0,
        width_in_samples: 0,
        height_in_samples: 0,
        total_size_in_bytes: 0,
        horizontal_subsampling: 1,
        vertical_subsampling: 1,
        row_bytes: 0,
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn component_types_have_the_numbers_of_aidl() {
        // PlaneLayoutComponentType.aidl, version 2 (decimal there).
        let numbers = [
            (ComponentType::Y, 1),
            (ComponentType::Cb, 2),
            (ComponentType::Cr, 4),
            (ComponentType::R, 1024),
            (ComponentType::G, 2048),
            (ComponentType::B, 4096),
            (ComponentType::Raw, 1_048_576),
            (ComponentType::A, 1_073_741_824),
        ];
        for (component_type, number) in numbers {
            assert_eq!(component_type.value(), number);
            assert!(component_type.is_standard());
        }
        assert!(!ComponentType::D.is_standard());
        assert!(!ComponentType::S.is_standard());
    }
}
