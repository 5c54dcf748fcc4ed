// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! What a device says of its heaps and limits: the policy file.
//!
//! The file is lines of words, as ueventd.rc and fstab are; `#` begins a comment. No crate that AOSP
//! carries for vendors reads a format with comments and names line and key in its errors: JSON has
//! no comments, and the crate toml is for hosts only. What a line can say:
//!
//! ```text
//! heap NAME class CLASS             the heap is of this class, whatever its name suggests
//! heap NAME max-buffer SIZE         the largest buffer from it
//! heap NAME off                     it is never used
//! usage USAGE[|USAGE...] CLASS...   where buffers of any of these usages come from, the best first
//! stride WHO BYTES                  what the stride is a multiple of for base, gpu, composer, ...
//! limit LIMIT VALUE                 the most of a buffer, a session, a uid, the service
//! uid UID bytes|buffers|descriptors|sessions VALUE   the same for one uid
//! ```
//!
//! What no line says is as it would be without the file. No line overrides another: the same thing
//! said twice is a mistake, and with one mistake none of the file holds. Of the usage lines the
//! first that is for a buffer serves it; each usage has one line, and `any` is the last.
//!
//! * `parse`: from text to a policy.
//! * `amount`, `limits`, `usage_rule`: the values.
//! * `error`: what can be wrong.

mod amount;
mod error;
mod limits;
mod parse;
mod usage_rule;

#[cfg(test)]
mod mistakes;
#[cfg(test)]
mod on_machines;
#[cfg(test)]
mod properties;

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use berth_layout::{StridePolicy, Usage};

pub use amount::Amount;
pub use error::{LoadError, PolicyError, PolicyProblem};
pub use limits::{LimitKey, LimitOverrides, Stated, UidLimits, UidOverrides};
pub use usage_rule::{Sources, UsageRule};

use crate::accounts::Limits;
use crate::heap_class::HeapClass;

/// Where a device has its policy.
pub const DEVICE_PATH: &str = "/vendor/etc/berth/allocator.policy";

/// The environment variable that names another file, except on Android.
pub const PATH_VARIABLE: &str = "BERTH_POLICY";

/// The most bytes of a policy file.
pub const MAX_FILE_BYTES: usize = 64 << 10;

/// The most lines of a policy file.
pub const MAX_FILE_LINES: usize = 1024;

/// The policy file of this machine: [`DEVICE_PATH`], or what [`PATH_VARIABLE`] names.
pub fn path() -> PathBuf {
    #[cfg(not(target_os = "android"))]
    if let Some(path) = std::env::var_os(PATH_VARIABLE) {
        return path.into();
    }
    DEVICE_PATH.into()
}

/// What a device says of its heaps and limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// The `heap` lines, by the heap's name.
    pub heaps: BTreeMap<String, HeapPolicy>,
    /// The `usage` lines, in their order; the last is for any usage.
    pub usages: Vec<UsageRule>,
    /// The `stride` lines over the defaults.
    pub strides: StridePolicy,
    /// The `limit` lines.
    pub limits: LimitOverrides,
    /// The `uid` lines, by uid.
    pub uids: BTreeMap<u32, UidOverrides>,
}

/// What a device says of one heap.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HeapPolicy {
    /// Its class, if not that of its name.
    pub class: Option<HeapClass>,
    /// The largest buffer from it, in bytes, if less than the largest at all.
    pub max_buffer_bytes: Option<u64>,
    /// It is not used at all, whatever else is said of it.
    pub off: bool,
}

impl Default for Policy {
    /// What holds on a device that says nothing.
    fn default() -> Policy {
        Policy {
            heaps: BTreeMap::new(),
            usages: vec![UsageRule::any()],
            strides: StridePolicy::DEFAULT,
            limits: LimitOverrides::default(),
            uids: BTreeMap::new(),
        }
    }
}

impl Policy {
    /// Reads a policy from a file's text.
    ///
    /// # Errors
    ///
    /// The first mistake; or, if no line is wrong by itself, the first line that contradicts another.
    pub fn parse(text: &str) -> Result<Policy, PolicyError> {
        parse::parse(text.as_bytes())
    }

    /// Reads a policy file, which must be there.
    ///
    /// # Errors
    ///
    /// What keeps it from being read, or what is wrong in it.
    pub fn read(path: &Path) -> Result<Policy, LoadError> {
        let unreadable = |cause| LoadError::Unreadable { path: path.to_owned(), cause };
        let file = File::open(path).map_err(unreadable)?;
        let mut text = Vec::new();
        // One byte more shows that the file is too long.
        let most = (MAX_FILE_BYTES as u64).saturating_add(1);
        file.take(most).read_to_end(&mut text).map_err(unreadable)?;
        parse::parse(&text).map_err(|cause| LoadError::Wrong { path: path.to_owned(), cause })
    }

    /// Reads a policy file; without one, the default holds.
    ///
    /// # Errors
    ///
    /// As [`read`](Policy::read), but for a file that is not there.
    pub fn load(path: &Path) -> Result<Policy, LoadError> {
        match Policy::read(path) {
            Err(LoadError::Unreadable { cause, .. }) if cause.kind() == io::ErrorKind::NotFound => {
                log::info!("no policy file {}: the default policy", path.display());
                Ok(Policy::default())
            }
            Ok(policy) => {
                log::info!("policy file {}", path.display());
                Ok(policy)
            }
            Err(error) => Err(error),
        }
    }

    /// The class of a heap: what the policy says, or else what the name does.
    pub fn class_of(&self, heap: &str) -> HeapClass {
        let said = self.heaps.get(heap).and_then(|heap| heap.class);
        said.unwrap_or_else(|| HeapClass::of_name(heap))
    }

    /// Whether a heap may be used.
    pub fn allows(&self, heap: &str) -> bool {
        !self.heaps.get(heap).is_some_and(|heap| heap.off)
    }

    /// The largest buffer of a heap in bytes, where the largest of all has `most`.
    pub fn max_buffer_bytes(&self, heap: &str, most: u64) -> u64 {
        let said = self.heaps.get(heap).and_then(|heap| heap.max_buffer_bytes);
        said.map_or(most, |said| said.min(most))
    }

    /// Where a buffer or image of this usage comes from. What must be protected comes from secure
    /// heaps and nothing else; what the CPU never touches, unless a line says otherwise, from memory
    /// that it does not cache just as well.
    pub fn sources_for(&self, usage: Usage) -> Sources<'_> {
        if usage.contains(Usage::PROTECTED) {
            return Sources { classes: &usage_rule::PROTECTED_USAGE, asked_for: 1 };
        }
        let no_cpu = !usage.is_empty() && !usage.cpu_reads() && !usage.cpu_writes();
        match self.usages.iter().find(|rule| rule.matches(usage)) {
            Some(rule) if !(no_cpu && rule.is_default()) => {
                Sources { classes: &rule.classes, asked_for: 1 }
            }
            _ if no_cpu => Sources { classes: &usage_rule::NO_CPU_USAGE, asked_for: 2 },
            _ => Sources { classes: &usage_rule::ANY_USAGE, asked_for: 1 },
        }
    }

    /// The limits of everybody, and those of the uids that have their own, on a machine of
    /// `total_memory` bytes that would have the limits `machine` without a policy.
    ///
    /// # Errors
    ///
    /// The line that asks for more than this machine, or the limit that contains it, has.
    pub fn limits_on(
        &self,
        machine: Limits,
        total_memory: u64,
    ) -> Result<(Limits, BTreeMap<u32, UidLimits>), PolicyError> {
        let limits = self.limits.apply(machine, total_memory)?;
        let own =
            |(uid, own): (&u32, &UidOverrides)| Ok((*uid, own.apply(*uid, &limits, total_memory)?));
        let uids = self.uids.iter().map(own).collect::<Result<_, PolicyError>>()?;
        Ok((limits, uids))
    }
}

impl fmt::Display for Policy {
    /// The whole policy as a file would say it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, heap) in &self.heaps {
            if let Some(class) = heap.class {
                writeln!(f, "heap {name} class {class}")?;
            }
            if let Some(bytes) = heap.max_buffer_bytes {
                writeln!(f, "heap {name} max-buffer {}", amount::size_text(bytes))?;
            }
            if heap.off {
                writeln!(f, "heap {name} off")?;
            }
        }
        self.usages.iter().try_for_each(|rule| writeln!(f, "{rule}"))?;
        let StridePolicy { base, gpu, composer, video, camera } = self.strides;
        writeln!(f, "stride base {base}\nstride gpu {gpu}\nstride composer {composer}")?;
        writeln!(f, "stride video {video}\nstride camera {camera}")?;
        write!(f, "{}", self.limits)?;
        for (uid, own) in &self.uids {
            for (name, stated) in [
                ("bytes", own.bytes),
                ("buffers", own.buffers),
                ("descriptors", own.descriptors),
                ("sessions", own.sessions),
            ] {
                if let Some(stated) = stated {
                    writeln!(f, "uid {uid} {name} {}", stated.value)?;
                }
            }
        }
        Ok(())
    }
}
