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
@VintfStability
interface IAllocatorSession {
  vendor.berth.allocator.Allocation allocate(in vendor.berth.allocator.BufferDescriptor descriptor, int count);
  vendor.berth.allocator.AllocatedBuffers allocateAgain(int requestId, int count);
  vendor.berth.allocator.AllocatedBuffer allocateOneAgain(int requestId);
  void free(in long[] ids);
  vendor.berth.allocator.Buffer get(long id, vendor.berth.allocator.Access access);
  void seal(long id);
  vendor.berth.allocator.BufferInfo[] list(long afterId);
  vendor.berth.allocator.ShareToken share(long id, in vendor.berth.allocator.ShareOptions options);
  vendor.berth.allocator.Buffer acquire(in vendor.berth.allocator.ShareToken token);
  long trim();
  vendor.berth.allocator.SessionStats getStats();
  void close();
  vendor.berth.allocator.ReattachResult[] reattach(in vendor.berth.allocator.ReattachEntry[] entries);
  vendor.berth.allocator.BufferPool createPool(in vendor.berth.allocator.BufferDescriptor descriptor, in vendor.berth.allocator.PoolOptions options);
  vendor.berth.allocator.ShareToken sharePool(long id, in vendor.berth.allocator.ShareOptions options);
  vendor.berth.allocator.BufferPool joinPool(in vendor.berth.allocator.ShareToken token);
  vendor.berth.allocator.BufferPool updatePool(long id, int sinceEpoch);
  void resizePool(long id, int slots);
  int restorePool(long id);
  void leavePool(long id);
  const int REMEMBERED_REQUESTS = 8;
}
