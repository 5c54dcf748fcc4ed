// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! The client: a session through the client library, and the bare interface beside it for requests
//! that the library cannot express.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::AsFd;
use std::sync::mpsc::{channel, Receiver, Sender};
use std::thread;
use std::time::Duration;

use anyhow::{bail, ensure, Context, Result};
use berth_client::{
    Access, Allocator, Buffer, BufferRequest, Error, ForeignMemory, PressureLevel, RefusalCode,
    Session, SessionEvents, SessionOptions, SharePermit, Token,
};
use berth_end_to_end::chance::Chance;
use berth_end_to_end::pools::AskPool;
use berth_end_to_end::protocol::{
    Answer, Ask, Attempt, Capabilities, Figures, Forgery, Handle, Held, Purge, Restart,
};
use berth_kernel::mapping::{Mapping, ReadOnly};
use berth_kernel::thread_priority::lower_priority_of_this_thread;
use hal_binder::Strong;
use vendor_berth_allocator::aidl::vendor::berth::allocator::IAllocatorSession::IAllocatorSession;

use crate::crowd::Crowd;
use crate::drivers::Drivers;
use crate::fork::do_in_child;
use crate::hold::Holder;
use crate::late_mapping::drop_amid_mappings;
use crate::memory::Memory;
use crate::payload::Payloads;
use crate::pinners::kill_pinners;
use crate::pools::{kill_mills, Pools};
use crate::purgeable::Purging;
use crate::restart::{self, news, News, Tell};
use crate::storm::Stormer;
use crate::sweep::sweep;
use crate::{attempt, churn, kernel, pools, wire};

/// How long the service may take to come up.
const FINDING: Duration = Duration::from_secs(30);
/// As much as the service's threads in the background give way.
const NICE: i32 = 10;

/// The client's state.
#[derive(Default)]
pub struct Client {
    allocator: Option<Allocator>,
    session: Option<Open>,
    buffers: HashMap<Handle, Buffer>,
    seconds: HashMap<Handle, ForeignMemory>,
    kept: Option<Mapping<ReadOnly>>,
    next: Handle,
    drivers: Drivers,
    stormer: Stormer,
    crowd: Crowd,
    holder: Holder,
    payloads: Payloads,
    pools: Pools,
    /// What it takes part with in pools of which it has hidden the slots.
    hiding: Vec<Strong<dyn IAllocatorSession>>,
    purging: Purging,
}

struct Open {
    session: Session,
    gone: Receiver<Vec<i64>>,
    pressure: Receiver<PressureLevel>,
    news: News,
}

/// What the session is told goes to whoever asks for it.
struct Events {
    gone: Sender<Vec<i64>>,
    pressure: Sender<PressureLevel>,
    tell: Tell,
}

impl SessionEvents for Events {
    fn shared_gone(&self, ids: &[i64]) {
        // Nobody asks any more only when the session is over.
        let _ = self.gone.send(ids.to_vec());
    }

    fn pressure(&self, level: PressureLevel) {
        let _ = self.pressure.send(level);
    }

    fn lost(&self) {
        self.tell.lost();
    }

    fn restored(&self, outcome: &berth_client::Restored) {
        self.tell.restored(outcome);
    }

    fn gave_up(&self) {
        self.tell.gave_up();
    }
}

impl Client {
    /// Does what is asked.
    pub fn answer(&mut self, ask: Ask) -> Result<Answer> {
        Ok(match ask {
            Ask::Open(name) => {
                self.open(name.as_str().into())?;
                Answer::Done
            }
            Ask::OpenWithin(bytes, buffers) => {
                self.open(SessionOptions {
                    name: "modest".to_owned(),
                    max_bytes: Some(bytes as u64),
                    max_buffers: Some(buffers as u32),
                    ..SessionOptions::default()
                })?;
                Answer::Done
            }
            Ask::OpenUntilRefused => {
                let allocator = self.allocator()?.clone();
                let mut sessions = Vec::new();
                loop {
                    match allocator.open_session("one of many") {
                        Ok(session) => sessions.push(session),
                        Err(error) if sessions.is_empty() => return Err(error.into()),
                        Err(Error::Refused { code: RefusalCode::TOO_MANY_SESSIONS, .. }) => {
                            break Answer::Count(sessions.len());
                        }
                        Err(error) => return Err(error.into()),
                    }
                }
            }
            Ask::Capabilities => {
                let found = self.allocator()?.capabilities()?;
                Answer::Capabilities(Capabilities {
                    heaps: found.heaps.into_iter().map(wire::heap).collect(),
                    formats: found.formats.iter().map(|format| format.0).collect(),
                    usage: found.supportedUsage,
                    flags: found.supportedFlags,
                    max_buffer: found.maxBufferBytes,
                    max_session: found.maxSessionBytes,
                    max_session_buffers: found.maxSessionBuffers,
                    max_sessions_per_uid: found.maxSessionsPerUid,
                })
            }
            Ask::IsSupported(descriptor) => {
                let descriptor = wire::descriptor(&descriptor);
                Answer::Yes(self.allocator()?.is_descriptor_supported(&descriptor)?)
            }
            Ask::Allocate(descriptor, count) => {
                let buffers =
                    self.session()?.allocate_descriptor(wire::descriptor(&descriptor), count)?;
                Answer::Held(buffers.into_iter().map(|buffer| self.keep(buffer)).collect())
            }
            Ask::Churn(descriptor, threads, rounds) => {
                let session = self.session()?;
                let descriptor = wire::descriptor(&descriptor);
                thread::scope(|scope| {
                    let work = || -> Result<()> {
                        for _ in 0..rounds {
                            for buffer in session.allocate_descriptor(descriptor.clone(), 1)? {
                                let mapped = buffer.map()?;
                                let access = mapped.begin_write()?;
                                access.fill(0, mapped.size(), 0x5a)?;
                                access.end()?;
                            }
                        }
                        Ok(())
                    };
                    let all: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
                    all.into_iter().try_for_each(|one| match one.join() {
                        Ok(result) => result,
                        Err(_) => bail!("a thread panicked"),
                    })
                })?;
                Answer::Done
            }
            Ask::Free(ids) => {
                self.session()?.free_ids(&ids)?;
                Answer::Done
            }
            Ask::Drop(handle) => {
                let buffer = self.buffers.remove(&handle).is_some();
                ensure!(buffer || self.seconds.remove(&handle).is_some(), "no such buffer here");
                Answer::Done
            }
            Ask::Forget(handle) => {
                let buffer = self.buffers.remove(&handle).context("no such buffer here")?;
                buffer.forget();
                Answer::Done
            }
            Ask::DropAmidMappings(handles, seed) => {
                let buffers = handles.iter().map(|handle| self.buffers.remove(handle));
                let buffers: Option<Vec<_>> = buffers.collect();
                let buffers = buffers.context("no such buffer here")?;
                drop_amid_mappings(buffers, &mut Chance::new(seed))?;
                Answer::Done
            }
            Ask::Lock(handle, count) => {
                kernel::lock(self.memory(handle)?.as_fd(), count)?;
                Answer::Done
            }
            Ask::KeepMapped(handle) => {
                let memory = self.memory(handle)?;
                self.kept = Some(Mapping::new(memory.as_fd(), memory.size()?)?);
                Answer::Done
            }
            Ask::ReadKept(length) => {
                let mut bytes = vec![0; length];
                self.kept.as_ref().context("nothing is kept")?.read(0, &mut bytes)?;
                Answer::Bytes(bytes)
            }
            Ask::Unmap => {
                self.kept = None;
                Answer::Done
            }
            Ask::Get(id, read_only) => {
                let buffer = self.session()?.get(id, access(read_only))?;
                Answer::Held(vec![self.keep(buffer)])
            }
            Ask::List => Answer::Infos(self.session()?.list()?.iter().map(wire::info).collect()),
            Ask::Share(handle, uid, uses, milliseconds, read_only) => {
                let permit = SharePermit {
                    recipient_uid: uid as u32,
                    uses: uses as u32,
                    lifetime: Duration::from_millis(milliseconds as u64),
                    access: access(read_only),
                };
                Answer::Token(self.session()?.share(self.buffer(handle)?, permit)?.0)
            }
            Ask::Acquire(token) => {
                let buffer = self.session()?.acquire(Token(token))?;
                Answer::Held(vec![self.keep(buffer)])
            }
            Ask::Write(handle, offset, bytes) => {
                let mapped = self.memory(handle)?.map()?;
                let access = mapped.begin_write()?;
                access.write(offset, &bytes)?;
                access.end()?;
                Answer::Done
            }
            Ask::Seal(handle) => {
                self.buffer(handle)?.seal()?;
                Answer::Done
            }
            Ask::SealWhileMapped(handle, bytes) => {
                let buffer = self.buffer(handle)?;
                let mapped = buffer.map()?;
                buffer.seal()?;
                let access = mapped.begin_write()?;
                access.write(0, &bytes)?;
                access.end()?;
                Answer::Done
            }
            Ask::Second(handle) => {
                let fd = self.buffer(handle)?.second_fd().context("no second descriptor")?;
                let second = ForeignMemory::adopt(fd.try_clone_to_owned()?)?;
                self.next += 1;
                self.seconds.insert(self.next, second);
                Answer::Count(self.next as usize)
            }
            Ask::Sweep => Answer::Sweep(sweep(&self.allocator()?.clone(), &self.session()?)?),
            Ask::Fill(handle, offset, length, value) => {
                let mapped = self.memory(handle)?.map()?;
                let access = mapped.begin_write()?;
                access.fill(offset, length, value)?;
                access.end()?;
                Answer::Done
            }
            Ask::Read(handle, offset, length) => {
                Answer::Bytes(self.read(handle, offset, Some(length))?)
            }
            Ask::ReadRange(handle, range, offset, length) => {
                let mapped = self.buffer(handle)?.map_range_read_only(range)?;
                let mut bytes = vec![0; length];
                let access = mapped.begin_read()?;
                access.read(offset, &mut bytes)?;
                access.end()?;
                Answer::Bytes(bytes)
            }
            Ask::AllBytesAre(handle, value) => {
                Answer::Yes(self.read(handle, 0, None)?.iter().all(|byte| *byte == value))
            }
            Ask::NestAccess(handle) => {
                let mapped = self.buffer(handle)?.map()?;
                let outer = mapped.begin_write()?;
                let inner = mapped.begin_read()?;
                inner.end()?;
                outer.write(0, b"still open")?;
                outer.end()?;
                Answer::Done
            }
            Ask::Proof(handle) => Answer::Proof(kernel::proof(&self.memory(handle)?)?),
            Ask::SealAlone(handle) => {
                let errno = kernel::seal_future_writes(self.memory(handle)?.as_fd());
                Answer::Count(usize::try_from(errno)?)
            }
            Ask::WriteRoads(handle) => {
                Answer::WriteRoads(kernel::write_roads(&self.memory(handle)?)?)
            }
            Ask::SessionFigures => {
                let stats = self.session()?.stats()?;
                Answer::Figures(Figures {
                    sessions: 1,
                    buffers: stats.buffers,
                    bytes: stats.bytes,
                    others: stats.acquired,
                    ..Figures::default()
                })
            }
            Ask::ServiceFigures => {
                let stats = self.allocator()?.stats()?;
                Answer::Figures(Figures {
                    sessions: stats.sessions,
                    buffers: stats.buffers,
                    bytes: stats.bytes,
                    others: stats.tokens,
                    pools: stats.pools,
                    refusals: stats.refusals,
                    abandoned: stats.abandonedSessions,
                    lingering: stats.lingeringBuffers,
                    idle: stats.idleBuffers,
                    cleared: stats.clearedBuffers,
                    recycled: stats.recycledBuffers,
                    taken_back: stats.abandonedBuffers,
                    purgeable: stats.purgeableBytes,
                    purged: stats.purgedBytes,
                })
            }
            Ask::Dump(args) => {
                let (reader, writer) = nix::unistd::pipe()?;
                let args: Vec<&str> = args.iter().map(String::as_str).collect();
                // A dump is longer than a pipe holds.
                let reading = thread::spawn(move || {
                    let mut text = String::new();
                    File::from(reader).read_to_string(&mut text).map(|_| text)
                });
                self.allocator()?.dump(writer, &args)?;
                let text = reading.join().ok().context("the reader panicked")??;
                Answer::Text(text)
            }
            Ask::DumpIntoFullPipe => {
                let (_unread, writer) = kernel::full_pipe()?;
                self.allocator()?.dump(writer, &[])?;
                Answer::Done
            }
            Ask::AwaitGone(milliseconds) => {
                let open = self.session.as_ref().context("no session")?;
                Answer::Ids(open.gone.recv_timeout(Duration::from_millis(milliseconds))?)
            }
            Ask::AwaitPressure(milliseconds) => {
                let open = self.session.as_ref().context("no session")?;
                let level = open.pressure.recv_timeout(Duration::from_millis(milliseconds))?;
                Answer::Count(level.0 as usize)
            }
            Ask::Trim => Answer::Count(self.session()?.trim()? as usize),
            Ask::GiveWay => {
                lower_priority_of_this_thread(NICE)?;
                Answer::Done
            }
            Ask::OpenDescriptors => Answer::Count(fs::read_dir("/proc/self/fd")?.count()),
            Ask::Close => {
                self.session()?.close()?;
                Answer::Done
            }
            Ask::DropSession => {
                self.pools = Pools::default();
                self.buffers.clear();
                self.seconds.clear();
                self.session = None;
                Answer::Done
            }
            Ask::DropInChild => {
                do_in_child(|| {
                    self.check_that_all_is_refused()?;
                    drop(std::mem::take(self));
                    Ok(())
                })?;
                Answer::Done
            }
            Ask::Fences(ask) => self.drivers.fences(ask, &self.buffers)?,
            Ask::Vgem(ask) => self.drivers.vgem(ask, &self.buffers)?,
            Ask::SwSync(ask) => self.drivers.sw_sync(ask)?,
            Ask::Vkms(ask) => self.drivers.vkms(ask, &self.buffers)?,
            Ask::Storm(ask) => {
                let allocator = self.allocator()?.clone();
                Answer::Stormed(self.stormer.storm(&allocator, ask)?)
            }
            Ask::KillCycles(ask) => Answer::Count(churn::kill_cycles(&ask)?),
            Ask::Crowd(ask) => {
                let allocator = self.allocator()?.clone();
                Answer::Count(self.crowd.answer(&allocator, ask)?)
            }
            Ask::Payload(ask) => {
                let session = self.session.as_ref().map(|open| &open.session);
                self.payloads.answer(ask, session)?
            }
            Ask::Look(ask) => self.drivers.look(ask, &self.buffers)?,
            Ask::Pool(AskPool::KillMills(tokens, cycles, at_once)) => {
                Answer::Count(kill_mills(&tokens, cycles, at_once)?)
            }
            Ask::Pool(AskPool::Scribble(token, words, seed, lies)) => {
                // A client whose session ends with the answer.
                pools::scribble(token, words, seed, lies)?;
                Answer::Done
            }
            Ask::Pool(AskPool::Hide(token)) => {
                self.hiding.push(pools::hide(token)?);
                Answer::Done
            }
            Ask::Pool(ask) => self.pools.answer(&self.session()?, ask)?,
            Ask::Restart(ask) => self.restart(ask)?,
            Ask::Purge(Purge::Region(handle, priority)) => {
                let buffer = self.buffers.remove(&handle).context("no such buffer here")?;
                self.purging.keep(handle, buffer, priority)?;
                Answer::Done
            }
            Ask::Purge(Purge::Cache(bytes, heap)) => {
                self.purging.make_cache(&self.session()?, bytes, heap)?;
                Answer::Done
            }
            Ask::Purge(Purge::KillPinners(tokens, count, at_once)) => {
                Answer::Count(kill_pinners(&tokens, count, at_once)?)
            }
            Ask::Purge(ask) => self.purging.answer(ask)?,
            Ask::Hold(ask) => Answer::Count(self.holder.answer(ask, &self.buffers)? as usize),
            Ask::Attempt(ask) => self.attempt(ask)?,
        })
    }

    fn attempt(&self, ask: Attempt) -> Result<Answer> {
        let fd = |handle| self.holder.descriptor(handle, &self.buffers);
        let errno = match ask {
            Attempt::Find => return attempt::find().map(|()| Answer::Done),
            Attempt::Register => return attempt::register().map(|()| Answer::Done),
            Attempt::Open(path, access) => attempt::open_file(&path, access),
            Attempt::OpenAgain(handle, access) => attempt::open_again(fd(handle)?, access),
            Attempt::Map(handle, access) => attempt::map(fd(handle)?, access)?,
        };
        Ok(Answer::Count(usize::try_from(errno)?))
    }

    fn open(&mut self, options: SessionOptions) -> Result<()> {
        let ((tell_gone, gone), (tell_pressure, pressure)) = (channel(), channel());
        let (tell, news) = news();
        let events = Events { gone: tell_gone, pressure: tell_pressure, tell };
        let session = self.allocator()?.open_session_with(options, events)?;
        self.session = Some(Open { session, gone, pressure, news });
        Ok(())
    }

    fn restart(&mut self, ask: Restart) -> Result<Answer> {
        let news = || Ok::<_, anyhow::Error>(&self.session.as_ref().context("no session")?.news);
        Ok(match ask {
            Restart::Open(name, milliseconds) => {
                let reconnect_within = Duration::from_millis(milliseconds);
                self.open(SessionOptions { reconnect_within, ..name.as_str().into() })?;
                Answer::Done
            }
            Restart::AwaitLost => {
                news()?.await_lost()?;
                Answer::Done
            }
            Restart::AwaitRestored => Answer::Restored(news()?.await_restored()?),
            Restart::AwaitGivenUp => {
                news()?.await_given_up()?;
                Answer::Done
            }
            Restart::Threads => Answer::Count(restart::threads()?),
            Restart::Forge(handle, forgery) => {
                let other = match forgery {
                    Forgery::Other(other) => Some(self.buffer(other)?),
                    _ => None,
                };
                let error = restart::forge(self.buffer(handle)?, other, &forgery)?;
                Answer::Count(error as usize)
            }
        })
    }

    fn allocator(&mut self) -> Result<&Allocator> {
        if self.allocator.is_none() {
            self.allocator = Some(Allocator::connect_within(FINDING)?);
        }
        self.allocator.as_ref().context("no allocator")
    }

    /// In a child that was forked.
    fn check_that_all_is_refused(&self) -> Result<()> {
        let session = self.session()?;
        let refusals = [
            self.allocator.as_ref().context("no allocator")?.stats().err(),
            session.stats().err(),
            session.allocate_one(&BufferRequest::region(4096)).err(),
            session.close().err(),
        ];
        let refused = refusals.iter().all(|error| matches!(error, Some(Error::Forked)));
        ensure!(refused, "{refusals:?}");
        self.pools.check_that_all_is_refused()?;
        self.purging.check_that_all_is_refused()
    }

    fn session(&self) -> Result<Session> {
        let open = self.session.as_ref().context("no session")?;
        Ok(open.session.clone())
    }

    fn buffer(&self, handle: Handle) -> Result<&Buffer> {
        let buffer = self.buffers.get(&handle).or_else(|| self.purging.buffer(handle));
        buffer.context("no such buffer here")
    }

    fn memory(&self, handle: Handle) -> Result<Memory<'_>> {
        match self.seconds.get(&handle) {
            Some(second) => Ok(Memory::Second(second)),
            None => Ok(Memory::Buffer(self.buffer(handle)?)),
        }
    }

    fn keep(&mut self, buffer: Buffer) -> Held {
        self.next += 1;
        let held = Held { handle: self.next, info: wire::info(&buffer.info()) };
        self.buffers.insert(self.next, buffer);
        held
    }

    fn read(&self, handle: Handle, offset: usize, length: Option<usize>) -> Result<Vec<u8>> {
        let mapped = self.memory(handle)?.map_read_only()?;
        let mut bytes = vec![0; length.unwrap_or(mapped.size())];
        ensure!(!bytes.is_empty(), "nothing to read");
        let access = mapped.begin_read()?;
        access.read(offset, &mut bytes)?;
        access.end()?;
        Ok(bytes)
    }
}

fn access(read_only: bool) -> Access {
    if read_only {
        Access::READ_ONLY
    } else {
        Access::READ_WRITE
    }
}
