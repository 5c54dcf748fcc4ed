// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! The objects that calls go to, and parcels for them.

use std::ffi::CString;

use nix::sys::memfd::{memfd_create, MemFdCreateFlag};
use rsbinder::{Interface, Parcel, ParcelFileDescriptor, Proxy, SIBinder, Status, Strong};
use vendor_berth_allocator::aidl::vendor::berth::allocator::{
    AllocatedBuffer::AllocatedBuffer,
    AllocatedBuffers::AllocatedBuffers,
    Allocation::Allocation,
    IAllocator::BpAllocator,
    IAllocatorCallback::{BnAllocatorCallback, IAllocatorCallback},
    IAllocatorSession::IAllocatorSession,
    PressureLevel::PressureLevel,
    ShareToken::ShareToken,
};

use crate::input::{Call, Item};
use crate::seeds::code;

/// How much of a kind one input may gather.
const MOST_REMEMBERED: usize = 64;

/// A client's callback that hears everything and does nothing.
struct Deaf;

impl Interface for Deaf {}

impl IAllocatorCallback for Deaf {
    fn onSharedBufferGone(&self, _ids: &[i64]) -> rsbinder::BinderResult<()> {
        Ok(())
    }

    fn onPressure(&self, _level: PressureLevel) -> rsbinder::BinderResult<()> {
        Ok(())
    }
}

/// What calls can name: the objects, and what was in answers.
pub struct Seen {
    objects: Vec<SIBinder>,
    ids: Vec<i64>,
    tokens: Vec<[u8; 16]>,
}

impl Seen {
    pub fn new(allocator: SIBinder) -> Self {
        Seen { objects: vec![allocator], ids: Vec::new(), tokens: Vec::new() }
    }

    /// Makes the call and remembers what its answer names. Whether it was answered without an
    /// exception.
    pub fn send(&mut self, call: &Call) -> bool {
        let Some(object) = chosen(&self.objects, call.object).cloned() else { return false };
        let Some(remote) = object.as_remote() else { return false };
        let Ok(mut request) = remote.prepare_transact(true) else { return false };
        if self.append_all(&mut request, &call.items).is_err() {
            return false;
        }
        let answer = remote.submit_transact(u32::from(call.code), &request, 0);
        let Ok(Some(mut reply)) = answer else { return false };
        let answered = reply.read::<Status>().is_ok_and(|status| status.is_ok());
        if answered {
            self.remember(object.descriptor(), call.code, &mut reply);
        }
        answered
    }

    fn remember(&mut self, interface: &str, code: u8, reply: &mut Parcel) {
        let room = |number: usize| number < MOST_REMEMBERED;
        let of_allocator = interface == <BpAllocator as Proxy>::descriptor();
        match (of_allocator, code) {
            (true, code::OPEN_SESSION) if room(self.objects.len()) => {
                let session = reply.read::<Strong<dyn IAllocatorSession>>();
                self.objects.extend(session.map(|session| session.as_binder()));
            }
            (false, code::ALLOCATE) if room(self.ids.len()) => {
                self.remember_ids(reply.read::<Allocation>().map(|made| made.buffers));
            }
            (false, code::ALLOCATE_AGAIN) if room(self.ids.len()) => {
                self.remember_ids(reply.read::<AllocatedBuffers>());
            }
            (false, code::ALLOCATE_ONE_AGAIN) if room(self.ids.len()) => {
                self.ids.extend(reply.read::<AllocatedBuffer>().map(|one| one.id));
            }
            (false, code::SHARE) if room(self.tokens.len()) => {
                self.tokens.extend(reply.read::<ShareToken>().map(|token| token.value));
            }
            _ => {}
        }
    }

    fn remember_ids(&mut self, answer: rsbinder::Result<AllocatedBuffers>) {
        let ids = answer.map(|buffers| (buffers.firstId..).take(buffers.fds.len()));
        self.ids.extend(ids.into_iter().flatten());
    }

    fn append_all(&self, parcel: &mut Parcel, items: &[Item]) -> rsbinder::Result<()> {
        let mut begun = Vec::new();
        items.iter().try_for_each(|item| self.append(parcel, &mut begun, item))
    }

    fn append(
        &self,
        parcel: &mut Parcel,
        begun: &mut Vec<usize>,
        item: &Item,
    ) -> rsbinder::Result<()> {
        match item {
            Item::Int(value) => parcel.write_i32(*value),
            Item::Small(value) => parcel.write_i32(i32::from(*value)),
            Item::Long(value) => parcel.write_i64(*value),
            Item::Text(text) => parcel.write(text.as_str()),
            Item::NoText => parcel.write(&Option::<String>::None),
            Item::Begin => {
                parcel.write_i32(1)?;
                begun.push(parcel.data_position());
                parcel.write_i32(0)
            }
            Item::End => end(parcel, begun.pop()),
            Item::Callback => parcel.write(&BnAllocatorCallback::new_binder(Deaf)),
            Item::NoObject => parcel.write(&Option::<SIBinder>::None),
            Item::Object(index) => match chosen(&self.objects, *index) {
                Some(object) => parcel.write(object),
                None => Ok(()),
            },
            Item::Descriptor => {
                let memfd = memfd_create(&CString::default(), MemFdCreateFlag::MFD_CLOEXEC);
                memfd.map_or(Ok(()), |memfd| parcel.write(&ParcelFileDescriptor::new(memfd)))
            }
            Item::Id(index) => parcel.write_i64(chosen(&self.ids, *index).copied().unwrap_or(0)),
            Item::Token(index) => {
                parcel.write(&chosen(&self.tokens, *index).copied().unwrap_or_default())
            }
        }
    }
}

/// The one that an index means, whatever it is.
fn chosen<T>(all: &[T], index: u8) -> Option<&T> {
    all.get(usize::from(index).checked_rem(all.len())?)
}

/// Writes a parcelable's size where it began: from there to here.
fn end(parcel: &mut Parcel, begin: Option<usize>) -> rsbinder::Result<()> {
    let Some(begin) = begin else { return Ok(()) };
    let end = parcel.data_position();
    parcel.set_data_position(begin);
    parcel.write_i32(i32::try_from(end - begin).unwrap_or(i32::MAX))?;
    parcel.set_data_position(end);
    Ok(())
}
