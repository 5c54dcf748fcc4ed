// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Bytes of any number as an argument of any interface: a Binder call carries one mebibyte, shared by
//! all calls in flight, and copies each byte; a [`Payload`] carries few bytes itself and many in a
//! region of which only a descriptor goes.
//!
//! ```no_run
//! use berth_client::payload::{Payload, PayloadParcel, PayloadView};
//!
//! # fn call(_: &PayloadParcel) {}
//! # fn send(bytes: &[u8]) -> Result<(), berth_client::Error> {
//! let payload = Payload::from_bytes(bytes)?;
//! call(payload.parcel()); // takes a `vendor.berth.allocator.Payload`
//! # Ok(())
//! # }
//! # fn received(parcel: &PayloadParcel) -> Result<(), berth_client::Error> {
//! let view = PayloadView::open(parcel, 16 << 20)?; // at most 16 MiB of a peer's
//! if let Some(bytes) = view.bytes() {
//!     // A slice without a copy, of memory that nobody can write any more.
//! #   let _ = bytes;
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Three ways to send:
//!
//! * [`Payload::from_bytes`] and [`PayloadBuilder`] make a region of their own for each payload. It is
//!   frozen before it goes, so the receiver reads it without a copy as a slice.
//! * [`PayloadSender`] keeps a region and uses its warm pages again as soon as the receiver has let go
//!   of them. The receiver is told by the type that its sender still writes.
//! * [`PayloadStream`] cuts what is larger than memory should hold into payloads, and sends no more than
//!   a few ahead of the receiver.
//!
//! What a large payload costs is its pages: 10 MB of fresh ones take 3 ms on a host, warm ones 0.6, and
//! the call that carries the descriptor next to nothing. So only [`PayloadSender`] is more than twenty
//! times as fast as chunks in calls, which take 25 ms; a fresh region is five to seven times as fast,
//! whoever fills it.
//!
//! **Whose memory it is.** These make memfds in this process, without a service. Their pages count
//! against the cgroup of whoever touches them first, the sender, until the last receiver is done, and
//! no ledger shows them. A region of the service ([`Payload::in_region`]) is charged in the same way by
//! the kernel, and besides that stands in the ledger under this session's name, counts against its
//! limits and its uid's before it is there, and shows in dumps. Use the service's where memory has to be
//! accounted for or limited, and a local one where a call must not depend on another service.

mod builder;
mod sender;
mod stream;
#[cfg(test)]
mod tests;
mod view;

pub use builder::{Payload, PayloadBuilder};
pub use sender::PayloadSender;
pub use stream::{PayloadStream, CHUNK_BYTES};
pub use view::{LiveBytes, PayloadView};

/// A payload as it crosses Binder: `vendor.berth.allocator.Payload` in an interface's `.aidl`.
pub use vendor_berth_allocator::aidl::vendor::berth::allocator::Payload::Payload as PayloadParcel;

/// The most bytes that go in the message itself: 8 KiB, up to where that is not dearer than a region over
/// any transport. `cargo xtask bench` measures it; the message against a region, in microseconds:
///
/// | bytes | 6.12 in the VM, kernel Binder | host, RPC Binder |
/// |---|---|---|
/// | 4 KiB | 590 : 522 | 29 : 42 |
/// | 8 KiB | 604 : 579 | 30 : 44 |
/// | 16 KiB | 667 : 560 | 30 : 47 |
/// | 32 KiB | 963 : 698 | 34 : 53 |
/// | 64 KiB | 1424 : 941 | 43 : 67 |
/// | 256 KiB | 3621 : 2441 | 618 : 147 |
///
/// Over a socket the two cross between 128 and 256 KiB, and the message saves 20 microseconds below. But over kernel
/// Binder it takes its bytes from one mebibyte that all calls in flight to a process share.
pub const INLINE_BYTES: usize = 8 << 10;

const _: () = {
    const fn is_shared<T: Send + Sync>() {}
    is_shared::<Payload>();
    is_shared::<PayloadBuilder>();
    is_shared::<PayloadSender>();
    is_shared::<PayloadStream>();
    is_shared::<PayloadView<'static>>();
};
