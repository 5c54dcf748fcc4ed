// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! The interface's types as the protocol's, and back.

use berth_client::{Access, BufferInfo};
use berth_end_to_end::protocol::{Descriptor, HeapTold, Info, Plane, Shape};
use vendor_berth_allocator::aidl::vendor::berth::allocator::{
    AllocationOption::AllocationOption, BufferDescriptor::BufferDescriptor,
    BufferShape::BufferShape, HeapInfo::HeapInfo, ImageDescriptor::ImageDescriptor,
    PixelFormat::PixelFormat,
};

/// A descriptor for the interface.
pub fn descriptor(descriptor: &Descriptor) -> BufferDescriptor {
    let shape = match descriptor.shape {
        Shape::Linear(bytes) => BufferShape::LinearBytes(bytes),
        Shape::Region(bytes) => BufferShape::RegionBytes(bytes),
        Shape::Image(width, height, layers, format) => BufferShape::Image(ImageDescriptor {
            width,
            height,
            layers,
            format: PixelFormat(format),
        }),
    };
    let option =
        |(name, value): &(String, i64)| AllocationOption { name: name.clone(), value: *value };
    BufferDescriptor {
        name: descriptor.name.clone(),
        shape,
        usage: descriptor.usage,
        heap: descriptor.heap.clone(),
        flags: descriptor.flags,
        options: descriptor.options.iter().map(option).collect(),
    }
}

/// What the service says of a heap.
pub fn heap(heap: HeapInfo) -> HeapTold {
    HeapTold {
        name: heap.name,
        class: heap.heapClass.0,
        dma_buf: heap.dmaBuf,
        read_only: heap.readOnlyDescriptors,
        max_buffer: heap.maxBufferBytes,
    }
}

/// What the service says of a buffer.
pub fn info(info: &BufferInfo) -> Info {
    let asked = &info.request;
    let shape = match &asked.shape {
        BufferShape::LinearBytes(bytes) => Shape::Linear(*bytes),
        BufferShape::RegionBytes(bytes) => Shape::Region(*bytes),
        BufferShape::Image(image) => {
            Shape::Image(image.width, image.height, image.layers, image.format.0)
        }
    };
    Info {
        id: info.id,
        descriptor: Descriptor {
            shape,
            name: asked.name.clone(),
            usage: asked.usage,
            heap: asked.heap.clone(),
            flags: asked.flags,
            options: asked.options.iter().map(|one| (one.name.clone(), one.value)).collect(),
        },
        size: info.layout.sizeBytes,
        allocation: info.layout.allocationBytes,
        heap: info.layout.heap.clone(),
        dma_buf: info.layout.dmaBuf,
        device: info.device,
        inode: info.inode,
        flags: info.flags,
        receipt: info.receipt,
        read_only: info.access == Access::READ_ONLY,
        layer_stride: info.layout.image.as_ref().map_or(0, |image| image.layerStrideInBytes),
        planes: info
            .layout
            .image
            .iter()
            .flat_map(|image| &image.planes)
            .map(|plane| Plane {
                offset: plane.offsetInBytes,
                stride: plane.strideInBytes,
                height: plane.heightInSamples,
                size: plane.totalSizeInBytes,
            })
            .collect(),
    }
}
