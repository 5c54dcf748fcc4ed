// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! What the guest tells beside the command's output: the kernel's log and the logs of what init
//! started.

use std::fmt::Write as _;

use berth_selinux::denials;

/// What in a kernel log means that something went wrong, whatever the command's exit code says.
const ALARMS: &[&str] = &["BUG:", "WARNING:", "Oops", "Out of memory", "Kernel panic"];

/// What starts a section of the guest's log.
const HEADING: &str = "=== ";

/// The lines of the kernel's log, and of the console, that nobody expected.
pub fn alarms(guest_log: &str, console: &str) -> Vec<String> {
    let kernel = section(guest_log, "kernel");
    let lines = || kernel.lines().chain(console.lines()).map(str::trim_end);
    let alarms = lines().filter(|line| ALARMS.iter().any(|alarm| line.contains(alarm)));
    let mut found: Vec<String> = Vec::new();
    for line in alarms.chain(denials::unexpected(lines())) {
        // The console repeats what is in the log.
        if !found.iter().any(|f| f == line) {
            found.push(line.to_owned());
        }
    }
    found
}

/// The logs of what init started, for a run that failed.
pub fn of_programs(guest_log: &str) -> String {
    let mut text = String::new();
    for name in ["hub", "hal"] {
        let log = section(guest_log, name);
        if !log.trim().is_empty() {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "--- {name} said:\n{}", tail(log.trim_end(), 100));
        }
    }
    text
}

/// The last lines of a text.
pub fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

fn section(log: &str, name: &str) -> String {
    let mut inside = false;
    let mut text = String::new();
    for line in log.lines() {
        if let Some(heading) = line.strip_prefix(HEADING) {
            inside = heading == name;
        } else if inside {
            text += line;
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "ready\n=== kernel\n[1.0] fine\n[1.1] WARNING: CPU: 0\n\
                       === hub\nBUG: said a user\n=== hal\n\n";

    #[test]
    fn alarms_come_from_the_kernel_only_and_once() {
        assert_eq!(alarms(LOG, "[1.1] WARNING: CPU: 0\r\n"), ["[1.1] WARNING: CPU: 0"]);
        assert_eq!(alarms("", "[9] Kernel panic - not syncing\n").len(), 1);
        assert!(alarms("=== kernel\n[1.0] fine\n", "").is_empty());
        assert_eq!(alarms("=== kernel\n[1] avc:  denied { call }\n", "").len(), 1);
    }

    #[test]
    fn sections() {
        assert_eq!(section(LOG, "hub"), "BUG: said a user\n");
        assert_eq!(section(LOG, "none"), "");
        assert_eq!(of_programs("=== hub\n=== hal\nx\n"), "--- hal said:\nx\n");
        assert_eq!(of_programs(LOG), "--- hub said:\nBUG: said a user\n");
        assert_eq!(tail("a\nb\nc\n", 2), "b\nc");
        assert_eq!(tail("a", 2), "a");
    }
}
