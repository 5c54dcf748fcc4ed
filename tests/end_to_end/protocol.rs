// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! What a test asks of a client's process, and what it answers: one line of JSON each way.

use std::ops::Range;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::pools::{AskPool, PoolAnswer};

/// A buffer that the client holds, by a number of its own.
pub type Handle = u64;

/// What to allocate, as the interface carries it, so that a test can ask for nonsense too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Descriptor {
    /// The form.
    pub shape: Shape,
    /// For people.
    pub name: String,
    /// Bits of `BufferUsage`.
    pub usage: i64,
    /// A heap by name.
    pub heap: Option<String>,
    /// Bits of `AllocationFlag`.
    pub flags: i32,
    /// Options by name, and their values.
    pub options: Vec<(String, i64)>,
}

/// The form of a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Shape {
    /// Bytes.
    Linear(i64),
    /// Bytes.
    Region(i64),
    /// Width, height, layers and pixel format.
    Image(i32, i32, i32, i32),
}

impl Descriptor {
    fn new(shape: Shape) -> Descriptor {
        // Read and written often by the CPU.
        let (name, usage) = ("test".to_owned(), 0x33);
        Descriptor { shape, name, usage, heap: None, flags: 0, options: Vec::new() }
    }

    /// A linear buffer.
    pub fn linear(bytes: i64) -> Descriptor {
        Descriptor::new(Shape::Linear(bytes))
    }

    /// A region.
    pub fn region(bytes: i64) -> Descriptor {
        Descriptor::new(Shape::Region(bytes))
    }

    /// An image of one layer.
    pub fn image(width: i32, height: i32, format: i32) -> Descriptor {
        Descriptor::new(Shape::Image(width, height, 1, format))
    }

    /// The same with a name.
    pub fn named(self, name: impl Into<String>) -> Descriptor {
        Descriptor { name: name.into(), ..self }
    }

    /// The same from a heap.
    pub fn from_heap(self, heap: &str) -> Descriptor {
        Descriptor { heap: Some(heap.to_owned()), ..self }
    }

    /// The same with flags.
    pub fn with_flags(self, flags: i32) -> Descriptor {
        Descriptor { flags, ..self }
    }

    /// The same with an option.
    pub fn with_option(mut self, name: &str, value: i64) -> Descriptor {
        self.options.push((name.to_owned(), value));
        self
    }

    /// The same for a usage.
    pub fn for_usage(self, usage: i64) -> Descriptor {
        Descriptor { usage, ..self }
    }
}

/// A plane of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plane {
    /// Bytes.
    pub offset: i64,
    /// Bytes.
    pub stride: i64,
    /// Rows.
    pub height: i64,
    /// Bytes.
    pub size: i64,
}

/// What the service says of a buffer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Info {
    /// The id in the session.
    pub id: i64,
    /// What was asked for.
    pub descriptor: Descriptor,
    /// Bytes asked for.
    pub size: i64,
    /// Bytes given.
    pub allocation: i64,
    /// The heap that served.
    pub heap: String,
    /// Whether it is a dma-buf.
    pub dma_buf: bool,
    /// `st_dev`.
    pub device: i64,
    /// `st_ino`.
    pub inode: i64,
    /// `BufferInfo.FLAG_…`.
    pub flags: i32,
    /// `BufferInfo.receipt`.
    pub receipt: i64,
    /// Whether it may only be read.
    pub read_only: bool,
    /// From one layer of an image to the next, in bytes.
    pub layer_stride: i64,
    /// Planes of an image.
    pub planes: Vec<Plane>,
}

/// A buffer that the client holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// How the test names it.
    pub handle: Handle,
    /// What the service says of it.
    pub info: Info,
}

/// What the kernel says of a buffer that the client holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// `st_dev` and `st_ino`.
    pub identity: (u64, u64),
    /// The target of the link in `/proc/self/fd`.
    pub link: String,
    /// Size, holders, exporter and name from fdinfo, of a dma-buf.
    pub dma_buf: Option<(u64, u64, String, Option<String>)>,
    /// The name of the mapping in `/proc/self/maps`.
    pub mapped_as: String,
    /// Whether the descriptor closes on exec.
    pub close_on_exec: bool,
    /// `F_GET_SEALS`, of a memfd.
    pub seals: Option<i32>,
    /// Bytes of its pages that are there, of a memfd: those that somebody has touched.
    pub touched: i64,
}

/// Roads to a writable mapping, and the errno at the end of each; 0 is success.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriteRoads {
    /// `mmap` with `PROT_WRITE`.
    pub map: i32,
    /// `open("/proc/self/fd/N", O_RDWR)`.
    pub reopen: i32,
    /// `write`.
    pub write: i32,
    /// `ftruncate` to twice the size.
    pub grow: i32,
}

/// Figures of a session or of the service.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figures {
    /// Open sessions; 1 for a session.
    pub sessions: i32,
    /// Buffers.
    pub buffers: i32,
    /// Bytes.
    pub bytes: i64,
    /// Open tokens of the service, or acquired buffers of a session.
    pub others: i32,
    /// Pools; 0 for a session.
    pub pools: i32,
    /// Refused calls since the service started; 0 for a session.
    pub refusals: i64,
    /// Sessions that ended without close; 0 for a session.
    pub abandoned: i64,
    /// Buffers that were given up and are held by somebody; 0 for a session.
    pub lingering: i32,
    /// Buffers that wait to be used again; 0 for a session.
    pub idle: i32,
    /// Of those, buffers that are cleared; 0 for a session.
    pub cleared: i32,
    /// Buffers that were used again since the service started; 0 for a session.
    pub recycled: i64,
    /// Buffers that their clients forgot, since the service started; 0 for a session.
    pub taken_back: i64,
    /// Bytes of purgeable regions; 0 for a session.
    pub purgeable: i64,
    /// Bytes that were purged since the service started; 0 for a session.
    pub purged: i64,
}

/// What came of asking for everything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sweep {
    /// Requests made.
    pub asked: usize,
    /// Requests granted.
    pub allocated: usize,
    /// Where the service did not do what it had said.
    pub wrong: Vec<String>,
}

/// A heap, as the service tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeapTold {
    /// Its name.
    pub name: String,
    /// A value of `HeapClass`.
    pub class: i32,
    /// Whether it gives dma-bufs.
    pub dma_buf: bool,
    /// Whether descriptors that only read can be had.
    pub read_only: bool,
    /// Bytes.
    pub max_buffer: i64,
}

/// What the service can do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// The preferred one first.
    pub heaps: Vec<HeapTold>,
    /// Numbers of `PixelFormat`.
    pub formats: Vec<i32>,
    /// Bits of `BufferUsage`.
    pub usage: i64,
    /// Bits of `AllocationFlag`.
    pub flags: i32,
    /// Bytes.
    pub max_buffer: i64,
    /// Bytes.
    pub max_session: i64,
    /// How many.
    pub max_session_buffers: i32,
    /// How many.
    pub max_sessions_per_uid: i32,
}

/// A fence that the client holds as a sync file, by a number of its own.
pub type FenceHandle = u64;

/// What has become of a fence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FenceState {
    /// A device is at work still.
    Pending,
    /// Done.
    Signalled,
    /// Over, with this errno.
    Failed(i32),
}

/// What the kernel says of a sync file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fence {
    /// For people.
    pub name: String,
    /// Of all of it.
    pub state: FenceState,
    /// Of each fence in it: the driver, the timeline, the state, and when it was over.
    pub parts: Vec<(String, String, FenceState, Option<Duration>)>,
    /// When all of it was over. All times are of `CLOCK_MONOTONIC`.
    pub over_at: Option<Duration>,
}

/// What a test asks of fences.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fences {
    /// Export those of a buffer, as a writer of it waits for them or as a reader.
    Of(Handle, bool),
    /// Import one into a buffer, as a writer's or as a reader's.
    Into(FenceHandle, Handle, bool),
    /// Make one of two, under a name.
    Merge(FenceHandle, FenceHandle, String),
    /// Wait for one, at most so many milliseconds, and say what has become of it.
    Await(FenceHandle, u64),
}

/// What a test asks of vgem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Vgem {
    /// Take a buffer.
    Import(Handle),
    /// Give out a descriptor of what it took, and say what memory that is.
    Export(Handle),
    /// Go to work on the buffer, writing it or reading it.
    Attach(Handle, bool),
    /// Be done with it.
    Signal(Handle),
    /// Let go of the buffer.
    Drop(Handle),
}

/// What a test asks of sw_sync.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SwSync {
    /// Make a fence that is signalled when the timeline reaches a value; it begins at 0.
    Fence(u32),
    /// Move the timeline on.
    Advance(u32),
    /// Close the timeline.
    Close,
}

/// An image as a display is told of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Picture {
    /// The buffer.
    pub handle: Handle,
    /// The code of `drm_fourcc.h`.
    pub fourcc: u32,
    /// Width and height in pixels.
    pub size: (u16, u16),
    /// Offset and stride of each plane, in bytes.
    pub planes: Vec<(u32, u32)>,
}

/// What a test asks of vkms.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Vkms {
    /// The formats that it can show, by the codes of `drm_fourcc.h`.
    Formats,
    /// Show the one and write what is seen into the other.
    Show(Picture, Picture),
}

/// What a test asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ask {
    /// Live through the death of the service.
    Restart(Restart),
    /// Find the service and open a session of this name.
    Open(String),
    /// Find the service and open a session with limits of its own, in bytes and buffers.
    OpenWithin(i64, i32),
    /// Find the service and open sessions without end, until one is refused.
    OpenUntilRefused,
    /// What can the service do?
    Capabilities,
    /// Can this ever succeed?
    IsSupported(Descriptor),
    /// Allocate so many.
    Allocate(Descriptor, i32),
    /// Allocate and drop, in so many threads, so often each.
    Churn(Descriptor, usize, usize),
    /// Free by ids.
    Free(Vec<i64>),
    /// Drop a buffer, which frees it.
    Drop(Handle),
    /// Close the descriptors of a buffer and do not free it.
    Forget(Handle),
    /// Drop buffers, which frees them, while others map them and write; the seed of chance.
    DropAmidMappings(Vec<Handle>, u64),
    /// Put so many locks on the open file of a buffer, which is the service's too.
    Lock(Handle, usize),
    /// Map a buffer to read and keep that mapping beyond the buffer.
    KeepMapped(Handle),
    /// Read so many bytes through the mapping that is kept.
    ReadKept(usize),
    /// Unmap what is kept.
    Unmap,
    /// A further descriptor, read-only or not.
    Get(i64, bool),
    /// All buffers of the session.
    List,
    /// Share with a uid, so often, for so many milliseconds, read-only or not.
    Share(Handle, i32, i32, i64, bool),
    /// Acquire by token.
    Acquire([u8; 16]),
    /// Write these bytes at an offset, under CPU access.
    Write(Handle, usize, Vec<u8>),
    /// Seal a region.
    Seal(Handle),
    /// Seal a region against writing from now on without the service: the errno, 0 if it succeeds.
    SealAlone(Handle),
    /// Map a region, seal it, and write these bytes through the mapping that was there before.
    SealWhileMapped(Handle, Vec<u8>),
    /// The second descriptor of a buffer, under a handle of its own.
    Second(Handle),
    /// Everything that can be asked for, one after the other.
    Sweep,
    /// Set bytes from an offset to a value, under CPU access.
    Fill(Handle, usize, usize, u8),
    /// Read so many bytes from an offset, under CPU access.
    Read(Handle, usize, usize),
    /// Map a range of the bytes to read only, and read so many from an offset in it, under CPU access.
    ReadRange(Handle, Range<u64>, usize, usize),
    /// Whether all bytes have this value.
    AllBytesAre(Handle, u8),
    /// Begin twice, end twice, and end a third time.
    NestAccess(Handle),
    /// What does the kernel say?
    Proof(Handle),
    /// Try to write what may only be read.
    WriteRoads(Handle),
    /// What the session holds.
    SessionFigures,
    /// What the service holds.
    ServiceFigures,
    /// The dump.
    Dump(Vec<String>),
    /// The dump, into a pipe that is full and that nobody reads.
    DumpIntoFullPipe,
    /// Ids of shared buffers whose owners are gone, as soon as there are any, within milliseconds.
    AwaitGone(u64),
    /// The next level of memory pressure that the session is told, within milliseconds.
    AwaitPressure(u64),
    /// Give back what is kept idle of this uid's; how many bytes?
    Trim,
    /// Let others go first from now on, as the service's own threads in the background do.
    GiveWay,
    /// How many descriptors this process has open.
    OpenDescriptors,
    /// Close the session.
    Close,
    /// Drop the session and all buffers.
    DropSession,
    /// Fork a child that tries to use what this process has, and then drops its copies of all of it.
    DropInChild,
    /// Of a buffer, or by themselves.
    Fences(Fences),
    /// A driver that takes buffers.
    Vgem(Vgem),
    /// A driver that makes fences.
    SwSync(SwSync),
    /// A display.
    Vkms(Vkms),
    /// Do many things by chance, and say what came of it.
    Storm(Storm),
    /// Start processes that hold buffers, and kill them.
    KillCycles(KillCycles),
    /// Take what can be had, or work beside somebody who does.
    Crowd(Crowd),
    /// Hold memory in ways that the service cannot see.
    Hold(Hold),
    /// Look at memory as a CPU that has to wait for devices, or at an image.
    Look(Look),
    /// Take part in pools.
    Pool(AskPool),
    /// Send payloads, or receive them.
    Payload(Payloads),
    /// Regions whose contents may go.
    Purge(Purge),
    /// Do what SELinux may deny.
    Attempt(Attempt),
}

/// What the client answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// See the question.
    Restored(Restored),
    /// Nothing more to say.
    Done,
    /// See the question.
    Held(Vec<Held>),
    /// See the question.
    Infos(Vec<Info>),
    /// See the question.
    Capabilities(Capabilities),
    /// See the question.
    Sweep(Sweep),
    /// See the question.
    Yes(bool),
    /// See the question.
    Token([u8; 16]),
    /// See the question.
    Bytes(Vec<u8>),
    /// See the question.
    Proof(Proof),
    /// See the question.
    WriteRoads(WriteRoads),
    /// See the question.
    Figures(Figures),
    /// See the question.
    Text(String),
    /// See the question.
    Ids(Vec<i64>),
    /// See the question.
    Count(usize),
    /// See the question.
    FenceHeld(FenceHandle),
    /// See the question.
    Fence(Fence),
    /// `st_dev` and `st_ino`.
    Identity(u64, u64),
    /// See the question.
    Formats(Vec<u32>),
    /// See the question.
    Stormed(Stormed),
    /// See the question.
    Pool(PoolAnswer),
    /// See the question.
    Chunks(Vec<Seen>),
    /// See the question.
    Cached(Cached),
    /// The service refused, with this code and message.
    Refused(i32, String),
    /// Anything else went wrong.
    Failed(String),
}

/// A storm of one client: what it does by chance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Storm {
    /// Where chance begins.
    pub seed: u64,
    /// How many things to do.
    pub steps: usize,
    /// Tokens that others gave out for this client's uid.
    pub tokens: Vec<[u8; 16]>,
    /// Whom to share with.
    pub friends: Vec<u32>,
    /// Whether to ask for what is refused, too.
    pub mischief: bool,
    /// Whether the service may die meanwhile.
    pub restarts: bool,
}

/// What a client believes after a storm.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stormed {
    /// Its open sessions.
    pub sessions: Vec<StormSession>,
    /// Tokens that it used up.
    pub redeemed: Vec<[u8; 16]>,
    /// Bytes that it allocated.
    pub allocated: u64,
    /// Calls that were refused to it.
    pub refused: u64,
    /// Calls by the client library, not by it, that may have been refused: buffers of a session that
    /// was closed are freed once more when they are dropped.
    pub perhaps_refused: u64,
    /// What should not have been.
    pub wrong: Vec<String>,
}

/// A session in a storm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StormSession {
    /// Its name, which no other has.
    pub name: String,
    /// What is in it.
    pub buffers: Vec<StormBuffer>,
}

/// A buffer in a storm.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StormBuffer {
    /// The id in the session.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// `st_dev` and `st_ino`.
    pub identity: (u64, u64),
    /// Bytes as allocated.
    pub bytes: u64,
    /// The token that it was acquired by, of another's.
    pub acquired: Option<[u8; 16]>,
    /// Tokens given out for it, and for whom, of one's own.
    pub tokens: Vec<([u8; 16], u32)>,
}

/// Processes that hold buffers until they are killed. The client that is asked for this must not
/// have been asked for anything before: it forks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KillCycles {
    /// How many processes.
    pub cycles: usize,
    /// How many of them at a time.
    pub at_once: usize,
    /// What each allocates.
    pub descriptor: Descriptor,
    /// How many of it.
    pub buffers: i32,
}

/// What a test of limits asks. What was got is held until the process ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Crowd {
    /// Open sessions until one is refused: how many were opened?
    Sessions,
    /// In as many threads allocate one and one more in a session of the thread's own until that is
    /// refused for a limit: how many were got?
    Race(Descriptor, usize),
    /// The same in turns with dropping what was got, so many times in each thread; refusals for a
    /// limit do not matter: how many are left in the end?
    Scramble(Descriptor, usize, usize),
    /// Give out tokens for one buffer until that is refused: how many were given out?
    Tokens,
    /// In as many sessions acquire what a session of the same uid shares with it, again and again until
    /// that is refused for a limit: how often was it acquired?
    Acquisitions(usize),
    /// Make pools of one slot for as many participants as can be, in one session after the other, until
    /// that is refused for a limit: how many were made?
    Pools,
    /// In as many threads allocate, list, free and try wrong tokens, from now on and without end.
    Busy(Descriptor, usize),
    /// Open a session whose callback never returns, and take part in so many buffers that are then
    /// given up.
    Deaf(usize),
    /// The same of a client that goes on when all of it has happened, and then hears of everything:
    /// of how many buffers.
    Late(usize),
    /// Allocate, write, share, acquire, read and free, so many times; nothing of it may be refused.
    Work(Descriptor, usize),
}

/// What a test asks of memory that the process holds beside its buffers, each by a handle of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Hold {
    /// A second descriptor of a buffer: its handle.
    Duplicate(Handle),
    /// A mapping of a buffer, or of something held: its handle.
    Map(Handle),
    /// Let go of something held.
    LetGo(Handle),
    /// Listen for descriptors under a name.
    Listen(String),
    /// Pass a buffer's descriptor to who listens under a name.
    Pass(Handle, String),
    /// Take the descriptor that was passed: its handle.
    Receive,
    /// Fork a process that holds all that this one holds, and nothing more: its pid. It ends by being
    /// killed only.
    Fork,
    /// Put on the open file of a buffer what can be put there: status flags, and locks of two kinds.
    /// Give it another name in the kernel.
    Mark(Handle),
    /// How many such marks the open file of a buffer has.
    Marks(Handle),
    /// Put a buffer into an epoll set, which is kept: its handle.
    Watch(Handle),
    /// How many events an epoll set tells now.
    Events(Handle),
}

/// What a test asks of the CPU's access to a buffer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Look {
    /// Read so many bytes after a fence, and within milliseconds.
    ReadAfter(Handle, Option<FenceHandle>, u64, usize),
    /// Write bytes after a fence, and within milliseconds.
    WriteAfter(Handle, Option<FenceHandle>, u64, Vec<u8>),
    /// Read, and hold the fence that a writer who comes next, or a reader, has to wait for.
    EndWithFence(Handle, bool),
    /// Read, and have others wait for the fence of work that follows, which writes or reads.
    EndBefore(Handle, FenceHandle, bool),
    /// What an event loop finds ready at this moment: the fence, and the buffer to be read and to be
    /// written, as bits 0, 1 and 2.
    Ready(Handle, FenceHandle),
    /// Fill every sample of every plane of every layer with bytes that no other has, row by row. How
    /// many bytes was that?
    Paint(Handle),
    /// Whether another process painted just that, sample by sample.
    Painted(Handle),
}

/// What a test asks of payloads. What was received is told as a text: `inline`, `frozen` or `live`, how
/// many bytes, and a sum of them; or why it was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Payloads {
    /// Receive what others send, until the process ends.
    Serve,
    /// Send so many bytes: what was received?
    Send(Road, usize),
    /// Write so many bytes to one payload and send it to who takes a gigabyte: what was received?
    Whole(u64),
    /// Send so many bytes in a bare call: how many were received?
    SendBare(usize),
    /// Send so many bytes as payloads of one mebibyte: what was received, and the most memory that it
    /// took here, in bytes?
    Stream(u64),
    /// Send so many bytes that the receiver keeps.
    SendToKeep(usize),
    /// Use the region of what was sent last again, within milliseconds.
    UseAgain(u64),
    /// Let the receiver let go of what it keeps.
    LetGo,
    /// Send what is no payload, as anybody could: what was received?
    Lie(Lie),
    /// The sum of so many bytes of those that are sent.
    Sum(u64),
}

/// How bytes are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Road {
    /// In the message or a local region.
    Bytes,
    /// In a region of the service.
    OfTheService,
    /// In one that is revoked when its owner dies.
    Revocable,
    /// In one whose contents may go.
    Purgeable,
    /// In one that is a dma-buf, too.
    WithDmaBuf,
    /// In a region that is used again.
    Again,
}

/// What is no payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Lie {
    /// A region that can be made smaller.
    Unsealed,
    /// A region that was made smaller.
    Shrunk,
    /// A region that is shorter than its length says.
    Length,
    /// A place before the start.
    Negative,
    /// Bytes of a tebibyte that nobody wrote: all of it.
    Sparse,
    /// A directory.
    Directory,
    /// A socket.
    Socket,
    /// A buffer: a dma-buf where there are any.
    Buffer,
}

/// What a test asks of a client whose service dies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Restart {
    /// Open a session that looks for the service for so many milliseconds.
    Open(String, u64),
    /// Wait until the session is told that the service died.
    AwaitLost,
    /// Wait until it is told that it has a service again: what became of its buffers?
    AwaitRestored,
    /// Wait until it is told that no service came.
    AwaitGivenUp,
    /// How many threads look for the service?
    Threads,
    /// Present a buffer, past the library, in another way than it is: which error came?
    Forge(Handle, Forgery),
}

/// What became of a session's buffers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restored {
    /// The ids of those that are in the session again.
    pub buffers: Vec<i64>,
    /// The others, each with the service's error, 0 if it is the library's own.
    pub failed: Vec<(i64, i32)>,
}

/// How a buffer is presented.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Forgery {
    /// As it is.
    None,
    /// With the descriptor of another.
    Other(Handle),
    /// With a socket.
    Socket,
    /// With a folder.
    Folder,
    /// With a pipe.
    Pipe,
    /// With a memfd of the client's own that looks the same.
    Lookalike,
    /// With this id.
    Id(i64),
    /// With another receipt.
    Receipt,
    /// Under another name.
    Name,
    /// As if it had been allocated and not acquired.
    Owned,
    /// With the words that somebody else was told, as JSON of the interface would be: id, receipt.
    Words(i64, i64),
}

/// What a pin of a chunk finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// The library says that the contents are there.
    pub kept: bool,
    /// The value of all bytes, if it is one.
    pub value: Option<u8>,
}

/// What a test asks of purgeable regions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Purge {
    /// Make a region of a buffer that is unpinned with a priority; it stays until the process ends.
    Region(Handle, u8),
    /// Pin chunks, each for itself, fill them with a value, say so, and unpin.
    Fill(Handle, Range<u32>, u8),
    /// The same, to be unpinned with a priority of its own.
    FillAs(Handle, Range<u32>, u8, u8),
    /// The priority with which a chunk was unpinned, as the control block has it.
    PriorityOf(Handle, u32),
    /// Pin chunks, look at them, and unpin.
    Look(Handle, Range<u32>),
    /// Pin chunks and keep them.
    Keep(Handle, Range<u32>),
    /// Let go of all that is kept.
    LetGo,
    /// Wait until what is unpinned now counts as unpinned later than what was.
    Tick,
    /// Store words by chance in the control block, so many.
    Scribble(Handle, u64, usize),
    /// In two threads pin, check and unpin all chunks, so often, and make again what is gone: how
    /// often did the library say that contents were there that were not?
    Race(Handle, usize),
    /// Pin and unpin without end, until killed.
    Spin(Handle),
    /// Fork so many processes, so many at a time, and kill each at a moment of chance: one half pin
    /// chunks of the region that these tokens are for, the other half have caches of their own. The
    /// client must not have been asked for anything before.
    KillPinners(Vec<[u8; 16]>, usize, usize),
    /// Pin and unpin so often in a thread to which every system call is death; first make one, or
    /// not: did it live?
    WithoutCalls(Handle, usize, bool),
    /// Take and touch so many bytes more.
    Hog(usize),
    /// Give all of that back.
    Unhog,
    /// Make a cache of so many bytes from a heap.
    Cache(usize, Option<String>),
    /// Ask the cache for so many values in so many threads, each of the length that its key says, and
    /// compare each; what did it do so far?
    UseCache(u32, usize),
}

/// What a cache did so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cached {
    /// Values that were there.
    pub hits: u64,
    /// Values that were made.
    pub misses: u64,
    /// Values that were made again.
    pub remade: u64,
    /// Values that made room.
    pub evicted: u64,
    /// Values that were not kept.
    pub unkept: u64,
    /// Values that were not what they should be.
    pub wrong: u64,
}

/// To read, or to write too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Access {
    /// To read only.
    Read,
    /// To read and to write.
    Write,
}

/// What a test of SELinux asks to be tried, once; of files the answer is the errno, or 0.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Attempt {
    /// Find the allocator.
    Find,
    /// Register an allocator.
    Register,
    /// Open a file.
    Open(String, Access),
    /// Open once more what somebody passed on.
    OpenAgain(Handle, Access),
    /// Map what somebody passed on.
    Map(Handle, Access),
}
