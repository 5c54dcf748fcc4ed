// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! A kernel's configuration. The kernel's own tools drop without a word what a version does not
//! have or whose dependencies are not met, so what came out is compared with what was wanted.

use std::collections::BTreeMap;

use anyhow::{bail, Context, Result};

/// What an option that is off, or that there is not, counts as.
const OFF: &str = "n";

/// Options and their values, as a `.config` file or a fragment of one has them.
#[derive(Debug, PartialEq, Eq)]
pub struct Config(BTreeMap<String, String>);

impl Config {
    /// Reads a file: a line is `CONFIG_NAME=VALUE`, a comment or empty.
    pub fn parse(text: &str) -> Result<Self> {
        let mut options = BTreeMap::new();
        for line in text.lines().map(str::trim) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (name, value) = line
                .split_once('=')
                .filter(|(name, _)| name.starts_with("CONFIG_"))
                .with_context(|| format!("`{line}` is not CONFIG_NAME=VALUE"))?;
            if options.insert(name.to_owned(), value.to_owned()).is_some() {
                bail!("{name} is there twice");
            }
        }
        Ok(Self(options))
    }

    /// The options, one a line, in order: two fragments that mean the same read the same.
    pub fn text(&self) -> String {
        self.0.iter().map(|(name, value)| format!("{name}={value}\n")).collect()
    }

    /// Fails with the names of the options that are not so in `made`.
    pub fn ensure_kept(&self, made: &Self) -> Result<()> {
        let lost: Vec<String> = self
            .0
            .iter()
            .filter_map(|(name, wanted)| {
                let is = made.0.get(name).map_or(OFF, String::as_str);
                (is != wanted).then(|| format!("{name} is {is}, not {wanted}"))
            })
            .collect();
        if lost.is_empty() {
            return Ok(());
        }
        bail!(
            "the kernel's configuration lost {} of {} options; this version has them not, or not \
             without others:\n    {}",
            lost.len(),
            self.0.len(),
            lost.join("\n    ")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_order_do_not_matter() {
        let one = Config::parse("# about\nCONFIG_B=y\n\nCONFIG_A=\"x y\"\n").unwrap();
        let two = Config::parse("CONFIG_A=\"x y\"\nCONFIG_B=y\n# CONFIG_C is not set\n").unwrap();
        assert_eq!(one, two);
        assert_eq!(one.text(), "CONFIG_A=\"x y\"\nCONFIG_B=y\n");
    }

    #[test]
    fn what_is_no_option_is_refused() {
        assert!(Config::parse("CONFIG_A").is_err());
        assert!(Config::parse("A=y").is_err());
        assert!(Config::parse("CONFIG_A=y\nCONFIG_A=n").is_err());
    }

    #[test]
    fn lost_options_are_named() {
        let wanted =
            Config::parse("CONFIG_A=y\nCONFIG_B=n\nCONFIG_C=n\nCONFIG_D=7\nCONFIG_E=y").unwrap();
        let made = Config::parse("CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_D=7\nCONFIG_E=y");
        wanted.ensure_kept(&made.unwrap()).unwrap();
        let made = Config::parse("CONFIG_A=y\nCONFIG_C=y\nCONFIG_D=8\n").unwrap();
        let error = format!("{:#}", wanted.ensure_kept(&made).unwrap_err());
        assert!(error.contains("lost 3 of 5"), "{error}");
        for line in ["CONFIG_C is y, not n", "CONFIG_D is 8, not 7", "CONFIG_E is n, not y"] {
            assert!(error.contains(line), "{error}");
        }
    }
}
