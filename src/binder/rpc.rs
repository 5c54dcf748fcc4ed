// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! RPC Binder over Unix sockets: a directory stands in for the service manager, a socket in it for
//! each service. Android's wire format of version 13 and later, which alone carries callbacks.

use std::collections::HashMap;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rsbinder::rpc::FileDescriptorTransportMode;
use rsbinder::{
    Binder, BinderResult, Client, Endpoint, FromIBinder, Interface, ParcelFileDescriptor,
    Remotable, ServerGuard, Status, StatusCode, Strong, Uri,
};

use crate::transport;

/// How long a peer may leave us without an answer: to a handshake, a callback or a call.
const PEER_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a service that is not there yet is looked for.
const LOOKUP_INTERVAL: Duration = Duration::from_millis(20);
/// Connections of one client to a service: calls in flight at once, and room to see a client's
/// death while one of its calls is being served.
const OUTGOING_CONNECTIONS: u32 = 4;
/// Connections on which a service calls its client back.
const INCOMING_CONNECTIONS: u32 = 1;

/// Connections of all clients together; each costs the service a thread. Further clients wait for
/// their time-out.
const MAX_CONNECTIONS: usize = 1024;

/// The dump of a service: RPC Binder has no such transaction that a client could send, so each
/// service has this interface beside its own.
#[rsbinder::interface(descriptor = "berth.host.IDump")]
trait IDump {
    /// Writes the dump.
    fn write_to(&self, to: &ParcelFileDescriptor, args: &[String]) -> BinderResult<()>;
}

struct Dump<N: Remotable + 'static>(Binder<N>);

impl<N: Remotable> Interface for Dump<N> {}

impl<N: Remotable> IDump for Dump<N> {
    fn write_to(&self, to: &ParcelFileDescriptor, args: &[String]) -> BinderResult<()> {
        let mut to = to;
        Ok(self.0.on_dump(&mut to, args)?)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn socket(directory: &Path, name: &str) -> PathBuf {
    directory.join(format!("{}.sock", name.replace('/', "_")))
}

fn endpoint(socket: &Path) -> Uri {
    let wire = rsbinder::entry::WireProfile::Android13Plus(rsbinder::entry::WireVersion::MAX);
    Uri::from(Endpoint::unix(socket)).with_wire(wire)
}

/// Serves `service` on its socket for as long as the process lives. Every uid may connect, as every
/// uid may open the driver; who may do what is the service's affair.
pub(crate) fn serve<N: Remotable + 'static, T: FromIBinder + ?Sized>(
    directory: &Path,
    name: &str,
    service: &Strong<T>,
) -> Result<(), Status> {
    static SERVERS: Mutex<Vec<ServerGuard>> = Mutex::new(Vec::new());

    fs::create_dir_all(directory)?;
    let socket = socket(directory, name);
    // A socket file outlives the process that made it.
    match fs::remove_file(&socket) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let dump = BnDump::new_binder(Dump(Binder::<N>::try_from(service.as_binder())?));
    let server = rsbinder::serve(endpoint(&socket))?
        .with(|options| {
            options.threads = Some(transport::threads());
            options.max_connections = Some(MAX_CONNECTIONS);
            options.reply_timeout = Some(PEER_TIMEOUT);
            options.fd_modes = Some(vec![FileDescriptorTransportMode::Unix]);
        })
        .add(name, service.as_binder())?
        .add(&dump_name(name), dump.as_binder())?
        .spawn()?;
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o666))?;
    lock(&SERVERS).push(server);
    Ok(())
}

fn dump_name(name: &str) -> String {
    format!("{name}#dump")
}

/// The process's connection to one service; made anew if the old one has ended.
fn with_client<R>(
    socket: &Path,
    lookup: impl Fn(&Client) -> rsbinder::Result<R>,
) -> rsbinder::Result<R> {
    // A client with callbacks is never freed by rsbinder, so a process keeps one for each service,
    // as it keeps one open driver.
    static CLIENTS: Mutex<Option<HashMap<PathBuf, Client>>> = Mutex::new(None);

    let mut clients = lock(&CLIENTS);
    let clients = clients.get_or_insert_with(HashMap::new);
    if let Some(client) = clients.get(socket) {
        if client.session().is_some_and(|session| !session.is_ended()) {
            if let Ok(found) = lookup(client) {
                return Ok(found);
            }
        }
    }
    if let Some(ended) = clients.remove(socket) {
        if let Some(session) = ended.session() {
            session.close_session();
        }
    }
    let client = Client::open_with(endpoint(socket), |options, _| {
        options.outgoing_connections = Some(OUTGOING_CONNECTIONS);
        options.incoming_connections = Some(INCOMING_CONNECTIONS);
        options.fd_mode = Some(FileDescriptorTransportMode::Unix);
        options.timeout = Some(PEER_TIMEOUT);
    })?;
    let found = lookup(&client)?;
    clients.insert(socket.to_owned(), client);
    Ok(found)
}

/// The service of this name, at once.
pub(crate) fn connect<T: FromIBinder + ?Sized>(
    directory: &Path,
    name: &str,
) -> rsbinder::Result<Strong<T>> {
    let socket = socket(directory, name);
    if !socket.exists() {
        return Err(StatusCode::NameNotFound);
    }
    with_client(&socket, |client| client.get(name))
}

/// The service of this name, as soon as it is there.
pub(crate) fn wait_and_connect<T: FromIBinder + ?Sized>(
    directory: &Path,
    name: &str,
) -> rsbinder::Result<Strong<T>> {
    loop {
        match connect(directory, name) {
            Ok(service) => return Ok(service),
            Err(error) => log::debug!("{name} is not there yet: {error}"),
        }
        std::thread::sleep(LOOKUP_INTERVAL);
    }
}

/// The instances of an interface that have sockets.
pub(crate) fn instances(directory: &Path, interface: &str) -> std::io::Result<Vec<String>> {
    let mut found = Vec::new();
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        // The first service makes it.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(found),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let file = entry?.file_name();
        let name = file.to_str().and_then(|name| name.strip_suffix(".sock"));
        let instance = name.and_then(|name| name.strip_prefix(interface)?.strip_prefix('_'));
        found.extend(instance.map(str::to_owned));
    }
    found.sort();
    Ok(found)
}

/// Asks the service of this name for its dump.
pub(crate) fn dump(
    directory: &Path,
    name: &str,
    to: OwnedFd,
    args: &[String],
) -> Result<(), Status> {
    let dump: Strong<dyn IDump> =
        with_client(&socket(directory, name), |client| client.get(&dump_name(name)))?;
    dump.write_to(&ParcelFileDescriptor::new(to), args)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_instances_of_an_interface_are_those_with_sockets() {
        let folder = std::env::temp_dir().join(format!("berth-instances-{}", std::process::id()));
        assert!(instances(&folder, "a.b.IC").unwrap().is_empty(), "no folder, no instance");
        fs::create_dir(&folder).unwrap();
        for name in ["a.b.IC/two", "a.b.IC/one", "a.b.ICD/default", "a.b.ID/default"] {
            fs::write(socket(&folder, name), "").unwrap();
        }
        fs::write(folder.join("a.b.IC_three"), "").unwrap();
        let found = instances(&folder, "a.b.IC").unwrap();
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(found, ["one", "two"]);
    }

    #[test]
    fn every_name_has_a_socket_of_its_own() {
        let directory = Path::new("/run/berth");
        let names = ["a.b.IC/default", "a.b.IC/other", "a.b.ID/default", "a.b"];
        let sockets: std::collections::HashSet<_> =
            names.iter().map(|name| socket(directory, name)).collect();
        assert_eq!(sockets.len(), names.len(), "{sockets:?}");
        assert!(sockets.iter().all(|socket| socket.parent() == Some(directory)));
    }
}
