// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! The service's own types as the AIDL types that cross Binder.

use std::os::fd::AsFd;
use std::time::Duration;

use berth_kernel::identity::Identity;
use berth_layout::PixelFormat;
use hal_binder::ParcelFileDescriptor;
use vendor_berth_allocator::aidl::vendor::berth::allocator::{
    Access::Access, AllocatedBuffer::AllocatedBuffer, AllocatedBuffers::AllocatedBuffers,
    Allocation::Allocation, AllocationOption, AllocationOption::AllocationOption as Wish,
    AllocatorCapabilities::AllocatorCapabilities, Buffer::Buffer,
    BufferDescriptor::BufferDescriptor, BufferInfo, BufferInfo::BufferInfo as Info,
    BufferLayout::BufferLayout, BufferShape::BufferShape, HeapClass::HeapClass as AidlHeapClass,
    HeapInfo::HeapInfo, ImageDescriptor::ImageDescriptor, ImageLayout::ImageLayout,
    PixelFormat::PixelFormat as AidlFormat, PlaneComponent::PlaneComponent,
    PlaneComponentType::PlaneComponentType, PlaneLayout::PlaneLayout, PressureLevel::PressureLevel,
    ReattachResult::ReattachResult, ShareOptions, ShareOptions::ShareOptions as Options,
};

use crate::heap::Heap;
use crate::heap_class::HeapClass;
use crate::heap_memory::Opened;
use crate::memory::Memory;
use crate::pressure::Level;
use crate::refusal::Refusal;
use crate::request::{supported_flags, supported_usage, Request, Shape};
use crate::service::{Fresh, Service};
use crate::session::{Holding, Role};
use crate::tokens::Permit;

/// AIDL has no unsigned types. Nothing here comes near 2⁶³: the largest are bytes of memory.
fn long(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn int(value: u64) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

/// What the service can do.
pub(crate) fn capabilities(service: &Service) -> AllocatorCapabilities {
    let limits = service.accounts.limits();
    let heaps = service.heaps();
    let heap = |heap: &Heap| HeapInfo {
        name: heap.name.clone(),
        heapClass: heap_class(heap.class),
        dmaBuf: heap.gives_dma_bufs(),
        readOnlyDescriptors: heap.has_read_only_descriptors(),
        maxBufferBytes: long(heap.max_bytes),
    };
    AllocatorCapabilities {
        heaps: heaps.iter().map(heap).collect(),
        formats: PixelFormat::ALL.iter().map(|format| AidlFormat(format.value())).collect(),
        supportedUsage: supported_usage(heaps.has(HeapClass::Secure)).bits() as i64,
        supportedFlags: supported_flags(heaps.has(HeapClass::Udmabuf)),
        pageSizeBytes: int(service.page_bytes()),
        maxBufferBytes: long(limits.buffer_bytes),
        maxSessionBytes: long(limits.session_bytes),
        maxSessionBuffers: int(limits.session_buffers),
        maxSessionsPerUid: int(limits.uid_sessions),
    }
}

fn heap_class(class: HeapClass) -> AidlHeapClass {
    match class {
        HeapClass::System => AidlHeapClass::SYSTEM,
        HeapClass::SystemUncached => AidlHeapClass::SYSTEM_UNCACHED,
        HeapClass::Contiguous => AidlHeapClass::CONTIGUOUS,
        HeapClass::Secure => AidlHeapClass::SECURE,
        HeapClass::Shmem => AidlHeapClass::SHMEM,
        HeapClass::Udmabuf => AidlHeapClass::UDMABUF,
        HeapClass::Vendor => AidlHeapClass::VENDOR,
    }
}

/// Buffers that were just allocated: what they share once, and of each what is its own.
pub(crate) fn allocation(batch: Vec<Fresh>, request_id: i32) -> Allocation {
    let layout = batch.first().map(|fresh| layout(&fresh.memory)).unwrap_or_default();
    Allocation { layout, buffers: allocated(batch), requestId: request_id }
}

/// The same without what is known already.
pub(crate) fn allocated(batch: Vec<Fresh>) -> AllocatedBuffers {
    let mut buffers = AllocatedBuffers {
        firstId: batch.first().map_or(0, |fresh| fresh.id),
        flags: Vec::with_capacity(batch.len()),
        fds: Vec::with_capacity(batch.len()),
        secondFds: Vec::new(),
        receipts: Vec::with_capacity(batch.len()),
    };
    for fresh in batch {
        buffers.flags.push(memory_flags(&fresh.memory));
        buffers.fds.push(ParcelFileDescriptor::new(fresh.opened.fd));
        buffers.secondFds.extend(fresh.opened.second.map(ParcelFileDescriptor::new));
        buffers.receipts.push(fresh.receipt);
    }
    buffers
}

/// One buffer without what is known already.
pub(crate) fn allocated_one(fresh: Fresh) -> AllocatedBuffer {
    AllocatedBuffer {
        id: fresh.id,
        flags: memory_flags(&fresh.memory),
        fd: Some(ParcelFileDescriptor::new(fresh.opened.fd)),
        secondFd: fresh.opened.second.map(ParcelFileDescriptor::new),
        receipt: fresh.receipt,
    }
}

/// How short memory is.
pub(crate) fn pressure_level(level: Level) -> PressureLevel {
    match level {
        Level::Normal => PressureLevel::NORMAL,
        Level::Moderate => PressureLevel::MODERATE,
        Level::Critical => PressureLevel::CRITICAL,
    }
}

/// A buffer of a session with new descriptors of it.
pub(crate) fn buffer(
    id: i64,
    holding: &Holding,
    access: Access,
    opened: Opened,
    receipt: i64,
) -> Result<Buffer, Refusal> {
    let mut info = Info { access, receipt, ..info(id, holding) };
    if access == Access::READ_ONLY && info.layout.dmaBuf {
        // What is handed out is the view, a memfd with an identity of its own.
        info.layout.dmaBuf = false;
        let view = Identity::of(opened.fd.as_fd()).map_err(Refusal::of_kernel)?;
        (info.device, info.inode) = identity(Some(view));
    }
    let fd = Some(ParcelFileDescriptor::new(opened.fd));
    let second = opened.second.map(ParcelFileDescriptor::new);
    Ok(Buffer { info, fd, secondFd: second, pinner: 0 })
}

/// 0 and 0 for ashmem where the kernel tells no identity.
fn identity(identity: Option<Identity>) -> (i64, i64) {
    identity.map_or((0, 0), |identity| (identity.device as i64, identity.inode as i64))
}

fn memory_flags(memory: &Memory) -> i32 {
    let bit = |set: bool, flag: i32| if set { flag } else { 0 };
    // What a driver of somebody else's leaves in its memory nobody here can tell.
    let zeroed = !matches!(memory.heap.class, HeapClass::Secure | HeapClass::Vendor);
    bit(zeroed, BufferInfo::FLAG_ZEROED)
        | bit(memory.fallback, BufferInfo::FLAG_FALLBACK_HEAP)
        | bit(memory.is_sealed(), BufferInfo::FLAG_SEALED)
        | bit(memory.recycled, BufferInfo::FLAG_RECYCLED)
}

fn layout(memory: &Memory) -> BufferLayout {
    let request = &memory.request;
    BufferLayout {
        sizeBytes: long(request.bytes()),
        allocationBytes: long(memory.bytes),
        heap: memory.heap.name.clone(),
        dmaBuf: memory.is_dma_buf(),
        image: image_layout(request),
    }
}

fn image_layout(request: &Request) -> Option<ImageLayout> {
    match &request.shape {
        Shape::Linear(_) | Shape::Region(_) => None,
        Shape::Image(image, layout) => Some(ImageLayout {
            strideInPixels: int(layout.stride.into()),
            layerStrideInBytes: long(layout.layer_stride),
            // Four characters of ASCII: the highest bit is never set.
            drmFourcc: image.format.drm_fourcc().map_or(0, |code| code as i32),
            planes: layout.planes().iter().map(plane).collect(),
        }),
    }
}

/// A buffer of a session, without its receipt.
pub(crate) fn info(id: i64, holding: &Holding) -> Info {
    let memory = &holding.memory;
    let mut flags = memory_flags(memory);
    if matches!(holding.role, Role::Taker(_)) {
        flags |= BufferInfo::FLAG_ACQUIRED;
        if memory.is_given_up() {
            flags |= BufferInfo::FLAG_GIVEN_UP;
        }
    }
    let (device, inode) = identity(memory.identity);
    Info {
        id,
        request: descriptor(&memory.request),
        layout: layout(memory),
        device,
        inode,
        flags,
        access: holding.access(),
        ownerId: memory.owner,
        receipt: 0,
    }
}

fn descriptor(request: &Request) -> BufferDescriptor {
    let shape = match &request.shape {
        Shape::Linear(bytes) => BufferShape::LinearBytes(long(*bytes)),
        Shape::Region(bytes) => BufferShape::RegionBytes(long(*bytes)),
        Shape::Image(image, _) => BufferShape::Image(ImageDescriptor {
            width: int(image.width.into()),
            height: int(image.height.into()),
            layers: int(image.layers.into()),
            format: AidlFormat(image.format.value()),
        }),
    };
    BufferDescriptor {
        name: request.name.clone(),
        shape,
        usage: request.usage.bits() as i64,
        heap: request.heap.clone(),
        flags: request.flags(),
        options: request.purge_chunk_bytes.map(chunk_option).into_iter().collect(),
    }
}

fn chunk_option(bytes: u64) -> Wish {
    Wish { name: AllocationOption::PURGE_CHUNK_BYTES.to_owned(), value: long(bytes) }
}

fn plane(plane: &berth_layout::PlaneLayout) -> PlaneLayout {
    let component = |component: &berth_layout::PlaneComponent| PlaneComponent {
        r#type: PlaneComponentType(component.component_type.value()),
        offsetInBits: component.offset_in_bits,
        sizeInBits: component.size_in_bits,
    };
    PlaneLayout {
        components: plane.components.iter().map(component).collect(),
        offsetInBytes: plane.offset_in_bytes,
        sampleIncrementInBits: plane.sample_increment_in_bits,
        strideInBytes: plane.stride_in_bytes,
        widthInSamples: plane.width_in_samples,
        heightInSamples: plane.height_in_samples,
        totalSizeInBytes: plane.total_size_in_bytes,
        horizontalSubsampling: plane.horizontal_subsampling,
        verticalSubsampling: plane.vertical_subsampling,
    }
}

/// What a client wants a token to permit.
pub(crate) fn permit(options: &Options) -> Result<Permit, Refusal> {
    let (uses, most) = (options.uses, ShareOptions::MAX_USES);
    let (lifetime, longest) = (options.lifetimeMillis, ShareOptions::MAX_LIFETIME_MILLIS);
    if !(1..=most).contains(&uses) {
        return Err(Refusal::BadArgument(format!("uses is {uses}, 1 to {most}")));
    }
    if !(1..=longest).contains(&lifetime) {
        return Err(Refusal::BadArgument(format!("lifetimeMillis is {lifetime}, 1 to {longest}")));
    }
    let uid = options.recipientUid;
    Ok(Permit {
        recipient_uid: u32::try_from(uid)
            .map_err(|_| Refusal::BadArgument(format!("recipientUid is {uid}, 0 or more")))?,
        uses: uses.unsigned_abs(),
        lifetime: Duration::from_millis(lifetime.unsigned_abs()),
        access: access(options.access)?,
    })
}

/// Whether a layout that a client was told is what the service would tell it now.
pub(crate) fn is_layout_of(told: &BufferLayout, request: &Request) -> bool {
    told.sizeBytes == long(request.bytes()) && told.image == image_layout(request)
}

/// A buffer that is in the books again, with so many of its tokens.
pub(crate) fn reattached(tokens: u64) -> ReattachResult {
    ReattachResult { error: 0, message: String::new(), tokens: int(tokens) }
}

/// An access that the enumeration has: AIDL lets any number through.
pub(crate) fn access(access: Access) -> Result<Access, Refusal> {
    match access {
        Access::READ_WRITE | Access::READ_ONLY => Ok(access),
        Access(other) => Err(Refusal::BadArgument(format!("access {other} is not known"))),
    }
}
