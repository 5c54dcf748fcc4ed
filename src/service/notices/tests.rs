// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

use super::*;

use std::sync::mpsc::{channel, Receiver, RecvTimeoutError, Sender};
use std::sync::Weak;

use hal_binder::{StatusCode, Strong};
use vendor_berth_allocator::aidl::vendor::berth::allocator::{
    IAllocatorCallback::{BnAllocatorCallback, IAllocatorCallback, MAX_GONE_IDS},
    SessionConfig::SessionConfig,
};

use crate::accounts::{Accounts, Limits};
use crate::session::{Session, SessionLimits};

/// How long anything may take: no measure of speed, only that it comes at all.
const LONG: Duration = Duration::from_secs(60);

#[derive(Debug, PartialEq, Eq)]
enum Heard {
    Gone(Vec<i64>),
    Pressure(PressureLevel),
}

/// How a client takes what it is told.
enum Manner {
    Listens,
    /// It is in a call until this is dropped at the other end.
    Stuck(Mutex<Receiver<()>>),
    /// It refuses so many calls.
    Refuses(AtomicU64),
}

struct Ear {
    heard: Mutex<Sender<Heard>>,
    manner: Manner,
    _alive: Arc<()>,
}

impl Ear {
    fn hear(&self, heard: Heard) -> hal_binder::Result<()> {
        if let Manner::Refuses(left) = &self.manner {
            let refuse = |left: u64| left.checked_sub(1);
            if left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, refuse).is_ok() {
                return Err(StatusCode::FailedTransaction.into());
            }
        }
        let _ = lock(&self.heard).send(heard);
        if let Manner::Stuck(until) = &self.manner {
            let _ = lock(until).recv();
        }
        Ok(())
    }
}

impl hal_binder::Interface for Ear {}

impl IAllocatorCallback for Ear {
    fn onSharedBufferGone(&self, ids: &[i64]) -> hal_binder::Result<()> {
        self.hear(Heard::Gone(ids.to_vec()))
    }

    fn onPressure(&self, level: PressureLevel) -> hal_binder::Result<()> {
        self.hear(Heard::Pressure(level))
    }
}

/// A session of a client, as the service has it.
struct Told {
    mailbox: Arc<Mailbox>,
    heard: Receiver<Heard>,
    alive: Weak<()>,
}

impl Told {
    fn new(uid: u32, manner: Manner) -> Told {
        let (tell, heard) = channel();
        let alive = Arc::new(());
        let weak = Arc::downgrade(&alive);
        let ear = Ear { heard: Mutex::new(tell), manner, _alive: alive };
        let callback: Strong<dyn IAllocatorCallback> =
            hal_binder::new_binder!(BnAllocatorCallback, ear);
        let accounts =
            Arc::new(Accounts::new(Limits::of_machine(1 << 30, 4096), Default::default()));
        let charge = accounts.admit_session(uid).unwrap();
        let SessionConfig { maxBytes, maxBuffers, .. } = SessionConfig::default();
        let limits = SessionLimits::wanted(maxBytes, maxBuffers, accounts.limits()).unwrap();
        let session = Arc::new(Session::new(1, 1, String::new(), limits, charge));
        Told { mailbox: Arc::new(Mailbox::new(session, callback)), heard, alive: weak }
    }

    fn hears(&self) -> Heard {
        self.heard.recv_timeout(LONG).expect("news")
    }
}

/// A client that does not return from the first call, and what lets it.
fn stuck(uid: u32) -> (Told, Sender<()>) {
    let (release, until) = channel();
    (Told::new(uid, Manner::Stuck(Mutex::new(until))), release)
}

#[test]
fn clients_that_never_return_keep_no_news_from_other_uids() {
    let notices = Notices::start().unwrap();
    // More of them than threads that are there for all.
    let bad: Vec<_> = (0..THREADS as u32 * 4).map(stuck).collect();
    for (told, _) in &bad {
        notices.shared_gone(&told.mailbox, &[1]);
        assert_eq!(told.hears(), Heard::Gone(vec![1]));
    }
    let good = Told::new(1000, Manner::Listens);
    for id in 0..100 {
        notices.shared_gone(&good.mailbox, &[id]);
        assert_eq!(good.hears(), Heard::Gone(vec![id]));
    }
    let deadline = Instant::now() + LONG;
    while notices.figures().held_up < bad.len() as u64 {
        assert!(Instant::now() < deadline, "{:?}", notices.figures());
        thread::yield_now();
    }
    drop(bad);
    while lock(&notices.0.work).threads > THREADS {
        assert!(Instant::now() < deadline, "{:?}", notices.figures());
        thread::yield_now();
    }
    assert_eq!(notices.figures().held_up, 0);
}

#[test]
fn a_uid_holds_up_one_thread_whatever_it_opens() {
    let notices = Notices::start().unwrap();
    let bad: Vec<_> = (0..20).map(|_| stuck(7)).collect();
    for (told, _) in &bad {
        notices.shared_gone(&told.mailbox, &[1]);
    }
    assert_eq!(bad[0].0.hears(), Heard::Gone(vec![1]));
    let good = Told::new(8, Manner::Listens);
    notices.shared_gone(&good.mailbox, &[2]);
    assert_eq!(good.hears(), Heard::Gone(vec![2]));
    let deadline = Instant::now() + LONG;
    let busy = || {
        let work = lock(&notices.0.work);
        work.threads - work.idle
    };
    while busy() != 1 {
        assert!(Instant::now() < deadline, "{} are held up", busy());
        thread::yield_now();
    }
    assert_eq!(notices.figures().waiting, 19);
}

#[test]
fn what_a_client_does_not_take_becomes_one_of_each_kind() {
    let notices = Notices::start().unwrap();
    let (told, release) = stuck(7);
    notices.shared_gone(&told.mailbox, &[1]);
    assert_eq!(told.hears(), Heard::Gone(vec![1]));
    for id in 2..50 {
        notices.shared_gone(&told.mailbox, &[id]);
    }
    for level in [PressureLevel::MODERATE, PressureLevel::NORMAL, PressureLevel::CRITICAL] {
        notices.pressure(&told.mailbox, level);
    }
    drop(release);
    assert_eq!(told.hears(), Heard::Gone((2..50).collect()));
    assert_eq!(told.hears(), Heard::Pressure(PressureLevel::CRITICAL));
    notices.pressure(&told.mailbox, PressureLevel::NORMAL);
    assert_eq!(told.hears(), Heard::Pressure(PressureLevel::NORMAL));
}

#[test]
fn nobody_hears_of_normal_who_heard_of_nothing_else() {
    let notices = Notices::start().unwrap();
    let (told, release) = stuck(7);
    notices.shared_gone(&told.mailbox, &[1]);
    assert_eq!(told.hears(), Heard::Gone(vec![1]));
    notices.pressure(&told.mailbox, PressureLevel::CRITICAL);
    notices.pressure(&told.mailbox, PressureLevel::NORMAL);
    drop(release);
    notices.shared_gone(&told.mailbox, &[2]);
    assert_eq!(told.hears(), Heard::Gone(vec![2]));
}

#[test]
fn more_ids_than_can_be_told_are_told_by_none() {
    let notices = Notices::start().unwrap();
    let (told, release) = stuck(7);
    notices.shared_gone(&told.mailbox, &[1]);
    assert_eq!(told.hears(), Heard::Gone(vec![1]));
    for id in 0..i64::from(MAX_GONE_IDS) + 1 {
        notices.shared_gone(&told.mailbox, &[id]);
    }
    drop(release);
    assert_eq!(told.hears(), Heard::Gone(vec![]));
    notices.shared_gone(&told.mailbox, &[3]);
    assert_eq!(told.hears(), Heard::Gone(vec![3]));
}

#[test]
fn what_a_transport_refuses_is_told_later_and_in_its_order() {
    let notices = Notices::start().unwrap();
    let told = Told::new(7, Manner::Refuses(AtomicU64::new(2)));
    notices.shared_gone(&told.mailbox, &[1, 2]);
    notices.pressure(&told.mailbox, PressureLevel::MODERATE);
    notices.shared_gone(&told.mailbox, &[3]);
    let (mut ids, mut level) = (Vec::new(), None);
    while ids.len() < 3 || level.is_none() {
        match told.hears() {
            Heard::Gone(more) => ids.extend(more),
            Heard::Pressure(heard) => assert_eq!(level.replace(heard), None),
        }
    }
    assert_eq!((ids, level), (vec![1, 2, 3], Some(PressureLevel::MODERATE)));
    assert_eq!(notices.figures().refused, 2);
}

#[test]
fn the_end_of_a_session_releases_its_client_whatever_it_does() {
    let notices = Notices::start().unwrap();
    let listens = Told::new(1, Manner::Listens);
    let refuses = Told::new(2, Manner::Refuses(AtomicU64::new(u64::MAX)));
    let (stuck, release) = stuck(3);
    let heard_nothing = Told::new(4, Manner::Listens);
    for told in [&listens, &refuses, &stuck] {
        notices.shared_gone(&told.mailbox, &[1]);
    }
    assert_eq!(stuck.hears(), Heard::Gone(vec![1]));
    for told in [&listens, &refuses, &stuck] {
        notices.end(&told.mailbox, false);
        notices.shared_gone(&told.mailbox, &[2]);
    }
    notices.end(&heard_nothing.mailbox, true);
    assert!(heard_nothing.alive.upgrade().is_none(), "it was released at once");
    let deadline = Instant::now() + LONG;
    let await_release = |told: &Told| {
        while told.alive.upgrade().is_some() {
            assert!(Instant::now() < deadline);
            thread::yield_now();
        }
    };
    await_release(&listens);
    await_release(&refuses);
    assert!(stuck.alive.upgrade().is_some(), "it is in a call");
    drop(release);
    await_release(&stuck);
    assert_eq!(stuck.heard.recv_timeout(LONG), Err(RecvTimeoutError::Disconnected));
}

#[test]
fn the_threads_end_with_the_service() {
    let notices = Notices::start().unwrap();
    let senders = Arc::downgrade(&notices.0);
    let (told, release) = stuck(7);
    notices.shared_gone(&told.mailbox, &[1]);
    assert_eq!(told.hears(), Heard::Gone(vec![1]));
    drop(notices);
    assert!(senders.upgrade().is_some(), "one is in a call");
    drop(release);
    let deadline = Instant::now() + LONG;
    while senders.upgrade().is_some() {
        assert!(Instant::now() < deadline);
        thread::yield_now();
    }
}
