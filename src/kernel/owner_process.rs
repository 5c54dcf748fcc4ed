// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Which process something belongs to. A child that was forked has a copy of all that its parent
//! had, and is told by this that none of it is its own to give up.

use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use crate::{page_size, private_pages, KernelError};

/// The process that made this value. Asking costs no system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnerProcess(u32);

/// Where the number of this process stands, in a page that is wiped on fork; it stays mapped for
/// ever. No lock: a process may be forked at any moment.
static PLACE: AtomicPtr<AtomicU32> = AtomicPtr::new(ptr::null_mut());
/// The highest number of this process and of those that it was forked from.
static LAST: AtomicU32 = AtomicU32::new(0);

impl OwnerProcess {
    /// The calling process.
    ///
    /// # Errors
    ///
    /// If there is no memory for a page, once in a process.
    pub fn this() -> Result<OwnerProcess, KernelError> {
        let number = match number() {
            Some(number) => number,
            None => place()?,
        };
        let known = number.load(Ordering::Relaxed);
        if known != 0 {
            return Ok(OwnerProcess(known));
        }
        let next = LAST.fetch_add(1, Ordering::Relaxed).wrapping_add(1).max(1);
        match number.compare_exchange(0, next, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => Ok(OwnerProcess(next)),
            // Another thread was first.
            Err(known) => Ok(OwnerProcess(known)),
        }
    }

    /// Whether the calling process is the one, and not forked from it.
    #[inline]
    pub fn is_this(&self) -> bool {
        number().is_some_and(|number| number.load(Ordering::Relaxed) == self.0)
    }
}

#[inline]
fn number() -> Option<&'static AtomicU32> {
    // SAFETY: null, or the start of a page that `place` mapped and nobody ever unmaps: aligned, zeros
    // or what was stored, and reached by atomics only.
    unsafe { PLACE.load(Ordering::Acquire).as_ref() }
}

fn place() -> Result<&'static AtomicU32, KernelError> {
    let bytes = usize::try_from(page_size()).unwrap_or(4096);
    let page = private_pages::map(bytes, bytes)?.cast::<AtomicU32>();
    // Where two threads come at once, the page of one is never used.
    let first =
        PLACE.compare_exchange(ptr::null_mut(), page.as_ptr(), Ordering::AcqRel, Ordering::Acquire);
    let used = first.err().and_then(ptr::NonNull::new).unwrap_or(page);
    // SAFETY: as in `number`.
    Ok(unsafe { used.as_ref() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forking::turn;
    use nix::libc;
    use nix::sys::wait::{waitpid, WaitStatus};
    use nix::unistd::{fork, ForkResult};

    /// What a child makes of it, as its exit status.
    fn in_child(work: impl FnOnce() -> bool) -> bool {
        // SAFETY: `work` takes no lock, and the child ends without any clean-up.
        match unsafe { fork() }.unwrap() {
            ForkResult::Child => {
                let code = i32::from(!work());
                // SAFETY: ends the process.
                unsafe { libc::_exit(code) }
            }
            ForkResult::Parent { child } => {
                waitpid(child, None).unwrap() == WaitStatus::Exited(child, 0)
            }
        }
    }

    #[test]
    fn a_process_is_told_from_those_that_were_forked_from_it() {
        let _turn = turn();
        let parent = OwnerProcess::this().unwrap();
        assert_eq!(parent, OwnerProcess::this().unwrap());
        assert!(parent.is_this());
        let right = in_child(|| {
            let before = parent.is_this();
            let Ok(child) = OwnerProcess::this() else { return false };
            let grandchild = in_child(|| {
                let before = parent.is_this() || child.is_this();
                let own = OwnerProcess::this().is_ok_and(|own| own.is_this());
                !before && own && !parent.is_this() && !child.is_this()
            });
            !before && !parent.is_this() && child.is_this() && grandchild
        });
        assert!(right && parent.is_this());
    }

    #[test]
    fn threads_that_ask_at_once_agree() {
        let asked = std::thread::scope(|scope| {
            let threads = [(); 8].map(|()| scope.spawn(|| OwnerProcess::this().unwrap()));
            threads.map(|thread| thread.join().unwrap())
        });
        assert!(asked.iter().all(|one| *one == asked[0] && one.is_this()));
    }
}
