// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! How director and actors talk: lines on the actor's standard output and input.
//!
//! An actor says `say TEXT` for the audience and `fact KEY VALUE` for the director; the director
//! answers with one line where the actor asks for a cue.

use std::io::{self, BufRead, Write};

use anyhow::{bail, Context, Result};
use berth_client::Token;

/// Tells the audience something.
pub fn say(text: impl AsRef<str>) {
    println!("say {}", text.as_ref());
}

/// Tells the director something.
pub fn fact(key: &str, value: impl std::fmt::Display) -> Result<()> {
    println!("fact {key} {value}");
    io::stdout().flush().context("the director does not listen")
}

/// Waits for the director.
pub fn cue() -> Result<String> {
    let mut line = String::new();
    if io::stdin().lock().read_line(&mut line).context("no cue")? == 0 {
        bail!("the director is gone");
    }
    Ok(line.trim_end().to_owned())
}

/// A token as text.
pub fn token_text(token: Token) -> String {
    token.0.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The token of a text.
pub fn token(text: &str) -> Result<Token> {
    let bits = u128::from_str_radix(text, 16).with_context(|| format!("{text:?} is no token"))?;
    Ok(Token(bits.to_be_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_survives_as_text() {
        for bytes in [[0; 16], [0xff; 16], std::array::from_fn(|index| index as u8)] {
            assert_eq!(token(&token_text(Token(bytes))).unwrap(), Token(bytes));
        }
        assert!(token("xyz").is_err());
    }
}
