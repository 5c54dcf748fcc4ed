// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! How a run in the VM ended. A pass needs two witnesses that agree: the value that the guest wrote
//! to QEMU's debug-exit device, and the marker that it left on the console. A kernel that panics, a
//! QEMU that does not start and a run that hangs have at most one of them.

/// The exit code of a run that took too long.
pub const TIMED_OUT: u8 = 124;
/// The exit code of a run whose VM, not whose command, failed.
pub const VM_FAILED: u8 = 125;

/// What the guest's init puts before the code on the console.
const MARKER: &str = "berth-vm: exit ";
/// What it puts before the reason why it could not even start the command.
const FAILURE: &str = "berth-vm: failed: ";

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The command ran and ended with this code.
    Exit(u8),
    /// Time was up.
    TimedOut,
    /// The VM failed.
    Failed(String),
}

impl Outcome {
    /// The exit code that stands for it.
    pub fn code(&self) -> u8 {
        match self {
            Self::Exit(code) => *code,
            Self::TimedOut => TIMED_OUT,
            Self::Failed(_) => VM_FAILED,
        }
    }
}

/// Judges by QEMU's exit status (`None`: ended by a signal) and the console.
pub fn judge(status: Option<i32>, console: &str) -> Outcome {
    if let Some(reason) = last_after(console, FAILURE) {
        return Outcome::Failed(format!("the guest could not be set up: {reason}"));
    }
    if console.contains("Kernel panic") {
        return Outcome::Failed("the guest's kernel panicked".to_owned());
    }
    let marker = last_after(console, MARKER).and_then(|text| text.parse::<u8>().ok());
    match (status, marker) {
        (Some(status), Some(code)) if status == expected_status(code) => Outcome::Exit(code),
        (Some(status), Some(code)) => Outcome::Failed(format!(
            "the guest says that the command ended with {code}, but QEMU ended with {status}"
        )),
        (Some(1), None) => Outcome::Failed("QEMU could not start the VM".to_owned()),
        (Some(0), None) => Outcome::Failed("the VM was reset or powered off".to_owned()),
        (Some(status), None) => Outcome::Failed(format!("QEMU ended with {status}")),
        (None, _) => Outcome::Failed("QEMU was killed".to_owned()),
    }
}

/// QEMU's status for a command's code. The guest writes `16 + code`, at most 127, because QEMU ends
/// with `2 * value + 1` and a status has eight bits; codes above 111 are told apart by the marker.
fn expected_status(code: u8) -> i32 {
    let value = (16 + i32::from(code)).min(127);
    2 * value + 1
}

fn last_after<'a>(console: &'a str, prefix: &str) -> Option<&'a str> {
    let line = console.lines().rev().find_map(|line| line.split_once(prefix))?;
    Some(line.1.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn console(code: u8) -> String {
        format!("[    1.0] something\r\n[    2.1] {MARKER}{code}\r\n")
    }

    #[test]
    fn both_witnesses_make_an_exit() {
        assert_eq!(judge(Some(33), &console(0)), Outcome::Exit(0));
        assert_eq!(judge(Some(39), &console(3)), Outcome::Exit(3));
        assert_eq!(judge(Some(255), &console(111)), Outcome::Exit(111));
        assert_eq!(judge(Some(255), &console(137)), Outcome::Exit(137));
        assert_eq!(judge(Some(255), &console(255)), Outcome::Exit(255));
    }

    #[test]
    fn one_witness_is_never_a_pass() {
        assert_eq!(judge(Some(33), "").code(), VM_FAILED);
        assert_eq!(judge(Some(0), &console(0)).code(), VM_FAILED);
        assert_eq!(judge(Some(1), &console(0)).code(), VM_FAILED);
        assert_eq!(judge(Some(0), "").code(), VM_FAILED);
        assert_eq!(judge(None, &console(0)).code(), VM_FAILED);
        assert_eq!(judge(Some(35), &console(0)).code(), VM_FAILED);
        assert_eq!(judge(Some(33), "berth-vm: exit 256\n").code(), VM_FAILED);
    }

    #[test]
    fn panics_and_set_up_failures_are_named() {
        let panic = format!("Kernel panic - not syncing\n{}", console(0));
        assert_eq!(judge(Some(33), &panic).code(), VM_FAILED);
        let failed = judge(Some(31), "berth-vm: failed: no binder\n");
        assert!(matches!(failed, Outcome::Failed(reason) if reason.ends_with("no binder")));
        assert_eq!(Outcome::TimedOut.code(), TIMED_OUT);
    }
}
