// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! How long the operations of a session take, seen from the service.

use std::time::Instant;

use crate::latency::{Latency, Quantiles};

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Allocate,
    Free,
    Get,
    Share,
    Acquire,
}

impl Operation {
    /// All of them.
    const ALL: [Operation; 5] = [
        Operation::Allocate,
        Operation::Free,
        Operation::Get,
        Operation::Share,
        Operation::Acquire,
    ];

    fn name(self) -> &'static str {
        match self {
            Operation::Allocate => "allocate",
            Operation::Free => "free",
            Operation::Get => "get",
            Operation::Share => "share",
            Operation::Acquire => "acquire",
        }
    }
}

/// The durations of each, refused calls among them.
#[derive(Debug)]
pub(crate) struct Operations {
    allocate: Latency,
    free: Latency,
    get: Latency,
    share: Latency,
    acquire: Latency,
}

impl Operations {
    pub(crate) fn new() -> Operations {
        Operations {
            allocate: Latency::new(),
            free: Latency::new(),
            get: Latency::new(),
            share: Latency::new(),
            acquire: Latency::new(),
        }
    }

    /// Does something and notes how long it took.
    pub(crate) fn timed<T>(&self, operation: Operation, act: impl FnOnce() -> T) -> T {
        let began = Instant::now();
        let done = act();
        self.of(operation).record(began.elapsed());
        done
    }

    /// What was measured of each operation, by name.
    pub(crate) fn seen(&self) -> impl Iterator<Item = (&'static str, Quantiles)> + '_ {
        Operation::ALL.into_iter().map(|one| (one.name(), self.of(one).snapshot()))
    }

    fn of(&self, operation: Operation) -> &Latency {
        match operation {
            Operation::Allocate => &self.allocate,
            Operation::Free => &self.free,
            Operation::Get => &self.get,
            Operation::Share => &self.share,
            Operation::Acquire => &self.acquire,
        }
    }
}
