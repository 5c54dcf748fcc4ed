// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! What the service does, on the time line of the kernel's trace: a slice for each operation, and a
//! counter for each heap.
//!
//! The trace is one for the process, as the log is. While nobody traces an event costs one load.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Instant;

use berth_kernel::trace::{Scope, Trace};

use crate::lock::lock;

/// The environment variable that has a service trace, except on Android, where it always may. Android
/// turns `tracing_on` off at boot; another kernel has it on and takes events that nobody will read.
#[cfg(not(target_os = "android"))]
const VARIABLE: &str = "BERTH_TRACE";

fn trace() -> Option<&'static Trace> {
    static TRACE: OnceLock<Option<Trace>> = OnceLock::new();
    TRACE.get_or_init(open).as_ref()
}

fn open() -> Option<Trace> {
    #[cfg(not(target_os = "android"))]
    std::env::var_os(VARIABLE)?;
    let opened = Trace::open();
    if let Err(error) = &opened {
        log::info!("nothing is traced: {error}");
    }
    opened.ok()
}

/// Opens the trace, so that no operation has to, and a service has the same descriptors open before
/// its first and after.
pub(crate) fn start() {
    trace();
}

/// A slice that begins now and ends when the answer is dropped. `now` is the time, which whoever
/// calls this often has at hand: once in a second it is found out whether somebody traces.
pub(crate) fn slice_at(name: &str, now: Instant) -> Option<Scope<'static>> {
    let trace = trace()?;
    trace.look(now);
    Some(trace.scope(name))
}

/// The same of what is rare.
pub(crate) fn slice(name: &str) -> Option<Scope<'static>> {
    slice_at(name, Instant::now())
}

/// The bytes that clients have of a heap, as a counter.
#[derive(Debug)]
pub(crate) struct Gauge {
    name: String,
    bytes: AtomicI64,
}

impl Gauge {
    /// That of the heap of this name. A heap that is found again goes on with its own.
    pub(crate) fn of_heap(name: &str) -> Arc<Gauge> {
        static GAUGES: Mutex<BTreeMap<String, Arc<Gauge>>> = Mutex::new(BTreeMap::new());
        let gauge = || {
            let name = format!("heap {name}, bytes");
            Arc::new(Gauge { name, bytes: AtomicI64::new(0) })
        };
        lock(&GAUGES).entry(name.to_owned()).or_insert_with(gauge).clone()
    }

    fn add(&self, bytes: i64) {
        let sum = self.bytes.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        if let Some(trace) = trace() {
            trace.counter(&self.name, sum);
        }
    }
}

/// Bytes that a [`Gauge`] counts until this is dropped.
#[derive(Debug)]
pub(crate) struct Counted {
    gauge: Arc<Gauge>,
    bytes: i64,
}

impl Counted {
    pub(crate) fn new(gauge: &Arc<Gauge>, bytes: u64) -> Counted {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        gauge.add(bytes);
        Counted { gauge: gauge.clone(), bytes }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.gauge.add(self.bytes.saturating_neg());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heap_that_is_found_again_goes_on_with_its_bytes() {
        let before = Gauge::of_heap("found twice");
        let counted = Counted::new(&before, 4096);
        let again = Gauge::of_heap("found twice");
        assert_eq!(again.bytes.load(Ordering::Relaxed), 4096);
        drop(Counted::new(&again, 1));
        drop(counted);
        assert_eq!(again.bytes.load(Ordering::Relaxed), 0);
        assert_eq!(Gauge::of_heap("another").bytes.load(Ordering::Relaxed), 0);
    }
}
