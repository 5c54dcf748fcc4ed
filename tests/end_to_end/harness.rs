// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Starts the HAL and its clients, each a process under a uid of its own.

use std::cell::{Cell, RefCell};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{chown, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::mpsc::{channel, Receiver, TryRecvError};
use std::thread;
use std::time::{Duration, Instant};

use berth_facilities::Facility;

mod restart;

use crate::protocol::WriteRoads;
use crate::protocol::{
    Answer, Ask, Capabilities, Descriptor, Figures, Handle, Held, Info, Proof, Sweep,
};
use crate::protocol::{Attempt, Crowd, Hold, KillCycles, Look, Payloads, Stormed};
use crate::protocol::{Fence, FenceHandle, FenceState, Fences, Picture, SwSync, Vgem, Vkms};

/// Android's uid `system`, under which the HAL runs.
pub const SYSTEM: u32 = 1000;
/// The first uid of applications.
pub const APP: u32 = 10_001;
/// Another application.
pub const OTHER_APP: u32 = 10_002;
/// A third.
pub const THIRD_APP: u32 = 10_003;

/// The program that is a client.
const PEER: &str = "berth-peer";
/// Becomes another program in a context; only where SELinux enforces.
const RUN_IN_CONTEXT: &str = "/bin/berth-selinux";
/// The context of root's shell on a debuggable build.
pub const ROOT_SHELL: &str = "u:r:su:s0";

/// The device's policy file.
const POLICY_FILE: &str = "allocator.policy";

/// Where the HAL leaves what the next one needs, a folder of its own beside the programs.
const RECEIPTS_FOLDER: &str = "left";
/// The same on a device.
const DEVICE_RECEIPTS_FOLDER: &str = "/data/vendor/berth";

/// How long an answer may take; under emulation a call takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(120);

/// What the service answers where it refuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// A value of `AllocatorError`.
    pub code: i32,
    /// Value and limit.
    pub message: String,
}

/// The HAL on this kernel, for one test; killed when the test ends.
pub struct Device {
    service: RefCell<Child>,
    observer: RefCell<Option<Client>>,
    // Removed last.
    stage: Stage,
}

impl Device {
    /// Starts the HAL and waits until it is found. The lane's environment says how:
    /// `BERTH_TRANSPORT` is `kernel` or `rpc`, `BERTH_BIN_DIR` has the programs.
    pub fn start() -> Device {
        Device::start_with_policy("")
    }

    /// The same on a device that has this policy file.
    pub fn start_with_policy(policy: &str) -> Device {
        let stage = Stage::prepare(policy);
        let service = RefCell::new(stage.service().spawn().expect("the HAL"));
        let device = Device { service, observer: RefCell::default(), stage };
        let observer = device.client(0);
        observer.service_figures();
        // Who only looks on takes nothing from those that are waited for.
        observer.done(Ask::GiveWay).expect("a lower priority");
        *device.observer.borrow_mut() = Some(observer);
        device
    }

    /// Starts the HAL on a device with a wrong policy file, and waits for its end.
    pub fn fails_to_start(policy: &str) -> Output {
        Stage::prepare(policy).service().output().expect("the HAL")
    }

    /// Starts a client's process under a uid. Where SELinux enforces it is in a client's domain, or,
    /// as root, in that of a root shell.
    pub fn client(&self, uid: u32) -> Client {
        if uid == 0 {
            return self.shell_client(uid);
        }
        let mut command = self.program(PEER);
        Client::start(command.uid(uid).gid(uid))
    }

    /// A client's process whose pipes the service may write to, which it may not to any client's
    /// where SELinux enforces: there in the domain of a root shell.
    pub fn shell_client(&self, uid: u32) -> Client {
        if Facility::SelinuxPolicy.is_here() {
            return self.client_in(ROOT_SHELL, uid);
        }
        let mut command = self.program(PEER);
        Client::start(command.uid(uid).gid(uid))
    }

    /// A client's process in a domain, by its context, where SELinux enforces.
    pub fn client_in(&self, context: &str, uid: u32) -> Client {
        let mut command = self.program(RUN_IN_CONTEXT);
        command.args(["run", context]).arg(self.stage.programs.join(PEER));
        Client::start(command.uid(uid).gid(uid))
    }

    /// Runs berthctl as root.
    pub fn berthctl(&self, args: &[&str]) -> Output {
        self.program("berthctl").args(args).output().expect("berthctl")
    }

    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.stage.programs.join(name));
        command.env("BERTH_BINDER", &self.stage.transport);
        command
    }

    /// What the service holds, seen by a client that holds nothing.
    pub fn figures(&self) -> Figures {
        self.observer.borrow().as_ref().expect("an observer").service_figures()
    }

    /// The service's dump, as root.
    pub fn dump(&self, args: &[&str]) -> String {
        self.observer.borrow().as_ref().expect("an observer").dump(args)
    }

    /// How many descriptors the service has open.
    pub fn service_descriptors(&self) -> usize {
        let pid = self.service.borrow().id();
        fs::read_dir(format!("/proc/{pid}/fd")).expect("the service is alive").count()
    }

    /// Waits until the service has no more descriptors open than it had. A thread that has answered
    /// closes the descriptors of its answer when the client may have it already.
    pub fn await_descriptors(&self, before: usize) {
        self.await_true("the service's descriptors are closed", || {
            (self.service_descriptors() <= before).then_some(())
        });
    }

    /// Waits until the service's figures are as they should be.
    pub fn await_figures(&self, what: &str, reached: impl Fn(&Figures) -> bool) -> Figures {
        self.await_true(what, || Some(self.figures()).filter(|now| reached(now)))
    }

    /// Waits until something is seen.
    pub fn await_true<T>(&self, what: &str, mut seen: impl FnMut() -> Option<T>) -> T {
        let began = Instant::now();
        loop {
            if let Some(seen) = seen() {
                return seen;
            }
            assert!(began.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
            thread::yield_now();
        }
    }

    /// Whether the HAL is the same process still.
    pub fn assert_alive(&self) {
        let ended = self.service.borrow_mut().try_wait().expect("the HAL's state");
        assert_eq!(ended, None, "the HAL ended");
    }
}

/// What a HAL needs before it starts.
struct Stage {
    folder: tempfile::TempDir,
    transport: String,
    programs: PathBuf,
    /// Where the HAL leaves what the next one needs.
    receipts: PathBuf,
}

impl Stage {
    /// Puts programs, sockets and policy where every uid reaches them.
    fn prepare(policy: &str) -> Stage {
        let built = PathBuf::from(variable("BERTH_BIN_DIR"));
        let folder = tempfile::tempdir().expect("a folder for the test");
        let sockets = folder.path().join("sockets");
        fs::create_dir(&sockets).expect("a folder for sockets");
        // Every uid reaches both, whatever the umask is.
        for reached_by_all in [folder.path(), &sockets] {
            fs::set_permissions(reached_by_all, fs::Permissions::from_mode(0o755)).expect("a mode");
        }
        chown(&sockets, Some(SYSTEM), Some(SYSTEM))
            .expect("end-to-end tests give each process a uid, which takes root");
        let receipts = if Facility::SelinuxPolicy.is_here() {
            // Made by the lane's init, with its label, and kept from test to test as on a device.
            PathBuf::from(DEVICE_RECEIPTS_FOLDER)
        } else {
            let receipts = folder.path().join(RECEIPTS_FOLDER);
            fs::create_dir(&receipts).expect("a folder for receipts");
            fs::set_permissions(&receipts, fs::Permissions::from_mode(0o700)).expect("a mode");
            chown(&receipts, Some(SYSTEM), Some(SYSTEM)).expect("its owner");
            receipts
        };
        let transport = match variable("BERTH_TRANSPORT").as_str() {
            "kernel" => "kernel".to_owned(),
            "rpc" => format!("unix:{}", sockets.display()),
            other => panic!("BERTH_TRANSPORT={other} is neither kernel nor rpc"),
        };
        let programs = if Facility::SelinuxPolicy.is_here() {
            // Their labels are on them there.
            built
        } else {
            copy_programs(&built, folder.path());
            folder.path().to_owned()
        };
        let policy_file = folder.path().join(POLICY_FILE);
        fs::write(&policy_file, policy).expect("a policy file");
        fs::set_permissions(&policy_file, fs::Permissions::from_mode(0o644)).expect("its mode");
        Stage { folder, transport, programs, receipts }
    }

    /// The HAL as a command, under its own uid.
    fn service(&self) -> Command {
        let mut command = Command::new(self.programs.join("berth-allocator-service"));
        command.env("BERTH_BINDER", &self.transport).env("RUST_LOG", "error");
        command.env("BERTH_POLICY", self.folder.path().join(POLICY_FILE)).env("BERTH_TRACE", "1");
        command.env("BERTH_RECEIPTS", self.receipts.join("receipts"));
        if !Facility::OwnMachine.is_here() {
            // Others make memory short here, and purge what a test has.
            command.env("BERTH_STALLS_UNWATCHED", "1");
        }
        command.uid(SYSTEM).gid(SYSTEM).stdin(Stdio::null());
        command
    }
}

/// Puts the programs where all uids may start them; they may not reach where these were built.
fn copy_programs(from: &Path, to: &Path) {
    for program in ["berth-allocator-service", PEER, "berthctl", "berth-readme-ring"] {
        let (from, to) = (from.join(program), to.join(program));
        fs::copy(&from, &to).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
        fs::set_permissions(&to, fs::Permissions::from_mode(0o755)).expect("its mode");
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.observer.borrow_mut().take();
        let mut service = self.service.borrow_mut();
        let ended = service.try_wait().ok().flatten();
        let _ = service.kill();
        let _ = service.wait();
        if let (Some(status), false) = (ended, thread::panicking()) {
            panic!("the HAL ended during the test: {status}");
        }
    }
}

/// Memory that nobody uses, in bytes.
pub fn free_memory() -> u64 {
    berth_kernel::meminfo::MemInfo::read().expect("/proc/meminfo").free
}

/// `MemAvailable` with a HAL of this policy and clients of these uids with sessions, in bytes: what a
/// test has that starts the same next, give or take a few MiB.
pub fn available_beside(policy: &str, uids: &[u32]) -> u64 {
    let device = Device::start_with_policy(policy);
    let _clients: Vec<Client> = uids.iter().map(|uid| device.client(*uid).with_session()).collect();
    berth_kernel::meminfo::MemInfo::read().expect("/proc/meminfo").available
}

/// The dma-heaps of this lane, by looking at the kernel and not at the service.
pub fn dma_heaps() -> Vec<String> {
    let Ok(entries) = fs::read_dir("/dev/dma_heap") else { return Vec::new() };
    let mut names: Vec<String> =
        entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn variable(name: &str) -> String {
    let hint = "run these tests with `cargo xtask test`";
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: {hint}"))
}

/// A client's process; killed when it goes out of scope.
pub struct Client {
    child: RefCell<Child>,
    asks: RefCell<Option<ChildStdin>>,
    answers: Receiver<String>,
    killed: Cell<bool>,
}

impl Client {
    fn start(command: &mut Command) -> Client {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a client's process");
        let asks = child.stdin.take();
        let output = child.stdout.take().expect("its output");
        let (sender, answers) = channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let child = RefCell::new(child);
        Client { child, asks: RefCell::new(asks), answers, killed: Cell::new(false) }
    }

    /// Asks without waiting for the answer.
    pub fn begin(&self, ask: &Ask) {
        let mut asks = self.asks.borrow_mut();
        let asks = asks.as_mut().expect("a way to ask");
        let line = serde_json::to_string(ask).expect("JSON");
        writeln!(asks, "{line}").unwrap_or_else(|error| panic!("{ask:?}: {error}"));
    }

    /// Waits for the answer to what was begun.
    pub fn finish(&self) -> Answer {
        let line = self.answers.recv_timeout(PATIENCE).expect("an answer in time");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line}: {error}"))
    }

    /// Asks; a refusal is a result, anything else that goes wrong ends the test.
    pub fn ask(&self, ask: Ask) -> Result<Answer, Refusal> {
        self.begin(&ask);
        match self.finish() {
            Answer::Refused(code, message) => Err(Refusal { code, message }),
            Answer::Failed(message) => panic!("{ask:?}: {message}"),
            answer => Ok(answer),
        }
    }

    fn done(&self, ask: Ask) -> Result<(), Refusal> {
        self.ask(ask).map(|answer| assert_eq!(answer, Answer::Done))
    }

    /// Kills the process as nobody can prevent, and waits until it is gone.
    pub fn kill(&self) {
        let mut child = self.child.borrow_mut();
        child.kill().expect("SIGKILL");
        child.wait().expect("its end");
        self.killed.set(true);
    }

    /// Ends the process in good order: its session goes with it.
    pub fn exit(self) {
        self.asks.borrow_mut().take();
        let status = self.child.borrow_mut().wait().expect("its end");
        assert!(status.success(), "the client ended with {status}");
        self.killed.set(true);
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if !self.killed.get() {
            let mut child = self.child.borrow_mut();
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The questions, as calls. A question that can be refused returns a result.
impl Client {
    /// Opens a session.
    pub fn open(&self, name: &str) -> Result<(), Refusal> {
        self.done(Ask::Open(name.to_owned()))
    }

    /// A client with a session.
    pub fn with_session(self) -> Client {
        self.open("test").expect("a session");
        self
    }

    /// Allocates.
    pub fn allocate(&self, descriptor: &Descriptor, count: i32) -> Result<Vec<Held>, Refusal> {
        self.held(Ask::Allocate(descriptor.clone(), count))
    }

    /// Allocates one that cannot be refused.
    pub fn allocate_one(&self, descriptor: &Descriptor) -> Held {
        let mut held = self.allocate(descriptor, 1).expect("a buffer");
        assert_eq!(held.len(), 1);
        held.remove(0)
    }

    fn held(&self, ask: Ask) -> Result<Vec<Held>, Refusal> {
        match self.ask(ask)? {
            Answer::Held(held) => Ok(held),
            other => panic!("{other:?}"),
        }
    }

    /// Frees.
    pub fn free(&self, ids: &[i64]) -> Result<(), Refusal> {
        self.done(Ask::Free(ids.to_vec()))
    }

    /// Drops a buffer.
    pub fn drop_buffer(&self, handle: Handle) {
        self.done(Ask::Drop(handle)).expect("a drop");
    }

    /// A further descriptor.
    pub fn get(&self, id: i64, read_only: bool) -> Result<Held, Refusal> {
        self.held(Ask::Get(id, read_only)).map(|mut held| held.remove(0))
    }

    /// All buffers.
    pub fn list(&self) -> Result<Vec<Info>, Refusal> {
        match self.ask(Ask::List)? {
            Answer::Infos(infos) => Ok(infos),
            other => panic!("{other:?}"),
        }
    }

    /// Shares for `uses` within `milliseconds`.
    pub fn share_for(
        &self,
        handle: Handle,
        uid: i32,
        uses: i32,
        milliseconds: i64,
        read_only: bool,
    ) -> Result<[u8; 16], Refusal> {
        match self.ask(Ask::Share(handle, uid, uses, milliseconds, read_only))? {
            Answer::Token(token) => Ok(token),
            other => panic!("{other:?}"),
        }
    }

    /// Shares once, to read and write, within a minute.
    pub fn share(&self, handle: Handle, uid: u32) -> [u8; 16] {
        self.share_for(handle, uid as i32, 1, 60_000, false).expect("a token")
    }

    /// Acquires.
    pub fn acquire(&self, token: [u8; 16]) -> Result<Held, Refusal> {
        self.held(Ask::Acquire(token)).map(|mut held| held.remove(0))
    }

    /// Writes.
    pub fn write(&self, handle: Handle, offset: usize, bytes: &[u8]) {
        self.done(Ask::Write(handle, offset, bytes.to_vec())).expect("a write");
    }

    /// Fills.
    pub fn fill(&self, handle: Handle, offset: usize, length: usize, value: u8) {
        self.done(Ask::Fill(handle, offset, length, value)).expect("a fill");
    }

    /// Reads.
    pub fn read(&self, handle: Handle, offset: usize, length: usize) -> Vec<u8> {
        match self.ask(Ask::Read(handle, offset, length)).expect("a read") {
            Answer::Bytes(bytes) => bytes,
            other => panic!("{other:?}"),
        }
    }

    /// Whether all bytes are the same.
    pub fn all_bytes_are(&self, handle: Handle, value: u8) -> bool {
        self.yes(Ask::AllBytesAre(handle, value))
    }

    /// Whether a request can ever succeed.
    pub fn is_supported(&self, descriptor: &Descriptor) -> bool {
        self.yes(Ask::IsSupported(descriptor.clone()))
    }

    fn yes(&self, ask: Ask) -> bool {
        match self.ask(ask).expect("an answer") {
            Answer::Yes(yes) => yes,
            other => panic!("{other:?}"),
        }
    }

    /// What the kernel says.
    pub fn proof(&self, handle: Handle) -> Proof {
        match self.ask(Ask::Proof(handle)).expect("a proof") {
            Answer::Proof(proof) => proof,
            other => panic!("{other:?}"),
        }
    }

    /// Tries to write.
    pub fn write_roads(&self, handle: Handle) -> WriteRoads {
        match self.ask(Ask::WriteRoads(handle)).expect("all roads") {
            Answer::WriteRoads(roads) => roads,
            other => panic!("{other:?}"),
        }
    }

    /// What the service can do.
    pub fn capabilities(&self) -> Capabilities {
        match self.ask(Ask::Capabilities).expect("capabilities") {
            Answer::Capabilities(capabilities) => capabilities,
            other => panic!("{other:?}"),
        }
    }

    /// What the service holds.
    pub fn service_figures(&self) -> Figures {
        match self.ask(Ask::ServiceFigures).expect("figures") {
            Answer::Figures(figures) => figures,
            other => panic!("{other:?}"),
        }
    }

    /// What the session holds.
    pub fn session_figures(&self) -> Result<Figures, Refusal> {
        match self.ask(Ask::SessionFigures)? {
            Answer::Figures(figures) => Ok(figures),
            other => panic!("{other:?}"),
        }
    }

    /// Seals a region.
    pub fn seal(&self, handle: Handle) -> Result<(), Refusal> {
        self.done(Ask::Seal(handle))
    }

    /// A handle on the second descriptor of a buffer.
    pub fn second(&self, handle: Handle) -> Handle {
        self.count(Ask::Second(handle)) as Handle
    }

    /// Asks for everything.
    pub fn sweep(&self) -> Sweep {
        match self.ask(Ask::Sweep).expect("a sweep") {
            Answer::Sweep(sweep) => sweep,
            other => panic!("{other:?}"),
        }
    }

    /// The dump.
    pub fn dump(&self, args: &[&str]) -> String {
        let args = args.iter().map(|&arg| arg.to_owned()).collect();
        match self.ask(Ask::Dump(args)).expect("a dump") {
            Answer::Text(text) => text,
            other => panic!("{other:?}"),
        }
    }

    /// Waits for news of shared buffers.
    pub fn await_gone(&self) -> Vec<i64> {
        match self.ask(Ask::AwaitGone(60_000)).expect("news") {
            Answer::Ids(ids) => ids,
            other => panic!("{other:?}"),
        }
    }

    /// How many of something there are.
    pub fn count(&self, ask: Ask) -> usize {
        match self.ask(ask).expect("a count") {
            Answer::Count(count) => count,
            other => panic!("{other:?}"),
        }
    }

    /// Closes the session.
    pub fn close(&self) {
        self.done(Ask::Close).expect("a close");
    }

    /// Forks a child that tries to use what the client has, and drops its copies of all of it.
    pub fn drop_in_child(&self) {
        self.done(Ask::DropInChild).expect("a child");
    }

    /// Drops the session.
    pub fn drop_session(&self) {
        self.done(Ask::DropSession).expect("a drop");
    }
}

/// Fences, and drivers that are not ours.
impl Client {
    /// Asks for what cannot be had, and answers why.
    pub fn fails(&self, ask: Ask) -> String {
        self.begin(&ask);
        match self.finish() {
            Answer::Failed(message) => message,
            other => panic!("{ask:?}: {other:?}"),
        }
    }

    /// Waits until the process sleeps in a function of the kernel whose name contains this.
    pub fn await_sleep_in(&self, device: &Device, function: &str) {
        let path = format!("/proc/{}/wchan", self.child.borrow().id());
        device.await_true(&format!("a sleep in {function}"), || {
            let asleep = fs::read_to_string(&path).expect("the process is alive");
            asleep.contains(function).then_some(())
        });
    }

    /// Waits until a thread of the process with this name sleeps in a function of the kernel whose name
    /// contains that.
    pub fn await_sleep_of(&self, device: &Device, name: &str, function: &str) {
        let path = format!("/proc/{}/task", self.child.borrow().id());
        let read = |thread: &fs::DirEntry, what| fs::read_to_string(thread.path().join(what));
        let sleeps = |thread: &fs::DirEntry| {
            read(thread, "comm").is_ok_and(|comm| comm.trim() == name)
                && read(thread, "wchan").is_ok_and(|asleep| asleep.contains(function))
        };
        device.await_true(&format!("a sleep of {name} in {function}"), || {
            let mut threads = fs::read_dir(&path).expect("the process is alive").flatten();
            threads.any(|thread| sleeps(&thread)).then_some(())
        });
    }

    fn fence_held(&self, ask: Ask) -> FenceHandle {
        match self.ask(ask).expect("a fence") {
            Answer::FenceHeld(fence) => fence,
            other => panic!("{other:?}"),
        }
    }

    /// What a writer of a buffer, or a reader, has to wait for.
    pub fn fences_of(&self, handle: Handle, for_writer: bool) -> FenceHandle {
        self.fence_held(Ask::Fences(Fences::Of(handle, for_writer)))
    }

    /// The same at this moment, and its state only.
    pub fn fence_state_of(&self, handle: Handle, for_writer: bool) -> FenceState {
        self.fence(self.fences_of(handle, for_writer)).state
    }

    /// Makes others wait for a fence: all of them, or those who write.
    pub fn import_fence(&self, fence: FenceHandle, handle: Handle, of_writer: bool) {
        self.done(Ask::Fences(Fences::Into(fence, handle, of_writer))).expect("an import");
    }

    /// One fence of two.
    pub fn merge_fences(&self, one: FenceHandle, other: FenceHandle, name: &str) -> FenceHandle {
        self.fence_held(Ask::Fences(Fences::Merge(one, other, name.to_owned())))
    }

    /// What has become of a fence.
    pub fn fence(&self, fence: FenceHandle) -> Fence {
        match self.ask(Ask::Fences(Fences::Await(fence, 0))).expect("a state") {
            Answer::Fence(fence) => fence,
            other => panic!("{other:?}"),
        }
    }

    /// Asks vgem to do something.
    pub fn vgem(&self, ask: Vgem) {
        self.done(Ask::Vgem(ask)).expect("vgem's work");
    }

    /// What memory it is that vgem gives out for a buffer that it took.
    pub fn exported_by_vgem(&self, handle: Handle) -> (u64, u64) {
        match self.ask(Ask::Vgem(Vgem::Export(handle))).expect("an export") {
            Answer::Identity(device, inode) => (device, inode),
            other => panic!("{other:?}"),
        }
    }

    /// A fence of sw_sync that is signalled when the timeline reaches a value.
    pub fn sw_sync_fence(&self, value: u32) -> FenceHandle {
        self.fence_held(Ask::SwSync(SwSync::Fence(value)))
    }

    /// Asks sw_sync to do something.
    pub fn sw_sync(&self, ask: SwSync) {
        self.done(Ask::SwSync(ask)).expect("sw_sync's work");
    }

    /// The formats that vkms can show.
    pub fn display_formats(&self) -> Vec<u32> {
        match self.ask(Ask::Vkms(Vkms::Formats)).expect("formats") {
            Answer::Formats(formats) => formats,
            other => panic!("{other:?}"),
        }
    }

    /// Lets vkms show an image and write what is seen into a frame.
    pub fn show(&self, image: &Picture, frame: &Picture) {
        self.done(Ask::Vkms(Vkms::Show(image.clone(), frame.clone()))).expect("a frame");
    }
}

/// berthctl under any uid.
impl Device {
    /// berthctl as a command, to be run beside the test.
    pub fn berthctl_of(&self, uid: u32) -> Command {
        self.program_of("berthctl", uid)
    }

    /// A program as a command under a uid.
    pub fn program_of(&self, name: &str, uid: u32) -> Command {
        let mut command = self.program(name);
        command.uid(uid).gid(uid);
        command
    }
}

/// What the kernel says of the service's process.
impl Device {
    /// The service's pid.
    pub fn service_pid(&self) -> u32 {
        self.service.borrow().id()
    }

    /// How many threads the service has.
    pub fn service_threads(&self) -> usize {
        let pid = self.service_pid();
        fs::read_dir(format!("/proc/{pid}/task")).expect("the service is alive").count()
    }

    /// How many of them have this name (`/proc/PID/task/TID/comm`, proc(5)).
    pub fn service_threads_named(&self, name: &str) -> usize {
        let pid = self.service_pid();
        let threads = fs::read_dir(format!("/proc/{pid}/task")).expect("the service is alive");
        let has_name = |thread: &fs::DirEntry| {
            fs::read_to_string(thread.path().join("comm")).is_ok_and(|comm| comm.trim() == name)
        };
        threads.flatten().filter(has_name).count()
    }

    /// Bytes of memory that are the service's own (`RssAnon` in `/proc/PID/status`, proc(5)).
    pub fn service_memory(&self) -> u64 {
        let pid = self.service_pid();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("its status");
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        kib.expect("RssAnon") * 1024
    }

    /// Waits until the service says what it should, and tells the last difference if it never does.
    pub fn await_agreement(&self, what: &str, mut check: impl FnMut() -> Result<(), String>) {
        let began = Instant::now();
        while let Err(difference) = check() {
            let late = began.elapsed() > PATIENCE;
            assert!(!late, "{what}: still after {PATIENCE:?}:\n{difference}");
            thread::yield_now();
        }
    }
}

/// Many clients at once.
impl Client {
    /// The client's pid.
    pub fn pid(&self) -> u32 {
        self.child.borrow().id()
    }

    /// Waits for the answer to a storm that was begun.
    pub fn finish_storm(&self) -> Stormed {
        match self.finish() {
            Answer::Stormed(stormed) => stormed,
            other => panic!("{other:?}"),
        }
    }

    /// Kills clients of the same uid again and again; answers how many.
    pub fn kill_cycles(&self, cycles: KillCycles) -> usize {
        self.count(Ask::KillCycles(cycles))
    }

    /// Takes what can be had, or works: answers how much.
    pub fn crowd(&self, ask: Crowd) -> usize {
        self.count(Ask::Crowd(ask))
    }

    /// Begins the same.
    pub fn begin_crowd(&self, ask: Crowd) {
        self.begin(&Ask::Crowd(ask));
    }

    /// Waits for what was begun.
    pub fn finish_crowd(&self) -> usize {
        match self.finish() {
            Answer::Count(count) => count,
            other => panic!("{other:?}"),
        }
    }

    /// The answer to what was begun, if it is there.
    pub fn crowd_if_finished(&self) -> Option<usize> {
        match self.answer_if_there()? {
            Answer::Count(count) => Some(count),
            other => panic!("{other:?}"),
        }
    }

    /// The same, whatever it is.
    pub fn answer_if_there(&self) -> Option<Answer> {
        let line = match self.answers.try_recv() {
            Ok(line) => line,
            Err(TryRecvError::Empty) => return None,
            Err(TryRecvError::Disconnected) => panic!("the client ended"),
        };
        Some(serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line}: {error}")))
    }

    /// Lets the process do nothing more until it is killed.
    pub fn stop(&self) {
        let pid = nix::unistd::Pid::from_raw(self.pid() as i32);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGSTOP).expect("SIGSTOP");
    }

    /// Tries what SELinux may deny, of files: answers the errno, or 0.
    pub fn attempt(&self, attempt: Attempt) -> i32 {
        self.count(Ask::Attempt(attempt)) as i32
    }

    /// Holds memory beside its buffers: answers the handle, or the pid.
    pub fn hold(&self, ask: Hold) -> Handle {
        self.count(Ask::Hold(ask)) as Handle
    }
}

/// The CPU's access, and devices.
impl Client {
    /// Reads after a fence and within milliseconds.
    pub fn read_after(
        &self,
        handle: Handle,
        fence: Option<FenceHandle>,
        milliseconds: u64,
        length: usize,
    ) -> Vec<u8> {
        match self.ask(Ask::Look(Look::ReadAfter(handle, fence, milliseconds, length))) {
            Ok(Answer::Bytes(bytes)) => bytes,
            other => panic!("{other:?}"),
        }
    }

    /// Writes after a fence and within milliseconds.
    pub fn write_after(
        &self,
        handle: Handle,
        fence: Option<FenceHandle>,
        milliseconds: u64,
        bytes: &[u8],
    ) {
        let ask = Look::WriteAfter(handle, fence, milliseconds, bytes.to_vec());
        self.done(Ask::Look(ask)).expect("a write");
    }

    /// Reads, and holds what comes next has to wait for.
    pub fn end_with_fence(&self, handle: Handle, next_writes: bool) -> FenceHandle {
        self.fence_held(Ask::Look(Look::EndWithFence(handle, next_writes)))
    }

    /// Reads, and has others wait for a fence.
    pub fn end_before(&self, handle: Handle, fence: FenceHandle, writes: bool) {
        self.done(Ask::Look(Look::EndBefore(handle, fence, writes))).expect("an end");
    }

    /// What an event loop finds ready: the fence, the buffer to be read, and to be written.
    pub fn ready(&self, handle: Handle, fence: FenceHandle) -> (bool, bool, bool) {
        let bits = self.count(Ask::Look(Look::Ready(handle, fence)));
        (bits & 1 != 0, bits & 2 != 0, bits & 4 != 0)
    }

    /// Paints an image; answers how many bytes.
    pub fn paint(&self, handle: Handle) -> usize {
        self.count(Ask::Look(Look::Paint(handle)))
    }

    /// Whether another process painted it.
    pub fn is_painted(&self, handle: Handle) -> bool {
        self.yes(Ask::Look(Look::Painted(handle)))
    }
}

/// Payloads.
impl Client {
    /// Receives payloads from now on.
    pub fn serve_payloads(&self) {
        self.done(Ask::Payload(Payloads::Serve)).expect("a service");
    }

    /// Sends one: what was received?
    pub fn payload(&self, ask: Payloads) -> String {
        match self.ask(Ask::Payload(ask)).expect("a payload") {
            Answer::Text(text) => text,
            other => panic!("{other:?}"),
        }
    }

    /// Whether the region of the last payload can be used again within milliseconds.
    pub fn use_again(&self, milliseconds: u64) -> Result<(), String> {
        self.begin(&Ask::Payload(Payloads::UseAgain(milliseconds)));
        match self.finish() {
            Answer::Done => Ok(()),
            Answer::Failed(message) => Err(message),
            other => panic!("{other:?}"),
        }
    }
}
