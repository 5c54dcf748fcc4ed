// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! News for clients, sent from a thread of its own: nobody waits for a client that does not listen.

use std::io;
use std::sync::mpsc::{sync_channel, SyncSender, TrySendError};
use std::thread;

use hal_binder::Strong;
use vendor_berth_allocator::aidl::vendor::berth::allocator::{
    IAllocatorCallback::IAllocatorCallback, PressureLevel::PressureLevel,
};

/// How many notices may wait to be sent; what comes on top is lost, as a client may lose any.
const CAPACITY: usize = 1024;

/// What a client is told.
enum Notice {
    /// Buffers that it takes part in were given up by their owners.
    SharedGone(Vec<i64>),
    /// Memory is scarcer than it was, or less scarce.
    Pressure(PressureLevel),
}

/// A notice and whom it is for.
struct Letter {
    callback: Strong<dyn IAllocatorCallback>,
    notice: Notice,
}

/// The way to the thread that sends notices.
#[derive(Debug)]
pub(crate) struct Notices(SyncSender<Letter>);

impl Notices {
    /// Starts the thread; it ends with the service.
    pub(crate) fn start() -> io::Result<Notices> {
        let (sender, receiver) = sync_channel::<Letter>(CAPACITY);
        thread::Builder::new().name("notices".to_owned()).spawn(move || {
            for Letter { callback, notice } in receiver {
                let told = match notice {
                    Notice::SharedGone(buffers) => callback.onSharedBufferGone(&buffers),
                    Notice::Pressure(level) => callback.onPressure(level),
                };
                if let Err(status) = told {
                    log::debug!("a client was not told: {status}");
                }
            }
        })?;
        Ok(Notices(sender))
    }

    /// Tells a client that owners gave up `buffers` of its session.
    pub(crate) fn shared_gone(&self, callback: Strong<dyn IAllocatorCallback>, buffers: Vec<i64>) {
        self.send(Letter { callback, notice: Notice::SharedGone(buffers) });
    }

    /// Tells a client how short memory is.
    pub(crate) fn pressure(&self, callback: Strong<dyn IAllocatorCallback>, level: PressureLevel) {
        self.send(Letter { callback, notice: Notice::Pressure(level) });
    }

    fn send(&self, letter: Letter) {
        match self.0.try_send(letter) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => log::debug!("a notice was lost: {CAPACITY} are waiting"),
            Err(TrySendError::Disconnected(_)) => log::error!("the thread of the notices ended"),
        }
    }
}
