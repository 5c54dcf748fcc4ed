// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

use crate::atomics::AtomicU32;
use crate::presence::word::{self, Standing};
use crate::ring::cursor::{Bytes, Ended, Reader, Words, Writer};
use crate::{explore, futex, patience};

const PRODUCER: u32 = 1;
const CONSUMER: u32 = 2;

struct Ring {
    tail: AtomicU32,
    head: AtomicU32,
    producer: AtomicU32,
    consumer: AtomicU32,
    /// Of 4 bytes each: loom reports it if both ends are at one of them at once.
    cells: Vec<UnsafeCell<[u8; 4]>>,
}

impl Ring {
    /// Of `cells` times 4 bytes, with both ends present.
    fn new(cells: u32) -> Arc<Ring> {
        Arc::new(Ring {
            // Just before they wrap.
            tail: AtomicU32::new(u32::MAX - 7),
            head: AtomicU32::new(u32::MAX - 7),
            producer: AtomicU32::new(PRODUCER),
            consumer: AtomicU32::new(CONSUMER),
            cells: (0..cells).map(|_| UnsafeCell::new([0; 4])).collect(),
        })
    }

    fn words(&self) -> Words<'_> {
        Words {
            tail: &self.tail,
            head: &self.head,
            producer: &self.producer,
            consumer: &self.consumer,
        }
    }

    fn capacity(&self) -> u32 {
        4 * self.cells.len() as u32
    }

    fn writer(&self) -> Writer {
        Writer::attach(&self.words(), self.capacity(), self.capacity()).unwrap()
    }

    fn reader(&self) -> Reader {
        Reader::attach(&self.words(), self.capacity()).unwrap()
    }

    fn write(&self, writer: &mut Writer, number: u8) -> Result<(), Ended> {
        writer.wait(&self.words(), 4, patience)?;
        writer.begin(self, 4);
        writer.fill(self, 4, 0, &[number; 4]);
        writer.end(4);
        writer.publish(&self.words());
        Ok(())
    }

    fn read(&self, reader: &mut Reader) -> Result<u8, Ended> {
        reader.wait(&self.words(), patience)?;
        let mut record = [0; 4];
        assert_eq!(reader.length(self), Ok(4));
        reader.copy(self, 4, 0, &mut record);
        reader.pass(4);
        reader.release(&self.words());
        assert_eq!(record, [record[0]; 4]);
        Ok(record[0])
    }
}

impl Bytes for Ring {
    fn copy_out(&self, offset: u32, into: &mut [u8]) {
        // SAFETY: that it is, is what loom checks.
        self.cells[offset as usize / 4].with(|cell| into.copy_from_slice(unsafe { &*cell }));
    }

    fn copy_in(&self, offset: u32, from: &[u8]) {
        // SAFETY: as above.
        let fill = |cell: *mut [u8; 4]| unsafe { (*cell).copy_from_slice(from) };
        self.cells[offset as usize / 4].with_mut(fill);
    }
}

#[test]
fn records_come_in_order_through_a_ring_that_holds_one_and_nobody_sleeps_for_ever() {
    explore(3, || {
        let ring = Ring::new(2);
        let producing = {
            let ring = Arc::clone(&ring);
            thread::spawn(move || {
                let mut writer = ring.writer();
                for number in 1..=3 {
                    ring.write(&mut writer, number).unwrap();
                }
            })
        };
        let mut reader = ring.reader();
        for number in 1..=3 {
            assert_eq!(ring.read(&mut reader), Ok(number));
        }
        producing.join().unwrap();
    });
}

#[test]
fn a_ring_of_two_records_is_filled_and_emptied_at_once() {
    explore(3, || {
        let ring = Ring::new(4);
        let producing = {
            let ring = Arc::clone(&ring);
            thread::spawn(move || {
                let mut writer = ring.writer();
                for number in 1..=3 {
                    ring.write(&mut writer, number).unwrap();
                }
                word::leave(&ring.producer);
            })
        };
        let mut reader = ring.reader();
        for number in 1..=3 {
            assert_eq!(ring.read(&mut reader), Ok(number));
        }
        assert_eq!(ring.read(&mut reader), Err(Ended::Left));
        producing.join().unwrap();
    });
}

#[test]
fn what_a_producer_published_before_it_died_is_read_and_its_death_ends_the_wait() {
    explore(3, || {
        let ring = Ring::new(2);
        let producing = {
            let ring = Arc::clone(&ring);
            thread::spawn(move || {
                let mut writer = ring.writer();
                ring.write(&mut writer, 1).unwrap();
                // Killed after it published and before it wakes anybody.
                writer.wait(&ring.words(), 4, patience).unwrap();
                writer.begin(&*ring, 4);
                futex::end_of(&ring.producer, PRODUCER);
            })
        };
        let mut reader = ring.reader();
        assert_eq!(ring.read(&mut reader), Ok(1));
        assert_eq!(ring.read(&mut reader), Err(Ended::Died));
        producing.join().unwrap();
        assert_eq!(
            Standing::of(ring.producer.load(crate::atomics::Ordering::Relaxed)),
            Standing::Died
        );
    });
}

#[test]
fn a_producer_that_dies_between_publishing_and_waking_leaves_nobody_asleep() {
    explore(3, || {
        let ring = Ring::new(2);
        let producing = {
            let ring = Arc::clone(&ring);
            thread::spawn(move || {
                let writer = ring.writer();
                writer.begin(&*ring, 4);
                writer.fill(&*ring, 4, 0, &[1; 4]);
                ring.tail.store(0, crate::atomics::Ordering::Release);
                futex::end_of(&ring.producer, PRODUCER);
            })
        };
        let mut reader = ring.reader();
        assert_eq!(ring.read(&mut reader), Ok(1));
        assert_eq!(ring.read(&mut reader), Err(Ended::Died));
        producing.join().unwrap();
    });
}

#[test]
fn a_consumer_that_dies_or_leaves_ends_the_producers_wait() {
    for dies in [false, true] {
        explore(3, move || {
            let ring = Ring::new(2);
            let consuming = {
                let ring = Arc::clone(&ring);
                thread::spawn(move || {
                    let mut reader = ring.reader();
                    ring.read(&mut reader).unwrap();
                    if dies {
                        futex::end_of(&ring.consumer, CONSUMER);
                    } else {
                        word::leave(&ring.consumer);
                    }
                })
            };
            let mut writer = ring.writer();
            let mut written = 0;
            let ended = loop {
                if let Err(ended) = ring.write(&mut writer, written) {
                    break ended;
                }
                written += 1;
            };
            // The second found room or the first did not yet see the end.
            assert!((1..=2).contains(&written), "{written}");
            assert_eq!(ended, if dies { Ended::Died } else { Ended::Left });
            consuming.join().unwrap();
        });
    }
}
