// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Events for Perfetto and systrace, by the kernel's `trace_marker` (`Documentation/trace/ftrace.rst`):
//! what a process does, on the time line of what the kernel does.
//!
//! The text of an event is that of libcutils (`trace-dev.inc` of AOSP's system/core) as Perfetto
//! reads it (`src/trace_processor/importers/systrace/systrace_parser.h`). Which of libcutils' tags
//! are wanted is in a system property that Rust does not reach, so every event is for everybody who
//! traces.
//!
//! Whether anybody does, the marker says itself: it answers EBADF while `tracing_on` is 0. Android's
//! policy lets every domain write the marker, and few read `tracing_on`. A kernel that is not
//! Android's starts with `tracing_on` at 1 and takes every event.

use std::fmt::{self, Write as _};
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, AtomicU8, Ordering};
use std::time::Instant;

use nix::errno::Errno;

use crate::KernelError;

/// Where tracefs is, and where it was before it was a file system of its own.
const MARKERS: [&str; 2] =
    ["/sys/kernel/tracing/trace_marker", "/sys/kernel/debug/tracing/trace_marker"];

/// The most of a name that is written, in bytes.
const MAX_NAME_BYTES: usize = 128;
/// Room for the letter, a process id, a name, a value and what is between them.
const MAX_EVENT_BYTES: usize = MAX_NAME_BYTES + 40;
/// How long after a look nobody is asked again, in milliseconds.
const PAUSE_MS: u64 = 1000;

/// Nobody traces: an event is not written.
const OFF: u8 = 0;
/// Unknown: the next event that can stand alone is written, and the answer tells.
const ASK: u8 = 1;
/// Somebody traces.
const ON: u8 = 2;

/// The way to the kernel's trace. Any thread may use it; an event that is not wanted costs one load.
#[derive(Debug)]
pub struct Trace {
    marker: File,
    process: u32,
    state: AtomicU8,
    opened: Instant,
    /// When to ask next, in milliseconds since `opened`.
    next_look: AtomicU64,
}

impl Trace {
    /// Opens the kernel's trace for this process.
    ///
    /// # Errors
    ///
    /// `ENOENT` without `CONFIG_TRACING` or where tracefs is not mounted, `EACCES` where this
    /// process may not trace.
    pub fn open() -> Result<Trace, KernelError> {
        let open = |path: &str| {
            let marker = OpenOptions::new().write(true).open(path);
            marker.map(Trace::to).map_err(KernelError::io(|| format!("open {path}")))
        };
        let [new, old] = MARKERS;
        match open(new) {
            Err(error) if error.errno == Errno::ENOENT => open(old),
            result => result,
        }
    }

    /// A trace to any file.
    fn to(marker: File) -> Trace {
        Trace {
            marker,
            process: std::process::id(),
            state: AtomicU8::new(ASK),
            opened: Instant::now(),
            next_look: AtomicU64::new(0),
        }
    }
    /// Whether somebody traced when that was last found out.
    pub fn is_on(&self) -> bool {
        self.state.load(Ordering::Relaxed) == ON
    }

    /// Has the next event find out whether anybody traces by now, if nobody did; within a second of
    /// the last such call it does nothing. Without a call once in a while, nothing is ever traced
    /// again.
    pub fn look(&self, now: Instant) {
        if self.state.load(Ordering::Relaxed) != OFF {
            return;
        }
        let elapsed = now.saturating_duration_since(self.opened).as_millis();
        let elapsed = u64::try_from(elapsed).unwrap_or(u64::MAX);
        if elapsed >= self.next_look.load(Ordering::Relaxed) {
            self.next_look.store(elapsed.saturating_add(PAUSE_MS), Ordering::Relaxed);
            self.state.store(ASK, Ordering::Relaxed);
        }
    }

    /// Begins a slice of this thread, within the one that it began last.
    pub fn begin(&self, name: &str) {
        self.send('B', Some(name), None);
    }

    /// Ends the slice that this thread began last.
    pub fn end(&self) {
        // Nobody is asked by it: its beginning was not written.
        if self.is_on() {
            self.send('E', None, None);
        }
    }

    /// A slice of this thread that ends when the answer is dropped, which stays on this thread.
    pub fn scope(&self, name: &str) -> Scope<'_> {
        let began = self.send('B', Some(name), None);
        Scope { trace: began.then_some(self), of_a_thread: PhantomData }
    }

    /// Says what a counter of this process is now.
    pub fn counter(&self, name: &str, value: i64) {
        self.send('C', Some(name), Some(value));
    }

    /// Something that takes no time.
    pub fn instant(&self, name: &str) {
        self.send('I', Some(name), None);
    }

    /// Writes an event, if somebody may want it; whether it was taken.
    fn send(&self, letter: char, name: Option<&str>, value: Option<i64>) -> bool {
        let state = self.state.load(Ordering::Relaxed);
        if state == OFF {
            return false;
        }
        let event = Event::new(letter, self.process, name, value);
        let taken = (&self.marker).write(event.as_bytes()).is_ok();
        let found = if taken { ON } else { OFF };
        if found != state {
            self.state.store(found, Ordering::Relaxed);
        }
        taken
    }
}

/// A slice that ends when this is dropped; see [`Trace::scope`].
#[derive(Debug)]
#[must_use = "the slice ends when this is dropped"]
pub struct Scope<'a> {
    /// Of a slice that was begun.
    trace: Option<&'a Trace>,
    /// Slices are a thread's: this one goes to no other.
    of_a_thread: PhantomData<*const ()>,
}

impl Drop for Scope<'_> {
    fn drop(&mut self) {
        if let Some(trace) = self.trace {
            trace.send('E', None, None);
        }
    }
}

/// The text of an event, without an allocation.
struct Event {
    bytes: [u8; MAX_EVENT_BYTES],
    length: usize,
}

impl Event {
    /// `letter|process|name|value`, as far as there is a name and a value.
    fn new(letter: char, process: u32, name: Option<&str>, value: Option<i64>) -> Event {
        let mut event = Event { bytes: [0; MAX_EVENT_BYTES], length: 0 };
        // There is room for all of this.
        let _ = write!(event, "{letter}|{process}");
        if let Some(name) = name {
            let _ = event.write_char('|');
            event.write_name(name);
        }
        if let Some(value) = value {
            let _ = write!(event, "|{value}");
        }
        event
    }

    /// The beginning of a name, without what ends a field or a line.
    fn write_name(&mut self, name: &str) {
        let most = self.length.saturating_add(MAX_NAME_BYTES);
        for char in name.chars() {
            if self.length.saturating_add(char.len_utf8()) > most {
                return;
            }
            let plain = if char == '|' || char.is_control() { '_' } else { char };
            let _ = self.write_char(plain);
        }
    }

    fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

impl fmt::Write for Event {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.length.checked_add(text.len()).ok_or(fmt::Error)?;
        let room = self.bytes.get_mut(self.length..end).ok_or(fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use berth_facilities::{missing, Facility};
    use proptest::prelude::*;
    use std::fs;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixDatagram;
    use std::path::PathBuf;
    use std::time::Duration;

    /// A trace, and a socket that gets each of its writes as a message.
    fn trace() -> (Trace, UnixDatagram) {
        let (near, far) = UnixDatagram::pair().unwrap();
        far.set_nonblocking(true).unwrap();
        (Trace::to(File::from(OwnedFd::from(near))), far)
    }

    /// The next write, if there was any, with P for the process.
    fn next(socket: &UnixDatagram) -> Option<String> {
        let mut bytes = [0; 1024];
        let length = socket.recv(&mut bytes).ok()?;
        let text = String::from_utf8(bytes[..length].to_vec()).unwrap();
        Some(text.replace(&format!("|{}", std::process::id()), "|P"))
    }

    #[test]
    fn every_event_is_one_write_of_its_text() {
        let (trace, socket) = trace();
        trace.begin("allocate");
        trace.counter("buffers", -3);
        trace.instant("purge");
        trace.end();
        drop(trace.scope("free"));
        let seen: Vec<String> = std::iter::from_fn(|| next(&socket)).collect();
        assert_eq!(seen, ["B|P|allocate", "C|P|buffers|-3", "I|P|purge", "E|P", "B|P|free", "E|P"]);
    }

    #[test]
    fn no_name_ends_a_field_or_an_event() {
        let (trace, socket) = trace();
        trace.counter("a|1\nE|7\0", i64::MIN);
        assert_eq!(next(&socket).unwrap(), "C|P|a_1_E_7_|-9223372036854775808");
        trace.begin(&"€".repeat(100));
        assert_eq!(next(&socket).unwrap(), format!("B|P|{}", "€".repeat(42)));
    }

    #[test]
    fn nothing_is_written_until_somebody_asks_and_somebody_traces() {
        let (trace, socket) = trace();
        let start = trace.opened;
        trace.end();
        assert_eq!(next(&socket), None, "an end alone asks nobody");
        assert!(!trace.is_on());
        trace.instant("found");
        assert!(trace.is_on());
        // A socket that nobody reads from refuses as a marker that nobody traces does.
        drop(socket);
        let scope = trace.scope("lost");
        assert!(!trace.is_on() && scope.trace.is_none());
        for seconds in [1, 2] {
            trace.look(start + Duration::from_secs(seconds));
            assert_eq!(trace.state.load(Ordering::Relaxed), ASK);
            trace.instant("lost");
            assert_eq!(trace.state.load(Ordering::Relaxed), OFF);
            trace.look(start + Duration::from_millis(seconds * 1000 + 999));
            assert_eq!(trace.state.load(Ordering::Relaxed), OFF, "asked a moment ago");
        }
    }

    /// An instance of the kernel's trace for one test; it goes with it.
    struct Instance(PathBuf);

    impl Instance {
        fn new() -> Instance {
            let name = format!("berth-{}", std::process::id());
            let path = PathBuf::from("/sys/kernel/tracing/instances").join(name);
            fs::create_dir(&path).unwrap();
            Instance(path)
        }

        fn turn(&self, on: bool) {
            fs::write(self.0.join("tracing_on"), if on { "1" } else { "0" }).unwrap();
        }

        fn lines(&self) -> String {
            fs::read_to_string(self.0.join("trace")).unwrap()
        }
    }

    impl Drop for Instance {
        fn drop(&mut self) {
            let _ = fs::remove_dir(&self.0);
        }
    }

    #[test]
    #[ignore = "needs tracing"]
    fn the_kernel_keeps_events_while_tracing_is_on() {
        if missing(Facility::Tracing) {
            return;
        }
        let instance = Instance::new();
        let marker = OpenOptions::new().write(true).open(instance.0.join("trace_marker"));
        let trace = Trace::to(marker.unwrap());
        let process = std::process::id();
        trace.begin("first");
        instance.turn(false);
        trace.instant("second");
        assert!(!trace.is_on(), "the marker says that tracing is off");
        instance.turn(true);
        trace.instant("third");
        trace.look(trace.opened + Duration::from_secs(1));
        trace.counter("fourth", 4);
        assert!(trace.is_on());
        trace.end();
        let lines = instance.lines();
        let has = |text: String| lines.lines().any(|line| line.ends_with(&text));
        assert!(has(format!(": B|{process}|first")), "{lines}");
        assert!(has(format!(": C|{process}|fourth|4")), "{lines}");
        assert!(has(format!(": E|{process}")), "{lines}");
        assert!(!lines.contains("second") && !lines.contains("third"), "{lines}");
    }

    #[test]
    #[ignore = "needs tracing"]
    fn the_trace_of_this_machine_is_found_and_takes_events_if_it_is_on() {
        if missing(Facility::Tracing) {
            return;
        }
        let trace = Trace::open().unwrap();
        let name = format!("berth test of {:?}", trace.opened);
        trace.instant(&name);
        let is_on = fs::read_to_string("/sys/kernel/tracing/tracing_on").unwrap().trim() == "1";
        assert_eq!(trace.is_on(), is_on);
        let lines = fs::read_to_string("/sys/kernel/tracing/trace").unwrap();
        assert_eq!(lines.contains(&name), is_on);
    }

    proptest! {
        #[test]
        fn any_event_is_one_line_of_its_fields(name: String, value: i64, process: u32) {
            let event = Event::new('C', process, Some(&name), Some(value));
            let text = std::str::from_utf8(event.as_bytes()).unwrap();
            let fields: Vec<&str> = text.split('|').collect();
            prop_assert_eq!(fields.len(), 4);
            prop_assert_eq!(fields[1], process.to_string());
            prop_assert!(fields[2].len() <= MAX_NAME_BYTES);
            prop_assert_eq!(fields[3], value.to_string());
            prop_assert!(!text.contains(char::is_control));
        }
    }
}
