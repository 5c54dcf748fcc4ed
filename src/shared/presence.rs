// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Being there, and being seen to die: a word of shared memory for each who takes part.
//!
//! A [`Presence`] holds such a word from [`take`](Presence::take) until it is dropped. If the process
//! ends before, by whatever means, the kernel marks the word and wakes whoever waits for it: no
//! service has to hear of it and no process id has to be looked up that might have been used again
//! ([`berth_kernel::robust_list`] says how, and where it does not work). The same word says that
//! somebody waits for whoever it is for, so that waiting for progress and waiting for death are one
//! wait.
//!
//! Whoever can write to the memory can write any standing into any word: a word is a hint about a
//! peer that keeps the rules, and a deadline is the answer to one that does not.

use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use berth_kernel::robust_list::{WatchError, WatchedWord};

pub(crate) mod word;

pub use word::Standing;

use crate::futex;
use crate::unsuitable::{self, UnsuitableMemory};

/// Why a word could not be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PresenceError {
    /// It is somebody's, or is not free to be taken this way.
    #[error("the place is not free: {0:?}")]
    Taken(Standing),
    /// The memory is not of a kind that holds any.
    #[error(transparent)]
    Memory(#[from] UnsuitableMemory),
    /// The kernel does not watch it.
    #[error(transparent)]
    Watch(#[from] WatchError),
}

/// This process's own word; it leaves in order when dropped.
#[derive(Debug)]
pub struct Presence {
    watched: WatchedWord,
    id: u32,
}

impl Presence {
    /// Takes the word at `offset` bytes of what `fd` is open on, a multiple of 8, if it is vacant or
    /// was left in order. The memory must be of a kind that cannot be cut off, as a region is, or it
    /// is [refused](UnsuitableMemory).
    pub fn take(fd: BorrowedFd<'_>, offset: u64) -> Result<Presence, PresenceError> {
        let free = |standing| matches!(standing, Standing::Vacant | Standing::Left);
        Presence::enter(fd, offset, free)
    }

    /// Takes the word also from the dead. What they left is the caller's to bring in order.
    pub fn succeed(fd: BorrowedFd<'_>, offset: u64) -> Result<Presence, PresenceError> {
        Presence::enter(fd, offset, |standing| !matches!(standing, Standing::Present(_)))
    }

    fn enter(
        fd: BorrowedFd<'_>,
        offset: u64,
        may_replace: impl Fn(Standing) -> bool,
    ) -> Result<Presence, PresenceError> {
        unsuitable::check(fd)?;
        // Watched first: it is never there without being watched.
        let watched = WatchedWord::map(fd, offset)?;
        let id = watched.owner().unwrap_or_default();
        word::enter(watched.word(), id, may_replace).map_err(PresenceError::Taken)?;
        Ok(Presence { watched, id })
    }

    /// The id in the word; it stands for the process and not for one of its words.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Whether this is the process that took the word, and not one forked from it, which must not
    /// act as present. Costs no system call.
    pub fn is_ours(&self) -> bool {
        self.watched.owner().is_some()
    }

    /// Whether the kernel marks the death of this process. Where it does not, whoever hears of it
    /// otherwise calls [`bury`].
    pub fn is_watched(&self) -> bool {
        self.watched.is_watched()
    }

    /// Wakes whoever waits for this word, if somebody does; no system call otherwise. What was stored
    /// before is seen by them.
    pub fn notify(&self) {
        word::notify_if_awaited(self.watched.word());
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        let ours = Standing::Present(self.id);
        if self.is_ours() && standing(self.watched.word()) == ours {
            word::leave(self.watched.word());
        }
    }
}

/// How it stands with whoever `word` is for. What they stored before they left or died is seen.
pub fn standing(word: &AtomicU32) -> Standing {
    Standing::of(word.load(Ordering::Acquire))
}

/// Sleeps until whoever `word` is for comes, leaves, dies or [notifies](Presence::notify) those who
/// wait, for `within` at most; it may also return for no reason. Answers how it stands.
///
/// What the caller waits for is looked at once more by `must_wait`, after the word says that
/// somebody waits: if that answers `false` there is no sleep.
pub fn wait(
    word: &AtomicU32,
    within: Duration,
    must_wait: impl FnOnce(Standing) -> bool,
) -> Standing {
    let expected = word::expect(word);
    if must_wait(Standing::of(expected)) {
        futex::wait(word, expected, within.min(word::LONGEST_SLEEP));
    }
    let standing = standing(word);
    if standing == Standing::Died {
        // The kernel woke one.
        futex::wake_all(word);
    }
    standing
}

/// Marks the death of the process with `id`, which the caller is sure of, and wakes whoever waits:
/// what the kernel does by itself where it [watches](Presence::is_watched). `false` if somebody else
/// is there, or nobody.
pub fn bury(word: &AtomicU32, id: u32) -> bool {
    word::bury(word, id)
}

/// Makes the word of one that died vacant, when what they left is in order. `false` if it is not, or
/// no longer, the word of a dead one.
pub fn clear_dead(word: &AtomicU32) -> bool {
    word::clear_dead(word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use berth_kernel::mapping::{Mapping, ReadWrite};
    use berth_kernel::memfd::Memfd;
    use std::os::fd::AsFd;

    fn page() -> (Memfd, Mapping<ReadWrite>) {
        let memfd = Memfd::create("presence", 4096).unwrap();
        let mapping = Mapping::new(memfd.as_fd(), 4096).unwrap();
        (memfd, mapping)
    }

    #[test]
    #[cfg_attr(miri, ignore = "needs a kernel")]
    fn a_place_is_taken_once_and_free_again_when_left() {
        let (memfd, mapping) = page();
        let word = mapping.word(64).unwrap();
        assert_eq!(standing(word), Standing::Vacant);
        let presence = Presence::take(memfd.as_fd(), 64).unwrap();
        let taken = PresenceError::Taken(Standing::Present(presence.id()));
        assert_eq!(standing(word), Standing::Present(presence.id()));
        assert_eq!(Presence::take(memfd.as_fd(), 64).unwrap_err(), taken);
        assert_eq!(Presence::succeed(memfd.as_fd(), 64).unwrap_err(), taken);
        assert!(presence.is_ours() && presence.is_watched());
        drop(presence);
        assert_eq!(standing(word), Standing::Left);
        drop(Presence::take(memfd.as_fd(), 64).unwrap());
    }

    #[test]
    #[cfg_attr(miri, ignore = "needs a kernel")]
    fn the_place_of_the_dead_is_only_for_a_successor() {
        let (memfd, mapping) = page();
        let word = mapping.word(8).unwrap();
        let presence = Presence::take(memfd.as_fd(), 8).unwrap();
        assert!(!bury(word, presence.id() + 1), "that is another one");
        assert!(bury(word, presence.id()));
        assert_eq!(standing(word), Standing::Died);
        let dead = PresenceError::Taken(Standing::Died);
        assert_eq!(Presence::take(memfd.as_fd(), 8).unwrap_err(), dead);
        let successor = Presence::succeed(memfd.as_fd(), 8).unwrap();
        assert_eq!(standing(word), Standing::Present(successor.id()));
        assert!(bury(word, successor.id()) && clear_dead(word) && !clear_dead(word));
        assert_eq!(standing(word), Standing::Vacant);
    }

    #[test]
    #[cfg_attr(miri, ignore = "needs a kernel")]
    fn whoever_waits_hears_of_progress_and_of_the_end() {
        let (memfd, mapping) = page();
        let word = mapping.word(8).unwrap();
        let flag = mapping.word(128).unwrap();
        let presence = Presence::take(memfd.as_fd(), 8).unwrap();
        let present = Standing::Present(presence.id());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let day = Duration::from_secs(86_400);
                while flag.load(Ordering::Acquire) == 0 {
                    wait(word, day, |_| flag.load(Ordering::Acquire) == 0);
                }
                while wait(word, day, |standing| standing == present) == present {}
                flag.store(2, Ordering::Release);
            });
            flag.store(1, Ordering::Release);
            presence.notify();
            drop(presence);
        });
        assert_eq!((flag.load(Ordering::Acquire), standing(word)), (2, Standing::Left));
    }

    #[test]
    fn every_value_of_a_word_stands_for_something() {
        for (value, standing) in [
            (0, Standing::Vacant),
            (0x8000_0000, Standing::Vacant),
            (7, Standing::Present(7)),
            (0x8000_0007, Standing::Present(7)),
            (0x3fff_ffff, Standing::Left),
            (0x4000_0000, Standing::Died),
            (u32::MAX, Standing::Died),
        ] {
            assert_eq!(Standing::of(value), standing, "{value:#x}");
        }
    }
}
