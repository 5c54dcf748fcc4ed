// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::time::Duration;

use berth_client::shared::ring::{self, Layout, Producer, RingError};
use proptest::prelude::*;

use super::{ask, rounds, Memory};

const CAPACITY: u32 = 1024;
/// Of its records.
const LONGEST: usize = 1024 - 64;

#[derive(Debug, Clone)]
enum Step {
    Write(usize),
    Reserve(usize, bool),
    WriteBatch(Vec<usize>, bool),
    Read,
    Peek,
    ReadBatch(u32),
    Look(u32),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let length = prop_oneof![0..=80usize, 0..=LONGEST];
    let step = prop_oneof![
        length.clone().prop_map(Step::Write),
        (length, any::<bool>()).prop_map(|(length, commit)| Step::Reserve(length, commit)),
        (prop::collection::vec(0..=320usize, 0..5), any::<bool>())
            .prop_map(|(lengths, commit)| Step::WriteBatch(lengths, commit)),
        Just(Step::Read),
        Just(Step::Read),
        Just(Step::Peek),
        (0..5u32).prop_map(Step::ReadBatch),
        (0..5u32).prop_map(Step::Look),
    ];
    prop::collection::vec(step, 1..60)
}

/// Bytes in the ring that a record takes which is put in at `index`.
fn space(index: usize, length: usize) -> usize {
    let gap = if length < 256 { 0 } else { index.next_multiple_of(64) - index };
    4 + gap + length.next_multiple_of(4)
}

fn told(record: &[u8]) -> String {
    let sum = record.iter().fold(7u32, |sum, byte| sum.wrapping_mul(31) + u32::from(*byte));
    format!("{}:{sum}", record.len())
}

/// What the ring should hold.
struct Model<'a> {
    /// Each with the bytes that it takes.
    records: VecDeque<(Vec<u8>, usize)>,
    made: u8,
    /// Bytes that went in since the ring was made.
    index: &'a Cell<usize>,
}

impl Model<'_> {
    fn record(&mut self, length: usize) -> Vec<u8> {
        self.made = self.made.wrapping_add(1);
        (0..length).map(|index| self.made.wrapping_mul(37).wrapping_add(index as u8)).collect()
    }

    /// The bytes that a record would take behind those that take `beside`, if there is room.
    fn room(&self, length: usize, beside: usize) -> Option<usize> {
        let used: usize = self.records.iter().map(|(_, space)| space).sum();
        let space = space(self.index.get() + beside, length);
        (used + beside + space <= CAPACITY as usize).then_some(space)
    }

    fn put(&mut self, record: Vec<u8>, space: usize) {
        self.index.set(self.index.get() + space);
        self.records.push_back((record, space));
    }

    fn first(&self, most: u32) -> String {
        let told: Vec<String> =
            self.records.iter().take(most as usize).map(|(record, _)| told(record)).collect();
        told.join(" ")
    }

    fn next(&self) -> String {
        self.records.front().map_or("none".to_owned(), |(record, _)| told(record))
    }
}

fn produce(model: &mut Model<'_>, producer: &mut Producer, step: &Step) {
    let full = RingError::TimedOut(Duration::ZERO);
    match step {
        Step::Write(length) => {
            let record = model.record(*length);
            let written = producer.write(&record, Duration::ZERO);
            match model.room(*length, 0) {
                Some(space) => {
                    assert_eq!(written, Ok(()));
                    model.put(record, space);
                }
                None => assert_eq!(written, Err(full)),
            }
        }
        Step::Reserve(length, commit) => {
            let record = model.record(*length);
            match producer.reserve(*length, Duration::ZERO) {
                Ok(reservation) => {
                    let space = model.room(*length, 0).expect("room");
                    let (first, second) = record.split_at(length / 3);
                    reservation.write(length / 3, second).unwrap();
                    reservation.write(0, first).unwrap();
                    if *commit {
                        reservation.commit().unwrap();
                        model.put(record, space);
                    }
                }
                Err(error) => assert_eq!((error, model.room(*length, 0)), (full, None)),
            }
        }
        Step::WriteBatch(lengths, commit) => {
            let mut batch = producer.batch();
            let mut pushed = Vec::new();
            let mut beside = 0;
            for length in lengths {
                let record = model.record(*length);
                let added = batch.push(&record);
                match model.room(*length, beside) {
                    Some(space) => {
                        assert_eq!(added, Ok(()));
                        pushed.push((record, space));
                        beside += space;
                    }
                    None => assert_eq!(added, Err(RingError::Full(*length))),
                }
            }
            if *commit {
                batch.commit().unwrap();
                pushed.into_iter().for_each(|(record, space)| model.put(record, space));
            }
        }
        _ => {}
    }
}

#[test]
fn a_ring_between_two_processes_does_what_a_queue_does() {
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: rounds(300),
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let memory = Memory::new();
    let layout = Layout::of_capacity(CAPACITY).unwrap();
    ring::create(memory.memfd.as_fd(), 0, layout).unwrap();
    let mut peer = memory.peer("answer", 0);
    let mut lines = peer.lines();
    assert_eq!(ask(&mut lines, ""), "ready");
    // One peer and one ring for all cases: each begins where the last one ended.
    let producer = RefCell::new(Producer::attach(memory.memfd.as_fd(), 0).unwrap());
    let lines = RefCell::new(lines);
    let index = Cell::new(0);
    let checked = runner.run(&steps(), |steps| {
        let (mut producer, mut lines) = (producer.borrow_mut(), lines.borrow_mut());
        while ask(&mut lines, "read") != "none" {}
        let mut model = Model { records: VecDeque::new(), made: 0, index: &index };
        for step in &steps {
            match step {
                Step::Read => {
                    prop_assert_eq!(ask(&mut lines, "read"), model.next());
                    model.records.pop_front();
                }
                Step::Peek => prop_assert_eq!(ask(&mut lines, "peek"), model.next()),
                Step::Look(most) => {
                    prop_assert_eq!(ask(&mut lines, &format!("look {most}")), model.first(*most));
                }
                Step::ReadBatch(most) => {
                    prop_assert_eq!(ask(&mut lines, &format!("batch {most}")), model.first(*most));
                    model.records.drain(..model.records.len().min(*most as usize));
                }
                step => produce(&mut model, &mut producer, step),
            }
        }
        Ok(())
    });
    checked.unwrap();
}
