// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Payloads between processes, by an interface that only the tests have: the one end sends, the other
//! tells what it received.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure, Context, Result};
use berth_client::payload::{
    Payload, PayloadBuilder, PayloadParcel, PayloadSender, PayloadStream, PayloadView,
};
use berth_client::{BufferRequest, Error, Session};
use berth_end_to_end::protocol::{self, Answer, Lie, Road};
use berth_kernel::memfd::{Memfd, SealFlag};
use hal_binder::{Interface, ParcelFileDescriptor, ProcessState, Strong};
use nix::fcntl::{fcntl, FcntlArg};
use nix::sys::memfd::{memfd_create, MemFdCreateFlag};
use nix::unistd::ftruncate;
use rsbinder::BinderResult;

/// Under the allocator's prefix, so that the VM's service manager lets it register.
const NAME: &str = "vendor.berth.allocator.test/payloads";
/// The most that is taken.
const LIMIT: u64 = 64 << 20;
/// The most that is taken by who wants more.
const LARGE_LIMIT: u64 = 1 << 30;
const PATIENCE: Duration = Duration::from_secs(60);

/// Receives payloads.
#[rsbinder::interface(descriptor = "vendor.berth.test.IPayloads")]
trait IPayloads {
    /// What came, in words.
    fn take(&self, payload: &PayloadParcel) -> BinderResult<String>;
    /// The same of one that may be large.
    fn take_large(&self, payload: &PayloadParcel) -> BinderResult<String>;
    /// The same of all that came by this so far.
    fn take_more(&self, payload: &PayloadParcel) -> BinderResult<String>;
    /// Keeps it.
    fn keep(&self, payload: &PayloadParcel) -> BinderResult<()>;
    /// Lets go of what is kept.
    fn let_go(&self) -> BinderResult<()>;
    /// How many bytes came.
    fn swallow(&self, bytes: &[u8]) -> BinderResult<i64>;
}

#[derive(Default)]
struct Receiver {
    kept: Mutex<Vec<PayloadView<'static>>>,
    stream: Mutex<Sum>,
}

impl Interface for Receiver {}

impl IPayloads for Receiver {
    fn take(&self, payload: &PayloadParcel) -> BinderResult<String> {
        Ok(received(payload, LIMIT))
    }

    fn take_large(&self, payload: &PayloadParcel) -> BinderResult<String> {
        Ok(received(payload, LARGE_LIMIT))
    }

    fn take_more(&self, payload: &PayloadParcel) -> BinderResult<String> {
        let mut stream = lock(&self.stream);
        let view = PayloadView::open(payload, LIMIT);
        let added = view.and_then(|view| view.write_to(&mut *stream));
        Ok(added.map_or_else(|error| error.to_string(), |()| format!("{stream}")))
    }

    fn keep(&self, payload: &PayloadParcel) -> BinderResult<()> {
        if let Ok(view) = PayloadView::open(payload, LIMIT) {
            lock(&self.kept).push(view.into_owned());
        }
        Ok(())
    }

    fn let_go(&self) -> BinderResult<()> {
        lock(&self.kept).clear();
        Ok(())
    }

    fn swallow(&self, bytes: &[u8]) -> BinderResult<i64> {
        Ok(bytes.len() as i64)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn received(payload: &PayloadParcel, limit: u64) -> String {
    match PayloadView::open(payload, limit) {
        Ok(view) => told(&view).unwrap_or_else(|error| error.to_string()),
        Err(error) => error.to_string(),
    }
}

fn told(view: &PayloadView<'_>) -> Result<String> {
    let kind = match view {
        PayloadView::Inline(_) => "inline",
        PayloadView::Frozen(_) => "frozen",
        PayloadView::Live(_) => "live",
    };
    let mut sum = Sum::default();
    view.write_to(&mut sum)?;
    Ok(format!("{kind} {sum}"))
}

/// A sum that another order of the same bytes does not have.
#[derive(Debug, Default)]
struct Sum {
    bytes: u64,
    sum: u64,
    /// Bytes of a word that has not come whole.
    rest: Vec<u8>,
}

impl Sum {
    fn word(&mut self, word: [u8; 8]) {
        self.sum = self.sum.rotate_left(5).wrapping_add(u64::from_le_bytes(word));
    }
}

impl io::Write for Sum {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes += bytes.len() as u64;
        let missing = (8 - self.rest.len() % 8) % 8;
        let (first, others) = bytes.split_at(missing.min(bytes.len()));
        self.rest.extend_from_slice(first);
        if let Ok(word) = <[u8; 8]>::try_from(&self.rest[..]) {
            self.rest.clear();
            self.word(word);
        }
        let words = others.chunks_exact(8);
        self.rest.extend_from_slice(words.remainder());
        for word in words {
            self.word(word.try_into().unwrap_or_default());
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl std::fmt::Display for Sum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:016x}+{}", self.bytes, self.sum, self.rest.len())
    }
}

/// Bytes of which no block is like another.
struct Source {
    left: u64,
    block: Vec<u8>,
    number: u64,
    at: usize,
}

impl Source {
    fn of(bytes: u64) -> Source {
        let block = (0..1 << 16).map(|index: u32| ((index * 7) >> 3) as u8).collect();
        Source { left: bytes, block, number: 0, at: 0 }
    }
}

impl Read for Source {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.at == 0 {
            self.block[..8].copy_from_slice(&self.number.to_le_bytes());
            self.number += 1;
        }
        let left = usize::try_from(self.left).unwrap_or(usize::MAX);
        let length = into.len().min(self.block.len() - self.at).min(left);
        into[..length].copy_from_slice(&self.block[self.at..][..length]);
        self.at = (self.at + length) % self.block.len();
        self.left -= length as u64;
        Ok(length)
    }
}

fn bytes(length: usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(length);
    Source::of(length as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The sender's state.
#[derive(Default)]
pub struct Payloads {
    receiver: Option<Strong<dyn IPayloads>>,
    sender: PayloadSender,
}

impl Payloads {
    /// Does what is asked.
    pub fn answer(&mut self, ask: protocol::Payloads, session: Option<&Session>) -> Result<Answer> {
        use protocol::Payloads as Asked;
        Ok(match ask {
            Asked::Serve => {
                let receiver = BnPayloads::new_binder(Receiver::default());
                ProcessState::start_thread_pool();
                hal_binder::add_service::<BnPayloads, _>(NAME, &receiver)?;
                Answer::Done
            }
            Asked::Send(road, length) => {
                let payload = self.payload(road, length, session)?;
                Answer::Text(self.receiver()?.take(payload.parcel())?)
            }
            Asked::Whole(length) => {
                let mut builder = PayloadBuilder::with_capacity(length)?;
                io::copy(&mut Source::of(length), &mut builder)?;
                let payload = builder.finish()?;
                Answer::Text(self.receiver()?.take_large(payload.parcel())?)
            }
            Asked::SendBare(length) => {
                Answer::Text(match self.receiver()?.swallow(&bytes(length)?) {
                    Ok(length) => format!("{length} bytes"),
                    Err(status) => format!("{status}"),
                })
            }
            Asked::Stream(length) => {
                let (mut last, before) = (String::new(), peak_memory()?);
                let receiver = self.receiver()?.clone();
                PayloadStream::default().send(&mut Source::of(length), PATIENCE, |payload| {
                    last = receiver.take_more(payload).map_err(Error::from)?;
                    Ok(())
                })?;
                Answer::Text(format!("{last} {}", peak_memory()?.saturating_sub(before)))
            }
            Asked::SendToKeep(length) => {
                let payload = self.payload(Road::Again, length, session)?;
                self.receiver()?.keep(payload.parcel())?;
                Answer::Done
            }
            Asked::UseAgain(milliseconds) => {
                self.sender.await_receiver(Duration::from_millis(milliseconds))?;
                Answer::Done
            }
            Asked::LetGo => {
                self.receiver()?.let_go()?;
                Answer::Done
            }
            Asked::Lie(lie) => {
                let parcel = untrue(lie, session)?;
                Answer::Text(self.receiver()?.take(&parcel)?)
            }
            Asked::Sum(length) => {
                let mut sum = Sum::default();
                io::copy(&mut Source::of(length), &mut sum)?;
                Answer::Text(sum.to_string())
            }
        })
    }

    fn receiver(&mut self) -> Result<&Strong<dyn IPayloads>> {
        let began = Instant::now();
        while self.receiver.is_none() {
            match hal_binder::check_interface(NAME) {
                Ok(found) => self.receiver = Some(found),
                Err(error) if began.elapsed() > PATIENCE => bail!("nobody receives: {error}"),
                Err(_) => thread::yield_now(),
            }
        }
        self.receiver.as_ref().context("nobody receives")
    }

    fn payload(&mut self, road: Road, length: usize, session: Option<&Session>) -> Result<Payload> {
        let bytes = bytes(length)?;
        Ok(match road {
            Road::Bytes => Payload::from_bytes(&bytes)?,
            Road::Again => self.sender.payload(&bytes, PATIENCE)?,
            Road::OfTheService | Road::Revocable | Road::Purgeable | Road::WithDmaBuf => {
                let session = session.context("no session")?;
                let request = BufferRequest::region(length as u64 + 5);
                let request = match road {
                    Road::Revocable => request.revoke_on_death(),
                    Road::Purgeable => request.purgeable(),
                    Road::WithDmaBuf => request.heap("udmabuf").strict_heap(),
                    _ => request,
                };
                let region = session.allocate_one(&request)?;
                let mapped = region.map()?;
                mapped.begin_write()?.write(5, &bytes)?;
                drop(mapped);
                // Freed when this returns: the receiver's descriptor keeps the memory.
                let payload = Payload::in_region(&region, 5..)?;
                ensure!(matches!(region.map(), Err(Error::ReadOnly(_))), "it is not read-only");
                region.seal()?;
                payload
            }
        })
    }
}

fn untrue(lie: Lie, session: Option<&Session>) -> Result<PayloadParcel> {
    let (region, offset, length): (OwnedFd, i64, i64) = match lie {
        Lie::Unsealed => (memfd(100_000)?, 0, 100_000),
        Lie::Shrunk => {
            let fd = memfd(100_000)?;
            ftruncate(&fd, 10)?;
            fcntl(fd.as_raw_fd(), FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_SHRINK))?;
            (fd, 0, 100_000)
        }
        Lie::Length => (Memfd::create_to_seal("short", 100_000)?.into(), 1, 100_000),
        Lie::Negative => (Memfd::create_to_seal("negative", 100_000)?.into(), -1, 10),
        Lie::Sparse => {
            let memfd = Memfd::create_to_seal("sparse", 1 << 40)?;
            memfd.freeze()?;
            (memfd.into(), 0, 1 << 40)
        }
        Lie::Directory => (File::open("/")?.into(), 0, 10),
        Lie::Socket => (UnixStream::pair()?.0.into(), 0, 10),
        Lie::Buffer => {
            let session = session.context("no session")?;
            let buffer = session.allocate_one(&BufferRequest::linear(4096))?;
            (buffer.as_fd().try_clone_to_owned()?, 0, 4097)
        }
    };
    Ok(PayloadParcel {
        region: Some(ParcelFileDescriptor::new(region)),
        offsetBytes: offset,
        lengthBytes: length,
        ..PayloadParcel::default()
    })
}

fn memfd(bytes: i64) -> Result<OwnedFd> {
    let fd = memfd_create(c"loose", MemFdCreateFlag::MFD_ALLOW_SEALING)?;
    ftruncate(&fd, bytes)?;
    Ok(fd)
}

/// The most memory that this process ever had, in bytes (`VmHWM`, proc(5)).
fn peak_memory() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("VmHWM")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib << 10)
}
