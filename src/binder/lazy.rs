// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Lazy services over rsbinder, after AOSP's `LazyServiceGuard`.

use std::sync::{Mutex, PoisonError};

use rsbinder::lazy_service::LazyServiceRegistrar;

/// As long as one of these lives, the process of a lazy service does not end.
#[must_use]
#[derive(Debug)]
pub struct LazyServiceGuard(());

/// How many there are. Locked while the registrar is told, so that it hears in the right order.
static GUARDS: Mutex<u64> = Mutex::new(0);

/// Counts one guard more or less, and tells of the first and of the last.
fn count(change: impl FnOnce(u64) -> u64, tell: impl FnOnce(bool)) {
    let mut guards = GUARDS.lock().unwrap_or_else(PoisonError::into_inner);
    let before = *guards;
    *guards = change(before);
    if (before == 0) != (*guards == 0) {
        tell(*guards > 0);
    }
}

fn tell(in_use: bool) {
    // Where nothing is in use any more this may end the process.
    LazyServiceRegistrar::instance().force_persist(in_use);
}

impl LazyServiceGuard {
    /// Keeps the process.
    #[allow(clippy::new_without_default)]
    pub fn new() -> LazyServiceGuard {
        count(|guards| guards.saturating_add(1), tell);
        LazyServiceGuard(())
    }
}

impl Clone for LazyServiceGuard {
    fn clone(&self) -> LazyServiceGuard {
        LazyServiceGuard::new()
    }
}

impl Drop for LazyServiceGuard {
    fn drop(&mut self) {
        count(|guards| guards.saturating_sub(1), tell);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    #[test]
    fn the_registrar_hears_of_the_first_guard_and_of_the_end_of_the_last() {
        let heard = RefCell::new(Vec::new());
        for more in [true, true, false, true, false, false, true, false] {
            let change = |guards: u64| if more { guards + 1 } else { guards - 1 };
            count(change, |in_use| heard.borrow_mut().push(in_use));
        }
        assert_eq!(*heard.borrow(), [true, false, true, false]);
    }
}
