// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Lazy services over rsbinder, after AOSP's `LazyServiceGuard`.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use rsbinder::lazy_service::LazyServiceRegistrar;

/// As long as one of these lives, the process of a lazy service does not end.
#[must_use]
#[derive(Debug)]
pub struct LazyServiceGuard(());

static GUARDS: Guards = Guards::new();

/// The guards, and what the registrar knows of them.
#[derive(Debug)]
struct Guards {
    state: Mutex<State>,
    told: Condvar,
}

#[derive(Debug)]
struct State {
    guards: u64,
    /// What the registrar was told last: whether there are any.
    in_use: bool,
    /// A thread tells it. The registrar may ask the service manager then, so no lock is held; nobody
    /// else tells it anything meanwhile, or it could hear of things in the wrong order.
    telling: bool,
}

impl Guards {
    const fn new() -> Guards {
        let state = State { guards: 0, in_use: false, telling: false };
        Guards { state: Mutex::new(state), told: Condvar::new() }
    }

    /// One more: when this returns, the registrar knows that there are some.
    fn add(&self, tell: impl Fn(bool)) {
        let mut state = self.lock();
        state.guards = state.guards.saturating_add(1);
        while state.telling {
            // Perhaps that nothing is in use, and then the process ends here.
            state = self.told.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        self.settle(state, tell);
    }

    /// One less. If another thread tells the registrar something, it tells it this too.
    fn remove(&self, tell: impl Fn(bool)) {
        let mut state = self.lock();
        state.guards = state.guards.saturating_sub(1);
        if !state.telling {
            self.settle(state, tell);
        }
    }

    /// Tells the registrar what is so, until it is what it was told.
    fn settle<'a>(&'a self, mut state: MutexGuard<'a, State>, tell: impl Fn(bool)) {
        loop {
            let in_use = state.guards > 0;
            if state.in_use == in_use {
                return;
            }
            state.telling = true;
            drop(state);
            tell(in_use);
            state = self.lock();
            state.telling = false;
            state.in_use = in_use;
            self.told.notify_all();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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
        GUARDS.add(tell);
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
        GUARDS.remove(tell);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::sync::mpsc;
    use std::thread;

    #[test]
    fn the_registrar_hears_of_the_first_guard_and_of_the_end_of_the_last() {
        let (guards, heard) = (Guards::new(), RefCell::new(Vec::new()));
        let tell = |in_use| heard.borrow_mut().push(in_use);
        for more in [true, true, false, true, false, false, true, false] {
            match more {
                true => guards.add(tell),
                false => guards.remove(tell),
            }
        }
        assert_eq!(*heard.borrow(), [true, false, true, false]);
    }

    #[test]
    fn nobody_holds_a_lock_while_the_registrar_is_told_and_a_new_guard_waits_until_it_was() {
        let guards = Guards::new();
        guards.add(|_| ());
        let heard = Mutex::new(Vec::new());
        let ((say_asked, asked), (answer, answered)) = (mpsc::channel(), mpsc::channel());
        thread::scope(|scope| {
            let last = scope.spawn({
                let (guards, heard) = (&guards, &heard);
                move || {
                    guards.remove(|in_use| {
                        heard.lock().unwrap().push(in_use);
                        if !in_use {
                            say_asked.send(()).unwrap();
                            answered.recv().unwrap();
                        }
                    });
                }
            });
            asked.recv().unwrap();
            // The service manager takes its time, and the guards can be looked at all the same.
            assert!(guards.state.try_lock().is_ok());
            let next = scope.spawn(|| guards.add(|in_use| heard.lock().unwrap().push(in_use)));
            while guards.lock().guards == 0 {
                thread::yield_now();
            }
            assert_eq!(*heard.lock().unwrap(), [false], "the new guard is not told of in between");
            // One that goes meanwhile waits for nobody.
            guards.lock().guards += 1;
            guards.remove(|_| panic!("another thread tells"));
            assert!(!next.is_finished());
            answer.send(()).unwrap();
            last.join().unwrap();
            next.join().unwrap();
        });
        assert_eq!(*heard.lock().unwrap(), [false, true]);
        assert!(guards.lock().in_use);
    }

    #[test]
    fn whoever_has_a_guard_knows_that_the_registrar_knows() {
        let (guards, known, telling) = (Guards::new(), AtomicBool::new(false), AtomicUsize::new(0));
        let tell = |in_use| {
            assert_eq!(telling.fetch_add(1, Ordering::SeqCst), 0, "told two things at once");
            assert_ne!(known.swap(in_use, Ordering::SeqCst), in_use, "told the same twice");
            thread::yield_now();
            telling.fetch_sub(1, Ordering::SeqCst);
        };
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..2000 {
                        guards.add(tell);
                        assert!(known.load(Ordering::SeqCst), "a guard that keeps nothing");
                        guards.remove(tell);
                    }
                });
            }
        });
        assert!(!known.load(Ordering::SeqCst), "nothing is in use");
    }
}
