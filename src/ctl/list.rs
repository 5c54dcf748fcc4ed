// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! `berthctl list`: sessions and buffers as a table.

use std::cmp::Reverse;
use std::io::Write;

use berth_client::Allocator;
use serde::Serialize;

use crate::arguments::{List, Order};
use crate::dumped::{self, Buffer, Session};
use crate::failure::Failure;
use crate::table::{Side, Table};
use crate::units::{age, size};

/// Lists what is asked for.
pub fn list(
    allocator: &Allocator,
    asked: &List,
    json: bool,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let what = if asked.buffers { "--buffers" } else { "--sessions" };
    let dumped = dumped::ask(allocator, &[what], asked.uid)?;
    let (mut sessions, mut buffers) = (dumped.sessions, dumped.buffers);
    sort_sessions(&mut sessions, asked.sort);
    sort_buffers(&mut buffers, asked.sort);
    match (asked.buffers, json) {
        (true, true) => lines(&buffers, out),
        (false, true) => lines(&sessions, out),
        (true, false) => Ok(table_of_buffers(&buffers).write(out)?),
        (false, false) => Ok(table_of_sessions(&sessions).write(out)?),
    }
}

fn lines(items: &[impl Serialize], out: &mut dyn Write) -> Result<(), Failure> {
    for item in items {
        serde_json::to_writer(&mut *out, item).map_err(std::io::Error::from)?;
        writeln!(out)?;
    }
    Ok(())
}

fn sort_sessions(sessions: &mut [Session], order: Order) {
    // Equals stay in the order of their ids.
    sessions.sort_by_key(|session| session.id);
    match order {
        Order::Size => sessions.sort_by_key(|session| Reverse(session.bytes)),
        Order::Age => sessions.sort_by_key(|session| Reverse(session.age_ms)),
        Order::Id => {}
        Order::Uid => sessions.sort_by_key(|session| session.uid),
        Order::Name => sessions.sort_by(|one, other| one.name.cmp(&other.name)),
    }
}

fn sort_buffers(buffers: &mut [Buffer], order: Order) {
    buffers.sort_by_key(|buffer| buffer.id);
    match order {
        Order::Size => buffers.sort_by_key(|buffer| Reverse(buffer.bytes)),
        Order::Age => buffers.sort_by_key(|buffer| Reverse(buffer.age_ms)),
        Order::Id => {}
        Order::Uid => buffers.sort_by_key(|buffer| buffer.uid),
        Order::Name => buffers.sort_by(|one, other| one.name.cmp(&other.name)),
    }
}

/// Sessions with what they hold.
pub fn table_of_sessions(sessions: &[Session]) -> Table<8> {
    let mut table = Table::new([
        ("SESSION", Side::Right),
        ("UID", Side::Right),
        ("PID", Side::Right),
        ("BUFFERS", Side::Right),
        ("ACQUIRED", Side::Right),
        ("SIZE", Side::Right),
        ("AGE", Side::Right),
        ("NAME", Side::Left),
    ]);
    for session in sessions {
        table.row([
            session.id.to_string(),
            session.uid.to_string(),
            session.pid.to_string(),
            session.owned.to_string(),
            session.acquired.to_string(),
            size(session.bytes),
            age(session.age_ms),
            session.name.clone(),
        ]);
    }
    table
}

fn table_of_buffers(buffers: &[Buffer]) -> Table<11> {
    let mut table = Table::new([
        ("BUFFER", Side::Right),
        ("SIZE", Side::Right),
        ("KIND", Side::Left),
        ("HEAP", Side::Left),
        ("ROLE", Side::Left),
        ("TAKERS", Side::Right),
        ("AGE", Side::Right),
        ("INODE", Side::Right),
        ("UID", Side::Right),
        ("PID", Side::Right),
        ("NAME", Side::Left),
    ]);
    for buffer in buffers {
        table.row([
            buffer.id.to_string(),
            size(buffer.bytes),
            if buffer.sealed { format!("{}, sealed", buffer.kind) } else { buffer.kind.clone() },
            buffer.heap.clone(),
            match buffer.pool {
                0 => buffer.role.clone(),
                pool => format!("{}, pool {pool}", buffer.role),
            },
            buffer.takers.to_string(),
            age(buffer.age_ms),
            buffer.inode.to_string(),
            buffer.uid.to_string(),
            buffer.pid.to_string(),
            buffer.name.clone(),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Map;

    fn session(id: i64, uid: u32, bytes: u64, age_ms: u64, name: &str) -> Session {
        let name = name.to_owned();
        Session { id, name, uid, pid: 100, age_ms, owned: 1, acquired: 0, bytes, more: Map::new() }
    }

    #[test]
    fn sessions_are_sorted_as_asked_and_equals_by_id() {
        let mut sessions = [
            session(3, 10, 4096, 5, "b"),
            session(1, 30, 8192, 7, "c"),
            session(2, 10, 8192, 6, "a"),
        ];
        for (order, ids) in [
            (Order::Size, [1, 2, 3]),
            (Order::Age, [1, 2, 3]),
            (Order::Id, [1, 2, 3]),
            (Order::Uid, [2, 3, 1]),
            (Order::Name, [2, 3, 1]),
        ] {
            sort_sessions(&mut sessions, order);
            let sorted: Vec<i64> = sessions.iter().map(|session| session.id).collect();
            assert_eq!(sorted, ids, "{order:?}");
        }
    }

    #[test]
    fn a_session_is_a_row_and_a_line() {
        let session = session(7, 10_001, 3 << 20, 61_000, "camera");
        let mut text = Vec::new();
        table_of_sessions(std::slice::from_ref(&session)).write(&mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        let row: Vec<&str> = text.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(row, ["7", "10001", "100", "1", "0", "3", "MiB", "1m1s", "camera"]);
        let mut json = Vec::new();
        lines(&[session], &mut json).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
        assert_eq!((&json["id"], &json["bytes"]), (&7.into(), &(3 << 20).into()));
    }
}
