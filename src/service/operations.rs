// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! How long the operations of a session take, seen from the service.

use std::time::Instant;

use crate::latency::{Latency, Quantiles};
use crate::trace;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Open,
    Close,
    Allocate,
    Free,
    Get,
    List,
    Seal,
    Share,
    Acquire,
    Trim,
    Reattach,
    CreatePool,
    SharePool,
    JoinPool,
    UpdatePool,
    ResizePool,
    RestorePool,
    LeavePool,
}

impl Operation {
    /// All of them, in their order.
    const ALL: [Operation; 18] = [
        Operation::Open,
        Operation::Close,
        Operation::Allocate,
        Operation::Free,
        Operation::Get,
        Operation::List,
        Operation::Seal,
        Operation::Share,
        Operation::Acquire,
        Operation::Trim,
        Operation::Reattach,
        Operation::CreatePool,
        Operation::SharePool,
        Operation::JoinPool,
        Operation::UpdatePool,
        Operation::ResizePool,
        Operation::RestorePool,
        Operation::LeavePool,
    ];

    fn name(self) -> &'static str {
        match self {
            Operation::Open => "open",
            Operation::Close => "close",
            Operation::Allocate => "allocate",
            Operation::Free => "free",
            Operation::Get => "get",
            Operation::List => "list",
            Operation::Seal => "seal",
            Operation::Share => "share",
            Operation::Acquire => "acquire",
            Operation::Trim => "trim",
            Operation::Reattach => "reattach",
            Operation::CreatePool => "create_pool",
            Operation::SharePool => "share_pool",
            Operation::JoinPool => "join_pool",
            Operation::UpdatePool => "update_pool",
            Operation::ResizePool => "resize_pool",
            Operation::RestorePool => "restore_pool",
            Operation::LeavePool => "leave_pool",
        }
    }
}

/// The durations of each, refused calls among them.
#[derive(Debug)]
pub(crate) struct Operations([Latency; Operation::ALL.len()]);

impl Operations {
    pub(crate) fn new() -> Operations {
        Operations(Operation::ALL.map(|_| Latency::new()))
    }

    /// Does something, notes how long it took, and traces it.
    pub(crate) fn timed<T>(&self, operation: Operation, act: impl FnOnce() -> T) -> T {
        self.timed_from(operation, |_| act())
    }

    /// The same of what needs to know when it began.
    pub(crate) fn timed_from<T>(&self, operation: Operation, act: impl FnOnce(Instant) -> T) -> T {
        let began = Instant::now();
        let slice = trace::slice_at(operation.name(), began);
        let done = act(began);
        drop(slice);
        if let Some(latency) = self.0.get(operation as usize) {
            latency.record(began.elapsed());
        }
        done
    }

    /// What was measured of each operation, by name.
    pub(crate) fn seen(&self) -> impl Iterator<Item = (&'static str, Quantiles)> + '_ {
        let all = Operation::ALL.into_iter().zip(&self.0);
        all.map(|(operation, latency)| (operation.name(), latency.snapshot()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_has_a_place_of_its_own() {
        for (place, operation) in Operation::ALL.into_iter().enumerate() {
            assert_eq!(operation as usize, place);
            let operations = Operations::new();
            operations.timed(operation, || ());
            let seen: Vec<_> = operations.seen().filter(|(_, seen)| seen.count == 1).collect();
            assert_eq!(seen.len(), 1);
            assert_eq!(seen[0].0, operation.name());
        }
    }
}
