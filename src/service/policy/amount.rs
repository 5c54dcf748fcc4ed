// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Numbers as the file writes them.

use std::fmt;

use berth_layout::{StridePolicy, MAX_STRIDE_ALIGNMENT};

use super::error::{shown, PolicyProblem};

/// The most bytes that a line can speak of: the interface carries sizes as AIDL's `long`.
pub(super) const MAX_BYTES: u64 = i64::MAX as u64;

/// The most of what is counted: buffers, sessions, tokens. More descriptors than this (the kernel's
/// default of `fs.nr_open`) no process can have.
pub(super) const MAX_COUNT: u64 = 1 << 20;

/// The suffixes of a size, the largest first: powers of 1024.
const SUFFIXES: [(char, u32); 3] = [('G', 30), ('M', 20), ('K', 10)];

/// A limit's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Amount {
    /// So many buffers, sessions or tokens.
    Count(u64),
    /// So many bytes.
    Bytes(u64),
    /// A share of the machine's memory, in percent, 1 to 100.
    Percent(u64),
}

impl Amount {
    /// The number that it stands for on a machine of so many bytes of memory. A share is rounded
    /// down.
    pub fn on(self, total_memory: u64) -> u64 {
        match self {
            Amount::Count(number) | Amount::Bytes(number) => number,
            Amount::Percent(percent) => {
                let share = u128::from(total_memory).saturating_mul(u128::from(percent)) / 100;
                u64::try_from(share).unwrap_or(u64::MAX)
            }
        }
    }

    /// Whether it is larger than another one of the same kind, whatever the machine.
    pub(super) fn surely_exceeds(self, other: Amount) -> bool {
        match (self, other) {
            (Amount::Count(own), Amount::Count(other))
            | (Amount::Bytes(own), Amount::Bytes(other))
            | (Amount::Percent(own), Amount::Percent(other)) => own > other,
            _ => false,
        }
    }

    /// Reads a number of buffers, sessions or tokens.
    pub(super) fn parse_count(word: &str) -> Result<Amount, PolicyProblem> {
        number(word, word, 0, MAX_COUNT, "number").map(Amount::Count)
    }

    /// Reads bytes or a share of the memory.
    pub(super) fn parse_bytes(word: &str) -> Result<Amount, PolicyProblem> {
        const WHAT: &str = "size or share of the memory, such as 65536, 64M or 25%";
        match word.strip_suffix('%') {
            Some(digits) => number(word, digits, 0, 100, WHAT).map(Amount::Percent),
            None => size(word, WHAT).map(Amount::Bytes),
        }
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Amount::Count(number) => write!(f, "{number}"),
            Amount::Bytes(bytes) => f.write_str(&size_text(*bytes)),
            Amount::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

/// Reads a size in bytes, with or without a suffix.
pub(super) fn parse_size(word: &str) -> Result<u64, PolicyProblem> {
    size(word, "size in bytes, such as 65536 or 64M")
}

/// Reads a user id. The largest number is none: to the kernel it says "no change" (setresuid(2)).
pub(super) fn parse_uid(word: &str) -> Result<u32, PolicyProblem> {
    let digits = digits(word).ok_or_else(|| not_a_number(word, "uid"))?;
    let most = u32::MAX - 1;
    let in_range = digits.parse().ok().filter(|uid| *uid <= most);
    in_range.ok_or_else(|| out_of_range(word, 0, u64::from(most)))
}

/// Reads an alignment that a stride can have, in bytes.
pub(super) fn parse_alignment(word: &str) -> Result<u32, PolicyProblem> {
    let digits = digits(word).ok_or_else(|| not_a_number(word, "number of bytes"))?;
    let fits =
        |bytes: &u32| StridePolicy { base: *bytes, ..StridePolicy::TIGHT }.validated().is_ok();
    let wrong = || PolicyProblem::Alignment { word: shown(word), limit: MAX_STRIDE_ALIGNMENT };
    digits.parse().ok().filter(fits).ok_or_else(wrong)
}

/// A size as the file writes it: in the largest unit that leaves no rest.
pub(super) fn size_text(bytes: u64) -> String {
    for (suffix, shift) in SUFFIXES {
        let units = bytes >> shift;
        if units > 0 && units << shift == bytes {
            return format!("{units}{suffix}");
        }
    }
    bytes.to_string()
}

fn size(word: &str, what: &'static str) -> Result<u64, PolicyProblem> {
    for (suffix, shift) in SUFFIXES {
        if let Some(digits) = word.strip_suffix(suffix) {
            return number(word, digits, shift, MAX_BYTES, what);
        }
    }
    number(word, word, 0, MAX_BYTES, what)
}

/// The number of `text`, times two to the power of `shift`, if that is from 1 to `most`. `word` is
/// what the file has.
fn number(
    word: &str,
    text: &str,
    shift: u32,
    most: u64,
    what: &'static str,
) -> Result<u64, PolicyProblem> {
    let digits = digits(text).ok_or_else(|| not_a_number(word, what))?;
    let value = digits.parse::<u64>().ok().and_then(|value| value.checked_mul(1 << shift));
    value.filter(|value| (1..=most).contains(value)).ok_or_else(|| out_of_range(word, 1, most))
}

/// The text if it is digits only, as a sign or a space is no part of a number here.
fn digits(text: &str) -> Option<&str> {
    let only_digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    only_digits.then_some(text)
}

fn not_a_number(word: &str, what: &'static str) -> PolicyProblem {
    PolicyProblem::NotANumber { word: shown(word), what }
}

fn out_of_range(word: &str, least: u64, most: u64) -> PolicyProblem {
    PolicyProblem::OutOfRange { word: shown(word), least, most }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_the_memory_neither_overflows_nor_exceeds_it() {
        assert_eq!(Amount::Percent(100).on(u64::MAX), u64::MAX);
        assert_eq!(Amount::Percent(50).on(3), 1);
        assert_eq!(Amount::Percent(1).on(2 << 30), 21_474_836);
        assert_eq!(Amount::Bytes(5).on(1), 5);
    }

    #[test]
    fn sizes_are_written_in_the_largest_unit_that_leaves_no_rest() {
        for (bytes, text) in [
            (1, "1"),
            (1023, "1023"),
            (1024, "1K"),
            (1536, "1536"),
            (64 << 20, "64M"),
            (1 << 30, "1G"),
            (1025 << 20, "1025M"),
            (MAX_BYTES, "9223372036854775807"),
        ] {
            assert_eq!(size_text(bytes), text);
            assert_eq!(parse_size(text), Ok(bytes));
        }
    }

    #[test]
    fn a_size_that_overflows_or_is_nothing_is_out_of_range() {
        let most = MAX_BYTES;
        // The last would be 1G if it wrapped.
        for word in [
            "0",
            "0K",
            "9223372036854775808",
            "18446744073709551616",
            "8589934592G",
            "17179869185G",
        ] {
            let problem = PolicyProblem::OutOfRange { word: word.into(), least: 1, most };
            assert_eq!(parse_size(word), Err(problem));
        }
        assert_eq!(parse_size("8589934591G"), Ok(8_589_934_591 << 30));
    }

    #[test]
    fn what_is_no_number_is_not_guessed_at() {
        for word in ["", "K", "%", "-1", "+1", "1k", "1KB", "0x10", "1.5G", "1_000", "\u{0661}"] {
            assert!(matches!(Amount::parse_bytes(word), Err(PolicyProblem::NotANumber { .. })));
            assert!(matches!(Amount::parse_count(word), Err(PolicyProblem::NotANumber { .. })));
            assert!(matches!(parse_uid(word), Err(PolicyProblem::NotANumber { .. })));
        }
        assert!(matches!(Amount::parse_count("1K"), Err(PolicyProblem::NotANumber { .. })));
    }

    #[test]
    fn every_uid_is_one_but_the_last() {
        assert_eq!(parse_uid("0"), Ok(0));
        assert_eq!(parse_uid("4294967294"), Ok(u32::MAX - 1));
        for word in ["4294967295", "4294967296", "99999999999999999999"] {
            assert!(matches!(parse_uid(word), Err(PolicyProblem::OutOfRange { .. })), "{word}");
        }
    }
}
