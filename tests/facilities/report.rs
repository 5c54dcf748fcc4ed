// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! The lines in which test programs tell `cargo xtask test` what their kernel has.

use std::fmt;
use std::io::Write;

use crate::Facility;

const MISSING: &str = "missing facility: ";
const FACILITY: &str = "facility: ";

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// A test returned at once because its kernel lacks something: `missing facility: NAME: TEST`.
    Missing(Facility, String),
    /// Whether the kernel has something: `facility: NAME: yes` or `no`.
    Has(Facility, bool),
}

impl Report {
    /// Prints the line to standard output, past libtest, which keeps what a test prints to itself.
    pub fn tell(&self) {
        let line = format!("{self}\n");
        // Where nobody reads, nobody counts.
        let _ = std::io::stdout().lock().write_all(line.as_bytes());
    }

    /// Finds the report in a line of a test program's output; libtest may have begun that line.
    pub fn find(line: &str) -> Option<Report> {
        let parts = |label: &str| {
            let (_, rest) = line.split_once(label)?;
            let (name, rest) = rest.split_once(": ")?;
            Some((name.parse::<Facility>().ok()?, rest.trim_end()))
        };
        if let Some((facility, test)) = parts(MISSING) {
            return Some(Report::Missing(facility, test.to_owned()));
        }
        match parts(FACILITY)? {
            (facility, "yes") => Some(Report::Has(facility, true)),
            (facility, "no") => Some(Report::Has(facility, false)),
            _ => None,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Report::Missing(facility, test) => write!(f, "{MISSING}{facility}: {test}"),
            Report::Has(facility, here) => {
                write!(f, "{FACILITY}{facility}: {}", if *here { "yes" } else { "no" })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_found() {
        for facility in Facility::ALL {
            let test = "heaps::a_heap_gives_memory".to_owned();
            for report in [
                Report::Missing(facility, test),
                Report::Has(facility, true),
                Report::Has(facility, false),
            ] {
                assert_eq!(Report::find(&report.to_string()), Some(report.clone()));
                let begun = format!("test heaps::some ... {report}\r");
                assert_eq!(Report::find(&begun), Some(report));
            }
        }
    }

    #[test]
    fn other_lines_are_no_reports() {
        for line in [
            "test the_facility ... ok",
            "missing facility: unheard-of: a test",
            "missing facility: ion",
            "facility: ion: perhaps",
            "",
        ] {
            assert_eq!(Report::find(line), None, "{line}");
        }
    }
}
