// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use berth_service::policy::Policy;
use berth_service::{allocator, Service};
use hal_binder::{Interface, Strong};
use proptest::prelude::*;
use vendor_berth_allocator::aidl::vendor::berth::allocator::IAllocator::IAllocator;

use super::*;

/// The one service of this process; whoever has it is alone with it. A panic on any thread counts.
fn allocator() -> (MutexGuard<'static, ()>, Strong<dyn IAllocator>) {
    static ALLOCATOR: OnceLock<Strong<dyn IAllocator>> = OnceLock::new();
    static ALONE: Mutex<()> = Mutex::new(());

    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let allocator = ALLOCATOR.get_or_init(|| {
        let default = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            PANICS.fetch_add(1, Ordering::Relaxed);
            default(panic);
        }));
        allocator::new_binder(Service::new(Policy::default()).unwrap())
    });
    (alone, allocator.clone())
}

static PANICS: AtomicUsize = AtomicUsize::new(0);

/// Waits until nothing is left of what an input opened: sessions end on a thread of their own.
fn await_end(allocator: &Strong<dyn IAllocator>) {
    let left = || allocator.getStats().map_or(0, |now| now.sessions + now.buffers);
    while left() != 0 {
        std::thread::yield_now();
    }
}

fn bytes(calls: &[Call]) -> Vec<u8> {
    calls.iter().flat_map(Call::to_bytes).collect()
}

/// How many calls were answered without an exception.
fn answered(allocator: &Strong<dyn IAllocator>, calls: &[Call]) -> usize {
    let mut objects = target::Seen::new(line::remote(&allocator.as_binder()));
    calls.iter().filter(|call| objects.send(call)).count()
}

#[test]
fn every_seed_is_a_list_of_calls_that_a_good_client_makes() {
    let (_alone, allocator) = allocator();
    for (name, calls) in seeds::seeds() {
        assert_eq!(Input::new(&bytes(&calls)).collect::<Vec<_>>(), calls, "{name}");
        assert_eq!(answered(&allocator, &calls), calls.len(), "{name}");
    }
}

#[test]
fn what_an_input_opened_ends_with_it() {
    let (_alone, allocator) = allocator();
    for (_, calls) in seeds::seeds() {
        fuzz_service(&mut allocator.as_binder(), &bytes(&calls));
        await_end(&allocator);
    }
}

#[test]
fn a_client_is_told_which_version_the_interface_has() {
    let (_alone, allocator) = allocator();
    let remote: Strong<dyn IAllocator> =
        line::remote(&allocator.as_binder()).into_interface().unwrap();
    assert_eq!(remote.getInterfaceVersion().unwrap(), 1);
    assert_eq!(remote.getInterfaceVersion(), allocator.getInterfaceVersion());
    assert_eq!(remote.getInterfaceHash(), allocator.getInterfaceHash());
}

fn item() -> impl Strategy<Value = Item> {
    prop_oneof![
        any::<i32>().prop_map(Item::Int),
        any::<u8>().prop_map(Item::Small),
        any::<i64>().prop_map(Item::Long),
        "\\PC{0,20}".prop_map(Item::Text),
        Just(Item::NoText),
        Just(Item::Begin),
        Just(Item::End),
        Just(Item::Callback),
        Just(Item::NoObject),
        any::<u8>().prop_map(Item::Object),
        Just(Item::Descriptor),
        any::<u8>().prop_map(Item::Id),
        any::<u8>().prop_map(Item::Token),
    ]
}

fn call() -> impl Strategy<Value = Call> {
    let items = prop::collection::vec(item(), 0..12);
    (any::<u8>(), any::<u8>(), items).prop_map(|(object, code, items)| Call { object, code, items })
}

proptest! {
    #[test]
    fn a_list_of_calls_survives_its_bytes(calls in prop::collection::vec(call(), 0..8)) {
        prop_assert_eq!(Input::new(&bytes(&calls)).collect::<Vec<_>>(), calls);
    }

    #[test]
    fn any_bytes_end_in_calls(any in prop::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(Input::new(&any).count() <= any.len());
    }
}

/// One seed with something in it changed, as a fuzzer does first.
fn nearly_a_seed() -> impl Strategy<Value = Vec<u8>> {
    let seeds: Vec<Vec<u8>> = seeds::seeds().iter().map(|(_, calls)| bytes(calls)).collect();
    let places = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6);
    (prop::sample::select(seeds), places).prop_map(|(mut bytes, places)| {
        for (place, value) in places {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        bytes
    })
}

#[test]
fn the_service_answers_after_whatever_was_sent_to_it() {
    let (_alone, allocator) = allocator();
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(2_000));
    let any = prop::collection::vec(any::<u8>(), 0..400);
    let inputs = prop_oneof![3 => nearly_a_seed(), 1 => any];
    let result = runner.run(&inputs, |input| {
        fuzz_service(&mut allocator.as_binder(), &input);
        prop_assert!(allocator.getCapabilities().is_ok());
        prop_assert_eq!(PANICS.load(Ordering::Relaxed), 0);
        Ok(())
    });
    result.unwrap();
    await_end(&allocator);
}
