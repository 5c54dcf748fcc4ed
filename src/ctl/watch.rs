// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! `berthctl watch`: what the allocator holds, again and again.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use berth_client::{Allocator, AllocatorStats, Error};
use berth_kernel::terminal;

use crate::arguments::Watch;
use crate::dumped::{self, Dumped, Heap, Uid};
use crate::failure::Failure;
use crate::list::table_of_sessions;
use crate::show::stats_json;
use crate::stop::Stop;
use crate::table::{Side, Table};
use crate::units::size;

/// How many uids and how many sessions are shown at most: those that hold the most.
const TOP: usize = 8;

/// Rows above the heaps.
const HEAD_ROWS: usize = 5;
/// Rows of titles from there on, and those that are empty.
const TITLE_ROWS: usize = 5;

/// Leaves what the terminal showed as it is, without a cursor and with long lines cut; and comes
/// back to it.
const OTHER_SCREEN: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l";
const FIRST_SCREEN: &str = "\x1b[?7h\x1b[?25h\x1b[?1049l";
/// The first place of the screen, and what is old below the text.
const HOME: &str = "\x1b[H";
const CLEAR_LINE: &str = "\x1b[K";
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
        // Each time: whoever watches may make the window smaller.
        let rows = terminal::rows(io::stdout()).map_or(usize::MAX, usize::from);
        let text = screen(allocator, look, before, rows)?;
        let lines: Vec<_> = text.lines().map(|line| format!("{line}{CLEAR_LINE}")).collect();
        // No end of line after the last: on the last row it would move all others up.
        write!(out, "{HOME}{}{CLEAR_BELOW}", lines.join("\n"))?;
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

/// What is shown, in at most so many rows.
fn screen(
    allocator: &Allocator,
    look: &Look,
    before: Option<&Look>,
    rows: usize,
) -> Result<String, Failure> {
    let mut text = Vec::new();
    writeln!(text, "Berth allocator; q ends\n\n{}\n{}\n", row_titles(), row(look, before))?;
    match dumped::ask(allocator, &["--sessions"], None) {
        Ok(dumped) => owners(dumped, rows.saturating_sub(HEAD_ROWS), &mut text)?,
        Err(Failure::Client(Error::MayNotDump)) => {
            writeln!(text, "Heaps, uids and sessions are for root, system and shell.")?;
        }
        Err(failure) => return Err(failure),
    }
    let text = String::from_utf8_lossy(&text);
    Ok(text.lines().take(rows).collect::<Vec<_>>().join("\n"))
}

/// Who holds what, in so many rows if that is enough for the titles.
fn owners(dumped: Dumped, rows: usize, text: &mut Vec<u8>) -> io::Result<()> {
    let Dumped { heaps, uids, mut sessions, .. } = dumped;
    let left = rows.saturating_sub(TITLE_ROWS).saturating_sub(heaps.len());
    let (top_uids, top_sessions) = shares(left, uids.len());
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
    for Uid { uid, sessions, buffers, bytes } in uids.into_iter().take(top_uids) {
        table.row([uid.to_string(), sessions.to_string(), buffers.to_string(), size(bytes)]);
    }
    table.write(text)?;
    writeln!(text)?;
    sessions.sort_by_key(|session| std::cmp::Reverse(session.bytes));
    sessions.truncate(top_sessions);
    table_of_sessions(&sessions).write(text)
}

/// How many uids and how many sessions go into so many rows: what uids do not need is for sessions.
fn shares(rows: usize, uids: usize) -> (usize, usize) {
    let top_uids = (rows / 2).min(TOP).min(uids);
    (top_uids, rows.saturating_sub(top_uids).min(TOP))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dumped::Session;

    #[test]
    fn what_is_shown_goes_into_the_rows_that_there_are() {
        let heap = |name: &str| Heap {
            name: name.to_owned(),
            class: "shmem".to_owned(),
            buffers: 0,
            bytes: 0,
        };
        let session = |id: i64| Session {
            id,
            name: "client".to_owned(),
            uid: 10_000,
            pid: 1,
            age_ms: 0,
            owned: 0,
            acquired: 0,
            bytes: 0,
            more: Default::default(),
        };
        for (rows, uids, expected) in [
            (usize::MAX, 20, (8, 8)),
            (11, 20, (5, 6)),
            (11, 2, (2, 8)),
            (1, 20, (0, 1)),
            (0, 9, (0, 0)),
        ] {
            assert_eq!(shares(rows, uids), expected, "{rows} rows, {uids} uids");
        }
        for rows in [19, 12, 10] {
            let uid = |uid| Uid { uid, sessions: 1, buffers: 0, bytes: 0 };
            let dumped = Dumped {
                heaps: vec![heap("system"), heap("reserved"), heap("memfd")],
                uids: (0..20).map(uid).collect(),
                sessions: (0..20).map(session).collect(),
                buffers: Vec::new(),
            };
            let mut text = Vec::new();
            owners(dumped, rows, &mut text).unwrap();
            assert_eq!(String::from_utf8(text).unwrap().lines().count(), rows);
        }
    }

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
