// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Bytes to another process: as a payload, in chunks of Binder calls, and as a bare copy.

use std::os::fd::AsFd;
use std::time::Duration;

use anyhow::{Context, Result};
use berth_client::payload::{Payload, PayloadBuilder, PayloadSender, INLINE_BYTES};
use berth_client::{Allocator, BufferRequest};
use berth_kernel::mapping::{Mapping, ReadWrite};
use berth_kernel::memfd::Memfd;
use hal_binder::{ParcelFileDescriptor, Strong};

use crate::bare::IBare;
use crate::measure::{in_turns, Pair};
use crate::table::{Table, Target};

const BYTES: usize = 10_000_000;
/// What fits a Binder transaction beside others in flight.
const CHUNK: usize = 256 << 10;
const ROUNDS: u32 = 20;
/// Of those that are used again.
const REGIONS: usize = 7;
/// Where a region is cheaper over any transport.
const FAR_BEYOND: usize = 256 << 10;
/// The receiver does nothing, so its end of the lease is closed when the call returns, or soon after.
const LEASE: Duration = Duration::from_secs(10);

pub fn measure(allocator: &Allocator, bare: &Strong<dyn IBare>, table: &mut Table) -> Result<()> {
    let bytes = vec![0xa5; BYTES];
    once(bare, &bytes, table)?;
    again(bare, &bytes, table)?;
    of_the_service(allocator, bare, &bytes, table)?;
    crossing(bare, &bytes, table)
}

/// A region of its own for each payload.
fn once(bare: &Strong<dyn IBare>, bytes: &[u8], table: &mut Table) -> Result<()> {
    let send = || {
        let payload = Payload::from_bytes(bytes)?;
        bare.accept(payload.parcel())?;
        Ok(payload)
    };
    let pair = in_turns(ROUNDS, send, || chunks(bare, bytes))?;
    table.pair("10 MB payload", "chunked calls", &pair, Target::FasterBy(20.0));
    let pair = in_turns(ROUNDS, send, || copy(bare, bytes))?;
    table.pair("the same", "memfd, copy, bare call", &pair, Target::AtMost(1.15));
    let built = || {
        let payload = PayloadBuilder::with_capacity(BYTES as u64)?.fill(|region| {
            region.write(0, bytes)?;
            Ok(BYTES as u64)
        })?;
        bare.accept(payload.parcel())?;
        Ok(payload)
    };
    let pair = in_turns(ROUNDS, built, || copy(bare, bytes))?;
    table.pair("10 MB built in place", "memfd, copy, bare call", &pair, Target::AtMost(1.15));
    Ok(())
}

/// What is done where there are no payloads.
fn chunks(bare: &Strong<dyn IBare>, bytes: &[u8]) -> Result<()> {
    for chunk in bytes.chunks(CHUNK) {
        bare.swallow(chunk)?;
    }
    Ok(())
}

/// What cannot be done without where the memory is fresh.
fn copy(bare: &Strong<dyn IBare>, bytes: &[u8]) -> Result<Memfd> {
    let memfd = Memfd::create("bench", BYTES as u64)?;
    let mapping: Mapping<ReadWrite> = Mapping::new(memfd.as_fd(), BYTES as u64)?;
    mapping.write(0, bytes)?;
    bare.take(&ParcelFileDescriptor::new(memfd.as_fd().try_clone_to_owned()?))?;
    Ok(memfd)
}

/// One region for all. Where the kernel puts its pages is a tenth of what a copy takes, so there are
/// several pairs of regions, and the one in the middle counts.
fn again(bare: &Strong<dyn IBare>, bytes: &[u8], table: &mut Table) -> Result<()> {
    let mut pairs = (0..REGIONS).map(|_| used_again(bare, bytes)).collect::<Result<Vec<Pair>>>()?;
    pairs.sort_by(|one, other| one.ratio().total_cmp(&other.ratio()));
    let middle = pairs.get(REGIONS / 2).context("a pair in the middle")?;
    table.pair("10 MB, region used again", "warm copy, bare call", middle, Target::AtMost(1.15));
    let mut sender = PayloadSender::new("bench");
    let send = || Ok(bare.accept(sender.payload(bytes, LEASE)?.parcel())?);
    let pair = in_turns(ROUNDS, send, || chunks(bare, bytes))?;
    table.pair("the same", "chunked calls", &pair, Target::FasterBy(20.0));
    Ok(())
}

fn used_again(bare: &Strong<dyn IBare>, bytes: &[u8]) -> Result<Pair> {
    let mut sender = PayloadSender::new("bench");
    let memfd = Memfd::create("bench", BYTES as u64)?;
    let mapping: Mapping<ReadWrite> = Mapping::new(memfd.as_fd(), BYTES as u64)?;
    let send = || Ok(bare.accept(sender.payload(bytes, LEASE)?.parcel())?);
    let warm = || {
        mapping.write(0, bytes)?;
        Ok(bare.take(&ParcelFileDescriptor::new(memfd.as_fd().try_clone_to_owned()?))?)
    };
    in_turns(ROUNDS, send, warm)
}

/// A region that is in the ledger.
fn of_the_service(
    allocator: &Allocator,
    bare: &Strong<dyn IBare>,
    bytes: &[u8],
    table: &mut Table,
) -> Result<()> {
    let session = allocator.open_session("bench")?;
    let request = BufferRequest::region(BYTES as u64).name("bench");
    let send = || {
        let region = session.allocate_one(&request)?;
        let mapped = region.map()?;
        mapped.begin_write()?.write(0, bytes)?;
        drop(mapped);
        let payload = Payload::in_region(&region, ..)?;
        bare.accept(payload.parcel())?;
        Ok((region, payload))
    };
    let pair = in_turns(ROUNDS, send, || copy(bare, bytes))?;
    table.pair(
        "10 MB, the service's region",
        "memfd, copy, bare call",
        &pair,
        Target::AtMost(1.15),
    );
    Ok(())
}

/// Where a region becomes cheaper than bytes in the message: what [`INLINE_BYTES`] follows. At that
/// size the message must not cost much more, and at 256 KiB the region must not.
fn crossing(bare: &Strong<dyn IBare>, bytes: &[u8], table: &mut Table) -> Result<()> {
    for kib in [4, 8, 16, 32, 64, 128, 256] {
        let Some(part) = bytes.get(..kib << 10) else { continue };
        let inline = || Ok(bare.swallow(part)?);
        let region = || {
            let memfd = Memfd::create("bench", part.len() as u64)?;
            memfd.write_at(0, part)?;
            memfd.freeze()?;
            Ok(bare.take(&ParcelFileDescriptor::new(memfd))?)
        };
        let pair = in_turns(ROUNDS * 10, inline, region)?;
        let (what, against) = (format!("{kib} KiB in the message"), "in a region");
        match part.len() {
            INLINE_BYTES => table.pair(&what, against, &pair, Target::AtMost(1.15)),
            FAR_BEYOND => table.pair(&what, against, &pair, Target::AtLeast(1.0)),
            _ => table.comparison(&what, against, &pair),
        }
    }
    Ok(())
}
