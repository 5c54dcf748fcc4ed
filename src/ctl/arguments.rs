// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! What can be written on the command line.

use berth_client::PixelFormat;
use clap::{ArgGroup, Args, Parser, Subcommand};

/// Ask the Berth allocator what it has, and try it.
#[derive(Debug, Parser)]
#[command(name = "berthctl", version)]
pub struct Arguments {
    /// Print JSON for programs.
    #[arg(long, global = true)]
    pub json: bool,

    /// Wait so many seconds for the allocator.
    #[arg(long, global = true, default_value_t = 5, value_name = "SECONDS")]
    pub wait: u64,

    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Heaps, formats and limits.
    Heaps,
    /// What the allocator holds.
    Stats,
    /// Sessions and buffers; for root, system and shell.
    Dump,
    /// Allocate, show what came, and free it.
    Alloc(Allocation),
}

/// What to allocate.
#[derive(Debug, Args)]
pub struct Allocation {
    /// Its form.
    #[command(flatten)]
    pub shape: Shape,

    /// The image's pixel format, as Android spells it.
    #[arg(long, default_value = "RGBA_8888", value_parser = format)]
    pub format: PixelFormat,

    /// How many, in one call.
    #[arg(long, default_value_t = 1)]
    pub count: usize,

    /// A name for dumps and for the kernel.
    #[arg(long, default_value = "berthctl")]
    pub name: String,

    /// From this heap and no other.
    #[arg(long)]
    pub heap: Option<String>,

    /// With a read-only view of the same pages.
    #[arg(long)]
    pub read_only_view: bool,
}

/// The form of what is allocated.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("form").required(true).args(["size", "region", "image"])))]
pub struct Shape {
    /// A linear buffer of so many bytes; K, M and G are powers of 1024.
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    pub size: Option<u64>,

    /// A region of shared memory of so many bytes.
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    pub region: Option<u64>,

    /// An image of so many pixels.
    #[arg(long, value_name = "WIDTHxHEIGHT", value_parser = extent)]
    pub image: Option<(u32, u32)>,
}

fn bytes(text: &str) -> Result<u64, String> {
    let (digits, shift) = match text.strip_suffix(['K', 'M', 'G']) {
        Some(digits) if text.ends_with('K') => (digits, 10),
        Some(digits) if text.ends_with('M') => (digits, 20),
        Some(digits) => (digits, 30),
        None => (text, 0),
    };
    let number: u64 = digits.parse().map_err(|_| format!("{text:?} is no number of bytes"))?;
    number.checked_mul(1 << shift).ok_or_else(|| format!("{text:?} is too large"))
}

fn extent(text: &str) -> Result<(u32, u32), String> {
    let wrong = || format!("{text:?} is no WIDTHxHEIGHT");
    let (width, height) = text.split_once('x').ok_or_else(wrong)?;
    Ok((width.parse().map_err(|_| wrong())?, height.parse().map_err(|_| wrong())?))
}

fn format(text: &str) -> Result<PixelFormat, String> {
    PixelFormat::ALL.iter().copied().find(|format| format.name() == text).ok_or_else(|| {
        let names: Vec<_> = PixelFormat::ALL.iter().map(|format| format.name()).collect();
        format!("no such format; there are {}", names.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(bytes("4096"), Ok(4096));
        assert_eq!(bytes("3M"), Ok(3 << 20));
        assert_eq!(bytes("1G"), Ok(1 << 30));
        for wrong in ["", "M", "-1", "1T", "99999999999G"] {
            assert!(bytes(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn extents_and_formats_are_read() {
        assert_eq!(extent("1920x1080"), Ok((1920, 1080)));
        assert!(extent("1920").is_err() && extent("x").is_err());
        assert_eq!(format("YV12"), Ok(PixelFormat::Yv12));
        assert!(format("yv12").unwrap_err().contains("YV12"));
    }
}
