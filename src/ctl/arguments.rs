// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! What can be written on the command line.

use std::path::PathBuf;
use std::time::Duration;

use berth_client::{PixelFormat, Usage};
use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::help;
use crate::units::{bytes, parse_token, seconds};

/// Ask the Berth allocator what it has, and try it.
#[derive(Debug, Parser)]
#[command(name = "berthctl", version, after_help = help::PROGRAM)]
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
    #[command(after_help = help::HEAPS)]
    Heaps,

    /// Allocate, show what came, and free it.
    #[command(after_help = help::ALLOC)]
    Alloc(Allocation),

    /// Allocate a region of shared memory, show it, and free it.
    #[command(after_help = help::REGION)]
    Region(Region),

    /// Sessions, or buffers, as a table; for root, system and shell.
    #[command(after_help = help::LIST)]
    List(List),

    /// The service's own dump; for root, system and shell.
    #[command(after_help = help::DUMP)]
    Dump {
        /// Arguments for the service.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },

    /// What the allocator holds, in figures.
    #[command(after_help = help::STATS)]
    Stats,

    /// What the allocator holds, again and again.
    #[command(after_help = help::WATCH)]
    Watch(Watch),

    /// Allocate, and print a token with which another uid can take part.
    #[command(after_help = help::SHARE)]
    Share(Share),

    /// Take part in a buffer that somebody shared, and show it.
    #[command(after_help = help::ACQUIRE)]
    Acquire(Acquire),

    /// Have what is kept idle of this uid's freed buffers given back to the kernel.
    #[command(after_help = help::TRIM)]
    Trim,

    /// A completion script for a shell; needs no allocator.
    #[command(after_help = help::COMPLETIONS)]
    Completions {
        /// Which shell.
        #[arg(value_enum)]
        shell: Shell,
    },
}

impl Command {
    /// Whether it goes on until it is told to stop.
    pub fn holds(&self) -> bool {
        match self {
            Command::Alloc(asked) => asked.hold.is_some(),
            Command::Region(asked) => asked.hold.is_some(),
            Command::Acquire(asked) => asked.hold.is_some(),
            Command::Share(_) | Command::Watch(_) => true,
            _ => false,
        }
    }
}

/// What to allocate, and how many of it.
#[derive(Debug, Args)]
pub struct Allocation {
    /// What.
    #[command(flatten)]
    pub what: What,

    /// How many, in one call.
    #[arg(long, default_value_t = 1)]
    pub count: usize,

    /// Keep it for so many seconds, or until Ctrl-C.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub hold: Option<Duration>,
}

/// What to allocate.
#[derive(Debug, Args)]
pub struct What {
    /// Its form.
    #[command(flatten)]
    pub shape: Shape,

    /// The image's pixel format, as Android spells it.
    #[arg(long, default_value = "RGBA_8888", value_parser = format)]
    pub format: PixelFormat,

    /// So many layers of the image.
    #[arg(long, default_value_t = 1)]
    pub layers: u32,

    /// What it is used for, as CPU_READ_OFTEN|GPU_TEXTURE; the CPU unless it is said.
    #[arg(long, value_parser = usage)]
    pub usage: Option<Usage>,

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
    /// A linear buffer of so many bytes; K, M, G and T are powers of 1024.
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    pub size: Option<u64>,

    /// A region of shared memory of so many bytes.
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    pub region: Option<u64>,

    /// An image of so many pixels.
    #[arg(long, value_name = "WIDTHxHEIGHT", value_parser = extent)]
    pub image: Option<(u32, u32)>,
}

/// A region, and what becomes of it.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("length").required(true).multiple(true).args(["size", "from"])))]
pub struct Region {
    /// So many bytes; K, M, G and T are powers of 1024. The file's, unless it is said.
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    pub size: Option<u64>,

    /// Copy this file into it.
    #[arg(long, value_name = "FILE")]
    pub from: Option<PathBuf>,

    /// Make it read-only for good.
    #[arg(long)]
    pub seal: bool,

    /// A name for dumps and for the kernel.
    #[arg(long, default_value = "berthctl")]
    pub name: String,

    /// From this heap and no other.
    #[arg(long)]
    pub heap: Option<String>,

    /// Keep it for so many seconds, or until Ctrl-C.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub hold: Option<Duration>,
}

/// What to list.
#[derive(Debug, Args)]
pub struct List {
    /// Of this uid only.
    #[arg(long)]
    pub uid: Option<u32>,

    /// Buffers instead of sessions.
    #[arg(long)]
    pub buffers: bool,

    /// In which order.
    #[arg(long, value_enum, default_value_t = Order::Size)]
    pub sort: Order,
}

/// The order of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Order {
    /// The largest first.
    Size,
    /// The oldest first.
    Age,
    /// By id, the order in which they were made.
    Id,
    /// By uid.
    Uid,
    /// By name.
    Name,
}

/// How often, and how long.
#[derive(Debug, Args)]
pub struct Watch {
    /// Seconds from one look to the next.
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = seconds)]
    pub interval: Duration,

    /// Look so many times.
    #[arg(long)]
    pub count: Option<u64>,
}

/// What to share, and with whom.
#[derive(Debug, Args)]
pub struct Share {
    /// What.
    #[command(flatten)]
    pub what: What,

    /// The uid that may use the token.
    #[arg(long)]
    pub uid: u32,

    /// How often it may.
    #[arg(long, default_value_t = 1)]
    pub uses: u32,

    /// For how many seconds it may.
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = seconds)]
    pub seconds: Duration,

    /// To read only; regions can be shared so.
    #[arg(long)]
    pub read_only: bool,

    /// Copy this file into it first.
    #[arg(long, value_name = "FILE")]
    pub from: Option<PathBuf>,
}

/// What to take part in.
#[derive(Debug, Args)]
pub struct Acquire {
    /// 32 hexadecimal digits, or - to read them from standard input.
    #[arg(value_parser = token)]
    pub token: TokenSource,

    /// Show the first N bytes.
    #[arg(long, value_name = "N", value_parser = bytes)]
    pub read: Option<u64>,

    /// Keep it for so many seconds, or until Ctrl-C.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub hold: Option<Duration>,
}

/// Where a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenSource {
    /// On the command line.
    Given([u8; 16]),
    /// On standard input.
    Input,
}

fn token(text: &str) -> Result<TokenSource, String> {
    match text {
        "-" => Ok(TokenSource::Input),
        _ => parse_token(text).map(TokenSource::Given),
    }
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

/// Names as the interface spells them, or numbers, joined by `|`.
fn usage(text: &str) -> Result<Usage, String> {
    text.split('|').map(str::trim).try_fold(Usage::empty(), |all, word| {
        let one = match word.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16).ok().map(Usage::from_bits_retain),
            // The masks are no usages.
            None => Usage::from_name(word).filter(|_| !word.contains("_MASK")),
        };
        let one = one.ok_or_else(|| format!("{word:?} is no usage; --help lists them"))?;
        Ok(all | one)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parsed(words: &str) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from(words.split(' '))
    }

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_command_has_help_with_an_example() {
        let mut command = Arguments::command();
        for sub in command.get_subcommands_mut() {
            let (name, help) = (sub.get_name().to_owned(), sub.render_help().to_string());
            assert!(help.contains(&format!("berthctl {name}")), "{help}");
            assert!(help.contains("Example"), "{help}");
        }
        let help = command.render_help().to_string();
        assert!(help.contains("Exit codes") && help.contains("--json"), "{help}");
    }

    #[test]
    fn extents_and_formats_are_read() {
        assert_eq!(extent("1920x1080"), Ok((1920, 1080)));
        assert!(extent("1920").is_err() && extent("x").is_err());
        assert_eq!(format("YV12"), Ok(PixelFormat::Yv12));
        assert!(format("yv12").unwrap_err().contains("YV12"));
    }

    #[test]
    fn usages_are_names_and_numbers() {
        let both = Usage::CPU_READ_OFTEN | Usage::GPU_TEXTURE;
        assert_eq!(usage("CPU_READ_OFTEN|GPU_TEXTURE"), Ok(both));
        assert_eq!(usage("CPU_READ_OFTEN | 0x100"), Ok(both));
        for wrong in ["", "GPU", "CPU_READ_MASK", "|", "0x", "3"] {
            assert!(usage(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn the_help_lists_every_usage() {
        for (name, _) in Usage::all().iter_names() {
            let is_mask = name.contains("_MASK");
            assert_eq!(help::ALLOC.contains(name), !is_mask, "{name}");
        }
        for name in ["CPU_READ_RARELY", "CPU_READ_OFTEN", "CPU_WRITE_RARELY", "CPU_WRITE_OFTEN"] {
            assert!(help::ALLOC.contains(name) && usage(name).is_ok());
        }
    }

    #[test]
    fn the_arguments_of_the_dump_are_passed_on() {
        for (words, expected, json) in [
            ("berthctl dump", vec![], false),
            ("berthctl dump --json", vec![], true),
            (
                "berthctl dump --sessions --uid 7 --json",
                vec!["--sessions", "--uid", "7", "--json"],
                false,
            ),
            ("berthctl --json dump --buffers", vec!["--buffers"], true),
            ("berthctl dump -- --help", vec!["--help"], false),
        ] {
            let arguments = parsed(words).unwrap();
            let Command::Dump { args } = arguments.command else { panic!("{words}") };
            assert_eq!(
                (args, arguments.json),
                (expected.iter().map(|&arg| arg.to_owned()).collect(), json)
            );
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for words in [
            "berthctl",
            "berthctl alloc",
            "berthctl alloc --size 1 --image 1x1",
            "berthctl region",
            "berthctl region --seal",
            "berthctl list --sort colour",
            "berthctl watch --interval 0",
            "berthctl share --size 1",
            "berthctl acquire 1234",
            "berthctl completions cmd.exe",
            "berthctl stats everything",
            "berthctl trim --uid 7",
        ] {
            assert!(parsed(words).is_err(), "{words}");
        }
        assert!(parsed("berthctl region --size 1 --from FILE").is_ok());
    }

    #[test]
    fn only_what_is_asked_to_wait_holds() {
        for (words, holds) in [
            ("berthctl alloc --size 1", false),
            ("berthctl alloc --size 1 --hold 3", true),
            ("berthctl share --size 1 --uid 1", true),
            ("berthctl watch", true),
            ("berthctl stats", false),
            ("berthctl trim", false),
        ] {
            assert_eq!(parsed(words).unwrap().command.holds(), holds, "{words}");
        }
    }
}
