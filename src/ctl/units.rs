// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Sizes, times and bytes, as people write and read them.

use std::fmt::Write;
use std::time::Duration;

/// The longest time that can be asked for: a year.
const LONGEST_SECONDS: f64 = 365.0 * 86_400.0;
/// The shortest.
const SHORTEST_SECONDS: f64 = 0.001;

/// Bytes in their largest unit, with one digit after the point where that is not 0.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    // Rounded down: a limit is not said to be more than it is.
    let value = (value * 10.0).floor() / 10.0;
    let digits = usize::from(value.fract() != 0.0);
    format!("{value:.digits$} {}", UNITS[unit])
}

/// An age in its largest unit, and the next smaller one.
pub fn age(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    for (unit, in_seconds, next, in_next) in
        [("d", 86_400, "h", 3600), ("h", 3600, "m", 60), ("m", 60, "s", 1)]
    {
        if seconds >= in_seconds {
            return format!(
                "{}{unit}{}{next}",
                seconds / in_seconds,
                seconds % in_seconds / in_next
            );
        }
    }
    format!("{seconds}.{}s", milliseconds % 1000 / 100)
}

/// Reads a number of bytes, in units as [`size`] writes them or by their first letter.
pub fn bytes(text: &str) -> Result<u64, String> {
    let no_number = || format!("{text:?} is no number of bytes, as 4096, 64K or 1.5 MiB");
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let shift = match unit.trim_start() {
        "" | "B" => 0,
        "K" | "KiB" => 10,
        "M" | "MiB" => 20,
        "G" | "GiB" => 30,
        "T" | "TiB" => 40,
        _ => return Err(no_number()),
    };
    let (whole, tenths) = match number.split_once('.') {
        None => (number, 0),
        // A part of a unit: one digit, as `size` writes it.
        Some((whole, part)) if shift > 0 && part.len() == 1 => {
            (whole, part.parse().map_err(|_| no_number())?)
        }
        Some(_) => return Err(no_number()),
    };
    let whole: u64 = whole.parse().map_err(|_| no_number())?;
    let part: u64 = ((1u64 << shift) / 10).saturating_mul(tenths);
    let bytes = whole.checked_mul(1 << shift).and_then(|whole| whole.checked_add(part));
    bytes.ok_or_else(|| format!("{text:?} is too large"))
}

/// Reads a number of seconds, with or without a fraction.
pub fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(seconds) if (SHORTEST_SECONDS..=LONGEST_SECONDS).contains(&seconds) => {
            Ok(Duration::from_secs_f64(seconds))
        }
        _ => Err(format!("{text:?} is no number of seconds from a thousandth to a year")),
    }
}

/// Reads a token.
pub fn parse_token(text: &str) -> Result<[u8; 16], String> {
    let digits = text.len() == 32 && text.bytes().all(|digit| digit.is_ascii_hexdigit());
    match u128::from_str_radix(text, 16) {
        Ok(value) if digits => Ok(value.to_be_bytes()),
        // Not a word of what was given: it may be most of a secret.
        _ => Err("a token is 32 hexadecimal digits".to_owned()),
    }
}

/// Bytes as hexadecimal digits.
pub fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // A String takes whatever is written.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A line of a hexadecimal dump: at most 16 bytes, which stand at `offset`.
pub fn hexadecimal_line(offset: usize, bytes: &[u8]) -> String {
    let digits: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let printable = |byte: &u8| if (0x20..0x7f).contains(byte) { char::from(*byte) } else { '.' };
    let characters: String = bytes.iter().map(printable).collect();
    format!("{offset:08x}  {:<47}  |{characters}|", digits.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_by_people() {
        for (bytes, text) in [
            (0, "0 B"),
            (4096, "4 KiB"),
            (1536, "1.5 KiB"),
            (64 << 20, "64 MiB"),
            ((2 << 20) - 1, "1.9 MiB"),
            (i64::MAX as u64, "8388608 TiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn ages_are_read_by_people() {
        for (milliseconds, text) in [
            (0, "0.0s"),
            (59_999, "59.9s"),
            (60_000, "1m0s"),
            (3_599_999, "59m59s"),
            (7_260_000, "2h1m"),
            (90_000_000, "1d1h"),
        ] {
            assert_eq!(age(milliseconds), text);
        }
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(bytes("4096"), Ok(4096));
        assert_eq!(bytes("3M"), Ok(3 << 20));
        assert_eq!(bytes("1G"), Ok(1 << 30));
        for (text, value) in [
            ("2T", 2 << 40),
            ("64KiB", 64 << 10),
            ("4 MiB", 4 << 20),
            ("12 B", 12),
            ("1.5 KiB", 1024 + 510),
            ("0.1G", (1 << 30) / 10),
        ] {
            assert_eq!(bytes(text), Ok(value), "{text}");
        }
        for wrong in ["", "M", "-1", "1P", "1m", "1.25M", "1.5", ".", "99999999999G"] {
            assert!(bytes(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn times_are_neither_nothing_nor_for_ever() {
        assert_eq!(seconds("2"), Ok(Duration::from_secs(2)));
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        for wrong in ["", "0", "-1", "NaN", "inf", "1e9", "soon"] {
            assert!(seconds(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_token_is_read_as_it_was_written() {
        let token = *b"\x00\x01secret\xff\xfe_token";
        assert_eq!(parse_token(&hexadecimal(&token[..16])), Ok(token[..16].try_into().unwrap()));
        for wrong in [
            "",
            "00",
            &"0".repeat(31),
            &"0".repeat(33),
            &"g".repeat(32),
            &format!("+{}", "0".repeat(31)),
        ] {
            let error = parse_token(wrong).unwrap_err();
            assert!(wrong.is_empty() || !error.contains(wrong), "{error}");
        }
    }

    #[test]
    fn a_dump_shows_offset_digits_and_characters() {
        let line = hexadecimal_line(16, b"Berth\x00\xff|0123456789ab"[..16].as_ref());
        assert_eq!(
            line,
            "00000010  42 65 72 74 68 00 ff 7c 30 31 32 33 34 35 36 37  |Berth..|01234567|"
        );
        let short = hexadecimal_line(0, b"ab");
        assert_eq!(short.find('|'), line.find('|'), "{short}");
    }
}
