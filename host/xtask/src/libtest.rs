// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Reading what test programs print: how many tests passed, failed and were ignored, as libtest
//! says, and how many their kernel could not serve, as the tests say themselves.

use std::collections::{BTreeMap, BTreeSet};

use berth_facilities::{Facility, Report};

/// What one or more test programs reported.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Programs that came to their end and gave a result.
    pub results: usize,
    /// Tests that passed.
    pub passed: usize,
    /// Tests that failed.
    pub failed: usize,
    /// Tests that returned at once for want of a facility; libtest says that they passed.
    pub not_served: usize,
    /// Tests that were ignored and gave no reason.
    pub ignored: usize,
    /// Tests that were ignored, by their reason.
    pub excused: BTreeMap<String, Vec<String>>,
    /// What the kernel lacks, as far as tests told, and how many of them wanted it.
    pub lacking: BTreeMap<Facility, usize>,
}

/// Sums up everything in a test run's output.
pub fn summary(output: &str) -> Summary {
    let mut sum = Summary::default();
    let mut ignored = 0;
    // Of the program that runs; a test may lack several facilities.
    let mut not_served = BTreeSet::new();
    for line in output.lines() {
        if let Some((_, counts)) = line.split_once("test result: ") {
            let count = |what: &str| count_of(counts, what).unwrap_or(0);
            sum.results += 1;
            sum.passed += count("passed").saturating_sub(not_served.len());
            sum.failed += count("failed");
            sum.not_served += not_served.len();
            ignored += count("ignored");
            not_served.clear();
        } else if line.starts_with("running ") {
            // The program before may have ended without a result.
            not_served.clear();
        } else if let Some(report) = Report::find(line) {
            match report {
                Report::Missing(facility, test) => {
                    *sum.lacking.entry(facility).or_default() += 1;
                    not_served.insert(test);
                }
                Report::Has(facility, false) => {
                    sum.lacking.entry(facility).or_default();
                }
                Report::Has(_, true) => {}
            }
        } else if let Some((name, reason)) = excuse(line) {
            sum.excused.entry(reason.to_owned()).or_default().push(name.to_owned());
        }
    }
    let excused: usize = sum.excused.values().map(Vec::len).sum();
    sum.ignored = ignored.saturating_sub(excused);
    sum
}

/// `ok. 3 passed; 1 failed; …`: the number before a word.
fn count_of(counts: &str, what: &str) -> Option<usize> {
    let part = counts.split([';', '.']).map(str::trim).find(|part| part.ends_with(what))?;
    part.strip_suffix(what)?.trim().parse().ok()
}

/// `test NAME ... ignored, REASON`.
fn excuse(line: &str) -> Option<(&str, &str)> {
    line.strip_prefix("test ")?.split_once(" ... ignored, ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_summed() {
        let output = "running 3 tests\ntest a ... ok\n\
            test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s\n\
            noise test result: FAILED. 10 passed; 3 failed; 0 ignored; 0 measured; 5 filtered out\n";
        let sum = summary(output);
        assert_eq!((sum.results, sum.passed, sum.failed, sum.ignored), (2, 12, 3, 1));
        assert!(sum.excused.is_empty());
    }

    #[test]
    fn an_ignored_test_needs_a_reason() {
        let output = "test slow ... ignored, needs a GPU\ntest lazy ... ignored\n\
            test result: ok. 1 passed; 0 failed; 2 ignored; 0 measured; 0 filtered out\n";
        let sum = summary(output);
        assert_eq!(sum.ignored, 1);
        assert_eq!(sum.excused["needs a GPU"], ["slow"]);
        assert_eq!(sum.excused.len(), 1);
    }

    #[test]
    fn a_test_that_was_not_served_did_not_pass() {
        // As with one test thread, and as with several.
        let output = "running 3 tests\ntest has ... facility: ion: no\nfacility: cma: yes\nok\n\
            test a ... missing facility: ion: a\nmissing facility: vgem: a\nok\ntest b ... ok\n\
            test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out\n\
            running 2 tests\nmissing facility: ion: a\ntest a ... ok\ntest c ... ok\n\
            test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out\n";
        let sum = summary(output);
        assert_eq!((sum.passed, sum.not_served, sum.failed), (3, 2, 0));
        let lacking = BTreeMap::from([(Facility::Ion, 2), (Facility::Vgem, 1)]);
        assert_eq!(sum.lacking, lacking);
    }

    #[test]
    fn what_a_program_told_before_it_died_does_not_count_for_the_next() {
        let output = "running 1 test\ntest a ... missing facility: ion: a\n\
            running 1 test\ntest b ... ok\n\
            test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out\n";
        let sum = summary(output);
        assert_eq!((sum.passed, sum.not_served, sum.results), (1, 0, 1));
    }

    #[test]
    fn nothing_is_nothing() {
        assert_eq!(summary("error: could not compile\n"), Summary::default());
    }
}
