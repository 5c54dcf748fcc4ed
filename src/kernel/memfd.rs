// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! memfd: anonymous memory by descriptor whose size can be fixed by seals (Linux 3.17 and later,
//! memfd_create(2)).

mod lease;
mod pages;

use std::fs::{File, OpenOptions};
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Mutex;

use nix::errno::Errno;
pub use nix::fcntl::SealFlag;
use nix::fcntl::{fcntl, FcntlArg};
use nix::libc::{self, FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE};
use nix::sys::memfd::{memfd_create, MemFdCreateFlag};
use nix::sys::stat::{fchmod, fstat, Mode, SFlag};
use nix::unistd::{ftruncate, geteuid};
use nix::NixPath;

use crate::{identity, page_size, KernelError};

pub use pages::Pages;

/// The longest name that the kernel takes, in bytes: `MFD_NAME_MAX_LEN` of `mm/memfd.c`.
pub const MAX_NAME_BYTES: usize = 249;

/// `MFD_NOEXEC_SEAL` (`include/uapi/linux/memfd.h`, Linux 6.3): never executable, for good.
const NOEXEC_SEAL: MemFdCreateFlag = MemFdCreateFlag::from_bits_retain(0x8);

/// `F_SEAL_FUTURE_WRITE` (`include/uapi/linux/fcntl.h`, Linux 5.1): no write and no new writable
/// mapping. Not in nix 0.27.
pub const FUTURE_WRITE_SEAL: SealFlag = SealFlag::from_bits_retain(0x10);

/// The unit of `st_blocks` (stat(3type)).
const BLOCK_BYTES: u64 = 512;

/// An owned memfd that can neither shrink nor grow.
#[derive(Debug)]
pub struct Memfd {
    fd: OwnedFd,
    /// It was opened by open(2), and not made: it counts among the writers that the kernel knows of.
    is_reopened: bool,
    /// Held while a lease on it is taken to look for writers, and while it is opened anew, which that
    /// lease would refuse or delay.
    lease: Mutex<()>,
}

impl Memfd {
    fn new(fd: OwnedFd, is_reopened: bool) -> Memfd {
        Memfd { fd, is_reopened, lease: Mutex::new(()) }
    }

    /// Makes a memfd of exactly `bytes`, which reads zero. Its pages come when they are first
    /// touched and are charged to whoever touches them, so nothing here does.
    ///
    /// Only its owner's uid can open it anew: a process of another uid that was given a read-only
    /// descriptor cannot turn it writable through `/proc`.
    pub fn create(name: &str, bytes: u64) -> Result<Memfd, KernelError> {
        Memfd::make(name, bytes, |fd| fchmod(fd, Mode::S_IRUSR | Mode::S_IWUSR))
    }

    /// The same for memory that is sealed against writing before anybody else gets a descriptor of
    /// it: who has one may open it anew, by which nothing is won.
    ///
    /// It takes no right but to read, write and map. Android's domains have those on their own memfds
    /// and not `setattr`, which a mode takes (`tmpfs_domain` of AOSP's `te_macros`).
    pub fn create_to_seal(name: &str, bytes: u64) -> Result<Memfd, KernelError> {
        Memfd::make(name, bytes, |_| Ok(()))
    }

    fn make(
        name: &str,
        bytes: u64,
        guard: impl FnOnce(RawFd) -> nix::Result<()>,
    ) -> Result<Memfd, KernelError> {
        let refuse = |errno| KernelError::new(format!("memfd {name:?} of {bytes} bytes"), errno);
        let length = i64::try_from(bytes).map_err(|_| refuse(Errno::EFBIG))?;
        let flags = MemFdCreateFlag::MFD_CLOEXEC | MemFdCreateFlag::MFD_ALLOW_SEALING;
        let made = name.with_nix_path(|name| match memfd_create(name, flags | NOEXEC_SEAL) {
            Err(Errno::EINVAL) => memfd_create(name, flags),
            result => result,
        });
        let fd = made.and_then(|made| made).map_err(refuse)?;
        ftruncate(&fd, length).map_err(refuse)?;
        guard(fd.as_raw_fd()).map_err(refuse)?;
        let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW;
        fcntl(fd.as_raw_fd(), FcntlArg::F_ADD_SEALS(seals)).map_err(refuse)?;
        Ok(Memfd::new(fd, false))
    }

    /// A memfd of this process's uid that was made as [`create`](Memfd::create) makes them, by this
    /// process or another, given a descriptor of it of whatever access: it can neither shrink nor
    /// grow, and nobody else could make one like it. What `fd` is open on need not be trusted; no file
    /// system is asked before it is known to be the kernel's own.
    ///
    /// # Errors
    ///
    /// `EINVAL` for anything else, and `EACCES` for another uid's.
    pub fn adopt(fd: BorrowedFd<'_>) -> Result<Memfd, KernelError> {
        let refuse =
            |what: String, errno| KernelError::new(format!("adopt a memfd: {what}"), errno);
        let fixed = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW;
        let seals = seals(fd).map_err(|error| refuse("not sealed".to_owned(), error.errno))?;
        if !seals.contains(fixed) {
            return Err(refuse(format!("seals {:#x}", seals.bits()), Errno::EINVAL));
        }
        // What has seals is in memory: fstat asks nobody's file system.
        let status = fstat(fd.as_raw_fd()).map_err(|errno| refuse("fstat".to_owned(), errno))?;
        let (kind, mode) = (status.st_mode & SFlag::S_IFMT.bits(), status.st_mode & 0o777);
        if kind != SFlag::S_IFREG.bits() || mode != 0o600 {
            return Err(refuse(format!("mode {mode:#o}"), Errno::EINVAL));
        }
        if status.st_uid != geteuid().as_raw() {
            return Err(refuse(format!("of uid {}", status.st_uid), Errno::EACCES));
        }
        // A new open file: what was sent may be open to read only.
        let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
        let opened = OpenOptions::new().read(true).write(true).open(path).map(OwnedFd::from);
        let adopted = opened.map(|fd| Memfd::new(fd, true));
        adopted.map_err(KernelError::io(|| "re-open a memfd".to_owned()))
    }

    /// Gives all of its pages back to the kernel, for everybody: who has it mapped reads zeros from
    /// here on, and pages come anew when they are touched. Its size stays. (fallocate(2),
    /// `FALLOC_FL_PUNCH_HOLE`; Linux 3.5 and later.)
    ///
    /// A udmabuf keeps the pages that it had: from here on the two are different memory.
    ///
    /// # Errors
    ///
    /// `EPERM` if it is sealed against writing.
    pub fn punch(&self) -> Result<(), KernelError> {
        self.punch_range(0..identity::size(self.as_fd())?)
    }

    /// The same for a part of it, in bytes. Its start is a multiple of the page size; it takes the
    /// whole of the page that it ends in.
    ///
    /// # Errors
    ///
    /// `EPERM` as for [`punch`](Memfd::punch).
    pub fn punch_range(&self, range: Range<u64>) -> Result<(), KernelError> {
        let refuse = |errno| KernelError::new(format!("punch bytes {range:?} of a memfd"), errno);
        if range.is_empty() {
            return Ok(());
        }
        // Of a page that the hole ends in, the kernel would only clear the part: it ends with a page.
        let end = range.end.checked_next_multiple_of(page_size());
        let number = |bytes: Option<u64>| bytes.and_then(|bytes| i64::try_from(bytes).ok());
        let start = number(Some(range.start)).ok_or_else(|| refuse(Errno::EFBIG))?;
        let length = number(end.map(|end| end.saturating_sub(range.start)));
        let length = length.ok_or_else(|| refuse(Errno::EFBIG))?;
        let hole = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
        // nix has the call, but not for Android.
        // SAFETY: the descriptor is open as long as its owner is; the rest are numbers.
        let punched = unsafe { libc::fallocate(self.fd.as_raw_fd(), hole, start, length) };
        Errno::result(punched).map(|_| ()).map_err(refuse)
    }

    /// The bytes of its pages that are there, in memory or in the swap (`st_blocks`, which
    /// `mm/shmem.c` counts by the page).
    pub fn taken_bytes(&self) -> Result<u64, KernelError> {
        let status = fstat(self.fd.as_raw_fd())
            .map_err(KernelError::context(|| "ask how much a memfd takes".to_owned()))?;
        Ok(u64::try_from(status.st_blocks).unwrap_or(0).saturating_mul(BLOCK_BYTES))
    }

    /// A second descriptor that reads and writes.
    pub fn duplicate(&self) -> Result<OwnedFd, KernelError> {
        let copied = self.fd.try_clone();
        copied.map_err(KernelError::io(|| "duplicate the descriptor of a memfd".to_owned()))
    }

    /// Reads bytes from `offset` without a mapping: pages that nobody touched read zero and do not
    /// come into being. How many were read: fewer than asked for only at the end.
    pub fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<usize, KernelError> {
        let refuse = |errno| KernelError::new(format!("read a memfd at offset {offset}"), errno);
        let from = libc::off_t::try_from(offset).map_err(|_| refuse(Errno::EOVERFLOW))?;
        loop {
            // SAFETY: the descriptor is open as long as its owner is, and the kernel writes at most
            // `into.len()` bytes into `into`, which is live and exclusive.
            let read = unsafe {
                libc::pread(self.fd.as_raw_fd(), into.as_mut_ptr().cast(), into.len(), from)
            };
            match Errno::result(read) {
                Ok(read) => return Ok(usize::try_from(read).unwrap_or(0)),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(refuse(errno)),
            }
        }
    }

    /// Lets nobody add a seal any more: whoever holds a writable descriptor could otherwise keep the
    /// contents from ever being taken.
    pub fn seal_seals(&self) -> Result<(), KernelError> {
        fcntl(self.fd.as_raw_fd(), FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_SEAL))
            .map(|_| ())
            .map_err(KernelError::context(|| "seal the seals of a memfd".to_owned()))
    }

    /// A descriptor that only reads: a new open file, not a duplicate, so that neither a writable
    /// mapping nor `mprotect` can be had from it.
    pub fn open_read_only(&self) -> Result<OwnedFd, KernelError> {
        let path = format!("/proc/self/fd/{}", self.fd.as_raw_fd());
        let _no_lease = self.no_lease();
        let opened = File::open(path).map(OwnedFd::from);
        opened.map_err(KernelError::io(|| "re-open a memfd read-only".to_owned()))
    }

    /// Ends writing for everybody and for good: from here on no descriptor of the memfd, of whatever
    /// access mode, writes or gives a writable mapping, and no seal can be added. Mappings that are
    /// writable already stay so, and so does a udmabuf. Linux 5.1 and later; EINVAL before.
    ///
    /// Holes can no longer be punched either: read-only for good and purgeable exclude each other.
    pub fn seal_future_writes(&self) -> Result<(), KernelError> {
        let wanted = FUTURE_WRITE_SEAL | SealFlag::F_SEAL_SEAL;
        // What is frozen is sealed all the more.
        let any = FUTURE_WRITE_SEAL | SealFlag::F_SEAL_WRITE;
        match fcntl(self.fd.as_raw_fd(), FcntlArg::F_ADD_SEALS(wanted)) {
            // That is also the answer when all of it was sealed before.
            Err(Errno::EPERM) if seals(self.as_fd())?.intersects(any) => Ok(()),
            result => result.map(|_| ()).map_err(KernelError::context(|| {
                "seal a memfd against writing from now on".to_owned()
            })),
        }
    }

    /// [`freeze`]s it.
    pub fn freeze(&self) -> Result<(), KernelError> {
        freeze(self.as_fd())
    }

    /// Copies bytes into it at `offset`, without a mapping: where pages are still to come this is
    /// cheaper, since the kernel does not clear what it will overwrite.
    ///
    /// # Errors
    ///
    /// `EPERM` if they would not fit or it is sealed against writing; then any part of them may have
    /// been written.
    pub fn write_at(&self, mut offset: u64, mut from: &[u8]) -> Result<(), KernelError> {
        let refuse =
            |errno, at| KernelError::new(format!("write to a memfd at offset {at}"), errno);
        while !from.is_empty() {
            let at = libc::off64_t::try_from(offset).map_err(|_| refuse(Errno::EFBIG, offset))?;
            // nix has the call, but not for Android.
            // SAFETY: the descriptor is open as long as its owner is, and the kernel reads no more
            // than the bytes of `from`, which live across the call.
            let written = unsafe {
                libc::pwrite64(self.as_fd().as_raw_fd(), from.as_ptr().cast(), from.len(), at)
            };
            match Errno::result(written) {
                Ok(0) => return Err(refuse(Errno::ENOSPC, offset)),
                Ok(written) => {
                    let written = usize::try_from(written).unwrap_or(0);
                    from = from.get(written..).unwrap_or_default();
                    offset = offset.saturating_add(written as u64);
                }
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(refuse(errno, offset)),
            }
        }
        Ok(())
    }
}

impl AsFd for Memfd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl From<Memfd> for OwnedFd {
    fn from(memfd: Memfd) -> OwnedFd {
        memfd.fd
    }
}

/// The seals on a memfd; an error for a descriptor that cannot have any.
pub fn seals(fd: BorrowedFd<'_>) -> Result<SealFlag, KernelError> {
    let bits = fcntl(fd.as_raw_fd(), FcntlArg::F_GET_SEALS)
        .map_err(KernelError::context(|| "read the seals of a descriptor".to_owned()))?;
    Ok(SealFlag::from_bits_retain(bits))
}

/// Whether somebody could cut memory off that is mapped, after which touching it raises SIGBUS: a
/// file or a memfd that is not sealed against it. ashmem and dma-bufs have one size for good.
pub fn can_shrink(fd: BorrowedFd<'_>) -> Result<bool, KernelError> {
    if let Ok(seals) = seals(fd) {
        return Ok(!seals.contains(SealFlag::F_SEAL_SHRINK));
    }
    let status = fstat(fd.as_raw_fd()).map_err(KernelError::context(|| "fstat".to_owned()))?;
    Ok(status.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFREG.bits())
}

/// Ends writing for everybody and for good, by whatever road: no mapping is writable, and none will be;
/// no hole can be punched, no seal added. Bytes that were there stay there, so that a
/// [`FrozenMapping`](crate::frozen::FrozenMapping) can be had.
///
/// # Errors
///
/// `EBUSY` while anybody has it mapped to write, or uses its pages otherwise, as a udmabuf does;
/// `EPERM` if the descriptor was not opened to write or no seal can be added.
pub fn freeze(fd: BorrowedFd<'_>) -> Result<(), KernelError> {
    let wanted = SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_SEAL;
    let sealed = fcntl(fd.as_raw_fd(), FcntlArg::F_ADD_SEALS(wanted));
    sealed.map(|_| ()).map_err(KernelError::context(|| "freeze a memfd".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forking::turn;
    use crate::mapping::{Mapping, ReadOnly, ReadWrite};
    use nix::fcntl::FdFlag;
    use std::io::Write;

    #[test]
    fn a_memfd_has_the_size_asked_for_and_keeps_it() {
        for create in [Memfd::create, Memfd::create_to_seal] {
            let memfd = create("fixed", 10_000).unwrap();
            assert_eq!(identity::size(memfd.as_fd()).unwrap(), 10_000);
            assert_eq!(ftruncate(&memfd, 4096), Err(Errno::EPERM));
            assert_eq!(ftruncate(&memfd, 20_000), Err(Errno::EPERM));
            let sealed = seals(memfd.as_fd()).unwrap();
            assert!(sealed.contains(SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW));
            assert!(!sealed.contains(SealFlag::F_SEAL_WRITE), "nobody asked for this seal");
            assert!(!sealed.contains(SealFlag::F_SEAL_SEAL), "nobody asked for this seal");
        }
    }

    #[test]
    fn both_descriptors_close_on_exec_and_the_mode_is_the_owners() {
        let memfd = Memfd::create("modes", 4096).unwrap();
        let reader = memfd.open_read_only().unwrap();
        for fd in [memfd.as_fd(), reader.as_fd()] {
            let flags = fcntl(fd.as_raw_fd(), FcntlArg::F_GETFD).unwrap();
            assert!(FdFlag::from_bits_retain(flags).contains(FdFlag::FD_CLOEXEC));
        }
        let mode = nix::sys::stat::fstat(memfd.fd.as_raw_fd()).unwrap().st_mode;
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_read_only_descriptor_refuses_to_write() {
        let memfd = Memfd::create("read-only", 4096).unwrap();
        let mut reader = File::from(memfd.open_read_only().unwrap());
        assert_eq!(reader.write(b"x").unwrap_err().raw_os_error(), Some(Errno::EBADF as i32));
        assert_eq!(File::from(OwnedFd::from(memfd)).write(b"x").unwrap(), 1);
    }

    #[test]
    fn a_memfd_sealed_against_writing_is_read_by_all_and_written_by_whoever_had_mapped_it() {
        let memfd = Memfd::create("published", 4096).unwrap();
        let writer: Mapping<ReadWrite> = Mapping::new(memfd.as_fd(), 4096).unwrap();
        memfd.seal_future_writes().unwrap();
        writer.write(0, b"late").unwrap();
        let reader: Mapping<ReadOnly> = Mapping::new(memfd.as_fd(), 4096).unwrap();
        let mut seen = [0; 4];
        reader.read(0, &mut seen).unwrap();
        assert_eq!(&seen, b"late");
        let refused = Mapping::<ReadWrite>::new(memfd.as_fd(), 4096).unwrap_err();
        assert_eq!(refused.errno, Errno::EPERM);
        let write = File::from(OwnedFd::from(memfd)).write(b"x").unwrap_err();
        assert_eq!(write.raw_os_error(), Some(Errno::EPERM as i32));
    }

    #[test]
    fn a_memfd_can_be_sealed_against_writing_twice_and_not_against_anything_else() {
        let memfd = Memfd::create("twice", 4096).unwrap();
        memfd.seal_future_writes().unwrap();
        memfd.seal_future_writes().unwrap();
        let more = fcntl(memfd.fd.as_raw_fd(), FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_WRITE));
        assert_eq!(more, Err(Errno::EPERM));
        // Sealed against seals, it cannot be sealed against writing any more.
        let memfd = Memfd::create("too late", 4096).unwrap();
        fcntl(memfd.fd.as_raw_fd(), FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_SEAL)).unwrap();
        assert_eq!(memfd.seal_future_writes().unwrap_err().errno, Errno::EPERM);
    }

    #[test]
    fn what_is_punched_reads_zero_and_can_be_written_again() {
        let memfd = Memfd::create("punched", 3 * 4096 + 5).unwrap();
        let mapping: Mapping<ReadWrite> = Mapping::new(memfd.as_fd(), 3 * 4096 + 5).unwrap();
        mapping.fill(0, mapping.size(), 0x33).unwrap();
        memfd.punch().unwrap();
        let mut bytes = vec![1; mapping.size()];
        mapping.read(0, &mut bytes).unwrap();
        assert!(bytes.iter().all(|byte| *byte == 0));
        assert_eq!(identity::size(memfd.as_fd()).unwrap(), 3 * 4096 + 5);
        mapping.write(0, b"again").unwrap();
        memfd.seal_future_writes().unwrap();
        assert_eq!(memfd.punch().unwrap_err().errno, Errno::EPERM);
    }

    #[test]
    fn a_memfd_is_adopted_by_whatever_descriptor_and_can_be_written_then() {
        let memfd = Memfd::create("adopted", 4096).unwrap();
        let reader = memfd.open_read_only().unwrap();
        for fd in [memfd.as_fd(), reader.as_fd()] {
            let adopted = Memfd::adopt(fd).unwrap();
            let identity = identity::Identity::of(adopted.as_fd()).unwrap();
            assert_eq!(identity, identity::Identity::of(memfd.as_fd()).unwrap());
            assert_eq!(File::from(OwnedFd::from(adopted)).write(b"x").unwrap(), 1);
        }
        memfd.seal_future_writes().unwrap();
        Memfd::adopt(reader.as_fd()).unwrap();
    }

    #[test]
    fn what_is_no_memfd_of_ours_is_not_adopted() {
        let open = |flags| {
            let name = std::ffi::CString::new("any").unwrap();
            memfd_create(&name, flags | MemFdCreateFlag::MFD_CLOEXEC).unwrap()
        };
        let loose = open(MemFdCreateFlag::MFD_ALLOW_SEALING);
        assert_eq!(Memfd::adopt(loose.as_fd()).unwrap_err().errno, Errno::EINVAL);
        let unsealable = open(MemFdCreateFlag::empty());
        assert_eq!(Memfd::adopt(unsealable.as_fd()).unwrap_err().errno, Errno::EINVAL);
        let fixed = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW;
        fcntl(loose.as_raw_fd(), FcntlArg::F_ADD_SEALS(fixed)).unwrap();
        let error = Memfd::adopt(loose.as_fd()).unwrap_err();
        assert!(error.to_string().contains("mode"), "everybody could open it: {error}");
        let (socket, _peer) = std::os::unix::net::UnixStream::pair().unwrap();
        Memfd::adopt(socket.as_fd()).unwrap_err();
        Memfd::adopt(File::open("/").unwrap().as_fd()).unwrap_err();
    }

    #[test]
    fn only_what_is_sealed_cannot_shrink() {
        let sealed = Memfd::create("sealed", 4096).unwrap();
        assert!(!can_shrink(sealed.as_fd()).unwrap());
        let open = memfd_create(
            &std::ffi::CString::new("open").unwrap(),
            MemFdCreateFlag::MFD_ALLOW_SEALING,
        )
        .unwrap();
        assert!(can_shrink(open.as_fd()).unwrap());
        let file = File::open("/proc/self/exe").unwrap();
        assert!(can_shrink(file.as_fd()).unwrap());
        let null = File::open("/dev/null").unwrap();
        assert!(!can_shrink(null.as_fd()).unwrap());
    }

    #[test]
    fn what_is_sealed_against_writing_cannot_be_written_by_a_descriptor_to_write() {
        let memfd = Memfd::create("view", 4096).unwrap();
        memfd.seal_future_writes().unwrap();
        let writer = memfd.open_again().unwrap();
        let refused = Mapping::<ReadWrite>::new(writer.as_fd(), 4096).unwrap_err();
        assert_eq!(refused.errno, Errno::EPERM);
        let mapping: Mapping<ReadOnly> = Mapping::new(writer.as_fd(), 4096).unwrap();
        assert_eq!(mapping.size(), 4096);
        let write = File::from(writer).write(b"x").unwrap_err();
        assert_eq!(write.raw_os_error(), Some(Errno::EPERM as i32));
    }

    #[test]
    fn what_is_frozen_is_written_by_nobody_and_not_while_somebody_could() {
        let _turn = turn();
        let memfd = Memfd::create("frozen", 4096).unwrap();
        let writer: Mapping<ReadWrite> = Mapping::new(memfd.as_fd(), 4096).unwrap();
        assert_eq!(memfd.freeze().unwrap_err().errno, Errno::EBUSY);
        writer.write(0, b"last").unwrap();
        drop(writer);
        memfd.freeze().unwrap();
        let refused = Mapping::<ReadWrite>::new(memfd.as_fd(), 4096).unwrap_err();
        assert_eq!(refused.errno, Errno::EPERM);
        assert_eq!(memfd.write_at(0, b"x").unwrap_err().errno, Errno::EPERM);
        assert_eq!(memfd.punch().unwrap_err().errno, Errno::EPERM);
        memfd.seal_future_writes().unwrap();
    }

    #[test]
    fn bytes_are_written_without_a_mapping_and_not_beyond_the_end() {
        let memfd = Memfd::create("written", 10_000).unwrap();
        memfd.write_at(9_990, b"0123456789").unwrap();
        memfd.write_at(5_000, b"").unwrap();
        let reader: Mapping<ReadOnly> = Mapping::new(memfd.as_fd(), 10_000).unwrap();
        let mut seen = [1; 11];
        reader.read(9_989, &mut seen).unwrap();
        assert_eq!(&seen, b"\x000123456789");
        for (offset, errno) in [(9_991, Errno::EPERM), (u64::MAX, Errno::EFBIG)] {
            let error = memfd.write_at(offset, b"0123456789").unwrap_err();
            assert_eq!(error.errno, errno, "{error}");
        }
    }

    #[test]
    fn impossible_requests_name_themselves() {
        let error = Memfd::create("huge", u64::MAX).unwrap_err();
        assert_eq!(error.errno, Errno::EFBIG);
        assert!(error.to_string().contains("18446744073709551615"), "{error}");
        assert_eq!(Memfd::create("n\0l", 4096).unwrap_err().errno, Errno::EINVAL);
    }

    #[test]
    fn a_part_is_punched_by_whole_pages_and_the_rest_stays() {
        let page = page_size();
        let memfd = Memfd::create("part", 4 * page).unwrap();
        memfd.seal_seals().unwrap();
        let mapping: Mapping<ReadWrite> = Mapping::new(memfd.as_fd(), 4 * page).unwrap();
        mapping.fill(0, 4 * page as usize, 0x55).unwrap();
        memfd.punch_range(page..2 * page + 1).unwrap();
        memfd.punch_range(page..page).unwrap();
        let mut bytes = vec![0; 4 * page as usize];
        mapping.read(0, &mut bytes).unwrap();
        for (number, part) in bytes.chunks(page as usize).enumerate() {
            let expected = if number == 1 || number == 2 { 0 } else { 0x55 };
            assert!(part.iter().all(|byte| *byte == expected), "page {number}");
        }
    }

    #[test]
    fn reading_by_calls_makes_no_page() {
        let page = page_size();
        let memfd = Memfd::create("read", 3 * page).unwrap();
        let mapping: Mapping<ReadWrite> = Mapping::new(memfd.as_fd(), 3 * page).unwrap();
        mapping.write(page as usize, b"here").unwrap();
        let mut bytes = vec![0xff; 3 * page as usize + 5];
        assert_eq!(memfd.read_at(0, &mut bytes).unwrap(), 3 * page as usize);
        assert_eq!(bytes[page as usize - 1..][..6], *b"\0here\0");
        assert_eq!(memfd.read_at(page + 1, &mut bytes[..3]).unwrap(), 3);
        assert_eq!(&bytes[..3], b"ere");
        assert_eq!(memfd.read_at(3 * page, &mut bytes).unwrap(), 0);
        let status = nix::sys::stat::fstat(memfd.fd.as_raw_fd()).unwrap();
        assert_eq!(status.st_blocks as u64 * 512, page);
    }

    #[test]
    fn whose_seals_are_sealed_can_be_punched_and_not_be_sealed() {
        let memfd = Memfd::create("sealed", 4096).unwrap();
        memfd.seal_seals().unwrap();
        assert_eq!(memfd.seal_future_writes().unwrap_err().errno, Errno::EPERM);
        memfd.punch().unwrap();
    }
}
