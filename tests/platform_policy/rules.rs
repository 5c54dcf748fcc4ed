// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! The rules of `sepolicy/`, one by one, and the permissions that a rule lists.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

use crate::{is_te, Sources};

/// A rule: an `allow` statement, one permission in it, or the use of a macro.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Where it stands, from the checkout's root.
    pub file: PathBuf,
    /// The line on which it begins, from 1.
    pub line: usize,
    /// The statement, on one line.
    pub text: String,
    /// Of a permission: its name.
    pub permission: Option<String>,
    /// The bytes of the file that it takes.
    pub(crate) span: Range<usize>,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file.display(), self.line, self.text)?;
        match &self.permission {
            Some(permission) => write!(f, " (its {permission})"),
            None => Ok(()),
        }
    }
}

/// All rules of `sepolicy/*.te`. What declares (`type`, `attribute`) is none: nothing compiles
/// without it.
pub fn rules(sources: &Sources) -> Vec<Rule> {
    let mut rules = Vec::new();
    for part in sources.parts.iter().filter(|part| part.ours && is_te(&part.path)) {
        let statements = statements(&part.text).into_iter();
        for whole in statements.filter(|span| !is_declaration(&part.text[span.clone()])) {
            let rule = |span: Range<usize>, permission: Option<&str>| Rule {
                file: part.path.clone(),
                line: part.text[..whole.start].matches('\n').count() + 1,
                text: part.text[whole.clone()].split_whitespace().collect::<Vec<_>>().join(" "),
                permission: permission.map(str::to_owned),
                span,
            };
            rules.push(rule(whole.clone(), None));
            for span in permissions(&part.text, whole.clone()) {
                rules.push(rule(span.clone(), Some(&part.text[span])));
            }
        }
    }
    rules
}

/// Where the permissions of a statement stand that lists several.
fn permissions(text: &str, statement: Range<usize>) -> Vec<Range<usize>> {
    let start = statement.start;
    let listed = &text[statement];
    let Some(close) = listed.strip_suffix("};") else { return Vec::new() };
    let Some(open) = close.rfind('{') else { return Vec::new() };
    let mut offset = open + 1;
    let mut found = Vec::new();
    for word in close[open + 1..].split_inclusive(char::is_whitespace) {
        let name = word.trim();
        if !name.is_empty() {
            found.push(start + offset..start + offset + name.len());
        }
        offset += word.len();
    }
    found
}

fn is_declaration(statement: &str) -> bool {
    ["type", "attribute"].iter().any(|word| statement.split_whitespace().next() == Some(word))
}

/// Where statements stand: each ends with a semicolon, or with the parenthesis of a macro that
/// begins a line.
fn statements(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut start = None;
    let mut offset = 0;
    for line in text.split_inclusive('\n') {
        let code = line.split('#').next().unwrap_or_default();
        let end = offset + code.trim_end().len();
        if start.is_none() && !code.trim().is_empty() {
            start = Some(offset + code.len() - code.trim_start().len());
        }
        if let Some(begun) = start {
            let statement = text[begun..end].trim_end();
            let is_macro = !statement.contains(' ') || statement.find('(') < statement.find(' ');
            if statement.ends_with(';') || (is_macro && statement.ends_with(')')) {
                found.push(begun..end);
                start = None;
            }
        }
        offset += line.len();
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_end_with_a_semicolon_or_with_a_macro() {
        let text = "# a comment (with);\ntype a, domain;\nsome_macro(a, b)\nallow a\n    \
                    { b c }:file { # why\n    read };\nother(a)\n";
        let found: Vec<&str> = statements(text).into_iter().map(|span| &text[span]).collect();
        assert_eq!(found.len(), 4, "{found:#?}");
        assert_eq!(found[0], "type a, domain;");
        assert_eq!(found[1], "some_macro(a, b)");
        assert!(found[2].starts_with("allow a\n") && found[2].ends_with("read };"));
        assert_eq!(found[3], "other(a)");
        assert!(is_declaration(found[0]) && !is_declaration(found[1]));
    }

    #[test]
    fn permissions_are_the_words_of_the_last_list() {
        let found = |text: &'static str| -> Vec<&str> {
            permissions(text, 0..text.len()).into_iter().map(|span| &text[span]).collect()
        };
        assert_eq!(found("allow { a b } c:file { read\n    map };"), ["read", "map"]);
        assert_eq!(found("allow { a b } c:file read;"), [""; 0]);
        assert_eq!(found("some_macro(a)"), [""; 0]);
    }
}
