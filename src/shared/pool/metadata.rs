// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! What a frame carries beside its bytes.

/// The part of an image that is to be seen, in pixels; all zero for all of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Crop {
    /// The first column.
    pub left: i32,
    /// The first row.
    pub top: i32,
    /// The column behind the last.
    pub right: i32,
    /// The row behind the last.
    pub bottom: i32,
}

/// What a producer says of a frame.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Metadata {
    /// When it is for, in nanoseconds of a clock that producer and consumer agree on.
    pub timestamp_ns: i64,
    /// Its number in the stream.
    pub sequence: u64,
    /// What is to be seen of it.
    pub crop: Crop,
    /// Whatever producer and consumer agree on: a transform, a data space.
    pub tag: u32,
}

/// A frame that was taken: the slot, who filled it and what it said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// The slot, held by whoever took it.
    pub slot: u32,
    /// The participant that submitted it.
    pub producer: u32,
    /// What that one says of it. As hostile as any message of another process.
    pub metadata: Metadata,
}

impl Metadata {
    /// Words that it takes on a page.
    pub(crate) const WORDS: usize = 9;

    pub(crate) fn to_words(self) -> [u32; Self::WORDS] {
        let Metadata { timestamp_ns, sequence, crop, tag } = self;
        let low = |wide: u64| wide as u32;
        let high = |wide: u64| (wide >> 32) as u32;
        let signed = |number: i32| number as u32;
        let time = timestamp_ns as u64;
        [
            low(time),
            high(time),
            low(sequence),
            high(sequence),
            signed(crop.left),
            signed(crop.top),
            signed(crop.right),
            signed(crop.bottom),
            tag,
        ]
    }

    pub(crate) fn of_words(words: [u32; Self::WORDS]) -> Metadata {
        let [time_low, time_high, low, high, left, top, right, bottom, tag] = words;
        let wide = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
        let signed = |word: u32| word as i32;
        Metadata {
            timestamp_ns: wide(time_low, time_high) as i64,
            sequence: wide(low, high),
            crop: Crop {
                left: signed(left),
                top: signed(top),
                right: signed(right),
                bottom: signed(bottom),
            },
            tag,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_crosses_as_words() {
        let crop = Crop { left: -1, top: i32::MIN, right: i32::MAX, bottom: 7 };
        let metadata =
            Metadata { timestamp_ns: -5, sequence: u64::MAX - 3, crop, tag: 0xdead_beef };
        assert_eq!(Metadata::of_words(metadata.to_words()), metadata);
    }
}
