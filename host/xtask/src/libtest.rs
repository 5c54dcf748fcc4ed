// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Reading what libtest prints: how many tests passed, failed and were ignored.

/// What one or more test programs reported.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Programs that came to their end and gave a result.
    pub results: usize,
    /// Tests that passed.
    pub passed: usize,
    /// Tests that failed.
    pub failed: usize,
    /// Tests that were ignored and gave no reason.
    pub ignored: usize,
    /// Tests that were ignored with their reason: `NAME: REASON`.
    pub excused: Vec<String>,
}

/// Sums up everything in a test run's output.
pub fn summary(output: &str) -> Summary {
    let mut sum = Summary::default();
    let mut ignored = 0;
    for line in output.lines() {
        if let Some((_, counts)) = line.split_once("test result: ") {
            let count = |what: &str| count_of(counts, what).unwrap_or(0);
            sum.results += 1;
            sum.passed += count("passed");
            sum.failed += count("failed");
            ignored += count("ignored");
        } else if let Some((name, reason)) = excuse(line) {
            sum.excused.push(format!("{name}: {reason}"));
        }
    }
    sum.ignored = ignored.saturating_sub(sum.excused.len());
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
        assert_eq!(sum.excused, ["slow: needs a GPU"]);
    }

    #[test]
    fn nothing_is_nothing() {
        assert_eq!(summary("error: could not compile\n"), Summary::default());
    }
}
