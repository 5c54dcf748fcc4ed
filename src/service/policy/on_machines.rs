// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! What a policy means: for heaps and usages, and for limits on machines of different sizes.

use super::*;

const GIB: u64 = 1 << 30;
const MIB: u64 = 1 << 20;
/// The descriptors of the machines here.
const DESCRIPTORS: u64 = 65_536;

fn policy(text: &str) -> Policy {
    Policy::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// The limits of a machine with the policy.
fn limits_on(total_memory: u64, text: &str) -> Result<Limits, PolicyError> {
    let machine = Limits::of_machine(total_memory, DESCRIPTORS);
    policy(text).limits.apply(machine, total_memory)
}

fn contradiction(total_memory: u64, text: &str) -> String {
    limits_on(total_memory, text).expect_err(text).to_string()
}

#[test]
fn without_a_policy_every_machine_has_its_own_limits() {
    for total in [0, 1, 1 << 28, 2 * GIB, 1 << 40] {
        for descriptors in [0, 1, 1024, 65_536] {
            let machine = Limits::of_machine(total, descriptors);
            assert_eq!(LimitOverrides::default().apply(machine, total), Ok(machine));
        }
    }
}

#[test]
fn a_line_sets_its_limit_and_no_other() {
    let machine = Limits::of_machine(2 * GIB, DESCRIPTORS);
    let limits = limits_on(2 * GIB, "limit uid-sessions 3\nlimit buffer-bytes 64M").unwrap();
    assert_eq!(limits, Limits { uid_sessions: 3, buffer_bytes: 64 * MIB, ..machine });
    let limits = limits_on(2 * GIB, "limit service-bytes 90%\nlimit uid-bytes 80%").unwrap();
    assert_eq!((limits.service_bytes, limits.uid_bytes), (1_932_735_283, 1_717_986_918));
    assert_eq!(limits.session_bytes, machine.session_bytes);
}

#[test]
fn a_limit_that_no_line_states_gives_way_to_the_one_that_contains_it() {
    let limits = limits_on(2 * GIB, "limit uid-bytes 64M").unwrap();
    assert_eq!((limits.session_bytes, limits.buffer_bytes), (64 * MIB, 64 * MIB));
    let limits = limits_on(2 * GIB, "limit reserve-bytes 90%").unwrap();
    assert_eq!(limits.service_bytes, 2 * GIB - limits.reserve_bytes);
    assert_eq!(limits.uid_bytes, limits.service_bytes / 2);
}

#[test]
fn nobody_can_have_everything_unless_a_line_says_so() {
    let limits = limits_on(2 * GIB, "limit service-bytes 1G\nlimit service-sessions 256").unwrap();
    assert_eq!((limits.uid_bytes, limits.uid_sessions), (GIB / 2, 128));
    let limits = limits_on(2 * GIB, "limit service-bytes 1G\nlimit uid-bytes 1G").unwrap();
    assert_eq!(limits.uid_bytes, GIB);
    let limits = limits_on(2 * GIB, "limit service-descriptors 600").unwrap();
    assert_eq!((limits.uid_descriptors, limits.session_descriptors), (300, 300));
    let limits = limits_on(2 * GIB, "limit service-sessions 1").unwrap();
    assert_eq!(limits.uid_sessions, 1, "one session is for somebody");
}

#[test]
fn buffers_that_a_line_gives_come_with_descriptors_unless_a_line_says_how_many() {
    let machine = Limits::of_machine(2 * GIB, DESCRIPTORS);
    assert_eq!((machine.uid_descriptors, machine.session_descriptors), (43_008, 32_768));
    let limits =
        limits_on(2 * GIB, "limit uid-buffers 64512\nlimit session-buffers 64000").unwrap();
    assert_eq!((limits.uid_descriptors, limits.session_descriptors), (64_512, 64_000));
    let limits = limits_on(2 * GIB, "limit uid-buffers 50\nlimit session-buffers 10").unwrap();
    assert_eq!((limits.uid_descriptors, limits.session_descriptors), (43_008, 32_768));
    let text = "limit uid-buffers 64000\nlimit session-buffers 64000\nlimit uid-descriptors 500";
    let limits = limits_on(2 * GIB, text).unwrap();
    assert_eq!((limits.uid_descriptors, limits.session_descriptors), (500, 500));
    let (_, uids) = policy("uid 7 buffers 60000\nuid 8 buffers 60000\nuid 8 descriptors 9")
        .limits_on(machine, 2 * GIB)
        .unwrap();
    assert_eq!([7, 8].map(|uid| uids[&uid].descriptors), [60_000, 9]);
}

#[test]
fn what_asks_for_more_than_the_machine_has_is_refused_with_line_and_key() {
    for (text, error) in [
        (
            "limit service-bytes 3G",
            "line 1, limit service-bytes: 3221225472 is above what reserve-bytes leaves of the \
             memory, here 2013265920",
        ),
        (
            "\nlimit service-bytes 100%",
            "line 2, limit service-bytes: 100%, here 2147483648, is above what reserve-bytes \
             leaves of the memory, here 2013265920",
        ),
        (
            "limit reserve-bytes 2G",
            "line 1, limit reserve-bytes: 2147483648 is above what the machine has, here 2147483647",
        ),
        (
            "limit service-descriptors 65536",
            "line 1, limit service-descriptors: 65536 is above what the descriptors allow, here 64512",
        ),
        (
            "limit uid-bytes 80%",
            "line 1, limit uid-bytes: 80%, here 1717986918, is above service-bytes, here 1610612736",
        ),
        (
            "limit session-bytes 25%\nlimit buffer-bytes 600M",
            "line 2, limit buffer-bytes: 629145600 is above session-bytes, here 536870912",
        ),
        (
            "limit service-sessions 100\nlimit uid-sessions 99\nlimit session-buffers 32257",
            "line 3, limit session-buffers: 32257 is above uid-buffers, here 21504",
        ),
    ] {
        assert_eq!(contradiction(2 * GIB, text), error);
    }
    assert!(limits_on(4 * GIB, "limit service-bytes 3G").is_ok());
}

#[test]
fn one_uid_can_have_more_or_less_than_the_others_but_no_more_than_the_service() {
    let machine = Limits::of_machine(2 * GIB, DESCRIPTORS);
    let text = "uid 1047 bytes 70%\nuid 1047 sessions 1\nuid 10001 buffers 5\n\
                uid 10001 descriptors 7";
    let (limits, uids) = policy(text).limits_on(machine, 2 * GIB).unwrap();
    assert_eq!(limits, machine);
    let others = UidLimits::of(&machine);
    let camera = UidLimits { bytes: 1_503_238_553, sessions: 1, ..others };
    let application = UidLimits { buffers: 5, descriptors: 7, ..others };
    assert_eq!(uids, BTreeMap::from([(1047, camera), (10_001, application)]));
    for (text, error) in [
        (
            "uid 0 bytes 80%",
            "line 1, uid 0 bytes: 80%, here 1717986918, is above service-bytes, here 1610612736",
        ),
        (
            "uid 0 buffers 64513",
            "line 1, uid 0 buffers: 64513 is above service-descriptors, here 64512",
        ),
        (
            "uid 0 descriptors 64513",
            "line 1, uid 0 descriptors: 64513 is above service-descriptors, here 64512",
        ),
        (
            "limit service-sessions 9\nuid 0 buffers 1\nuid 0 sessions 9\nuid 1 sessions 4096",
            "line 4, uid 1 sessions: 4096 is above service-sessions, 9 in line 1",
        ),
    ] {
        let applied = Policy::parse(text).and_then(|policy| policy.limits_on(machine, 2 * GIB));
        assert_eq!(applied.unwrap_err().to_string(), error);
    }
}

#[test]
fn what_is_said_of_a_heap_holds_for_that_name_only() {
    let policy = policy(
        "heap reserved class vendor\nheap carveout class contiguous\n\
         heap carveout max-buffer 64M\nheap linux,cma off\nheap memfd max-buffer 1M",
    );
    assert_eq!(policy.class_of("reserved"), HeapClass::Vendor);
    assert_eq!(policy.class_of("carveout"), HeapClass::Contiguous);
    assert_eq!(policy.class_of("linux,cma"), HeapClass::Contiguous);
    assert!(!policy.allows("linux,cma") && policy.allows("reserved") && policy.allows("system"));
    assert_eq!(policy.max_buffer_bytes("carveout", GIB), 64 * MIB);
    assert_eq!(policy.max_buffer_bytes("carveout", MIB), MIB);
    assert_eq!(policy.max_buffer_bytes("memfd", GIB), MIB);
    assert_eq!(policy.max_buffer_bytes("system", GIB), GIB);
}

#[test]
fn the_first_usage_line_that_is_for_a_buffer_serves_it() {
    use HeapClass::*;
    let policy = policy(
        "usage VIDEO_DECODER contiguous system\nusage GPU_TEXTURE|CAMERA_OUTPUT system-uncached\n\
         usage any vendor",
    );
    let decoded = Usage::VIDEO_DECODER | Usage::GPU_TEXTURE;
    assert_eq!(policy.sources_for(decoded).classes, [Contiguous, System]);
    assert_eq!(policy.sources_for(Usage::CAMERA_OUTPUT).classes, [SystemUncached]);
    assert_eq!(policy.sources_for(Usage::CPU_READ_OFTEN).classes, [Vendor]);
    assert_eq!(policy.sources_for(Usage::empty()).classes, [Vendor]);
}

#[test]
fn what_no_usage_line_speaks_of_is_as_without_a_policy() {
    let policy = policy("usage VIDEO_DECODER contiguous");
    let default = Policy::default();
    for usage in [Usage::empty(), Usage::GPU_TEXTURE, Usage::CPU_WRITE_OFTEN] {
        assert_eq!(policy.sources_for(usage).classes, default.sources_for(usage).classes);
    }
    assert_eq!(default.sources_for(Usage::empty()).classes.first(), Some(&HeapClass::System));
    let uncached = default.sources_for(Usage::GPU_TEXTURE);
    assert_eq!(
        uncached.classes[..uncached.asked_for],
        [HeapClass::SystemUncached, HeapClass::System]
    );
    let cached = default.sources_for(Usage::GPU_TEXTURE | Usage::CPU_READ_RARELY);
    assert_eq!(cached.classes[..cached.asked_for], [HeapClass::System]);
}

#[test]
fn no_line_takes_a_protected_buffer_out_of_the_secure_heaps() {
    let policy = policy("usage VIDEO_DECODER contiguous\nusage any system");
    for other in [Usage::empty(), Usage::VIDEO_DECODER, Usage::GPU_TEXTURE] {
        assert_eq!(policy.sources_for(Usage::PROTECTED | other).classes, [HeapClass::Secure]);
    }
}

#[test]
fn strides_that_no_line_states_keep_their_default() {
    let strides = policy("stride gpu 512\nstride base 1").strides;
    assert_eq!(strides, StridePolicy { gpu: 512, base: 1, ..StridePolicy::DEFAULT });
}
