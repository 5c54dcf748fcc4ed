// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! A cache of pictures that survives memory pressure: it loses pictures, and shows none that is wrong.

use std::time::Instant;

use anyhow::{ensure, Context, Result};
use berth_client::{Allocator, AllocatorStats};
use berth_kernel::meminfo::MemInfo;

use crate::actor::Actor;
use crate::gallery::{PICTURES, PICTURE_BYTES};
use crate::story::{start_hal, wait_until, Step, COMING_BACK};
use crate::Props;

const GALLERY_UID: u32 = 10_001;
const GLUTTON_UID: u32 = 10_002;

/// How often the gallery shows everything until nothing is lost any more, at most.
const SHOWS: u32 = 5;

/// The steps of this demo.
pub fn steps(props: &Props, step: &mut Step) -> Result<()> {
    let (stage, _running, allocator) = start_hal(props, step)?;
    let purged_before = purged(&allocator.stats()?);

    step.begin("a gallery computes pictures and keeps them where they may go");
    let mut gallery = Actor::enter("the gallery", &mut stage.role("gallery"), GALLERY_UID)?;
    let remade: u64 = gallery.fact("ready")?.parse().context("how many")?;
    let stats = allocator.stats()?;
    let all = u64::from(PICTURES) * PICTURE_BYTES;
    ensure!(stats.purgeableBytes.unsigned_abs() == all, "the service says {stats:?}");
    let mut shows = Shows { allocator: &allocator, purged_before, remade };

    let glutton = if props.has_the_machine() {
        step.begin("a glutton takes memory until it is short");
        let mut glutton = Actor::enter("the glutton", &mut stage.role("glutton"), GLUTTON_UID)?;
        squeeze(&allocator, &mut glutton)?;
        Some(glutton)
    } else {
        step.begin("the gallery has its pictures purged");
        println!(
            "  this machine is not made short of memory: the gallery asks for the same by trim"
        );
        gallery.cue("trim")?;
        gallery.fact("trimmed")?;
        None
    };

    step.begin("the gallery shows all pictures");
    let purged = purged(&allocator.stats()?) - purged_before;
    let remade = shows.next(&mut gallery)?;
    ensure!(purged > 0 && shows.remade >= purged, "{purged} were purged, and {remade} made again");
    ensure!(remade < PICTURES.into(), "the picture on the screen was lost");

    if let Some(mut glutton) = glutton {
        step.begin("the glutton gives everything back");
        glutton.cue("give back")?;
        glutton.fact("holding")?;
        glutton.cue("leave")?;
        glutton.leave()?;
        println!("  {} MiB are available", MemInfo::read()?.available >> 20);
    }

    step.begin("nothing is lost any more");
    gallery.cue("settle")?;
    gallery.fact("settled")?;
    let mut left = SHOWS;
    while shows.next(&mut gallery)? > 0 {
        left -= 1;
        ensure!(left > 0, "pictures are lost although there is enough memory");
    }
    gallery.cue("leave")?;
    gallery.leave()?;
    let gone = |now: &AllocatorStats| now.purgeableBytes == 0 && now.buffers == 0;
    wait_until(&allocator, gone).map(drop).context("what the gallery had is taken back")
}

/// What the gallery computes again, against what the service says that it purged.
struct Shows<'a> {
    allocator: &'a Allocator,
    /// Pictures' worth of memory that the service had purged before.
    purged_before: u64,
    /// Pictures that were computed again until now.
    remade: u64,
}

impl Shows<'_> {
    /// The next show; how many pictures were computed again for it.
    fn next(&mut self, gallery: &mut Actor) -> Result<u64> {
        gallery.cue("show")?;
        let remade: u64 = gallery.fact("remade")?.parse().context("how many")?;
        self.remade += remade;
        // The service counts at the end of a purge.
        let told = |now: &AllocatorStats| purged(now) - self.purged_before >= self.remade;
        wait_until(self.allocator, told)
            .with_context(|| format!("{} were computed again that nobody purged", self.remade))?;
        Ok(remade)
    }
}

/// Pictures that were purged; nobody else has anything that could be.
fn purged(stats: &AllocatorStats) -> u64 {
    stats.purgedBytes.unsigned_abs() / PICTURE_BYTES
}

/// Takes memory until there is less than the service wants to be left, and looks at what that did.
fn squeeze(allocator: &Allocator, glutton: &mut Actor) -> Result<()> {
    let at_first = MemInfo::read()?;
    let purged_before = purged(&allocator.stats()?);
    // The service wants twice its reserve, which is a sixteenth of the memory.
    let enough = at_first.total / 8;
    let (mut taken, mut short_since) = (0, None);
    let stats = loop {
        let stats = allocator.stats()?;
        if purged(&stats) > purged_before {
            break stats;
        }
        if MemInfo::read()?.available >= enough {
            short_since = None;
            glutton.cue("take")?;
            taken = glutton.fact("holding")?.parse()?;
            ensure!(taken < at_first.total, "{taken} bytes were taken, and none is missing");
        } else {
            let since: Instant = *short_since.get_or_insert_with(Instant::now);
            ensure!(since.elapsed() < COMING_BACK, "memory is short, and nothing is purged");
        }
    };
    let now = MemInfo::read()?;
    println!("  it took {} MiB", taken >> 20);
    println!(
        "  the service purged {} of the {PICTURES} pictures; {} MiB are available",
        purged(&stats) - purged_before,
        now.available >> 20
    );
    let back = at_first.shared.saturating_sub(now.shared);
    // Others of this machine have files in memory, too.
    let gone = (purged(&stats) - purged_before) * PICTURE_BYTES;
    ensure!(back >= gone / 8 * 7, "{gone} bytes were purged, and the kernel has {back} of them");
    println!("  the kernel shows {} MiB less of shared memory in use", back >> 20);
    Ok(())
}
