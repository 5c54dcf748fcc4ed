// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! From text to a policy: one function a kind of line. The first mistake ends it; there is no half
//! policy.

use std::collections::BTreeMap;
use std::str::SplitAsciiWhitespace;

use berth_layout::{StridePolicy, Usage};
use vendor_berth_allocator::aidl::vendor::berth::allocator::IAllocator;

use super::amount::{parse_alignment, parse_size, parse_uid, Amount};
use super::error::{shown, PolicyError, PolicyProblem};
use super::limits::{LimitKey, Stated, UidOverrides};
use super::usage_rule::{covers, UsageRule, ANY, PROTECTED, USAGES};
use super::{HeapPolicy, Policy, MAX_FILE_BYTES, MAX_FILE_LINES};
use crate::heap_class::HeapClass;

type ReadLine = fn(&mut Parser, &mut Line) -> Result<(), PolicyError>;
/// How a line begins.
const KINDS: [(&str, ReadLine); 5] = [
    ("heap", Parser::heap),
    ("usage", Parser::usage),
    ("stride", Parser::stride),
    ("limit", Parser::limit),
    ("uid", Parser::uid),
];

type SetHeap = fn(&mut HeapPolicy, &mut Line) -> Result<(), PolicyError>;
/// What a line can say of a heap.
const HEAP_SETTINGS: [(&str, SetHeap); 3] = [
    ("class", |heap, line| {
        heap.class = Some(line.choice("class of a dma-heap", &DMA_HEAP_CLASSES.map(named))?);
        Ok(())
    }),
    ("max-buffer", |heap, line| {
        heap.max_buffer_bytes = Some(line.value("size", parse_size)?);
        Ok(())
    }),
    ("off", |heap, _| {
        heap.off = true;
        Ok(())
    }),
];

/// The classes that a dma-heap can have. The other two are no dma-heaps.
const DMA_HEAP_CLASSES: [HeapClass; 5] = [
    HeapClass::System,
    HeapClass::SystemUncached,
    HeapClass::Contiguous,
    HeapClass::Secure,
    HeapClass::Vendor,
];

type Stride = fn(&mut StridePolicy) -> &mut u32;
/// Who asks for a stride.
const STRIDES: [(&str, Stride); 5] = [
    ("base", |strides| &mut strides.base),
    ("gpu", |strides| &mut strides.gpu),
    ("composer", |strides| &mut strides.composer),
    ("video", |strides| &mut strides.video),
    ("camera", |strides| &mut strides.camera),
];

type Own = fn(&mut UidOverrides) -> &mut Option<Stated<Amount>>;
type ReadAmount = fn(&str) -> Result<Amount, PolicyProblem>;
/// What a line can say of a uid.
const UID_LIMITS: [(&str, (Own, ReadAmount)); 4] = [
    ("bytes", (|own| &mut own.bytes, Amount::parse_bytes)),
    ("buffers", (|own| &mut own.buffers, Amount::parse_count)),
    ("descriptors", (|own| &mut own.descriptors, Amount::parse_count)),
    ("sessions", (|own| &mut own.sessions, Amount::parse_count)),
];

fn named(class: HeapClass) -> (&'static str, HeapClass) {
    (class.name(), class)
}

/// Reads the whole file.
pub(super) fn parse(text: &[u8]) -> Result<Policy, PolicyError> {
    let fail = |line, problem| PolicyError { line, key: String::new(), problem };
    if text.len() > MAX_FILE_BYTES {
        let newlines = text.iter().take(MAX_FILE_BYTES).filter(|byte| **byte == b'\n').count();
        let limit = MAX_FILE_BYTES;
        return Err(fail(newlines.saturating_add(1), PolicyProblem::TooManyBytes { limit }));
    }
    let mut parser = Parser::new();
    let lines = text.strip_suffix(b"\n").unwrap_or(text).split(|byte| *byte == b'\n');
    for (number, line) in (1..).zip(lines) {
        if number > MAX_FILE_LINES {
            return Err(fail(number, PolicyProblem::TooManyLines { limit: MAX_FILE_LINES }));
        }
        let line = std::str::from_utf8(line).map_err(|_| fail(number, PolicyProblem::NotUtf8))?;
        let code = line.split('#').next().unwrap_or_default();
        let words = code.split_ascii_whitespace();
        parser.line(Line { number, key: String::new(), words })?;
    }
    parser.finish()
}

/// A line, as far as it was read.
struct Line<'text> {
    number: usize,
    /// The words that were understood.
    key: String,
    words: SplitAsciiWhitespace<'text>,
}

impl<'text> Line<'text> {
    fn fail<T>(&self, problem: PolicyProblem) -> Result<T, PolicyError> {
        Err(self.error(problem))
    }

    fn error(&self, problem: PolicyProblem) -> PolicyError {
        PolicyError { line: self.number, key: self.key.clone(), problem }
    }

    /// The next word, which must be there.
    fn word(&mut self, what: &'static str) -> Result<&'text str, PolicyError> {
        self.words.next().ok_or_else(|| self.error(PolicyProblem::Missing { what }))
    }

    /// The next word, read as a value.
    fn value<T>(
        &mut self,
        what: &'static str,
        parse: impl Fn(&str) -> Result<T, PolicyProblem>,
    ) -> Result<T, PolicyError> {
        let word = self.word(what)?;
        parse(word).map_err(|problem| self.error(problem))
    }

    /// The next word, one of a table's, as the table has it.
    fn choice<T: Copy>(
        &mut self,
        what: &'static str,
        table: &[(&'static str, T)],
    ) -> Result<T, PolicyError> {
        let word = self.word(what)?;
        look_up(word, what, table).map_err(|problem| self.error(problem))
    }

    /// The same with a word that becomes a part of the key.
    fn key_choice<T: Copy>(
        &mut self,
        what: &'static str,
        table: &[(&'static str, T)],
    ) -> Result<T, PolicyError> {
        let word = self.words.clone().next().unwrap_or_default();
        let choice = self.choice(what, table)?;
        self.understood(word);
        Ok(choice)
    }

    fn understood(&mut self, word: &str) {
        if !self.key.is_empty() {
            self.key.push(' ');
        }
        self.key.push_str(word);
    }

    /// The line must be over.
    fn end(&mut self) -> Result<(), PolicyError> {
        match self.words.next() {
            Some(word) => self.fail(PolicyProblem::Surplus { word: shown(word) }),
            None => Ok(()),
        }
    }
}

/// What the lines so far have said.
struct Parser {
    policy: Policy,
    /// The line of each key.
    lines: BTreeMap<String, usize>,
    /// The usages of the `usage` lines, with the line of each.
    usages: Vec<(Usage, usize)>,
}

impl Parser {
    fn new() -> Parser {
        let policy = Policy { usages: Vec::new(), ..Policy::default() };
        Parser { policy, lines: BTreeMap::new(), usages: Vec::new() }
    }

    fn line(&mut self, mut line: Line) -> Result<(), PolicyError> {
        if line.words.clone().next().is_none() {
            return Ok(());
        }
        let read = line.key_choice("kind of line", &KINDS)?;
        read(self, &mut line)?;
        line.end()
    }

    /// Notes that the line's key is taken.
    fn take_key(&mut self, line: &Line) -> Result<(), PolicyError> {
        match self.lines.insert(line.key.clone(), line.number) {
            Some(first) => line.fail(PolicyProblem::Repeated { first }),
            None => Ok(()),
        }
    }

    fn heap(&mut self, line: &mut Line) -> Result<(), PolicyError> {
        let name = line.value("name of a heap", heap_name)?;
        line.understood(&name);
        let set = line.key_choice("setting of a heap", &HEAP_SETTINGS)?;
        self.take_key(line)?;
        let heap = self.policy.heaps.entry(name.clone()).or_default();
        set(heap, line)?;
        match HeapClass::of_name(&name) {
            class @ (HeapClass::Shmem | HeapClass::Udmabuf) if heap.class.is_some() => {
                line.fail(PolicyProblem::FixedClass { class })
            }
            _ => Ok(()),
        }
    }

    fn usage(&mut self, line: &mut Line) -> Result<(), PolicyError> {
        let words = line.word("usage")?;
        let mut rule = None;
        for word in words.split('|') {
            let usage = usage(word).map_err(|problem| line.error(problem))?;
            self.take_usage(line, rule, word, usage)?;
            rule = Some(rule.unwrap_or(Usage::empty()) | usage);
        }
        line.understood(words);
        let all = HeapClass::ALL.map(named);
        let mut classes = vec![line.choice("heap class", &all)?];
        while let Some(word) = line.words.clone().next() {
            let class = line.choice("heap class", &all)?;
            if classes.contains(&class) {
                line.understood(word);
                return line.fail(PolicyProblem::Repeated { first: line.number });
            }
            classes.push(class);
        }
        let usage = rule.unwrap_or(Usage::empty());
        self.usages.push((usage, line.number));
        self.policy.usages.push(UsageRule { usage, classes });
        Ok(())
    }

    /// Checks that a usage is not taken: that buffers of it reach this line, and that it adds to what
    /// the line has already, which is `own`.
    fn take_usage(
        &self,
        line: &mut Line,
        own: Option<Usage>,
        word: &str,
        usage: Usage,
    ) -> Result<(), PolicyError> {
        let twice = own.is_some_and(|own| covers(own, usage) || covers(usage, own));
        let earlier = self.usages.iter().find(|(rule, _)| covers(*rule, usage));
        let first = match earlier {
            Some((_, first)) => *first,
            None if twice => line.number,
            None => return Ok(()),
        };
        line.understood(word);
        line.fail(PolicyProblem::Repeated { first })
    }

    fn stride(&mut self, line: &mut Line) -> Result<(), PolicyError> {
        let stride = line.key_choice("stride", &STRIDES)?;
        self.take_key(line)?;
        *stride(&mut self.policy.strides) = line.value("number of bytes", parse_alignment)?;
        Ok(())
    }

    fn limit(&mut self, line: &mut Line) -> Result<(), PolicyError> {
        let key = line.key_choice("limit", &LimitKey::ALL.map(|key| (key.name(), key)))?;
        self.take_key(line)?;
        let read = if key.is_bytes() { Amount::parse_bytes } else { Amount::parse_count };
        let value = line.value("value", read)?;
        self.policy.limits.state(key, Stated { value, line: line.number });
        Ok(())
    }

    fn uid(&mut self, line: &mut Line) -> Result<(), PolicyError> {
        let uid = line.value("uid", parse_uid)?;
        line.understood(&uid.to_string());
        let (limit, read) = line.key_choice("limit of a uid", &UID_LIMITS)?;
        self.take_key(line)?;
        let value = line.value("value", read)?;
        let own = self.policy.uids.entry(uid).or_default();
        *limit(own) = Some(Stated { value, line: line.number });
        Ok(())
    }

    /// What only all lines together show.
    fn finish(mut self) -> Result<Policy, PolicyError> {
        let has_any = self.usages.iter().any(|(usage, _)| usage.is_empty());
        if !has_any {
            self.policy.usages.push(UsageRule::any());
        }
        self.policy.limits.check()?;
        for (uid, own) in &self.policy.uids {
            own.check(*uid, &self.policy.limits)?;
        }
        Ok(self.policy)
    }
}

/// A word's value in a table.
fn look_up<T: Copy>(
    word: &str,
    what: &'static str,
    table: &[(&'static str, T)],
) -> Result<T, PolicyProblem> {
    let found = table.iter().find(|(name, _)| *name == word);
    found.map(|(_, value)| *value).ok_or_else(|| PolicyProblem::Unknown {
        word: shown(word),
        what,
        known: table.iter().map(|(name, _)| *name).collect(),
    })
}

/// The name of a heap, which is that of a node under `/dev/dma_heap`, or one of the service's own.
fn heap_name(word: &str) -> Result<String, PolicyProblem> {
    // Nobody could ask for a heap with a longer one.
    let limit = IAllocator::MAX_NAME_BYTES as usize;
    let fits = word.len() <= limit && !word.starts_with('.');
    if fits && word.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/') {
        return Ok(word.to_owned());
    }
    Err(PolicyProblem::HeapName { word: shown(word), limit })
}

/// A usage; empty for `any`.
fn usage(word: &str) -> Result<Usage, PolicyProblem> {
    if word == PROTECTED {
        return Err(PolicyProblem::Protected);
    }
    let any = [(ANY, Usage::empty())];
    let table: Vec<_> = any.into_iter().chain(USAGES).collect();
    look_up(word, "usage", &table)
}
