// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! The algorithm of the condition variable: a count of notifications, and whether anybody may sleep.
//!
//! A notification that dies with the waiter that it woke is noticed by the others when they look
//! again: they find that the count has changed.

use std::time::Duration;

use super::lock::LONGEST_SLEEP;
use crate::atomics::{AtomicU32, Ordering};
use crate::futex;

/// The words of a condition variable.
#[derive(Debug, Clone, Copy)]
pub struct Words<'m> {
    /// Notifications, modulo 2³².
    pub count: &'m AtomicU32,
    /// 0 if nobody sleeps.
    pub sleepers: &'m AtomicU32,
}

impl Words<'_> {
    /// What to pass to [`Words::wait`]; asked while the mutex is held.
    pub fn prepare(&self) -> u32 {
        let seen = self.count.load(Ordering::Relaxed);
        // Either a notifier sees this, or its count is seen before the sleep.
        self.sleepers.swap(1, Ordering::AcqRel);
        seen
    }

    /// Sleeps until a notification after `seen`, without the mutex; `false` if there was none in
    /// time. `must_leave` is asked whenever it has slept, and ends the wait as a notification does.
    pub fn wait(
        &self,
        seen: u32,
        mut left: impl FnMut() -> Option<Duration>,
        mut must_leave: impl FnMut() -> bool,
    ) -> bool {
        loop {
            if self.count.load(Ordering::Acquire) != seen || must_leave() {
                return true;
            }
            let Some(left) = left() else {
                return false;
            };
            futex::wait(self.count, seen, left.min(LONGEST_SLEEP));
        }
    }

    /// Wakes one who waits.
    pub fn notify_one(&self) {
        self.count.fetch_add(1, Ordering::Release);
        // A change, so that it is ordered against that of a waiter.
        if self.sleepers.fetch_or(0, Ordering::AcqRel) != 0 {
            futex::wake_one(self.count);
        }
    }

    /// Wakes all who wait.
    pub fn notify_all(&self) {
        self.count.fetch_add(1, Ordering::Release);
        if self.sleepers.swap(0, Ordering::AcqRel) != 0 {
            // Once more for a waiter that came since: it has seen the first, and its mark is gone.
            self.count.fetch_add(1, Ordering::Release);
            futex::wake_all(self.count);
        }
    }
}
