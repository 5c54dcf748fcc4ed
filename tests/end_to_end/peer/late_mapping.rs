// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Mappings of memory that is being freed: each made from a descriptor that is closed next, or while
//! the one before it still lives, so that its holders are never none and always others.

use std::os::fd::{AsFd, OwnedFd};
use std::thread;

use anyhow::{ensure, Result};
use berth_client::Buffer;
use berth_end_to_end::chance::Chance;
use berth_kernel::mapping::{Mapping, ReadWrite};

/// What is written through them.
const MINE: u8 = 0xee;
/// At most so many mappings of each buffer.
const MAPPINGS: usize = 6;

/// Drops the buffers, which frees them, while a thread for each maps it. Fails if a mapping ever shows
/// what was not written through it.
pub fn drop_amid_mappings(buffers: Vec<Buffer>, chance: &mut Chance) -> Result<()> {
    let mappers: Vec<_> = buffers
        .into_iter()
        .map(|buffer| {
            let (fd, size) = (buffer.as_fd().try_clone_to_owned()?, buffer.size());
            let mut chance = Chance::new(chance.draw());
            let mapper = thread::spawn(move || map(fd, size, &mut chance));
            drop(buffer);
            Ok(mapper)
        })
        .collect::<Result<_>>()?;
    let ends: Vec<Result<()>> =
        mappers.into_iter().map(|mapper| mapper.join().expect("a mapper")).collect();
    ends.into_iter().collect()
}

fn map(fd: OwnedFd, size: u64, chance: &mut Chance) -> Result<()> {
    let mut fd = Some(fd);
    let mut last: Option<Mapping<ReadWrite>> = None;
    for left in (0..=chance.below(MAPPINGS)).rev() {
        let next = match &fd {
            Some(fd) => Mapping::new(fd.as_fd(), size)?,
            None => break,
        };
        last = Some(next);
        // The last one is all that is left.
        fd = fd.filter(|_| left > 0);
        if let Some(mapping) = &last {
            scribble(mapping, chance)?;
        }
    }
    drop(last);
    Ok(())
}

fn scribble(mapping: &Mapping<ReadWrite>, chance: &mut Chance) -> Result<()> {
    let mut bytes = vec![0; mapping.size()];
    for _ in 0..=chance.below(8) {
        mapping.fill(0, mapping.size(), MINE)?;
        thread::yield_now();
        mapping.read(0, &mut bytes)?;
        let foreign = bytes.iter().find(|byte| **byte != MINE);
        ensure!(foreign.is_none(), "{foreign:x?} in memory that is still held");
    }
    Ok(())
}
