// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Brackets of CPU access that nest. The kernel counts none: an inner end would hand caches over to
//! the device while an outer bracket is still at work. So they are counted here, by direction, for all
//! mappings and threads that go through one handle: the first to read begins reading, the last ends
//! it, and the same for writing.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use berth_kernel::cpu_access::{self, Direction};
use berth_kernel::{dma_buf, KernelError};

use crate::Error;

/// Brackets that are open on one memory.
#[derive(Debug, Default)]
struct Brackets {
    open: Mutex<Open>,
    /// Told when a call to the kernel returned that others wait for.
    began: Condvar,
}

/// What is open.
#[derive(Debug, Default)]
struct Open {
    reading: Count,
    writing: Count,
}

/// Brackets of one direction.
#[derive(Debug, Default)]
struct Count {
    brackets: u32,
    /// The first of them is at the kernel.
    begins: bool,
}

impl Open {
    fn of(&mut self, direction: Direction) -> impl Iterator<Item = &mut Count> {
        let reading = direction.reads().then_some(&mut self.reading);
        reading.into_iter().chain(direction.writes().then_some(&mut self.writing))
    }

    /// The part of a direction for which this is true.
    fn part(&self, whole: Direction, is_part: impl Fn(&Count) -> bool) -> Option<Direction> {
        let reads = whole.reads() && is_part(&self.reading);
        let writes = whole.writes() && is_part(&self.writing);
        match (reads, writes) {
            (true, true) => Some(Direction::ReadWrite),
            (true, false) => Some(Direction::Read),
            (false, true) => Some(Direction::Write),
            (false, false) => None,
        }
    }
}

impl Brackets {
    /// Begins a bracket: what is not open yet by `in_kernel`, without the lock. Whoever needs what
    /// another thread is about to begin waits for it.
    fn begin(
        &self,
        direction: Direction,
        deadline: Option<Deadline>,
        in_kernel: impl FnOnce(Direction) -> Result<(), Error>,
    ) -> Result<Begun, Error> {
        let mut open = self.lock();
        while open.of(direction).any(|count| count.begins) {
            open = self.wait(open, deadline)?;
        }
        let missing = open.part(direction, |count| count.brackets == 0);
        for count in open.of(direction) {
            count.brackets = count.brackets.saturating_add(1);
        }
        let Some(missing) = missing else { return Ok(Begun::Whole) };
        open.of(missing).for_each(|count| count.begins = true);
        drop(open);
        let result = in_kernel(missing);
        let mut open = self.lock();
        for count in open.of(missing) {
            count.begins = false;
            // Nobody joined meanwhile: they waited.
            count.brackets = u32::from(result.is_ok());
        }
        drop(open);
        self.began.notify_all();
        match (result, direction, missing) {
            (Ok(()), ..) => Ok(Begun::Whole),
            // Half of it was open already, and counts one more.
            (Err(error), Direction::ReadWrite, Direction::Read) => {
                Ok(Begun::Part(Direction::Write, error))
            }
            (Err(error), Direction::ReadWrite, Direction::Write) => {
                Ok(Begun::Part(Direction::Read, error))
            }
            (Err(error), ..) => Err(error),
        }
    }

    /// Ends a bracket: answers what the kernel is to be told of. That another thread may begin the
    /// same at this moment does no harm: brackets of other processes overlap as well.
    fn end(&self, direction: Direction) -> Option<Direction> {
        let mut open = self.lock();
        for count in open.of(direction) {
            count.brackets = count.brackets.saturating_sub(1);
        }
        open.part(direction, |count| count.brackets == 0)
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(
        &self,
        open: MutexGuard<'a, Open>,
        deadline: Option<Deadline>,
    ) -> Result<MutexGuard<'a, Open>, Error> {
        let Some(deadline) = deadline else {
            return Ok(self.began.wait(open).unwrap_or_else(PoisonError::into_inner));
        };
        let left = deadline.left();
        if left.is_zero() {
            return Err(Error::NotReady(deadline.within));
        }
        let waited = self.began.wait_timeout(open, left);
        Ok(waited.unwrap_or_else(PoisonError::into_inner).0)
    }
}

/// What has begun.
#[derive(Debug)]
enum Begun {
    /// All that was asked for.
    Whole,
    /// This much, which is to be ended; the rest failed.
    Part(Direction, Error),
}

/// A descriptor of memory, and the brackets that are open on it.
#[derive(Debug)]
pub(crate) struct BracketedFd {
    fd: OwnedFd,
    brackets: Brackets,
}

impl BracketedFd {
    pub(crate) fn new(fd: OwnedFd) -> BracketedFd {
        BracketedFd { fd, brackets: Brackets::default() }
    }

    pub(crate) fn into_fd(self) -> OwnedFd {
        self.fd
    }

    /// Begins a bracket; what is open already costs nothing. Waits for devices as long as their fences
    /// take, or until `deadline` for those that are there.
    fn begin(&self, direction: Direction, deadline: Option<Deadline>) -> Result<(), Error> {
        let in_kernel = |missing| self.begin_in_kernel(missing, deadline);
        match self.brackets.begin(direction, deadline, in_kernel)? {
            Begun::Whole => Ok(()),
            Begun::Part(part, error) => {
                self.end(part)?;
                Err(error)
            }
        }
    }

    fn begin_in_kernel(
        &self,
        direction: Direction,
        deadline: Option<Deadline>,
    ) -> Result<(), Error> {
        // The ioctl waits without end. It still does for a device that begins after this look: the
        // kernel has no access that begins within a time.
        if let Some(deadline) = deadline {
            if !dma_buf::await_ready(self.fd.as_fd(), direction, Some(deadline.left()))? {
                return Err(Error::NotReady(deadline.within));
            }
        }
        Ok(cpu_access::begin(self.fd.as_fd(), direction)?)
    }

    /// Ends a bracket that was begun.
    fn end(&self, direction: Direction) -> Result<(), KernelError> {
        match self.brackets.end(direction) {
            Some(last) => cpu_access::end(self.fd.as_fd(), last),
            None => Ok(()),
        }
    }
}

impl AsFd for BracketedFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// When a wait is over.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline {
    /// `None` for a time that no clock reaches.
    end: Option<Instant>,
    /// What was asked for.
    pub(crate) within: Duration,
}

impl Deadline {
    pub(crate) fn after(within: Duration) -> Deadline {
        Deadline { end: Instant::now().checked_add(within), within }
    }

    /// What is left of it.
    pub(crate) fn left(&self) -> Duration {
        self.end.map_or(Duration::MAX, |end| end.saturating_duration_since(Instant::now()))
    }
}

/// A bracket that ends when this is dropped; none for memory that only CPUs share, whose caches are
/// coherent.
#[derive(Debug)]
pub(crate) struct Bracket<'fd> {
    fd: Option<&'fd BracketedFd>,
    direction: Direction,
}

impl<'fd> Bracket<'fd> {
    pub(crate) fn begin(
        dma_buf: Option<&'fd BracketedFd>,
        direction: Direction,
        deadline: Option<Deadline>,
    ) -> Result<Bracket<'fd>, Error> {
        if let Some(dma_buf) = dma_buf {
            dma_buf.begin(direction, deadline)?;
        }
        Ok(Bracket { fd: dma_buf, direction })
    }

    /// Ends it and says whether the kernel could; answers the dma-buf.
    pub(crate) fn end(mut self) -> Result<Option<&'fd BracketedFd>, Error> {
        let fd = self.fd.take();
        if let Some(fd) = fd {
            fd.end(self.direction)?;
        }
        Ok(fd)
    }
}

impl Drop for Bracket<'_> {
    fn drop(&mut self) {
        if let Some(fd) = self.fd.take() {
            // `end` reports; here nobody is left to be told.
            let _ = fd.end(self.direction);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{mpsc, Arc};
    use std::thread;
    use Direction::{Read, ReadWrite, Write};

    /// What the kernel was told.
    #[derive(Debug, PartialEq, Eq)]
    enum Told {
        Begin(Direction),
        End(Direction),
    }

    #[derive(Default)]
    struct Recorded {
        brackets: Brackets,
        told: Vec<Told>,
    }

    impl Recorded {
        fn begin(&mut self, direction: Direction) -> &mut Self {
            let told = &mut self.told;
            let begun = self.brackets.begin(direction, None, |missing| {
                told.push(Told::Begin(missing));
                Ok(())
            });
            assert!(matches!(begun, Ok(Begun::Whole)));
            self
        }

        fn end(&mut self, direction: Direction) -> &mut Self {
            self.told.extend(self.brackets.end(direction).map(Told::End));
            self
        }
    }

    #[test]
    fn what_lies_within_a_bracket_costs_no_call() {
        for (outer, inner) in [(Read, Read), (Write, Write), (ReadWrite, Read), (ReadWrite, Write)]
        {
            let mut recorded = Recorded::default();
            recorded.begin(outer).begin(inner).end(inner).begin(inner).end(inner).end(outer);
            assert_eq!(recorded.told, [Told::Begin(outer), Told::End(outer)]);
        }
    }

    #[test]
    fn a_writer_within_a_reader_adds_writing_and_ends_it() {
        for writer in [Write, ReadWrite] {
            let mut recorded = Recorded::default();
            recorded.begin(Read).begin(writer).end(writer).end(Read);
            let told = [Told::Begin(Read), Told::Begin(Write), Told::End(Write), Told::End(Read)];
            assert_eq!(recorded.told, told);
        }
    }

    #[test]
    fn brackets_that_overlap_end_with_the_last_of_each_direction() {
        let mut recorded = Recorded::default();
        recorded.begin(Read).begin(ReadWrite).end(Read).end(ReadWrite);
        assert_eq!(recorded.told, [Told::Begin(Read), Told::Begin(Write), Told::End(ReadWrite)]);
    }

    #[test]
    fn what_could_not_begin_is_not_open() {
        let brackets = Brackets::default();
        let fail = |_| Err(Error::NotReady(Duration::ZERO));
        assert!(brackets.begin(ReadWrite, None, fail).is_err());
        assert!(matches!(brackets.begin(Read, None, |_| Ok(())), Ok(Begun::Whole)));
        let part = brackets.begin(ReadWrite, None, fail).unwrap();
        assert!(matches!(part, Begun::Part(Read, Error::NotReady(_))), "{part:?}");
        assert_eq!(brackets.end(Read), None, "the outer one is open");
        assert_eq!(brackets.end(Read), Some(Read));
    }

    #[test]
    fn who_needs_what_another_begins_waits_for_it_and_who_does_not_goes_on() {
        let brackets = Arc::new(Brackets::default());
        let ((tell_begun, begun), (let_go, go)) = (mpsc::channel(), mpsc::channel());
        let theirs = brackets.clone();
        let first = thread::spawn(move || {
            let begun = theirs.begin(Write, None, |_| {
                tell_begun.send(()).unwrap();
                go.recv().unwrap();
                Ok(())
            });
            begun.map(drop)
        });
        begun.recv().unwrap();
        let calls = AtomicUsize::new(0);
        let count = |_| {
            calls.fetch_add(1, Ordering::Relaxed);
            Ok(())
        };
        brackets.begin(Read, None, count).unwrap();
        let within = Duration::from_millis(1);
        let late = brackets.begin(Write, Some(Deadline::after(within)), count).unwrap_err();
        assert!(matches!(late, Error::NotReady(asked) if asked == within), "{late}");
        let_go.send(()).unwrap();
        brackets.begin(ReadWrite, Some(Deadline::after(Duration::MAX)), count).unwrap();
        assert_eq!(calls.load(Ordering::Relaxed), 1, "only the reader");
        first.join().unwrap().unwrap();
    }

    proptest! {
        #[test]
        fn the_kernel_has_open_what_anybody_has_open_and_no_more(
            steps in prop::collection::vec((0usize..3, any::<prop::sample::Index>(), any::<bool>()), 0..60),
        ) {
            let mut recorded = Recorded::default();
            let mut open: Vec<Direction> = Vec::new();
            for (direction, which, begins) in steps {
                if begins || open.is_empty() {
                    let direction = [Read, Write, ReadWrite][direction];
                    recorded.begin(direction);
                    open.push(direction);
                } else {
                    let ended = open.swap_remove(which.index(open.len()));
                    recorded.end(ended);
                }
                let (mut reads, mut writes) = (0, 0);
                for told in &recorded.told {
                    let (step, direction) = match told {
                        Told::Begin(direction) => (1, direction),
                        Told::End(direction) => (-1, direction),
                    };
                    reads += if direction.reads() { step } else { 0 };
                    writes += if direction.writes() { step } else { 0 };
                }
                prop_assert_eq!(reads, i32::from(open.iter().any(|open| open.reads())));
                prop_assert_eq!(writes, i32::from(open.iter().any(|open| open.writes())));
            }
        }
    }
}
