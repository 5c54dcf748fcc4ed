// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! `berthctl watch`: what the allocator holds, again and again.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use berth_client::{Allocator, AllocatorStats, Error};

use crate::arguments::Watch;
use crate::dumped::{self, Dumped, Heap, Uid};
use crate::failure::Failure;
use crate::list::table_of_sessions;
use crate::show::stats_json;
use crate::stop::Stop;
use crate::table::{Side, Table};
use crate::units::size;

/// How many uids and how many sessions are shown: those that hold the most.
const TOP: usize = 8;

/// Leaves what the terminal showed as it is, without a cursor and with long lines cut; and comes
/// back to it.
const OTHER_SCREEN: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l";
const FIRST_SCREEN: &str = "\x1b[?7h\x1b[?25h\x1b[?1049l";
/// The first place of the screen, and what is old below the text.
const HOME: &str = "\x1b[H";
const CLEAR_LINE: &str = "\x1b[K\n";
const CLEAR_BELOW: &str = "\x1b[J";

/// Shows figures until somebody says that it is enough.
pub fn watch(
    allocator: &Allocator,
    asked: &Watch,
    json: bool,
    stop: &Stop,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let looks = Looks { allocator, asked, stop };
    if json {
        return looks.each(|look, _| {
            let mut value = stats_json(&look.stats);
            if let Some(value) = value.as_object_mut() {
                value.insert("seconds".to_owned(), tenths(look.at).into());
            }
            writeln!(out, "{value}")?;
            Ok(out.flush()?)
        });
    }
    if !io::stdout().is_terminal() {
        writeln!(out, "{}", row_titles())?;
        return looks.each(|look, before| {
            writeln!(out, "{}", row(look, before))?;
            Ok(out.flush()?)
        });
    }
    let _terminal = stop.at_key()?;
    write!(out, "{OTHER_SCREEN}")?;
    let watched = looks.each(|look, before| {
        let text = screen(allocator, look, before)?;
        write!(out, "{HOME}{}{CLEAR_BELOW}", text.replace('\n', CLEAR_LINE))?;
        Ok(out.flush()?)
    });
    write!(out, "{FIRST_SCREEN}")?;
    out.flush()?;
    watched
}

/// What was seen, and when.
struct Look {
    at: Duration,
    stats: AllocatorStats,
}

struct Looks<'a> {
    allocator: &'a Allocator,
    asked: &'a Watch,
    stop: &'a Stop,
}

impl Looks<'_> {
    /// Looks as often as it was asked for; each look is shown with the one before it.
    fn each(
        &self,
        mut show: impl FnMut(&Look, Option<&Look>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let began = Instant::now();
        let mut before: Option<Look> = None;
        let mut left = self.asked.count.unwrap_or(u64::MAX);
        while left > 0 {
            let look = Look { at: began.elapsed(), stats: self.allocator.stats()? };
            show(&look, before.as_ref())?;
            before = Some(look);
            left = left.saturating_sub(1);
            if left > 0 && self.stop.wait(self.asked.interval) {
                break;
            }
        }
        Ok(())
    }
}

/// How many a second, since the look before.
fn rate(look: &Look, before: Option<&Look>, count: fn(&AllocatorStats) -> i64) -> String {
    let Some(before) = before else { return "-".to_owned() };
    let seconds = look.at.saturating_sub(before.at).as_secs_f64();
    let more = count(&look.stats).saturating_sub(count(&before.stats));
    match seconds > 0.0 {
        true => format!("{:.0}", more as f64 / seconds),
        false => "-".to_owned(),
    }
}

fn tenths(time: Duration) -> f64 {
    (time.as_secs_f64() * 10.0).round() / 10.0
}

fn row_titles() -> String {
    format!(
        "{:>8} {:>8} {:>8} {:>10} {:>6} {:>12} {:>11}",
        "SECONDS", "SESSIONS", "BUFFERS", "MEMORY", "TOKENS", "ALLOCATED/S", "REFUSED/S"
    )
}

fn row(look: &Look, before: Option<&Look>) -> String {
    let stats = &look.stats;
    format!(
        "{:>8.1} {:>8} {:>8} {:>10} {:>6} {:>12} {:>11}",
        tenths(look.at),
        stats.sessions,
        stats.buffers,
        size(stats.bytes.unsigned_abs()),
        stats.tokens,
        rate(look, before, |stats| stats.allocatedBuffers),
        rate(look, before, |stats| stats.refusals)
    )
}

fn screen(allocator: &Allocator, look: &Look, before: Option<&Look>) -> Result<String, Failure> {
    let mut text = Vec::new();
    writeln!(text, "Berth allocator; q ends\n\n{}\n{}\n", row_titles(), row(look, before))?;
    match dumped::ask(allocator, &["--sessions"], None) {
        Ok(dumped) => owners(dumped, &mut text)?,
        Err(Failure::Client(Error::MayNotDump)) => {
            writeln!(text, "Heaps, uids and sessions are for root, system and shell.")?;
        }
        Err(failure) => return Err(failure),
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

fn owners(dumped: Dumped, text: &mut Vec<u8>) -> io::Result<()> {
    let Dumped { heaps, uids, mut sessions, .. } = dumped;
    let mut table = Table::new([
        ("HEAP", Side::Left),
        ("CLASS", Side::Left),
        ("BUFFERS", Side::Right),
        ("MEMORY", Side::Right),
    ]);
    for Heap { name, class, buffers, bytes } in heaps {
        table.row([name, class, buffers.to_string(), size(bytes)]);
    }
    table.write(text)?;
    writeln!(text)?;
    let mut table = Table::new([
        ("UID", Side::Right),
        ("SESSIONS", Side::Right),
        ("BUFFERS", Side::Right),
        ("MEMORY", Side::Right),
    ]);
    for Uid { uid, sessions, buffers, bytes } in uids.into_iter().take(TOP) {
        table.row([uid.to_string(), sessions.to_string(), buffers.to_string(), size(bytes)]);
    }
    table.write(text)?;
    writeln!(text)?;
    sessions.sort_by_key(|session| std::cmp::Reverse(session.bytes));
    sessions.truncate(TOP);
    table_of_sessions(&sessions).write(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(seconds: u64, allocated: i64) -> Look {
        let stats =
            AllocatorStats { allocatedBuffers: allocated, bytes: 3 << 20, ..Default::default() };
        Look { at: Duration::from_secs(seconds), stats }
    }

    #[test]
    fn a_row_has_rates_since_the_row_before() {
        let (first, second) = (look(1, 10), look(3, 50));
        let cells = |row: String| row.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(cells(row(&first, None))[6], "-");
        let row = row(&second, Some(&first));
        assert_eq!(row.len(), row_titles().len());
        assert_eq!(cells(row), ["3.0", "0", "0", "3", "MiB", "0", "20", "0"]);
    }

    #[test]
    fn two_looks_at_one_moment_have_no_rate() {
        let one = look(1, 10);
        assert_eq!(rate(&look(1, 20), Some(&one), |stats| stats.allocatedBuffers), "-");
    }
}
