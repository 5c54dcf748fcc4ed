// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! The thread whose list the kernel walks, and the list.

use std::mem::size_of;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{mpsc, Mutex, MutexGuard, PoisonError};
use std::thread;

use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::SigSet;
use nix::unistd::gettid;

use super::filter::is_forbidden;
use super::slot::{self, Slot};
use super::{WatchError, WatchedWord, MAX_WATCHED};
use crate::KernelError;

/// The thread whose list it is.
#[derive(Debug)]
pub(super) struct Keeper {
    /// A page that is wiped on fork, and stays mapped for ever.
    page: NonNull<KeeperPage>,
    listed: Mutex<Listed>,
}

// SAFETY: the page stays mapped and is reached by atomics only.
unsafe impl Send for Keeper {}
// SAFETY: as above.
unsafe impl Sync for Keeper {}

#[repr(C)]
struct KeeperPage {
    head: Head,
    /// 0 before it has started, and in a forked child.
    tid: AtomicU32,
}

/// `struct robust_list_head` (`include/uapi/linux/futex.h`).
#[repr(C)]
pub(super) struct Head {
    next: AtomicUsize,
    /// From a node to its word.
    futex_offset: AtomicUsize,
    /// Always null: a word is on the list before it holds an id.
    pending: AtomicUsize,
}

#[derive(Debug, Default)]
struct Listed {
    /// The nodes, the list's last one first.
    nodes: Vec<usize>,
    /// Slots that once were listed. They are never unmapped; see [`Slot::hide`].
    free: Vec<Slot>,
}

/// The keeper of this process, started if need be; `None` if this process may have none.
pub(super) fn keeper() -> Result<Option<&'static Keeper>, KernelError> {
    enum State {
        NotStarted,
        Running(&'static Keeper),
        Forbidden,
    }
    static STATE: Mutex<State> = Mutex::new(State::NotStarted);
    let mut state = STATE.lock().unwrap_or_else(PoisonError::into_inner);
    match *state {
        State::Running(keeper) if keeper.tid() != 0 => return Ok(Some(keeper)),
        State::Forbidden => return Ok(None),
        _ => {}
    }
    if is_forbidden() {
        *state = State::Forbidden;
        return Ok(None);
    }
    let keeper = Keeper::start()?;
    *state = State::Running(keeper);
    Ok(Some(keeper))
}

impl Keeper {
    fn start() -> Result<&'static Keeper, KernelError> {
        let page = Slot::new()?.0.cast::<KeeperPage>();
        let keeper: &Keeper =
            Box::leak(Box::new(Keeper { page, listed: Mutex::new(Listed::default()) }));
        let head = &keeper.page().head;
        head.next.store(ptr::addr_of!(*head) as usize, Ordering::Relaxed);
        head.futex_offset.store(slot::page(), Ordering::Relaxed);
        let (sender, receiver) = mpsc::sync_channel(1);
        let sleep = move || {
            let refused = keeper.register().err();
            // Whoever started it waits for this.
            let _ = sender.send(refused.clone());
            if refused.is_none() {
                loop {
                    thread::park();
                }
            }
        };
        let start = thread::Builder::new().name("berth-keeper".to_owned()).stack_size(64 << 10);
        // A thread inherits its signal mask: the process's signals are for its other threads.
        let mask = SigSet::all().thread_swap_mask(nix::sys::signal::SigmaskHow::SIG_SETMASK);
        let started = start.spawn(sleep);
        if let Ok(mask) = mask {
            // Fails for no mask that was set before.
            let _ = mask.thread_set_mask();
        }
        started.map_err(KernelError::io(|| "start the keeper's thread".to_owned()))?;
        let lost = || KernelError::new("hear of the keeper's thread", Errno::EPIPE);
        match receiver.recv().map_err(|_| lost())? {
            Some(refused) => Err(refused),
            None => Ok(keeper),
        }
    }

    /// Makes the list that of the calling thread, in place of its C library's, which such a thread
    /// does not use.
    fn register(&self) -> Result<(), KernelError> {
        let page = self.page();
        let head = ptr::addr_of!(page.head);
        // SAFETY: the head is as the kernel wants it, and it and all that will ever be linked to it
        // stay mapped until the process ends.
        let done = unsafe { libc::syscall(libc::SYS_set_robust_list, head, size_of::<Head>()) };
        Errno::result(done)
            .map_err(KernelError::context(|| "register a robust list".to_owned()))?;
        page.tid.store(gettid().as_raw().unsigned_abs(), Ordering::Release);
        Ok(())
    }

    fn page(&self) -> &KeeperPage {
        // SAFETY: mapped in `start`, larger than the struct, aligned, and never unmapped; zeros and
        // whatever atomics store are valid.
        unsafe { self.page.as_ref() }
    }

    fn tid(&self) -> u32 {
        self.page().tid.load(Ordering::Acquire)
    }

    pub(super) fn tid_as_raw(&self) -> i32 {
        i32::try_from(self.tid()).unwrap_or(0)
    }

    fn listed(&self) -> MutexGuard<'_, Listed> {
        self.listed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A slot to use again, if there is one; an error if nothing more can be listed.
    pub(super) fn room(&self) -> Result<Option<Slot>, WatchError> {
        let mut listed = self.listed();
        if listed.nodes.len() >= MAX_WATCHED {
            return Err(WatchError::TooMany);
        }
        Ok(listed.free.pop())
    }

    /// Puts a word's node in front of the others. The kernel may walk the list after any of the
    /// stores.
    pub(super) fn link(&self, word: &WatchedWord) -> Result<(), WatchError> {
        let mut listed = self.listed();
        if listed.nodes.len() >= MAX_WATCHED {
            return Err(WatchError::TooMany);
        }
        let head = &self.page().head;
        word.node().store(head.next.load(Ordering::Relaxed), Ordering::Relaxed);
        let node = ptr::addr_of!(*word.node()) as usize;
        head.next.store(node, Ordering::Release);
        listed.nodes.push(node);
        Ok(())
    }

    /// Takes a word's node out of the list; the node itself keeps pointing into it.
    pub(super) fn unlink(&self, word: &WatchedWord) {
        let mut listed = self.listed();
        let node = ptr::addr_of!(*word.node()) as usize;
        if let Some(index) = listed.nodes.iter().position(|listed| *listed == node) {
            let next = word.node().load(Ordering::Relaxed);
            match listed.nodes.get(index.saturating_add(1)) {
                // SAFETY: a node that is listed lies in a slot's private page, which is never
                // unmapped, and is only reached by atomics.
                Some(before) => unsafe { &*(*before as *const AtomicUsize) },
                None => &self.page().head.next,
            }
            .store(next, Ordering::Release);
            listed.nodes.remove(index);
        }
        if word.slot.hide() {
            listed.free.push(word.slot);
        }
    }
}
