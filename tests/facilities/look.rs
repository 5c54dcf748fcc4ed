// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Looking at the kernel.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::Facility;

/// The names that the dma-heap of contiguous memory has had; the last came with Linux 6.17.
pub const CMA_HEAPS: [&str; 4] = ["reserved", "linux,cma", "default-pool", "default_cma_region"];

pub fn is_here(facility: Facility) -> bool {
    let exists = |path: &str| Path::new(path).exists();
    match facility {
        Facility::Binder => exists("/dev/binder"),
        Facility::DmaHeapSystem => exists("/dev/dma_heap/system"),
        Facility::Cma => CMA_HEAPS.iter().any(|name| exists(&format!("/dev/dma_heap/{name}"))),
        Facility::Ion => exists("/dev/ion"),
        Facility::Ashmem => exists("/dev/ashmem"),
        Facility::Udmabuf => exists("/dev/udmabuf"),
        Facility::Vgem => has_drm_device("vgem"),
        Facility::Vkms => has_drm_device("vkms"),
        Facility::SwSync => exists("/sys/kernel/debug/sync/sw_sync"),
        // Nothing but the version tells.
        Facility::SyncFiles => {
            let release = fs::read_to_string("/proc/sys/kernel/osrelease");
            release.is_ok_and(|release| version(&release) >= Some((6, 0)))
        }
        Facility::HugePages => exists("/sys/kernel/mm/hugepages"),
        Facility::Pressure => exists("/proc/pressure/memory"),
        Facility::Seccomp => {
            let status = fs::read_to_string("/proc/self/status");
            status.is_ok_and(|status| status.contains("\nSeccomp:"))
        }
        Facility::MemoryController => {
            let is_root = fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
            let groups = fs::read_to_string("/proc/cgroups");
            is_root && groups.is_ok_and(|groups| has_free_memory_controller(&groups))
        }
        Facility::Tracing => exists("/sys/kernel/tracing/trace_marker"),
        Facility::RealTime => {
            let status = fs::read_to_string("/proc/self/status");
            status.is_ok_and(|status| has_capability(&status, CAP_SYS_NICE))
        }
        Facility::OwnMachine => {
            std::env::var("BERTH_LANE").is_ok_and(|lane| !lane.is_empty() && lane != "host")
        }
        Facility::CCompiler => {
            let path = std::env::var_os("PATH").unwrap_or_default();
            std::env::split_paths(&path).any(|folder| folder.join("cc").is_file())
        }
        Facility::OtherLibc => std::env::var_os(crate::OTHER_LIBC_FOLDER).is_some(),
        // The class is in Android's policies, and in ours, and in no distribution's.
        Facility::SelinuxPolicy => {
            let enforcing = fs::read_to_string("/sys/fs/selinux/enforce");
            enforcing.is_ok_and(|text| text.trim() == "1")
                && exists("/sys/fs/selinux/class/service_manager")
        }
    }
}

/// `include/uapi/linux/capability.h`.
const CAP_SYS_NICE: u32 = 23;

/// Whether `/proc/self/status` (proc_pid_status(5)) says that the process has a capability.
fn has_capability(status: &str, capability: u32) -> bool {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let bits = line.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok());
    bits.is_some_and(|bits| bits >> capability & 1 != 0)
}

/// Whether `/proc/cgroups` (cgroups(7)) says of the memory controller that it is enabled and that
/// no hierarchy of version 1 has it.
fn has_free_memory_controller(groups: &str) -> bool {
    groups.lines().any(|line| {
        let mut fields = line.split_ascii_whitespace();
        let (name, hierarchy) = (fields.next(), fields.next());
        (name, hierarchy, fields.nth(1)) == (Some("memory"), Some("0"), Some("1"))
    })
}

/// Whether a card of a virtual DRM driver has its node. These drivers bind no device: the one that
/// they make for their card has their name.
fn has_drm_device(driver: &str) -> bool {
    let Ok(entries) = fs::read_dir("/sys/class/drm") else { return false };
    entries.flatten().any(|entry| {
        let device = fs::canonicalize(entry.path().join("device"));
        let node = Path::new("/dev/dri").join(entry.file_name());
        device.is_ok_and(|device| device.ends_with(driver)) && node.exists()
    })
}

/// The first two numbers of a kernel's release, as `6.12.107+deb13-amd64`.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.trim().split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_memory_controller_is_free_if_it_is_on_and_nobody_has_it() {
        let groups =
            "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpu\t0\t1\t1\nmemory\t0\t1\t1\n";
        assert!(has_free_memory_controller(groups));
        assert!(!has_free_memory_controller(
            &groups.replace("memory\t0\t1\t1", "memory\t4\t21\t1")
        ));
        assert!(!has_free_memory_controller(&groups.replace("memory\t0\t1\t1", "memory\t0\t1\t0")));
        assert!(!has_free_memory_controller("#subsys_name\n"));
    }

    #[test]
    fn a_capability_is_a_bit_of_those_in_effect() {
        let status = "Name:\tany\nCapPrm:\t000001ffffffffff\nCapEff:\t0000000000800001\n";
        assert!(has_capability(status, CAP_SYS_NICE) && has_capability(status, 0));
        assert!(!has_capability(status, 1) && !has_capability("Name:\tany\n", 0));
    }

    #[test]
    fn versions_compare_as_numbers() {
        assert_eq!(version("6.12.107+deb13-amd64\n"), Some((6, 12)));
        assert_eq!(version("5.10.262"), Some((5, 10)));
        assert_eq!(version("6.1-rc3"), Some((6, 1)));
        assert_eq!(version("linux"), None);
        assert!(version("5.19") < Some((6, 0)) && version("10.0") >= Some((6, 0)));
    }
}
