// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Every mistake that a file can have, with the exact text that it is answered with; and what is
//! none.

use std::fs;
use std::path::{Path, PathBuf};

use super::*;

/// The text of the one mistake.
fn mistake(text: &str) -> String {
    Policy::parse(text).expect_err(text).to_string()
}

fn mistakes(expected: &[(&str, &str)]) {
    for (text, error) in expected {
        assert_eq!(mistake(text), *error);
    }
}

const ALL_CLASSES: &str = "system, system-uncached, contiguous, secure, shmem, udmabuf, vendor";
const DMA_HEAP_CLASSES: &str = "system, system-uncached, contiguous, secure, vendor";

#[test]
fn the_line_that_begins_with_no_known_word_is_named() {
    mistakes(&[
        ("heaps", "line 1: \"heaps\" is no kind of line; one of heap, usage, stride, limit, uid"),
        (
            "\n# x\nHEAP",
            "line 3: \"HEAP\" is no kind of line; one of heap, usage, stride, limit, uid",
        ),
        (
            "\u{feff}heap",
            "line 1: \"\\u{feff}heap\" is no kind of line; one of heap, usage, stride, limit, uid",
        ),
    ]);
}

#[test]
fn a_heap_line_names_heap_and_setting() {
    let contigous =
        format!("line 7, heap linux,cma class: \"contigous\" is no class of a dma-heap; one of {DMA_HEAP_CLASSES}");
    let shmem = format!(
        "line 1, heap a class: \"shmem\" is no class of a dma-heap; one of {DMA_HEAP_CLASSES}"
    );
    mistakes(&[
        ("\n\n\n\n\n\nheap linux,cma class contigous", &contigous),
        ("heap a class shmem", &shmem),
        ("heap", "line 1, heap: a name of a heap is missing"),
        ("heap a", "line 1, heap a: a setting of a heap is missing"),
        ("heap a class", "line 1, heap a class: a class of a dma-heap is missing"),
        ("heap a max-buffer", "line 1, heap a max-buffer: a size is missing"),
        (
            "heap a klass",
            "line 1, heap a: \"klass\" is no setting of a heap; one of class, max-buffer, off",
        ),
        ("heap a off now", "line 1, heap a off: \"now\" is one word too many"),
        ("heap memfd class system", "line 1, heap memfd class: it is shmem on every device"),
        ("heap udmabuf class secure", "line 1, heap udmabuf class: it is udmabuf on every device"),
    ]);
}

#[test]
fn what_cannot_be_the_name_of_a_heap_is_no_part_of_the_key() {
    let rule =
        "is no name of a heap: at most 127 visible ASCII characters, no slash and no dot at \
                the start";
    let long = "x".repeat(128);
    let shown = "x".repeat(64);
    mistakes(&[
        ("heap ../system off", &format!("line 1, heap: \"../system\" {rule}")),
        ("heap a/b off", &format!("line 1, heap: \"a/b\" {rule}")),
        ("heap .. off", &format!("line 1, heap: \"..\" {rule}")),
        ("heap a\u{1b}[2J off", &format!("line 1, heap: \"a\\u{{1b}}[2J\" {rule}")),
        ("heap caf\u{e9} off", &format!("line 1, heap: \"caf\u{e9}\" {rule}")),
        (&format!("heap {long} off"), &format!("line 1, heap: \"{shown}\" {rule}")),
    ]);
    assert!(Policy::parse(&format!("heap {} off", "x".repeat(127))).is_ok());
}

#[test]
fn a_usage_line_names_the_usage() {
    let contigous = format!(
        "line 2, usage VIDEO_ENCODER|VIDEO_DECODER: \"contigous\" is no heap class; one of {ALL_CLASSES}"
    );
    mistakes(&[
        ("\nusage VIDEO_ENCODER|VIDEO_DECODER system contigous", &contigous),
        ("usage", "line 1, usage: a usage is missing"),
        ("usage any", "line 1, usage any: a heap class is missing"),
        (
            "usage GPU_TEXTURE|PROTECTED secure",
            "line 1, usage: secure heaps serve it and nothing else; \"heap NAME class secure\" makes one",
        ),
        (
            "usage any system contiguous system",
            "line 1, usage any system: line 1 has it already",
        ),
    ]);
    for (text, word) in [("usage VIDEO system", "VIDEO"), ("usage VIDEO_ENCODER| system", "")] {
        let error = mistake(text);
        let names = "one of any, CPU_READ_RARELY, CPU_READ_OFTEN, CPU_WRITE_RARELY,";
        let start = format!("line 1, usage: {word:?} is no usage; {names}");
        assert!(error.starts_with(&start), "{error}");
    }
}

#[test]
fn a_usage_line_that_no_buffer_would_reach_is_refused_with_the_one_before_it() {
    mistakes(&[
        (
            "usage VIDEO_ENCODER system\nusage VIDEO_DECODER|VIDEO_ENCODER contiguous",
            "line 2, usage VIDEO_ENCODER: line 1 has it already",
        ),
        ("usage any system\nusage any vendor", "line 2, usage any: line 1 has it already"),
        (
            "usage any system\n\nusage GPU_TEXTURE vendor",
            "line 3, usage GPU_TEXTURE: line 1 has it already",
        ),
        (
            "usage CPU_READ_RARELY system\nusage CPU_READ_OFTEN system",
            "line 2, usage CPU_READ_OFTEN: line 1 has it already",
        ),
        (
            "usage CPU_READ_RARELY|CPU_READ_OFTEN system",
            "line 1, usage CPU_READ_OFTEN: line 1 has it already",
        ),
        (
            "usage CPU_READ_OFTEN|CPU_READ_RARELY system",
            "line 1, usage CPU_READ_RARELY: line 1 has it already",
        ),
        ("usage GPU_TEXTURE|any system", "line 1, usage any: line 1 has it already"),
    ]);
    assert!(Policy::parse("usage CPU_READ_OFTEN system\nusage CPU_READ_RARELY vendor").is_ok());
}

#[test]
fn a_stride_is_a_power_of_two_up_to_a_page() {
    mistakes(&[
        ("stride", "line 1, stride: a stride is missing"),
        (
            "stride npu 64",
            "line 1, stride: \"npu\" is no stride; one of base, gpu, composer, video, camera",
        ),
        ("stride gpu", "line 1, stride gpu: a number of bytes is missing"),
        ("stride gpu 96", "line 1, stride gpu: 96 is no power of two from 1 to 4096"),
        ("stride gpu 8192", "line 1, stride gpu: 8192 is no power of two from 1 to 4096"),
        ("stride gpu 0", "line 1, stride gpu: 0 is no power of two from 1 to 4096"),
        (
            "stride gpu 4294967296",
            "line 1, stride gpu: 4294967296 is no power of two from 1 to 4096",
        ),
        ("stride gpu 4K", "line 1, stride gpu: \"4K\" is no number of bytes"),
    ]);
}

#[test]
fn a_limit_is_a_number_in_its_range() {
    let limits = "one of buffer-bytes, session-bytes, session-buffers, session-descriptors, \
                  session-tokens, uid-bytes, uid-buffers, uid-descriptors, uid-sessions, service-bytes, service-descriptors, service-sessions, \
                  reserve-bytes, idle-bytes, idle-buffers, idle-seconds";
    let size = "is no size or share of the memory, such as 65536, 64M or 25%";
    mistakes(&[
        ("limit", "line 1, limit: a limit is missing"),
        ("limit bytes 1", &format!("line 1, limit: \"bytes\" is no limit; {limits}")),
        ("limit uid-bytes", "line 1, limit uid-bytes: a value is missing"),
        ("limit uid-bytes 64m", &format!("line 1, limit uid-bytes: \"64m\" {size}")),
        ("limit uid-bytes %", &format!("line 1, limit uid-bytes: \"%\" {size}")),
        ("limit uid-bytes 0%", "line 1, limit uid-bytes: 0% is not from 1 to 100"),
        ("limit uid-bytes 101%", "line 1, limit uid-bytes: 101% is not from 1 to 100"),
        (
            "limit uid-bytes 99999999999G",
            "line 1, limit uid-bytes: 99999999999G is not from 1 to 9223372036854775807",
        ),
        ("limit uid-buffers 5%", "line 1, limit uid-buffers: \"5%\" is no number"),
        ("limit uid-buffers 0", "line 1, limit uid-buffers: 0 is not from 1 to 1048576"),
        ("limit session-tokens 64 K", "line 1, limit session-tokens: \"K\" is one word too many"),
    ]);
}

#[test]
fn a_uid_line_names_uid_and_limit() {
    mistakes(&[
        ("uid", "line 1, uid: a uid is missing"),
        ("uid system bytes 1G", "line 1, uid: \"system\" is no uid"),
        ("uid 4294967295 bytes 1G", "line 1, uid: 4294967295 is not from 0 to 4294967294"),
        ("uid 1047", "line 1, uid 1047: a limit of a uid is missing"),
        (
            "uid 1047 memory 1G",
            "line 1, uid 1047: \"memory\" is no limit of a uid; one of bytes, buffers, \
             descriptors, sessions",
        ),
        ("uid 1047 sessions", "line 1, uid 1047 sessions: a value is missing"),
        ("uid 1047 sessions 1G", "line 1, uid 1047 sessions: \"1G\" is no number"),
    ]);
}

#[test]
fn the_same_key_twice_is_refused_with_both_lines() {
    mistakes(&[
        ("heap a off\n\nheap a off", "line 3, heap a off: line 1 has it already"),
        (
            "heap a class secure\nheap b class secure\nheap a class vendor",
            "line 3, heap a class: line 1 has it already",
        ),
        ("stride gpu 64\nstride gpu 64", "line 2, stride gpu: line 1 has it already"),
        (
            "limit uid-bytes 1G\nlimit uid-bytes 2G",
            "line 2, limit uid-bytes: line 1 has it already",
        ),
        ("uid 10 bytes 1G\nuid 010 bytes 2G", "line 2, uid 10 bytes: line 1 has it already"),
    ]);
}

#[test]
fn limits_that_contradict_each_other_on_every_machine_are_refused() {
    mistakes(&[
        (
            "limit uid-bytes 50%\nlimit buffer-bytes 60%",
            "line 2, limit buffer-bytes: 60% is above uid-bytes, 50% in line 1",
        ),
        (
            "limit session-buffers 10\nlimit service-descriptors 9",
            "line 1, limit session-buffers: 10 is above service-descriptors, 9 in line 2",
        ),
        (
            "limit session-descriptors 10\nlimit uid-descriptors 9",
            "line 1, limit session-descriptors: 10 is above uid-descriptors, 9 in line 2",
        ),
        (
            "limit service-descriptors 9\nuid 7 descriptors 10",
            "line 2, uid 7 descriptors: 10 is above service-descriptors, 9 in line 1",
        ),
        (
            "uid 7 bytes 3G\nlimit service-bytes 2G",
            "line 1, uid 7 bytes: 3G is above service-bytes, 2G in line 2",
        ),
    ]);
    assert!(Policy::parse("limit uid-bytes 50%\nlimit session-bytes 1G").is_ok());
    assert!(Policy::parse("uid 7 bytes 3G\nlimit uid-bytes 2G").is_ok());
}

#[test]
fn a_file_is_bounded_in_bytes_and_lines() {
    let most = "x".repeat(MAX_FILE_BYTES - 2);
    assert!(Policy::parse(&format!("#{most}\n")).is_ok());
    assert_eq!(mistake(&format!("\n#{most}\n")), "line 2: the file has more than 65536 bytes");
    let lines = "\n".repeat(MAX_FILE_LINES);
    assert!(Policy::parse(&lines).is_ok());
    assert!(Policy::parse(&lines.replacen('\n', "#", 1)).is_ok());
    assert_eq!(mistake(&format!("{lines}#")), "line 1025: the file has more than 1024 lines");
}

#[test]
fn blanks_comments_and_line_ends_of_another_system_mean_nothing() {
    let expected = Policy::parse("heap a off\nstride gpu 64").unwrap();
    for text in [
        "  heap\ta  off   # why\r\n\r\nstride gpu 64#64\r\n",
        "# heap b off\nheap a off\n\n\n#\nstride gpu 64",
    ] {
        assert_eq!(Policy::parse(text), Ok(expected.clone()), "{text:?}");
    }
    assert_eq!(Policy::parse(""), Ok(Policy::default()));
}

/// A file of the test's own, gone with the value.
struct TempFile(PathBuf);

impl TempFile {
    fn new(name: &str, text: &[u8]) -> TempFile {
        let path = std::env::temp_dir().join(format!("berth-{}-{name}", std::process::id()));
        fs::write(&path, text).unwrap();
        TempFile(path)
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn an_error_of_a_file_names_the_file() {
    let latin = TempFile::new("latin", b"heap a off\n# caf\xe9\n");
    let path = latin.0.display();
    let error = Policy::load(&latin.0).unwrap_err().to_string();
    assert_eq!(error, format!("policy file {path}: line 2: not UTF-8"));
    let long = TempFile::new("long", &[b'\n'; MAX_FILE_BYTES + 100]);
    let error = Policy::load(&long.0).unwrap_err().to_string();
    assert!(error.ends_with("line 65537: the file has more than 65536 bytes"), "{error}");
    let folder = std::env::temp_dir();
    let error = Policy::load(&folder).unwrap_err().to_string();
    assert!(error.starts_with(&format!("policy file {}: Is a directory", folder.display())));
}

#[test]
fn only_a_file_that_is_not_there_means_the_default_policy() {
    let missing = Path::new("/nonexistent/allocator.policy");
    assert_eq!(Policy::load(missing).unwrap(), Policy::default());
    assert!(matches!(Policy::read(missing), Err(LoadError::Unreadable { .. })));
    let beneath_a_file = TempFile::new("beneath", b"");
    assert!(Policy::load(&beneath_a_file.0.join("allocator.policy")).is_err());
    assert_eq!(Policy::load(&beneath_a_file.0).unwrap(), Policy::default());
}
