// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! The progress that is shown while something takes long: a spinner on a terminal; elsewhere plain
//! lines with the elapsed time at start and finish, and each minute between. All of it goes to
//! standard error, so that standard output carries nothing but what the command itself has to say.

use std::cell::Cell;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// How often a step that goes on is told without a terminal.
const REMINDER: Duration = Duration::from_secs(60);

/// One thing that is being done. Dropped without [`Step::done`], it is reported as not finished.
pub struct Step {
    label: String,
    started: Instant,
    told: Cell<Instant>,
    spinner: Option<ProgressBar>,
    finished: bool,
}

impl Step {
    /// Starts a step and says so.
    pub fn start(label: impl Into<String>) -> Self {
        let label = label.into();
        let spinner = std::io::stderr().is_terminal().then(|| spinner(&label));
        if spinner.is_none() {
            eprintln!("xtask: {label} ...");
        }
        let started = Instant::now();
        Self { label, started, told: Cell::new(started), spinner, finished: false }
    }

    /// Shows what the step is at: at once on a terminal, now and then elsewhere.
    pub fn note(&self, line: &str) {
        let line = line.trim();
        if let Some(spinner) = &self.spinner {
            spinner.set_message(line.to_owned());
        } else if self.told.get().elapsed() >= REMINDER {
            self.told.set(Instant::now());
            eprintln!("xtask: {} ({}): {line}", self.label, seconds(self.started.elapsed()));
        }
    }

    /// Ends the step and says how long it took.
    pub fn done(mut self) -> Duration {
        self.finished = true;
        let elapsed = self.started.elapsed();
        self.end(&format!("xtask: {} ({})", self.label, seconds(elapsed)));
        elapsed
    }

    fn end(&self, line: &str) {
        if let Some(spinner) = &self.spinner {
            spinner.finish_and_clear();
        }
        eprintln!("{line}");
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if !self.finished {
            let elapsed = seconds(self.started.elapsed());
            self.end(&format!("xtask: {}: not finished ({elapsed})", self.label));
        }
    }
}

/// A duration as it is shown everywhere: seconds with one digit.
pub fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

fn spinner(label: &str) -> ProgressBar {
    let spinner = ProgressBar::new_spinner();
    // A template that does not parse costs the looks, not the run.
    if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix} [{elapsed}] {wide_msg}") {
        spinner.set_style(style);
    }
    spinner.set_prefix(label.to_owned());
    spinner.enable_steady_tick(Duration::from_millis(120));
    spinner
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_one_digit() {
        assert_eq!(seconds(Duration::from_millis(1_249)), "1.2 s");
        assert_eq!(seconds(Duration::ZERO), "0.0 s");
    }
}
