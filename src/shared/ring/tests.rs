// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

use super::cursor::{Reader, Writer};
use super::*;
use berth_kernel::memfd::Memfd;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::Mutex;

const SECONDS: Duration = Duration::from_secs(30);
const NOW: Duration = Duration::ZERO;

fn memory(layout: Layout) -> Memfd {
    let memfd = Memfd::create("ring", layout.bytes() as u64).unwrap();
    create(memfd.as_fd(), 0, layout).unwrap();
    memfd
}

fn ring(capacity: u32) -> (Memfd, Producer, Consumer) {
    let memfd = memory(Layout::of_capacity(capacity).unwrap());
    let producer = Producer::attach(memfd.as_fd(), 0).unwrap();
    let consumer = Consumer::attach(memfd.as_fd(), 0).unwrap();
    (memfd, producer, consumer)
}

fn words(memfd: &Memfd) -> Mapping<ReadWrite> {
    Mapping::new(memfd.as_fd(), RECORDS as u64).unwrap()
}

#[test]
#[cfg_attr(miri, ignore = "needs a kernel")]
fn records_of_all_lengths_come_out_as_they_went_in_however_they_wrap() {
    let (_memfd, mut producer, mut consumer) = ring(64);
    let mut into = [0; 64];
    for round in 0..200usize {
        let length = round % 61;
        let record: Vec<u8> = (0..length).map(|byte| (byte ^ round) as u8).collect();
        producer.write(&record, NOW).unwrap();
        let read = consumer.read(&mut into, NOW).unwrap();
        assert_eq!(into[..read], record);
    }
}

#[test]
#[cfg_attr(miri, ignore = "needs a kernel")]
fn long_records_begin_at_cache_lines_and_the_longest_fits_wherever_the_ring_stands() {
    for capacity in [256, 512, 1024] {
        let (memfd, mut producer, mut consumer) = ring(capacity);
        let memory = Mapping::<ReadWrite>::new(memfd.as_fd(), consumer.layout().bytes() as u64);
        let memory = memory.unwrap();
        let longest = producer.layout().largest_record();
        assert_eq!(longest, if capacity == 256 { 252 } else { capacity as usize - 64 });
        let mut into = vec![0; longest];
        // The first of each pair leaves the ring at another place, a multiple of 4, each time.
        for round in 0..200usize {
            for length in [round % (longest + 1), longest] {
                let record: Vec<u8> = (0..length).map(|byte| (byte ^ round) as u8 | 1).collect();
                producer.write(&record, NOW).unwrap();
                if length >= 256 {
                    let head = memory.word(HEAD).unwrap().load(Ordering::Relaxed) as usize;
                    let first = (RECORDS + head + 4).next_multiple_of(64) - RECORDS;
                    let mut byte = [0];
                    memory.read(RECORDS + first % capacity as usize, &mut byte).unwrap();
                    assert_eq!(byte[0], record[0], "{length} bytes at {head}");
                }
                assert_eq!(consumer.read(&mut into, NOW), Ok(length));
                assert_eq!(into[..length], record);
            }
        }
    }
}

#[test]
#[cfg_attr(miri, ignore = "needs a kernel")]
fn a_ring_of_periods_holds_as_many_as_it_says_again_and_again() {
    for (period, periods) in [(255, 3), (256, 1), (257, 3), (300, 4), (316, 2), (4096, 16)] {
        let memfd = memory(Layout::of_periods(period, periods).unwrap());
        let mut producer = PeriodProducer::attach(memfd.as_fd(), 0).unwrap();
        let mut consumer = PeriodConsumer::attach(memfd.as_fd(), 0, 0).unwrap();
        let mut into = vec![0; period as usize];
        for round in 0..50 {
            for number in 0..=periods {
                let sent = if number < periods { Sent::Stored } else { Sent::Overrun };
                let record = vec![(round + number) as u8; period as usize];
                assert_eq!(producer.send(&record), Ok(sent), "{number} of {period} bytes");
            }
            for number in 0..periods {
                assert_eq!(consumer.receive(&mut into), Ok(Heard::Period));
                assert!(into.iter().all(|byte| *byte == (round + number) as u8));
            }
        }
    }
}

#[test]
#[cfg_attr(miri, ignore = "needs a kernel")]
fn both_ends_in_two_threads_pass_a_million_bytes() {
    let (_memfd, mut producer, mut consumer) = ring(256);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for number in 0..20_000u32 {
                let length = 4 + (number % 97) as usize;
                let mut record = vec![number as u8; length];
                record[..4].copy_from_slice(&number.to_ne_bytes());
                producer.write(&record, SECONDS).unwrap();
            }
        });
        let mut into = [0; 128];
        for number in 0..20_000u32 {
            let length = consumer.read(&mut into, SECONDS).unwrap();
            assert_eq!(length, 4 + (number % 97) as usize);
            assert_eq!(into[..4], number.to_ne_bytes());
            assert!(into[4..length].iter().all(|byte| *byte == number as u8));
        }
        assert_eq!(consumer.read(&mut into, SECONDS), Err(RingError::Closed));
    });
}

#[test]
#[cfg_attr(miri, ignore = "needs a kernel")]
fn a_full_ring_and_an_empty_one_end_the_wait_at_the_deadline() {
    let (_memfd, mut producer, mut consumer) = ring(64);
    let short = Duration::from_millis(2);
    assert_eq!(consumer.read(&mut [], NOW), Err(RingError::TimedOut(NOW)));
    assert_eq!(consumer.read(&mut [], short), Err(RingError::TimedOut(short)));
    producer.write(&[1; 40], NOW).unwrap();
    assert_eq!(producer.write(&[2; 40], NOW), Err(RingError::TimedOut(NOW)));
    assert_eq!(producer.write(&[2; 40], short), Err(RingError::TimedOut(short)));
    assert_eq!(producer.batch().push(&[2; 40]), Err(RingError::Full(40)));
    producer.write(&[2; 16], NOW).unwrap();
}

#[test]
#[cfg_attr(miri, ignore = "needs a kernel")]
fn a_record_that_no_ring_of_this_size_takes_is_refused_at_once() {
    let (_memfd, mut producer, _consumer) = ring(64);
    assert_eq!(producer.layout().largest_record(), 60);
    producer.write(&[0; 60], NOW).unwrap();
    let refused = RingError::TooLarge { length: 61, largest: 60 };
    assert_eq!(producer.write(&[0; 61], SECONDS), Err(refused));
    assert!(producer.reserve(usize::MAX, SECONDS).is_err());
}

#[test]
#[cfg_attr(miri, ignore = "needs a kernel")]
fn a_reservation_is_filled_in_place_and_seen_when_committed() {
    let (_memfd, mut producer, mut consumer) = ring(64);
    let mut into = [0; 64];
    // So that it wraps.
    producer.write(&[0; 36], NOW).unwrap();
    consumer.read(&mut into, NOW).unwrap();
    let reservation = producer.reserve(40, NOW).unwrap();
    reservation.write(20, &[2; 20]).unwrap();
    reservation.write(0, &[1; 20]).unwrap();
    for (offset, length) in [(40, 1), (0, 41), (usize::MAX, 1)] {
        let refused = reservation.write(offset, &vec![0; length]).unwrap_err();
        assert_eq!(refused, OutOfRange { offset, length, size: 40 });
    }
    assert_eq!(consumer.read(&mut into, NOW), Err(RingError::TimedOut(NOW)));
    reservation.commit().unwrap();
    assert_eq!(consumer.read(&mut into, NOW), Ok(40));
    assert_eq!((&into[..20], &into[20..40]), (&[1; 20][..], &[2; 20][..]));
    producer.reserve(40, NOW).unwrap();
    assert_eq!(consumer.read(&mut into, NOW), Err(RingError::TimedOut(NOW)));
}

#[test]
#[cfg_attr(miri, ignore = "needs a kernel")]
fn a_batch_is_seen_whole_or_not_at_all() {
    let (_memfd, mut producer, mut consumer) = ring(64);
    let mut into = [0; 64];
    let mut batch = producer.batch();
    batch.push(b"one").unwrap();
    drop(batch);
    let mut batch = producer.batch();
    batch.push(b"two").unwrap();
    batch.push(b"three").unwrap();
    assert_eq!(consumer.read(&mut into, NOW), Err(RingError::TimedOut(NOW)));
    batch.commit().unwrap();
    for _ in 0..2 {
        let mut batch = consumer.batch();
        assert_eq!(batch.next(&mut into), Ok(Some(3)));
        assert_eq!(&into[..3], b"two");
        assert_eq!(batch.next(&mut [0; 4]), Err(RingError::TooSmall { length: 5, room: 4 }));
        assert_eq!(batch.next(&mut into), Ok(Some(5)));
        assert_eq!(&into[..5], b"three");
        assert_eq!(batch.next(&mut into), Ok(None));
        // Not released: all there again.
    }
    let mut batch = consumer.batch();
    assert_eq!(batch.next(&mut into), Ok(Some(3)));
    batch.release().unwrap();
    assert_eq!(consumer.read(&mut into, NOW), Ok(5));
    assert_eq!(consumer.read(&mut into, NOW), Err(RingError::TimedOut(NOW)));
}

#[test]
#[cfg_attr(miri, ignore = "needs a kernel")]
fn a_peeked_record_stays_until_it_is_released() {
    let (_memfd, mut producer, mut consumer) = ring(64);
    producer.write(b"stays", NOW).unwrap();
    assert_eq!(consumer.read(&mut [0; 4], NOW), Err(RingError::TooSmall { length: 5, room: 4 }));
    let record = consumer.peek(NOW).unwrap();
    assert_eq!(record.length(), 5);
    let mut part = [0; 2];
    record.read(3, &mut part).unwrap();
    assert_eq!(&part, b"ys");
    assert!(record.read(4, &mut part).is_err());
    consumer.peek(NOW).unwrap().release().unwrap();
    assert_eq!(consumer.read(&mut [], NOW), Err(RingError::TimedOut(NOW)));
}

#[test]
#[cfg_attr(miri, ignore = "needs a kernel")]
fn each_end_hears_that_the_other_left_after_what_it_did() {
    let (memfd, mut producer, mut consumer) = ring(64);
    producer.write(b"last", NOW).unwrap();
    drop(producer);
    let mut into = [0; 8];
    assert_eq!(consumer.read(&mut into, SECONDS), Ok(4));
    assert_eq!(consumer.read(&mut into, SECONDS), Err(RingError::Closed));
    // Another takes its place and goes on.
    let mut producer = Producer::attach(memfd.as_fd(), 0).unwrap();
    producer.write(b"next", NOW).unwrap();
    assert_eq!(consumer.read(&mut into, SECONDS), Ok(4));
    drop(consumer);
    assert_eq!(producer.consumer(), Standing::Left);
    assert_eq!(producer.write(b"lost", SECONDS), Err(RingError::Closed));
}

#[test]
#[cfg_attr(miri, ignore = "needs a kernel")]
fn a_dead_end_is_told_from_one_that_left() {
    let (memfd, mut producer, mut consumer) = ring(64);
    let memory = words(&memfd);
    let word = memory.word(PRODUCER).unwrap();
    producer.write(b"last", NOW).unwrap();
    assert!(crate::presence::bury(word, producer.end.presence.id()));
    let mut into = [0; 8];
    assert_eq!(consumer.read(&mut into, SECONDS), Ok(4));
    assert_eq!(consumer.read(&mut into, SECONDS), Err(RingError::Died));
    assert_eq!(consumer.producer(), Standing::Died);
}

#[test]
#[cfg_attr(miri, ignore = "needs a kernel")]
fn an_end_that_the_kernel_does_not_watch_is_buried_by_whoever_hears_of_its_death() {
    let (memfd, producer, mut consumer) = ring(64);
    assert!(producer.is_watched() && consumer.is_watched());
    drop(producer);
    // As a process leaves it that may not register a list: its own id, and nobody marks it.
    words(&memfd).word(PRODUCER).unwrap().store(4242, Ordering::Release);
    let present = Standing::Present(4242);
    assert_eq!(consumer.producer(), present);
    assert_eq!(consumer.read(&mut [0; 8], NOW), Err(RingError::TimedOut(NOW)));
    let taken = Err(RingError::Presence(PresenceError::Taken(present)));
    assert_eq!(Producer::attach(memfd.as_fd(), 0).map(drop), taken);
    assert!(!consumer.bury_producer(4241), "that is another one");
    assert!(consumer.bury_producer(4242) && !consumer.bury_producer(4242));
    assert_eq!(consumer.read(&mut [0; 8], SECONDS), Err(RingError::Died));
    let mut producer = Producer::attach(memfd.as_fd(), 0).unwrap();
    producer.write(b"goes on", NOW).unwrap();
    assert_eq!(consumer.read(&mut [0; 8], SECONDS), Ok(7));
    drop(consumer);
    words(&memfd).word(CONSUMER).unwrap().store(4242, Ordering::Release);
    assert!(producer.bury_consumer(4242));
    assert_eq!(producer.write(b"lost", SECONDS), Err(RingError::Died));
}

#[test]
#[cfg_attr(miri, ignore = "needs a kernel")]
fn a_successor_buries_where_no_other_end_is_left() {
    let (memfd, producer, consumer) = ring(64);
    drop((producer, consumer));
    for at in [PRODUCER, CONSUMER] {
        words(&memfd).word(at).unwrap().store(4242, Ordering::Release);
    }
    assert_eq!(Producer::bury(memfd.as_fd(), 0, 7), Ok(false));
    assert_eq!(Producer::bury(memfd.as_fd(), 0, 4242), Ok(true));
    assert_eq!(Consumer::bury(memfd.as_fd(), 0, 4242), Ok(true));
    drop(Producer::attach(memfd.as_fd(), 0).unwrap());
    drop(Consumer::attach(memfd.as_fd(), 0).unwrap());
    assert!(matches!(Consumer::bury(memfd.as_fd(), 64, 4242), Err(RingError::Block(_))));
}

#[test]
#[cfg_attr(miri, ignore = "needs a kernel")]
fn an_end_that_was_killed_before_it_could_wake_anybody_is_heard_of() {
    let (memfd, producer, mut consumer) = ring(64);
    let memory = words(&memfd);
    let word = memory.word(PRODUCER).unwrap();
    let id = producer.end.presence.id();
    std::thread::scope(|scope| {
        let reading = scope.spawn(move || consumer.read(&mut [0; 8], Duration::MAX));
        // It sleeps, or is about to.
        while word.load(Ordering::Acquire) == id {
            std::thread::yield_now();
        }
        // Killed between taking the mark and waking: then the kernel wakes nobody either.
        word.store(berth_kernel::robust_list::OWNER_DIED, Ordering::Release);
        let since = Instant::now();
        while !reading.is_finished() && since.elapsed() < SECONDS {
            std::thread::sleep(Duration::from_millis(10));
        }
        let heard = reading.is_finished();
        crate::futex::wake_all(word);
        assert_eq!((reading.join().unwrap(), heard), (Err(RingError::Died), true));
    });
    drop(producer);
}

#[test]
#[cfg_attr(miri, ignore = "needs a kernel")]
fn each_end_is_taken_once() {
    let (memfd, producer, consumer) = ring(64);
    for taken in
        [Producer::attach(memfd.as_fd(), 0).map(drop), Consumer::attach(memfd.as_fd(), 0).map(drop)]
    {
        assert!(matches!(taken, Err(RingError::Presence(PresenceError::Taken(_)))), "{taken:?}");
    }
    drop((producer, consumer));
}

#[test]
#[cfg_attr(miri, ignore = "needs a kernel")]
fn periods_are_stored_or_lost_and_both_are_counted() {
    let memfd = memory(Layout::of_periods(10, 3).unwrap());
    let mut producer = PeriodProducer::attach(memfd.as_fd(), 0).unwrap();
    let mut consumer = PeriodConsumer::attach(memfd.as_fd(), 0, 128).unwrap();
    let mut into = [0; 10];
    assert_eq!(consumer.receive(&mut into), Ok(Heard::Underrun));
    assert_eq!(into, [128; 10]);
    for number in 0..5 {
        let sent = if number < 3 { Sent::Stored } else { Sent::Overrun };
        assert_eq!(producer.send(&[number; 10]), Ok(sent));
    }
    assert_eq!(producer.wait(NOW), Err(RingError::TimedOut(NOW)));
    for number in 0..3 {
        consumer.wait(NOW).unwrap();
        assert_eq!(consumer.receive(&mut into), Ok(Heard::Period));
        assert_eq!(into, [number; 10]);
    }
    assert_eq!(producer.slips(), Ok(Slips { overruns: 2, underruns: 1 }));
    assert_eq!(consumer.slips(), producer.slips());
    let refused = RingError::NotAPeriod { length: 9, period: 10 };
    assert_eq!(producer.send(&[0; 9]), Err(refused.clone()));
    assert_eq!(consumer.receive(&mut [0; 9]), Err(refused));
}

#[test]
#[cfg_attr(miri, ignore = "needs a kernel")]
fn a_ring_of_records_is_none_of_periods() {
    let memfd = memory(Layout::of_capacity(64).unwrap());
    assert!(matches!(
        PeriodProducer::attach(memfd.as_fd(), 0),
        Err(RingError::NotAPeriod { length: 60, period: 0 })
    ));
    // The end was given back.
    Producer::attach(memfd.as_fd(), 0).unwrap();
}

#[test]
fn impossible_rings_are_refused_with_their_numbers() {
    for capacity in [0, 32, 63, 65, 1 << 31, u32::MAX] {
        assert_eq!(Layout::of_capacity(capacity), Err(RingError::Capacity(capacity)));
    }
    for (period, periods) in [(0, 4), (1, 0), (u32::MAX, 1), (1 << 20, 1 << 20), (1 << 30, 1)] {
        assert!(Layout::of_periods(period, periods).is_err(), "{periods} of {period}");
    }
}

#[test]
#[cfg_attr(miri, ignore = "needs a kernel")]
fn memory_that_can_shrink_or_is_out_of_line_is_refused() {
    let file = tempfile_like();
    let layout = Layout::of_capacity(64).unwrap();
    assert_eq!(create(file.as_fd(), 0, layout), Err(UnsuitableMemory::CanShrink.into()));
    let memfd = Memfd::create("ring", 8192).unwrap();
    assert_eq!(create(memfd.as_fd(), 32, layout), Err(RingError::Misaligned(32)));
    assert!(matches!(create(memfd.as_fd(), 8128, layout), Err(RingError::Kernel(_))));
    create(memfd.as_fd(), 4096 + 64, layout).unwrap();
    Producer::attach(memfd.as_fd(), 4096 + 64).unwrap().write(b"there", NOW).unwrap();
    assert!(Producer::attach(memfd.as_fd(), 64).is_err());
}

/// A file that anybody with a descriptor can truncate.
fn tempfile_like() -> std::fs::File {
    std::fs::File::open(std::env::current_exe().unwrap()).unwrap()
}

#[test]
#[cfg_attr(miri, ignore = "needs a kernel")]
fn each_malformed_header_is_refused_with_its_own_error() {
    type Expected = fn(&RingError) -> bool;
    let cases: [(usize, u32, Expected); 8] = [
        (0, 7, |e| matches!(e, RingError::Block(BlockError::Magic { .. }))),
        (4, 1, |e| matches!(e, RingError::Block(BlockError::Version { .. }))),
        (8, 1 << 20, |e| matches!(e, RingError::Block(BlockError::Length { .. }))),
        (8, 400, |e| matches!(e, RingError::Shape { .. })),
        (12, 63, |e| matches!(e, RingError::Capacity(63))),
        (LIMIT, 65, |e| matches!(e, RingError::Shape { .. })),
        (PERIOD, 100, |e| matches!(e, RingError::Shape { .. })),
        (TAIL, 65, |e| matches!(e, RingError::Corrupt(Corrupt::Index { .. }))),
    ];
    for (at, value, expected) in cases {
        let memfd = memory(Layout::of_capacity(64).unwrap());
        words(&memfd).word(at).unwrap().store(value, Ordering::Relaxed);
        let error = Consumer::attach(memfd.as_fd(), 0).unwrap_err();
        assert!(expected(&error), "{value} at {at}: {error:?}");
        words(&memfd).word(CONSUMER).unwrap().store(0, Ordering::Relaxed);
        assert!(Producer::attach(memfd.as_fd(), 0).is_err(), "{value} at {at}");
    }
}

#[test]
#[cfg_attr(miri, ignore = "needs a kernel")]
fn an_index_or_a_length_that_no_honest_end_stores_is_refused() {
    let (memfd, mut producer, mut consumer) = ring(64);
    let memory = Mapping::<ReadWrite>::new(memfd.as_fd(), RECORDS as u64 + 64).unwrap();
    let store = |at: usize, value: u32| memory.word(at).unwrap().store(value, Ordering::Relaxed);
    producer.write(&[0; 20], NOW).unwrap();
    let mut into = [0; 64];
    for length in [21, 25, 64, u32::MAX, u32::MAX - 3] {
        store(RECORDS, length);
        let corrupt = Corrupt::Record { length, published: 24 };
        assert_eq!(consumer.read(&mut into, NOW), Err(RingError::Corrupt(corrupt)));
    }
    store(RECORDS, 20);
    assert_eq!(consumer.read(&mut into, NOW), Ok(20));
    for tail in [23, 24 + 65, u32::MAX, 1 << 31] {
        store(TAIL, tail);
        let corrupt = Corrupt::Index { found: tail, from: 24, to: 24 + 64 };
        assert_eq!(consumer.read(&mut into, NOW), Err(RingError::Corrupt(corrupt)));
    }
    // Forward, without a record: whatever lies there is read once and bounded.
    store(TAIL, 26);
    assert!(matches!(consumer.read(&mut into, NOW), Err(RingError::Corrupt(_))));
    for head in [25, u32::MAX, 1 << 31] {
        store(HEAD, head);
        let corrupt = Corrupt::Index { found: head, from: 0, to: 24 };
        assert_eq!(producer.write(&[0; 60], NOW), Err(RingError::Corrupt(corrupt)));
    }
}

/// Bytes without a mapping, so that miri can follow.
struct Plain(RefCell<Vec<u8>>);

impl Bytes for Plain {
    fn copy_out(&self, offset: u32, into: &mut [u8]) {
        into.copy_from_slice(&self.0.borrow()[offset as usize..][..into.len()]);
    }

    fn copy_in(&self, offset: u32, from: &[u8]) {
        self.0.borrow_mut()[offset as usize..][..from.len()].copy_from_slice(from);
    }
}

#[test]
fn indices_wrap_around_their_32_bits() {
    let start = u32::MAX - 99;
    let (tail, head) = (AtomicU32::new(start), AtomicU32::new(start));
    let (here, there) = (AtomicU32::new(1), AtomicU32::new(2));
    let words = Words { tail: &tail, head: &head, producer: &here, consumer: &there };
    let plain = Plain(RefCell::new(vec![0; 64]));
    let mut writer = Writer::attach(&words, 64, 64).unwrap();
    let mut reader = Reader::attach(&words, 64).unwrap();
    let mut queue = VecDeque::new();
    for number in 0..60u32 {
        while writer.has_room(&words, 5).unwrap() {
            writer.begin(&plain, 5);
            writer.fill(&plain, 5, 0, &[number as u8; 5]);
            writer.end(5);
            queue.push_back(number as u8);
        }
        writer.publish(&words);
        for _ in 0..=number % 5 {
            if reader.has_record(&words).unwrap() {
                let mut into = [0; 5];
                assert_eq!(reader.length(&plain), Ok(5));
                reader.copy(&plain, 5, 0, &mut into);
                assert_eq!(into, [queue.pop_front().unwrap(); 5]);
                reader.pass(5);
            }
        }
        reader.release(&words);
    }
    assert!(tail.load(Ordering::Relaxed) < start, "it wrapped");
}

/// Shared plain bytes; a data race that the indices do not prevent is one that miri reports.
struct Raced(Box<[std::cell::UnsafeCell<u8>]>);

// SAFETY: what the test is about: the indices keep both ends from the same bytes at once.
unsafe impl Sync for Raced {}

impl Bytes for Raced {
    fn copy_out(&self, offset: u32, into: &mut [u8]) {
        for (byte, from) in into.iter_mut().zip(&self.0[offset as usize..]) {
            // SAFETY: as for `Sync`.
            *byte = unsafe { *from.get() };
        }
    }

    fn copy_in(&self, offset: u32, from: &[u8]) {
        for (byte, into) in from.iter().zip(&self.0[offset as usize..]) {
            // SAFETY: as for `Sync`.
            unsafe { *into.get() = *byte };
        }
    }
}

#[test]
fn two_threads_never_touch_the_same_bytes() {
    let word = || AtomicU32::new(0);
    let (tail, head, producer, consumer) = (word(), word(), AtomicU32::new(1), AtomicU32::new(2));
    let words = Words { tail: &tail, head: &head, producer: &producer, consumer: &consumer };
    let raced = Raced((0..64).map(|_| 0.into()).collect());
    let count: u32 = if cfg!(miri) { 200 } else { 20_000 };
    let read = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut writer = Writer::attach(&words, 64, 64).unwrap();
            for number in 0..count {
                while !writer.has_room(&words, 9).unwrap() {
                    std::thread::yield_now();
                }
                writer.begin(&raced, 9);
                writer.fill(&raced, 9, 0, &[number as u8; 9]);
                writer.end(9);
                writer.publish(&words);
            }
        });
        let mut reader = Reader::attach(&words, 64).unwrap();
        for _ in 0..count {
            while !reader.has_record(&words).unwrap() {
                std::thread::yield_now();
            }
            let mut into = [0; 9];
            assert_eq!(reader.length(&raced), Ok(9));
            reader.copy(&raced, 9, 0, &mut into);
            read.lock().unwrap().push(into);
            reader.pass(9);
            reader.release(&words);
        }
    });
    let expected: Vec<[u8; 9]> = (0..count).map(|number| [number as u8; 9]).collect();
    assert_eq!(*read.lock().unwrap(), expected);
}
