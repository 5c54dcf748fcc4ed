// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! A descriptor that was checked: from here on sizes are numbers that fit and names are names.

use std::sync::OnceLock;

use berth_kernel::page_size;
use berth_layout::{ImageLayout, ImageRequest, PixelFormat, StridePolicy, Usage};
use berth_shared::purge::Chunks;
use vendor_berth_allocator::aidl::vendor::berth::allocator::{
    AllocationFlag::AllocationFlag, AllocationOption, AllocationOption::AllocationOption as Wish,
    BufferDescriptor::BufferDescriptor, BufferShape::BufferShape, IAllocator,
    ImageDescriptor::ImageDescriptor,
};

use crate::heap_memory::Face;
use crate::refusal::Refusal;

/// Usage that needs what no layout here has.
const UNSUPPORTED_USAGE: Usage = Usage::GPU_MIPMAP_COMPLETE;

/// All usage bits that a request may have, on a device with protected memory or without.
pub(crate) fn supported_usage(protected: bool) -> Usage {
    let vendors = Usage::VENDOR_MASK | Usage::VENDOR_MASK_HI;
    let cpu_fields = Usage::CPU_READ_MASK | Usage::CPU_WRITE_MASK;
    let cpu_values = Usage::CPU_READ_OFTEN | Usage::CPU_WRITE_OFTEN;
    let without = if protected { Usage::empty() } else { Usage::PROTECTED };
    (Usage::all() - vendors - UNSUPPORTED_USAGE - cpu_fields - without) | cpu_values
}

/// All flags that a request may have, on a device with udmabuf or without.
pub(crate) fn supported_flags(udmabuf: bool) -> i32 {
    use AllocationFlag as Flag;
    let view = if udmabuf { AllocationFlag::READ_ONLY_VIEW.0 } else { 0 };
    let always = [Flag::STRICT_HEAP, Flag::NO_POOL, Flag::REVOKE_ON_DEATH, Flag::PURGEABLE];
    always.into_iter().fold(view, |flags, flag| flags | flag.0)
}

/// The form of what is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Bytes.
    Linear(u64),
    /// Pixels, and where they lie.
    Image(ImageRequest, Box<ImageLayout>),
    /// Bytes for CPUs only.
    Region(u64),
}

/// What is asked for.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) name: String,
    pub(crate) shape: Shape,
    pub(crate) usage: Usage,
    pub(crate) heap: Option<String>,
    /// No other heap will do.
    pub(crate) strict_heap: bool,
    /// Readers get a view that they cannot write.
    pub(crate) read_only_view: bool,
    /// Not of memory that was another's, nor to become such.
    pub(crate) no_pool: bool,
    /// The contents go with the session.
    pub(crate) revoke_on_death: bool,
    /// Bytes of the chunks that may go when memory is short.
    pub(crate) purge_chunk_bytes: Option<u64>,
    /// All of this in 64 bits under this service's key, once a receipt was made out: longer than all
    /// else that receipts are for, and the same for all buffers of the request.
    pub(crate) digest: OnceLock<u64>,
}

impl Request {
    /// Checks a descriptor against everything that does not depend on what is free or on who asks.
    /// `max_bytes` is the largest buffer that is ever given.
    pub(crate) fn check(
        descriptor: &BufferDescriptor,
        policy: &StridePolicy,
        max_bytes: u64,
    ) -> Result<Request, Refusal> {
        let name = checked_name("name", &descriptor.name).map_err(Refusal::BadDescriptor)?;
        let chunk_bytes = checked_options(&descriptor.options)?;
        // AIDL's `long` carries the bits; the sign means nothing.
        let usage = Usage::from_bits_retain(descriptor.usage as u64);
        let unknown = usage.unknown_bits() | (usage & UNSUPPORTED_USAGE).bits();
        if unknown != 0 {
            return Err(Refusal::Unsupported(format!("usage bits {unknown:#x}")));
        }
        let flags = descriptor.flags;
        let unknown = flags & !supported_flags(true);
        if unknown != 0 {
            return Err(Refusal::Unsupported(format!("flags {unknown:#x}")));
        }
        let has = |flag: AllocationFlag| flags & flag.0 != 0;
        let shape = match &descriptor.shape {
            BufferShape::LinearBytes(bytes) => Shape::Linear(checked_size("linearBytes", *bytes)?),
            BufferShape::RegionBytes(bytes) => Shape::Region(checked_size("regionBytes", *bytes)?),
            BufferShape::Image(image) => checked_image(image, usage, policy)?,
        };
        let heap = match &descriptor.heap {
            None => None,
            Some(heap) => Some(checked_name("heap", heap).map_err(Refusal::BadDescriptor)?),
        };
        let request = Request {
            name,
            shape,
            usage,
            heap,
            strict_heap: has(AllocationFlag::STRICT_HEAP),
            read_only_view: has(AllocationFlag::READ_ONLY_VIEW),
            no_pool: has(AllocationFlag::NO_POOL),
            revoke_on_death: has(AllocationFlag::REVOKE_ON_DEATH),
            purge_chunk_bytes: checked_chunks(has(AllocationFlag::PURGEABLE), chunk_bytes)?,
            digest: OnceLock::new(),
        };
        request.check_combination()?;
        request.check_chunks()?;
        if request.bytes() > max_bytes {
            return Err(Refusal::TooLarge { asked: request.bytes(), limit: max_bytes });
        }
        Ok(request)
    }

    /// A request for nothing but a shape.
    #[cfg(test)]
    pub(crate) fn of_shape(shape: Shape) -> Request {
        Request {
            name: String::new(),
            shape,
            usage: Usage::empty(),
            heap: None,
            strict_heap: false,
            read_only_view: false,
            no_pool: false,
            revoke_on_death: false,
            purge_chunk_bytes: None,
            digest: OnceLock::new(),
        }
    }

    /// Refuses what contradicts itself.
    fn check_combination(&self) -> Result<(), Refusal> {
        let region = matches!(self.shape, Shape::Region(_));
        let protected = self.usage.intersects(Usage::PROTECTED);
        let purgeable = self.purge_chunk_bytes.is_some();
        let contradiction = if purgeable && self.read_only_view {
            "PURGEABLE with READ_ONLY_VIEW: under a dma-buf no memory can be taken"
        } else if purgeable && !region {
            "PURGEABLE of a dma-buf, whose memory cannot be taken"
        } else if purgeable && self.revoke_on_death {
            "PURGEABLE with REVOKE_ON_DEATH, which takes what is pinned too"
        } else if self.revoke_on_death && !region {
            "REVOKE_ON_DEATH of a dma-buf, which nobody can take from those who hold it"
        } else if region && self.read_only_view {
            "READ_ONLY_VIEW of a region, every one of which can be opened read-only"
        } else if protected && (region || self.read_only_view) {
            "PROTECTED memory that CPUs share"
        } else if protected && (self.usage.cpu_reads() || self.usage.cpu_writes()) {
            "PROTECTED memory that the CPU reads or writes"
        } else {
            return Ok(());
        };
        Err(Refusal::Unsupported(contradiction.to_owned()))
    }

    /// Refuses more chunks than anybody may have.
    fn check_chunks(&self) -> Result<(), Refusal> {
        let Some(chunk) = self.purge_chunk_bytes else { return Ok(()) };
        let limit = AllocationOption::MAX_PURGE_CHUNKS;
        match Chunks::of(self.bytes(), chunk) {
            Some(chunks) if chunks.count() <= limit.unsigned_abs() => Ok(()),
            _ => Err(Refusal::BadDescriptor(format!(
                "{} bytes in chunks of {chunk}: at most {limit} chunks",
                self.bytes()
            ))),
        }
    }

    /// What it wants to see of the memory.
    pub(crate) fn face(&self) -> Face {
        if let Some(chunk_bytes) = self.purge_chunk_bytes {
            return Face::PurgeableRegion { chunk_bytes };
        }
        match &self.shape {
            Shape::Region(_) if self.revoke_on_death => Face::RevocableRegion,
            Shape::Region(_) => Face::Region,
            _ if self.read_only_view => Face::DmaBufWithView,
            _ => Face::DmaBuf,
        }
    }

    /// The flags as they were asked for.
    pub(crate) fn flags(&self) -> i32 {
        let bit = |asked: bool, flag: AllocationFlag| if asked { flag.0 } else { 0 };
        bit(self.strict_heap, AllocationFlag::STRICT_HEAP)
            | bit(self.read_only_view, AllocationFlag::READ_ONLY_VIEW)
            | bit(self.no_pool, AllocationFlag::NO_POOL)
            | bit(self.revoke_on_death, AllocationFlag::REVOKE_ON_DEATH)
            | bit(self.purge_chunk_bytes.is_some(), AllocationFlag::PURGEABLE)
    }

    /// The bytes that the shape needs, 1 or more.
    pub(crate) fn bytes(&self) -> u64 {
        match &self.shape {
            Shape::Linear(bytes) | Shape::Region(bytes) => *bytes,
            Shape::Image(_, layout) => layout.size,
        }
    }
}

/// A name that can be shown anywhere: not too long, without control characters, which would forge
/// lines in dumps and in the kernel's files.
pub(crate) fn checked_name(what: &str, name: &str) -> Result<String, String> {
    let limit = IAllocator::MAX_NAME_BYTES as usize;
    if name.len() > limit {
        return Err(format!("{what} of {} bytes, at most {limit}", name.len()));
    }
    if let Some((at, control)) = name.char_indices().find(|(_, char)| char.is_control()) {
        return Err(format!("{what} has the control character {control:?} at byte {at}"));
    }
    Ok(name.to_owned())
}

fn checked_size(what: &str, bytes: i64) -> Result<u64, Refusal> {
    match u64::try_from(bytes) {
        Ok(bytes) if bytes > 0 => Ok(bytes),
        _ => Err(Refusal::BadDescriptor(format!("{what} is {bytes}, at least 1"))),
    }
}

/// The options: there is one, the size of a chunk.
fn checked_options(options: &[Wish]) -> Result<Option<i64>, Refusal> {
    if options.len() > IAllocator::MAX_OPTIONS as usize {
        let (given, limit) = (options.len(), IAllocator::MAX_OPTIONS);
        return Err(Refusal::BadDescriptor(format!("{given} options, at most {limit}")));
    }
    let mut chunk_bytes = None;
    for option in options {
        let name: String = option.name.chars().take(64).collect();
        if option.name != AllocationOption::PURGE_CHUNK_BYTES {
            return Err(Refusal::Unsupported(format!("option {name:?} is not known")));
        }
        if chunk_bytes.replace(option.value).is_some() {
            return Err(Refusal::BadDescriptor(format!("option {name:?} is there twice")));
        }
    }
    Ok(chunk_bytes)
}

/// Bytes of a chunk, of what is purgeable.
fn checked_chunks(purgeable: bool, asked: Option<i64>) -> Result<Option<u64>, Refusal> {
    let name = AllocationOption::PURGE_CHUNK_BYTES;
    let asked = match (purgeable, asked) {
        (false, None) => return Ok(None),
        (false, Some(_)) => {
            return Err(Refusal::BadDescriptor(format!("option {name:?} without PURGEABLE")));
        }
        (true, asked) => asked.unwrap_or(AllocationOption::DEFAULT_PURGE_CHUNK_BYTES.into()),
    };
    let (page, most) = (page_size(), AllocationOption::MAX_PURGE_CHUNK_BYTES);
    match u64::try_from(asked) {
        Ok(bytes) if bytes > 0 && bytes % page == 0 && asked <= most.into() => Ok(Some(bytes)),
        _ => Err(Refusal::BadDescriptor(format!(
            "{name} is {asked}, a multiple of {page} up to {most}"
        ))),
    }
}

fn checked_image(
    image: &ImageDescriptor,
    usage: Usage,
    policy: &StridePolicy,
) -> Result<Shape, Refusal> {
    let extent = |what: &str, value: i32| {
        u32::try_from(value)
            .map_err(|_| Refusal::BadDescriptor(format!("{what} is {value}, at least 1")))
    };
    let request = ImageRequest {
        width: extent("width", image.width)?,
        height: extent("height", image.height)?,
        layers: extent("layers", image.layers)?,
        format: PixelFormat::try_from(image.format.0)?,
        usage,
    };
    let layout = ImageLayout::compute(&request, policy)?;
    Ok(Shape::Image(request, Box::new(layout)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use vendor_berth_allocator::aidl::vendor::berth::allocator::{
        AllocatorError::AllocatorError, BufferUsage::BufferUsage,
        PixelFormat::PixelFormat as AidlFormat,
    };

    const MAX: u64 = 1 << 30;

    fn check(descriptor: &BufferDescriptor) -> Result<Request, Refusal> {
        Request::check(descriptor, &StridePolicy::DEFAULT, MAX)
    }

    fn linear(bytes: i64) -> BufferDescriptor {
        BufferDescriptor { shape: BufferShape::LinearBytes(bytes), ..Default::default() }
    }

    fn image(width: i32, height: i32, layers: i32, format: i32) -> BufferDescriptor {
        let format = AidlFormat(format);
        let image = ImageDescriptor { width, height, layers, format };
        BufferDescriptor { shape: BufferShape::Image(image), ..Default::default() }
    }

    fn refused(descriptor: &BufferDescriptor, code: AllocatorError, parts: &[&str]) {
        let refusal = check(descriptor).unwrap_err();
        assert_eq!(refusal.code(), code, "{refusal}");
        for part in parts {
            assert!(refusal.to_string().contains(part), "{part:?} in {refusal}");
        }
    }

    #[test]
    fn the_interface_names_every_usage_and_flag_that_can_be_had_and_no_other() {
        let named = BufferUsage::enum_values().iter().fold(0, |bits, usage| bits | usage.0);
        let fields = Usage::CPU_READ_MASK | Usage::CPU_WRITE_MASK;
        let named = Usage::from_bits_retain(named as u64);
        assert_eq!(named - fields, supported_usage(true) - fields);
        let named = AllocationFlag::enum_values().iter().fold(0, |bits, flag| bits | flag.0);
        assert_eq!(named, supported_flags(true));
    }

    #[test]
    fn sizes_out_of_range_name_value_and_limit() {
        refused(&linear(0), AllocatorError::BAD_DESCRIPTOR, &["0", "at least 1"]);
        refused(&linear(-1), AllocatorError::BAD_DESCRIPTOR, &["-1", "at least 1"]);
        refused(&linear(1 << 40), AllocatorError::TOO_LARGE, &["1099511627776", "1073741824"]);
        refused(&linear(i64::MAX), AllocatorError::TOO_LARGE, &["9223372036854775807"]);
        assert!(check(&linear(MAX as i64)).is_ok());
        refused(&linear(MAX as i64 + 1), AllocatorError::TOO_LARGE, &[]);
    }

    #[test]
    fn images_out_of_range_name_value_and_limit() {
        let rgba = PixelFormat::Rgba8888.value();
        refused(&image(0, 1, 1, rgba), AllocatorError::BAD_DESCRIPTOR, &["width is 0"]);
        refused(&image(1, -5, 1, rgba), AllocatorError::BAD_DESCRIPTOR, &["height is -5"]);
        refused(&image(1, 1, 0, rgba), AllocatorError::BAD_DESCRIPTOR, &["layers is 0"]);
        refused(&image(i32::MAX, i32::MAX, 1, rgba), AllocatorError::TOO_LARGE, &["2147483647"]);
        refused(&image(32_768, 32_768, 1, rgba), AllocatorError::TOO_LARGE, &["4294967296"]);
        refused(&image(1, 1, 1, 0), AllocatorError::UNSUPPORTED, &["format 0"]);
        refused(&image(1, 1, 1, 0x22), AllocatorError::UNSUPPORTED, &["0x22"]);
    }

    #[test]
    fn unknown_usage_options_and_bad_names_are_refused() {
        let usage = |usage| BufferDescriptor { usage, ..linear(1) };
        refused(&usage(1 << 40), AllocatorError::UNSUPPORTED, &["0x10000000000"]);
        refused(&usage(1 << 26), AllocatorError::UNSUPPORTED, &["0x4000000"]);
        refused(&usage(i64::MIN), AllocatorError::UNSUPPORTED, &["0x8000000000000000"]);
        refused(&usage(1), AllocatorError::UNSUPPORTED, &["0x1"]);
        let option = Wish { name: "tiling".into(), value: 1 };
        let options = BufferDescriptor { options: vec![option], ..linear(1) };
        refused(&options, AllocatorError::UNSUPPORTED, &["tiling"]);
        let named = |name: &str| BufferDescriptor { name: name.into(), ..linear(1) };
        refused(&named("a\0b"), AllocatorError::BAD_DESCRIPTOR, &["\\0", "byte 1"]);
        refused(&named("a\nname: b"), AllocatorError::BAD_DESCRIPTOR, &["\\n"]);
        let long = named(&"x".repeat(1 << 20));
        refused(&long, AllocatorError::BAD_DESCRIPTOR, &["1048576", "127"]);
        assert!(check(&named(&"\u{1f6a2}".repeat(31))).is_ok());
        refused(&named(&"\u{1f6a2}".repeat(32)), AllocatorError::BAD_DESCRIPTOR, &["128"]);
    }

    #[test]
    fn every_supported_usage_bit_is_accepted() {
        for usage in supported_usage(true).iter() {
            // Six square faces, which suit a cube map and everything else.
            let format = PixelFormat::Rgba8888.value();
            let descriptor =
                BufferDescriptor { usage: usage.bits() as i64, ..image(64, 64, 6, format) };
            assert!(check(&descriptor).is_ok(), "{usage:?}");
        }
    }

    #[test]
    fn flags_are_known_and_do_not_contradict_the_rest() {
        let flags = |flags, descriptor| BufferDescriptor { flags, ..descriptor };
        let region = BufferDescriptor { shape: BufferShape::RegionBytes(1), ..Default::default() };
        let (strict, view) = (AllocationFlag::STRICT_HEAP.0, AllocationFlag::READ_ONLY_VIEW.0);
        refused(&flags(1 << 20, linear(1)), AllocatorError::UNSUPPORTED, &["flags 0x100000"]);
        refused(&flags(i32::MIN, linear(1)), AllocatorError::UNSUPPORTED, &["0x80000000"]);
        refused(&flags(view, region.clone()), AllocatorError::UNSUPPORTED, &["READ_ONLY_VIEW"]);
        let both = check(&flags(strict | view, linear(1))).unwrap();
        assert!(both.strict_heap && both.read_only_view);
        assert_eq!((both.flags(), both.face()), (strict | view, Face::DmaBufWithView));
        let protected = Usage::PROTECTED.bits() as i64;
        assert!(check(&BufferDescriptor { usage: protected, ..linear(1) }).is_ok());
        for wrong in [
            BufferDescriptor { usage: protected, ..region },
            BufferDescriptor { usage: protected | 3, ..linear(1) },
            BufferDescriptor { usage: protected, flags: view, ..linear(1) },
        ] {
            refused(&wrong, AllocatorError::UNSUPPORTED, &["PROTECTED"]);
        }
    }

    #[test]
    fn a_purgeable_region_has_chunks_of_pages_and_not_too_many() {
        let region = |bytes| BufferDescriptor {
            shape: BufferShape::RegionBytes(bytes),
            flags: AllocationFlag::PURGEABLE.0,
            ..Default::default()
        };
        let wish = |value| Wish { name: AllocationOption::PURGE_CHUNK_BYTES.to_owned(), value };
        let in_chunks =
            |bytes, chunk| BufferDescriptor { options: vec![wish(chunk)], ..region(bytes) };
        let page = page_size() as i64;
        assert_eq!(check(&region(1)).unwrap().purge_chunk_bytes, Some(65_536));
        let of_pages = check(&in_chunks(page * 65_536, page)).unwrap();
        let chunk_bytes = page as u64;
        assert_eq!(of_pages.face(), Face::PurgeableRegion { chunk_bytes });
        assert_eq!(of_pages.flags(), AllocationFlag::PURGEABLE.0);
        let bad = AllocatorError::BAD_DESCRIPTOR;
        refused(&in_chunks(page * 65_536 + 1, page), bad, &["at most 65536 chunks"]);
        for wrong in [0, -page, page + 1, 16_777_216 + page, i64::MAX, i64::MIN] {
            let parts = [wrong.to_string(), page.to_string(), "16777216".to_owned()];
            refused(&in_chunks(1, wrong), bad, &parts.each_ref().map(String::as_str));
        }
        let twice = BufferDescriptor { options: vec![wish(page), wish(page)], ..region(1) };
        refused(&twice, bad, &["twice"]);
        let plain = BufferDescriptor { flags: 0, ..in_chunks(1, page) };
        refused(&plain, bad, &["without PURGEABLE"]);
        let revoked = AllocationFlag::PURGEABLE.0 | AllocationFlag::REVOKE_ON_DEATH.0;
        let revoked = BufferDescriptor { flags: revoked, ..region(1) };
        refused(&revoked, AllocatorError::UNSUPPORTED, &["PURGEABLE", "REVOKE_ON_DEATH"]);
        let buffer = BufferDescriptor { flags: AllocationFlag::PURGEABLE.0, ..linear(1) };
        refused(&buffer, AllocatorError::UNSUPPORTED, &["PURGEABLE of a dma-buf"]);
    }

    proptest! {
        #[test]
        fn any_descriptor_is_judged_and_bounded(
            name: String, bytes: i64, usage: i64, region: bool, heap: Option<String>
        ) {
            let shape =
                if region { BufferShape::RegionBytes(bytes) } else { BufferShape::LinearBytes(bytes) };
            let descriptor = BufferDescriptor { name, shape, usage, heap, ..Default::default() };
            if let Ok(request) = check(&descriptor) {
                prop_assert!((1..=MAX).contains(&request.bytes()));
            }
        }

        #[test]
        fn any_image_is_judged_and_bounded(
            width: i32, height: i32, layers: i32,
            format in proptest::sample::select(PixelFormat::ALL)
        ) {
            if let Ok(request) = check(&image(width, height, layers, format.value())) {
                prop_assert!((1..=MAX).contains(&request.bytes()));
            }
        }
    }
}
