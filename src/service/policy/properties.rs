// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! What holds of every file and every policy.

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::amount::{MAX_BYTES, MAX_COUNT};
use super::usage_rule::USAGES;
use super::*;

/// Words of the format and some that are none, so that many files of them are nearly right.
const WORDS: [&str; 47] = [
    "heap",
    "usage",
    "stride",
    "limit",
    "uid",
    "class",
    "max-buffer",
    "off",
    "any",
    "base",
    "gpu",
    "system",
    "secure",
    "vendor",
    "shmem",
    "memfd",
    "linux,cma",
    "reserved",
    "VIDEO_ENCODER",
    "GPU_TEXTURE|CAMERA_INPUT",
    "CPU_READ_OFTEN",
    "CPU_READ_RARELY",
    "PROTECTED",
    "uid-bytes",
    "service-bytes",
    "reserve-bytes",
    "idle-bytes",
    "idle-buffers",
    "idle-seconds",
    "session-buffers",
    "uid-descriptors",
    "bytes",
    "buffers",
    "descriptors",
    "sessions",
    "64",
    "4096",
    "0",
    "1047",
    "64M",
    "25%",
    "101%",
    "18446744073709551616",
    "#",
    "|",
    "\u{7f}",
    "-1",
];

fn near_files() -> impl Strategy<Value = String> {
    let line = vec(select(&WORDS[..]), 0..6).prop_map(|words| words.join(" "));
    vec(line, 0..12).prop_map(|lines| lines.join("\n"))
}

/// Single lines that are right, so that many files of them are.
fn right_lines() -> impl Strategy<Value = String> {
    let class = || select(&["system", "contiguous", "secure", "vendor"][..]);
    prop_oneof![
        ("[a-z]{1,3}", class()).prop_map(|(name, class)| format!("heap {name} class {class}")),
        ("[a-z]{1,3}", 1..MAX_BYTES)
            .prop_map(|(name, most)| format!("heap {name} max-buffer {most}")),
        "[a-z]{1,3}".prop_map(|name| format!("heap {name} off")),
        (select(&USAGES[..]), class())
            .prop_map(|((usage, _), class)| format!("usage {usage} {class}")),
        (0..13u32).prop_map(|shift| format!("stride video {}", 1 << shift)),
        (select(&LimitKey::ALL[..]), 1..=100u64).prop_map(|(key, value)| {
            format!("limit {} {value}{}", key.name(), if key.is_bytes() { "%" } else { "" })
        }),
        (0..u32::MAX, 1..=MAX_COUNT).prop_map(|(uid, value)| format!("uid {uid} buffers {value}")),
    ]
}

fn heaps() -> impl Strategy<Value = BTreeMap<String, HeapPolicy>> {
    let class = proptest::option::of(select(
        &[HeapClass::System, HeapClass::Contiguous, HeapClass::Secure, HeapClass::Vendor][..],
    ));
    let heap = (class, proptest::option::of(1..=MAX_BYTES), any::<bool>())
        .prop_map(|(class, max_buffer_bytes, off)| HeapPolicy { class, max_buffer_bytes, off })
        .prop_filter("says something", |heap| *heap != HeapPolicy::default());
    // With a digit it is none of the service's own.
    btree_map("[!-\"$-.0-~]{1,20}[0-9]", heap, 0..4).prop_map(|mut heaps| {
        heaps.retain(|name, _| !name.starts_with('.'));
        heaps
    })
}

/// Rules of usages that do not overlap, which ends with one for the rest.
fn usages() -> impl Strategy<Value = Vec<UsageRule>> {
    // Of each CPU field one value: often before rarely is tried elsewhere.
    let flags: Vec<Usage> = USAGES.iter().map(|(_, usage)| *usage).skip(4).collect();
    let cpu = [Usage::CPU_READ_RARELY, Usage::CPU_WRITE_OFTEN];
    let usages = flags.into_iter().chain(cpu).collect::<Vec<_>>();
    let classes = || subsequence(HeapClass::ALL.to_vec(), 1..=7).prop_shuffle();
    let some = subsequence(usages, 0..=17).prop_shuffle();
    (some, 1..5usize, vec(classes(), 18)).prop_map(|(usages, width, mut classes)| {
        let mut rule = |usage| UsageRule { usage, classes: classes.pop().unwrap() };
        let all = |usages: &[Usage]| usages.iter().fold(Usage::empty(), |all, usage| all | *usage);
        let mut rules: Vec<_> = usages.chunks(width).map(|chunk| rule(all(chunk))).collect();
        rules.push(rule(Usage::empty()));
        rules
    })
}

fn strides() -> impl Strategy<Value = StridePolicy> {
    [0..13u32, 0..13u32, 0..13u32, 0..13u32, 0..13u32].prop_map(|shifts| {
        let [base, gpu, composer, video, camera] = shifts.map(|shift| 1 << shift);
        StridePolicy { base, gpu, composer, video, camera }
    })
}

/// Values of limits that lie within each other, the widest first, some of them not stated.
fn nested(
    values: impl Strategy<Value = Vec<Amount>>,
) -> impl Strategy<Value = Vec<Option<Amount>>> {
    values.prop_flat_map(|mut values| {
        values.sort_by_key(|value| std::cmp::Reverse(value.on(100)));
        let some = |value| proptest::option::of(Just(value));
        values.into_iter().map(some).collect::<Vec<_>>()
    })
}

/// Amounts from a tenth of the memory, a mebibyte or a hundred upwards.
fn large() -> [BoxedStrategy<Amount>; 3] {
    let counts = prop_oneof![100..=MAX_COUNT, 100..=10_000u64].prop_map(Amount::Count);
    let bytes =
        prop_oneof![1 => 1 << 20..=MAX_BYTES, 4 => (1..1u64 << 14).prop_map(|many| many << 20)];
    let shares = (10..=100u64).prop_map(Amount::Percent);
    [counts.boxed(), bytes.prop_map(Amount::Bytes).boxed(), shares.boxed()]
}

fn limits() -> impl Strategy<Value = LimitOverrides> {
    use LimitKey::*;
    let [counts, bytes, shares] = large();
    let any_bytes = prop_oneof![bytes.clone(), shares.clone()];
    let chains = (
        nested(prop_oneof![vec(bytes, 4), vec(shares, 4)]),
        nested(vec(counts.clone(), 5)),
        nested(vec(counts.clone(), 2)),
        proptest::option::of(any_bytes),
        proptest::option::of(counts),
    );
    chains.prop_map(|(bytes, buffers, sessions, reserve, tokens)| {
        let mut limits = LimitOverrides::default();
        let mut state = |keys: &[LimitKey], values: Vec<Option<Amount>>| {
            for (key, value) in keys.iter().zip(values) {
                if let Some(value) = value {
                    limits.state(*key, Stated { value, line: 1 });
                }
            }
        };
        state(&[ServiceBytes, UidBytes, SessionBytes, BufferBytes], bytes);
        let descriptors = [ServiceDescriptors, UidDescriptors, SessionDescriptors];
        state(
            &[descriptors[0], UidBuffers, descriptors[1], SessionBuffers, descriptors[2]],
            buffers,
        );
        state(&[ServiceSessions, UidSessions], sessions);
        state(&[ReserveBytes, SessionTokens], vec![reserve, tokens]);
        limits
    })
}

/// What uids have, which is always less than the service has.
fn uids() -> impl Strategy<Value = BTreeMap<u32, UidOverrides>> {
    let stated = |value| Stated { value, line: 1 };
    let bytes = prop_oneof![
        (1..=10u64).prop_map(Amount::Percent),
        (1..=1u64 << 20).prop_map(Amount::Bytes)
    ];
    let count = || proptest::option::of((1..=100u64).prop_map(Amount::Count).prop_map(stated));
    let own = (proptest::option::of(bytes.prop_map(stated)), count(), count(), count())
        .prop_map(|(bytes, buffers, descriptors, sessions)| UidOverrides {
            bytes,
            buffers,
            descriptors,
            sessions,
        })
        .prop_filter("says something", |own| *own != UidOverrides::default());
    btree_map(0..u32::MAX, own, 0..4)
}

fn policies() -> impl Strategy<Value = Policy> {
    (heaps(), usages(), strides(), limits(), uids()).prop_map(
        |(heaps, usages, strides, limits, uids)| Policy { heaps, usages, strides, limits, uids },
    )
}

proptest! {
    #[test]
    fn any_bytes_are_a_policy_or_a_mistake_in_a_line_that_is_there(
        text in vec(any::<u8>(), 0..400)
    ) {
        if let Err(error) = parse::parse(&text) {
            let lines = text.split(|byte| *byte == b'\n').count();
            prop_assert!((1..=lines).contains(&error.line), "{}", error);
        }
    }

    #[test]
    fn a_file_of_known_words_is_a_policy_or_a_mistake_that_is_shown_in_one_line(
        text in prop_oneof![near_files(), any::<String>()]
    ) {
        match Policy::parse(&text) {
            Ok(policy) => prop_assert_eq!(Policy::parse(&policy.to_string()), Ok(policy)),
            Err(error) => prop_assert!(!error.to_string().contains(char::is_control), "{}", error),
        }
    }

    #[test]
    fn a_right_line_is_refused_only_for_what_another_line_says(lines in vec(right_lines(), 0..8)) {
        for line in &lines {
            prop_assert!(Policy::parse(line).is_ok(), "{}", line);
        }
        match Policy::parse(&lines.join("\n")) {
            Ok(policy) => prop_assert_eq!(Policy::parse(&policy.to_string()), Ok(policy)),
            Err(error) => {
                let problem = &error.problem;
                let of_two_lines =
                    matches!(problem, PolicyProblem::Repeated { .. } | PolicyProblem::Above { .. });
                prop_assert!(of_two_lines, "{}", error);
            }
        }
    }

    #[test]
    fn a_policy_survives_being_printed_and_read(policy in policies()) {
        prop_assert_eq!(Policy::parse(&policy.to_string()), Ok(policy));
    }

    #[test]
    fn limits_lie_within_each_other_and_the_machine_whatever_the_policy(
        policy in policies(), total in 0..1u64 << 36, descriptors in 0..1u64 << 22
    ) {
        let machine = Limits::of_machine(total, descriptors);
        if let Ok((limits, uids)) = policy.limits_on(machine, total) {
            prop_assert!(limits.buffer_bytes <= limits.session_bytes);
            prop_assert!(limits.session_bytes <= limits.uid_bytes);
            prop_assert!(limits.uid_bytes <= limits.service_bytes);
            prop_assert!(limits.service_bytes <= total - limits.reserve_bytes);
            prop_assert!(limits.session_buffers <= limits.uid_buffers);
            prop_assert!(limits.uid_buffers <= limits.service_descriptors);
            prop_assert!(limits.session_descriptors <= limits.uid_descriptors);
            prop_assert!(limits.uid_descriptors <= limits.service_descriptors);
            prop_assert!(limits.service_descriptors <= machine.service_descriptors);
            prop_assert!(limits.uid_sessions <= limits.service_sessions);
            for own in uids.values() {
                prop_assert!(own.bytes <= limits.service_bytes);
                prop_assert!(own.buffers <= limits.service_descriptors);
                prop_assert!(own.descriptors <= limits.service_descriptors);
                prop_assert!(own.sessions <= limits.service_sessions);
            }
        }
    }

    #[test]
    fn every_buffer_has_a_class_to_come_from(policy in policies(), bits in any::<u64>()) {
        prop_assert!(!policy.sources_for(Usage::from_bits_retain(bits)).classes.is_empty());
    }
}
