// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! The player: has a track, and gives it to the audio server at once and period by period.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use anyhow::{ensure, Context, Result};
use berth_client::payload::Payload;
use berth_client::shared::ring::{self, Layout, PeriodProducer, Sent};
use berth_client::{Allocator, BufferRequest, SharePermit};

use crate::audio::{Sum, PERIODS_AHEAD, PERIOD_BYTES, TOO_MANY, TRACK_BYTES, TRACK_SEED};
use crate::pattern;
use crate::script::{cue, fact, say, token_text};

const PATIENCE: Duration = Duration::from_secs(30);

pub fn play() -> Result<()> {
    let session = Allocator::connect_within(PATIENCE)?.open_session("demo player")?;
    let speaker: u32 = cue()?.parse().context("the audio server's uid")?;
    let track = pattern::bytes(TRACK_SEED, 0, TRACK_BYTES);
    let mut sum = Sum::default();
    sum.add(&track);
    fact("sum", &sum)?;

    let region = BufferRequest::region(TRACK_BYTES as u64).name("demo track");
    let region = session.allocate_one(&region)?;
    let mapped = region.map()?;
    mapped.begin_write()?.write(0, &track)?;
    drop(mapped);
    let payload = Payload::in_region(&region, ..)?;
    ensure!(payload.len() == TRACK_BYTES as u64, "a payload of {} bytes", payload.len());
    say("fills a region with the track and freezes it: nobody can write it any more");
    let permit = SharePermit::once(speaker);
    fact("track", token_text(session.share(&region, permit.read_only())?))?;

    let layout = Layout::of_periods(PERIOD_BYTES as u32, PERIODS_AHEAD)?;
    let ring =
        session.allocate_one(&BufferRequest::region(layout.bytes() as u64).name("demo ring"))?;
    ring::create(ring.as_fd(), 0, layout)?;
    let mut producer = PeriodProducer::attach(ring.as_fd(), 0)?;
    fact("ring", token_text(session.share(&ring, permit)?))?;

    cue()?;
    let mut periods = track.chunks(PERIOD_BYTES);
    let ahead: Vec<&[u8]> = periods.by_ref().take(PERIODS_AHEAD as usize).collect();
    for period in ahead {
        ensure!(producer.send(period)? == Sent::Stored, "no room where there must be some");
    }
    for _ in 0..TOO_MANY {
        ensure!(producer.send(&[0x55; PERIOD_BYTES])? == Sent::Overrun, "room where there is none");
    }
    say(format!("sends {PERIODS_AHEAD} periods ahead, and loses {TOO_MANY} more"));
    fact("ahead", PERIODS_AHEAD)?;

    cue()?;
    let began = Instant::now();
    for period in periods {
        producer.wait(PATIENCE)?;
        ensure!(producer.send(period)? == Sent::Stored, "room came and went");
    }
    say(format!("has sent the rest after {:.1} ms", began.elapsed().as_secs_f64() * 1e3));
    fact("played", "yes")?;
    fact("finished", "yes")
}
