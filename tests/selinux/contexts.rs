// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! The files that say what is labelled how: `file_contexts` and `service_contexts`.

use anyhow::{Context, Result};
use regex::Regex;

/// The lines of a contexts file: a name or pattern, and a label.
fn lines(text: &str) -> impl Iterator<Item = Result<(&str, &str)>> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.filter(|line| !line.starts_with('#')).map(|line| {
        line.split_once(char::is_whitespace)
            .map(|(pattern, label)| (pattern, label.trim()))
            .with_context(|| format!("a context without a label: {line}"))
    })
}

/// What `file_contexts` says. Of several patterns that fit, one without special characters is taken
/// first, then the one with more text before the first of them, then the longer one, then the later
/// one (AOSP's fc_sort sorts by these, and the last that fits holds).
#[derive(Debug)]
pub struct FileContexts(Vec<FileContext>);

#[derive(Debug)]
struct FileContext {
    whole: Regex,
    literal: bool,
    stem: usize,
    length: usize,
    label: String,
}

impl FileContexts {
    /// Reads a file's text.
    pub fn parse(text: &str) -> Result<Self> {
        let mut contexts = lines(text)
            .map(|line| line.and_then(|(pattern, label)| FileContext::new(pattern, label)))
            .collect::<Result<Vec<_>>>()?;
        contexts.sort_by_key(|context| (context.literal, context.stem, context.length));
        Ok(Self(contexts))
    }

    /// The label of a path.
    pub fn label(&self, path: &str) -> Option<&str> {
        let fitting = self.0.iter().rev().find(|context| context.whole.is_match(path))?;
        Some(&fitting.label)
    }
}

impl FileContext {
    fn new(pattern: &str, label: &str) -> Result<Self> {
        let whole = Regex::new(&format!("^(?:{pattern})$"))
            .with_context(|| format!("{pattern} is no pattern"))?;
        let plain = pattern.replace("\\.", "_");
        let special = plain.find(['.', '*', '+', '?', '(', '[', '{', '|', '\\', '^', '$']);
        let stem = special.unwrap_or(plain.len());
        let (literal, length) = (special.is_none(), pattern.len());
        Ok(Self { whole, literal, stem, length, label: label.to_owned() })
    }
}

/// What `service_contexts` says: a label for each name, and one for all others.
#[derive(Debug)]
pub struct ServiceContexts(Vec<(String, String)>);

impl ServiceContexts {
    /// Reads a file's text.
    pub fn parse(text: &str) -> Result<Self> {
        let pairs = lines(text)
            .map(|line| line.map(|(name, label)| (name.to_owned(), label.to_owned())))
            .collect::<Result<Vec<_>>>()?;
        Ok(Self(pairs))
    }

    /// The label of a service.
    pub fn label(&self, name: &str) -> Option<&str> {
        let of = |wanted: &str| self.0.iter().find(|(name, _)| name == wanted);
        of(name).or_else(|| of("*")).map(|(_, label)| label.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_special_pattern_wins_wherever_it_stands() {
        let contexts = FileContexts::parse(
            "# which is which\n/dev/dma_heap/system a\n/dev(/.*)? b\n/dev/dma_heap(/.*)? c\n\
             /dev/(u)?random d\n/(vendor|system/vendor)/bin/hw/a\\.b-service  e\n\
             /(vendor|system/vendor)(/.*)? f\n",
        )
        .unwrap();
        for (path, label) in [
            ("/dev", Some("b")),
            ("/dev/kmsg", Some("b")),
            ("/dev/dma_heap", Some("c")),
            ("/dev/dma_heap/reserved", Some("c")),
            ("/dev/dma_heap/system", Some("a")),
            ("/dev/urandom", Some("d")),
            ("/vendor/bin", Some("f")),
            ("/vendor/bin/hw/a.b-service", Some("e")),
            ("/devices", None),
        ] {
            assert_eq!(contexts.label(path), label, "{path}");
        }
    }

    #[test]
    fn a_service_without_a_line_has_the_label_of_all_others() {
        let contexts = ServiceContexts::parse("a.b.IC/default  x\n*  y\n").unwrap();
        assert_eq!(contexts.label("a.b.IC/default"), Some("x"));
        assert_eq!(contexts.label("aXb.IC/default"), Some("y"));
        assert_eq!(ServiceContexts::parse("a x\n").unwrap().label("b"), None);
        assert!(ServiceContexts::parse("a\n").is_err());
    }
}
