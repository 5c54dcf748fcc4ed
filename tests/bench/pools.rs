// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! What a slot of a pool costs whoever has no need to wait, against the least that a system call costs.

use std::time::Duration;

use anyhow::Result;
use berth_client::{Allocator, BufferRequest, Metadata, PoolOptions, SharePermit};
use nix::unistd::{getppid, getuid};

use crate::measure::in_turns;
use crate::table::{Table, Target};

/// Of each in one round: the clock itself costs as much as one.
const TIMES: u32 = 1000;
const ROUNDS: u32 = 200;
/// Of who might have to wait.
const PATIENCE: Duration = Duration::from_secs(10);

pub fn measure(allocator: &Allocator, table: &mut Table) -> Result<()> {
    let producer = allocator.open_session("bench")?;
    let consumer = allocator.open_session("bench")?;
    let request = BufferRequest::region(4096).name("bench");
    let pool = producer.create_pool(&request, PoolOptions::slots(4))?;
    let token = pool.share(SharePermit::once(getuid().as_raw()))?;
    let joined = consumer.join_pool(token)?;
    let acquire = || {
        for _ in 0..TIMES {
            pool.acquire(PATIENCE)?.discard();
        }
        Ok(())
    };
    let system_call = || {
        for _ in 0..TIMES {
            getppid();
        }
        Ok(())
    };
    let pair = in_turns(ROUNDS, acquire, system_call)?;
    let what = "pool: acquire + release, 1000 times";
    table.pair(what, "getppid 1000 times", &pair, Target::AtMost(1.0));

    // A frame goes through four changes of hands' worth of the same.
    let hand_over = || {
        for _ in 0..TIMES {
            pool.acquire(PATIENCE)?.submit(&Metadata::default())?;
            joined.take(PATIENCE)?.release();
        }
        Ok(())
    };
    let two_system_calls = || {
        system_call()?;
        system_call()
    };
    let pair = in_turns(ROUNDS, hand_over, two_system_calls)?;
    let what = "pool: acquire, submit, take, release";
    table.comparison(what, "getppid twice", &pair);
    Ok(())
}
