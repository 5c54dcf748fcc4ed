/*
 * Copyright (C) 2026 The Berth Authors
 * SPDX-License-Identifier: Apache-2.0
 */
///////////////////////////////////////////////////////////////////////////////
// THIS FILE IS IMMUTABLE. DO NOT EDIT IN ANY CASE.                          //
///////////////////////////////////////////////////////////////////////////////

// This file is a snapshot of an AIDL file. Do not edit it manually. There are
// two cases:
// 1). this is a frozen version file - do not edit this in any case.
// 2). this is a 'current' file. If you make a backwards compatible change to
//     the interface (from the latest frozen version), the build system will
//     prompt you to update this file with `m <name>-update-api`.
//
// You must not make a backward incompatible change to any AIDL file built
// with the aidl_interface module type with versions property set. The module
// type is used to build AIDL files in a way that they can be used across
// independently updatable components of the system. If a device is shipped
// with such a backward incompatible change, it has a high risk of breaking
// later when a module using the interface is updated, e.g., Mainline modules.

package vendor.berth.allocator;
@Backing(type="int") @VintfStability
enum AllocatorError {
  BAD_DESCRIPTOR = 1,
  BAD_ARGUMENT = 2,
  TOO_LARGE = 3,
  UNSUPPORTED = 4,
  NO_MEMORY = 5,
  QUOTA_EXCEEDED = 6,
  TOO_MANY_BUFFERS = 7,
  TOO_MANY_FDS = 8,
  TOO_MANY_SESSIONS = 9,
  HEAP_UNKNOWN = 10,
  HEAP_UNAVAILABLE = 11,
  HEAP_REFUSED = 12,
  NOT_FOUND = 13,
  BAD_TOKEN = 14,
  SESSION_CLOSED = 15,
  INTERNAL = 16,
  BAD_RECEIPT = 17,
  NOT_THE_MEMORY = 18,
  ALREADY_ATTACHED = 19,
  OWNER_MISSING = 20,
}
