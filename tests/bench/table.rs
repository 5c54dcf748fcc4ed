// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! The figures as a table.

use std::fmt;
use std::time::Duration;

use comfy_table::presets::ASCII_MARKDOWN;

use crate::measure::{Pair, Spread};

/// What a ratio should be.
#[derive(Debug, Clone, Copy)]
pub enum Target {
    /// At most so many times the reference.
    AtMost(f64),
    /// At least so many times the reference.
    AtLeast(f64),
    /// At least so many times as fast as the reference.
    FasterBy(f64),
    /// At least so many times what the reference gets done in the same time.
    Throughput(f64),
}

/// The figures.
#[derive(Debug, Default)]
pub struct Table(Vec<[String; 6]>);

impl Table {
    /// Adds a pair that was measured in turns.
    pub fn pair(&mut self, what: &str, against: &str, pair: &Pair, target: Target) {
        let ratio = pair.ratio();
        let (shown, met, target) = match target {
            Target::AtMost(limit) => {
                (format!("{ratio:.2} x"), ratio <= limit, format!("<= {limit} x"))
            }
            Target::AtLeast(limit) => {
                (format!("{ratio:.2} x"), ratio >= limit, format!(">= {limit} x"))
            }
            Target::FasterBy(limit) => {
                let times = 1.0 / ratio;
                (format!("{times:.1} x faster"), times >= limit, format!(">= {limit} x faster"))
            }
            Target::Throughput(limit) => {
                let times = 1.0 / ratio;
                (format!("{times:.2} x"), times >= limit, format!(">= {limit} x"))
            }
        };
        let (ours, reference) = (spread(pair.ours), spread(pair.reference));
        let verdict = if met { "met" } else { "MISSED" };
        self.row([what, &ours, &format!("{against}: {reference}"), &shown, &target, verdict]);
    }

    /// Adds a pair of which nothing is demanded.
    pub fn comparison(&mut self, what: &str, against: &str, pair: &Pair) {
        let (ours, reference) = (spread(pair.ours), spread(pair.reference));
        let shown = format!("{:.2} x", pair.ratio());
        self.row([what, &ours, &format!("{against}: {reference}"), &shown, "", ""]);
    }

    /// Adds a time that has a limit of its own.
    pub fn time(&mut self, what: &str, took: Duration, limit: Duration) {
        let (took_text, limit_text) = (time(took), format!("<= {}", time(limit)));
        let verdict = if took <= limit { "met" } else { "MISSED" };
        self.row([what, &took_text, "", &took_text, &limit_text, verdict]);
    }

    /// Adds an amount of memory that has a limit of its own.
    pub fn memory(&mut self, what: &str, bytes: u64, limit: u64) {
        let (shown, target) = (format!("{bytes} bytes"), format!("<= {limit} bytes"));
        let verdict = if bytes <= limit { "met" } else { "MISSED" };
        self.row([what, &shown, "", &shown, &target, verdict]);
    }

    fn row(&mut self, cells: [&str; 6]) {
        let [what, .., shown, target, verdict] = cells;
        eprintln!("{what}: {shown} ({target}, {verdict})");
        self.0.push(cells.map(str::to_owned));
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = comfy_table::Table::new();
        table.load_preset(ASCII_MARKDOWN);
        table.set_header(["operation", "took", "against", "ratio", "target", ""]);
        table.add_rows(&self.0);
        write!(f, "{table}")
    }
}

fn spread(spread: Spread) -> String {
    format!("{} (p90 {})", time(spread.median), time(spread.p90))
}

fn time(time: Duration) -> String {
    let nanoseconds = time.as_nanos();
    match nanoseconds {
        0..=9_999 => format!("{nanoseconds} ns"),
        10_000..=9_999_999 => format!("{:.1} us", nanoseconds as f64 / 1e3),
        _ => format!("{:.1} ms", nanoseconds as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        assert_eq!(time(Duration::from_nanos(950)), "950 ns");
        assert_eq!(time(Duration::from_micros(42)), "42.0 us");
        assert_eq!(time(Duration::from_millis(23)), "23.0 ms");
    }
}
