// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Sync files: fences of devices by descriptor (`include/uapi/linux/sync_file.h`, Linux 4.7 and
//! later), and the way from a dma-buf's own fences to a sync file and back
//! (`include/uapi/linux/dma-buf.h`, Linux 6.0 and later).
//!
//! A fence is pending until the device has done its work, then signalled for good. A sync file is a
//! snapshot: fences that come later are not in it.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;

use crate::cpu_access::Direction;
use crate::fdinfo::DmaBufInfo;
use crate::{poll, KernelError};

/// The longest name that the kernel keeps, in bytes: 32 less the final NUL.
pub const MAX_NAME_BYTES: usize = 31;

/// The most fences that [`SyncFile::info`] describes. Whoever made a sync file decides how many
/// fences it has.
pub const MAX_FENCES: usize = 1024;

mod ioctl {
    /// `struct sync_merge_data`.
    #[repr(C)]
    pub struct Merge {
        pub name: [u8; 32],
        pub fd2: i32,
        pub fence: i32,
        pub flags: u32,
        pub pad: u32,
    }

    /// `struct sync_fence_info`.
    #[repr(C)]
    #[derive(Clone, Copy, Default)]
    pub struct FenceInfo {
        pub obj_name: [u8; 32],
        pub driver_name: [u8; 32],
        pub status: i32,
        pub flags: u32,
        pub timestamp_ns: u64,
    }

    /// `struct sync_file_info`.
    #[repr(C)]
    #[derive(Default)]
    pub struct FileInfo {
        pub name: [u8; 32],
        pub status: i32,
        pub flags: u32,
        pub num_fences: u32,
        pub pad: u32,
        pub sync_fence_info: u64,
    }

    /// `struct dma_buf_export_sync_file`, and `struct dma_buf_import_sync_file`.
    #[repr(C)]
    pub struct OfDmaBuf {
        pub flags: u32,
        pub fd: i32,
    }

    nix::ioctl_readwrite! {
        /// `SYNC_IOC_MERGE`.
        merge, b'>', 3, Merge
    }
    nix::ioctl_readwrite! {
        /// `SYNC_IOC_FILE_INFO`.
        file_info, b'>', 4, FileInfo
    }
    nix::ioctl_readwrite! {
        /// `DMA_BUF_IOCTL_EXPORT_SYNC_FILE`.
        export, b'b', 2, OfDmaBuf
    }
    nix::ioctl_write_ptr! {
        /// `DMA_BUF_IOCTL_IMPORT_SYNC_FILE`.
        import, b'b', 3, OfDmaBuf
    }
}

/// What has become of a fence, or of all fences of a sync file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FenceState {
    /// A device is at work still.
    Pending,
    /// Done.
    Signalled,
    /// Over, and not done: the driver gave this reason.
    Failed(Errno),
}

impl FenceState {
    /// From the header's `status`: 0 active, 1 signalled, below 0 an error.
    fn of_status(status: i32) -> FenceState {
        match status {
            0 => FenceState::Pending,
            1.. => FenceState::Signalled,
            _ => {
                let error = std::io::Error::from_raw_os_error(status.saturating_neg());
                FenceState::Failed(Errno::try_from(error).unwrap_or(Errno::EIO))
            }
        }
    }
}

/// One fence of a sync file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FenceInfo {
    /// The driver whose fence it is, as `vgem`.
    pub driver: String,
    /// The driver's name for the order in which its fences are signalled.
    pub timeline: String,
    /// What has become of it.
    pub state: FenceState,
    /// When it was signalled, in nanoseconds of `CLOCK_MONOTONIC`; `None` while it is pending.
    pub signalled_at_ns: Option<u64>,
}

/// What the kernel says of a sync file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncFileInfo {
    /// The name that it was given when it was merged, or one of the kernel's making.
    pub name: String,
    /// Pending while one fence is.
    pub state: FenceState,
    /// Its fences, at most [`MAX_FENCES`].
    pub fences: Vec<FenceInfo>,
}

/// An owned descriptor of a sync file.
#[derive(Debug)]
pub struct SyncFile(OwnedFd);

impl SyncFile {
    /// The fences that a dma-buf has now, as somebody who is to access it has to wait for them: a
    /// reader ([`Direction::Read`]) for the writers, a writer for everybody. A buffer that nobody
    /// is at work on gives a sync file that is signalled.
    ///
    /// # Errors
    ///
    /// `ENOSYS` if the kernel is older than 6.0, `ENOTTY` if `buffer` is no dma-buf.
    pub fn of_dma_buf(
        buffer: BorrowedFd<'_>,
        direction: Direction,
    ) -> Result<SyncFile, KernelError> {
        let mut data = ioctl::OfDmaBuf { flags: flags(direction), fd: -1 };
        // SAFETY: `buffer` is open as long as it is borrowed, and `data` is a live, exclusive
        // `struct dma_buf_export_sync_file`, which is what this ioctl reads and writes.
        unsafe { ioctl::export(buffer.as_raw_fd(), &mut data) }
            .map_err(|errno| refused(buffer, errno, format!("export fences, {direction:?}")))?;
        // SAFETY: the ioctl succeeded, so `data.fd` is a new descriptor that nobody else owns.
        Ok(SyncFile(unsafe { OwnedFd::from_raw_fd(data.fd) }))
    }

    /// Adds the fences to those of a dma-buf, as of somebody who reads it, and whom writers will
    /// wait for, or as of somebody who writes it, and whom all will wait for.
    ///
    /// # Errors
    ///
    /// As those of [`of_dma_buf`](Self::of_dma_buf).
    pub fn import_into(
        &self,
        buffer: BorrowedFd<'_>,
        direction: Direction,
    ) -> Result<(), KernelError> {
        let data = ioctl::OfDmaBuf { flags: flags(direction), fd: self.0.as_raw_fd() };
        // SAFETY: both descriptors are open, `buffer` as long as it is borrowed, and `data` is a
        // live `struct dma_buf_import_sync_file`, which this ioctl only reads.
        unsafe { ioctl::import(buffer.as_raw_fd(), &data) }
            .map(|_| ())
            .map_err(|errno| refused(buffer, errno, format!("import fences, {direction:?}")))
    }

    /// Waits until no fence is pending, at most `within`, without it as long as that takes. Answers
    /// what has become of the fences: [`FenceState::Pending`] if the time was up first.
    pub fn wait(&self, within: Option<Duration>) -> Result<FenceState, KernelError> {
        let refuse = |errno| KernelError::new("wait for a sync file", errno);
        match poll::wait(self.as_fd(), libc::POLLIN, within).map_err(refuse)? {
            happened if happened == 0 || happened & libc::POLLIN != 0 => self.state(),
            _ => Err(refuse(Errno::EIO)),
        }
    }

    /// What has become of the fences until now.
    pub fn state(&self) -> Result<FenceState, KernelError> {
        Ok(FenceState::of_status(file_info(self.as_fd(), &mut [])?.status))
    }

    /// A sync file with the fences of both. `name` is for people; it is cut at [`MAX_NAME_BYTES`].
    pub fn merge(&self, other: &SyncFile, name: &str) -> Result<SyncFile, KernelError> {
        let refuse = |errno| KernelError::new(format!("merge sync files as {name:?}"), errno);
        let c_name =
            CString::new(crate::dma_buf::kernel_name(name)).map_err(|_| refuse(Errno::EINVAL))?;
        let mut data =
            ioctl::Merge { name: [0; 32], fd2: other.0.as_raw_fd(), fence: -1, flags: 0, pad: 0 };
        for (to, from) in data.name.iter_mut().zip(c_name.as_bytes()) {
            *to = *from;
        }
        // SAFETY: both descriptors are open as long as their owners are, and `data` is a live,
        // exclusive `struct sync_merge_data`, which is what this ioctl reads and writes.
        unsafe { ioctl::merge(self.0.as_raw_fd(), &mut data) }.map_err(refuse)?;
        // SAFETY: the ioctl succeeded, so `data.fence` is a new descriptor that nobody else owns.
        Ok(SyncFile(unsafe { OwnedFd::from_raw_fd(data.fence) }))
    }

    /// Name, state, and every fence with its driver.
    ///
    /// # Errors
    ///
    /// `E2BIG` if there are more than [`MAX_FENCES`].
    pub fn info(&self) -> Result<SyncFileInfo, KernelError> {
        let count = file_info(self.as_fd(), &mut [])?.num_fences;
        let room = usize::try_from(count).unwrap_or(usize::MAX);
        if room > MAX_FENCES {
            let operation = format!("describe {count} fences, at most {MAX_FENCES}");
            return Err(KernelError::new(operation, Errno::E2BIG));
        }
        let mut fences = vec![ioctl::FenceInfo::default(); room];
        let info = file_info(self.as_fd(), &mut fences)?;
        // Fewer than before, if some were signalled in between.
        fences.truncate(usize::try_from(info.num_fences).unwrap_or(0));
        Ok(SyncFileInfo {
            name: text(&info.name),
            state: FenceState::of_status(info.status),
            fences: fences.iter().map(described).collect(),
        })
    }
}

/// Takes a descriptor from elsewhere. It is closed if the kernel does not know it as a sync file:
/// the error is `ENOTTY` then.
impl TryFrom<OwnedFd> for SyncFile {
    type Error = KernelError;

    fn try_from(fd: OwnedFd) -> Result<SyncFile, KernelError> {
        file_info(fd.as_fd(), &mut [])?;
        Ok(SyncFile(fd))
    }
}

impl AsFd for SyncFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<SyncFile> for OwnedFd {
    fn from(file: SyncFile) -> OwnedFd {
        file.0
    }
}

/// `DMA_BUF_SYNC_READ` and `DMA_BUF_SYNC_WRITE`.
fn flags(direction: Direction) -> u32 {
    u32::from(direction.reads()) | u32::from(direction.writes()) << 1
}

/// Tells a kernel without sync files of dma-bufs from a descriptor of something else: it knows the
/// ioctl of neither.
fn refused(buffer: BorrowedFd<'_>, errno: Errno, operation: String) -> KernelError {
    if errno == Errno::ENOTTY && matches!(DmaBufInfo::of(buffer), Ok(Some(_))) {
        return KernelError::new(format!("{operation}: takes Linux 6.0"), Errno::ENOSYS);
    }
    KernelError::new(operation, errno)
}

/// `SYNC_IOC_FILE_INFO`. The kernel counts the fences if there is room for none, and otherwise
/// describes all or none.
fn file_info(
    fd: BorrowedFd<'_>,
    fences: &mut [ioctl::FenceInfo],
) -> Result<ioctl::FileInfo, KernelError> {
    let mut info = ioctl::FileInfo {
        num_fences: u32::try_from(fences.len()).unwrap_or(u32::MAX),
        sync_fence_info: fences.as_mut_ptr() as u64,
        ..ioctl::FileInfo::default()
    };
    // SAFETY: `fd` is open as long as it is borrowed, and `info` is a live, exclusive `struct
    // sync_file_info`, which is what this ioctl reads and writes. It says how many live, exclusive
    // `struct sync_fence_info` follow at the address that it names, and the kernel writes no more.
    unsafe { ioctl::file_info(fd.as_raw_fd(), &mut info) }
        .map_err(KernelError::context(|| "ask for a sync file's fences".to_owned()))?;
    Ok(info)
}

fn described(fence: &ioctl::FenceInfo) -> FenceInfo {
    let state = FenceState::of_status(fence.status);
    FenceInfo {
        driver: text(&fence.driver_name),
        timeline: text(&fence.obj_name),
        state,
        signalled_at_ns: (state != FenceState::Pending).then_some(fence.timestamp_ns),
    }
}

/// The text up to the first NUL.
fn text(bytes: &[u8]) -> String {
    let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dma_heap::DmaHeap;
    use crate::memfd::Memfd;
    use berth_facilities::{missing, Facility};
    use nix::sys::utsname::uname;
    use proptest::prelude::*;

    #[test]
    fn a_descriptor_that_is_no_sync_file_is_refused() {
        let memfd = OwnedFd::from(Memfd::create("no sync file", 4096).unwrap());
        assert_eq!(SyncFile::try_from(memfd).unwrap_err().errno, Errno::ENOTTY);
    }

    #[test]
    fn memory_that_is_no_dma_buf_has_no_fences() {
        let memfd = Memfd::create("no dma-buf", 4096).unwrap();
        for direction in [Direction::Read, Direction::Write, Direction::ReadWrite] {
            let error = SyncFile::of_dma_buf(memfd.as_fd(), direction).unwrap_err();
            assert_eq!(error.errno, Errno::ENOTTY, "{error}");
        }
    }

    #[test]
    #[ignore = "needs dma-heap-system"]
    fn an_idle_buffer_is_signalled_and_an_old_kernel_says_that_it_is_old() {
        if missing(Facility::DmaHeapSystem) {
            return;
        }
        let buffer = DmaHeap::open("system").unwrap().allocate(4096).unwrap();
        let release = uname().unwrap().release().to_string_lossy().into_owned();
        let major: u32 = release.split('.').next().unwrap().parse().unwrap();
        for direction in [Direction::Read, Direction::Write, Direction::ReadWrite] {
            let exported = SyncFile::of_dma_buf(buffer.as_fd(), direction);
            if major < 6 {
                let error = exported.unwrap_err();
                assert_eq!(error.errno, Errno::ENOSYS);
                assert!(error.to_string().contains("takes Linux 6.0"), "{error}");
                continue;
            }
            let file = exported.unwrap();
            assert_eq!(file.state().unwrap(), FenceState::Signalled);
            assert_eq!(file.wait(Some(Duration::ZERO)).unwrap(), FenceState::Signalled);
            assert_eq!(file.wait(None).unwrap(), FenceState::Signalled);
            assert_eq!(file.info().unwrap().fences.len(), 1);
            file.import_into(buffer.as_fd(), direction).unwrap();
            // The same descriptor from elsewhere is taken for what it is.
            let again = SyncFile::try_from(OwnedFd::from(file)).unwrap();
            let merged = again.merge(&again, &"long ".repeat(9)).unwrap();
            assert_eq!(merged.info().unwrap().name, "long ".repeat(9)[..MAX_NAME_BYTES]);
            let refusal = again.merge(&again, "a\0b").unwrap_err();
            assert_eq!(refusal.errno, Errno::EINVAL);
        }
    }

    #[test]
    fn the_structures_are_as_large_as_the_headers() {
        // From the ioctl numbers that a C compiler makes of both headers on x86-64 and ARM64.
        assert_eq!(std::mem::size_of::<ioctl::Merge>(), 0x30);
        assert_eq!(std::mem::size_of::<ioctl::FileInfo>(), 0x38);
        assert_eq!(std::mem::size_of::<ioctl::FenceInfo>(), 0x50);
        assert_eq!(std::mem::size_of::<ioctl::OfDmaBuf>(), 0x08);
    }

    #[test]
    fn a_status_is_pending_signalled_or_an_error() {
        assert_eq!(FenceState::of_status(0), FenceState::Pending);
        assert_eq!(FenceState::of_status(1), FenceState::Signalled);
        let canceled = -(Errno::ECANCELED as i32);
        assert_eq!(FenceState::of_status(canceled), FenceState::Failed(Errno::ECANCELED));
        assert_eq!(FenceState::of_status(i32::MIN), FenceState::Failed(Errno::UnknownErrno));
    }

    #[test]
    fn only_a_fence_that_is_over_has_a_time() {
        let mut raw = ioctl::FenceInfo { timestamp_ns: 77, ..Default::default() };
        assert_eq!(described(&raw).signalled_at_ns, None);
        for status in [1, -5] {
            raw.status = status;
            assert_eq!(described(&raw).signalled_at_ns, Some(77));
        }
    }

    proptest! {
        #[test]
        fn a_name_ends_at_its_first_nul(name in "[a-z]{0,31}", rest: [u8; 32]) {
            let mut bytes = rest;
            bytes[..name.len()].copy_from_slice(name.as_bytes());
            bytes[name.len()] = 0;
            prop_assert_eq!(text(&bytes), name);
        }

        #[test]
        fn any_bytes_are_text_without_a_nul(bytes: [u8; 32]) {
            prop_assert!(!text(&bytes).contains('\0'));
        }
    }
}
