// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Layout computation, which every image request pays for.

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::Result;
use berth_layout::{ImageLayout, ImageRequest, PixelFormat, StridePolicy, Usage};

use crate::table::Table;

const ROUNDS: u32 = 100_000;
const LIMIT: Duration = Duration::from_nanos(200);

pub fn measure(table: &mut Table) -> Result<()> {
    let request = ImageRequest {
        width: 1920,
        height: 1080,
        layers: 1,
        format: PixelFormat::Yv12,
        usage: Usage::CPU_READ_OFTEN,
    };
    let began = Instant::now();
    for _ in 0..ROUNDS {
        black_box(ImageLayout::compute(black_box(&request), &StridePolicy::DEFAULT)?);
    }
    table.time("lay out an image of three planes", began.elapsed() / ROUNDS, LIMIT);
    Ok(())
}
