// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! A client's process: does what the test at the other end of its standard input asks.

#![deny(unsafe_code)]

mod attempt;
mod bare;
mod churn;
mod client;
mod crowd;
mod drivers;
mod fork;
mod hold;
mod kernel;
mod late_mapping;
mod leftover;
mod look;
mod memory;
mod payload;
mod pinners;
mod pools;
mod purgeable;
mod restart;
mod storm;
mod sweep;
mod victims;
mod wire;

use std::io::{self, BufRead, Write};

use anyhow::{Context, Result};
use berth_client::Error;
use berth_end_to_end::protocol::{Answer, Ask};

use client::Client;

fn main() -> Result<()> {
    // Tests of limits hold more buffers than a process usually has descriptors for.
    berth_kernel::descriptor_limit::raise()?;
    let mut client = Client::default();
    let mut out = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        let ask: Ask = serde_json::from_str(&line.context("read a question")?)?;
        let answer = client.answer(ask).unwrap_or_else(as_answer);
        writeln!(out, "{}", serde_json::to_string(&answer)?)?;
        out.flush()?;
    }
    Ok(())
}

fn as_answer(error: anyhow::Error) -> Answer {
    match error.downcast_ref::<Error>() {
        Some(Error::Refused { code, message }) => Answer::Refused(code.0, message.clone()),
        _ => Answer::Failed(format!("{error:#}")),
    }
}
