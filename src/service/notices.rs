// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! News for clients, sent from a thread of its own: nobody waits for a client that does not listen.

use std::io;
use std::sync::mpsc::{sync_channel, SyncSender, TrySendError};
use std::thread;

use hal_binder::Strong;
use vendor_berth_allocator::aidl::vendor::berth::allocator::IAllocatorCallback::IAllocatorCallback;

/// How many notices may wait to be sent; what comes on top is lost, as a client may lose any.
const CAPACITY: usize = 1024;

/// Buffers that a client takes part in and whose owner gave them up.
struct SharedGone {
    callback: Strong<dyn IAllocatorCallback>,
    buffers: Vec<i64>,
}

/// The way to the thread that sends notices.
#[derive(Debug)]
pub(crate) struct Notices(SyncSender<SharedGone>);

impl std::fmt::Debug for SharedGone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedGone").field("buffers", &self.buffers).finish()
    }
}

impl Notices {
    /// Starts the thread; it ends with the service.
    pub(crate) fn start() -> io::Result<Notices> {
        let (sender, receiver) = sync_channel::<SharedGone>(CAPACITY);
        thread::Builder::new().name("notices".to_owned()).spawn(move || {
            for notice in receiver {
                if let Err(status) = notice.callback.onSharedBufferGone(&notice.buffers) {
                    log::debug!("a client was not told: {status}");
                }
            }
        })?;
        Ok(Notices(sender))
    }

    /// Tells a client that owners gave up `buffers` of its session.
    pub(crate) fn shared_gone(&self, callback: Strong<dyn IAllocatorCallback>, buffers: Vec<i64>) {
        match self.0.try_send(SharedGone { callback, buffers }) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => log::debug!("a notice was lost: {CAPACITY} are waiting"),
            Err(TrySendError::Disconnected(_)) => log::error!("the thread of the notices ended"),
        }
    }
}
