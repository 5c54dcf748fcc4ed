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
@RustDerive(Clone=true, PartialEq=true) @VintfStability
parcelable BufferInfo {
  long id;
  vendor.berth.allocator.BufferDescriptor request;
  vendor.berth.allocator.BufferLayout layout;
  long device;
  long inode;
  int flags;
  vendor.berth.allocator.Access access = vendor.berth.allocator.Access.READ_WRITE;
  long ownerId;
  long receipt;
  const int FLAG_ZEROED = (1 << 0) /* 1 */;
  const int FLAG_FALLBACK_HEAP = (1 << 1) /* 2 */;
  const int FLAG_ACQUIRED = (1 << 2) /* 4 */;
  const int FLAG_SEALED = (1 << 3) /* 8 */;
  const int FLAG_RECYCLED = (1 << 4) /* 16 */;
  const int FLAG_GIVEN_UP = (1 << 5) /* 32 */;
}
