// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Bytes as a list of calls. Any bytes are some list, so that no mutation is lost; what they mean
//! does not move when another call is changed, so that mutations stay small.

/// One transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The object, counted from the allocator in the order of their appearance, modulo their number.
    pub object: u8,
    /// The transaction's code.
    pub code: u8,
    /// What the parcel holds behind the interface's name.
    pub items: Vec<Item>,
}

/// One thing in a parcel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// Four bytes.
    Int(i32),
    /// A small number, for counts, enums and booleans.
    Small(u8),
    /// Eight bytes.
    Long(i64),
    /// A string; what is no UTF-8 is replaced.
    Text(String),
    /// The string that is none.
    NoText,
    /// The begin of a parcelable that is there.
    Begin,
    /// The end of the parcelable that was begun last.
    End,
    /// A callback of the client's.
    Callback,
    /// No object.
    NoObject,
    /// One of the objects of this process.
    Object(u8),
    /// A descriptor of a memfd.
    Descriptor,
    /// An id of a buffer, counted as they were given out, modulo their number.
    Id(u8),
    /// A token of a buffer, likewise.
    Token(u8),
}

/// The marker behind a call's last item. Bytes above those of the items mean the same.
const LAST: u8 = 13;

/// Calls, read from bytes; the end of the bytes ends the last call.
pub struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    /// The calls in some bytes.
    pub fn new(bytes: &'a [u8]) -> Self {
        Input(bytes)
    }

    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn bytes<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = (self.0.get(..N)?, self.0.get(N..)?);
        self.0 = rest;
        first.try_into().ok()
    }

    fn text(&mut self) -> Option<String> {
        let length = usize::from(self.byte()?).min(self.0.len());
        let (text, rest) = self.0.split_at(length);
        self.0 = rest;
        Some(String::from_utf8_lossy(text).into_owned())
    }

    fn item(&mut self) -> Option<Item> {
        Some(match self.byte()? {
            0 => Item::Int(i32::from_le_bytes(self.bytes()?)),
            1 => Item::Small(self.byte()?),
            2 => Item::Long(i64::from_le_bytes(self.bytes()?)),
            3 => Item::Text(self.text()?),
            4 => Item::NoText,
            5 => Item::Begin,
            6 => Item::End,
            7 => Item::Callback,
            8 => Item::NoObject,
            9 => Item::Object(self.byte()?),
            10 => Item::Descriptor,
            11 => Item::Id(self.byte()?),
            12 => Item::Token(self.byte()?),
            LAST.. => return None,
        })
    }
}

impl Iterator for Input<'_> {
    type Item = Call;

    fn next(&mut self) -> Option<Call> {
        let (object, code) = (self.byte()?, self.byte()?);
        let items = std::iter::from_fn(|| self.item()).collect();
        Some(Call { object, code, items })
    }
}

impl Call {
    /// The bytes that are read as this call.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![self.object, self.code];
        for item in &self.items {
            match item {
                Item::Int(value) => {
                    bytes.push(0);
                    bytes.extend(value.to_le_bytes());
                }
                Item::Small(value) => bytes.extend([1, *value]),
                Item::Long(value) => {
                    bytes.push(2);
                    bytes.extend(value.to_le_bytes());
                }
                Item::Text(text) => {
                    let length = u8::try_from(text.len()).expect("a text of at most 255 bytes");
                    bytes.extend([3, length]);
                    bytes.extend(text.as_bytes());
                }
                Item::NoText => bytes.push(4),
                Item::Begin => bytes.push(5),
                Item::End => bytes.push(6),
                Item::Callback => bytes.push(7),
                Item::NoObject => bytes.push(8),
                Item::Object(index) => bytes.extend([9, *index]),
                Item::Descriptor => bytes.push(10),
                Item::Id(index) => bytes.extend([11, *index]),
                Item::Token(index) => bytes.extend([12, *index]),
            }
        }
        bytes.push(LAST);
        bytes
    }
}
