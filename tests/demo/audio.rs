// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! A track from a player to an audio server: whole, as a payload, and period by period through a ring.

use anyhow::{ensure, Context, Result};

use crate::actor::Actor;
use crate::story::{start_hal, wait_until, Step};
use crate::Props;

const PLAYER_UID: u32 = 10_001;
const SPEAKER_UID: u32 = 10_002;

/// Bytes of the track: 52 seconds of stereo at 48 kHz, 16 bits each.
pub const TRACK_BYTES: usize = 10_000_000;
/// Bytes of a period: a thousand frames, 21 ms.
pub const PERIOD_BYTES: usize = 4_000;
/// How many periods of the ring can be sent ahead.
pub const PERIODS_AHEAD: u32 = 8;
/// How many periods the server wants before the player begins.
pub const TOO_EARLY: u32 = 5;
/// How many periods the player sends more than there is room for.
pub const TOO_MANY: u32 = 3;
/// What the seed of the track's pattern is.
pub const TRACK_SEED: u32 = 48_000;

/// The steps of this demo.
pub fn steps(props: &Props, step: &mut Step) -> Result<()> {
    let (stage, _running, allocator) = start_hal(props, step)?;

    step.begin("a player has a track, as a payload and in periods");
    let mut player = Actor::enter("the player", &mut stage.role("player"), PLAYER_UID)?;
    player.cue(SPEAKER_UID)?;
    let sum = player.fact("sum")?;
    let track = player.fact("track")?;
    let ring = player.fact("ring")?;

    step.begin("an audio server takes the track at once, without a copy");
    let mut speaker = Actor::enter("the audio server", &mut stage.role("speaker"), SPEAKER_UID)?;
    speaker.cue(&track)?;
    let heard = speaker.fact("payload")?;
    ensure!(heard == sum, "the payload has the sum {heard}, the track {sum}");

    step.begin("the audio server is early: silence, and underruns are counted");
    speaker.cue(&ring)?;
    speaker.fact("early")?;

    step.begin("the player sends more than there is room for: overruns are counted");
    player.cue("begin")?;
    player.fact("ahead")?;

    step.begin("10 MB of PCM through the ring");
    speaker.cue("play")?;
    player.cue("play")?;
    player.fact("played")?;
    let heard = speaker.fact("ring")?;
    ensure!(heard == sum, "the ring gave the sum {heard}, the track has {sum}");
    let slips = speaker.fact("slips")?;
    let expected = format!("{TOO_EARLY} underruns, {TOO_MANY} overruns");
    ensure!(slips == expected, "{slips} were counted, not {expected}");
    println!("  both agree: {sum}; in the end {slips}, which are those of the two steps before");
    player.leave()?;
    speaker.leave()?;
    wait_until(&allocator, |now| now.sessions == 0 && now.buffers == 0)
        .map(drop)
        .context("what both had is taken back")
}

/// The sum by which the track is known.
#[derive(Debug, Default)]
pub struct Sum {
    bytes: usize,
    sum: u64,
}

impl Sum {
    /// Adds bytes; a multiple of 8 at a time.
    pub fn add(&mut self, bytes: &[u8]) {
        for word in bytes.chunks(8) {
            let mut padded = [0; 8];
            padded[..word.len()].copy_from_slice(word);
            self.sum = self.sum.rotate_left(5).wrapping_add(u64::from_le_bytes(padded));
        }
        self.bytes += bytes.len();
    }
}

impl std::fmt::Display for Sum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes, sum {:016x}", self.bytes, self.sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pattern;

    #[test]
    fn a_sum_is_that_of_the_whole_however_it_comes_and_of_nothing_else() {
        assert_eq!(TRACK_BYTES % PERIOD_BYTES, 0);
        assert_eq!(PERIOD_BYTES % 8, 0);
        let track = pattern::bytes(TRACK_SEED, 0, 10 * PERIOD_BYTES);
        let (mut whole, mut parts, mut other) = (Sum::default(), Sum::default(), Sum::default());
        whole.add(&track);
        track.chunks(PERIOD_BYTES).for_each(|part| parts.add(part));
        track.chunks(PERIOD_BYTES).rev().for_each(|part| other.add(part));
        assert_eq!(whole.to_string(), parts.to_string());
        assert_ne!(whole.to_string(), other.to_string());
    }
}
