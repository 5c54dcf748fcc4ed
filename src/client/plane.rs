// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Planes of an image: rows and samples by their coordinates, which cannot leave the plane.

use berth_kernel::mapping::{Mapping, OutOfRange, Protection, ReadWrite};
use vendor_berth_allocator::aidl::vendor::berth::allocator::{
    BufferLayout::BufferLayout, PlaneComponent::PlaneComponent,
    PlaneComponentType::PlaneComponentType, PlaneLayout::PlaneLayout,
};

use crate::Error;

/// Where a plane of one layer lies in a buffer: geometry that was found to make sense. That it lies in
/// the memory is checked again when it is looked at.
#[derive(Debug, Clone)]
pub struct Plane {
    offset: usize,
    stride: usize,
    rows: usize,
    width: usize,
    /// Of a row, without padding.
    row_bytes: usize,
    /// From one sample to the next; `None` where samples do not begin at bytes.
    increment: Option<usize>,
    subsampling: (usize, usize),
    components: Vec<PlaneComponent>,
}

impl Plane {
    /// A plane of a buffer, by layer and number.
    pub fn of(layout: &BufferLayout, layer: usize, number: usize) -> Result<Plane, Error> {
        let Some(image) = &layout.image else {
            return Err(Error::BadPlane("that of what is no image".to_owned()));
        };
        let Some(plane) = image.planes.get(number) else {
            let there = image.planes.len();
            return Err(Error::BadPlane(format!("plane {number} of an image that has {there}")));
        };
        let start = number_of("layer stride", image.layerStrideInBytes)?.checked_mul(layer);
        let plane = Plane::at(start.ok_or_else(overflow)?, plane)?;
        let size = number_of("size", layout.sizeBytes)?;
        match plane.end() {
            Some(end) if end <= size => Ok(plane),
            _ => Err(Error::BadPlane(format!(
                "plane {number} of layer {layer} leaves an image of {size} bytes"
            ))),
        }
    }

    /// A plane whose layer begins at `start` bytes, as a Gralloc describes it.
    pub fn at(start: usize, layout: &PlaneLayout) -> Result<Plane, Error> {
        let number = number_of;
        let offset = number("offset", layout.offsetInBytes)?.checked_add(start);
        let width = number("width", layout.widthInSamples)?;
        let increment = number("sample increment", layout.sampleIncrementInBits)?;
        let stride = number("stride", layout.strideInBytes)?;
        // Samples with no fixed distance fill the row as far as anybody knows.
        let row_bytes = match increment {
            0 => Some(stride),
            bits => width.checked_mul(bits).map(|bits| bits.div_ceil(8)),
        };
        let row_bytes = row_bytes.ok_or_else(overflow)?;
        if row_bytes > stride {
            let message = format!("rows of {row_bytes} bytes in a stride of {stride}");
            return Err(Error::BadPlane(message));
        }
        let subsampling = (
            number("horizontal subsampling", layout.horizontalSubsampling)?,
            number("vertical subsampling", layout.verticalSubsampling)?,
        );
        if subsampling.0 == 0 || subsampling.1 == 0 {
            return Err(Error::BadPlane(format!("subsampling of {subsampling:?}")));
        }
        let plane = Plane {
            offset: offset.ok_or_else(overflow)?,
            stride,
            rows: number("height", layout.heightInSamples)?,
            width,
            row_bytes,
            increment: (increment > 0 && increment % 8 == 0).then_some(increment / 8),
            subsampling,
            components: layout.components.clone(),
        };
        plane.end().map(|_| plane).ok_or_else(overflow)
    }

    /// Samples in a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Rows of samples.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes of a row that hold samples; where those have no fixed distance, with the padding.
    pub fn row_bytes(&self) -> usize {
        self.row_bytes
    }

    /// Bytes from one row to the next.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// What a sample holds.
    pub fn components(&self) -> &[PlaneComponent] {
        &self.components
    }

    /// The sample of a pixel of the image, as column and row.
    pub fn sample_of(&self, x: usize, y: usize) -> (usize, usize) {
        // Neither is 0.
        (
            x.checked_div(self.subsampling.0).unwrap_or(x),
            y.checked_div(self.subsampling.1).unwrap_or(y),
        )
    }

    /// Behind the last byte that holds a sample; `None` if that is beyond all numbers.
    fn end(&self) -> Option<usize> {
        match self.rows.checked_sub(1) {
            None => Some(self.offset),
            Some(last) => self.row_offset(last)?.checked_add(self.row_bytes),
        }
    }

    fn row_offset(&self, row: usize) -> Option<usize> {
        row.checked_mul(self.stride)?.checked_add(self.offset)
    }
}

fn number_of(what: &str, number: i64) -> Result<usize, Error> {
    usize::try_from(number).map_err(|_| Error::BadPlane(format!("a {what} of {number}")))
}

fn overflow() -> Error {
    Error::BadPlane("an end beyond all numbers".to_owned())
}

/// A plane in mapped memory, within a bracket. Other processes may be writing it: what is read is what
/// was there, sample by sample.
#[derive(Debug, Clone, Copy)]
pub struct PlaneView<'a, P: Protection> {
    mapping: &'a Mapping<P>,
    plane: &'a Plane,
}

impl<'a, P: Protection> PlaneView<'a, P> {
    /// Checks that all of the plane is in the mapping.
    pub(crate) fn new(mapping: &'a Mapping<P>, plane: &'a Plane) -> Result<Self, Error> {
        let (end, size) = (plane.end(), mapping.size());
        match end {
            Some(end) if end <= size => Ok(PlaneView { mapping, plane }),
            _ => Err(OutOfRange {
                offset: plane.offset,
                length: end.map_or(usize::MAX, |end| end.saturating_sub(plane.offset)),
                size,
            }
            .into()),
        }
    }

    /// The plane.
    pub fn plane(&self) -> &'a Plane {
        self.plane
    }

    /// Copies a row, without padding, out: exactly [`row_bytes`](Plane::row_bytes).
    pub fn read_row(&self, row: usize, into: &mut [u8]) -> Result<(), Error> {
        Ok(self.mapping.read(self.row(row, into.len())?, into)?)
    }

    /// Copies all rows, without padding, one after the other, out.
    pub fn read(&self, into: &mut [u8]) -> Result<(), Error> {
        self.check_all(into.len())?;
        // Of rows without bytes there is nothing to copy.
        let rows = into.chunks_exact_mut(self.plane.row_bytes.max(1));
        rows.enumerate().try_for_each(|(row, into)| self.read_row(row, into))
    }

    /// Numbers of type `T`, one in each sample, `first_byte` bytes into it. Any that lie there whole:
    /// for 10 bits in the upper end of 16, as in P010, `u16`.
    pub fn samples<T: Sample>(&self, first_byte: usize) -> Result<Samples<'a, T, P>, Error> {
        let PlaneView { mapping, plane } = *self;
        let Some(increment) = plane.increment else {
            return Err(Error::BadPlane("samples that do not begin at bytes".to_owned()));
        };
        match first_byte.checked_add(T::BYTES) {
            Some(end) if end <= increment => {
                Ok(Samples { mapping, plane, increment, first_byte, _type: Default::default() })
            }
            _ => {
                let bits = T::BYTES.saturating_mul(8);
                let message =
                    format!("{bits} bits at byte {first_byte} of samples of {increment} bytes");
                Err(Error::BadPlane(message))
            }
        }
    }

    /// The numbers of a component, which must be of as many bits as `T` has.
    pub fn component<T: Sample>(
        &self,
        component: PlaneComponentType,
    ) -> Result<Samples<'a, T, P>, Error> {
        let found = self.plane.components.iter().find(|found| found.r#type == component);
        let Some(found) = found else {
            return Err(Error::BadPlane(format!("no component {component:?}")));
        };
        let (offset, size) = (found.offsetInBits, found.sizeInBits);
        let bytes = usize::try_from(offset).ok().filter(|bits| bits % 8 == 0);
        let is_whole = usize::try_from(size).is_ok_and(|bits| bits == T::BYTES.saturating_mul(8));
        match bytes {
            Some(bits) if is_whole => self.samples(bits / 8),
            _ => {
                let wanted = T::BYTES.saturating_mul(8);
                let message =
                    format!("{component:?} of {size} bits at bit {offset} as {wanted} bits");
                Err(Error::BadPlane(message))
            }
        }
    }

    /// Where a row begins, if it is one and has as many bytes.
    fn row(&self, row: usize, bytes: usize) -> Result<usize, Error> {
        let plane = self.plane;
        match plane.row_offset(row) {
            Some(offset) if row < plane.rows && bytes == plane.row_bytes => Ok(offset),
            _ => Err(Error::OutOfPlane(format!(
                "row {row} as {bytes} bytes of {} rows of {}",
                plane.rows, plane.row_bytes
            ))),
        }
    }

    fn check_all(&self, bytes: usize) -> Result<(), Error> {
        let Plane { rows, row_bytes, .. } = *self.plane;
        if rows.checked_mul(row_bytes) == Some(bytes) {
            return Ok(());
        }
        Err(Error::OutOfPlane(format!("{bytes} bytes for {rows} rows of {row_bytes}")))
    }
}

impl PlaneView<'_, ReadWrite> {
    /// Copies a row, without padding, in: exactly [`row_bytes`](Plane::row_bytes).
    pub fn write_row(&self, row: usize, from: &[u8]) -> Result<(), Error> {
        Ok(self.mapping.write(self.row(row, from.len())?, from)?)
    }

    /// Copies all rows, without padding, one after the other, in. Padding stays as it is.
    pub fn write(&self, from: &[u8]) -> Result<(), Error> {
        self.check_all(from.len())?;
        let rows = from.chunks_exact(self.plane.row_bytes.max(1));
        rows.enumerate().try_for_each(|(row, from)| self.write_row(row, from))
    }

    /// Sets every byte of every row to one value.
    pub fn fill(&self, value: u8) -> Result<(), Error> {
        let bytes = self.plane.row_bytes;
        // Of rows without bytes there may be any number: none of them takes memory.
        if bytes == 0 {
            return Ok(());
        }
        (0..self.plane.rows)
            .try_for_each(|row| Ok(self.mapping.fill(self.row(row, bytes)?, bytes, value)?))
    }
}

/// A number in a sample: `u8`, `u16`, `u32`, `i16` or `f32`, in little endian as the formats have them.
pub trait Sample: Copy + sealed::Sealed {
    /// How many bytes it takes.
    const BYTES: usize;
}

mod sealed {
    use super::{Mapping, OutOfRange, Protection, ReadWrite};

    /// A row of numbers: where the first is, and from one to the next.
    #[derive(Clone, Copy)]
    pub struct Row {
        pub offset: usize,
        pub step: usize,
    }

    pub trait Sealed: Sized {
        fn gather<P: Protection>(
            from: &Mapping<P>,
            row: Row,
            into: &mut [Self],
        ) -> Result<(), OutOfRange>;
        fn scatter(into: &Mapping<ReadWrite>, row: Row, from: &[Self]) -> Result<(), OutOfRange>;
    }
}

macro_rules! sample {
    ($type:ty, $bytes:literal) => {
        impl Sample for $type {
            const BYTES: usize = $bytes;
        }

        impl sealed::Sealed for $type {
            fn gather<P: Protection>(
                from: &Mapping<P>,
                row: sealed::Row,
                into: &mut [Self],
            ) -> Result<(), OutOfRange> {
                let mut places = into.iter_mut();
                let count = places.len();
                from.gather(row.offset, row.step, count, |_, bytes: [u8; $bytes]| {
                    if let Some(place) = places.next() {
                        *place = <$type>::from_le_bytes(bytes);
                    }
                })
            }

            fn scatter(
                into: &Mapping<ReadWrite>,
                row: sealed::Row,
                from: &[Self],
            ) -> Result<(), OutOfRange> {
                into.scatter(row.offset, row.step, from.len(), |number| {
                    from.get(number).map_or([0; $bytes], |value| value.to_le_bytes())
                })
            }
        }
    };
}

sample!(u8, 1);
sample!(u16, 2);
sample!(i16, 2);
sample!(u32, 4);
sample!(f32, 4);

/// The numbers of a plane that lie at one place of each sample.
#[derive(Debug, Clone, Copy)]
pub struct Samples<'a, T: Sample, P: Protection> {
    mapping: &'a Mapping<P>,
    plane: &'a Plane,
    increment: usize,
    first_byte: usize,
    _type: std::marker::PhantomData<T>,
}

impl<T: Sample, P: Protection> Samples<'_, T, P> {
    /// Copies the numbers of a row from column `first` on out, as many as there is room for.
    pub fn read_row(&self, row: usize, first: usize, into: &mut [T]) -> Result<(), Error> {
        Ok(T::gather(self.mapping, self.row(row, first, into.len())?, into)?)
    }

    /// The number at a column and a row.
    pub fn get(&self, column: usize, row: usize) -> Result<T, Error>
    where
        T: Default,
    {
        let mut value = [T::default()];
        self.read_row(row, column, &mut value)?;
        let [value] = value;
        Ok(value)
    }

    fn row(&self, row: usize, first: usize, count: usize) -> Result<sealed::Row, Error> {
        let plane = self.plane;
        let inside = first.checked_add(count).is_some_and(|end| end <= plane.width);
        let offset = plane.row_offset(row).filter(|_| inside && row < plane.rows);
        let offset = offset.and_then(|offset| {
            first.checked_mul(self.increment)?.checked_add(self.first_byte)?.checked_add(offset)
        });
        match offset {
            Some(offset) => Ok(sealed::Row { offset, step: self.increment }),
            None => Err(Error::OutOfPlane(format!(
                "{count} samples from column {first} of row {row}, of {} rows of {}",
                plane.rows, plane.width
            ))),
        }
    }
}

impl<T: Sample> Samples<'_, T, ReadWrite> {
    /// Stores the numbers of a row from column `first` on; what else is in the samples stays.
    pub fn write_row(&self, row: usize, first: usize, from: &[T]) -> Result<(), Error> {
        Ok(T::scatter(self.mapping, self.row(row, first, from.len())?, from)?)
    }

    /// Stores one number.
    pub fn set(&self, column: usize, row: usize, value: T) -> Result<(), Error> {
        self.write_row(row, column, &[value])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ForeignMemory, ImageLayout};
    use berth_kernel::memfd::Memfd;
    use proptest::prelude::*;

    fn component(kind: PlaneComponentType, offset: i64, size: i64) -> PlaneComponent {
        PlaneComponent { r#type: kind, offsetInBits: offset, sizeInBits: size }
    }

    /// A plane of chroma as YCBCR_420_888 has it: two components, every other pixel.
    fn chroma(width: i64, rows: i64, offset: i64, stride: i64) -> PlaneLayout {
        PlaneLayout {
            components: vec![
                component(PlaneComponentType::CB, 0, 8),
                component(PlaneComponentType::CR, 8, 8),
            ],
            offsetInBytes: offset,
            sampleIncrementInBits: 16,
            strideInBytes: stride,
            widthInSamples: width,
            heightInSamples: rows,
            totalSizeInBytes: stride * rows,
            horizontalSubsampling: 2,
            verticalSubsampling: 2,
        }
    }

    fn memory(bytes: u64) -> ForeignMemory {
        ForeignMemory::adopt(Memfd::create("planes", bytes).unwrap().into()).unwrap()
    }

    #[test]
    fn rows_and_samples_are_where_the_layout_says() {
        let memory = memory(10_000);
        let mapped = memory.map(..).unwrap();
        let access = mapped.begin_write().unwrap();
        let plane = Plane::at(1000, &chroma(5, 3, 50, 16)).unwrap();
        assert_eq!((plane.width(), plane.rows(), plane.row_bytes()), (5, 3, 10));
        assert_eq!(plane.sample_of(9, 5), (4, 2));
        let view = access.plane(&plane).unwrap();
        let all: Vec<u8> = (1..=30).collect();
        view.write(&all).unwrap();
        let mut row = [0; 12];
        access.read(1050 + 16, &mut row).unwrap();
        assert_eq!(row, [11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 0, 0], "padding stays");
        let red = view.component::<u8>(PlaneComponentType::CR).unwrap();
        let mut seen = [0; 3];
        red.read_row(2, 1, &mut seen).unwrap();
        assert_eq!(seen, [24, 26, 28]);
        red.write_row(2, 1, &[0x77; 2]).unwrap();
        red.set(4, 0, 0x55).unwrap();
        assert_eq!(red.get(4, 0).unwrap(), 0x55);
        let pairs = view.samples::<u16>(0).unwrap();
        assert_eq!(pairs.get(1, 2).unwrap(), u16::from_le_bytes([23, 0x77]));
        let mut back = [0; 30];
        view.read(&mut back).unwrap();
        assert_eq!(back[20..], [21, 22, 23, 0x77, 25, 0x77, 27, 28, 29, 30]);
        view.fill(9).unwrap();
        view.read_row(1, &mut back[..10]).unwrap();
        assert_eq!(back[..10], [9; 10]);
        let reader = memory.map_read_only(..).unwrap();
        let access = reader.begin_read().unwrap();
        assert_eq!(access.plane(&plane).unwrap().samples::<u8>(1).unwrap().get(4, 2).unwrap(), 9);
    }

    #[test]
    fn rows_of_nothing_are_done_at_once_however_many() {
        let memory = memory(4096);
        let mapped = memory.map(..).unwrap();
        let access = mapped.begin_write().unwrap();
        let plane = Plane::at(0, &chroma(0, i64::MAX, 0, 0)).unwrap();
        let view = access.plane(&plane).unwrap();
        view.fill(9).unwrap();
        view.write(&[]).unwrap();
        view.read(&mut []).unwrap();
        assert!(view.read(&mut [0]).is_err());
    }

    #[test]
    fn nothing_outside_of_the_plane_is_reached() {
        let memory = memory(4096);
        let mapped = memory.map(..).unwrap();
        let access = mapped.begin_write().unwrap();
        let plane = Plane::at(0, &chroma(5, 3, 0, 16)).unwrap();
        let view = access.plane(&plane).unwrap();
        let is_out = |result: Result<(), Error>| {
            let error = result.unwrap_err();
            assert!(matches!(error, Error::OutOfPlane(_)), "{error}");
        };
        is_out(view.read_row(3, &mut [0; 10]));
        is_out(view.read_row(0, &mut [0; 11]));
        is_out(view.write_row(usize::MAX, &[0; 10]));
        is_out(view.read(&mut [0; 31]));
        is_out(view.write(&[0; 29]));
        let samples = view.samples::<u8>(0).unwrap();
        is_out(samples.get(5, 0).map(drop));
        is_out(samples.get(0, 3).map(drop));
        is_out(samples.read_row(0, 4, &mut [0; 2]));
        is_out(samples.write_row(2, usize::MAX, &[0; 2]));
        for wrong in [view.samples::<u16>(1).map(drop), view.samples::<u32>(0).map(drop)] {
            assert!(matches!(wrong, Err(Error::BadPlane(_))));
        }
        let wrong = view.component::<u16>(PlaneComponentType::CB).unwrap_err();
        assert!(matches!(wrong, Error::BadPlane(_)), "{wrong}");
        assert!(view.component::<u8>(PlaneComponentType::Y).is_err());
    }

    #[test]
    fn a_plane_that_leaves_the_memory_is_refused_whatever_its_layout_says() {
        let memory = memory(4096);
        let mapped = memory.map_read_only(100..200).unwrap();
        let access = mapped.begin_read().unwrap();
        // The last row needs no padding.
        let fits = Plane::at(52, &chroma(8, 3, 0, 16)).unwrap();
        access.plane(&fits).unwrap();
        let leaves = Plane::at(53, &chroma(8, 3, 0, 16)).unwrap();
        assert!(matches!(access.plane(&leaves), Err(Error::OutOfRange(_))));
    }

    #[test]
    fn geometry_that_makes_no_sense_is_refused() {
        let good = chroma(5, 3, 0, 16);
        let wrong = [
            PlaneLayout { strideInBytes: 9, ..good.clone() },
            PlaneLayout { offsetInBytes: -1, ..good.clone() },
            PlaneLayout { heightInSamples: -1, ..good.clone() },
            PlaneLayout { widthInSamples: i64::MAX, ..good.clone() },
            PlaneLayout { heightInSamples: i64::MAX, ..good.clone() },
            PlaneLayout { sampleIncrementInBits: -8, ..good.clone() },
            PlaneLayout { horizontalSubsampling: 0, ..good.clone() },
            PlaneLayout { verticalSubsampling: -2, ..good.clone() },
        ];
        for layout in wrong {
            let error = Plane::at(0, &layout).unwrap_err();
            assert!(matches!(error, Error::BadPlane(_)), "{layout:?}: {error}");
        }
        assert!(Plane::at(usize::MAX, &good).is_err());
        let image =
            ImageLayout { layerStrideInBytes: 48, planes: vec![good], ..ImageLayout::default() };
        let image =
            BufferLayout { sizeBytes: 48 * 2, image: Some(image), ..BufferLayout::default() };
        Plane::of(&image, 1, 0).unwrap();
        for (layer, number) in [(2, 0), (0, 1), (usize::MAX, 0)] {
            assert!(matches!(Plane::of(&image, layer, number), Err(Error::BadPlane(_))));
        }
        let linear = BufferLayout { image: None, ..image };
        assert!(matches!(Plane::of(&linear, 0, 0), Err(Error::BadPlane(_))));
    }

    proptest! {
        #[test]
        fn whatever_the_layout_no_access_leaves_the_mapping_or_touches_padding(
            (width, rows) in (0i64..40, 0i64..20),
            offset in prop_oneof![0i64..3000, any::<i64>()],
            stride in prop_oneof![0i64..200, any::<i64>()],
            increment in prop_oneof![Just(8i64), Just(16), Just(32), 0i64..70, any::<i64>()],
        ) {
            let layout = PlaneLayout {
                offsetInBytes: offset,
                strideInBytes: stride,
                sampleIncrementInBits: increment,
                widthInSamples: width,
                heightInSamples: rows,
                horizontalSubsampling: 1,
                verticalSubsampling: 1,
                ..PlaneLayout::default()
            };
            let memory = memory(4096);
            let mapped = memory.map(..).unwrap();
            let access = mapped.begin_write().unwrap();
            let Ok(plane) = Plane::at(0, &layout) else { return Ok(()) };
            let Ok(view) = access.plane(&plane) else { return Ok(()) };
            view.fill(0xff).unwrap();
            let mut bytes = vec![0; 4096];
            access.read(0, &mut bytes).unwrap();
            let filled = bytes.iter().filter(|byte| **byte == 0xff).count();
            prop_assert_eq!(filled, plane.rows() * plane.row_bytes());
            let mut packed = vec![0; filled];
            view.read(&mut packed).unwrap();
            prop_assert!(packed.iter().all(|byte| *byte == 0xff));
            if let Ok(samples) = view.samples::<u8>(0) {
                for row in 0..plane.rows() {
                    samples.write_row(row, 0, &vec![1; plane.width()]).unwrap();
                }
                access.read(0, &mut bytes).unwrap();
                let written = bytes.iter().filter(|byte| **byte == 1).count();
                prop_assert_eq!(written, plane.rows() * plane.width());
            }
        }
    }
}
