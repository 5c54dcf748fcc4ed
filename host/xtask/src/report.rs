// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! What the stages of a test run came to, and the table at the end.

use std::time::Duration;

use comfy_table::{presets, CellAlignment, Table};

use crate::libtest::Summary;
use crate::progress;

/// What one stage came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// What passed.
    pub passed: usize,
    /// What failed.
    pub failed: usize,
    /// Why it failed, and what was left out for a reason.
    pub notes: Vec<String>,
}

impl Tally {
    /// A stage that is one check.
    pub fn check(result: anyhow::Result<()>) -> Self {
        match result {
            Ok(()) => Self { passed: 1, ..Self::default() },
            Err(error) => Self::failure(format!("{error:#}")),
        }
    }

    /// A stage that could not run, or failed as a whole.
    pub fn failure(reason: String) -> Self {
        Self { passed: 0, failed: 1, notes: vec![reason] }
    }

    /// A stage of test programs: what they reported, whether all of them succeeded, how many
    /// results there had to be if that is known, and whether a filter may have left nothing to run.
    pub fn tests(sum: Summary, success: bool, programs: Option<usize>, filtered: bool) -> Self {
        let mut tally = Self { passed: sum.passed, failed: sum.failed, notes: vec![] };
        if sum.ignored > 0 {
            tally.failed += sum.ignored;
            tally.notes.push(format!("{} ignored without a reason", sum.ignored));
        }
        let lost = programs.map_or(0, |programs| programs.saturating_sub(sum.results));
        if lost > 0 {
            tally.failed += lost;
            tally.notes.push(format!("{lost} test programs ended without a result"));
        }
        if !success && tally.failed == 0 {
            tally.failed += 1;
            tally.notes.push("the run failed although no test did".to_owned());
        }
        if tally.passed + tally.failed == 0 && !filtered {
            tally.failed += 1;
            tally.notes.push("no test ran".to_owned());
        }
        tally.notes.extend(sum.excused.into_iter().map(|excuse| format!("ignored: {excuse}")));
        tally
    }
}

/// Everything that ran.
#[derive(Default)]
pub struct Report {
    stages: Vec<(String, Tally, Duration)>,
}

impl Report {
    /// Adds a stage.
    pub fn add(&mut self, name: &str, tally: Tally, elapsed: Duration) {
        self.stages.push((name.to_owned(), tally, elapsed));
    }

    /// What passed and what failed in all; nothing at all is a failure.
    pub fn totals(&self) -> (usize, usize) {
        let passed = self.stages.iter().map(|(_, tally, _)| tally.passed).sum();
        let failed = self.stages.iter().map(|(_, tally, _)| tally.failed).sum();
        if passed == 0 && failed == 0 {
            (0, 1)
        } else {
            (passed, failed)
        }
    }

    /// The table, the notes and the closing line.
    pub fn text(&self) -> String {
        let mut table = Table::new();
        table.load_preset(presets::ASCII_MARKDOWN);
        table.set_header(["stage", "result", "passed", "failed", "time"]);
        for (name, tally, elapsed) in &self.stages {
            let result = if tally.failed == 0 { "ok" } else { "FAILED" };
            let (passed, failed) = (tally.passed.to_string(), tally.failed.to_string());
            let elapsed = progress::seconds(*elapsed);
            table.add_row([name.as_str(), result, &passed, &failed, &elapsed]);
        }
        for column in 2..5 {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        let notes = self.stages.iter().flat_map(|(name, tally, _)| {
            tally.notes.iter().map(move |note| format!("{name}: {note}\n"))
        });
        let (passed, failed) = self.totals();
        let notes: String = notes.collect();
        format!("{table}\n{notes}{passed} passed, {failed} failed")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(passed: usize, failed: usize, ignored: usize, results: usize) -> Summary {
        Summary { results, passed, failed, ignored, excused: vec![] }
    }

    #[test]
    fn nothing_is_hidden() {
        let counts = |tally: Tally| (tally.passed, tally.failed);
        assert_eq!(counts(Tally::tests(sum(3, 0, 0, 1), true, Some(1), false)), (3, 0));
        assert_eq!(counts(Tally::tests(sum(3, 0, 2, 1), true, None, false)), (3, 2));
        assert_eq!(counts(Tally::tests(sum(3, 0, 0, 1), true, Some(2), false)), (3, 1));
        assert_eq!(counts(Tally::tests(sum(3, 0, 0, 1), false, Some(1), false)), (3, 1));
        assert_eq!(counts(Tally::tests(sum(0, 0, 0, 1), true, Some(1), false)), (0, 1));
        assert_eq!(counts(Tally::tests(sum(0, 0, 0, 1), true, Some(1), true)), (0, 0));
        let excused =
            Summary { results: 1, passed: 1, excused: vec!["x: y".into()], ..sum(1, 0, 0, 1) };
        let tally = Tally::tests(excused, true, Some(1), false);
        assert_eq!((tally.failed, tally.notes), (0, vec!["ignored: x: y".to_owned()]));
    }

    #[test]
    fn the_closing_line_sums_up() {
        let mut report = Report::default();
        assert_eq!(report.totals(), (0, 1));
        report.add("format", Tally::check(Ok(())), Duration::from_secs(1));
        report.add(
            "unit",
            Tally::tests(sum(7, 2, 0, 1), false, None, false),
            Duration::from_secs(2),
        );
        report.add("aidl", Tally::check(Err(anyhow::anyhow!("no compiler"))), Duration::ZERO);
        let text = report.text();
        assert!(text.ends_with("8 passed, 3 failed"), "{text}");
        assert!(text.contains("aidl: no compiler"), "{text}");
    }
}
