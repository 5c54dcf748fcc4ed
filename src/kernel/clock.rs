// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! A clock that costs no system call on any machine (clock_gettime(2)).

use nix::libc;

/// Nanoseconds since some moment before boot, without time spent asleep, in steps of a tick of the
/// kernel's (1 to 10 ms). `CLOCK_MONOTONIC_COARSE` is read from the vDSO also where the exact clocks
/// are not, as in many virtual machines (Linux 2.6.32).
pub fn coarse_nanoseconds() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes a timespec into `now`, which is live and exclusive.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &mut now) };
    // Neither is negative; the types differ between architectures.
    #[allow(clippy::unnecessary_cast)]
    let (seconds, nanoseconds) = (now.tv_sec as u64, now.tv_nsec as u64);
    seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_on_and_never_back() {
        let first = coarse_nanoseconds();
        let mut last = first;
        while last == first {
            let now = coarse_nanoseconds();
            assert!(now >= last);
            last = now;
        }
    }
}
