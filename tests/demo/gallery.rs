// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! The gallery: shows pictures that it computes, and keeps them in a cache that may lose them.

use std::sync::mpsc::{channel, Receiver, Sender};
use std::time::Duration;

use anyhow::{bail, ensure, Context, Result};
use berth_client::{
    Allocator, CacheOptions, Contents, Pinned, PressureLevel, PurgeableCache, SessionEvents,
};

use crate::script::{cue, fact, say};

/// How many pictures there are.
pub const PICTURES: u32 = 128;
/// Width and height of each, in pixels of four bytes.
const SIDE: u32 = 256;
/// Bytes of each; a chunk of the cache has as many.
pub const PICTURE_BYTES: u64 = (SIDE * SIDE * 4) as u64;
/// The picture that is on the screen all the time. The first that is cached, it is in the first chunk.
const ON_SCREEN: u32 = 0;

const PATIENCE: Duration = Duration::from_secs(60);

type Gallery = PurgeableCache<u32, Vec<u8>>;

/// Passes on what the service says of memory.
struct Pressure(Sender<PressureLevel>);

impl SessionEvents for Pressure {
    fn pressure(&self, level: PressureLevel) {
        // Nobody listens any more only when the gallery is over.
        let _ = self.0.send(level);
    }
}

/// A picture: rings around a point of its own, so that no two are alike.
fn picture(number: u32) -> Vec<u8> {
    let (x0, y0) = (i64::from(number * 37 % SIDE), i64::from(number * 91 % SIDE));
    let mut bytes = Vec::with_capacity(PICTURE_BYTES as usize);
    for y in 0..i64::from(SIDE) {
        for x in 0..i64::from(SIDE) {
            let ring = ((x - x0) * (x - x0) + (y - y0) * (y - y0)) >> (3 + number % 5);
            bytes.extend_from_slice(&[ring as u8, (ring >> 8) as u8, number as u8, 0xff]);
        }
    }
    bytes
}

pub fn play() -> Result<()> {
    let allocator = Allocator::connect_within(PATIENCE)?;
    let (events, levels) = channel();
    let session = allocator.open_session_with("demo gallery", Pressure(events))?;
    let options = CacheOptions {
        name: "demo gallery".to_owned(),
        bytes: u64::from(PICTURES) * PICTURE_BYTES,
        chunk_bytes: PICTURE_BYTES,
        ..CacheOptions::default()
    };
    let gallery = Gallery::new(&session, options)?;
    show(&gallery)?;
    let figures = gallery.figures();
    ensure!(figures.misses == PICTURES.into(), "the first time: {figures:?}");
    say(format!("computed {PICTURES} pictures of {} KiB each and keeps them", PICTURE_BYTES >> 10));
    let on_screen = put_on_the_screen(&gallery)?;
    say(format!("has picture {ON_SCREEN} on the screen, pinned"));
    fact("ready", gallery.figures().remade)?;
    loop {
        match cue()?.as_str() {
            "trim" => {
                say(format!(
                    "asked the service to purge, which took {} MiB",
                    session.trim()? >> 20
                ));
                fact("trimmed", "yes")?;
            }
            "settle" => {
                await_normal(&levels)?;
                fact("settled", "yes")?;
            }
            "show" => {
                let before = gallery.figures();
                show(&gallery)?;
                look_at_the_screen(&on_screen)?;
                let now = gallery.figures();
                let (hits, remade) = (now.hits - before.hits, now.remade - before.remade);
                ensure!(hits + remade == PICTURES.into(), "not all were shown: {now:?}");
                say(format!(
                    "showed all {PICTURES} pictures, each of them right to the last byte: {hits} were \
                     kept, {remade} were gone and computed again"
                ));
                fact("remade", remade)?;
            }
            "leave" => return fact("finished", "yes"),
            other => bail!("an unknown cue: {other:?}"),
        }
    }
}

/// Whoever shows a picture has it pinned for so long.
fn put_on_the_screen(gallery: &Gallery) -> Result<Pinned<'_>> {
    // The machine may be short of memory from the start: then it may be lost before it is pinned.
    for _ in 0..10 {
        let pinned = gallery.region().pin(0..PICTURE_BYTES)?;
        if pinned.contents() == Contents::Kept {
            look_at_the_screen(&pinned)?;
            return Ok(pinned);
        }
        drop(pinned);
        gallery.get_or_make(&ON_SCREEN, || picture(ON_SCREEN))?;
    }
    bail!("picture {ON_SCREEN} is lost again and again")
}

/// Waits until the service says that there is enough memory again, if it said anything else.
fn await_normal(levels: &Receiver<PressureLevel>) -> Result<()> {
    let Some(mut level) = levels.try_iter().last() else { return Ok(()) };
    while level != PressureLevel::NORMAL {
        level = levels.recv_timeout(PATIENCE).context("memory stays short")?;
    }
    say("heard from the service that there is enough memory again");
    Ok(())
}

/// What is pinned is there.
fn look_at_the_screen(pinned: &Pinned<'_>) -> Result<()> {
    let mut bytes = vec![0; pinned.size()];
    pinned.read(0, &mut bytes)?;
    ensure!(bytes == picture(ON_SCREEN), "the picture on the screen is spoilt");
    Ok(())
}

/// Shows every picture, and compares each with what it should be.
fn show(gallery: &Gallery) -> Result<()> {
    for number in 0..PICTURES {
        let shown = gallery.get_or_make(&number, || picture(number))?;
        ensure!(shown == picture(number), "picture {number} is not what it should be");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn no_two_pictures_are_alike_and_each_fills_a_chunk() {
        let all: HashSet<Vec<u8>> = (0..PICTURES).map(picture).collect();
        assert_eq!(all.len(), PICTURES as usize);
        assert!(all.iter().all(|picture| picture.len() as u64 == PICTURE_BYTES));
    }
}
