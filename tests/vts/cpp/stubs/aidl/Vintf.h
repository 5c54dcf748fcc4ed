// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

// As in android/binder_stub.h: what the suite uses of libaidlvintf_gtest_helper.

#pragma once

#include <string>
#include <vector>

namespace android {
std::vector<std::string> getAidlHalInstanceNames(const std::string& descriptor);
}  // namespace android
