// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

// As in android/binder_stub.h: what the suite uses of libbinder's gtest helpers.

#pragma once

#include <gtest/gtest.h>
#include <string>

namespace android {
std::string PrintInstanceNameToString(const testing::TestParamInfo<std::string>& info);
}  // namespace android
