// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Memory that did not come from the allocator: a dma-buf of another HAL, a memfd, an ashmem region,
//! POSIX shared memory or a file, by whatever road its descriptor came. It is mapped and looked at
//! as buffers are.

use std::fmt;
use std::ops::RangeBounds;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use berth_kernel::ashmem::{self, ProtFlags};
use berth_kernel::descriptor::{AccessMode, DescriptorKind};
use berth_kernel::identity;
use berth_kernel::mapping::{Mapping, Protection, ReadOnly, ReadWrite};
use berth_kernel::memfd::{self, SealFlag};

use crate::brackets::BracketedFd;
use crate::mapped::MappedBuffer;
use crate::range::span;
use crate::Error;

/// What memory is, by the kernel's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ForeignKind {
    /// A dma-buf, of whatever exporter; needs brackets.
    DmaBuf,
    /// A memfd, sealed or not.
    Memfd,
    /// An ashmem region.
    Ashmem,
    /// A file; POSIX shared memory is one on tmpfs.
    File,
}

impl fmt::Display for ForeignKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ForeignKind::DmaBuf => "a dma-buf",
            ForeignKind::Memfd => "a memfd",
            ForeignKind::Ashmem => "an ashmem region",
            ForeignKind::File => "a file",
        })
    }
}

/// Memory that somebody else made. Dropping it closes the descriptor.
#[derive(Debug)]
pub struct ForeignMemory {
    fd: BracketedFd,
    kind: ForeignKind,
    /// The caller says that nobody truncates it.
    is_vouched: bool,
}

impl ForeignMemory {
    /// Takes a descriptor for what the kernel says it is. One that stands for no memory, or that may
    /// not be read, is refused by the name of what it is.
    ///
    /// An ashmem region gets its memory here, if it had none: its size is fixed from then on.
    pub fn adopt(fd: OwnedFd) -> Result<ForeignMemory, Error> {
        let kind = match DescriptorKind::of(fd.as_fd())? {
            DescriptorKind::DmaBuf => ForeignKind::DmaBuf,
            DescriptorKind::Memfd => ForeignKind::Memfd,
            DescriptorKind::Ashmem => ForeignKind::Ashmem,
            DescriptorKind::File => ForeignKind::File,
            other => return Err(Error::NoMemory(other.to_string())),
        };
        if !AccessMode::of(fd.as_fd())?.reads {
            return Err(Error::NoMemory(format!("{kind} that was not opened to be read")));
        }
        if kind == ForeignKind::Ashmem {
            ashmem::fix(fd.as_fd())?;
        }
        Ok(ForeignMemory { fd: BracketedFd::new(fd), kind, is_vouched: false })
    }

    /// What it is.
    pub fn kind(&self) -> ForeignKind {
        self.kind
    }

    /// Bytes that it has now; for good if [`is_size_fixed`](ForeignMemory::is_size_fixed).
    pub fn size(&self) -> Result<u64, Error> {
        Ok(identity::size(self.fd.as_fd())?)
    }

    /// Whether nobody can make it smaller: a dma-buf, an ashmem region, or a memfd that is sealed
    /// against shrinking.
    pub fn is_size_fixed(&self) -> bool {
        match self.kind {
            ForeignKind::DmaBuf | ForeignKind::Ashmem => true,
            ForeignKind::Memfd => memfd::seals(self.fd.as_fd())
                .is_ok_and(|seals| seals.contains(SealFlag::F_SEAL_SHRINK)),
            ForeignKind::File => false,
        }
    }

    /// Whether it may be mapped to be written now: by the descriptor's access mode, a memfd's seals
    /// and an ashmem region's protection. Seals and protection only ever take that away.
    pub fn is_writable(&self) -> bool {
        let fd = self.fd.as_fd();
        let is_allowed = match self.kind {
            ForeignKind::DmaBuf | ForeignKind::File => true,
            ForeignKind::Memfd => memfd::seals(fd).is_ok_and(|seals| {
                !seals.intersects(SealFlag::F_SEAL_WRITE | memfd::FUTURE_WRITE_SEAL)
            }),
            ForeignKind::Ashmem => {
                ashmem::protection_of(fd).is_ok_and(|may| may.contains(ProtFlags::PROT_WRITE))
            }
        };
        is_allowed && AccessMode::of(fd).is_ok_and(|mode| mode.writes)
    }

    /// Permits mappings of memory whose size is not fixed. Say this only where it is certain that
    /// nobody who can truncate it will: whoever looks at a page that a mapping has and the memory
    /// has no longer gets SIGBUS, which ends the process. A peer that is not trusted could do that
    /// to you at any time.
    pub fn vouch_that_nobody_truncates(self) -> ForeignMemory {
        ForeignMemory { is_vouched: true, ..self }
    }

    /// Maps a range of bytes to read, `..` for all that there are. It need not begin at a page.
    ///
    /// Refused where the size is not fixed, unless you
    /// [vouch](ForeignMemory::vouch_that_nobody_truncates).
    pub fn map_read_only(
        &self,
        range: impl RangeBounds<u64>,
    ) -> Result<MappedBuffer<'_, ReadOnly>, Error> {
        self.map_as(range)
    }

    /// Maps a range of bytes to read and write; otherwise as
    /// [`map_read_only`](ForeignMemory::map_read_only).
    pub fn map(&self, range: impl RangeBounds<u64>) -> Result<MappedBuffer<'_, ReadWrite>, Error> {
        if !self.is_writable() {
            return Err(Error::ForeignReadOnly(self.kind));
        }
        self.map_as(range)
    }

    fn map_as<P: Protection>(
        &self,
        range: impl RangeBounds<u64>,
    ) -> Result<MappedBuffer<'_, P>, Error> {
        if !self.is_vouched && !self.is_size_fixed() {
            return Err(Error::MayShrink(self.kind));
        }
        let (offset, bytes) = span(range, self.size()?);
        let mapping = Mapping::of_range(self.fd.as_fd(), offset, bytes)?;
        let is_dma_buf = self.kind == ForeignKind::DmaBuf;
        Ok(MappedBuffer::new(mapping, is_dma_buf.then_some(&self.fd)))
    }
}

impl AsFd for ForeignMemory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl From<ForeignMemory> for OwnedFd {
    fn from(memory: ForeignMemory) -> OwnedFd {
        memory.fd.into_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use berth_facilities::{missing, Facility};
    use berth_kernel::ashmem::Ashmem;
    use berth_kernel::dma_heap::DmaHeap;
    use berth_kernel::memfd::Memfd;
    use nix::errno::Errno;
    use nix::fcntl::{fcntl, FcntlArg};
    use nix::sys::memfd::{memfd_create, MemFdCreateFlag};
    use nix::unistd::ftruncate;
    use std::ffi::CString;
    use std::fs::{self, File, OpenOptions};
    use std::ops::Bound;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;
    use std::path::PathBuf;

    fn adopt(memory: impl Into<OwnedFd>) -> ForeignMemory {
        ForeignMemory::adopt(memory.into()).unwrap()
    }

    /// A file that nobody else has, open to read and write.
    fn file(test: &str, bytes: u64) -> File {
        let path = path(test);
        let options = OpenOptions::new().read(true).write(true).create_new(true).clone();
        let file = options.open(&path).unwrap();
        fs::remove_file(&path).unwrap();
        file.set_len(bytes).unwrap();
        file
    }

    fn path(test: &str) -> PathBuf {
        std::env::temp_dir().join(format!("berth-{}-{test}", std::process::id()))
    }

    fn memfd(bytes: i64, seals: SealFlag) -> OwnedFd {
        let name = CString::new("foreign").unwrap();
        let flags = MemFdCreateFlag::MFD_CLOEXEC | MemFdCreateFlag::MFD_ALLOW_SEALING;
        let fd = memfd_create(&name, flags).unwrap();
        ftruncate(&fd, bytes).unwrap();
        fcntl(fd.as_raw_fd(), FcntlArg::F_ADD_SEALS(seals)).unwrap();
        fd
    }

    /// Writes by one mapping and reads by another, which begins elsewhere.
    fn write_and_read(memory: &ForeignMemory) {
        let writer = memory.map(..).unwrap();
        assert_eq!(writer.size() as u64, memory.size().unwrap());
        let access = writer.begin_write().unwrap();
        access.write(100, b"foreign").unwrap();
        access.end().unwrap();
        let reader = memory.map_read_only(101..=106).unwrap();
        assert_eq!(reader.size(), 6);
        let mut seen = [0; 6];
        reader.begin_read().unwrap().read(0, &mut seen).unwrap();
        assert_eq!(&seen, b"oreign");
        let beyond = reader.begin_read().unwrap().read(1, &mut seen).unwrap_err();
        assert!(matches!(beyond, Error::OutOfRange(_)), "{beyond}");
    }

    fn errno(error: &Error) -> Option<Errno> {
        match error {
            Error::Kernel(error) => Some(error.errno),
            _ => None,
        }
    }

    #[test]
    fn a_memfd_that_cannot_shrink_is_mapped() {
        let memory = adopt(Memfd::create("foreign", 10_000).unwrap());
        assert_eq!(memory.kind(), ForeignKind::Memfd);
        assert!(memory.is_size_fixed() && memory.is_writable());
        assert_eq!(memory.size().unwrap(), 10_000);
        write_and_read(&memory);
    }

    #[test]
    fn memory_that_can_shrink_is_mapped_only_if_somebody_vouches() {
        let memories = [adopt(memfd(10_000, SealFlag::F_SEAL_GROW)), adopt(file("shrink", 10_000))];
        for (memory, kind) in memories.into_iter().zip([ForeignKind::Memfd, ForeignKind::File]) {
            assert_eq!(memory.kind(), kind);
            assert!(!memory.is_size_fixed());
            let refused = memory.map_read_only(..).unwrap_err();
            assert!(matches!(refused, Error::MayShrink(what) if what == kind), "{refused}");
            assert!(matches!(memory.map(0..1), Err(Error::MayShrink(_))));
            write_and_read(&memory.vouch_that_nobody_truncates());
        }
    }

    #[test]
    fn a_file_that_shrank_is_mapped_no_further_than_it_is() {
        let file = file("shrank", 10_000);
        let memory = adopt(file.try_clone().unwrap()).vouch_that_nobody_truncates();
        file.set_len(5000).unwrap();
        assert_eq!(memory.size().unwrap(), 5000);
        assert_eq!(memory.map(..).unwrap().size(), 5000);
        assert_eq!(errno(&memory.map(0..10_000).unwrap_err()), Some(Errno::EOVERFLOW));
    }

    // Android's libc has no POSIX shared memory.
    #[cfg(not(target_os = "android"))]
    #[test]
    fn posix_shared_memory_is_a_file_and_another_process_may_truncate_it() {
        use nix::fcntl::OFlag;
        use nix::sys::mman::{shm_open, shm_unlink};
        use nix::sys::stat::Mode;
        let name = format!("/berth-{}-posix", std::process::id());
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL;
        let fd = shm_open(name.as_str(), flags, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
        shm_unlink(name.as_str()).unwrap();
        ftruncate(&fd, 4096).unwrap();
        let memory = adopt(fd);
        assert_eq!(memory.kind(), ForeignKind::File);
        assert!(matches!(memory.map(..), Err(Error::MayShrink(_))));
        write_and_read(&memory.vouch_that_nobody_truncates());
    }

    #[test]
    fn memory_that_was_opened_to_read_is_not_written() {
        let memfd = Memfd::create("foreign", 4096).unwrap();
        let memory = adopt(memfd.open_read_only().unwrap());
        assert!(memory.is_size_fixed() && !memory.is_writable());
        let refused = memory.map(..).unwrap_err();
        assert_eq!(refused.to_string(), "a memfd that may only be read");
        assert!(matches!(refused, Error::ForeignReadOnly(ForeignKind::Memfd)));
        memory.map_read_only(..).unwrap();
        let sealed = Memfd::create("foreign", 4096).unwrap();
        sealed.seal_future_writes().unwrap();
        let memory = adopt(sealed);
        assert!(!memory.is_writable());
        assert!(matches!(memory.map(..), Err(Error::ForeignReadOnly(_))));
        memory.map_read_only(..).unwrap();
    }

    #[test]
    fn a_memfd_sealed_against_all_writing_is_read() {
        let sealed = memfd(4096, SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_WRITE);
        let writable_once = adopt(sealed.try_clone().unwrap());
        assert!(!writable_once.is_writable());
        assert!(matches!(writable_once.map(..), Err(Error::ForeignReadOnly(_))));
        let reader = File::open(format!("/proc/self/fd/{}", sealed.as_raw_fd())).unwrap();
        adopt(reader).map_read_only(..).unwrap();
    }

    #[test]
    fn what_is_no_memory_is_refused_by_its_name() {
        let (socket, _peer) = UnixStream::pair().unwrap();
        let write_only = file("write-only", 4096);
        let write_only = OpenOptions::new()
            .write(true)
            .open(format!("/proc/self/fd/{}", write_only.as_raw_fd()))
            .unwrap();
        let refused: [(OwnedFd, &str); 4] = [
            (socket.into(), "a socket"),
            (File::open("/").unwrap().into(), "a directory"),
            (File::open("/dev/zero").unwrap().into(), "a device"),
            (write_only.into(), "a file that was not opened to be read"),
        ];
        for (fd, what) in refused {
            let error = ForeignMemory::adopt(fd).unwrap_err();
            assert_eq!(error.to_string(), format!("{what} is no memory to map"));
        }
    }

    #[test]
    fn ranges_that_are_not_there_are_refused() {
        let memory = adopt(Memfd::create("foreign", 10_000).unwrap());
        for end in [10_001, u64::MAX] {
            let error = memory.map_read_only(1..end).unwrap_err();
            assert_eq!(errno(&error), Some(Errno::EOVERFLOW), "{error}");
        }
        let last = memory.map(9_999..).unwrap();
        assert_eq!(last.size(), 1);
        assert_eq!(errno(&memory.map(10_000..).unwrap_err()), Some(Errno::EINVAL));
        let (after, before) = (8000, 7000);
        assert_eq!(errno(&memory.map(after..before).unwrap_err()), Some(Errno::EINVAL));
        let all = memory.map((Bound::Excluded(u64::MAX), Bound::Included(u64::MAX)));
        assert_eq!(errno(&all.unwrap_err()), Some(Errno::EINVAL));
        let empty = adopt(Memfd::create("empty", 0).unwrap());
        assert_eq!(errno(&empty.map(..).unwrap_err()), Some(Errno::EINVAL));
    }

    #[test]
    #[ignore = "needs dma-heap-system"]
    fn a_dma_buf_is_mapped_and_looked_at_in_brackets() {
        if missing(Facility::DmaHeapSystem) {
            return;
        }
        let memory = adopt(DmaHeap::open("system").unwrap().allocate(10_000).unwrap());
        assert_eq!(memory.kind(), ForeignKind::DmaBuf);
        assert!(memory.is_size_fixed() && memory.is_writable());
        assert_eq!(memory.size().unwrap(), 12_288);
        write_and_read(&memory);
    }

    #[test]
    #[ignore = "needs ashmem"]
    fn an_ashmem_region_is_mapped_as_far_as_it_permits() {
        if missing(Facility::Ashmem) {
            return;
        }
        let region = Ashmem::create("foreign", 10_000).unwrap();
        let memory = adopt(region.as_fd().try_clone_to_owned().unwrap());
        assert_eq!(memory.kind(), ForeignKind::Ashmem);
        assert!(memory.is_size_fixed() && memory.is_writable());
        assert_eq!(memory.size().unwrap(), 10_000);
        write_and_read(&memory);
        region.restrict_to_reading().unwrap();
        assert!(!memory.is_writable());
        assert!(matches!(memory.map(..), Err(Error::ForeignReadOnly(ForeignKind::Ashmem))));
        memory.map_read_only(..).unwrap();
    }

    #[test]
    #[ignore = "needs ashmem"]
    fn an_ashmem_region_without_a_size_is_refused() {
        if missing(Facility::Ashmem) {
            return;
        }
        let node = OpenOptions::new().read(true).write(true).open("/dev/ashmem").unwrap();
        let error = ForeignMemory::adopt(node.into()).unwrap_err();
        assert_eq!(errno(&error), Some(Errno::EINVAL), "{error}");
    }

    #[test]
    fn the_client_makes_pages_come_before_they_are_touched() {
        let memfd = Memfd::create("prefault", 16 * 4096).unwrap();
        let (memory, status) = (adopt(memfd), |memory: &ForeignMemory| {
            nix::sys::stat::fstat(memory.as_fd().as_raw_fd()).unwrap().st_blocks
        });
        let mapped = memory.map(..).unwrap();
        assert_eq!(status(&memory), 0);
        mapped.prefault().unwrap();
        // Blocks of 512 bytes.
        assert_eq!(status(&memory), 16 * 4096 / 512);
    }
}
