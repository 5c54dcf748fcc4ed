// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Words of shared memory that the kernel marks when this process dies, however it dies (robust
//! futexes: set_robust_list(2), `Documentation/locking/robust-futex-ABI.rst`).
//!
//! The kernel walks a thread's list when the thread ends: in each word on it that holds the thread's
//! id, it sets [`OWNER_DIED`] in place of the id and wakes one who waits. The list is that of a
//! thread of our own, the keeper, which is started with the first word and sleeps until the process
//! ends. So nothing here touches the lists or the layouts of a C library's mutexes, and processes
//! with different C libraries agree. A word stays on the list for as long as it is watched and costs
//! nothing meanwhile: the kernel leaves a word alone that holds another id at that moment.
//!
//! Each word has two pages here: a private one with the list's node, then one that maps the word's
//! page again. Nobody else can write to the nodes, and every word lies one page behind its node, as
//! the list wants it. After fork(2) the child finds the private pages wiped (`MADV_WIPEONFORK`,
//! Linux 4.14): none of its parent's words is its own.
//!
//! The id is the one in the process's own pid namespace; it is marked right whatever other namespaces
//! there are, but the same number may stand for a process of another one. The kernel interrupts every
//! thread of a process that is killed before any of them ends, so the keeper too: a word that is
//! marked belongs to a process that executes nothing more of its own.
//!
//! Android filters the system calls of the processes that its zygote starts, and this is not one that
//! they may make (bionic's `SECCOMP_ALLOWLIST_COMMON.TXT`, through Android 16): there a word is
//! [not watched](WatchedWord::is_watched).

mod filter;
mod keeper;
mod slot;

use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use crate::{page_size, KernelError};
use keeper::{keeper, Keeper};
use slot::Slot;

/// Someone waits for the word: `FUTEX_WAITERS` (`include/uapi/linux/futex.h`).
pub const WAITERS: u32 = 0x8000_0000;
/// The kernel's mark in place of the id: `FUTEX_OWNER_DIED`.
pub const OWNER_DIED: u32 = 0x4000_0000;
/// The bits of the id: `FUTEX_TID_MASK`. Ids are below 2²² (`PID_MAX_LIMIT`, `linux/threads.h`).
pub const TID_MASK: u32 = 0x3fff_ffff;
/// How many words of a process can be watched at once: `ROBUST_LIST_LIMIT`, beyond which the kernel
/// walks no list.
pub const MAX_WATCHED: usize = 2048;
/// What the offset of a watched word is a multiple of, in bytes.
pub const ALIGNMENT: u64 = 8;

/// Why a word is not watched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WatchError {
    /// The kernel walks no longer lists.
    #[error(
        "{MAX_WATCHED} words are watched already, and the kernel watches no more for a process"
    )]
    TooMany,
    /// The node of the list would not be aligned.
    #[error("a watched word at offset {0}, which is no multiple of {ALIGNMENT}")]
    Misaligned(u64),
    /// The kernel refused.
    #[error(transparent)]
    Kernel(#[from] KernelError),
}

/// A word of shared memory on the keeper's list; taken from it when dropped. What it holds then stays
/// there.
#[derive(Debug)]
pub struct WatchedWord {
    slot: Slot,
    /// Where in both pages the node and the word are.
    at: usize,
    /// `None` where the kernel would kill for asking.
    keeper: Option<&'static Keeper>,
}

impl WatchedWord {
    /// Maps the word at `offset` bytes of what `fd` is open on and has the kernel watch it. Nothing
    /// is stored in it. The keeper is started with the first word.
    ///
    /// The caller has seen to it that the memory [cannot shrink](crate::memfd::can_shrink): at a word
    /// that is cut off the kernel ends its walk, and marks none of those behind it.
    pub fn map(fd: BorrowedFd<'_>, offset: u64) -> Result<WatchedWord, WatchError> {
        if offset % ALIGNMENT != 0 {
            return Err(WatchError::Misaligned(offset));
        }
        let keeper = keeper()?;
        let reused = match keeper {
            Some(keeper) => keeper.room()?,
            None => None,
        };
        let slot = reused.map_or_else(Slot::new, Ok)?;
        // Less than a page.
        let at = (offset % page_size()) as usize;
        slot.show(fd, offset.saturating_sub(offset % page_size()))?;
        let tid = keeper.map_or_else(|| nix::unistd::getpid().as_raw(), Keeper::tid_as_raw);
        let word = WatchedWord { slot, at, keeper };
        word.tid().store(tid.unsigned_abs(), Ordering::Relaxed);
        if let Some(keeper) = keeper {
            keeper.link(&word)?;
        }
        Ok(word)
    }

    /// The word. Any process that shares the memory may have stored any value there.
    pub fn word(&self) -> &AtomicU32 {
        // SAFETY: `show` mapped the page of the word there for as long as `self` lives; `at` is a
        // multiple of 8 within it. Others change it, which an atomic permits.
        unsafe { &*self.slot.shared().wrapping_add(self.at).cast::<AtomicU32>() }
    }

    /// What stands for this process in the word: the id that the kernel knows the keeper by. `None`
    /// in a process that was forked from the one that mapped the word, whose word it is not.
    pub fn owner(&self) -> Option<u32> {
        match self.tid().load(Ordering::Relaxed) {
            0 => None,
            tid => Some(tid),
        }
    }

    /// Whether the kernel marks the word when this process dies. It does, but in a process whose
    /// filter of system calls forbids it, as that of Android's applications; there the word's
    /// [owner](WatchedWord::owner) is the process id, and whoever hears of the death by another way
    /// must mark it.
    pub fn is_watched(&self) -> bool {
        self.keeper.is_some()
    }

    /// Where the list's node is.
    fn node(&self) -> &AtomicUsize {
        // SAFETY: an aligned place in the private page, which only this type and the keeper's list
        // use, all by atomics; any bits are a valid number.
        unsafe { &*self.slot.private().wrapping_add(self.at).cast::<AtomicUsize>() }
    }

    /// The id of `owner`, 0 after a fork: in the private page beside the node.
    fn tid(&self) -> &AtomicU32 {
        // SAFETY: as in `node`; a page is a multiple of 16, so the other multiple of 8 in the same 16
        // bytes is in it and never the node itself.
        unsafe { &*self.slot.private().wrapping_add(self.at ^ 8).cast::<AtomicU32>() }
    }
}

impl Drop for WatchedWord {
    fn drop(&mut self) {
        match self.keeper {
            // A forked child's copy of the pages is on no list.
            Some(keeper) if self.owner().is_some() => keeper.unlink(self),
            _ => self.slot.unmap(),
        }
    }
}

#[cfg(test)]
mod tests;
