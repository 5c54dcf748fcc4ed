// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Memory pressure: how much time tasks lose because memory is short, and a descriptor that tells
//! when it becomes too much (PSI, `Documentation/accounting/psi.rst`; Linux 5.2 and later for
//! triggers, `CONFIG_PSI`).

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;

use crate::{poll, KernelError};

const PATH: &str = "/proc/pressure/memory";

/// The shortest window of a trigger: `WINDOW_MIN_US` of `kernel/sched/psi.c`.
pub const SHORTEST_WINDOW: Duration = Duration::from_millis(500);
/// The longest window of a trigger: `WINDOW_MAX_US` of the same file.
pub const LONGEST_WINDOW: Duration = Duration::from_secs(10);
/// What the window of a process without `CAP_SYS_RESOURCE` is a multiple of, from Linux 6.4 on: the
/// kernel looks for such triggers when it computes its averages (`PSI_FREQ` of the same file).
/// Before 5.13, and in Android's kernels up to 6.1, the file's mode alone says who may set a trigger.
pub const UNPRIVILEGED_WINDOW: Duration = Duration::from_secs(2);

/// Whose time counts as lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stalled {
    /// The time in which at least one task waited for memory.
    Some,
    /// The time in which all tasks that were not idle waited for memory, so that no work was done.
    Full,
}

impl Stalled {
    /// The word for it in the file.
    fn word(self) -> &'static str {
        match self {
            Stalled::Some => "some",
            Stalled::Full => "full",
        }
    }
}

/// How much of the recent time was lost.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Averages {
    /// Of the last 10 seconds, in percent.
    pub avg10: f32,
    /// Of the last 60 seconds, in percent.
    pub avg60: f32,
    /// Of the last 300 seconds, in percent.
    pub avg300: f32,
    /// Since the machine started.
    pub total: Duration,
}

/// The memory pressure of the machine at one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pressure {
    /// See [`Stalled::Some`].
    pub some: Averages,
    /// See [`Stalled::Full`].
    pub full: Averages,
}

impl Pressure {
    /// Asks the kernel.
    ///
    /// # Errors
    ///
    /// `ENOSYS` if this kernel does not measure pressure.
    pub fn read() -> Result<Pressure, KernelError> {
        let text = fs::read_to_string(PATH)
            .map_err(KernelError::io(|| format!("read {PATH}")))
            .map_err(explained)?;
        Pressure::parse(&text)
            .ok_or_else(|| KernelError::new(format!("understand {PATH}"), Errno::EPROTO))
    }

    /// Reads the file's text.
    pub fn parse(text: &str) -> Option<Pressure> {
        let averages = |stalled: Stalled| -> Option<Averages> {
            let mut lines = text.lines();
            let line =
                lines.find_map(|line| line.strip_prefix(stalled.word())?.strip_prefix(' '))?;
            let field = |key: &str| {
                let mut fields = line.split_ascii_whitespace();
                fields.find_map(|field| field.strip_prefix(key)?.strip_prefix('='))
            };
            let percent = |key| field(key)?.parse().ok().filter(|part: &f32| part.is_finite());
            Some(Averages {
                avg10: percent("avg10")?,
                avg60: percent("avg60")?,
                avg300: percent("avg300")?,
                total: Duration::from_micros(field("total")?.parse().ok()?),
            })
        };
        Some(Pressure { some: averages(Stalled::Some)?, full: averages(Stalled::Full)? })
    }
}

/// Tells when tasks lose too much time because memory is short. The kernel forgets it when it is
/// dropped.
#[derive(Debug)]
pub struct PressureTrigger {
    file: File,
    window: Duration,
}

impl PressureTrigger {
    /// A trigger that fires when `stall` of any `window` is lost, once in a window at most. Both are
    /// taken in whole microseconds.
    ///
    /// If the kernel refuses that window to this process, it is rounded up to a multiple of
    /// [`UNPRIVILEGED_WINDOW`], and `stall` is left as it is: what would have fired still does, if
    /// up to 2 seconds later. [`window`](Self::window) says what it became.
    ///
    /// # Errors
    ///
    /// `EINVAL` if `window` is not from [`SHORTEST_WINDOW`] to [`LONGEST_WINDOW`], or `stall` is
    /// nothing or more than that. `ENOSYS` if this kernel does not measure pressure. `EACCES` if the
    /// file's mode or SELinux forbids it. `EPERM` from Linux 5.13 to 6.3 without
    /// `CAP_SYS_RESOURCE`.
    pub fn new(
        stalled: Stalled,
        stall: Duration,
        window: Duration,
    ) -> Result<PressureTrigger, KernelError> {
        let word = stalled.word();
        let operation = |window| format!("watch {PATH} for {word} {stall:?} in {window:?}");
        let possible = (SHORTEST_WINDOW..=LONGEST_WINDOW).contains(&window)
            && (Duration::from_micros(1)..=window).contains(&stall);
        if !possible {
            return Err(KernelError::new(operation(window), Errno::EINVAL));
        }
        let mut options = OpenOptions::new();
        let file = options
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(PATH)
            .map_err(KernelError::io(|| format!("open {PATH} to watch it")))
            .map_err(explained)?;
        let set = |window: Duration| {
            // The kernel ends the text by overwriting its last byte.
            let text = format!("{word} {} {}\0", stall.as_micros(), window.as_micros());
            let set = (&file).write(text.as_bytes());
            set.map(|_| window).map_err(KernelError::io(|| operation(window))).map_err(explained)
        };
        let coarse = coarse_window(window);
        let window = set(window).or_else(|error| match error.errno {
            Errno::EINVAL | Errno::EPERM if coarse != window => set(coarse),
            _ => Err(error),
        })?;
        Ok(PressureTrigger { file, window })
    }

    /// The window that the kernel accepted.
    pub fn window(&self) -> Duration {
        self.window
    }

    /// Waits until it fires, at most `timeout`, without it as long as that takes; false if the time
    /// was up first. What fired before the call and was not waited for is told at once.
    ///
    /// # Errors
    ///
    /// `ENODEV` if the kernel has given the trigger up.
    pub fn wait(&self, timeout: Option<Duration>) -> Result<bool, KernelError> {
        let context = || "wait for memory pressure".to_owned();
        let happened = poll::wait(self.file.as_fd(), libc::POLLPRI, timeout)
            .map_err(KernelError::context(context))?;
        if happened & (libc::POLLERR | libc::POLLNVAL) != 0 {
            return Err(KernelError::new(context(), Errno::ENODEV));
        }
        Ok(happened & libc::POLLPRI != 0)
    }
}

/// For poll(2) with other descriptors: `POLLPRI` when it fired, which poll tells once, `POLLERR`
/// when the kernel has given it up.
impl AsFd for PressureTrigger {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// The window that a process without privileges may have instead.
fn coarse_window(window: Duration) -> Duration {
    let step = UNPRIVILEGED_WINDOW.as_micros();
    let coarse = window.as_micros().div_ceil(step).saturating_mul(step);
    u64::try_from(coarse).map_or(window, Duration::from_micros)
}

/// Says of a kernel that measures no pressure that this is so. Its file is missing without
/// `CONFIG_PSI`, and if pressure is off from the start (`psi=0`, or `CONFIG_PSI_DEFAULT_DISABLED`
/// without `psi=1`).
fn explained(error: KernelError) -> KernelError {
    match error.errno {
        Errno::ENOENT | Errno::EOPNOTSUPP => {
            let reason = "the kernel measures no pressure (CONFIG_PSI, psi=1)";
            KernelError::new(format!("{}: {reason}", error.operation), Errno::ENOSYS)
        }
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use berth_facilities::shortage::Shortage;
    use berth_facilities::{missing, missing_any, Facility};
    use nix::sys::utsname::uname;
    use proptest::prelude::*;

    const STALL: Duration = Duration::from_millis(1);

    #[test]
    fn both_lines_are_read() {
        let text = "some avg10=1.50 avg60=0.22 avg300=0.00 total=631237\n\
                    full avg10=100.00 avg60=0.10 avg300=0.07 total=18446744073709551615\n";
        let pressure = Pressure::parse(text).unwrap();
        let some = Averages {
            avg10: 1.5,
            avg60: 0.22,
            avg300: 0.0,
            total: Duration::from_micros(631_237),
        };
        assert_eq!(pressure.some, some);
        assert_eq!(pressure.full.avg10, 100.0);
        assert_eq!(pressure.full.total, Duration::from_micros(u64::MAX));
        assert_eq!(Pressure::parse(&text.replace("full", "fuller")), None);
        assert_eq!(Pressure::parse(&text.replace("0.22", "NaN")), None);
    }

    #[test]
    fn a_trigger_that_no_kernel_takes_is_refused_by_its_values() {
        let second = Duration::from_secs(1);
        for (stall, window) in [
            (STALL, Duration::from_millis(499)),
            (STALL, Duration::from_millis(10_001)),
            (Duration::from_nanos(999), second),
            (second + STALL, second),
        ] {
            let error = PressureTrigger::new(Stalled::Full, stall, window).unwrap_err();
            assert_eq!(error.errno, Errno::EINVAL);
            let values = format!("full {stall:?} in {window:?}");
            assert!(error.to_string().contains(&values), "{error}");
        }
    }

    #[test]
    fn a_coarse_window_is_the_next_multiple_of_two_seconds() {
        for (wanted, coarse) in [(500, 2000), (2000, 2000), (2001, 4000), (9999, 10_000)] {
            let (wanted, coarse) = (Duration::from_millis(wanted), Duration::from_millis(coarse));
            assert_eq!(coarse_window(wanted), coarse);
        }
    }

    #[test]
    fn a_kernel_without_pressure_is_told_from_one_that_forbids() {
        let of = |errno| explained(KernelError::new("open", errno));
        for errno in [Errno::ENOENT, Errno::EOPNOTSUPP] {
            assert_eq!(of(errno).errno, Errno::ENOSYS);
            assert!(of(errno).to_string().contains("psi=1"), "{}", of(errno));
        }
        for errno in [Errno::EACCES, Errno::EPERM, Errno::EINVAL] {
            assert_eq!(of(errno), KernelError::new("open", errno));
        }
    }

    #[test]
    #[ignore = "needs pressure"]
    fn the_pressure_of_this_machine_is_read() {
        if missing(Facility::Pressure) {
            return;
        }
        let before = Pressure::read().unwrap();
        let after = Pressure::read().unwrap();
        assert!(before.some.total >= before.full.total, "{before:?}");
        assert!(after.some.total >= before.some.total, "{before:?} {after:?}");
    }

    /// `CAP_SYS_RESOURCE` of `include/uapi/linux/capability.h`.
    fn may_have_any_window() -> bool {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let set = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap();
        u64::from_str_radix(set.trim(), 16).unwrap() >> 24 & 1 == 1
    }

    #[test]
    #[ignore = "needs pressure"]
    fn a_process_gets_the_window_that_it_may_have() {
        if missing(Facility::Pressure) {
            return;
        }
        let release = uname().unwrap().release().to_string_lossy().into_owned();
        let mut numbers = release.split(|c: char| !c.is_ascii_digit());
        let mut number = || numbers.next().unwrap().parse::<u32>().unwrap();
        let version = (number(), number());
        let trigger = PressureTrigger::new(Stalled::Some, STALL, SHORTEST_WINDOW);
        match trigger.map(|trigger| trigger.window()) {
            Ok(window) if may_have_any_window() => assert_eq!(window, SHORTEST_WINDOW),
            Ok(window) if version >= (6, 4) => assert_eq!(window, UNPRIVILEGED_WINDOW),
            Ok(window) => panic!("{window:?} on {release}"),
            Err(error) => {
                assert!(!may_have_any_window() && version < (6, 4), "{error}");
                assert!([Errno::EACCES, Errno::EPERM].contains(&error.errno), "{error}");
            }
        }
    }

    #[test]
    #[ignore = "needs pressure"]
    fn a_trigger_that_the_kernel_gave_up_is_an_error() {
        if missing(Facility::Pressure) {
            return;
        }
        // To poll, it is the same as never set.
        let never = PressureTrigger { file: File::open(PATH).unwrap(), window: SHORTEST_WINDOW };
        assert_eq!(never.wait(None).unwrap_err().errno, Errno::ENODEV);
    }

    #[test]
    #[ignore = "needs pressure, memory-controller"]
    fn a_trigger_fires_when_a_process_waits_for_memory_and_not_before() {
        if missing_any(&[Facility::Pressure, Facility::MemoryController]) {
            return;
        }
        let mut shortage = Shortage::new();
        let before = Pressure::read().unwrap();
        let trigger = PressureTrigger::new(Stalled::Some, STALL, SHORTEST_WINDOW).unwrap();
        assert!(!trigger.wait(Some(Duration::ZERO)).unwrap());
        shortage.suffer();
        assert!(trigger.wait(Some(Duration::from_secs(60))).unwrap());
        let after = Pressure::read().unwrap();
        assert!(after.some.total >= before.some.total + STALL, "{before:?} {after:?}");
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text: String) {
            let _ = Pressure::parse(&text);
            let _ = Pressure::parse(&format!("some avg10={text} avg60=0 avg300=0 total=1"));
        }
    }
}
