// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Buffers: a place in a session, and memory by descriptor.

use std::ops::RangeBounds;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use berth_kernel::ashmem;
use berth_kernel::identity::Identity;
use berth_kernel::mapping::{Mapping, Protection, ReadOnly, ReadWrite};
use hal_binder::ParcelFileDescriptor;
use vendor_berth_allocator::aidl::vendor::berth::allocator::{
    Access::Access, AllocatedBuffer::AllocatedBuffer, AllocatedBuffers::AllocatedBuffers,
    AllocationFlag::AllocationFlag, Buffer::Buffer as AidlBuffer,
    BufferDescriptor::BufferDescriptor, BufferInfo, BufferInfo::BufferInfo as Info,
    BufferLayout::BufferLayout,
};

use crate::batch::one_by_one;
use crate::brackets::BracketedFd;
use crate::kinds::Kind;
use crate::mapped::MappedBuffer;
use crate::plane::Plane;
use crate::purgeable::Pins;
use crate::range::span;
use crate::session::Session;
use crate::Error;

/// A buffer of a session: the place there, and a descriptor of the memory. Dropping it closes the
/// descriptor and frees the buffer.
#[derive(Debug)]
pub struct Buffer {
    held: Arc<Held>,
    /// Sealed through this handle.
    sealed: AtomicBool,
    // Behind the descriptors, which are closed first: the service finds that nobody holds the memory.
    place: Option<Place>,
}

/// What a service said of a buffer, and the descriptors that it gave.
#[derive(Debug)]
pub(crate) struct Held {
    id: i64,
    kind: Arc<Kind>,
    flags: i32,
    access: Access,
    owner_id: i64,
    receipt: i64,
    fd: BracketedFd,
    second: Option<OwnedFd>,
    pinner: i32,
    pins: Mutex<HeldPins>,
}

/// What this process has pinned of a buffer, as its session knows it.
#[derive(Debug, Default)]
struct HeldPins {
    /// The session pins nothing of it any more.
    over: bool,
    pins: Weak<Pins>,
}

impl Held {
    /// The id in the session.
    pub(crate) fn id(&self) -> i64 {
        self.id
    }

    /// What the service said, and the identity.
    pub(crate) fn info(&self) -> Info {
        let (device, inode) = self.identity_as_told();
        Info {
            id: self.id,
            request: self.kind.descriptor.clone(),
            layout: self.kind.layout.clone(),
            device,
            inode,
            flags: self.flags,
            access: self.access,
            ownerId: self.owner_id,
            receipt: self.receipt,
        }
    }

    /// The identity as the interface carries it: none of ashmem where the kernel tells only that of
    /// the device node.
    fn identity_as_told(&self) -> (i64, i64) {
        let identity = match ashmem::size_of(self.fd.as_fd()) {
            Ok(None) => Identity::of(self.fd.as_fd()).ok(),
            _ => ashmem::identity(self.fd.as_fd()).ok().flatten(),
        };
        identity.map_or((0, 0), |identity| (identity.device as i64, identity.inode as i64))
    }

    fn pins(&self) -> MutexGuard<'_, HeldPins> {
        // Each change is one step: a panic elsewhere leaves nothing half done.
        self.pins.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what is pinned of it from now on.
    pub(crate) fn note_pins(&self, pins: &Arc<Pins>) {
        let mut held = self.pins();
        held.pins = Arc::downgrade(pins);
        if held.over {
            pins.end();
        }
    }

    /// The session is about to give up the number that it pins with.
    pub(crate) fn end_pins(&self) {
        let pins = {
            let mut held = self.pins();
            held.over = true;
            held.pins.upgrade()
        };
        if let Some(pins) = pins {
            pins.end();
        }
    }

    /// The session has kept its number.
    pub(crate) fn resume_pins(&self) {
        let pins = {
            let mut held = self.pins();
            held.over = false;
            held.pins.upgrade()
        };
        if let Some(pins) = pins {
            pins.resume();
        }
    }

    /// The second descriptor, if there is one.
    pub(crate) fn second_fd(&self) -> Option<BorrowedFd<'_>> {
        self.second.as_ref().map(OwnedFd::as_fd)
    }
}

impl AsFd for Held {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// What a service gave for a request, and how it said so.
pub(crate) struct Granted<T> {
    /// Which of the session's services, see [`Connection`](crate::connection::Connection).
    pub(crate) generation: u64,
    pub(crate) kind: Arc<Kind>,
    pub(crate) answer: T,
}

/// A buffer's place in its session; dropping it frees the buffer.
#[derive(Debug)]
struct Place {
    session: Session,
    id: i64,
    /// Somebody else frees it.
    kept: bool,
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.kept {
            self.session.free_dropped(self.id);
        }
    }
}

impl Buffer {
    /// The `count` buffers of an allocation. What the service says of their size the kernel confirms
    /// when they are mapped.
    pub(crate) fn of_allocation(
        session: &Session,
        granted: Granted<AllocatedBuffers>,
        count: i32,
    ) -> Result<Vec<Buffer>, Error> {
        let Granted { generation, kind, answer } = granted;
        let due = usize::try_from(count).unwrap_or(0);
        let buffers = one_by_one(answer, due).map_err(|(error, ids)| {
            session.free_unheld(&ids);
            error
        })?;
        let mut assembled = Vec::with_capacity(due);
        let mut first_error = None;
        // Each is freed on every way out from here, those after a bad one too.
        for allocated in buffers {
            match Buffer::allocated(session, &kind, allocated, generation) {
                Ok(buffer) => assembled.push(buffer),
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        first_error.map_or(Ok(assembled), Err)
    }

    /// One more buffer of a request.
    pub(crate) fn of_one_more(
        session: &Session,
        granted: Granted<AllocatedBuffer>,
    ) -> Result<Buffer, Error> {
        let Granted { generation, kind, answer } = granted;
        Buffer::allocated(session, &kind, answer, generation)
    }

    fn allocated(
        session: &Session,
        kind: &Arc<Kind>,
        allocated: AllocatedBuffer,
        generation: u64,
    ) -> Result<Buffer, Error> {
        let AllocatedBuffer { id, flags, fd, secondFd: second, receipt } = allocated;
        let access = Access::READ_WRITE;
        let (owner_id, pinner) = (id, 0);
        let parts = Parts { id, flags, access, fd, second, owner_id, receipt, pinner };
        Buffer::assemble(Some((session, None, generation)), kind, parts)
    }

    /// One buffer from the service's answer, to be freed in a session if it has its place there.
    pub(crate) fn of_answer(
        place: Option<Placed<'_>>,
        answer: AidlBuffer,
    ) -> Result<Buffer, Error> {
        let AidlBuffer { info, fd, secondFd: second, pinner } = answer;
        let Info {
            id, request: descriptor, layout, flags, access, ownerId: owner_id, receipt, ..
        } = info;
        let kind = Arc::new(Kind { descriptor, layout });
        let parts = Parts { id, flags, access, fd, second, owner_id, receipt, pinner };
        Buffer::assemble(place, &kind, parts)
    }

    fn assemble(
        place: Option<Placed<'_>>,
        kind: &Arc<Kind>,
        parts: Parts,
    ) -> Result<Buffer, Error> {
        let Parts { id, flags, access, fd, second, owner_id, receipt, pinner } = parts;
        let Some(fd) = fd else {
            if let Some((session, ..)) = place {
                session.free_unheld(&[id]);
            }
            return Err(Error::BadAnswer(format!("no descriptor for buffer {id}")));
        };
        let (fd, second) = (BracketedFd::new(fd.into()), second.map(OwnedFd::from));
        let kind = kind.clone();
        let pins = Mutex::default();
        let held = Held { id, kind, flags, access, owner_id, receipt, fd, second, pinner, pins };
        let held = Arc::new(held);
        // From here on it is freed on every way out.
        let place = place.map(|(session, acquired_by, generation)| {
            session.hold(&held, acquired_by, generation);
            Place { session: session.clone(), id, kept: false }
        });
        let buffer = Buffer { held, sealed: AtomicBool::new(false), place };
        let BufferLayout { sizeBytes: size, allocationBytes: whole, .. } = buffer.held.kind.layout;
        if size < 0 || whole < size {
            return Err(Error::BadAnswer(format!("{size} of {whole} bytes in buffer {id}")));
        }
        Ok(buffer)
    }

    /// The id in the session.
    pub fn id(&self) -> i64 {
        self.held.id
    }

    /// What was asked for.
    pub fn descriptor(&self) -> &BufferDescriptor {
        &self.held.kind.descriptor
    }

    /// Where the bytes are: sizes, planes, the heap that served.
    pub fn layout(&self) -> &BufferLayout {
        &self.held.kind.layout
    }

    /// Whether another heap served than was asked for, or one of another kind.
    pub fn is_fallback(&self) -> bool {
        self.held.flags & BufferInfo::FLAG_FALLBACK_HEAP != 0
    }

    /// Whether the memory had been another buffer's, and was cleared.
    pub fn is_recycled(&self) -> bool {
        self.held.flags & BufferInfo::FLAG_RECYCLED != 0
    }

    /// What this handle may do with the memory.
    pub fn access(&self) -> Access {
        match self.sealed.load(Ordering::Relaxed) {
            true => Access::READ_ONLY,
            false => self.held.access,
        }
    }

    /// Everything that the service said of the buffer when it handed it out, and its identity.
    pub fn info(&self) -> Info {
        let info = self.held.info();
        Info { flags: info.flags | self.sealed_flag(), access: self.access(), ..info }
    }

    /// What this handle holds.
    pub(crate) fn held(&self) -> &Arc<Held> {
        &self.held
    }

    /// The memory's identity: the same for every descriptor of it, in every process. Asked of the
    /// kernel.
    pub fn identity(&self) -> Result<Identity, Error> {
        Ok(Identity::of(self.held.fd.as_fd())?)
    }

    /// Whether it was allocated as a region whose contents may go; see
    /// [`PurgeableRegion`](crate::PurgeableRegion).
    pub fn is_purgeable(&self) -> bool {
        self.held.kind.descriptor.flags & AllocationFlag::PURGEABLE.0 != 0
    }

    /// The number by which this session pins chunks of it.
    pub(crate) fn pinner(&self) -> i32 {
        self.held.pinner
    }

    /// Whether this handle frees the buffer, and this session allocated it.
    pub(crate) fn is_the_owners(&self) -> bool {
        self.place.is_some() && self.held.flags & BufferInfo::FLAG_ACQUIRED == 0
    }

    /// The bytes that were asked for.
    pub fn size(&self) -> u64 {
        self.held.kind.layout.sizeBytes.unsigned_abs()
    }

    /// Another face of the same pages: of a buffer with a read-only view that view, a memfd that
    /// nobody can write; of a region of the heap `udmabuf` a dma-buf. Of a purgeable region its
    /// control block.
    pub fn second_fd(&self) -> Option<BorrowedFd<'_>> {
        self.held.second_fd()
    }

    /// Makes a region read-only for good, for everybody; mappings that exist stay writable.
    pub fn seal(&self) -> Result<(), Error> {
        let place = self.place.as_ref().ok_or(Error::NotTheOwner(self.held.id))?;
        place.session.seal_id(self.held.id)?;
        self.sealed.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// This process has sealed it by its own descriptor.
    pub(crate) fn note_seal(&self) {
        self.sealed.store(true, Ordering::Relaxed);
    }

    fn sealed_flag(&self) -> i32 {
        match self.sealed.load(Ordering::Relaxed) {
            true => BufferInfo::FLAG_SEALED,
            false => 0,
        }
    }

    /// A plane of an image, by layer and number, for the views of a bracket.
    pub fn plane(&self, layer: usize, number: usize) -> Result<Plane, Error> {
        Plane::of(&self.held.kind.layout, layer, number)
    }

    /// Maps the buffer to read and write.
    pub fn map(&self) -> Result<MappedBuffer<'_, ReadWrite>, Error> {
        self.map_range(..)
    }

    /// Maps a range of the buffer's bytes to read and write. It need not begin at a page.
    pub fn map_range(
        &self,
        range: impl RangeBounds<u64>,
    ) -> Result<MappedBuffer<'_, ReadWrite>, Error> {
        if self.access() == Access::READ_ONLY {
            return Err(Error::ReadOnly(self.held.id));
        }
        self.map_as(range)
    }

    /// Maps the buffer to read.
    pub fn map_read_only(&self) -> Result<MappedBuffer<'_, ReadOnly>, Error> {
        self.map_as(..)
    }

    /// Maps a range of the buffer's bytes to read. It need not begin at a page.
    pub fn map_range_read_only(
        &self,
        range: impl RangeBounds<u64>,
    ) -> Result<MappedBuffer<'_, ReadOnly>, Error> {
        self.map_as(range)
    }

    fn map_as<P: Protection>(
        &self,
        range: impl RangeBounds<u64>,
    ) -> Result<MappedBuffer<'_, P>, Error> {
        let size = self.size();
        let (offset, bytes) = span(range, size);
        // The kernel may have given more than was asked for.
        if offset.checked_add(bytes).map_or(true, |end| end > size) {
            return Err(Error::OutOfBuffer { offset, bytes, size });
        }
        let mapping = Mapping::of_range(self.held.fd.as_fd(), offset, bytes)?;
        let dma_buf = self.held.kind.layout.dmaBuf.then_some(&self.held.fd);
        Ok(MappedBuffer::new(mapping, dma_buf))
    }

    /// Closes the descriptors and leaves the buffer in its session, to be had again by
    /// [`Session::get`]. The service takes a dma-buf back that nobody holds for some seconds, unless
    /// a token for it can still be used.
    pub fn forget(self) {
        self.into_id();
    }

    /// Closes the descriptors and leaves the freeing to the caller.
    pub(crate) fn into_id(mut self) -> i64 {
        if let Some(place) = &mut self.place {
            place.kept = true;
        }
        self.held.id
    }
}

/// Where a buffer is placed: the session, the token that it was acquired by, and the number of the
/// service that put it there.
pub(crate) type Placed<'a> = (&'a Session, Option<[u8; 16]>, u64);

/// A buffer in pieces, as it crosses Binder.
struct Parts {
    id: i64,
    flags: i32,
    access: Access,
    owner_id: i64,
    receipt: i64,
    fd: Option<ParcelFileDescriptor>,
    second: Option<ParcelFileDescriptor>,
    pinner: i32,
}

/// The memory, for drivers and event loops: a dma-buf is ready to read (`POLLIN`) while no device is
/// writing it, and ready to write (`POLLOUT`) while none is at work on it.
impl AsFd for Buffer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.held.as_fd()
    }
}
