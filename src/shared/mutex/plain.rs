// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Values that any bytes are one of.

mod sealed {
    pub trait Sealed {}
}

/// A number, or an array of bytes: whatever a peer stored there, it is a value of this type.
pub trait Plain: Copy + sealed::Sealed {
    /// As many bytes as a value has.
    type Bytes: AsRef<[u8]> + AsMut<[u8]>;
    /// All of them 0.
    const ZEROS: Self::Bytes;
    /// The value that these bytes are, in the machine's own order.
    fn of_bytes(bytes: Self::Bytes) -> Self;
    /// The bytes of the value.
    fn bytes(self) -> Self::Bytes;
}

macro_rules! plain {
    ($($number:ty),*) => { $(
        impl sealed::Sealed for $number {}
        impl Plain for $number {
            type Bytes = [u8; std::mem::size_of::<$number>()];
            const ZEROS: Self::Bytes = [0; std::mem::size_of::<$number>()];
            fn of_bytes(bytes: Self::Bytes) -> Self {
                <$number>::from_ne_bytes(bytes)
            }
            fn bytes(self) -> Self::Bytes {
                self.to_ne_bytes()
            }
        }
    )* };
}

plain!(u8, u16, u32, u64, u128, i8, i16, i32, i64, i128, f32, f64);

impl<const N: usize> sealed::Sealed for [u8; N] {}
impl<const N: usize> Plain for [u8; N] {
    type Bytes = [u8; N];
    const ZEROS: Self::Bytes = [0; N];
    fn of_bytes(bytes: Self::Bytes) -> Self {
        bytes
    }
    fn bytes(self) -> Self::Bytes {
        self
    }
}
