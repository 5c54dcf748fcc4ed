// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Where buffers come from, by what they are for.

use std::fmt;

use berth_layout::Usage;

use crate::heap_class::HeapClass;

/// Where a buffer or image comes from that no other line speaks of: pages before scarce contiguous
/// memory, dma-bufs before memory that no device can import. Heaps of vendors and secure ones only
/// serve those that ask for them.
pub(super) const ANY_USAGE: [HeapClass; 5] = [
    HeapClass::System,
    HeapClass::SystemUncached,
    HeapClass::Contiguous,
    HeapClass::Udmabuf,
    HeapClass::Shmem,
];

/// The same for a buffer that the CPU neither reads nor writes: where the kernel has memory that the
/// CPU does not cache, nobody has to maintain a cache for it.
pub(super) const NO_CPU_USAGE: [HeapClass; 5] = [
    HeapClass::SystemUncached,
    HeapClass::System,
    HeapClass::Contiguous,
    HeapClass::Udmabuf,
    HeapClass::Shmem,
];

/// What protected buffers come from, whatever the policy says.
pub(super) const PROTECTED_USAGE: [HeapClass; 1] = [HeapClass::Secure];

/// How the file calls the usage of all buffers.
pub(super) const ANY: &str = "any";

/// The one usage that no line can name: a buffer that must be protected has one source.
pub(super) const PROTECTED: &str = "PROTECTED";

/// The usages that a line can name, as AIDL spells them: all that a request may have, but PROTECTED.
pub(super) const USAGES: [(&str, Usage); 19] = [
    ("CPU_READ_RARELY", Usage::CPU_READ_RARELY),
    ("CPU_READ_OFTEN", Usage::CPU_READ_OFTEN),
    ("CPU_WRITE_RARELY", Usage::CPU_WRITE_RARELY),
    ("CPU_WRITE_OFTEN", Usage::CPU_WRITE_OFTEN),
    ("GPU_TEXTURE", Usage::GPU_TEXTURE),
    ("GPU_RENDER_TARGET", Usage::GPU_RENDER_TARGET),
    ("COMPOSER_OVERLAY", Usage::COMPOSER_OVERLAY),
    ("COMPOSER_CLIENT_TARGET", Usage::COMPOSER_CLIENT_TARGET),
    ("COMPOSER_CURSOR", Usage::COMPOSER_CURSOR),
    ("VIDEO_ENCODER", Usage::VIDEO_ENCODER),
    ("CAMERA_OUTPUT", Usage::CAMERA_OUTPUT),
    ("CAMERA_INPUT", Usage::CAMERA_INPUT),
    ("RENDERSCRIPT", Usage::RENDERSCRIPT),
    ("VIDEO_DECODER", Usage::VIDEO_DECODER),
    ("SENSOR_DIRECT_DATA", Usage::SENSOR_DIRECT_DATA),
    ("GPU_DATA_BUFFER", Usage::GPU_DATA_BUFFER),
    ("GPU_CUBE_MAP", Usage::GPU_CUBE_MAP),
    ("HW_IMAGE_ENCODER", Usage::HW_IMAGE_ENCODER),
    ("FRONT_BUFFER", Usage::FRONT_BUFFER),
];

/// The CPU fields: values of 4 bits, not flags.
const CPU_FIELDS: [Usage; 2] = [Usage::CPU_READ_MASK, Usage::CPU_WRITE_MASK];

/// A `usage` line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageRule {
    /// The usages that it is for; empty stands for `any`.
    pub usage: Usage,
    /// The classes that buffers of such a usage come from, the best first; at least one, none twice.
    pub classes: Vec<HeapClass>,
}

/// Where a buffer comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sources<'policy> {
    /// The classes that serve it, the best first; at least one.
    pub classes: &'policy [HeapClass],
    /// How many of them, from the first, are what the buffer's usage asks for; the others are
    /// fallbacks.
    pub asked_for: usize,
}

impl UsageRule {
    /// The rule for everything that no line speaks of.
    pub(super) fn any() -> UsageRule {
        UsageRule { usage: Usage::empty(), classes: ANY_USAGE.to_vec() }
    }

    /// Whether it is the rule for everything that no line speaks of, and as it would be without a
    /// file.
    pub(super) fn is_default(&self) -> bool {
        self.usage.is_empty() && self.classes == ANY_USAGE
    }

    /// Whether the rule is for a buffer: one that has any of the rule's usages. What the CPU does
    /// often it also does rarely, so that CPU_READ_RARELY stands for every reading.
    pub fn matches(&self, usage: Usage) -> bool {
        covers(self.usage, usage)
    }
}

/// Whether a rule for `rule` is for a buffer of `usage`.
pub(super) fn covers(rule: Usage, usage: Usage) -> bool {
    let flags = CPU_FIELDS.into_iter().fold(rule, |flags, field| flags - field);
    let as_often = |field: Usage| {
        let least = (rule & field).bits();
        least != 0 && (usage & field).bits() >= least
    };
    rule.is_empty() || flags.intersects(usage) || CPU_FIELDS.into_iter().any(as_often)
}

/// Whether a rule for `rule` names this usage, which is one of the table.
fn names(rule: Usage, usage: Usage) -> bool {
    let field = CPU_FIELDS.into_iter().find(|field| field.contains(usage)).unwrap_or(usage);
    rule & field == usage
}

impl fmt::Display for UsageRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = USAGES.iter().filter(|(_, usage)| names(self.usage, *usage));
        let mut usages: Vec<&str> = named.map(|(name, _)| *name).collect();
        if self.usage.is_empty() {
            usages.push(ANY);
        }
        write!(f, "usage {}", usages.join("|"))?;
        self.classes.iter().try_for_each(|class| write!(f, " {class}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(usage: Usage) -> UsageRule {
        UsageRule { usage, classes: vec![HeapClass::System] }
    }

    #[test]
    fn the_table_has_every_usage_that_a_request_may_have_but_protected() {
        let vendors = Usage::VENDOR_MASK | Usage::VENDOR_MASK_HI;
        let left_out = vendors | Usage::PROTECTED | Usage::GPU_MIPMAP_COMPLETE;
        let mut all = USAGES.iter().fold(Usage::empty(), |all, (_, usage)| all | *usage);
        all |= Usage::CPU_READ_MASK | Usage::CPU_WRITE_MASK;
        assert_eq!(all, Usage::all() - left_out);
        for (name, usage) in USAGES {
            assert_eq!(Usage::from_name(name), Some(usage));
        }
    }

    #[test]
    fn a_rule_is_for_buffers_that_have_any_of_its_usages() {
        let video = rule(Usage::VIDEO_ENCODER | Usage::VIDEO_DECODER);
        assert!(video.matches(Usage::VIDEO_DECODER | Usage::GPU_TEXTURE));
        assert!(!video.matches(Usage::GPU_TEXTURE | Usage::CPU_READ_OFTEN));
        assert!(!video.matches(Usage::empty()));
        assert!(rule(Usage::empty()).matches(Usage::empty()));
        assert!(rule(Usage::empty()).matches(Usage::VIDEO_DECODER));
    }

    #[test]
    fn rarely_stands_for_often_too_but_not_the_other_way_round() {
        let rarely = rule(Usage::CPU_READ_RARELY);
        let often = rule(Usage::CPU_READ_OFTEN | Usage::CAMERA_INPUT);
        assert!(rarely.matches(Usage::CPU_READ_OFTEN) && rarely.matches(Usage::CPU_READ_RARELY));
        assert!(often.matches(Usage::CPU_READ_OFTEN) && !often.matches(Usage::CPU_READ_RARELY));
        assert!(!rarely.matches(Usage::CPU_WRITE_OFTEN));
        assert_eq!(rarely.to_string(), "usage CPU_READ_RARELY system");
        assert_eq!(often.to_string(), "usage CPU_READ_OFTEN|CAMERA_INPUT system");
    }
}
