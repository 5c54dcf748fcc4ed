// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! What of a kernel a test needs and other kernels lack.
//!
//! A test begins with `if missing(Facility::Ion) { return; }`. Where the kernel lacks it, the test
//! says so in a line that libtest does not swallow, and `cargo xtask test` counts it by itself and
//! not among those that passed. A lane declares what its kernel lacks in [`WITHOUT`]: a driver that
//! breaks then fails its tests instead of skipping them.
//!
//! A test that would fail on most machines is also `#[ignore]`d with the facility as its reason, so
//! that a plain `cargo test` does not report as passed what never ran.
//!
//! The kernel is looked at, never the service, and nothing is opened: whether a uid may open a node
//! is another question.

#![forbid(unsafe_code)]

mod look;
mod report;
pub mod shortage;

pub use look::CMA_HEAPS;
pub use report::Report;

use std::fmt;
use std::str::FromStr;

/// The environment variable in which a lane names the facilities that its kernel lacks, with commas
/// between them. Set, also to nothing, it is a promise that the kernel is held to. Without it there
/// is no promise: what is there is found out by looking.
pub const WITHOUT: &str = "BERTH_WITHOUT";

/// The environment variable that names a folder with programs of another C library.
pub const OTHER_LIBC_FOLDER: &str = "BERTH_OTHER_LIBC_BIN_DIR";

/// Something that some kernels have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Facility {
    /// The kernel's Binder driver, with a node in `/dev`.
    Binder,
    /// The dma-heap `system` (Linux 5.6), where buffers and images come from.
    DmaHeapSystem,
    /// A dma-heap of contiguous memory, under one of the names in [`CMA_HEAPS`].
    Cma,
    /// `/dev/ion` (up to Linux 5.10).
    Ion,
    /// `/dev/ashmem` (up to Linux 5.17, and Android's kernels).
    Ashmem,
    /// `/dev/udmabuf` (Linux 4.20).
    Udmabuf,
    /// The DRM driver vgem, which imports buffers and attaches fences to them.
    Vgem,
    /// The DRM driver vkms, a display without hardware.
    Vkms,
    /// `sw_sync` in debugfs: fences that a test signals. Only root sees it.
    SwSync,
    /// A dma-buf's fences as sync files (`DMA_BUF_IOCTL_EXPORT_SYNC_FILE` and `IMPORT_SYNC_FILE`,
    /// Linux 6.0). Says nothing of whether there are dma-bufs.
    SyncFiles,
    /// Huge pages for memfds (`MFD_HUGETLB`, CONFIG_HUGETLBFS). Says nothing of whether any are free.
    HugePages,
    /// Memory pressure (`/proc/pressure`, CONFIG_PSI and not off at boot). Says nothing of who may be
    /// told.
    Pressure,
    /// The memory controller of control groups of version 2, free for a test: with it memory is made
    /// short for one process alone. Only root has it.
    MemoryController,
    /// The kernel's trace (tracefs, CONFIG_TRACING). Only root sees it.
    Tracing,
    /// Threads that may make no system call (seccomp(2), CONFIG_SECCOMP).
    Seccomp,
    /// Threads at a real-time priority (sched(7)): for a process with CAP_SYS_NICE, as root is.
    RealTime,
    /// A machine that is there for the tests alone, a VM: memory may be made short there, settings of
    /// the kernel changed, and its trace emptied. The lane is it or is not.
    OwnMachine,
    /// A C compiler, `cc`.
    CCompiler,
    /// Programs of another C library, in [`OTHER_LIBC_FOLDER`].
    OtherLibc,
    /// SELinux with the allocator's policy, enforcing: every process in a domain of its own.
    SelinuxPolicy,
}

impl Facility {
    /// All of them.
    pub const ALL: [Facility; 20] = [
        Facility::Binder,
        Facility::DmaHeapSystem,
        Facility::Cma,
        Facility::Ion,
        Facility::Ashmem,
        Facility::Udmabuf,
        Facility::Vgem,
        Facility::Vkms,
        Facility::SwSync,
        Facility::SyncFiles,
        Facility::HugePages,
        Facility::Pressure,
        Facility::MemoryController,
        Facility::Tracing,
        Facility::Seccomp,
        Facility::RealTime,
        Facility::OwnMachine,
        Facility::CCompiler,
        Facility::OtherLibc,
        Facility::SelinuxPolicy,
    ];

    /// Its name in [`WITHOUT`] and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Facility::Binder => "binder",
            Facility::DmaHeapSystem => "dma-heap-system",
            Facility::Cma => "cma",
            Facility::Ion => "ion",
            Facility::Ashmem => "ashmem",
            Facility::Udmabuf => "udmabuf",
            Facility::Vgem => "vgem",
            Facility::Vkms => "vkms",
            Facility::SwSync => "sw-sync",
            Facility::SyncFiles => "sync-files",
            Facility::HugePages => "huge-pages",
            Facility::Pressure => "pressure",
            Facility::MemoryController => "memory-controller",
            Facility::Tracing => "tracing",
            Facility::Seccomp => "seccomp",
            Facility::RealTime => "real-time",
            Facility::OwnMachine => "own-machine",
            Facility::CCompiler => "c-compiler",
            Facility::OtherLibc => "other-libc",
            Facility::SelinuxPolicy => "selinux-policy",
        }
    }

    /// Whether this kernel has it.
    pub fn is_here(self) -> bool {
        look::is_here(self)
    }
}

impl fmt::Display for Facility {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Facility {
    type Err = String;

    fn from_str(name: &str) -> Result<Facility, String> {
        let found = Facility::ALL.into_iter().find(|facility| facility.name() == name);
        found.ok_or_else(|| format!("there is no facility {name:?}"))
    }
}

/// Whether this kernel lacks what the calling test needs; the test then returns.
///
/// # Panics
///
/// If the lane promised otherwise.
#[must_use = "a test that its kernel cannot serve has to return"]
pub fn missing(facility: Facility) -> bool {
    missing_any(&[facility])
}

/// Whether this kernel lacks any of what the calling test needs; the test then returns.
///
/// # Panics
///
/// If the lane promised otherwise.
#[must_use = "a test that its kernel cannot serve has to return"]
pub fn missing_any(facilities: &[Facility]) -> bool {
    let promise = Promise::of_this_lane();
    let thread = std::thread::current();
    // libtest runs each test in a thread of its name.
    let test = thread.name().unwrap_or("a test without a name");
    let mut any = false;
    for &facility in facilities {
        let here = facility.is_here();
        if let Err(broken) = promise.check(facility, here) {
            panic!("{broken}");
        }
        if !here {
            Report::Missing(facility, test.to_owned()).tell();
            any = true;
        }
    }
    any
}

/// What the lane's kernel must lack, and by that what it must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Promise(Option<Vec<Facility>>);

impl Promise {
    /// As [`WITHOUT`] has it.
    ///
    /// # Panics
    ///
    /// If that names what is no facility.
    pub fn of_this_lane() -> Promise {
        let text = std::env::var_os(WITHOUT).map(|text| text.to_string_lossy().into_owned());
        Promise::parse(text.as_deref()).unwrap_or_else(|error| panic!("{WITHOUT}: {error}"))
    }

    fn parse(without: Option<&str>) -> Result<Promise, String> {
        let Some(text) = without else { return Ok(Promise(None)) };
        let names = text.split(',').filter(|name| !name.is_empty());
        names.map(Facility::from_str).collect::<Result<_, _>>().map(|all| Promise(Some(all)))
    }

    /// Holds what was seen against the promise.
    pub fn check(&self, facility: Facility, here: bool) -> Result<(), String> {
        let lacked = self.0.as_ref().map(|without| without.contains(&facility));
        match (lacked, here) {
            (Some(true), true) => {
                Err(format!("{facility} is here, and the lane declares it lacking"))
            }
            (Some(false), false) => {
                Err(format!("{facility} is missing, and the lane does not declare it lacking"))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_facility_is_listed_once_and_found_by_its_name() {
        for (index, facility) in Facility::ALL.into_iter().enumerate() {
            assert_eq!(facility as usize, index);
            assert_eq!(facility.name().parse(), Ok(facility));
        }
        assert!("ION".parse::<Facility>().is_err());
    }

    #[test]
    fn a_promise_is_broken_both_ways() {
        let promise = Promise::parse(Some("ion,vkms")).unwrap();
        assert_eq!(promise.check(Facility::Ion, false), Ok(()));
        assert_eq!(promise.check(Facility::Cma, true), Ok(()));
        let declared = promise.check(Facility::Ion, true).unwrap_err();
        assert!(declared.contains("ion is here"), "{declared}");
        let silent = promise.check(Facility::Cma, false).unwrap_err();
        assert!(silent.contains("cma is missing"), "{silent}");
    }

    #[test]
    fn an_empty_promise_is_one_and_none_is_none() {
        let full = Promise::parse(Some("")).unwrap();
        let none = Promise::parse(None).unwrap();
        for facility in Facility::ALL {
            assert!(full.check(facility, false).is_err());
            assert_eq!(full.check(facility, true), Ok(()));
            assert_eq!(none.check(facility, true), none.check(facility, false));
        }
        assert!(Promise::parse(Some("ion,no-such-thing")).is_err());
    }
}
