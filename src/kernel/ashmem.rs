// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! ashmem: Android's shared memory before memfd, with pages that can be unpinned and purged (Linux
//! up to 5.17, and Android's kernels; `drivers/staging/android/uapi/ashmem.h` and `ashmem.c`).
//!
//! A region is a character device that was opened, and its memory comes with the first mapping.
//! Hence two traps for whoever is sent one:
//!
//! - fstat tells of the device node: `st_size` is 0, and `st_dev` and `st_ino` are the same for every
//!   region of the system. They prove nothing. [`identity`] tells regions apart.
//! - Size and name can be changed by any holder until the first mapping, whoever makes it, and by
//!   nobody after. [`fix`] maps once; [`Ashmem::create`] did, for those of ours.
//!
//! Size, name, protection and pins belong to the region: all descriptors of it share them. The
//! answer to an ioctl is an `int`, also where the driver says `long`: of a size of 2 GiB and more
//! the kernel tells something smaller, or nothing.

use std::ffi::CStr;
use std::fs::{self, File, OpenOptions};
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;

use nix::errno::Errno;
use nix::libc::c_int;
pub use nix::sys::mman::ProtFlags;
use nix::sys::stat::SFlag;

use crate::identity::Identity;
use crate::mapping::{Mapping, ReadOnly};
use crate::memfd::Memfd;
use crate::{file_type, page_size, KernelError};

/// The longest name in bytes: `ASHMEM_NAME_LEN` less the final NUL.
pub const MAX_NAME_BYTES: usize = 255;

/// The driver's node; libcutils' has the boot's id behind this name.
pub const DEVICE: &str = "/dev/ashmem";

/// libcutils of Android 10 and later opens [`DEVICE`] with this file's contents appended, so that
/// applications do not open it on their own (`libcutils/ashmem-dev.cpp`).
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// `MISC_MAJOR` (`include/uapi/linux/major.h`), of which ashmem has a minor.
const MISC_MAJOR: u32 = 10;

mod ioctl {
    use nix::libc::c_ulong;
    use nix::{request_code_none, request_code_write};
    use std::mem::size_of;

    /// `__ASHMEMIOC`.
    const MAGIC: u8 = 0x77;

    /// `char[ASHMEM_NAME_LEN]`.
    pub type Name = [u8; 256];

    /// `struct ashmem_pin`: a range in bytes, of whole pages.
    #[repr(C)]
    pub struct Pin {
        pub offset: u32,
        pub length: u32,
    }

    nix::ioctl_write_ptr! {
        /// `ASHMEM_SET_NAME`.
        set_name, MAGIC, 1, Name
    }
    nix::ioctl_read! {
        /// `ASHMEM_GET_NAME`.
        get_name, MAGIC, 2, Name
    }
    nix::ioctl_write_int_bad! {
        /// `ASHMEM_SET_SIZE`, by value.
        set_size, request_code_write!(MAGIC, 3, size_of::<usize>())
    }
    nix::ioctl_none! {
        /// `ASHMEM_GET_SIZE`, which answers it.
        size, MAGIC, 4
    }
    nix::ioctl_write_int_bad! {
        /// `ASHMEM_SET_PROT_MASK`, by value.
        set_protection, request_code_write!(MAGIC, 5, size_of::<c_ulong>())
    }
    nix::ioctl_none! {
        /// `ASHMEM_GET_PROT_MASK`, which answers it.
        protection, MAGIC, 6
    }
    nix::ioctl_write_ptr! {
        /// `ASHMEM_PIN`, which answers 1 (`ASHMEM_WAS_PURGED`) or 0.
        pin, MAGIC, 7, Pin
    }
    nix::ioctl_write_ptr! {
        /// `ASHMEM_UNPIN`.
        unpin, MAGIC, 8, Pin
    }
    nix::ioctl_write_ptr_bad! {
        /// `ASHMEM_GET_PIN_STATUS`, which reads a range and answers 1 (`ASHMEM_IS_PINNED`) or 0.
        is_pinned, request_code_none!(MAGIC, 9), Pin
    }
    nix::ioctl_none! {
        /// `ASHMEM_PURGE_ALL_CACHES`, which answers a number of pages.
        purge_all, MAGIC, 10
    }
}

/// What became of unpinned pages until they were pinned again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PinOutcome {
    /// All of them have their contents.
    Kept,
    /// At least one was purged, and reads zero.
    Purged,
}

/// An owned ashmem region whose size and name are fixed.
#[derive(Debug)]
pub struct Ashmem(OwnedFd);

impl Ashmem {
    /// Makes a region of exactly `bytes`, from 1 to 2 GiB less one byte, that reads zero and can be
    /// read and written. All of it is pinned. Its pages come when they are first touched.
    pub fn create(name: &str, bytes: u64) -> Result<Ashmem, KernelError> {
        let refuse = |errno| KernelError::new(format!("ashmem {name:?} of {bytes} bytes"), errno);
        let c_name = c_name(name)?;
        let size = match c_int::try_from(bytes) {
            Ok(0) => return Err(refuse(Errno::EINVAL)),
            Ok(size) => size,
            Err(_) => {
                let operation = format!("ashmem of {bytes} bytes: at most {}", c_int::MAX);
                return Err(KernelError::new(operation, Errno::EFBIG));
            }
        };
        let fd: OwnedFd = open()?.into();
        // SAFETY: the descriptor is open, and the driver reads a string from `c_name`, a live array
        // of the length that it expects.
        unsafe { ioctl::set_name(fd.as_raw_fd(), &c_name) }.map_err(refuse)?;
        // SAFETY: the descriptor is open, and the argument is the size itself.
        unsafe { ioctl::set_size(fd.as_raw_fd(), size) }.map_err(refuse)?;
        fix(fd.as_fd()).map_err(|error| refuse(error.errno))?;
        Ok(Ashmem(fd))
    }

    /// Takes a descriptor that somebody sent for a region, whatever it is. Its size and name are fixed
    /// from here on. No file system is asked before it is known for ashmem.
    ///
    /// # Errors
    ///
    /// `EINVAL` if it is none.
    pub fn adopt(fd: OwnedFd) -> Result<Ashmem, KernelError> {
        let none = || KernelError::new("adopt ashmem: it is none", Errno::EINVAL);
        // Only ashmem's fdinfo has the field, and only when it was mapped.
        inode(fd.as_fd())?.ok_or_else(none)?;
        size_of(fd.as_fd())?.ok_or_else(none)?;
        fix(fd.as_fd())?;
        Ok(Ashmem(fd))
    }

    /// The size in bytes that was asked for.
    pub fn size(&self) -> Result<u64, KernelError> {
        size(self.as_fd()).map_err(KernelError::context(|| "size of an ashmem region".to_owned()))
    }

    /// The name, as `/proc/PID/maps` shows it after `/dev/ashmem/`.
    pub fn name(&self) -> Result<String, KernelError> {
        let mut name: ioctl::Name = [0; MAX_NAME_BYTES + 1];
        // SAFETY: the descriptor is open, and the driver writes a string of at most ASHMEM_NAME_LEN
        // bytes with its NUL into `name`, which is live, exclusive and that long.
        unsafe { ioctl::get_name(self.0.as_raw_fd(), &mut name) }
            .map_err(KernelError::context(|| "name of an ashmem region".to_owned()))?;
        let name = CStr::from_bytes_until_nul(&name).unwrap_or_default();
        Ok(name.to_string_lossy().into_owned())
    }

    /// Lets new mappings only read, through every descriptor of the region and for good: a
    /// protection can be taken away and never be given back. Mappings that are writable already
    /// stay so.
    pub fn restrict_to_reading(&self) -> Result<(), KernelError> {
        // SAFETY: the descriptor is open, and the argument is the mask itself.
        unsafe { ioctl::set_protection(self.0.as_raw_fd(), ProtFlags::PROT_READ.bits()) }
            .map(|_| ())
            .map_err(KernelError::context(|| "restrict an ashmem region to reading".to_owned()))
    }

    /// What new mappings may do.
    pub fn protection(&self) -> Result<ProtFlags, KernelError> {
        protection_of(self.as_fd())
    }
}

impl AsFd for Ashmem {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<Ashmem> for OwnedFd {
    fn from(region: Ashmem) -> OwnedFd {
        region.0
    }
}

/// Whether this kernel has ashmem and this process may open it.
pub fn is_available() -> bool {
    open().is_ok()
}

/// The size in bytes of an ashmem region; `None` if the descriptor is of anything else. A region
/// that nobody mapped yet may have another size at any moment. Of 2 GiB and more it is an error or
/// less than the truth.
pub fn size_of(fd: BorrowedFd<'_>) -> Result<Option<u64>, KernelError> {
    let context = || "ask a descriptor for its size as ashmem".to_owned();
    if !is_misc_device(fd).map_err(KernelError::context(context))? {
        return Ok(None);
    }
    match size(fd) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(Errno::ENOTTY | Errno::EINVAL) => Ok(None),
        Err(errno) => Err(KernelError::new(context(), errno)),
    }
}

/// Makes a region's memory, if no mapping has yet, so that its size and name are fixed, and gives
/// the size in bytes. Pages come when they are touched, as always.
pub fn fix(fd: BorrowedFd<'_>) -> Result<u64, KernelError> {
    let context = || "fix the size of an ashmem region".to_owned();
    let bytes = size(fd).map_err(KernelError::context(context))?;
    if bytes == 0 {
        return Err(KernelError::new(context() + " that has none", Errno::EINVAL));
    }
    // Mapping is what does it, whatever is mapped.
    drop(Mapping::<ReadOnly>::new(fd, bytes.min(page_size()))?);
    size(fd).map_err(KernelError::context(context))
}

/// The identity of a region's memory, a file of the same kernel's tmpfs as memfds are: the same for
/// every descriptor of it, another for every other region and memfd while both live, and what
/// `/proc/PID/maps` shows of its mappings. `None` for what is no ashmem, where the kernel does not
/// tell (before Linux 4.20), and before the first mapping.
pub fn identity(fd: BorrowedFd<'_>) -> Result<Option<Identity>, KernelError> {
    let context = || KernelError::context(|| "ask a descriptor whether it is ashmem".to_owned());
    if !is_misc_device(fd).map_err(context())? {
        return Ok(None);
    }
    let Some(inode) = inode(fd)? else { return Ok(None) };
    Ok(tmpfs_device().map(|device| Identity { device, inode }))
}

/// `st_dev` of the tmpfs that the kernel has for itself; `None` without memfds.
fn tmpfs_device() -> Option<u64> {
    static DEVICE: OnceLock<Option<u64>> = OnceLock::new();
    *DEVICE.get_or_init(|| {
        let memfd = Memfd::create("identity", page_size());
        memfd.and_then(|memfd| Identity::of(memfd.as_fd())).ok().map(|identity| identity.device)
    })
}

/// The inode of a region's memory.
fn inode(fd: BorrowedFd<'_>) -> Result<Option<u64>, KernelError> {
    let path = format!("/proc/self/fdinfo/{}", fd.as_raw_fd());
    let text = fs::read(&path).map_err(KernelError::io(|| format!("read {path}")))?;
    Ok(inode_in(&String::from_utf8_lossy(&text)))
}

/// The field that `ashmem_show_fdinfo` writes; its name is not that of the VFS's own `ino`.
fn inode_in(fdinfo: &str) -> Option<u64> {
    let field = fdinfo.lines().find_map(|line| line.strip_prefix("inode:"))?;
    field.trim().parse().ok()
}

/// What new mappings of a region may do.
pub fn protection_of(fd: BorrowedFd<'_>) -> Result<ProtFlags, KernelError> {
    // SAFETY: the descriptor is open as long as it is borrowed, and the ioctl takes no argument.
    let mask = unsafe { ioctl::protection(fd.as_raw_fd()) }
        .map_err(KernelError::context(|| "protection of an ashmem region".to_owned()))?;
    Ok(ProtFlags::from_bits_truncate(mask))
}

/// Keeps pages from being purged, from now on, and says whether they were. `range` is in bytes and
/// of whole pages; the region was mapped before, by anybody.
pub fn pin(fd: BorrowedFd<'_>, range: Range<u64>) -> Result<PinOutcome, KernelError> {
    let pin = pages("pin", &range)?;
    // SAFETY: the descriptor is open as long as it is borrowed, and the ioctl only reads `pin`, a
    // live `struct ashmem_pin`.
    let was_purged = unsafe { ioctl::pin(fd.as_raw_fd(), &pin) }
        .map_err(KernelError::context(|| describe("pin", &range)))?;
    Ok(if was_purged == 1 { PinOutcome::Purged } else { PinOutcome::Kept })
}

/// Lets the kernel purge pages when memory is short; what they hold may be gone at any moment. The
/// range is as for [`pin`].
pub fn unpin(fd: BorrowedFd<'_>, range: Range<u64>) -> Result<(), KernelError> {
    let pin = pages("unpin", &range)?;
    // SAFETY: as in `pin`.
    unsafe { ioctl::unpin(fd.as_raw_fd(), &pin) }
        .map(|_| ())
        .map_err(KernelError::context(|| describe("unpin", &range)))
}

/// Whether all pages of a range are pinned. The range is as for [`pin`].
pub fn is_pinned(fd: BorrowedFd<'_>, range: Range<u64>) -> Result<bool, KernelError> {
    let pin = pages("pin status of", &range)?;
    // SAFETY: as in `pin`.
    let is_pinned = unsafe { ioctl::is_pinned(fd.as_raw_fd(), &pin) }
        .map_err(KernelError::context(|| describe("pin status of", &range)))?;
    Ok(is_pinned == 1)
}

/// Purges whatever is unpinned in the whole system, and says how many pages that were. Only with
/// CAP_SYS_ADMIN.
pub fn purge_all() -> Result<u64, KernelError> {
    let device: OwnedFd = open()?.into();
    // SAFETY: the descriptor is open, and the ioctl takes no argument.
    let pages = unsafe { ioctl::purge_all(device.as_raw_fd()) }
        .map_err(KernelError::context(|| "purge what is unpinned in ashmem".to_owned()))?;
    Ok(u64::try_from(pages).unwrap_or(0))
}

fn open() -> Result<File, KernelError> {
    let open = |path: &str| {
        let opened = OpenOptions::new().read(true).write(true).open(path);
        opened.map_err(KernelError::io(|| format!("open {path}")))
    };
    let boot_id = fs::read_to_string(BOOT_ID).unwrap_or_default();
    open(&format!("{DEVICE}{}", boot_id.trim())).or_else(|_| open(DEVICE))
}

/// Only such a device is asked an ioctl: to another its number may mean something.
fn is_misc_device(fd: BorrowedFd<'_>) -> Result<bool, Errno> {
    Ok(file_type::of(fd)? == (SFlag::S_IFCHR, MISC_MAJOR))
}

fn size(fd: BorrowedFd<'_>) -> Result<u64, Errno> {
    // SAFETY: the descriptor is open as long as it is borrowed, and the ioctl takes no argument.
    let bytes = unsafe { ioctl::size(fd.as_raw_fd()) }?;
    u64::try_from(bytes).map_err(|_| Errno::EOVERFLOW)
}

/// A name as the driver takes it, ended by NUL.
fn c_name(name: &str) -> Result<ioctl::Name, KernelError> {
    if name.len() > MAX_NAME_BYTES || name.contains('\0') {
        let operation = format!("ashmem {name:?}: at most {MAX_NAME_BYTES} bytes, none of them 0");
        return Err(KernelError::new(operation, Errno::EINVAL));
    }
    let mut c_name: ioctl::Name = [0; MAX_NAME_BYTES + 1];
    for (to, from) in c_name.iter_mut().zip(name.bytes()) {
        *to = from;
    }
    Ok(c_name)
}

fn describe(what: &str, range: &Range<u64>) -> String {
    format!("{what} bytes {range:?} of an ashmem region")
}

/// A range as the driver takes it; not an empty one, which to the driver means all that follows.
fn pages(what: &str, range: &Range<u64>) -> Result<ioctl::Pin, KernelError> {
    let page = page_size();
    let refuse = || {
        let operation = format!("{}: not pages of {page} bytes", describe(what, range));
        KernelError::new(operation, Errno::EINVAL)
    };
    let length = range.end.checked_sub(range.start).ok_or_else(refuse)?;
    if length == 0 || range.start % page != 0 || length % page != 0 {
        return Err(refuse());
    }
    u32::try_from(range.end).map_err(|_| refuse())?;
    Ok(ioctl::Pin {
        offset: u32::try_from(range.start).map_err(|_| refuse())?,
        length: u32::try_from(length).map_err(|_| refuse())?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{self, Identity};
    use crate::mapping::ReadWrite;
    use crate::memfd::Memfd;
    use crate::meminfo::MemInfo;
    use berth_facilities::{missing, Facility};
    use nix::fcntl::{fcntl, FcntlArg, FdFlag};
    use nix::sys::stat::fstat;
    use proptest::prelude::*;

    #[test]
    fn what_is_no_ashmem_has_no_size_as_such() {
        let memfd = Memfd::create("no ashmem", 4096).unwrap();
        assert_eq!(size_of(memfd.as_fd()).unwrap(), None);
        for device in ["/dev/zero", "/dev/urandom"] {
            let device = File::open(device).unwrap();
            assert_eq!(size_of(device.as_fd()).unwrap(), None);
        }
    }

    #[test]
    fn a_pin_on_anything_else_is_refused() {
        let memfd = Memfd::create("no ashmem", 4096).unwrap();
        assert_eq!(pin(memfd.as_fd(), 0..page_size()).unwrap_err().errno, Errno::ENOTTY);
        assert_eq!(protection_of(memfd.as_fd()).unwrap_err().errno, Errno::ENOTTY);
        assert_eq!(identity(memfd.as_fd()).unwrap(), None);
    }

    #[test]
    fn impossible_requests_name_themselves() {
        let long = "x".repeat(MAX_NAME_BYTES + 1);
        let error = Ashmem::create(&long, 4096).unwrap_err();
        assert_eq!(error.errno, Errno::EINVAL);
        assert!(error.to_string().contains("255"), "{error}");
        assert_eq!(Ashmem::create("n\0l", 4096).unwrap_err().errno, Errno::EINVAL);
        assert_eq!(Ashmem::create("empty", 0).unwrap_err().errno, Errno::EINVAL);
        let error = Ashmem::create("huge", 1 << 31).unwrap_err();
        assert_eq!(error.errno, Errno::EFBIG);
        assert!(error.to_string().contains("2147483648 bytes: at most 2147483647"), "{error}");
    }

    #[test]
    fn the_inode_is_read_from_fdinfo_and_not_taken_for_that_of_the_node() {
        let mapped = "pos:\t0\nflags:\t02000002\nmnt_id:\t2\nino:\t95\ninode:\t41\nname:\tx\n";
        assert_eq!(inode_in(mapped), Some(41));
        assert_eq!(inode_in("pos:\t0\nflags:\t02\nmnt_id:\t2\nino:\t95\n"), None);
    }

    proptest! {
        #[test]
        fn only_whole_pages_below_4_gib_are_pinned(
            start in prop_oneof![any::<u64>(), (0u64..1 << 20).prop_map(|page| page << 12)],
            end in prop_oneof![any::<u64>(), (0u64..1 << 21).prop_map(|page| page << 12)],
        ) {
            let page = page_size();
            let good = start < end && start % page == 0 && end % page == 0 && end < 1 << 32;
            prop_assert_eq!(pages("pin", &(start..end)).is_ok(), good);
        }
    }

    #[test]
    #[ignore = "needs ashmem"]
    fn a_region_has_the_size_and_the_name_asked_for_and_keeps_them() {
        if missing(Facility::Ashmem) {
            return;
        }
        let longest = "ä".repeat(127) + "!";
        let region = Ashmem::create(&longest, 10_000).unwrap();
        assert_eq!(region.size().unwrap(), 10_000);
        assert_eq!(region.name().unwrap(), longest);
        assert_eq!(size_of(region.as_fd()).unwrap(), Some(10_000));
        assert_eq!(set_size(region.as_fd(), 4096), Err(Errno::EINVAL));
        let flags = fcntl(region.as_fd().as_raw_fd(), FcntlArg::F_GETFD).unwrap();
        assert!(FdFlag::from_bits_retain(flags).contains(FdFlag::FD_CLOEXEC));
    }

    fn set_size(fd: BorrowedFd<'_>, bytes: c_int) -> Result<(), Errno> {
        // SAFETY: the descriptor is open as long as it is borrowed; the argument is the size itself.
        unsafe { ioctl::set_size(fd.as_raw_fd(), bytes) }.map(|_| ())
    }

    #[test]
    #[ignore = "needs ashmem"]
    fn the_size_of_the_descriptor_is_that_of_the_region() {
        if missing(Facility::Ashmem) {
            return;
        }
        let region = Ashmem::create("sized", 10_000).unwrap();
        assert_eq!(identity::size(region.as_fd()).unwrap(), 10_000);
        // So it is before the first mapping, when the descriptor cannot be sought.
        let unmapped = open().unwrap();
        assert_eq!(identity::size(unmapped.as_fd()).unwrap(), 0);
        set_size(unmapped.as_fd(), 5000).unwrap();
        assert_eq!(identity::size(unmapped.as_fd()).unwrap(), 5000);
        // A peer may have set any number, also one that is no answer.
        set_size(unmapped.as_fd(), -5000).unwrap();
        assert_eq!(identity::size(unmapped.as_fd()).unwrap_err().errno, Errno::EOVERFLOW);
    }

    #[test]
    #[ignore = "needs ashmem"]
    fn the_size_of_a_foreign_region_can_be_fixed() {
        if missing(Facility::Ashmem) {
            return;
        }
        let foreign = open().unwrap();
        assert_eq!(fix(foreign.as_fd()).unwrap_err().errno, Errno::EINVAL);
        set_size(foreign.as_fd(), 4096).unwrap();
        set_size(foreign.as_fd(), 10_000).unwrap();
        assert_eq!(fix(foreign.as_fd()).unwrap(), 10_000);
        assert_eq!(set_size(foreign.as_fd(), 4096), Err(Errno::EINVAL));
        assert_eq!(fix(foreign.as_fd()).unwrap(), 10_000);
    }

    #[test]
    #[ignore = "needs ashmem"]
    fn every_region_has_an_identity_of_its_own_which_its_mappings_show() {
        if missing(Facility::Ashmem) {
            return;
        }
        let (one, other) = (Ashmem::create("one", 1).unwrap(), Ashmem::create("other", 1).unwrap());
        let duplicate = one.as_fd().try_clone_to_owned().unwrap();
        let node = |fd: BorrowedFd<'_>| {
            let status = fstat(fd.as_raw_fd()).unwrap();
            (status.st_dev, status.st_ino, status.st_size)
        };
        assert_eq!(node(one.as_fd()), node(other.as_fd()), "that of the node");
        let identity = Identity::of(one.as_fd()).unwrap();
        assert_eq!(identity, Identity::of(duplicate.as_fd()).unwrap());
        assert_ne!(identity, Identity::of(other.as_fd()).unwrap());
        let memfd = Memfd::create("neither", 1).unwrap();
        assert_eq!(identity.device, Identity::of(memfd.as_fd()).unwrap().device);
        assert_ne!(identity.inode, Identity::of(memfd.as_fd()).unwrap().inode);
        let _mapping: Mapping<ReadOnly> = Mapping::new(duplicate.as_fd(), 1).unwrap();
        let (major, minor) =
            (nix::sys::stat::major(identity.device), nix::sys::stat::minor(identity.device));
        let shown = format!(" {major:02x}:{minor:02x} {} ", identity.inode);
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        let of_one = maps.lines().find(|line| line.contains("/dev/ashmem/one")).unwrap();
        assert!(of_one.contains(&shown), "{of_one} and not {shown}");
    }

    #[test]
    #[ignore = "needs ashmem"]
    fn a_region_restricted_to_reading_stays_so_for_every_descriptor() {
        if missing(Facility::Ashmem) {
            return;
        }
        let region = Ashmem::create("published", 4096).unwrap();
        let all = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE | ProtFlags::PROT_EXEC;
        assert_eq!(region.protection().unwrap(), all);
        let writer: Mapping<ReadWrite> = Mapping::new(region.as_fd(), 4096).unwrap();
        let sent = region.as_fd().try_clone_to_owned().unwrap();
        region.restrict_to_reading().unwrap();
        region.restrict_to_reading().unwrap();
        assert_eq!(protection_of(sent.as_fd()).unwrap(), ProtFlags::PROT_READ);
        let refused = Mapping::<ReadWrite>::new(sent.as_fd(), 4096).unwrap_err();
        assert_eq!(refused.errno, Errno::EPERM);
        let reader: Mapping<ReadOnly> = Mapping::new(sent.as_fd(), 4096).unwrap();
        writer.write(0, b"late").unwrap();
        let mut seen = [0; 4];
        reader.read(0, &mut seen).unwrap();
        assert_eq!(&seen, b"late");
        // SAFETY: the descriptor is open, and the argument is the mask itself.
        let regained = unsafe { ioctl::set_protection(sent.as_raw_fd(), all.bits()) };
        assert_eq!(regained, Err(Errno::EINVAL));
    }

    #[test]
    #[ignore = "needs ashmem"]
    fn unpinned_pages_are_purged_and_pinned_ones_are_not() {
        if missing(Facility::Ashmem) {
            return;
        }
        let page = page_size();
        let region = Ashmem::create("cache", 4 * page).unwrap();
        let fd = region.as_fd();
        let mapping: Mapping<ReadWrite> = Mapping::new(fd, 4 * page).unwrap();
        mapping.fill(0, 4 * page as usize, 7).unwrap();
        assert!(is_pinned(fd, 0..4 * page).unwrap());
        assert_eq!(pin(fd, 0..4 * page).unwrap(), PinOutcome::Kept);
        unpin(fd, page..3 * page).unwrap();
        assert!(!is_pinned(fd, 0..2 * page).unwrap());
        assert!(is_pinned(fd, 0..page).unwrap() && is_pinned(fd, 3 * page..4 * page).unwrap());
        // Nobody purged yet.
        assert_eq!(pin(fd, page..2 * page).unwrap(), PinOutcome::Kept);
        assert_eq!(purge_all().unwrap(), 1);
        assert_eq!(pin(fd, 0..4 * page).unwrap(), PinOutcome::Purged);
        assert_eq!(pin(fd, 0..4 * page).unwrap(), PinOutcome::Kept, "told once");
        let mut bytes = vec![0; 4 * page as usize];
        mapping.read(0, &mut bytes).unwrap();
        let value = |index: u64| bytes[index as usize * page as usize];
        assert_eq!([value(0), value(1), value(2), value(3)], [7, 7, 0, 7]);
    }

    #[test]
    #[ignore = "needs ashmem"]
    fn a_region_larger_than_the_machine_is_refused_when_it_is_made() {
        if missing(Facility::Ashmem) {
            return;
        }
        let bytes = c_int::MAX as u64;
        assert!(MemInfo::read().unwrap().total < bytes, "the lane has little memory");
        let error = Ashmem::create("large", bytes).unwrap_err();
        assert_eq!(error.errno, Errno::ENOMEM);
        assert!(error.to_string().contains("2147483647"), "{error}");
    }

    #[test]
    #[ignore = "needs ashmem"]
    fn the_driver_is_there() {
        if missing(Facility::Ashmem) {
            return;
        }
        assert!(is_available());
    }
}
