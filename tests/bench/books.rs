// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Full books: what a thousand sessions with a hundred thousand buffers cost who allocates, what a
//! dump of them does, and how much memory the service needs for each.
//!
//! They are in a service of our own, with limits and descriptors for so many, reached over RPC Binder
//! whatever the lane has, and are held against another one that is nearly empty. For each this
//! program is started once more in the role `books`, which fills them and then does what it is told.

use std::cell::RefCell;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure, Context, Result};
use berth_client::{Allocator, BufferRequest, Session, SERVICE_NAME};
use hal_binder::{Interface, Strong};
use nix::unistd::pipe;
use vendor_berth_allocator::aidl::vendor::berth::allocator::{
    IAllocator::IAllocator,
    IAllocatorCallback::{BnAllocatorCallback, IAllocatorCallback},
    IAllocatorSession::IAllocatorSession,
    SessionConfig::SessionConfig,
};

use crate::measure::told_in_turns;
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
/// Allocations between two orders.
const ALLOCATIONS: u32 = 20;
const ROUNDS: u32 = 40;
/// Few: a dump of so many is long, and is made three times more before any is counted.
const DUMPS: u32 = 5;

/// Measures and adds rows.
pub fn measure(table: &mut Table) -> Result<()> {
    let descriptors = descriptors()?;
    let buffers = (descriptors.saturating_sub(NOT_LENT) as usize).min(MANY_SESSIONS * OF_EACH);
    let few = Shop::fill(FEW_SESSIONS, FEW_SESSIONS * OF_EACH, descriptors)?;
    let many = Shop::fill(MANY_SESSIONS, buffers, descriptors)?;

    let pair = told_in_turns(ROUNDS, || many.ask("allocate"), || few.ask("allocate"))?;
    let what = format!("allocate + free among {MANY_SESSIONS} sessions, {buffers} buffers");
    let against = format!("among {FEW_SESSIONS}, {}", FEW_SESSIONS * OF_EACH);
    table.pair(&what, &against, &pair, Target::AtMost(1.2));

    let pair = told_in_turns(DUMPS, || many.ask("dump"), || many.ask("spin"))?;
    let what = format!("the same while {buffers} buffers are dumped");
    table.pair(&what, "beside a busy thread", &pair, Target::AtMost(1.2));
    let slowest = Duration::from_nanos(many.ask("slowest")?);
    eprintln!("the slowest allocation beside a dump: {slowest:?}");

    table.memory("memory of the service for a live buffer", many.ask("memory")?, 512);
    Ok(())
}

/// How many a process may open that this one starts: as many as the books need where this one may
/// raise its limit, else what the limit is.
fn descriptors() -> Result<u64> {
    let script = format!("ulimit -n {DESCRIPTORS} 2>/dev/null; ulimit -Hn");
    let asked = Command::new("sh").args(["-c", &script]).output().context("ask for the limit")?;
    let text = String::from_utf8(asked.stdout)?;
    Ok(text.trim().parse().unwrap_or(DESCRIPTORS).min(DESCRIPTORS))
}

/// A service, and who fills its books.
struct Shop {
    service: Child,
    filler: Child,
    pipes: RefCell<(ChildStdin, BufReader<ChildStdout>)>,
    // Removed last.
    _folder: tempfile::TempDir,
}

impl Shop {
    fn fill(sessions: usize, buffers: usize, descriptors: u64) -> Result<Shop> {
        let folder = tempfile::tempdir().context("a folder for the service")?;
        let transport = format!("unix:{}", folder.path().display());
        let mut service = start_service(folder.path(), &transport, descriptors)?;
        let filler = crate::role("books")?
            .args([sessions.to_string(), buffers.to_string(), service.id().to_string()])
            .env("BERTH_BINDER", &transport)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut filler = match filler {
            Ok(filler) => filler,
            Err(error) => {
                service.kill().and_then(|()| service.wait())?;
                return Err(error).context("start who fills the books");
            }
        };
        let orders = filler.stdin.take().context("a way to order")?;
        let answers = BufReader::new(filler.stdout.take().context("its output")?);
        let pipes = RefCell::new((orders, answers));
        let shop = Shop { service, filler, pipes, _folder: folder };
        // It answers when it is ready.
        shop.ask("memory")?;
        Ok(shop)
    }

    fn ask(&self, order: &str) -> Result<u64> {
        let (orders, answers) = &mut *self.pipes.borrow_mut();
        writeln!(orders, "{order}").context("order something of the books")?;
        let mut line = String::new();
        answers.read_line(&mut line)?;
        line.trim().parse().with_context(|| format!("the books answer {line:?} to {order}"))
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        for child in [&mut self.filler, &mut self.service] {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The service as this machine has it: beside this program, or where Android has it.
fn service_program() -> Result<PathBuf> {
    let beside = std::env::current_exe()?.with_file_name("berth-allocator-service");
    let vendor = PathBuf::from("/vendor/bin/hw/vendor.berth.allocator-service");
    [beside, vendor].into_iter().find(|path| path.exists()).context("find the service's program")
}

fn start_service(folder: &Path, transport: &str, descriptors: u64) -> Result<Child> {
    let policy = folder.join("allocator.policy");
    // One uid has all of it.
    let text = format!(
        "limit reserve-bytes 1M\nlimit service-bytes 95%\nlimit uid-bytes 95%\n\
         limit uid-buffers {}\nlimit uid-sessions {}\n",
        descriptors.saturating_sub(NOT_LENT - 500),
        MANY_SESSIONS + 10
    );
    fs::write(&policy, text).context("a policy file")?;
    let script = format!("ulimit -n {descriptors} && exec \"$0\"");
    Command::new("sh")
        .args(["-c", &script])
        .arg(service_program()?)
        .env("BERTH_BINDER", transport)
        .env("BERTH_POLICY", policy)
        .env("RUST_LOG", "error")
        .stdin(Stdio::null())
        .spawn()
        .context("start a service for the books")
}

/// The role `books`: so much in the service with this pid; then one answer to each order.
pub fn role(sessions: usize, buffers: usize, service: u32) -> Result<()> {
    let allocator = Allocator::connect_within(Duration::from_secs(30))?;
    let mut books = Books::open(sessions)?;
    let before = memory(service)?;
    books.fill(buffers)?;
    let each = memory(service)?.saturating_sub(before) / buffers as u64;
    ensure!(allocator.stats()?.buffers as usize == buffers, "the books are not full");
    let session = allocator.open_session("bench")?;
    let mut slowest = Duration::ZERO;
    for order in io::stdin().lock().lines() {
        let answer = match order?.as_str() {
            "memory" => each,
            "slowest" => slowest.as_nanos() as u64,
            "allocate" => nanos(allocate(&session, || true)?.0),
            "spin" => nanos(beside(&session, spin)?.0),
            "dump" => {
                let (each, worst) = beside(&session, |_| dump(&allocator))?;
                slowest = slowest.max(worst);
                nanos(each)
            }
            other => bail!("the books cannot {other:?}"),
        };
        println!("{answer}");
    }
    Ok(())
}

fn nanos(time: Duration) -> u64 {
    time.as_nanos() as u64
}

/// Allocates and frees, so often and on until that is enough: how long each took, and the slowest.
fn allocate(session: &Session, enough: impl Fn() -> bool) -> Result<(Duration, Duration)> {
    let request = request();
    let (mut sum, mut slowest, mut count) = (Duration::ZERO, Duration::ZERO, 0);
    while count < ALLOCATIONS || !enough() {
        let began = Instant::now();
        session.allocate_one(&request)?;
        let took = began.elapsed();
        (sum, slowest, count) = (sum + took, slowest.max(took), count + 1);
    }
    Ok((sum / count, slowest))
}

/// The same while another thread does something, and until that is done.
fn beside(
    session: &Session,
    act: impl FnOnce(&AtomicBool) -> Result<()> + Send,
) -> Result<(Duration, Duration)> {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let other = scope.spawn(|| act(&stop));
        let began = Instant::now();
        let measured = allocate(session, || {
            // Who does not end by itself is told to after a while.
            stop.fetch_or(began.elapsed() > Duration::from_millis(200), Ordering::Relaxed);
            other.is_finished()
        });
        stop.store(true, Ordering::Relaxed);
        match other.join() {
            Ok(result) => result?,
            Err(_) => bail!("a thread panicked"),
        }
        measured
    })
}

/// Dumps once.
fn dump(allocator: &Allocator) -> Result<()> {
    let (reader, writer) = pipe()?;
    let reading = thread::spawn(move || io::copy(&mut File::from(reader), &mut io::sink()));
    allocator.dump(writer, &["--json"])?;
    let read = reading.join().ok().context("the reader panicked")??;
    ensure!(read > 0, "an empty dump");
    Ok(())
}

/// Takes a processor, as a dump does: what is left of the difference are locks.
fn spin(stop: &AtomicBool) -> Result<()> {
    while !stop.load(Ordering::Relaxed) {
        std::hint::spin_loop();
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

fn request() -> BufferRequest {
    BufferRequest::region(4096).name("bench")
}

/// Sessions with buffers whose descriptors nobody holds but the service: a client that held them all
/// would need as many as the service.
struct Books(Vec<Strong<dyn IAllocatorSession>>);

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
    fn open(sessions: usize) -> Result<Books> {
        let allocator: Strong<dyn IAllocator> = hal_binder::check_interface(SERVICE_NAME)?;
        let callback = hal_binder::new_binder!(BnAllocatorCallback, Deaf);
        let config = SessionConfig { name: "bench books".to_owned(), ..Default::default() };
        let open = |_| Ok(allocator.openSession(&config, &callback)?);
        (0..sessions).map(open).collect::<Result<_>>().map(Books)
    }

    /// Allocates so many in all sessions together, each about the same.
    fn fill(&mut self, buffers: usize) -> Result<()> {
        let descriptor = request().descriptor();
        let mut left = buffers;
        while left > 0 {
            for session in &self.0 {
                let count = BATCH.min(left);
                if count > 0 {
                    session.allocate(&descriptor, count as i32)?;
                    left -= count;
                }
            }
        }
        Ok(())
    }
}
