// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! The way from a client to the object, within this process: RPC Binder over a Unix socket. rsbinder
//! marshals objects only for a transport, and the kernel's driver is not everywhere.

use std::sync::OnceLock;

use rsbinder::entry::{WireProfile, WireVersion};
use rsbinder::rpc::FileDescriptorTransportMode;
use rsbinder::{Client, Endpoint, Interface, SIBinder, ServerGuard, Uri};
use tempfile::TempDir;
use vendor_berth_allocator::aidl::vendor::berth::allocator::IAllocator::IAllocator;

const NAME: &str = "fuzzed";

struct Line {
    remote: SIBinder,
    _client: Client,
    _server: ServerGuard,
    // Removed last.
    _folder: TempDir,
}

impl Line {
    fn to(object: &SIBinder) -> Result<Line, Box<dyn std::error::Error>> {
        let folder = TempDir::new()?;
        let at = folder.path().join("socket");
        let uri = || {
            Uri::from(Endpoint::unix(&at)).with_wire(WireProfile::Android13Plus(WireVersion::MAX))
        };
        let server = rsbinder::serve(uri())?
            .with(|options| options.fd_modes = Some(vec![FileDescriptorTransportMode::Unix]))
            .add(NAME, object.clone())?
            .spawn()?;
        let client = Client::open_with(uri(), |options, _| {
            options.incoming_connections = Some(1);
            options.fd_mode = Some(FileDescriptorTransportMode::Unix);
        })?;
        let remote = client.get::<dyn IAllocator>(NAME)?.as_binder();
        Ok(Line { remote, _client: client, _server: server, _folder: folder })
    }
}

/// The object as a client has it. One is served for the life of the process: that of the first call.
pub fn remote(object: &SIBinder) -> SIBinder {
    static LINE: OnceLock<Line> = OnceLock::new();

    let line = LINE.get_or_init(|| Line::to(object).expect("RPC Binder within this process"));
    line.remote.clone()
}
