// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! The glutton: takes ordinary memory, step by step, for as long as it is told to.

use anyhow::{bail, Result};

use crate::script::{cue, fact};

/// Bytes of one step.
const STEP: usize = 4 << 20;

pub fn play() -> Result<()> {
    let mut taken: Vec<Vec<u8>> = Vec::new();
    loop {
        match cue()?.as_str() {
            // Written, so that it is really there.
            "take" => taken.push(vec![0x11; STEP]),
            "give back" => taken.clear(),
            "leave" => return fact("finished", "yes"),
            other => bail!("an unknown cue: {other:?}"),
        }
        fact("holding", taken.len() * STEP)?;
    }
}
