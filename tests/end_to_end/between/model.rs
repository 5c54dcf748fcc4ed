// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::time::Duration;

use berth_client::shared::ring::{self, Layout, Producer, RingError};
use proptest::prelude::*;

use super::{ask, rounds, Memory};

const CAPACITY: u32 = 256;

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
    let length = 0..=252usize;
    let step = prop_oneof![
        length.clone().prop_map(Step::Write),
        (length, any::<bool>()).prop_map(|(length, commit)| Step::Reserve(length, commit)),
        (prop::collection::vec(0..80usize, 0..5), any::<bool>())
            .prop_map(|(lengths, commit)| Step::WriteBatch(lengths, commit)),
        Just(Step::Read),
        Just(Step::Read),
        Just(Step::Peek),
        (0..5u32).prop_map(Step::ReadBatch),
        (0..5u32).prop_map(Step::Look),
    ];
    prop::collection::vec(step, 1..60)
}

/// Bytes in the ring that a record takes.
fn space(length: usize) -> usize {
    length.next_multiple_of(4) + 4
}

fn told(record: &[u8]) -> String {
    let sum = record.iter().fold(7u32, |sum, byte| sum.wrapping_mul(31) + u32::from(*byte));
    format!("{}:{sum}", record.len())
}

/// What the ring should hold.
#[derive(Default)]
struct Model {
    records: VecDeque<Vec<u8>>,
    made: u8,
}

impl Model {
    fn record(&mut self, length: usize) -> Vec<u8> {
        self.made = self.made.wrapping_add(1);
        (0..length).map(|index| self.made.wrapping_mul(37).wrapping_add(index as u8)).collect()
    }

    fn fits(&self, length: usize, beside: usize) -> bool {
        let used: usize = self.records.iter().map(|record| space(record.len())).sum();
        used + beside + space(length) <= CAPACITY as usize
    }

    fn first(&self, most: u32) -> String {
        let told: Vec<String> =
            self.records.iter().take(most as usize).map(|record| told(record)).collect();
        told.join(" ")
    }

    fn next(&self) -> String {
        self.records.front().map_or("none".to_owned(), |record| told(record))
    }
}

fn produce(model: &mut Model, producer: &mut Producer, step: &Step) {
    let full = RingError::TimedOut(Duration::ZERO);
    match step {
        Step::Write(length) => {
            let record = model.record(*length);
            let fits = model.fits(*length, 0);
            let expected = if fits { Ok(()) } else { Err(full) };
            assert_eq!(producer.write(&record, Duration::ZERO), expected);
            model.records.extend(fits.then_some(record));
        }
        Step::Reserve(length, commit) => {
            let record = model.record(*length);
            match producer.reserve(*length, Duration::ZERO) {
                Ok(reservation) => {
                    assert!(model.fits(*length, 0));
                    let (first, second) = record.split_at(length / 3);
                    reservation.write(length / 3, second).unwrap();
                    reservation.write(0, first).unwrap();
                    if *commit {
                        reservation.commit().unwrap();
                        model.records.push_back(record);
                    }
                }
                Err(error) => assert_eq!((error, model.fits(*length, 0)), (full, false)),
            }
        }
        Step::WriteBatch(lengths, commit) => {
            let mut batch = producer.batch();
            let mut pushed = Vec::new();
            for length in lengths {
                let record = model.record(*length);
                let beside = pushed.iter().map(|record: &Vec<u8>| space(record.len())).sum();
                let fits = model.fits(*length, beside);
                let expected = if fits { Ok(()) } else { Err(RingError::Full(*length)) };
                assert_eq!(batch.push(&record), expected);
                pushed.extend(fits.then_some(record));
            }
            if *commit {
                batch.commit().unwrap();
                model.records.extend(pushed);
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
    let producer = std::cell::RefCell::new(Producer::attach(memory.memfd.as_fd(), 0).unwrap());
    let lines = std::cell::RefCell::new(lines);
    let checked = runner.run(&steps(), |steps| {
        let (mut producer, mut lines) = (producer.borrow_mut(), lines.borrow_mut());
        while ask(&mut lines, "read") != "none" {}
        let mut model = Model::default();
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
