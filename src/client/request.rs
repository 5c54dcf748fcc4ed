// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! What to allocate, put together step by step.

use berth_layout::{PixelFormat, Usage};
use vendor_berth_allocator::aidl::vendor::berth::allocator::{
    AllocationFlag::AllocationFlag, AllocationOption, AllocationOption::AllocationOption as Wish,
    BufferDescriptor::BufferDescriptor, BufferShape::BufferShape, ImageDescriptor::ImageDescriptor,
    PixelFormat::PixelFormat as AidlFormat,
};

/// A request for buffers. Numbers that the interface cannot carry become its largest, which the
/// service refuses by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BufferRequest {
    shape: RequestShape,
    layers: u32,
    usage: Usage,
    name: String,
    heap: Option<String>,
    flags: i32,
    purge_chunk: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RequestShape {
    Linear(u64),
    Region(u64),
    Image { width: u32, height: u32, format: PixelFormat },
}

impl BufferRequest {
    fn new(shape: RequestShape) -> BufferRequest {
        let usage = Usage::CPU_READ_OFTEN | Usage::CPU_WRITE_OFTEN;
        let (name, heap, flags, purge_chunk) = (String::new(), None, 0, None);
        BufferRequest { shape, layers: 1, usage, name, heap, flags, purge_chunk }
    }

    /// A linear buffer of so many bytes, for CPU use unless [`usage`](Self::usage) says otherwise.
    pub fn linear(bytes: u64) -> BufferRequest {
        BufferRequest::new(RequestShape::Linear(bytes))
    }

    /// A region of shared memory of so many bytes, for CPUs only.
    pub fn region(bytes: u64) -> BufferRequest {
        BufferRequest::new(RequestShape::Region(bytes))
    }

    /// An image of one layer; width and height in pixels.
    pub fn image(width: u32, height: u32, format: PixelFormat) -> BufferRequest {
        BufferRequest::new(RequestShape::Image { width, height, format })
    }

    /// So many layers of an image.
    pub fn layers(self, layers: u32) -> BufferRequest {
        BufferRequest { layers, ..self }
    }

    /// What the buffer is used for; decides the alignment of rows.
    pub fn usage(self, usage: Usage) -> BufferRequest {
        BufferRequest { usage, ..self }
    }

    /// What it is for, for people: kernel, dumps and logs show it.
    pub fn name(self, name: impl Into<String>) -> BufferRequest {
        BufferRequest { name: name.into(), ..self }
    }

    /// From this heap, or from another that suits if it is not there or refuses;
    /// [`Buffer::is_fallback`](crate::Buffer::is_fallback) tells.
    pub fn heap(self, heap: impl Into<String>) -> BufferRequest {
        BufferRequest { heap: Some(heap.into()), ..self }
    }

    /// From the heap that is named, or from one of the kind that the usage asks for, and no other.
    pub fn strict_heap(self) -> BufferRequest {
        self.flag(AllocationFlag::STRICT_HEAP)
    }

    /// With a read-only view of the same pages: [`Buffer::second_fd`](crate::Buffer::second_fd).
    pub fn read_only_view(self) -> BufferRequest {
        self.flag(AllocationFlag::READ_ONLY_VIEW)
    }

    /// Fresh memory, which goes back to the kernel when it is freed.
    pub fn no_pool(self) -> BufferRequest {
        self.flag(AllocationFlag::NO_POOL)
    }

    /// A region whose contents go when the session ends, even for those who map it.
    pub fn revoke_on_death(self) -> BufferRequest {
        self.flag(AllocationFlag::REVOKE_ON_DEATH)
    }

    /// A region whose contents may go when memory is short, where nobody has them pinned:
    /// [`PurgeableRegion`](crate::PurgeableRegion) is what to make of it.
    pub fn purgeable(self) -> BufferRequest {
        self.flag(AllocationFlag::PURGEABLE)
    }

    /// The same, in chunks of so many bytes: that which is pinned and purged at once. A multiple of
    /// the page size up to 16 MiB; without this 64 KiB.
    pub fn purgeable_in_chunks_of(self, bytes: u64) -> BufferRequest {
        BufferRequest { purge_chunk: Some(bytes), ..self }.purgeable()
    }

    fn flag(self, flag: AllocationFlag) -> BufferRequest {
        BufferRequest { flags: self.flags | flag.0, ..self }
    }

    /// The request as the interface carries it.
    pub fn descriptor(&self) -> BufferDescriptor {
        BufferDescriptor {
            name: self.name.clone(),
            shape: self.shape(),
            // AIDL's `long` carries the bits; the sign means nothing.
            usage: self.usage.bits() as i64,
            heap: self.heap.clone(),
            flags: self.flags,
            options: self.purge_chunk.map(chunk_option).into_iter().collect(),
        }
    }

    /// Whether this is what [`descriptor`](Self::descriptor) would give, without making one.
    pub(crate) fn is_described_by(&self, descriptor: &BufferDescriptor) -> bool {
        let has_options = match (self.purge_chunk, descriptor.options.as_slice()) {
            (None, options) => options.is_empty(),
            (Some(chunk), [option]) => *option == chunk_option(chunk),
            (Some(_), _) => false,
        };
        has_options
            && self.shape() == descriptor.shape
            && self.flags == descriptor.flags
            && self.usage.bits() as i64 == descriptor.usage
            && self.name == descriptor.name
            && self.heap == descriptor.heap
    }

    fn shape(&self) -> BufferShape {
        let int = |value: u32| i32::try_from(value).unwrap_or(i32::MAX);
        let long = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        match self.shape {
            RequestShape::Linear(bytes) => BufferShape::LinearBytes(long(bytes)),
            RequestShape::Region(bytes) => BufferShape::RegionBytes(long(bytes)),
            RequestShape::Image { width, height, format } => BufferShape::Image(ImageDescriptor {
                width: int(width),
                height: int(height),
                layers: int(self.layers),
                format: AidlFormat(format.value()),
            }),
        }
    }
}

fn chunk_option(bytes: u64) -> Wish {
    let value = i64::try_from(bytes).unwrap_or(i64::MAX);
    Wish { name: AllocationOption::PURGE_CHUNK_BYTES.to_owned(), value }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_described_by_its_own_descriptor_and_by_no_other() {
        let linear = BufferRequest::linear(4096);
        let image = BufferRequest::image(4, 4, PixelFormat::Rgba8888);
        let requests = [
            linear.clone(),
            BufferRequest::linear(4097),
            BufferRequest::region(4096),
            linear.clone().name("n"),
            linear.clone().heap(""),
            linear.clone().heap("system"),
            linear.clone().no_pool(),
            linear.clone().strict_heap(),
            linear.usage(Usage::CPU_READ_OFTEN),
            BufferRequest::region(4096).purgeable(),
            BufferRequest::region(4096).purgeable_in_chunks_of(4096),
            BufferRequest::region(4096).purgeable_in_chunks_of(8192),
            image.clone(),
            image.clone().layers(2),
            BufferRequest::image(4, 5, PixelFormat::Rgba8888),
            BufferRequest::image(4, 4, PixelFormat::Rgbx8888),
        ];
        for (one, request) in requests.iter().enumerate() {
            for (other, described) in requests.iter().enumerate() {
                let is_described = request.is_described_by(&described.descriptor());
                assert_eq!(is_described, one == other, "{request:?} by {described:?}");
            }
        }
    }
}
