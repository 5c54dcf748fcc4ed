// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! What the service's dump says, as far as it is shown here. The keys are the dump's.

use berth_client::Allocator;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::failure::Failure;

/// A dump.
#[derive(Debug, Deserialize)]
pub struct Dumped {
    /// Heaps, the preferred first.
    pub heaps: Vec<Heap>,
    /// Uids, the largest first.
    pub uids: Vec<Uid>,
    /// Sessions, if they were asked for.
    #[serde(default)]
    pub sessions: Vec<Session>,
    /// Buffers, if they were asked for.
    #[serde(default)]
    pub buffers: Vec<Buffer>,
}

/// A heap.
#[derive(Debug, Deserialize)]
pub struct Heap {
    pub name: String,
    pub class: String,
    pub buffers: u64,
    /// In use.
    pub bytes: u64,
}

/// Whoever has sessions.
#[derive(Debug, Deserialize)]
pub struct Uid {
    pub uid: u32,
    pub sessions: u64,
    pub buffers: u64,
    pub bytes: u64,
}

/// A session.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub struct Session {
    pub id: i64,
    pub name: String,
    pub uid: u32,
    pub pid: i32,
    pub age_ms: u64,
    pub owned: u64,
    pub acquired: u64,
    pub bytes: u64,
    /// What else the service says of it.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

/// A buffer of a session.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub struct Buffer {
    pub id: i64,
    pub name: String,
    pub session: i64,
    pub session_name: String,
    pub uid: u32,
    pub pid: i32,
    pub kind: String,
    pub heap: String,
    pub bytes: u64,
    pub device: u64,
    pub inode: u64,
    pub sealed: bool,
    pub age_ms: u64,
    pub role: String,
    pub pool: i64,
    pub charged_uid: u32,
    pub takers: u64,
    pub tokens: u64,
    /// What else the service says of it.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

/// Asks for the dump with these arguments, of one uid or of all.
pub fn ask(allocator: &Allocator, args: &[&str], uid: Option<u32>) -> Result<Dumped, Failure> {
    let uid = uid.map(|uid| format!("--uid={uid}"));
    let args: Vec<&str> = ["--json"].iter().chain(args).copied().chain(uid.as_deref()).collect();
    let bytes = allocator.dump_bytes(&args)?;
    serde_json::from_slice(&bytes)
        .map_err(|error| Failure::Other(format!("the service's dump: {error}")))
}
