// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! What the stages of a test run came to, and the table at the end.

use std::collections::BTreeMap;
use std::time::Duration;

use berth_facilities::Facility;
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
    /// Tests that the kernel could not serve.
    pub not_served: usize,
    /// What the kernel lacks, and how many tests wanted it.
    pub lacking: BTreeMap<Facility, usize>,
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
        Self { failed: 1, notes: vec![reason], ..Self::default() }
    }

    /// A stage that is not for this lane, and why.
    pub fn left_out(reason: &str) -> Self {
        Self { notes: vec![format!("left out: {reason}")], ..Self::default() }
    }

    /// A stage of test programs: what they reported, whether all of them succeeded, how many
    /// results there had to be if that is known, and whether a filter may have left nothing to run.
    pub fn tests(sum: Summary, success: bool, programs: Option<usize>, filtered: bool) -> Self {
        let mut tally = Self {
            passed: sum.passed,
            failed: sum.failed,
            not_served: sum.not_served,
            lacking: sum.lacking,
            notes: vec![],
        };
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
        if tally.ran() == 0 && !filtered {
            tally.failed += 1;
            tally.notes.push("no test ran".to_owned());
        }
        tally.notes.extend(sum.excused.into_iter().map(|(reason, tests)| match &tests[..] {
            [test] => format!("ignored: {test}: {reason}"),
            _ => format!("ignored: {} tests: {reason}", tests.len()),
        }));
        tally
    }

    fn ran(&self) -> usize {
        self.passed + self.failed + self.not_served
    }

    /// In a word.
    pub fn result(&self) -> &'static str {
        match (self.failed, self.ran()) {
            (0, 0) => "nothing ran",
            (0, _) => "ok",
            _ => "FAILED",
        }
    }
}

struct Stage {
    name: String,
    lane: Option<&'static str>,
    tally: Tally,
    elapsed: Duration,
}

/// Everything that ran.
#[derive(Default)]
pub struct Report {
    stages: Vec<Stage>,
}

impl Report {
    /// Adds a stage, with its lane if it has one.
    pub fn add(&mut self, name: &str, lane: Option<&'static str>, tally: Tally, elapsed: Duration) {
        self.stages.push(Stage { name: name.to_owned(), lane, tally, elapsed });
    }

    /// Whether something failed; that nothing ran at all is a failure too.
    pub fn failed(&self) -> bool {
        self.sum(|tally| tally.failed) > 0 || self.sum(Tally::ran) == 0
    }

    fn sum(&self, count: impl Fn(&Tally) -> usize) -> usize {
        self.stages.iter().map(|stage| count(&stage.tally)).sum()
    }

    /// The tables, the notes and the closing line.
    pub fn text(&self) -> String {
        let notes = self.stages.iter().flat_map(|stage| {
            stage.tally.notes.iter().map(|note| format!("{}: {note}\n", stage.name))
        });
        format!(
            "{}\n{}{}{} passed, {} failed, {} not served",
            self.stages_table(),
            self.lacking_table().map(|table| format!("\n{table}\n")).unwrap_or_default(),
            notes.collect::<String>(),
            self.sum(|tally| tally.passed),
            self.sum(|tally| tally.failed),
            self.sum(|tally| tally.not_served)
        )
    }

    fn stages_table(&self) -> Table {
        let header = ["stage", "result", "passed", "failed", "not served", "time"];
        let rows = self.stages.iter().map(|Stage { name, tally, elapsed, .. }| {
            [
                name.clone(),
                tally.result().to_owned(),
                tally.passed.to_string(),
                tally.failed.to_string(),
                tally.not_served.to_string(),
                progress::seconds(*elapsed),
            ]
        });
        table(header, rows, 2)
    }

    /// What each lane's kernel lacks and how many tests that kept from their work; none where no
    /// kernel was found to lack anything.
    fn lacking_table(&self) -> Option<Table> {
        let mut lanes: Vec<&'static str> = self.stages.iter().filter_map(|s| s.lane).collect();
        // The stages of a lane follow one another.
        lanes.dedup();
        let rows: Vec<[String; 3]> = lanes
            .iter()
            .flat_map(|lane| {
                let row = move |(facility, tests): (Facility, usize)| {
                    [(*lane).to_owned(), facility.to_string(), tests.to_string()]
                };
                self.lacking_on(lane).into_iter().map(row)
            })
            .collect();
        let header = ["lane", "its kernel lacks", "tests not served"];
        (!rows.is_empty()).then(|| table(header, rows, 2))
    }

    fn lacking_on(&self, lane: &str) -> BTreeMap<Facility, usize> {
        let mut sum = BTreeMap::new();
        for stage in self.stages.iter().filter(|stage| stage.lane == Some(lane)) {
            for (facility, tests) in &stage.tally.lacking {
                *sum.entry(*facility).or_default() += tests;
            }
        }
        sum
    }
}

/// A table whose columns from `numbers` on are aligned to the right.
fn table<const N: usize>(
    header: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
    numbers: usize,
) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::ASCII_MARKDOWN);
    table.set_header(header);
    table.add_rows(rows);
    for column in table.column_iter_mut().skip(numbers) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(passed: usize, failed: usize, ignored: usize, results: usize) -> Summary {
        Summary { results, passed, failed, ignored, ..Summary::default() }
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
    }

    #[test]
    fn what_is_left_out_is_no_success() {
        let mut report = Report::default();
        report.add("lazy", None, Tally::left_out("no manager"), Duration::ZERO);
        assert!(report.failed(), "nothing ran at all");
        report.add("format", None, Tally::check(Ok(())), Duration::ZERO);
        assert!(!report.failed());
        let text = report.text();
        assert!(text.contains("nothing ran") && text.contains("lazy: left out: no manager\n"));
    }

    #[test]
    fn an_excuse_is_told_by_name_and_several_are_counted() {
        let excused = |tests: &[&str]| {
            let tests = tests.iter().map(|test| (*test).to_owned()).collect();
            let excused = BTreeMap::from([("needs y".to_owned(), tests)]);
            Tally::tests(Summary { excused, ..sum(1, 0, 0, 1) }, true, Some(1), false)
        };
        assert_eq!(excused(&["x"]).failed, 0);
        assert_eq!(excused(&["x"]).notes, ["ignored: x: needs y"]);
        assert_eq!(excused(&["x", "z"]).notes, ["ignored: 2 tests: needs y"]);
    }

    #[test]
    fn the_closing_line_sums_up() {
        let mut report = Report::default();
        assert!(report.failed(), "nothing ran");
        report.add("format", None, Tally::check(Ok(())), Duration::from_secs(1));
        assert!(!report.failed());
        let unit = Tally::tests(sum(7, 2, 0, 1), false, None, false);
        report.add("unit", None, unit, Duration::from_secs(2));
        let aidl = Tally::check(Err(anyhow::anyhow!("no compiler")));
        report.add("aidl", None, aidl, Duration::ZERO);
        assert!(report.failed());
        let text = report.text();
        assert!(text.ends_with("8 passed, 3 failed, 0 not served"), "{text}");
        assert!(text.contains("aidl: no compiler"), "{text}");
        assert!(!text.contains("lacks"), "{text}");
    }

    #[test]
    fn what_was_not_served_is_counted_by_lane_and_facility() {
        let lane = |passed, not_served, lacking: &[(Facility, usize)]| {
            let lacking = lacking.iter().copied().collect();
            let sum = Summary { not_served, lacking, ..sum(passed, 0, 0, 1) };
            Tally::tests(sum, true, Some(1), false)
        };
        let (ion, vkms, seconds) = (Facility::Ion, Facility::Vkms, Duration::from_secs(1));
        let mut report = Report::default();
        report.add("kernel, old", Some("old"), lane(5, 0, &[]), seconds);
        report.add("kernel, new", Some("new"), lane(4, 1, &[(ion, 1)]), seconds);
        report.add("end, new", Some("new"), lane(0, 2, &[(ion, 2), (vkms, 0)]), seconds);
        assert!(!report.failed(), "what its kernel lacks is no failure of a lane");
        let text = report.text();
        for row in [
            "new  | ion              |                3",
            "new  | vkms             |                0",
        ] {
            assert!(text.contains(row), "{text}");
        }
        assert!(!text.contains("old  |"), "{text}");
        assert!(text.ends_with("9 passed, 0 failed, 3 not served"), "{text}");
    }
}
