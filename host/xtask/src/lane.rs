// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! The lanes: on what the tests, the demo and `cargo xtask vm` run. A lane more is a row more here.

use berth_facilities::Facility;
use clap::builder::PossibleValue;
use clap::ValueEnum;

/// A lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lane {
    /// Its name on the command line and in `BERTH_LANE`.
    pub name: &'static str,
    /// What it is, in a few words.
    pub about: &'static str,
    /// Whether `cargo xtask test` runs it when no lane is named.
    pub by_default: bool,
    /// What it runs on.
    pub kind: Kind,
}

/// What a lane runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// This machine's own kernel, over RPC Binder.
    Host,
    /// A virtual machine with a kernel that has the Binder driver.
    Vm(Machine),
}

/// A virtual machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    /// The kernel it boots.
    pub kernel: Kernel,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// Processors.
    pub processors: u32,
    /// What they are: QEMU's `-cpu`.
    pub model: &'static str,
    /// What is appended to the kernel's command line.
    pub command_line: &'static str,
    /// Whether SELinux enforces the allocator's policy there.
    pub selinux: bool,
    /// What its kernel lacks; everything else is there. The tests hold the kernel to both. What
    /// this machine's own kernel lacks is found out by looking instead.
    pub without: &'static [Facility],
}

/// All that QEMU emulates, without the promise that copying byte by byte is fast (ERMS, FSRM). A kernel
/// that is told so clears and copies pages that way, for which the emulator takes eight times as long as
/// for words: the end-to-end tests of `modern` took 14 minutes, and take 9.
const QUICK: &str = "max,-erms,-fsrm";

/// A virtual machine's kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernel {
    /// As Debian ships it.
    Stock(Stock),
    /// Built here.
    Own(Own),
}

/// A stock kernel of a Debian suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stock {
    /// The suite.
    pub suite: &'static str,
    /// The meta package.
    pub package: &'static str,
    /// How the real package that it depends on starts.
    pub prefix: &'static str,
    /// The modules taken along, under the module folder's `kernel/`, in the order to insert them.
    pub modules: &'static [&'static str],
}

/// A kernel built from Debian's source with a configuration of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Own {
    /// The suite; its security updates count as part of it.
    pub suite: &'static str,
    /// The package that holds the source as `usr/src/PACKAGE.tar.xz`.
    pub package: &'static str,
    /// What is set beyond `make tinyconfig`: a file in `tests/vm`.
    pub config: &'static str,
}

/// Debian trixie's kernel.
const TRIXIE: Stock = Stock {
    suite: "trixie",
    package: "linux-image-amd64",
    prefix: "linux-image-6",
    modules: &[
        "drivers/android/binder_linux",
        "drivers/gpu/drm/drm",
        "drivers/gpu/drm/drm_kms_helper",
        "drivers/gpu/drm/drm_shmem_helper",
        "drivers/gpu/drm/vgem/vgem",
    ],
};

/// Every lane there is.
pub const LANES: &[Lane] = &[
    Lane {
        name: "host",
        about: "this machine's kernel, RPC Binder over a Unix socket",
        by_default: true,
        kind: Kind::Host,
    },
    Lane {
        name: "modern",
        about: "Debian trixie's stock 6.12 in a VM, kernel Binder",
        by_default: true,
        kind: Kind::Vm(Machine {
            kernel: Kernel::Stock(TRIXIE),
            memory_mib: 512,
            processors: 1,
            model: QUICK,
            command_line: "",
            selinux: false,
            without: &[
                Facility::CCompiler,
                Facility::OtherLibc,
                Facility::Cma,
                Facility::Ion,
                Facility::Ashmem,
                Facility::Vkms,
                Facility::SwSync,
                Facility::SelinuxPolicy,
            ],
        }),
    },
    Lane {
        name: "legacy",
        about: "a 5.10 of our configuration in a VM: binderfs, ION, ashmem, CMA heap",
        by_default: true,
        kind: Kind::Vm(Machine {
            kernel: Kernel::Own(Own {
                suite: "bullseye",
                package: "linux-source-5.10",
                config: "kernel-5.10.config",
            }),
            memory_mib: 512,
            processors: 1,
            model: QUICK,
            command_line: "",
            selinux: false,
            without: &[
                Facility::CCompiler,
                Facility::OtherLibc,
                Facility::Vgem,
                Facility::Vkms,
                Facility::SyncFiles,
                Facility::HugePages,
                Facility::Tracing,
                Facility::Seccomp,
                Facility::SelinuxPolicy,
            ],
        }),
    },
    Lane {
        name: "selinux",
        about: "the modern lane's kernel, SELinux enforcing: each process in its domain",
        by_default: true,
        kind: Kind::Vm(Machine {
            kernel: Kernel::Stock(TRIXIE),
            memory_mib: 512,
            processors: 1,
            model: QUICK,
            command_line: "security=selinux",
            selinux: true,
            without: &[
                Facility::CCompiler,
                Facility::OtherLibc,
                Facility::Cma,
                Facility::Ion,
                Facility::Ashmem,
                Facility::Vkms,
                Facility::SwSync,
            ],
        }),
    },
    Lane {
        name: "custom",
        about: "a 6.12 of our configuration in a VM: binderfs, CMA heap, sw_sync, vkms",
        by_default: false,
        kind: Kind::Vm(Machine {
            kernel: Kernel::Own(Own {
                suite: "trixie",
                package: "linux-source-6.12",
                config: "kernel-6.12.config",
            }),
            memory_mib: 512,
            processors: 1,
            model: QUICK,
            command_line: "",
            selinux: false,
            without: &[
                Facility::CCompiler,
                Facility::OtherLibc,
                Facility::Ion,
                Facility::Ashmem,
                Facility::HugePages,
                Facility::Tracing,
                Facility::Seccomp,
                Facility::SelinuxPolicy,
            ],
        }),
    },
];

impl Lane {
    /// Whether SELinux decides there who may do what.
    pub fn enforces_selinux(&self) -> bool {
        matches!(self.kind, Kind::Vm(machine) if machine.selinux)
    }
}

/// The lane that the demo and `vm` boot unless told otherwise.
pub const DEFAULT_VM: &str = "modern";

impl ValueEnum for Lane {
    fn value_variants<'a>() -> &'a [Self] {
        LANES
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name).help(self.about))
    }
}

/// What `test --lane` takes: a lane, or all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// One lane.
    One(Lane),
    /// Every lane.
    All,
}

impl ValueEnum for Choice {
    fn value_variants<'a>() -> &'a [Self] {
        const CHOICES: [Choice; LANES.len() + 1] = {
            let mut choices = [Choice::All; LANES.len() + 1];
            let mut index = 0;
            while index < LANES.len() {
                choices[index] = Choice::One(LANES[index]);
                index += 1;
            }
            choices
        };
        &CHOICES
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        match self {
            Self::One(lane) => lane.to_possible_value(),
            Self::All => Some(PossibleValue::new("all").help("every lane")),
        }
    }
}

/// The lanes that were asked for, in the table's order, each once; without any, the default ones.
pub fn chosen(choices: &[Choice]) -> Vec<Lane> {
    let wanted = |lane: &Lane| match choices {
        [] => lane.by_default,
        _ => choices.iter().any(|c| *c == Choice::All || *c == Choice::One(*lane)),
    };
    LANES.iter().copied().filter(wanted).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(choices: &[&str]) -> Vec<&'static str> {
        let choices: Vec<Choice> =
            choices.iter().map(|name| Choice::from_str(name, false).unwrap()).collect();
        chosen(&choices).iter().map(|lane| lane.name).collect()
    }

    #[test]
    fn lanes_are_chosen_once_and_in_order() {
        assert_eq!(names(&["modern", "host", "modern"]), ["host", "modern"]);
        assert_eq!(names(&["modern"]), ["modern"]);
        assert_eq!(names(&["all"]).len(), LANES.len());
        let default: Vec<_> = LANES.iter().filter(|l| l.by_default).map(|l| l.name).collect();
        assert_eq!(names(&[]), default);
    }

    #[test]
    fn the_default_lane_is_a_vm() {
        let lane = LANES.iter().find(|lane| lane.name == DEFAULT_VM).unwrap();
        assert!(matches!(lane.kind, Kind::Vm(_)));
    }
}
