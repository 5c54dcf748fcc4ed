// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! One uid does all it can to leave nothing to another. The other works all the while: nothing is
//! refused to it, and what it has to do gets done.

use berth_end_to_end::facilities::{missing, Facility};
use berth_end_to_end::harness::{Client, Device, APP, OTHER_APP, THIRD_APP};
use berth_end_to_end::protocol::{Crowd, Descriptor};
use serde_json::Value;

use crate::code;
use crate::flag::READ_ONLY_VIEW;

/// How much the other uid does beside each attack.
const ROUNDS: usize = 20;

fn page() -> Descriptor {
    Descriptor::region(4096)
}

fn device_memory() -> Descriptor {
    Descriptor::linear(64 << 10)
}

/// The other uid: one process that was there before, and one that comes when it is worst.
struct Victim(Client);

impl Victim {
    fn new(device: &Device) -> Victim {
        let victim = Victim(device.client(OTHER_APP));
        victim.works();
        victim
    }

    fn works(&self) {
        for descriptor in [page(), device_memory()] {
            assert_eq!(self.0.crowd(Crowd::Work(descriptor, ROUNDS)), ROUNDS);
        }
    }
}

/// What a uid has, in the dump: sessions, buffers and bytes.
fn of_uid(device: &Device, uid: u32) -> (u64, u64, u64) {
    let [sessions, buffers, bytes] = figures_of_uid(device, uid, ["sessions", "buffers", "bytes"]);
    (sessions, buffers, bytes)
}

/// Figures of a uid in the dump, by name.
fn figures_of_uid<const N: usize>(device: &Device, uid: u32, names: [&str; N]) -> [u64; N] {
    let dump: Value = serde_json::from_str(&device.dump(&["--json"])).expect("a dump in JSON");
    let uids = dump["uids"].as_array().expect("uids");
    let Some(own) = uids.iter().find(|one| one["uid"] == uid) else { return [0; N] };
    names.map(|name| own[name].as_u64().expect("a number"))
}

#[test]
fn whoever_takes_every_session_and_buffer_leaves_others_their_own() {
    assert_taking_leaves_room(&page());
}

#[test]
fn whoever_takes_buffers_of_two_descriptors_leaves_others_theirs() {
    if missing(Facility::Udmabuf) {
        return;
    }
    assert_taking_leaves_room(&Descriptor::linear(4096).with_flags(READ_ONLY_VIEW));
}

fn assert_taking_leaves_room(descriptor: &Descriptor) {
    let device = Device::start();
    let victim = Victim::new(&device);
    let (greedy, racer) = (device.client(APP), device.client(APP));
    // Before every session is taken.
    let buffers = racer.crowd(Crowd::Race(descriptor.clone(), 2));
    assert!(buffers > 256, "{buffers} buffers are too few to exhaust anybody");
    victim.works();
    let sessions = greedy.crowd(Crowd::Sessions);
    assert!(sessions > 64, "{sessions} sessions are too few to exhaust anybody");
    victim.works();
    let another = Victim::new(&device);
    drop((greedy, racer));
    device.await_figures("all is given back", |now| now.buffers == 0);
    drop((victim, another));
    device.await_figures("all are gone", |now| now.sessions == 0);
}

#[test]
fn whoever_takes_all_the_memory_it_may_leaves_others_some() {
    let device = Device::start();
    let victim = Victim::new(&device);
    let greedy = device.client(APP);
    let got = greedy.crowd(Crowd::Race(Descriptor::linear(4 << 20), 1));
    assert!(got > 8, "{got} buffers of 4 MiB are too few to exhaust anybody");
    victim.works();
    Victim::new(&device).works();
    greedy.kill();
    device.await_figures("all is given back", |now| (now.buffers, now.bytes) == (0, 0));
}

#[test]
fn whoever_gives_out_all_its_tokens_leaves_others_theirs() {
    let device = Device::start();
    let victim = Victim::new(&device);
    let greedy = device.client(APP);
    for _ in 0..3 {
        assert!(greedy.crowd(Crowd::Tokens) > 100);
    }
    victim.works();
    greedy.kill();
    device.await_figures("all is given back", |now| (now.sessions, now.others) == (0, 0));
}

#[test]
fn whoever_makes_all_the_pools_that_it_may_leaves_others_theirs() {
    // Of a pool's descriptors those of 16 participants, of board and table, and of the slot.
    const OF_POOL: u64 = 19;
    const UIDS: u64 = 600;
    let device = Device::start_with_policy(&format!("limit service-descriptors {}\n", 2 * UIDS));
    let victim = Victim::new(&device);
    let greedy = device.client(APP);
    assert_eq!(greedy.crowd(Crowd::Pools) as u64, UIDS / OF_POOL);
    let held = || figures_of_uid(&device, APP, ["buffers", "descriptors"]);
    assert_eq!(held(), [UIDS / OF_POOL * 2, UIDS / OF_POOL * OF_POOL]);
    victim.works();
    Victim::new(&device).works();
    // There are as many for another.
    let third = device.client(THIRD_APP);
    assert_eq!(third.crowd(Crowd::Pools) as u64, UIDS / OF_POOL);
    greedy.kill();
    third.kill();
    victim.works();
    device.await_figures("all is given back", |now| (now.buffers, now.bytes) == (0, 0));
    device.await_true("all descriptors are given back", || (held() == [0, 0]).then_some(()));
}

#[test]
fn whoever_acquires_its_own_again_and_again_has_no_more_of_it_than_of_buffers() {
    const LIMIT: u64 = 2000;
    let device = Device::start_with_policy(&format!("limit uid-buffers {LIMIT}\n"));
    let victim = Victim::new(&device);
    let greedy = device.client(APP);
    let got = greedy.crowd(Crowd::Acquisitions(6)) as u64;
    let held = || figures_of_uid(&device, APP, ["buffers", "acquired"]);
    assert_eq!(held(), [LIMIT - got, got]);
    assert!(got > LIMIT / 2, "{got} acquisitions are too few to exhaust anybody");
    victim.works();
    // What is shown of each entry in the books does not grow with how many there are.
    for args in [&["--json"][..], &["--json", "--buffers"], &[]] {
        let shown = device.dump(args).len() as u64;
        assert!(shown < LIMIT * 1024, "{args:?}: {shown} bytes");
    }
    greedy.kill();
    victim.works();
    Victim::new(&device).works();
    device.await_true("all is given back", || (held() == [0, 0]).then_some(()));
}

#[test]
fn whoever_calls_from_many_threads_without_end_does_not_keep_others_from_their_work() {
    let device = Device::start();
    let victim = Victim::new(&device);
    // More calls in flight than the service has threads.
    let busy: Vec<Client> = (0..4).map(|_| device.client(APP)).collect();
    for client in &busy {
        client.crowd(Crowd::Busy(page(), 8));
    }
    victim.works();
    // Answers of theirs, with descriptors in them, stay where they are.
    for client in &busy[..2] {
        client.stop();
    }
    victim.works();
    Victim::new(&device).works();
    drop(busy);
    device.await_figures("all is given back", |now| (now.sessions, now.buffers) == (0, 0));
}

/// A client that takes part in buffers which are then given up, and never returns from the first
/// call that says so; then another's work, for which news of its own have to come.
fn assert_deafness_harms_nobody(news: usize) {
    let device = Device::start();
    let victim = Victim::new(&device);
    let deaf = device.client(APP);
    deaf.crowd(Crowd::Deaf(news));
    victim.works();
    deaf.kill();
    victim.works();
    device.await_figures("all is given back", |now| (now.sessions, now.buffers) == (0, 0));
}

#[test]
fn whoever_never_returns_from_its_callback_keeps_no_news_from_others() {
    assert_deafness_harms_nobody(50);
}

#[test]
fn whoever_lets_more_news_pile_up_than_anything_holds_keeps_none_from_others() {
    assert_deafness_harms_nobody(2000);
}

#[test]
fn whoever_listens_again_hears_of_everything() {
    let device = Device::start();
    let late = device.client(APP);
    // More than a socket holds, and, each allocated and acquired, within what a uid may have in a VM.
    assert_eq!(late.crowd(Crowd::Late(480)), 480);
}

#[test]
fn uids_that_all_let_news_pile_up_keep_none_from_others() {
    let device = Device::start();
    let victim = Victim::new(&device);
    let senders = || device.service_threads_named("notice-sender");
    let at_rest = senders();
    // More than threads of the service that wait to send.
    let deaf: Vec<Client> = (0..5).map(|more| device.client(THIRD_APP + more)).collect();
    for client in &deaf {
        client.begin_crowd(Crowd::Deaf(600));
    }
    for client in &deaf {
        client.finish_crowd();
    }
    victim.works();
    let dump: Value = serde_json::from_str(&device.dump(&["--json"])).expect("a dump in JSON");
    assert!(dump["notices"]["sent"].as_u64().expect("a number") > 0, "{}", dump["notices"]);
    for client in &deaf {
        client.kill();
    }
    victim.works();
    device.await_figures("all is given back", |now| (now.sessions, now.buffers) == (0, 0));
    device.await_true("the threads are gone", || (senders() <= at_rest).then_some(()));
}

#[test]
fn what_is_refused_succeeds_when_room_was_made() {
    let policy = "limit uid-buffers 8\nlimit uid-bytes 1M\nlimit uid-sessions 2\n";
    let device = Device::start_with_policy(policy);
    let client = device.client(APP).with_session();
    let second = device.client(APP).with_session();
    let refused = second.open("one more").unwrap_err();
    assert_eq!(refused.code, code::TOO_MANY_SESSIONS, "{}", refused.message);
    second.drop_session();
    device.await_true("a session is possible again", || second.open("again").ok());

    let mut held = client.allocate(&page(), 8).unwrap();
    let refused = second.allocate(&page(), 1).unwrap_err();
    assert_eq!(refused.code, code::TOO_MANY_BUFFERS, "{}", refused.message);
    client.drop_buffer(held.pop().unwrap().handle);
    let fits = second.allocate_one(&page());
    second.drop_buffer(fits.handle);

    let half = Descriptor::region(512 << 10);
    let refused = second.allocate(&half, 2).unwrap_err();
    assert_eq!(refused.code, code::TOO_MANY_BUFFERS, "{}", refused.message);
    held.drain(..).for_each(|held| client.drop_buffer(held.handle));
    let large = client.allocate(&half, 2).unwrap();
    let refused = second.allocate(&page(), 1).unwrap_err();
    assert_eq!(refused.code, code::QUOTA_EXCEEDED, "{}", refused.message);
    client.drop_buffer(large[0].handle);
    second.allocate(&page(), 1).unwrap();
}

#[test]
fn descriptors_are_refused_beyond_the_limit_of_session_uid_and_service_and_given_again() {
    let policy = format!(
        "limit service-descriptors 60\nlimit uid-descriptors 30\nlimit session-descriptors 20\n\
         uid {OTHER_APP} descriptors 22\n"
    );
    let device = Device::start_with_policy(&policy);
    let refuses = |client: &Client, count, said: &str| {
        let refused = client.allocate(&page(), count).unwrap_err();
        assert_eq!(refused.code, code::TOO_MANY_FDS, "{}", refused.message);
        assert!(refused.message.contains(said), "{}", refused.message);
    };
    let (first, second) = (device.client(APP).with_session(), device.client(APP).with_session());
    let pool = first.create_pool(&page(), (1, 16, 0));
    refuses(&first, 2, "this session uses 19 descriptors of at most 20; 2 more were asked for");
    let said = format!("uid {APP} uses 19 descriptors of at most 30; 12 more were asked for");
    refuses(&second, 12, &said);
    second.allocate(&page(), 11).unwrap();

    let other = device.client(OTHER_APP).with_session();
    other.create_pool(&page(), (1, 16, 0));
    let its_second = device.client(OTHER_APP).with_session();
    let said = format!("uid {OTHER_APP} uses 19 descriptors of at most 22; 4 more were asked for");
    refuses(&its_second, 4, &said);

    let third = device.client(THIRD_APP).with_session();
    let held = third.allocate(&page(), 11).unwrap();
    refuses(&third, 1, "the service uses 60 descriptors of at most 60; 1 more were asked for");
    let refused = third.try_create_pool(&page(), (1, 1, 0)).unwrap_err();
    assert_eq!(refused.code, code::TOO_MANY_FDS, "{}", refused.message);
    third.drop_buffer(held[0].handle);
    third.allocate_one(&page());
    first.leave_pool(pool);
    first.allocate(&page(), 19).unwrap();
    let dump: Value = serde_json::from_str(&device.dump(&["--json"])).expect("a dump in JSON");
    let limits = ["session_descriptors", "uid_descriptors", "service_descriptors"]
        .map(|name| dump["limits"][name].as_u64().expect("a number"));
    assert_eq!(limits, [20, 30, 60]);
    assert_eq!(figures_of_uid(&device, APP, ["descriptors"]), [30]);
}

#[test]
fn what_is_acquired_counts_for_the_uid_until_it_is_freed() {
    let device = Device::start_with_policy("limit uid-buffers 4\n");
    let owner = device.client(APP).with_session();
    let (taker, second) = (device.client(OTHER_APP).with_session(), device.client(OTHER_APP));
    let second = second.with_session();
    let ours = owner.allocate_one(&page());
    let token = owner.share_for(ours.handle, OTHER_APP as i32, 5, 60_000, false).unwrap();
    let own = taker.allocate_one(&page());
    let taken: Vec<_> = (0..3).map(|_| taker.acquire(token).unwrap()).collect();
    for refused in [second.acquire(token).unwrap_err(), second.allocate(&page(), 1).unwrap_err()] {
        assert_eq!(refused.code, code::TOO_MANY_BUFFERS, "{}", refused.message);
        let said = format!("uid {OTHER_APP} uses 4 buffers of at most 4; 1 more were asked for");
        assert!(refused.message.contains(&said), "{}", refused.message);
    }
    assert_eq!(figures_of_uid(&device, OTHER_APP, ["buffers", "acquired"]), [1, 3]);
    assert_eq!(figures_of_uid(&device, APP, ["buffers", "acquired"]), [1, 0]);
    // The refused call did not use the token up.
    taker.drop_buffer(taken[0].handle);
    second.acquire(token).unwrap();
    taker.kill();
    device.await_true("what the dead one had is given back", || {
        let left = figures_of_uid(&device, OTHER_APP, ["buffers", "acquired"]);
        (left == [0, 1]).then_some(())
    });
    second.acquire(token).unwrap();
    drop(own);
}

#[test]
fn clients_of_one_uid_that_race_for_the_last_buffer_get_what_the_limit_allows() {
    let device = Device::start_with_policy("limit uid-buffers 300\n");
    let racers: Vec<Client> = (0..6).map(|_| device.client(APP)).collect();
    for racer in &racers {
        racer.begin_crowd(Crowd::Race(page(), 4));
    }
    let got: usize = racers.iter().map(Client::finish_crowd).sum();
    assert_eq!(got, 300, "all that is allowed, and no more");
    assert_eq!(of_uid(&device, APP), (6 * 4, 300, 300 * 4096));
}

#[test]
fn clients_of_one_uid_that_race_for_the_last_bytes_never_have_more_than_the_limit() {
    // Of a size that does not divide the limit.
    const BYTES: u64 = 11 * 4096;
    const LIMIT: u64 = 4 << 20;
    let device = Device::start_with_policy("limit uid-bytes 4M\n");
    let racers: Vec<Client> = (0..6).map(|_| device.client(APP)).collect();
    for racer in &racers {
        racer.begin_crowd(Crowd::Scramble(Descriptor::region(BYTES as i64), 4, 200));
    }
    let mut held = 0;
    let mut racing: Vec<&Client> = racers.iter().collect();
    while !racing.is_empty() {
        let (_, _, bytes) = of_uid(&device, APP);
        assert!(bytes <= LIMIT, "{bytes} bytes of at most {LIMIT}");
        racing.retain(|racer| match racer.crowd_if_finished() {
            Some(left) => {
                held += left as u64;
                false
            }
            None => true,
        });
    }
    assert!(held > 0, "everybody was refused everything");
    device.await_true("only what they hold is charged", || {
        (of_uid(&device, APP).2 == held * BYTES).then_some(())
    });
    // What is left over fits exactly: nothing was lost on the way.
    let left = racers[0].crowd(Crowd::Race(page(), 1));
    assert_eq!(left as u64 * 4096, LIMIT - held * BYTES);
}
