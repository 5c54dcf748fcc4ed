// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! The audio server: takes a track at once, and hears it period by period.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure, Context, Result};
use berth_client::payload::{Payload, PayloadView};
use berth_client::shared::ring::{Heard, PeriodConsumer};
use berth_client::{Allocator, Session, Token};

use crate::audio::{Sum, PERIOD_BYTES, TOO_EARLY, TRACK_BYTES};
use crate::script::{cue, fact, say, token};

const PATIENCE: Duration = Duration::from_secs(30);

pub fn play() -> Result<()> {
    let session = Allocator::connect_within(PATIENCE)?.open_session("demo audio server")?;
    take_the_track(&session, token(&cue()?)?)?;

    let ring = session.acquire(token(&cue()?)?)?;
    let mut consumer = PeriodConsumer::attach(ring.as_fd(), 0, 0)?;
    let mut period = [0xff; PERIOD_BYTES];
    for _ in 0..TOO_EARLY {
        ensure!(consumer.receive(&mut period)? == Heard::Underrun, "heard what nobody sent");
        ensure!(period == [0; PERIOD_BYTES], "what nobody sent is not silent");
    }
    say(format!("hears {TOO_EARLY} periods of silence: nobody plays yet"));
    fact("early", TOO_EARLY)?;

    cue()?;
    let began = Instant::now();
    let (mut sum, mut heard) = (Sum::default(), 0);
    while heard < TRACK_BYTES {
        consumer.wait(PATIENCE)?;
        ensure!(consumer.receive(&mut period)? == Heard::Period, "a period came and went");
        sum.add(&period);
        heard += period.len();
    }
    let seconds = began.elapsed().as_secs_f64();
    say(format!(
        "hears {heard} bytes in {} periods: {:.1} ms, {:.0} MB/s",
        heard / PERIOD_BYTES,
        seconds * 1e3,
        heard as f64 / seconds / 1e6
    ));
    fact("ring", sum)?;
    let slips = consumer.slips()?;
    fact("slips", format!("{} underruns, {} overruns", slips.underruns, slips.overruns))?;
    fact("finished", "yes")
}

fn take_the_track(session: &Session, token: Token) -> Result<()> {
    let began = Instant::now();
    let region = session.acquire(token)?;
    let payload = Payload::in_region(&region, ..)?;
    let view = PayloadView::open(payload.parcel(), 64 << 20)?;
    let PayloadView::Frozen(_) = &view else { bail!("the track could still be written") };
    let bytes = view.bytes().context("no slice")?;
    let opened = began.elapsed().as_secs_f64() * 1e3;
    let mut sum = Sum::default();
    sum.add(bytes);
    say(format!(
        "has all {} bytes as a slice after {opened:.1} ms; sealed, of a memfd, of that size",
        bytes.len()
    ));
    fact("payload", sum)
}
