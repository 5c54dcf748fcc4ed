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

use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{mpsc, Mutex, MutexGuard, PoisonError};
use std::thread;

use nix::errno::Errno;
// Not nix's mmap, whose types changed with each of the versions that Android carries.
use nix::libc::{
    self, c_void, off_t, MAP_ANONYMOUS, MAP_FAILED, MAP_FIXED, MAP_PRIVATE, MAP_SHARED,
};
use nix::libc::{PROT_READ, PROT_WRITE};
use nix::sys::signal::SigSet;
use nix::unistd::gettid;

use crate::{identity, page_size, KernelError};

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

/// Two pages: a private one, then a shared one.
#[derive(Debug, Clone, Copy)]
struct Slot(NonNull<c_void>);

// SAFETY: the pages belong to the process, and are reached by atomics only.
unsafe impl Send for Slot {}
// SAFETY: as above.
unsafe impl Sync for Slot {}

impl Slot {
    fn new() -> Result<Slot, KernelError> {
        let slot = Slot(anonymous(page().saturating_mul(2))?);
        // SAFETY: the first page of what was just mapped, which nothing uses yet.
        let wiped = unsafe { libc::madvise(slot.0.as_ptr(), page(), libc::MADV_WIPEONFORK) };
        if wiped != 0 {
            let errno = Errno::last();
            slot.unmap();
            return Err(KernelError::new("wipe a page on fork", errno));
        }
        Ok(slot)
    }

    fn private(&self) -> *mut u8 {
        self.0.as_ptr().cast()
    }

    fn shared(&self) -> *mut u8 {
        self.private().wrapping_add(page())
    }

    /// Maps the page at `offset` of what `fd` is open on. It ends, or the slot is unmapped.
    fn show(&self, fd: BorrowedFd<'_>, offset: u64) -> Result<(), KernelError> {
        let refuse = |errno| KernelError::new(format!("map a word's page at {offset}"), errno);
        let there = identity::size(fd)?;
        if offset >= there {
            self.unmap();
            return Err(refuse(Errno::EOVERFLOW));
        }
        let from = off_t::try_from(offset).unwrap_or(off_t::MAX);
        let flags = MAP_SHARED | MAP_FIXED;
        let mode = PROT_READ | PROT_WRITE;
        // SAFETY: the second page of the slot, which is ours and which nobody uses while the slot
        // shows no word.
        let mapped =
            unsafe { libc::mmap(self.shared().cast(), page(), mode, flags, fd.as_raw_fd(), from) };
        if mapped == MAP_FAILED {
            let errno = Errno::last();
            self.unmap();
            return Err(refuse(errno));
        }
        Ok(())
    }

    /// Puts private zeros in the place of the shared page. A walk of the kernel that is on its way
    /// through an old node finds no id there, where an unmapped page would end it.
    fn hide(&self) -> bool {
        let flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
        let mode = PROT_READ | PROT_WRITE;
        // SAFETY: as in `show`.
        let mapped = unsafe { libc::mmap(self.shared().cast(), page(), mode, flags, -1, 0) };
        mapped != MAP_FAILED
    }

    fn unmap(&self) {
        // SAFETY: both pages are the slot's own; who calls this forgets them.
        unsafe { libc::munmap(self.0.as_ptr(), page().saturating_mul(2)) };
    }
}

/// The thread whose list it is.
#[derive(Debug)]
struct Keeper {
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
struct Head {
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
fn keeper() -> Result<Option<&'static Keeper>, KernelError> {
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
        head.futex_offset.store(self::page(), Ordering::Relaxed);
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

    fn tid_as_raw(&self) -> i32 {
        i32::try_from(self.tid()).unwrap_or(0)
    }

    fn listed(&self) -> MutexGuard<'_, Listed> {
        self.listed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A slot to use again, if there is one; an error if nothing more can be listed.
    fn room(&self) -> Result<Option<Slot>, WatchError> {
        let mut listed = self.listed();
        if listed.nodes.len() >= MAX_WATCHED {
            return Err(WatchError::TooMany);
        }
        Ok(listed.free.pop())
    }

    /// Puts a word's node in front of the others. The kernel may walk the list after any of the
    /// stores.
    fn link(&self, word: &WatchedWord) -> Result<(), WatchError> {
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
    fn unlink(&self, word: &WatchedWord) {
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

/// Whether the kernel would kill this process for registering a list.
fn is_forbidden() -> bool {
    // glibc does so in each thread that it starts, before anything else.
    if cfg!(target_env = "gnu") {
        return false;
    }
    // SAFETY: takes no pointer.
    let mode = unsafe { libc::prctl(libc::PR_GET_SECCOMP, 0, 0, 0, 0) };
    mode == SECCOMP_MODE_FILTER && child_dies_of_registering()
}

/// `include/uapi/linux/seccomp.h`.
const SECCOMP_MODE_FILTER: libc::c_int = 2;

/// A filter cannot be asked, and may answer with a signal: a child tries.
fn child_dies_of_registering() -> bool {
    // SAFETY: the child calls nothing but system calls that are safe after a fork of a process with
    // threads, and ends.
    let child = unsafe { libc::fork() };
    match child {
        -1 => true,
        0 => {
            // SAFETY: as above. A null list is no list, which is what the child has.
            unsafe {
                libc::signal(libc::SIGSYS, libc::SIG_DFL);
                let none: *const Head = ptr::null();
                let done = libc::syscall(libc::SYS_set_robust_list, none, size_of::<Head>());
                libc::_exit(libc::c_int::from(done != 0))
            }
        }
        child => {
            let mut status = 0;
            loop {
                // SAFETY: `status` lives across the call. Only this child is waited for.
                let waited = unsafe { libc::waitpid(child, &mut status, 0) };
                if waited == child {
                    return status != 0;
                }
                // Ignored children cannot be waited for, so nothing is known.
                if Errno::last() != Errno::EINTR {
                    return true;
                }
            }
        }
    }
}

fn page() -> usize {
    usize::try_from(page_size()).unwrap_or(4096)
}

fn anonymous(bytes: usize) -> Result<NonNull<c_void>, KernelError> {
    let flags = MAP_PRIVATE | MAP_ANONYMOUS;
    let refuse = |errno| KernelError::new(format!("map {bytes} private bytes"), errno);
    // SAFETY: without MAP_FIXED the kernel chooses an address range that nothing else uses.
    let mapped =
        unsafe { libc::mmap(ptr::null_mut(), bytes, PROT_READ | PROT_WRITE, flags, -1, 0) };
    if mapped == MAP_FAILED {
        return Err(refuse(Errno::last()));
    }
    NonNull::new(mapped).ok_or(refuse(Errno::EFAULT))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forking::turn;
    use crate::memfd::Memfd;
    use crate::pipe::pipe;
    use nix::sys::signal::{kill, Signal};
    use nix::sys::wait::waitpid;
    use nix::unistd::{fork, ForkResult};
    use std::fs::File;
    use std::io::Read;
    use std::os::fd::AsFd;
    use std::os::unix::process::CommandExt;
    use std::process::Command;

    /// Words that each take 8 bytes of the memory.
    fn words(memfd: &Memfd, count: u64) -> Vec<WatchedWord> {
        (0..count).map(|index| WatchedWord::map(memfd.as_fd(), index * 8).unwrap()).collect()
    }

    /// What a child leaves in the words after it has put itself into them and ended.
    fn left_by(memfd: &Memfd, count: u64, end: fn()) -> Vec<u32> {
        let before = words(memfd, count);
        let (ready, done) = pipe().unwrap();
        // SAFETY: the tests of this module fork with no lock held that the child takes: see `turn`.
        match unsafe { fork() }.unwrap() {
            ForkResult::Child => {
                for word in words(memfd, count) {
                    word.word().store(word.owner().unwrap_or(0) | WAITERS, Ordering::Relaxed);
                    std::mem::forget(word);
                }
                drop(done);
                end();
                loop {
                    thread::park();
                }
            }
            ForkResult::Parent { child } => {
                drop(done);
                // Ends when the child has closed the other end.
                File::from(ready).read_exact(&mut [0]).unwrap_err();
                let _ = kill(child, Signal::SIGKILL);
                waitpid(child, None).unwrap();
            }
        }
        before.iter().map(|word| word.word().load(Ordering::Relaxed)).collect()
    }

    #[test]
    fn a_killed_process_is_marked_in_each_of_its_words() {
        let _turn = turn();
        let memfd = Memfd::create("watched", 8192).unwrap();
        assert_eq!(left_by(&memfd, 700, || ()), vec![OWNER_DIED | WAITERS; 700]);
    }

    #[test]
    fn a_process_that_exits_or_aborts_or_becomes_another_program_is_marked_too() {
        let _turn = turn();
        // SAFETY: ends the process, which has nothing to clean up.
        let exit: fn() = || unsafe { libc::_exit(3) };
        let exec: fn() = || drop(Command::new("/bin/true").exec());
        let fault: fn() = || nix::sys::signal::raise(Signal::SIGSEGV).unwrap();
        for end in [exit, exec, fault] {
            let memfd = Memfd::create("watched", 4096).unwrap();
            assert_eq!(left_by(&memfd, 3, end), vec![OWNER_DIED | WAITERS; 3]);
        }
    }

    #[test]
    fn a_word_that_holds_another_id_or_is_no_longer_watched_stays_as_it_is() {
        let _turn = turn();
        let memfd = Memfd::create("watched", 4096).unwrap();
        let ours = words(&memfd, 3);
        // SAFETY: as in `left_by`.
        match unsafe { fork() }.unwrap() {
            ForkResult::Child => {
                let mut words = words(&memfd, 3);
                let owner = words[0].owner().unwrap();
                words[0].word().store(owner, Ordering::Relaxed);
                words[1].word().store(owner + 1, Ordering::Relaxed);
                words[2].word().store(owner, Ordering::Relaxed);
                drop(words.pop());
                // SAFETY: ends the process, which has nothing to clean up.
                unsafe { libc::_exit(0) }
            }
            ForkResult::Parent { child } => waitpid(child, None).unwrap(),
        };
        let values: Vec<u32> =
            ours.iter().map(|word| word.word().load(Ordering::Relaxed)).collect();
        assert_eq!(values[0], OWNER_DIED);
        assert_eq!(values[1], values[2] + 1);
    }

    #[test]
    fn a_forked_child_owns_none_of_its_parents_words() {
        let _turn = turn();
        let memfd = Memfd::create("watched", 4096).unwrap();
        let word = WatchedWord::map(memfd.as_fd(), 16).unwrap();
        let owner = word.owner().unwrap();
        word.word().store(owner, Ordering::Relaxed);
        // SAFETY: as in `left_by`.
        let child = match unsafe { fork() }.unwrap() {
            ForkResult::Child => {
                let inherited = word.owner();
                drop(word);
                let own = WatchedWord::map(memfd.as_fd(), 24).unwrap().owner();
                let right = inherited.is_none() && own.is_some_and(|own| own != owner);
                // SAFETY: as above.
                unsafe { libc::_exit(libc::c_int::from(!right)) }
            }
            ForkResult::Parent { child } => child,
        };
        let status = waitpid(child, None).unwrap();
        assert_eq!(status, nix::sys::wait::WaitStatus::Exited(child, 0));
        assert_eq!(word.word().load(Ordering::Relaxed), owner, "its parent lives");
    }

    #[test]
    fn the_limit_is_told_and_room_comes_back() {
        let _turn = turn();
        let memfd = Memfd::create("watched", 4096).unwrap();
        let mut watched = Vec::new();
        let refused = loop {
            match WatchedWord::map(memfd.as_fd(), 0) {
                Ok(word) => watched.push(word),
                Err(error) => break error,
            }
        };
        assert_eq!((watched.len(), &refused), (MAX_WATCHED, &WatchError::TooMany));
        assert!(refused.to_string().contains("2048"), "{refused}");
        // From the middle, the front and the end of the list.
        for index in [1000, 0, watched.len() - 3] {
            drop(watched.remove(index));
        }
        watched.extend(words(&memfd, 3));
        assert_eq!(WatchedWord::map(memfd.as_fd(), 0).unwrap_err(), WatchError::TooMany);
    }

    /// Has the kernel send SIGSYS for set_robust_list(2) from here on, as Android's zygote does.
    fn forbid_robust_lists() {
        let statement = |code: u32, k: u32, jump_if_false: u8| libc::sock_filter {
            code: code as u16,
            jt: 0,
            jf: jump_if_false,
            k,
        };
        let mut program = [
            // The number of the call is the first field of `struct seccomp_data`.
            statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0),
            statement(
                libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
                libc::SYS_set_robust_list as u32,
                1,
            ),
            statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_TRAP, 0),
            statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW, 0),
        ];
        let filter = libc::sock_fprog { len: 4, filter: program.as_mut_ptr() };
        // SAFETY: the kernel copies the program, which lives across the calls.
        unsafe {
            assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
            let mode = SECCOMP_MODE_FILTER;
            assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, mode, ptr::addr_of!(filter)), 0);
        }
    }

    #[test]
    fn a_filter_that_kills_for_it_leaves_words_unwatched_and_the_process_alive() {
        let _turn = turn();
        assert!(!child_dies_of_registering(), "nothing forbids it here");
        let memfd = Memfd::create("watched", 4096).unwrap();
        // SAFETY: as in `left_by`.
        let child = match unsafe { fork() }.unwrap() {
            ForkResult::Child => {
                forbid_robust_lists();
                let mut right = child_dies_of_registering();
                // glibc registers a list for every thread, so it cannot live under such a filter.
                if !cfg!(target_env = "gnu") {
                    let word = WatchedWord::map(memfd.as_fd(), 0).unwrap();
                    let pid = nix::unistd::getpid().as_raw() as u32;
                    right &= !word.is_watched() && word.owner() == Some(pid);
                }
                // SAFETY: as above.
                unsafe { libc::_exit(libc::c_int::from(!right)) }
            }
            ForkResult::Parent { child } => child,
        };
        let status = waitpid(child, None).unwrap();
        assert_eq!(status, nix::sys::wait::WaitStatus::Exited(child, 0));
    }

    #[test]
    fn what_cannot_be_watched_names_itself() {
        let _turn = turn();
        let memfd = Memfd::create("watched", 4096).unwrap();
        let refused = WatchedWord::map(memfd.as_fd(), 4).unwrap_err();
        assert_eq!(refused, WatchError::Misaligned(4));
        for offset in [4096, 1 << 40, u64::MAX - 7] {
            let refused = WatchedWord::map(memfd.as_fd(), offset).unwrap_err();
            assert!(matches!(refused, WatchError::Kernel(_)), "offset {offset}: {refused}");
        }
    }
}
