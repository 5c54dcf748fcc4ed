// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! berthctl, as a person calls it.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Output, Stdio};
use std::thread;
use std::time::Duration;

use berth_end_to_end::facilities::{missing, Facility};
use berth_end_to_end::harness::{Device, APP, OTHER_APP, THIRD_APP};
use berth_end_to_end::protocol::Descriptor;
use nix::sys::signal::{kill, Signal};
use nix::sys::termios::{tcgetattr, LocalFlags};
use nix::unistd::Pid;
use serde_json::Value;

const DONE: Option<i32> = Some(0);
const REFUSED: Option<i32> = Some(1);
const USAGE: Option<i32> = Some(2);
const NO_ALLOCATOR: Option<i32> = Some(3);
const ELSE: Option<i32> = Some(4);

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What a command that succeeds prints.
fn printed(device: &Device, args: &[&str]) -> String {
    let output = device.berthctl(args);
    assert_eq!(output.status.code(), DONE, "{args:?}: {output:?}");
    text(&output.stdout)
}

/// The lines of JSON that a command that succeeds prints.
fn lines(device: &Device, args: &[&str]) -> Vec<Value> {
    let text = printed(device, &[args, &["--json"]].concat());
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn as_uid(device: &Device, uid: u32, args: &[&str]) -> Output {
    device.berthctl_of(uid).args(args).output().unwrap()
}

/// Starts a command and returns it with its output.
fn start(device: &Device, uid: u32, args: &[&str]) -> (Child, BufReader<impl Read>) {
    let mut command = device.berthctl_of(uid);
    let mut child =
        command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    (child, output)
}

fn line(output: &mut impl BufRead) -> String {
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    line.trim_end().to_owned()
}

fn tell(child: &Child, signal: Signal) {
    kill(Pid::from_raw(child.id() as i32), signal).unwrap();
}

/// A file that everybody may read, with its folder.
fn file(bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let path = folder.path().join("file");
    fs::write(&path, bytes).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    (folder, path)
}

#[test]
fn berthctl_shows_heaps_and_figures() {
    let device = Device::start();
    let heaps = printed(&device, &["heaps"]);
    assert!(heaps.starts_with("HEAP") && heaps.contains("memfd"), "{heaps}");
    let [heaps] = &lines(&device, &["heaps"])[..] else { panic!() };
    let names: Vec<_> = heaps["heaps"].as_array().unwrap().iter().map(|h| &h["name"]).collect();
    assert!(names.contains(&&"memfd".into()), "{heaps}");
    assert!(heaps["max_buffer_bytes"].as_u64().unwrap() > 4096, "{heaps}");
    let client = device.client(APP).with_session();
    client.allocate(&Descriptor::region(3 << 20), 2).unwrap();
    let stats = printed(&device, &["stats"]);
    assert!(stats.contains("1 sessions, 2 buffers, 6 MiB, 0 open tokens"), "{stats}");
    let [stats] = &lines(&device, &["stats"])[..] else { panic!() };
    assert_eq!((&stats["buffers"], &stats["bytes"]), (&2.into(), &(6 << 20).into()));
}

#[test]
fn berthctl_allocates_as_it_is_asked() {
    let device = Device::start();
    let images =
        lines(&device, &["alloc", "--image", "640x480", "--format", "YV12", "--count", "2"]);
    assert_eq!(images.len(), 2);
    assert_eq!(images[0]["size_bytes"], 640 * 480 * 3 / 2);
    assert_eq!(images[0]["planes"].as_array().map(Vec::len), Some(3));
    assert_eq!(images[0]["access"], "read-write");
    // The GPU's rows are multiples of 256 bytes, unless the device's policy says otherwise.
    let image = ["alloc", "--image", "65x2", "--layers", "3", "--usage"];
    let [of_gpu] = &lines(&device, &[&image[..], &["GPU_TEXTURE"]].concat())[..] else { panic!() };
    assert_eq!(of_gpu["planes"][0]["stride"], 512);
    assert_eq!(of_gpu["size_bytes"], 3 * 2 * 512);
    let shown = printed(&device, &["alloc", "--size", "3M", "--name", "a name"]);
    assert!(shown.contains("\"a name\": 3 MiB of heap"), "{shown}");
    let by_time = printed(&device, &["alloc", "--size", "1", "--hold", "0.01"]);
    assert!(by_time.starts_with("buffer "), "{by_time}");
    let figures = device.figures();
    assert_eq!((figures.buffers, figures.sessions), (0, 0), "all of it was freed");
    assert_eq!(figures.abandoned, 0, "and every session closed");
}

#[test]
fn what_is_held_is_given_back_in_good_order_when_a_signal_says_so() {
    let device = Device::start();
    for (signal, session) in [(Signal::SIGINT, 1), (Signal::SIGTERM, 2), (Signal::SIGHUP, 3)] {
        let args = ["alloc", "--size", "1M", "--count", "3", "--hold", "1000"];
        let (mut child, mut output) = start(&device, APP, &args);
        for _ in 0..3 {
            assert!(line(&mut output).starts_with("buffer "));
        }
        assert_eq!(device.figures().buffers, 3);
        tell(&child, signal);
        assert_eq!(child.wait().unwrap().code(), DONE, "{signal}");
        let figures = device.await_figures("all is given back", |now| now.sessions == 0);
        assert_eq!((figures.buffers, figures.abandoned), (0, 0), "after {session} sessions");
    }
}

#[test]
fn a_region_takes_a_file_and_a_seal() {
    let device = Device::start();
    let (_folder, path) = file(&[7; 5000]);
    let from = path.to_str().unwrap();
    let [region] = &lines(&device, &["region", "--from", from, "--seal"])[..] else { panic!() };
    assert_eq!((&region["size_bytes"], &region["access"]), (&5000.into(), &"read-only".into()));
    let [region] = &lines(&device, &["region", "--size", "8K", "--from", from])[..] else {
        panic!()
    };
    assert_eq!((&region["size_bytes"], &region["access"]), (&8192.into(), &"read-write".into()));
    let small = device.berthctl(&["region", "--size", "4999", "--from", from]);
    assert_eq!(small.status.code(), USAGE, "{small:?}");
    assert!(text(&small.stderr).contains("larger than 4999 bytes"), "{small:?}");
    assert_eq!(device.figures().buffers, 0);
}

#[test]
fn sessions_and_buffers_are_listed_filtered_and_sorted() {
    let device = Device::start();
    let (one, other) = (device.client(APP), device.client(OTHER_APP));
    one.open("zebra").unwrap();
    other.open("antelope").unwrap();
    one.allocate(&Descriptor::region(4096).named("small"), 2).unwrap();
    other.allocate(&Descriptor::region(1 << 20).named("large"), 1).unwrap();
    let names = |args: &[&str]| -> Vec<String> {
        let items = lines(&device, &[&["list"], args].concat());
        items.iter().map(|item| item["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&[]), ["antelope", "zebra"]);
    assert_eq!(names(&["--sort", "id"]), ["zebra", "antelope"]);
    assert_eq!(names(&["--uid", &APP.to_string()]), ["zebra"]);
    assert_eq!(names(&["--buffers"]), ["large", "small", "small"]);
    assert_eq!(names(&["--buffers", "--sort", "uid"]), ["small", "small", "large"]);
    assert_eq!(names(&["--buffers", "--uid", &OTHER_APP.to_string()]), ["large"]);
    assert_eq!(names(&["--buffers", "--uid", &THIRD_APP.to_string()]), [""; 0]);
    let table = printed(&device, &["list", "--buffers"]);
    let rows: Vec<&str> = table.lines().collect();
    assert_eq!(rows.len(), 4, "{table}");
    assert!(rows[0].contains("SIZE") && rows[1].contains("1 MiB"), "{table}");
    let sessions = printed(&device, &["list"]);
    assert!(sessions.lines().nth(1).unwrap().ends_with("antelope"), "{sessions}");
}

#[test]
fn what_is_listed_as_json_has_every_key_of_the_dump() {
    let device = Device::start();
    let client = device.client(APP).with_session();
    client.allocate(&Descriptor::region(4096), 1).unwrap();
    for (what, args) in [("sessions", &["--sessions"][..]), ("buffers", &["--buffers"])] {
        let dump: Value =
            serde_json::from_str(&device.dump(&[&["--json"], args].concat())).unwrap();
        let list: &[&str] = if what == "buffers" { &["list", "--buffers"] } else { &["list"] };
        let keys = |item: &Value| -> BTreeSet<String> {
            item.as_object().unwrap().keys().cloned().collect()
        };
        assert_eq!(keys(&lines(&device, list)[0]), keys(&dump[what][0]));
    }
}

#[test]
fn the_dump_takes_the_services_arguments() {
    let device = Device::start();
    let client = device.client(APP).with_session();
    client.allocate_one(&Descriptor::region(1 << 20).named("shown"));
    assert!(printed(&device, &["dump"]).contains("Session "));
    assert!(printed(&device, &["dump", "--", "--help"]).contains("Keys of the JSON"));
    let flat = printed(&device, &["dump", "--buffers", "--uid", &APP.to_string()]);
    assert!(flat.contains("shown (session "), "{flat}");
    for args in [["dump", "--json", "--buffers"], ["dump", "--buffers", "--json"]] {
        let json: Value = serde_json::from_str(&printed(&device, &args)).unwrap();
        assert_eq!(json["buffers"][0]["name"], "shown");
    }
}

#[test]
fn a_buffer_goes_from_one_uid_to_another_by_token() {
    let device = Device::start();
    let (_folder, path) = file(b"through a token");
    let from = path.to_str().unwrap();
    let app = OTHER_APP.to_string();
    // Root sees by the dump that the token is used, an application by the figures.
    for (sharer, other_token) in [(APP, false), (0, true)] {
        let holder = device.client(THIRD_APP).with_session();
        if other_token {
            let handle = holder.allocate_one(&Descriptor::region(1)).handle;
            holder.share(handle, THIRD_APP);
        }
        let args = ["share", "--uid", &app, "--region", "4K", "--from", from, "--seconds", "600"];
        let (mut child, mut output) = start(&device, sharer, &args);
        let token = line(&mut output);
        assert_eq!(token.len(), 32, "{token}");
        let stranger = as_uid(&device, THIRD_APP, &["acquire", &token]);
        assert_eq!(stranger.status.code(), REFUSED, "{stranger:?}");
        let acquired = as_uid(&device, OTHER_APP, &["acquire", &token, "--read", "7"]);
        assert_eq!(acquired.status.code(), DONE, "{acquired:?}");
        let expected = "00000000  74 68 72 6f 75 67 68 ";
        assert!(text(&acquired.stdout).contains(expected), "{acquired:?}");
        assert!(text(&acquired.stdout).contains("|through|"), "{acquired:?}");
        assert_eq!(child.wait().unwrap().code(), DONE);
        let again = as_uid(&device, OTHER_APP, &["acquire", &token]);
        assert_eq!(again.status.code(), REFUSED, "{again:?}");
    }
}

#[test]
fn a_token_is_not_taken_for_used_because_the_service_died() {
    let device = Device::start();
    let app = OTHER_APP.to_string();
    for sharer in [APP, 0] {
        let args = ["share", "--uid", &app, "--region", "4K", "--seconds", "600"];
        let (mut child, mut output) = start(&device, sharer, &args);
        let token = line(&mut output);
        device.kill_service();
        // The longer there is none, the later a session looks again.
        thread::sleep(Duration::from_millis(1500));
        device.start_service();
        device.await_figures("the buffer is back", |now| now.buffers == 1);
        // As often as it looks in half a second.
        thread::sleep(Duration::from_millis(500));
        assert!(child.try_wait().unwrap().is_none(), "nobody acquired the buffer");
        let acquired = as_uid(&device, OTHER_APP, &["acquire", &token]);
        assert_eq!(acquired.status.code(), DONE, "{acquired:?}");
        assert_eq!(child.wait().unwrap().code(), DONE);
    }
}

#[test]
fn a_token_is_json_and_comes_from_standard_input_too() {
    let device = Device::start();
    let (_folder, path) = file(b"abc");
    let from = path.to_str().unwrap();
    let app = APP.to_string();
    let args = ["share", "--json", "--uid", &app, "--region", "3", "--from", from, "--read-only"];
    let (mut child, mut output) = start(&device, 0, &args);
    let shared: Value = serde_json::from_str(&line(&mut output)).unwrap();
    let token = shared["token"].as_str().unwrap();
    let mut taker = device
        .berthctl_of(APP)
        .args(["acquire", "-", "--read", "1M", "--json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    writeln!(taker.stdin.take().unwrap(), "{token}").unwrap();
    let acquired = taker.wait_with_output().unwrap();
    let acquired: Value = serde_json::from_slice(&acquired.stdout).unwrap();
    assert_eq!((&acquired["read"], &acquired["access"]), (&"616263".into(), &"read-only".into()));
    assert_eq!(acquired["inode"], shared["inode"]);
    assert_eq!(child.wait().unwrap().code(), DONE);
}

#[test]
fn a_token_that_nobody_uses_is_no_success() {
    let device = Device::start();
    let args = ["share", "--uid", "1", "--size", "1", "--seconds", "0.05"];
    let output = as_uid(&device, APP, &args);
    assert_eq!(output.status.code(), ELSE, "{output:?}");
    assert!(text(&output.stderr).contains("uid 1 was not seen"), "{output:?}");
    assert_eq!(device.figures().buffers, 0);
}

#[test]
fn without_a_terminal_watch_prints_rows() {
    let device = Device::start();
    let client = device.client(APP).with_session();
    client.allocate(&Descriptor::region(1 << 20), 5).unwrap();
    let args = ["watch", "--interval", "0.01", "--count", "2"];
    // Everybody may see the figures.
    for uid in [0, APP] {
        let rows = text(&as_uid(&device, uid, &args).stdout);
        let rows: Vec<&str> = rows.lines().collect();
        assert_eq!(rows.len(), 3, "{rows:?}");
        assert!(rows[0].contains("BUFFERS") && rows[1].contains("5 MiB"), "{rows:?}");
    }
    let looks = lines(&device, &args);
    assert_eq!(looks.len(), 2);
    assert_eq!((&looks[1]["buffers"], &looks[0]["seconds"].is_f64()), (&5.into(), &true));
    let (mut child, mut output) = start(&device, APP, &["watch", "--interval", "1000"]);
    let (_titles, row) = (line(&mut output), line(&mut output));
    assert!(row.contains("5 MiB"), "{row}");
    tell(&child, Signal::SIGINT);
    assert_eq!(child.wait().unwrap().code(), DONE);
}

/// What a terminal shows until these words have come twice.
fn read_until_twice(terminal: &mut File, words: &str) -> String {
    let mut seen = String::new();
    while seen.matches(words).count() < 2 {
        let mut bytes = [0; 4096];
        let count = terminal.read(&mut bytes).unwrap();
        seen.push_str(&text(&bytes[..count]));
    }
    seen
}

#[test]
fn on_a_terminal_watch_stays_in_its_place_and_ends_with_q() {
    let device = Device::start();
    let client = device.client(APP);
    client.open("the watched").unwrap();
    client.allocate(&Descriptor::region(1 << 20), 5).unwrap();
    let pty = nix::pty::openpty(None, None).unwrap();
    let before = tcgetattr(&pty.slave).unwrap();
    assert!(before.local_flags.contains(LocalFlags::ECHO | LocalFlags::ICANON));
    let terminal = File::from(pty.slave);
    let mut command = device.berthctl_of(0);
    command.args(["watch", "--interval", "0.1"]);
    command.stdin(terminal.try_clone().unwrap()).stdout(terminal.try_clone().unwrap());
    let mut child = command.spawn().unwrap();
    let mut person = File::from(pty.master);
    let seen = read_until_twice(&mut person, "the watched");
    assert!(seen.starts_with("\x1b[?1049h") && seen.contains("\x1b[HBerth allocator"), "{seen}");
    assert!(seen.contains("10001") && seen.contains("5 MiB"), "{seen}");
    person.write_all(b"q").unwrap();
    assert_eq!(child.wait().unwrap().code(), DONE);
    let after = tcgetattr(&terminal).unwrap();
    assert_eq!(after.local_flags, before.local_flags);
}

#[test]
fn on_a_small_terminal_watch_moves_nothing_off_the_screen() {
    const ROWS: u16 = 24;
    let device = Device::start();
    let clients: Vec<_> = (0..12).map(|n| device.client(APP + n).with_session()).collect();
    let size = nix::pty::Winsize { ws_row: ROWS, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
    let pty = nix::pty::openpty(Some(&size), None).unwrap();
    let terminal = File::from(pty.slave);
    let mut command = device.berthctl_of(0);
    command.args(["watch", "--interval", "0.1"]);
    command.stdin(terminal.try_clone().unwrap()).stdout(terminal.try_clone().unwrap());
    let mut child = command.spawn().unwrap();
    let mut person = File::from(pty.master);
    let seen = read_until_twice(&mut person, "\x1b[J");
    let screen = seen.split("\x1b[H").nth(1).unwrap();
    let (screen, _) = screen.split_once("\x1b[J").unwrap();
    let lines: Vec<&str> = screen.split('\n').collect();
    assert!(lines.len() <= usize::from(ROWS), "{} lines: {screen}", lines.len());
    // Titles of all tables, and somebody in each.
    assert!(lines[0].starts_with("Berth allocator"), "{screen}");
    for title in ["HEAP ", "UID ", "SESSION "] {
        let at = lines.iter().position(|line| line.trim_start().starts_with(title)).unwrap();
        assert!(lines[at + 1].len() > title.len(), "{screen}");
    }
    person.write_all(b"q").unwrap();
    assert_eq!(child.wait().unwrap().code(), DONE);
    drop(clients);
}

#[test]
fn exit_codes_say_what_went_wrong() {
    let device = Device::start();
    for (args, code, message) in [
        (&["alloc", "--size", "999999G"][..], REFUSED, "too large"),
        (&["alloc", "--size", "1", "--heap", "no such heap"], REFUSED, "heap unknown"),
        (&["acquire", "00000000000000000000000000000000"], REFUSED, "bad token"),
        (&["alloc"], USAGE, "--size"),
        (&["alloc", "--image", "1x1", "--usage", "WISHFUL"], USAGE, "no usage"),
        (&["acquire", "0123"], USAGE, "32 hexadecimal digits"),
        (&["dump", "--jsno"], USAGE, "arguments of the dump"),
        (&["region", "--from", "/no/such/file"], ELSE, "/no/such/file"),
    ] {
        let output = device.berthctl(args);
        assert_eq!(output.status.code(), code, "{args:?}: {output:?}");
        assert!(text(&output.stderr).contains(message), "{args:?}: {output:?}");
    }
    for args in [&["dump"][..], &["list"]] {
        let output = as_uid(&device, APP, args);
        assert_eq!(output.status.code(), REFUSED, "{args:?}: {output:?}");
        assert!(text(&output.stderr).contains("may not dump"), "{args:?}: {output:?}");
    }
    let nowhere = tempfile::tempdir().unwrap();
    let binder = format!("unix:{}", nowhere.path().display());
    let mut command = device.berthctl_of(0);
    let output = command.env("BERTH_BINDER", binder).args(["stats", "--wait", "0"]).output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), NO_ALLOCATOR, "{output:?}");
}

#[test]
fn trim_gives_back_what_the_uid_freed_and_nothing_else() {
    let device = Device::start_with_policy("limit idle-seconds 600\n");
    // Where nothing is kept idle nothing is given back.
    let output = as_uid(&device, APP, &["trim"]);
    assert_eq!((output.status.code(), &*text(&output.stdout)), (DONE, "0 B given back\n"));
    if missing(Facility::DmaHeapSystem) {
        return;
    }
    let (client, other) =
        (device.client(APP).with_session(), device.client(OTHER_APP).with_session());
    let both = [&client, &other].map(|client| {
        let held = client.allocate(&Descriptor::linear(1 << 20), 4).unwrap();
        (client, held)
    });
    for (client, held) in &both {
        held[..3].iter().for_each(|held| client.drop_buffer(held.handle));
    }
    device.await_figures("all are idle", |now| now.idle == 6);
    let output = as_uid(&device, APP, &["trim", "--json"]);
    assert_eq!(output.status.code(), DONE, "{output:?}");
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer, serde_json::json!({ "bytes": 3 << 20 }));
    let figures = device.figures();
    assert_eq!((figures.idle, figures.buffers), (3, 2), "the other's, and what is held");
    let output = as_uid(&device, OTHER_APP, &["trim"]);
    assert_eq!(&*text(&output.stdout), "3 MiB given back\n");
    let wrong = as_uid(&device, APP, &["trim", "everything"]);
    assert_eq!(wrong.status.code(), USAGE, "{wrong:?}");
}

#[test]
fn completions_need_no_allocator() {
    let device = Device::start();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let mut command = device.berthctl_of(APP);
        command.env("BERTH_BINDER", "unix:/nowhere").args(["completions", shell]);
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), DONE, "{output:?}");
        let script = text(&output.stdout);
        for word in ["berthctl", "acquire", "trim"] {
            assert!(script.contains(word), "{word}: {script}");
        }
    }
}

#[test]
fn the_help_has_every_command_and_the_exit_codes() {
    let device = Device::start();
    let help = printed(&device, &["--help"]);
    for part in ["Exit codes", "no allocator", "--json", "Examples"] {
        assert!(help.contains(part), "{help}");
    }
    for command in [
        "heaps",
        "alloc",
        "region",
        "list",
        "dump",
        "stats",
        "watch",
        "share",
        "acquire",
        "trim",
        "completions",
    ] {
        assert!(help.contains(&format!("\n  {command} ")), "{help}");
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let device = Device::start();
    let (reader, writer) = berth_kernel::pipe::pipe().unwrap();
    drop(reader);
    for args in [
        &["heaps"][..],
        &["list", "--json"],
        &["completions", "bash"],
        &["dump"],
        &["dump", "--buffers", "--json"],
        &["dump", "--", "--help"],
    ] {
        let mut command = device.berthctl_of(0);
        command.args(args).stdout(writer.try_clone().unwrap());
        let output = command.stderr(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap();
        assert_eq!((output.status.code(), text(&output.stderr)), (DONE, String::new()), "{args:?}");
    }
}
