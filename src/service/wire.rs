// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! The service's own types as the AIDL types that cross Binder.

use std::time::Duration;

use berth_layout::PixelFormat;
use vendor_berth_allocator::aidl::vendor::berth::allocator::{
    Access::Access, AllocatorCapabilities::AllocatorCapabilities,
    BufferDescriptor::BufferDescriptor, BufferInfo, BufferInfo::BufferInfo as Info,
    BufferShape::BufferShape, HeapClass::HeapClass, HeapInfo::HeapInfo,
    ImageDescriptor::ImageDescriptor, PixelFormat::PixelFormat as AidlFormat,
    PlaneComponent::PlaneComponent, PlaneComponentType::PlaneComponentType,
    PlaneLayout::PlaneLayout, ShareOptions, ShareOptions::ShareOptions as Options,
};

use crate::heaps::{Class, Heap};
use crate::refusal::Refusal;
use crate::request::{supported_usage, Request, Shape};
use crate::service::Service;
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
    let heap = |heap: &Heap| HeapInfo {
        name: heap.name().to_owned(),
        heapClass: heap_class(heap.class()),
        dmaBuf: heap.gives_dma_bufs(),
        maxBufferBytes: long(limits.buffer_bytes),
    };
    AllocatorCapabilities {
        heaps: service.heaps.iter().map(heap).collect(),
        formats: PixelFormat::ALL.iter().map(|format| AidlFormat(format.value())).collect(),
        supportedUsage: supported_usage().bits() as i64,
        pageSizeBytes: int(service.page_bytes()),
        maxBufferBytes: long(limits.buffer_bytes),
        maxSessionBytes: long(limits.session_bytes),
        maxSessionBuffers: int(limits.session_buffers),
        maxSessionsPerUid: int(limits.uid_sessions),
        readOnlyRegions: service.heaps.iter().any(Heap::has_read_only_descriptors),
    }
}

fn heap_class(class: Class) -> HeapClass {
    match class {
        Class::System => HeapClass::SYSTEM,
        Class::SystemUncached => HeapClass::SYSTEM_UNCACHED,
        Class::Contiguous => HeapClass::CONTIGUOUS,
        Class::Secure => HeapClass::SECURE,
        Class::Shmem => HeapClass::SHMEM,
        Class::Vendor => HeapClass::VENDOR,
    }
}

/// A buffer of a session.
pub(crate) fn info(id: i64, holding: &Holding) -> Info {
    let memory = &holding.memory;
    let request = &memory.request;
    let mut flags = BufferInfo::FLAG_ZEROED;
    if memory.fallback {
        flags |= BufferInfo::FLAG_FALLBACK_HEAP;
    }
    if matches!(holding.role, Role::Taker(_)) {
        flags |= BufferInfo::FLAG_ACQUIRED;
    }
    let mut info = Info {
        id,
        descriptor: descriptor(request),
        sizeBytes: long(request.bytes()),
        allocationBytes: long(memory.bytes),
        heap: memory.heap.clone(),
        dmaBuf: memory.is_dma_buf(),
        device: memory.identity.device as i64,
        inode: memory.identity.inode as i64,
        flags,
        access: holding.access(),
        ..Default::default()
    };
    if let Shape::Image(_, layout) = &request.shape {
        info.strideInPixels = int(layout.stride.into());
        info.layerStrideInBytes = long(layout.layer_stride);
        info.planes = layout.planes().iter().map(plane).collect();
    }
    info
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
        options: Vec::new(),
    }
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

/// An access that the enumeration has: AIDL lets any number through.
pub(crate) fn access(access: Access) -> Result<Access, Refusal> {
    match access {
        Access::READ_WRITE | Access::READ_ONLY => Ok(access),
        Access(other) => Err(Refusal::BadArgument(format!("access {other} is not known"))),
    }
}
