// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! What a descriptor is open on and what may be done with it. Whoever sent it may have said anything.

use std::fmt;
use std::fs;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use nix::fcntl::{fcntl, FcntlArg, OFlag, SealFlag};
use nix::sys::stat::SFlag;
use nix::sys::statfs::{fstatfs, HUGETLBFS_MAGIC};

use crate::fdinfo::DmaBufInfo;
use crate::{ashmem, file_type, memfd, KernelError};

/// What a descriptor is open on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DescriptorKind {
    /// A dma-buf, of whatever exporter.
    DmaBuf,
    /// A memfd, sealed or not.
    Memfd,
    /// An ashmem region.
    Ashmem,
    /// A file; POSIX shared memory is one on tmpfs.
    File,
    /// A file or a memfd of huge pages, which are mapped and unmapped by rules of their own.
    HugePages,
    /// A socket.
    Socket,
    /// A pipe or a FIFO.
    Pipe,
    /// A directory.
    Directory,
    /// A device that is no ashmem.
    Device,
    /// Only a place in the file system (`O_PATH`).
    Path,
    /// Something without a type: an eventfd, an epoll, a sync file …
    Other,
}

impl fmt::Display for DescriptorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DescriptorKind::DmaBuf => "a dma-buf",
            DescriptorKind::Memfd => "a memfd",
            DescriptorKind::Ashmem => "an ashmem region",
            DescriptorKind::File => "a file",
            DescriptorKind::HugePages => "a file of huge pages",
            DescriptorKind::Socket => "a socket",
            DescriptorKind::Pipe => "a pipe",
            DescriptorKind::Directory => "a directory",
            DescriptorKind::Device => "a device",
            DescriptorKind::Path => "a path that was not opened",
            DescriptorKind::Other => "an anonymous inode",
        })
    }
}

impl DescriptorKind {
    /// Asks the kernel what `fd` is open on, and no file system that somebody may run and need never
    /// answer.
    pub fn of(fd: BorrowedFd<'_>) -> Result<DescriptorKind, KernelError> {
        if flags(fd)?.contains(OFlag::O_PATH) {
            return Ok(DescriptorKind::Path);
        }
        let file_type = type_of(fd)?;
        Ok(match file_type {
            SFlag::S_IFSOCK => DescriptorKind::Socket,
            SFlag::S_IFIFO => DescriptorKind::Pipe,
            SFlag::S_IFDIR => DescriptorKind::Directory,
            SFlag::S_IFCHR if ashmem::size_of(fd)?.is_some() => DescriptorKind::Ashmem,
            SFlag::S_IFCHR | SFlag::S_IFBLK => DescriptorKind::Device,
            _ if leads_to_dma_buf(fd, file_type)? => DescriptorKind::DmaBuf,
            SFlag::S_IFREG if is_on_huge_pages(fd)? => DescriptorKind::HugePages,
            SFlag::S_IFREG if is_memfd(fd) => DescriptorKind::Memfd,
            SFlag::S_IFREG => DescriptorKind::File,
            _ => DescriptorKind::Other,
        })
    }
}

/// Whether `fd` is open on a dma-buf. On a word of one nobody can sleep: its pages are a driver's, and
/// futex(2) between processes fails with `EFAULT`.
pub fn is_dma_buf(fd: BorrowedFd<'_>) -> Result<bool, KernelError> {
    leads_to_dma_buf(fd, type_of(fd)?)
}

fn type_of(fd: BorrowedFd<'_>) -> Result<SFlag, KernelError> {
    let (file_type, _) = file_type::of(fd)
        .map_err(KernelError::context(|| "ask what a descriptor is".to_owned()))?;
    Ok(file_type)
}

/// A second descriptor of the same open file, close-on-exec.
pub fn duplicate(fd: BorrowedFd<'_>) -> Result<OwnedFd, KernelError> {
    fd.try_clone_to_owned().map_err(KernelError::io(|| "duplicate a descriptor".to_owned()))
}

/// What reads and writes, and mappings, a descriptor was opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccessMode {
    /// It may be read; without this nothing can be mapped.
    pub reads: bool,
    /// It may be written, as far as seals and the like allow.
    pub writes: bool,
}

impl AccessMode {
    /// Asks the kernel for the mode of `fd`.
    pub fn of(fd: BorrowedFd<'_>) -> Result<AccessMode, KernelError> {
        let flags = flags(fd)?;
        let mode = flags & OFlag::O_ACCMODE;
        Ok(AccessMode {
            reads: mode == OFlag::O_RDONLY || mode == OFlag::O_RDWR,
            writes: mode == OFlag::O_WRONLY || mode == OFlag::O_RDWR,
        })
    }
}

fn flags(fd: BorrowedFd<'_>) -> Result<OFlag, KernelError> {
    let bits = fcntl(fd.as_raw_fd(), FcntlArg::F_GETFL)
        .map_err(KernelError::context(|| "ask for the flags of a descriptor".to_owned()))?;
    Ok(OFlag::from_bits_retain(bits))
}

/// Whether a file is a memfd. Of all shared memory nothing else can be sealed against shrinking; a
/// memfd that is not is told by its name, which a file on a tmpfs may have too if its sender went to
/// some length.
fn is_memfd(fd: BorrowedFd<'_>) -> bool {
    match memfd::seals(fd) {
        Ok(seals) => seals.contains(SealFlag::F_SEAL_SHRINK) || link_starts(fd, b"/memfd:"),
        Err(_) => false,
    }
}

/// Whether something is a dma-buf, by where its descriptor's link leads. (fstatfs would tell too, but
/// Android's policy denies it.)
fn leads_to_dma_buf(fd: BorrowedFd<'_>, file_type: SFlag) -> Result<bool, KernelError> {
    match (link_starts(fd, b"/dmabuf:"), link_starts(fd, b"anon_inode:dmabuf")) {
        // Its inode has no type, which no file has.
        (true, _) if file_type.is_empty() => Ok(true),
        // A file may have that name, but not what only a dma-buf's fdinfo has.
        (true, _) => Ok(DmaBufInfo::of(fd)?.is_some()),
        // Before Linux 5.3 all that was anonymous had one inode.
        (false, old) => Ok(old && file_type.is_empty()),
    }
}

/// Whether `fd` is open on a file or a memfd of huge pages. Like shared memory, and like nothing else, it has seals.
pub fn is_on_huge_pages(fd: BorrowedFd<'_>) -> Result<bool, KernelError> {
    if memfd::seals(fd).is_err() {
        return Ok(false);
    }
    let on = fstatfs(fd)
        .map_err(KernelError::context(|| "ask what file system a descriptor is on".to_owned()))?;
    Ok(on.filesystem_type() == HUGETLBFS_MAGIC)
}

fn link_starts(fd: BorrowedFd<'_>, with: &[u8]) -> bool {
    fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()))
        .is_ok_and(|link| link.as_os_str().as_bytes().starts_with(with))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ashmem::Ashmem;
    use crate::dma_heap::DmaHeap;
    use crate::inotify::Inotify;
    use crate::ion::{self, HeapMask, Ion};
    use crate::memfd::Memfd;
    use crate::udmabuf::Udmabuf;
    use berth_facilities::{missing, missing_any, Facility};
    use nix::fcntl::open;
    use nix::sys::memfd::{memfd_create, MemFdCreateFlag};
    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;
    use std::ffi::CString;
    use std::fs::{File, OpenOptions};
    use std::os::fd::{AsFd, FromRawFd};
    use std::os::unix::net::UnixStream;

    fn kind(of: impl AsFd) -> DescriptorKind {
        DescriptorKind::of(of.as_fd()).unwrap()
    }

    fn memfd(flags: MemFdCreateFlag) -> OwnedFd {
        let name = CString::new("any").unwrap();
        memfd_create(&name, flags | MemFdCreateFlag::MFD_CLOEXEC).unwrap()
    }

    #[test]
    fn memory_is_known_for_what_it_is() {
        assert_eq!(kind(Memfd::create("sealed", 4096).unwrap()), DescriptorKind::Memfd);
        assert_eq!(kind(memfd(MemFdCreateFlag::MFD_ALLOW_SEALING)), DescriptorKind::Memfd);
        assert_eq!(kind(memfd(MemFdCreateFlag::empty())), DescriptorKind::Memfd);
        let file = File::open(std::env::current_exe().unwrap()).unwrap();
        assert_eq!(kind(file), DescriptorKind::File);
    }

    fn path(name: &str) -> OwnedFd {
        let fd = open(name, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).unwrap();
        // SAFETY: the descriptor is new, and nobody else owns it.
        unsafe { OwnedFd::from_raw_fd(fd) }
    }

    #[test]
    fn what_is_no_memory_is_known_for_what_it_is() {
        let (socket, _peer) = UnixStream::pair().unwrap();
        assert_eq!(kind(socket), DescriptorKind::Socket);
        let inotify = Inotify::new().unwrap();
        assert_eq!(kind(inotify), DescriptorKind::Other);
        assert_eq!(kind(File::open("/dev/null").unwrap()), DescriptorKind::Device);
        assert_eq!(kind(File::open("/").unwrap()), DescriptorKind::Directory);
        assert_eq!(kind(path("/")), DescriptorKind::Path);
        let name = std::env::temp_dir().join(format!("berth-{}-pipe", std::process::id()));
        mkfifo(&name, Mode::S_IRWXU).unwrap();
        let pipe = OpenOptions::new().read(true).write(true).open(&name);
        std::fs::remove_file(&name).unwrap();
        assert_eq!(kind(pipe.unwrap()), DescriptorKind::Pipe);
    }

    #[test]
    fn every_access_mode_is_told() {
        let memfd = Memfd::create("modes", 4096).unwrap();
        let path = format!("/proc/self/fd/{}", memfd.as_fd().as_raw_fd());
        for (reads, writes) in [(true, false), (false, true), (true, true)] {
            let file = OpenOptions::new().read(reads).write(writes).open(&path).unwrap();
            assert_eq!(AccessMode::of(file.as_fd()).unwrap(), AccessMode { reads, writes });
        }
    }

    #[test]
    #[ignore = "needs dma-heap-system, udmabuf"]
    fn dma_bufs_of_heaps_and_of_memfds_are_dma_bufs() {
        if missing_any(&[Facility::DmaHeapSystem, Facility::Udmabuf]) {
            return;
        }
        let buffer = DmaHeap::open("system").unwrap().allocate(4096).unwrap();
        buffer.set_name("with a name").unwrap();
        assert_eq!(kind(buffer), DescriptorKind::DmaBuf);
        let memfd = Memfd::create("pages", 4096).unwrap();
        let buffer = Udmabuf::open().unwrap().create(&memfd, 0, 4096).unwrap();
        assert_eq!(kind(buffer), DescriptorKind::DmaBuf);
    }

    #[test]
    #[ignore = "needs ion, ashmem"]
    fn memory_of_ion_and_ashmem_is_known_for_what_it_is() {
        if missing_any(&[Facility::Ion, Facility::Ashmem]) {
            return;
        }
        let any = HeapMask::from_bits_retain(!0);
        let buffer = Ion::open().unwrap().allocate(4096, any, true).unwrap();
        assert_eq!(kind(buffer), DescriptorKind::DmaBuf);
        let driver = File::open(ion::DEVICE).unwrap();
        assert_eq!(kind(driver), DescriptorKind::Device);
        assert_eq!(kind(Ashmem::create("region", 4096).unwrap()), DescriptorKind::Ashmem);
    }

    #[test]
    #[ignore = "needs huge-pages"]
    fn huge_pages_are_told_from_other_memory() {
        if missing(Facility::HugePages) {
            return;
        }
        // `MFD_HUGETLB`, which nix 0.27 does not have.
        let memfd = memfd(MemFdCreateFlag::from_bits_retain(0x4));
        assert_eq!(kind(memfd), DescriptorKind::HugePages);
    }
}
