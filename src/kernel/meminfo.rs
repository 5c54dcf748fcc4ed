// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! How much memory the machine has and how much it could give (`/proc/meminfo`, proc(5)).

use std::fs::File;
use std::io::Read;

use nix::errno::Errno;

use crate::KernelError;

const PATH: &str = "/proc/meminfo";

/// More than twice what the file has (fewer than 70 lines of 28 bytes), which the kernel makes whole
/// for one read of that many bytes.
const MAX_BYTES: usize = 4096;

/// The machine's memory at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemInfo {
    /// `MemTotal`, in bytes.
    pub total: u64,
    /// `MemFree`, in bytes: what nobody uses. dma-heap memory leaves and returns here.
    pub free: u64,
    /// `MemAvailable`, in bytes: what could be had without swapping, by the kernel's estimate.
    pub available: u64,
    /// `Shmem`, in bytes: what memfds and other shared memory use.
    pub shared: u64,
    /// `CmaTotal`, in bytes: all areas of contiguous memory together; `None` without CMA.
    pub contiguous: Option<u64>,
}

impl MemInfo {
    /// Asks the kernel.
    pub fn read() -> Result<MemInfo, KernelError> {
        let mut text = [0; MAX_BYTES];
        let length = File::open(PATH)
            .and_then(|mut file| file.read(&mut text))
            .map_err(KernelError::io(|| format!("read {PATH}")))?;
        text.get(..length)
            .and_then(|text| MemInfo::parse(std::str::from_utf8(text).ok()?))
            .ok_or_else(|| KernelError::new(format!("understand {PATH}"), Errno::EPROTO))
    }

    /// Reads the file's text.
    pub fn parse(text: &str) -> Option<MemInfo> {
        let bytes = |key: &str| -> Option<u64> {
            let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
            let kib: u64 = line.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
            kib.checked_mul(1024)
        };
        Some(MemInfo {
            total: bytes("MemTotal")?,
            free: bytes("MemFree")?,
            available: bytes("MemAvailable")?,
            shared: bytes("Shmem")?,
            contiguous: bytes("CmaTotal").filter(|bytes| *bytes > 0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn this_machine_has_memory() {
        let memory = MemInfo::read().unwrap();
        assert!(memory.free > 0 && memory.free <= memory.total);
        assert!(memory.available <= memory.total);
    }

    #[test]
    fn kibibytes_become_bytes() {
        let text = "MemTotal: 1000 kB\nMemFree:  10 kB\nMemAvailable:   500 kB\nMemFreeX: 1 kB\n\
                    Shmem: 2 kB\n";
        let expected = MemInfo {
            total: 1_024_000,
            free: 10_240,
            available: 512_000,
            shared: 2048,
            contiguous: None,
        };
        assert_eq!(MemInfo::parse(text), Some(expected));
        let with_areas = format!("{text}CmaTotal:   64 kB\nCmaFree: 60 kB\n");
        let contiguous = Some(65_536);
        assert_eq!(MemInfo::parse(&with_areas), Some(MemInfo { contiguous, ..expected }));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text: String, kib: u64) {
            let _ = MemInfo::parse(&text);
            let _ = MemInfo::parse(&format!("MemTotal: {kib} kB\nMemFree: {kib} kB"));
        }
    }
}
