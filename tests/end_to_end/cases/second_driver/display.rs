// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! vkms shows our images: every pixel has to be where our layout says it is, in the eyes of a driver
//! that has its own idea of formats, strides and offsets.

use berth_client::PixelFormat;
use berth_end_to_end::facilities::{missing_any, Facility};
use berth_end_to_end::harness::{dma_heaps, Client, Device, APP, OTHER_APP};
use berth_end_to_end::protocol::{Ask, Descriptor, Held, Picture, Shape, Vkms};

use crate::format;

/// The CPU reads and writes often.
const CPU: i64 = 0x33;
/// `BufferUsage.COMPOSER_OVERLAY` and `VIDEO_ENCODER`: rows are longer than for the CPU alone.
const USAGES: [i64; 3] = [CPU, CPU | 1 << 11, CPU | 1 << 16];
/// `BufferUsage.GPU_RENDER_TARGET`.
const DRAWN_BY_GPU: i64 = CPU | 1 << 9;

const VKMS: &[Facility] = &[Facility::DmaHeapSystem, Facility::Vkms];

/// A format of ours, and what vkms takes it for.
#[derive(Clone, Copy)]
struct Shown {
    format: i32,
    fourcc: &'static [u8; 4],
    /// Of a pixel.
    bytes: usize,
    /// A pixel's blue, green and red as vkms must see them, of 65,535.
    colours: fn(&[u8]) -> [u16; 3],
}

/// vkms knows few formats. One that it does not know is given to it as another whose pixels are as
/// large: the colours are not the same then, their places are. Alpha changes nothing: colours count
/// as multiplied by it already, and behind them is black.
const SHOWN: [Shown; 7] = [
    Shown { format: format::BGRA_8888, fourcc: b"AR24", bytes: 4, colours: of_8_bits },
    Shown { format: format::BGRA_8888, fourcc: b"XR24", bytes: 4, colours: of_8_bits },
    Shown { format: format::RGB_565, fourcc: b"RG16", bytes: 2, colours: of_565 },
    Shown { format: format::RGBA_8888, fourcc: b"AR24", bytes: 4, colours: of_8_bits },
    Shown { format: format::RGBX_8888, fourcc: b"XR24", bytes: 4, colours: of_8_bits },
    Shown { format: format::RGBA_FP16, fourcc: b"AR48", bytes: 8, colours: of_16_bits },
    Shown { format: format::RGBA_10101010, fourcc: b"XR48", bytes: 8, colours: of_16_bits },
];

fn of_8_bits(pixel: &[u8]) -> [u16; 3] {
    [0, 1, 2].map(|colour| u16::from(pixel[colour]) * 257)
}

fn of_16_bits(pixel: &[u8]) -> [u16; 3] {
    [0, 1, 2].map(|colour| u16::from_le_bytes([pixel[2 * colour], pixel[2 * colour + 1]]))
}

fn of_565(pixel: &[u8]) -> [u16; 3] {
    let word = u32::from(u16::from_le_bytes([pixel[0], pixel[1]]));
    let rounded = |part: u32, most: u32| ((2 * part * 65_535 + most) / (2 * most)) as u16;
    [rounded(word & 31, 31), rounded(word >> 5 & 63, 63), rounded(word >> 11, 31)]
}

/// How vkms writes what it saw.
#[derive(Clone, Copy)]
struct Written {
    format: i32,
    fourcc: &'static [u8; 4],
    /// A pixel of these colours.
    pixel: fn([u16; 3]) -> Vec<u8>,
}

const IN_8_BITS: Written = Written {
    format: format::BGRA_8888,
    fourcc: b"XR24",
    pixel: |colours| {
        let rounded = colours.map(|colour| ((u32::from(colour) + 128) / 257) as u8);
        [rounded.as_slice(), &[0xff]].concat()
    },
};

const IN_16_BITS: Written = Written {
    format: format::RGBA_FP16,
    fourcc: b"XR48",
    pixel: |[blue, green, red]| {
        [blue, green, red, 0xffff].iter().flat_map(|colour| colour.to_le_bytes()).collect()
    },
};

type Size = (u16, u16);

/// A layer of an image as the layout has it.
fn picture(held: &Held, layer: i64, fourcc: &[u8; 4], size: Size) -> Picture {
    let begin = layer * held.info.layer_stride;
    let planes = held.info.planes.iter();
    let planes = planes.map(|plane| ((begin + plane.offset) as u32, plane.stride as u32)).collect();
    Picture { handle: held.handle, fourcc: u32::from_le_bytes(*fourcc), size, planes }
}

/// Bytes of which no two neighbours tell the same story.
fn noise(length: usize, seed: i64) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32.wrapping_mul(seed as u32 + 1);
    let next = || {
        // Marsaglia's xorshift.
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 16) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// Draws every pixel of an image, and something else between the rows; answers the pixels.
fn draw(client: &Client, held: &Held, shown: Shown, (width, height): Size) -> Vec<u8> {
    let plane = held.info.planes[0];
    let row = usize::from(width) * shown.bytes;
    let pixels = noise(row * usize::from(height), held.info.id);
    let mut bytes = vec![0xee; plane.size as usize];
    for (to, from) in bytes.chunks_mut(plane.stride as usize).zip(pixels.chunks(row)) {
        to[..row].copy_from_slice(from);
    }
    client.write(held.handle, plane.offset as usize, &bytes);
    pixels
}

/// A frame for what is seen, with rows as long as a GPU wants them, full of something else.
fn frame(client: &Client, written: Written, (width, height): Size, layers: i32) -> Held {
    let shape = Shape::Image(width.into(), height.into(), layers, written.format);
    let asked = Descriptor { shape, ..Descriptor::linear(0) }.for_usage(DRAWN_BY_GPU);
    let frame = client.allocate_one(&asked);
    client.fill(frame.handle, 0, frame.info.size as usize, 0xa5);
    frame
}

/// Looks at every pixel of a layer, and between the rows.
fn look(client: &Client, frame: &Held, layer: i64, expected: &[Vec<u8>]) {
    let plane = frame.info.planes[0];
    assert_eq!(expected.len() as i64, plane.height);
    let start = layer * frame.info.layer_stride + plane.offset;
    let seen = client.read(frame.handle, start as usize, plane.size as usize);
    for (y, (seen, expected)) in seen.chunks(plane.stride as usize).zip(expected).enumerate() {
        let (seen, padding) = seen.split_at(expected.len());
        assert!(seen == expected, "row {y} of {frame:?}:\n{seen:x?}, not\n{expected:x?}");
        assert!(padding.iter().all(|byte| *byte == 0xa5), "beyond row {y} of {frame:?}");
    }
}

/// What has to be seen of pixels, row by row.
fn converted(pixels: &[u8], shown: Shown, written: Written, size: Size) -> Vec<Vec<u8>> {
    let convert = |pixel| (written.pixel)((shown.colours)(pixel));
    let rows = pixels.chunks(usize::from(size.0) * shown.bytes);
    rows.map(|row| row.chunks(shown.bytes).flat_map(convert).collect()).collect()
}

/// Shows an image and looks.
fn show(client: &Client, image: &Held, pixels: &[u8], shown: Shown, size: Size, written: Written) {
    let frame = frame(client, written, size, 1);
    client.show(&picture(image, 0, shown.fourcc, size), &picture(&frame, 0, written.fourcc, size));
    look(client, &frame, 0, &converted(pixels, shown, written, size));
    client.drop_buffer(frame.handle);
}

/// Draws an image, shows it and looks.
fn draw_and_look(client: &Client, asked: &Descriptor, shown: Shown, size: Size, written: Written) {
    let image = client.allocate_one(asked);
    let plane = image.info.planes[0];
    // Whatever the usage, an odd row is padded; so strides are tested and not only widths.
    let padded = plane.stride > i64::from(size.0) * shown.bytes as i64;
    assert!(padded || size.0.is_multiple_of(2), "{image:?}");
    let pixels = draw(client, &image, shown, size);
    show(client, &image, &pixels, shown, size, written);
    client.drop_buffer(image.handle);
}

fn asked(shown: Shown, (width, height): Size) -> Descriptor {
    Descriptor::image(width.into(), height.into(), shown.format)
}

#[test]
fn a_display_finds_every_pixel_where_the_layout_says_it_is() {
    if missing_any(VKMS) {
        return;
    }
    let device = Device::start();
    let client = device.client(APP).with_session();
    for shown in SHOWN {
        for size in [(64, 16), (33, 17), (100, 10), (17, 31), (321, 10)] {
            for usage in USAGES {
                let asked = asked(shown, size).for_usage(usage);
                draw_and_look(&client, &asked, shown, size, IN_8_BITS);
            }
            draw_and_look(&client, &asked(shown, size), shown, size, IN_16_BITS);
        }
    }
    assert_eq!(client.session_figures().unwrap().buffers, 0);
}

#[test]
fn every_format_of_ours_that_the_display_knows_was_looked_at() {
    if missing_any(VKMS) {
        return;
    }
    let device = Device::start();
    let known = device.client(APP).display_formats();
    let ours = |format: &&PixelFormat| format.drm_fourcc().is_some_and(|it| known.contains(&it));
    let both: Vec<PixelFormat> = PixelFormat::ALL.iter().filter(ours).copied().collect();
    assert!(both.len() >= 2, "{both:?}");
    for format in both {
        let code = format.drm_fourcc().map(u32::to_le_bytes);
        let looked_at =
            |shown: &Shown| shown.format == format.value() && Some(*shown.fourcc) == code;
        assert!(SHOWN.iter().any(looked_at), "nobody looks at {format}");
    }
}

#[test]
fn every_layer_is_written_where_the_layout_says_it_is() {
    if missing_any(VKMS) {
        return;
    }
    let device = Device::start();
    let client = device.client(APP).with_session();
    let (shown, size) = (SHOWN[0], (35, 13));
    for written in [IN_8_BITS, IN_16_BITS] {
        let frame = frame(&client, written, size, 3);
        let mut layers = Vec::new();
        for layer in [0, 1, 2] {
            let image = client.allocate_one(&asked(shown, size));
            let pixels = draw(&client, &image, shown, size);
            let into = picture(&frame, layer, written.fourcc, size);
            client.show(&picture(&image, 0, shown.fourcc, size), &into);
            layers.push((layer, converted(&pixels, shown, written, size)));
        }
        for (layer, expected) in &layers {
            look(&client, &frame, *layer, expected);
        }
    }
}

#[test]
fn a_display_shows_the_memory_of_every_heap() {
    if missing_any(VKMS) {
        return;
    }
    let device = Device::start();
    let client = device.client(APP).with_session();
    for heap in dma_heaps() {
        let size = (131, 50);
        let asked = asked(SHOWN[0], size).from_heap(&heap);
        draw_and_look(&client, &asked, SHOWN[0], size, IN_8_BITS);
    }
}

#[test]
fn a_compositor_shows_what_an_application_drew() {
    if missing_any(VKMS) {
        return;
    }
    let device = Device::start();
    let application = device.client(APP).with_session();
    let compositor = device.client(OTHER_APP).with_session();
    let (shown, size) = (SHOWN[0], (200, 100));
    let drawn = application.allocate_one(&asked(shown, size).for_usage(USAGES[1]));
    let pixels = draw(&application, &drawn, shown, size);
    let image = compositor.acquire(application.share(drawn.handle, OTHER_APP)).unwrap();
    show(&compositor, &image, &pixels, shown, size, IN_8_BITS);
}

#[test]
fn a_display_does_not_read_beyond_the_buffer() {
    if missing_any(VKMS) {
        return;
    }
    let device = Device::start();
    let client = device.client(APP).with_session();
    let shown = SHOWN[0];
    // Four pages to the byte.
    let image = client.allocate_one(&asked(shown, (64, 64)));
    assert_eq!(image.info.allocation, 64 * 64 * 4);
    let frame = client.allocate_one(&asked(shown, (64, 65)));
    let [too_high, written] = [&image, &frame].map(|held| picture(held, 0, b"XR24", (64, 65)));
    let message = client.fails(Ask::Vkms(Vkms::Show(too_high, written)));
    assert!(message.contains("Invalid argument"), "{message}");
    let pixels = draw(&client, &image, shown, (64, 64));
    show(&client, &image, &pixels, shown, (64, 64), IN_8_BITS);
}
