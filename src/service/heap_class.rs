// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! What kind of memory a heap gives, told by its name. Kernels and vendors name heaps as they like;
//! a device corrects this table in its policy file.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// What kind of memory a heap gives. The interface's `HeapClass.aidl` describes each. The order
/// means nothing: which class serves a request is the policy's business.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HeapClass {
    /// dma-buf of pages, cached by the CPU.
    System,
    /// dma-buf of pages, not cached by the CPU.
    SystemUncached,
    /// dma-buf of contiguous memory.
    Contiguous,
    /// dma-buf of memory that the CPU cannot reach.
    Secure,
    /// Sealed memfd, no dma-buf.
    Shmem,
    /// dma-buf over a memfd.
    Udmabuf,
    /// Whatever else the device's vendor has.
    Vendor,
}

/// How the names of secure heaps begin: Android's (file_contexts again), and those that a TEE's
/// driver registers since Linux 6.18 (drivers/tee/tee_heap.c).
const SECURE_PREFIXES: [&str; 2] = ["system-secure", "protected,"];

impl HeapClass {
    /// Every class.
    pub const ALL: [HeapClass; 7] = [
        HeapClass::System,
        HeapClass::SystemUncached,
        HeapClass::Contiguous,
        HeapClass::Secure,
        HeapClass::Shmem,
        HeapClass::Udmabuf,
        HeapClass::Vendor,
    ];

    /// The table: what the policy file calls the class, and the names that its heaps have.
    ///
    /// The contiguous heap's changed most: it was the CMA area's own until Linux 6.17 called it
    /// `default_cma_region` (drivers/dma-buf/heaps/cma_heap.c). The system heaps' are Android's
    /// (private/file_contexts of AOSP's sepolicy); `memfd` and `udmabuf` are the service's own.
    const fn row(self) -> (&'static str, &'static [&'static str]) {
        match self {
            HeapClass::System => ("system", &["system"]),
            HeapClass::SystemUncached => ("system-uncached", &["system-uncached"]),
            HeapClass::Contiguous => {
                ("contiguous", &["reserved", "linux,cma", "default-pool", "default_cma_region"])
            }
            HeapClass::Secure => ("secure", &[]),
            HeapClass::Shmem => ("shmem", &["memfd"]),
            HeapClass::Udmabuf => ("udmabuf", &["udmabuf"]),
            HeapClass::Vendor => ("vendor", &[]),
        }
    }

    /// What the policy file calls it.
    pub fn name(self) -> &'static str {
        self.row().0
    }

    /// The names that heaps of this class have on one kernel or another. Secure heaps have too many,
    /// and a vendor's are the vendor's.
    pub fn aliases(self) -> &'static [&'static str] {
        self.row().1
    }

    /// The class of a heap by its name; what no table knows is the vendor's.
    pub fn of_name(name: &str) -> HeapClass {
        let known = HeapClass::ALL.into_iter().find(|class| class.aliases().contains(&name));
        let secure = || SECURE_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
        known.unwrap_or_else(|| if secure() { HeapClass::Secure } else { HeapClass::Vendor })
    }
}

impl fmt::Display for HeapClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A word that is the name of no class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("no heap class")]
pub struct UnknownHeapClass;

impl FromStr for HeapClass {
    type Err = UnknownHeapClass;

    fn from_str(word: &str) -> Result<HeapClass, UnknownHeapClass> {
        let named = HeapClass::ALL.into_iter().find(|class| class.name() == word);
        named.ok_or(UnknownHeapClass)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_that_the_contiguous_heap_has_had_is_of_its_class() {
        for name in ["reserved", "linux,cma", "default-pool", "default_cma_region"] {
            assert_eq!(HeapClass::of_name(name), HeapClass::Contiguous, "{name}");
        }
    }

    #[test]
    fn a_heap_is_classed_by_its_name() {
        for (name, class) in [
            ("system", HeapClass::System),
            ("system-uncached", HeapClass::SystemUncached),
            ("system-secure", HeapClass::Secure),
            ("system-secure-video", HeapClass::Secure),
            ("protected,secure-video-record", HeapClass::Secure),
            ("protected,trusted-ui", HeapClass::Secure),
            ("memfd", HeapClass::Shmem),
            ("udmabuf", HeapClass::Udmabuf),
            ("carveout", HeapClass::Vendor),
            ("protected", HeapClass::Vendor),
            ("System", HeapClass::Vendor),
            ("", HeapClass::Vendor),
        ] {
            assert_eq!(HeapClass::of_name(name), class, "{name:?}");
        }
    }

    #[test]
    fn every_class_has_a_row_and_is_read_back_from_its_name() {
        for class in HeapClass::ALL {
            assert_eq!(class.to_string().parse(), Ok(class));
            for alias in class.aliases() {
                assert_eq!(HeapClass::of_name(alias), class, "{alias}");
            }
        }
        assert_eq!("".parse::<HeapClass>(), Err(UnknownHeapClass));
        assert_eq!("contigous".parse::<HeapClass>(), Err(UnknownHeapClass));
    }
}
