// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! What stands below the options in each command's help: keys of JSON, and examples.

/// Of berthctl itself.
pub const PROGRAM: &str = "\
Exit codes:
  0  done
  1  the allocator refused, or the caller may not
  2  wrong usage
  3  there is no allocator, or it died
  4  anything else

Examples:
  berthctl heaps
  berthctl alloc --image 1920x1080 --format YCBCR_420_888 --count 3
  berthctl list --buffers --uid 10123
  berthctl watch --interval 1

With --json what is shown is one line of JSON for each item, or one for all: each command's --help
says which. Sizes in it are bytes.";

/// Of `alloc`.
pub const ALLOC: &str = "\
JSON: one line for each buffer: id, name, size_bytes, allocation_bytes, heap, dma_buf, fallback_heap,
access, device, inode, planes [offset, stride, size].

Usages, joined by |: CPU_READ_RARELY, CPU_READ_OFTEN, CPU_WRITE_RARELY, CPU_WRITE_OFTEN, GPU_TEXTURE,
GPU_RENDER_TARGET, GPU_DATA_BUFFER, GPU_CUBE_MAP, GPU_MIPMAP_COMPLETE, COMPOSER_OVERLAY,
COMPOSER_CLIENT_TARGET, COMPOSER_CURSOR, FRONT_BUFFER, PROTECTED, VIDEO_ENCODER, VIDEO_DECODER,
HW_IMAGE_ENCODER, CAMERA_OUTPUT, CAMERA_INPUT, RENDERSCRIPT, SENSOR_DIRECT_DATA, or a number as 0x33.

Examples:
  berthctl alloc --size 4M --heap system --hold 30
  berthctl alloc --image 1920x1080 --format RGBA_8888 --usage 'GPU_TEXTURE|CPU_WRITE_OFTEN'";

/// Of `heaps`.
pub const HEAPS: &str = "\
JSON: one line: heaps [name, class, dma_buf, read_only_descriptors, max_buffer_bytes], formats,
supported_usage, supported_flags, page_size_bytes, max_buffer_bytes, max_session_bytes,
max_session_buffers, max_sessions_per_uid.

Example: berthctl heaps --json";

/// Of `region`.
pub const REGION: &str = "\
JSON: as that of alloc.

Examples:
  berthctl region --size 1M --hold 60
  berthctl region --from FILE --seal --hold 60";

/// Of `list`.
pub const LIST: &str = "\
JSON: one line for each session or buffer, with the keys of the service's dump
(berthctl dump -- --help).

Examples:
  berthctl list
  berthctl list --buffers --sort age
  berthctl list --buffers --uid 10123 --json";

/// Of `dump`.
pub const DUMP: &str = "\
Arguments go to the service, which knows --sessions, --buffers, --uid N and --json and says more with
berthctl dump -- --help. JSON: one line.

Example: berthctl dump --buffers --uid 10123";

/// Of `stats`.
pub const STATS: &str = "\
JSON: one line: sessions, buffers, bytes, tokens, allocated_buffers, refusals, abandoned_sessions,
abandoned_buffers, lingering_buffers, lingering_bytes, idle_buffers, idle_bytes, cleared_buffers,
recycled_buffers, purgeable_bytes, purged_bytes. They mean what they mean in the dump (berthctl dump -- --help).

Example: berthctl stats --json";

/// Of `watch`.
pub const WATCH: &str = "\
On a terminal a table that stays in its place; q or Ctrl-C ends it. Elsewhere a row each time.
JSON: a line each time: seconds (since the start) and the keys of stats.

Examples:
  berthctl watch
  berthctl watch --interval 0.5 --count 10 --json";

/// Of `share`.
pub const SHARE: &str = "\
The first line of standard output is the token, 32 hexadecimal digits; it is a secret. The buffer is
held until the token is used up (exit code 0), expires unused (4) or Ctrl-C (0). Whoever acquired it
keeps it. Root, system and shell see at once that it is used up; others only when no token is open.
JSON: one line: token and the keys of alloc.

Examples:
  berthctl share --uid 10123 --size 64K
  berthctl share --uid 10123 --region 64K --from FILE --read-only --seconds 600";

/// Of `acquire`.
pub const ACQUIRE: &str = "\
Who sees the command line sees the token; `-` reads it from standard input instead.
JSON: one line as that of alloc; with --read, read too, in hexadecimal digits.

Examples:
  berthctl acquire 00112233445566778899aabbccddeeff --read 64
  berthctl acquire - --hold 60 < FILE";

/// Of `trim`.
pub const TRIM: &str = "\
Only what was freed under the uid that berthctl runs under, and nothing that anybody holds.
JSON: one line: bytes (given back).

Example: berthctl trim --json";

/// Of `completions`.
pub const COMPLETIONS: &str = "\
Example: berthctl completions bash > /etc/bash_completion.d/berthctl";
