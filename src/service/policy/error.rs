// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! What can be wrong with a policy file. Every text names the line and, as soon as the line has
//! said so much, the key.

use std::fmt;
use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::heap_class::HeapClass;

/// How much of a word is shown: a word can be as long as the file.
const SHOWN_CHARS: usize = 64;

/// The part of a word that an error shows.
pub(super) fn shown(word: &str) -> String {
    word.chars().take(SHOWN_CHARS).collect()
}

/// A line that cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyError {
    /// The line, from 1.
    pub line: usize,
    /// The words that say what is set, as far as they were understood, for example
    /// `heap linux,cma class`; empty if the line did not get that far.
    pub key: String,
    /// What is wrong.
    pub problem: PolicyProblem,
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}", self.line)?;
        if !self.key.is_empty() {
            write!(f, ", {}", self.key)?;
        }
        write!(f, ": {}", self.problem)
    }
}

impl std::error::Error for PolicyError {}

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PolicyProblem {
    /// Bytes that are no text.
    #[error("not UTF-8")]
    NotUtf8,

    /// The file goes on after the most bytes that it may have.
    #[error("the file has more than {limit} bytes")]
    TooManyBytes {
        /// The most.
        limit: usize,
    },

    /// The file goes on after the most lines that it may have.
    #[error("the file has more than {limit} lines")]
    TooManyLines {
        /// The most.
        limit: usize,
    },

    /// A word that is none of those that can stand here.
    #[error("{word:?} is no {what}; one of {}", .known.join(", "))]
    Unknown {
        /// The word, shortened.
        word: String,
        /// What was expected.
        what: &'static str,
        /// Every word that can stand here.
        known: Vec<&'static str>,
    },

    /// The line ends too early.
    #[error("a {what} is missing")]
    Missing {
        /// What was expected.
        what: &'static str,
    },

    /// The line does not end where it should.
    #[error("{word:?} is one word too many")]
    Surplus {
        /// The first word that should not be there, shortened.
        word: String,
    },

    /// The same key again. No line overrides another.
    #[error("line {first} has it already")]
    Repeated {
        /// The line that had it first; the line itself, if it says something twice.
        first: usize,
    },

    /// A word that is no number of the kind that should stand here.
    #[error("{word:?} is no {what}")]
    NotANumber {
        /// The word, shortened.
        word: String,
        /// What was expected, with an example.
        what: &'static str,
    },

    /// A number below the least or above the most.
    #[error("{word} is not from {least} to {most}")]
    OutOfRange {
        /// The number as it stands, shortened.
        word: String,
        /// The smallest that can stand here.
        least: u64,
        /// The largest that can stand here.
        most: u64,
    },

    /// What cannot be the name of a heap.
    #[error("{word:?} is no name of a heap: at most {limit} visible ASCII characters, no slash and no dot at the start")]
    HeapName {
        /// The word, shortened.
        word: String,
        /// The most characters.
        limit: usize,
    },

    /// A heap of the service's own, whose class is no opinion.
    #[error("it is {class} on every device")]
    FixedClass {
        /// The heap's class.
        class: HeapClass,
    },

    /// Protected buffers have one source only.
    #[error("secure heaps serve it and nothing else; \"heap NAME class secure\" makes one")]
    Protected,

    /// An alignment that no stride can have.
    #[error("{word} is no power of two from 1 to {limit}")]
    Alignment {
        /// The number as it stands, in bytes, shortened.
        word: String,
        /// The largest alignment, in bytes.
        limit: u32,
    },

    /// A limit that is wider than one that contains it.
    #[error("{value} is above {bound}")]
    Above {
        /// The limit.
        value: String,
        /// What it must not exceed, by name, and its value.
        bound: String,
    },
}

/// Why there is no policy.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The file could not be read.
    #[error("policy file {}: {cause}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        cause: io::Error,
    },

    /// The file was read and is wrong.
    #[error("policy file {}: {cause}", .path.display())]
    Wrong {
        /// The file.
        path: PathBuf,
        /// Its first mistake.
        cause: PolicyError,
    },
}
