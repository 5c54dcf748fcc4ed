// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! The arrays by which a service says what buffers a call made, taken apart into buffers.

use vendor_berth_allocator::aidl::vendor::berth::allocator::{
    AllocatedBuffer::AllocatedBuffer, AllocatedBuffers::AllocatedBuffers, IAllocator::MAX_BATCH,
};

use crate::Error;

/// The buffers one by one, if there are `due` of them and each array says something of each; or why
/// not, and the ids that may have been taken all the same.
pub(crate) fn one_by_one(
    answer: AllocatedBuffers,
    due: usize,
) -> Result<impl Iterator<Item = AllocatedBuffer>, (Error, Vec<i64>)> {
    let AllocatedBuffers { firstId: first, flags, fds, secondFds: seconds, receipts } = answer;
    let ids = ids(first, due);
    let even = [flags.len(), fds.len(), receipts.len()].iter().all(|length| *length == due)
        && (seconds.is_empty() || seconds.len() == due);
    if ids.len() != due || !even {
        let (fds, seconds) = (fds.len(), seconds.len());
        let (flags, receipts) = (flags.len(), receipts.len());
        let message = format!(
            "{fds} descriptors, {seconds} second ones, {flags} flags and {receipts} receipts for {due} \
             buffers from id {first} on"
        );
        return Err((Error::BadAnswer(message), ids));
    }
    let mut seconds = seconds.into_iter();
    let numbers = ids.into_iter().zip(flags).zip(receipts);
    Ok(numbers.zip(fds).map(move |(((id, flags), receipt), fd)| AllocatedBuffer {
        id,
        flags,
        fd: Some(fd),
        secondFd: seconds.next(),
        receipt,
    }))
}

/// So many ids from the first on, or as many as there can be.
fn ids(first: i64, count: usize) -> Vec<i64> {
    (first..=i64::MAX).take(count.min(MAX_BATCH as usize)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use berth_kernel::memfd::Memfd;
    use hal_binder::ParcelFileDescriptor;

    fn descriptors(count: usize) -> Vec<ParcelFileDescriptor> {
        let one = |_| ParcelFileDescriptor::new(Memfd::create("one", 4096).unwrap());
        (0..count).map(one).collect()
    }

    fn answer(seconds: usize) -> AllocatedBuffers {
        AllocatedBuffers {
            firstId: 7,
            flags: vec![1, 2],
            fds: descriptors(2),
            secondFds: descriptors(seconds),
            receipts: vec![10, 20],
        }
    }

    #[test]
    fn each_buffer_has_its_own_of_each_array() {
        for seconds in [0, 2] {
            let whole = answer(seconds);
            let fd = |fds: &[ParcelFileDescriptor], at: usize| {
                fds.get(at).map(std::os::fd::AsRawFd::as_raw_fd)
            };
            let due: Vec<_> = [(7, 1, 10), (8, 2, 20)]
                .into_iter()
                .enumerate()
                .map(|(at, numbers)| (numbers, fd(&whole.fds, at), fd(&whole.secondFds, at)))
                .collect();
            let raw = |fd: &Option<ParcelFileDescriptor>| {
                fd.as_ref().map(std::os::fd::AsRawFd::as_raw_fd)
            };
            let given = one_by_one(whole, 2).map_err(|(error, _)| error).unwrap();
            // Kept open, so that no number is used again.
            let given: Vec<_> = given.collect();
            let seen: Vec<_> = given
                .iter()
                .map(|one| ((one.id, one.flags, one.receipt), raw(&one.fd), raw(&one.secondFd)))
                .collect();
            assert_eq!(seen, due);
        }
    }

    #[test]
    fn arrays_that_do_not_fit_are_a_bad_answer_and_the_ids_that_were_due_are_named() {
        let bad: [fn(&mut AllocatedBuffers); 6] = [
            |answer| answer.flags.push(3),
            |answer| answer.receipts.clear(),
            |answer| answer.fds.clear(),
            |answer| answer.secondFds = descriptors(1),
            |answer| answer.secondFds = descriptors(3),
            |answer| *answer = AllocatedBuffers { firstId: 7, ..AllocatedBuffers::default() },
        ];
        for spoil in bad {
            let mut answer = answer(0);
            spoil(&mut answer);
            let (error, ids) = one_by_one(answer, 2).map(drop).unwrap_err();
            assert!(matches!(error, Error::BadAnswer(_)), "{error}");
            assert_eq!(ids, [7, 8]);
        }
        assert!(one_by_one(answer(0), 1).is_err(), "more than were asked for");
        assert!(one_by_one(answer(0), 3).is_err(), "fewer");
    }

    #[test]
    fn there_is_no_id_behind_the_last() {
        let last = |first| one_by_one(AllocatedBuffers { firstId: first, ..answer(0) }, 2);
        let (error, ids) = last(i64::MAX).map(drop).unwrap_err();
        assert!(error.to_string().contains(&i64::MAX.to_string()), "{error}");
        assert_eq!(ids, [i64::MAX]);
        assert!(last(i64::MAX - 1).is_ok());
    }
}
