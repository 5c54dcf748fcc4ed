// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

#include <android/binder_stub.h>
