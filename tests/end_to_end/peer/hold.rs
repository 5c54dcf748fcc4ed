// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Ways to hold memory that go past the service: more descriptors, mappings, other processes.

use std::collections::HashMap;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};

use anyhow::{bail, ensure, Context, Result};
use berth_client::Buffer;
use berth_end_to_end::protocol::{Handle, Hold};
use berth_kernel::identity;
use berth_kernel::mapping::{Mapping, ReadWrite};
use nix::sys::epoll::Epoll;
use nix::sys::socket::{recvmsg, sendmsg, ControlMessage, ControlMessageOwned, MsgFlags};

use crate::fork::fork_asleep;
use crate::leftover;

/// Handles here begin above those of buffers.
const FIRST: Handle = 1 << 32;

/// What is held.
#[derive(Default)]
pub struct Holder {
    descriptors: HashMap<Handle, OwnedFd>,
    mappings: HashMap<Handle, Mapping<ReadWrite>>,
    watches: HashMap<Handle, Epoll>,
    next: Handle,
    listener: Option<UnixListener>,
}

impl Holder {
    /// Does what is asked.
    pub fn answer(&mut self, ask: Hold, buffers: &HashMap<Handle, Buffer>) -> Result<Handle> {
        match ask {
            Hold::Duplicate(handle) => {
                let duplicate = self.descriptor(handle, buffers)?.try_clone_to_owned()?;
                Ok(self.keep(duplicate))
            }
            Hold::Map(handle) => {
                let fd = self.descriptor(handle, buffers)?;
                let mapping = Mapping::new(fd, identity::size(fd)?)?;
                let handle = self.new_handle();
                self.mappings.insert(handle, mapping);
                Ok(handle)
            }
            Hold::LetGo(handle) => {
                let held = self.descriptors.remove(&handle).is_some();
                ensure!(held || self.mappings.remove(&handle).is_some(), "nothing held here");
                Ok(handle)
            }
            Hold::Listen(name) => {
                self.listener = Some(UnixListener::bind_addr(&address(&name)?)?);
                Ok(0)
            }
            Hold::Pass(handle, name) => {
                let stream = UnixStream::connect_addr(&address(&name)?)?;
                send(&stream, self.descriptor(handle, buffers)?)?;
                Ok(handle)
            }
            Hold::Receive => {
                let (stream, _) = self.listener.as_ref().context("nobody listens")?.accept()?;
                let received = receive(&stream)?;
                Ok(self.keep(received))
            }
            Hold::Fork => Ok(fork_asleep()?.as_raw() as Handle),
            Hold::Mark(handle) => {
                leftover::mark(self.descriptor(handle, buffers)?)?;
                Ok(handle)
            }
            Hold::Marks(handle) => leftover::marks(self.descriptor(handle, buffers)?),
            Hold::Watch(handle) => {
                let watch = leftover::watch(self.descriptor(handle, buffers)?)?;
                let handle = self.new_handle();
                self.watches.insert(handle, watch);
                Ok(handle)
            }
            Hold::Events(handle) => {
                leftover::events(self.watches.get(&handle).context("no epoll set here")?)
            }
        }
    }

    /// What a handle is of: a buffer, or something held.
    pub fn descriptor<'held>(
        &'held self,
        handle: Handle,
        buffers: &'held HashMap<Handle, Buffer>,
    ) -> Result<BorrowedFd<'held>> {
        match buffers.get(&handle) {
            Some(buffer) => Ok(buffer.as_fd()),
            None => Ok(self.descriptors.get(&handle).context("no descriptor here")?.as_fd()),
        }
    }

    fn keep(&mut self, descriptor: OwnedFd) -> Handle {
        let handle = self.new_handle();
        self.descriptors.insert(handle, descriptor);
        handle
    }

    fn new_handle(&mut self) -> Handle {
        self.next = self.next.max(FIRST) + 1;
        self.next
    }
}

/// No file, so that every uid reaches it and nothing is left of it.
fn address(name: &str) -> Result<SocketAddr> {
    Ok(SocketAddr::from_abstract_name(name)?)
}

fn send(stream: &UnixStream, descriptor: BorrowedFd<'_>) -> Result<()> {
    let descriptors = [descriptor.as_raw_fd()];
    let rights = [ControlMessage::ScmRights(&descriptors)];
    let byte = [IoSlice::new(b"!")];
    sendmsg::<()>(stream.as_raw_fd(), &byte, &rights, MsgFlags::empty(), None)?;
    Ok(())
}

fn receive(stream: &UnixStream) -> Result<OwnedFd> {
    let mut byte = [0];
    let mut bytes = [IoSliceMut::new(&mut byte)];
    let mut space = nix::cmsg_space!([i32; 1]);
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(stream.as_raw_fd(), &mut bytes, Some(&mut space), flags)?;
    for part in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(received) = part {
            return owned(received);
        }
    }
    bail!("no descriptor came")
}

/// Takes the descriptor over; nix gives it as a number.
#[allow(unsafe_code)]
fn owned(received: Vec<i32>) -> Result<OwnedFd> {
    let [number] = received[..] else { bail!("{} descriptors came", received.len()) };
    // SAFETY: the kernel has just opened this number for the message, so that nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}
