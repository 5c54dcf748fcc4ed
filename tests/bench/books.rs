// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Full books: what a thousand sessions with a hundred thousand buffers cost who allocates, what a
//! dump of them does, and how much memory the service needs for each.
//!
//! They are a service's of our own, with limits and descriptors for so many, reached over RPC Binder
//! whatever the lane has. `run` starts this program once more in the role `books`, which measures
//! there and answers in a line.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{bail, ensure, Context, Result};
use berth_client::{Allocator, BufferRequest, Session, MAX_BATCH, SERVICE_NAME};
use hal_binder::{Interface, Strong};
use nix::unistd::pipe;
use vendor_berth_allocator::aidl::vendor::berth::allocator::{
    IAllocator::IAllocator,
    IAllocatorCallback::{BnAllocatorCallback, IAllocatorCallback},
    IAllocatorSession::IAllocatorSession,
    SessionConfig::SessionConfig,
};

use crate::bare::{self, IBare};
use crate::measure::{in_turns, until, Pair, Spread};
use crate::table::{Table, Target};

const FEW_SESSIONS: usize = 10;
const MANY_SESSIONS: usize = 1_000;
const OF_EACH: usize = 100;
/// What the service is to open: one for each buffer, and what it needs besides. The kernel's own most
/// (`fs.nr_open`) is eight times this.
const DESCRIPTORS: u64 = 120_000;
/// Descriptors that the service does not lend (`Limits::DESCRIPTORS_IN_FLIGHT`), and some for us.
const NOT_LENT: u64 = 2_048;
/// Buffers of a call while the books are filled: as clients take them, a few at a time.
const BATCH: usize = 4;
const ROUNDS: u32 = 400;

/// What was measured, as the role answers it: numbers in this order, with blanks between them.
const FIGURES: usize = 12;

/// Measures and adds rows.
pub fn measure(table: &mut Table) -> Result<()> {
    let folder = tempfile::tempdir().context("a folder for the service")?;
    let descriptors = descriptors()?;
    let many = (descriptors.saturating_sub(NOT_LENT) as usize).min(MANY_SESSIONS * OF_EACH);
    let mut service = start_service(folder.path(), descriptors, many)?;
    let asked = crate::role("books")?
        .arg(many.to_string())
        .arg(service.id().to_string())
        .env("BERTH_BINDER", transport(folder.path()))
        .stderr(Stdio::inherit())
        .output();
    service.kill().context("end the service of the books")?;
    service.wait()?;
    let answer = asked.context("start the books")?;
    ensure!(answer.status.success(), "the books: {}", answer.status);
    let text = String::from_utf8(answer.stdout)?;
    let figures = text.split_whitespace().map(|word| Ok(word.parse::<u64>()?));
    let figures: Vec<u64> = figures.collect::<Result<_>>().context(text.clone())?;
    let Ok(figures) = <[u64; FIGURES]>::try_from(figures) else { bail!("the books: {text:?}") };
    add_rows(table, many, figures);
    Ok(())
}

fn add_rows(table: &mut Table, many: usize, figures: [u64; FIGURES]) {
    let [few, few_p90, many_, many_p90, few_bare, many_bare, dump, dump_p90, spin, spin_p90, slowest, bytes] =
        figures;
    let spread = |median, p90| Spread {
        median: Duration::from_nanos(median),
        p90: Duration::from_nanos(p90),
    };
    // Each against the bare call of its own time, so that a machine that became slower does not count.
    let ratio = (many_ as f64 / many_bare as f64) / (few as f64 / few_bare as f64);
    let pair = Pair { ours: spread(many_, many_p90), reference: spread(few, few_p90) };
    let what = format!("allocate + free among {MANY_SESSIONS} sessions, {many} buffers");
    let against = format!("among {FEW_SESSIONS}, {}", FEW_SESSIONS * OF_EACH);
    table.ratio(&what, &against, &pair, ratio, Target::AtMost(1.2));
    let pair = Pair { ours: spread(dump, dump_p90), reference: spread(spin, spin_p90) };
    let what = format!("the same while {many} buffers are dumped");
    table.pair(&what, "beside a busy thread", &pair, Target::AtMost(1.2));
    eprintln!("the slowest allocation beside a dump: {:?}", Duration::from_nanos(slowest));
    table.memory("memory of the service for a live buffer", bytes, 512);
}

fn transport(folder: &Path) -> String {
    format!("unix:{}", folder.display())
}

/// The service as this machine has it: beside this program, or where Android has it.
fn service_program() -> Result<PathBuf> {
    let beside = std::env::current_exe()?.with_file_name("berth-allocator-service");
    let vendor = PathBuf::from("/vendor/bin/hw/vendor.berth.allocator-service");
    [beside, vendor].into_iter().find(|path| path.exists()).context("find the service's program")
}

/// How many a process may open that this one starts: as many as the books need where this one may
/// raise its limit, else what the limit is.
fn descriptors() -> Result<u64> {
    let script = format!("ulimit -n {DESCRIPTORS} 2>/dev/null; ulimit -Hn");
    let asked = Command::new("sh").args(["-c", &script]).output().context("ask for the limit")?;
    let text = String::from_utf8(asked.stdout)?;
    Ok(text.trim().parse().unwrap_or(DESCRIPTORS).min(DESCRIPTORS))
}

fn start_service(folder: &Path, descriptors: u64, many: usize) -> Result<Child> {
    let policy = folder.join("allocator.policy");
    let text = format!(
        "limit reserve-bytes 1M\nlimit service-bytes 95%\nlimit uid-bytes 95%\n\
         limit uid-buffers {}\nlimit uid-sessions {}\n",
        many + 500,
        MANY_SESSIONS + 10
    );
    fs::write(&policy, text).context("a policy file")?;
    let script = format!("ulimit -n {descriptors} && exec \"$0\"");
    Command::new("sh")
        .args(["-c", &script])
        .arg(service_program()?)
        .env("BERTH_BINDER", transport(folder))
        .env("BERTH_POLICY", policy)
        .env("RUST_LOG", "error")
        .stdin(Stdio::null())
        .spawn()
        .context("start a service for the books")
}

/// The role `books`: `many` buffers at most in the service with this pid.
pub fn role(many: usize, service: u32) -> Result<()> {
    let mut bare_service = crate::role("bare")?.spawn().context("start the bare service")?;
    let measured = measure_books(many, service);
    bare_service.kill()?;
    bare_service.wait()?;
    let figures: Vec<String> = measured?.iter().map(u64::to_string).collect();
    println!("{}", figures.join(" "));
    Ok(())
}

fn measure_books(many: usize, service: u32) -> Result<[u64; FIGURES]> {
    let allocator = Allocator::connect_within(Duration::from_secs(30))?;
    let bare = bare::find()?;
    let session = allocator.open_session("bench")?;
    let mut books = Books::open()?;
    books.add_sessions(FEW_SESSIONS)?;
    books.fill(FEW_SESSIONS * OF_EACH)?;
    let few = allocate_and_free(&session, &bare)?;
    books.add_sessions(MANY_SESSIONS - FEW_SESSIONS)?;
    let (before, buffers) = (memory(service)?, books.buffers);
    books.fill(many)?;
    let bytes = memory(service)?.saturating_sub(before) / (books.buffers - buffers) as u64;
    ensure!(allocator.stats()?.buffers as usize == books.buffers, "the books are not full");
    let full = allocate_and_free(&session, &bare)?;
    let (dump, slowest) = beside(&session, |stop, dumps| dump_on(&allocator, stop, dumps))?;
    let (spin, _) = beside(&session, spin_on)?;
    let nanos = |time: Duration| time.as_nanos() as u64;
    let both = |spread: Spread| [nanos(spread.median), nanos(spread.p90)];
    let ([few_ours, few_p90], [full_ours, full_p90]) = (both(few.ours), both(full.ours));
    let ([dumped, dumped_p90], [spun, spun_p90]) = (both(dump), both(spin));
    let (few_bare, full_bare) = (nanos(few.reference.median), nanos(full.reference.median));
    Ok([
        few_ours,
        few_p90,
        full_ours,
        full_p90,
        few_bare,
        full_bare,
        dumped,
        dumped_p90,
        spun,
        spun_p90,
        nanos(slowest),
        bytes,
    ])
}

fn request() -> BufferRequest {
    BufferRequest::region(4096).name("bench")
}

fn allocate_and_free(session: &Session, bare: &Strong<dyn IBare>) -> Result<Pair> {
    let request = request();
    let ours = || once(session, &request);
    let reference = || {
        bare.give()?;
        Ok(())
    };
    in_turns(ROUNDS, ours, reference)
}

/// Allocates one and frees it at once.
fn once(session: &Session, request: &BufferRequest) -> Result<()> {
    session.allocate_one(request)?;
    Ok(())
}

/// Measures allocate and free while another thread does something, which counts how often it was
/// done. What is measured covers at least one whole time of it.
fn beside(
    session: &Session,
    act: impl FnOnce(&AtomicBool, &AtomicU64) -> Result<()> + Send,
) -> Result<(Spread, Duration)> {
    let (stop, done) = (AtomicBool::new(false), AtomicU64::new(0));
    let request = request();
    thread::scope(|scope| {
        let other = scope.spawn(|| act(&stop, &done));
        let enough = || done.load(Ordering::Relaxed) >= 2 || other.is_finished();
        let measured = until(ROUNDS, enough, || once(session, &request));
        stop.store(true, Ordering::Relaxed);
        match other.join() {
            Ok(result) => result?,
            Err(_) => bail!("a thread panicked"),
        }
        measured
    })
}

/// Dumps again and again, as one does who watches.
fn dump_on(allocator: &Allocator, stop: &AtomicBool, dumps: &AtomicU64) -> Result<()> {
    while !stop.load(Ordering::Relaxed) {
        let (reader, writer) = pipe()?;
        let reading = thread::spawn(move || io::copy(&mut File::from(reader), &mut io::sink()));
        allocator.dump(writer, &["--json"])?;
        let read = reading.join().ok().context("the reader panicked")??;
        ensure!(read > 0, "an empty dump");
        dumps.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// Takes a processor, as a dump does: what is left of the difference are locks.
fn spin_on(stop: &AtomicBool, turns: &AtomicU64) -> Result<()> {
    while !stop.load(Ordering::Relaxed) {
        turns.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// Bytes that are the service's own (`RssAnon` in `/proc/PID/status`, proc(5)).
fn memory(service: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{service}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.and_then(|line| line.split_whitespace().next()).context("no RssAnon")?;
    Ok(kib.parse::<u64>()? * 1024)
}

/// Sessions with buffers whose descriptors nobody holds but the service: a client that held them all
/// would need as many as the service.
struct Books {
    allocator: Strong<dyn IAllocator>,
    callback: Strong<dyn IAllocatorCallback>,
    sessions: Vec<Strong<dyn IAllocatorSession>>,
    buffers: usize,
}

struct Deaf;

impl Interface for Deaf {}

impl IAllocatorCallback for Deaf {
    fn onSharedBufferGone(&self, _ids: &[i64]) -> hal_binder::Result<()> {
        Ok(())
    }

    fn onPressure(&self, _level: berth_client::PressureLevel) -> hal_binder::Result<()> {
        Ok(())
    }
}

impl Books {
    fn open() -> Result<Books> {
        let allocator = hal_binder::check_interface(SERVICE_NAME)?;
        let callback = hal_binder::new_binder!(BnAllocatorCallback, Deaf);
        Ok(Books { allocator, callback, sessions: Vec::new(), buffers: 0 })
    }

    fn add_sessions(&mut self, count: usize) -> Result<()> {
        let config = SessionConfig { name: "bench books".to_owned(), ..Default::default() };
        for _ in 0..count {
            self.sessions.push(self.allocator.openSession(&config, &self.callback)?);
        }
        Ok(())
    }

    /// Allocates until all sessions together have so many, each about the same.
    fn fill(&mut self, many: usize) -> Result<()> {
        let descriptor = request().descriptor();
        while self.buffers < many {
            for session in &self.sessions {
                let count = BATCH.min(many - self.buffers).min(MAX_BATCH as usize);
                if count > 0 {
                    session.allocate(&descriptor, count as i32)?;
                    self.buffers += count;
                }
            }
        }
        Ok(())
    }
}
