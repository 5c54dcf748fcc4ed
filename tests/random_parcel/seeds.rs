// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Calls as good clients make them: what a fuzzer starts from.

use crate::input::Item::{Begin, Callback, End, Id, Int, Long, NoText, Small, Text, Token};
use crate::input::{Call, Item};

/// Transactions count from 1 in the order of an AIDL file's methods.
pub(crate) mod code {
    pub const GET_CAPABILITIES: u8 = 1;
    pub const IS_SUPPORTED: u8 = 2;
    pub const OPEN_SESSION: u8 = 3;
    pub const GET_STATS: u8 = 4;

    pub const ALLOCATE: u8 = 1;
    pub const ALLOCATE_AGAIN: u8 = 2;
    pub const ALLOCATE_ONE_AGAIN: u8 = 3;
    pub const FREE: u8 = 4;
    pub const GET: u8 = 5;
    pub const SEAL: u8 = 6;
    pub const LIST: u8 = 7;
    pub const SHARE: u8 = 8;
    pub const ACQUIRE: u8 = 9;
    pub const TRIM: u8 = 10;
    pub const SESSION_STATS: u8 = 11;
    pub const CLOSE: u8 = 12;
}

/// The allocator, and the session that it opened first.
const ALLOCATOR: u8 = 0;
const SESSION: u8 = 1;

fn call(object: u8, code: u8, items: impl IntoIterator<Item = Item>) -> Call {
    Call { object, code, items: items.into_iter().collect() }
}

/// Opens a session.
pub fn open() -> Call {
    let config = [Begin, Text("fuzz".into()), Long(0), Int(0), End];
    call(ALLOCATOR, code::OPEN_SESSION, config.into_iter().chain([Callback]))
}

/// A shape: BufferShape's tags are 0 linearBytes, 1 image, 2 regionBytes.
fn bytes(tag: u8, bytes: i64) -> Vec<Item> {
    vec![Small(1), Small(tag), Long(bytes)]
}

fn image(width: i32, height: i32, layers: i32, format: i32) -> Vec<Item> {
    let size = [Small(1), Small(1), Begin, Int(width), Int(height), Int(layers)];
    size.into_iter().chain([Int(format), End]).collect()
}

fn descriptor(shape: Vec<Item>, usage: i64, heap: Item, flags: i32) -> Vec<Item> {
    let mut items = vec![Begin, Text("fuzz".into())];
    items.extend(shape);
    items.extend([Long(usage), heap, Int(flags), Small(0), End]);
    items
}

fn allocate(descriptor: Vec<Item>, count: u8) -> Call {
    call(SESSION, code::ALLOCATE, descriptor.into_iter().chain([Small(count)]))
}

/// Lists of calls, each with a name.
pub fn seeds() -> Vec<(&'static str, Vec<Call>)> {
    let linear = || descriptor(bytes(0, 70_000), 0x33, NoText, 0);
    let region = || descriptor(bytes(2, 4_096), 0x33, Text("memfd".into()), 0);
    // 35 is YCBCR_420_888.
    let picture = || descriptor(image(64, 48, 1, 35), 0x33, NoText, 0);
    let options = [Begin, Int(0), Int(1), Long(10_000), Small(0), End];
    vec![
        ("capabilities", vec![call(ALLOCATOR, code::GET_CAPABILITIES, [])]),
        ("statistics", vec![call(ALLOCATOR, code::GET_STATS, [])]),
        ("supported", vec![call(ALLOCATOR, code::IS_SUPPORTED, picture())]),
        (
            "linear",
            vec![
                open(),
                allocate(linear(), 2),
                call(SESSION, code::ALLOCATE_AGAIN, [Small(1), Small(2)]),
                call(SESSION, code::ALLOCATE_ONE_AGAIN, [Small(1)]),
                call(SESSION, code::FREE, [Small(5), Id(0), Id(1), Id(2), Id(3), Id(4)]),
            ],
        ),
        ("images", vec![open(), allocate(picture(), 3), call(SESSION, code::LIST, [Long(0)])]),
        (
            "region",
            vec![
                open(),
                allocate(region(), 1),
                call(SESSION, code::GET, [Id(0), Small(1)]),
                call(SESSION, code::SEAL, [Id(0)]),
                call(SESSION, code::GET, [Id(0), Small(1)]),
            ],
        ),
        (
            "sharing",
            vec![
                open(),
                allocate(region(), 1),
                call(SESSION, code::SHARE, [Id(0)].into_iter().chain(options)),
                call(SESSION, code::ACQUIRE, [Begin, Token(0), End]),
                call(SESSION, code::SESSION_STATS, []),
                call(SESSION, code::TRIM, []),
                call(SESSION, code::CLOSE, []),
            ],
        ),
    ]
}
