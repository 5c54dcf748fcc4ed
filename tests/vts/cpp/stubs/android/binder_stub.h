// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

// Enough of libbinder_ndk's C++ headers for the compiler to look at the suite and at the headers that
// AOSP's aidl generates, where there is no tree: declarations after the documented NDK API, and
// nothing behind them. Only `cargo xtask aidl check` has this folder in its path; Soong has the real
// headers.

#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <sstream>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

extern "C" {
struct AIBinder;
struct AParcel;
struct AStatus;
typedef int32_t binder_status_t;
typedef int32_t binder_exception_t;
typedef uint32_t transaction_code_t;
enum : binder_status_t { STATUS_OK = 0 };
enum : binder_exception_t { EX_NONE = 0, EX_SERVICE_SPECIFIC = -8 };
enum : transaction_code_t { FIRST_CALL_TRANSACTION = 1 };

// binder_manager.h and binder_process.h.
AIBinder* AServiceManager_waitForService(const char* instance);
bool ABinderProcess_setThreadPoolMaxThreadCount(uint32_t threads);
void ABinderProcess_startThreadPool();
}

namespace ndk {

// The owners of the NDK: they can be moved and not copied, but for SpAIBinder, which counts.
class SpAIBinder {
  public:
    explicit SpAIBinder(AIBinder* binder = nullptr);
    SpAIBinder(const SpAIBinder& other);
    ~SpAIBinder();
    SpAIBinder& operator=(const SpAIBinder& other);
    AIBinder* get() const;
};

class ScopedFileDescriptor {
  public:
    explicit ScopedFileDescriptor(int fd = -1);
    ScopedFileDescriptor(ScopedFileDescriptor&& other);
    ~ScopedFileDescriptor();
    ScopedFileDescriptor& operator=(ScopedFileDescriptor&& other);
    ScopedFileDescriptor(const ScopedFileDescriptor&) = delete;
    ScopedFileDescriptor& operator=(const ScopedFileDescriptor&) = delete;
    int get() const;
    bool operator==(const ScopedFileDescriptor& other) const;
    bool operator<(const ScopedFileDescriptor& other) const;
};

class ScopedAStatus {
  public:
    explicit ScopedAStatus(AStatus* status = nullptr);
    ScopedAStatus(ScopedAStatus&& other);
    ~ScopedAStatus();
    ScopedAStatus& operator=(ScopedAStatus&& other);
    ScopedAStatus(const ScopedAStatus&) = delete;
    ScopedAStatus& operator=(const ScopedAStatus&) = delete;
    bool isOk() const;
    binder_exception_t getExceptionCode() const;
    int32_t getServiceSpecificError() const;
    const char* getMessage() const;
    std::string getDescription() const;
    static ScopedAStatus ok();
};

class SharedRefBase {
  public:
    virtual ~SharedRefBase();
    template <class T, class... Args>
    static std::shared_ptr<T> make(Args&&... args) {
        return std::make_shared<T>(std::forward<Args>(args)...);
    }
};

class ICInterface : public SharedRefBase {
  public:
    virtual SpAIBinder asBinder() = 0;
    virtual bool isRemote() = 0;
};

template <typename INTERFACE>
class BnCInterface : public INTERFACE {
  public:
    SpAIBinder asBinder() override;
    bool isRemote() override;

  protected:
    virtual SpAIBinder createBinder() = 0;
};

template <typename INTERFACE>
class BpCInterface : public INTERFACE {
  public:
    explicit BpCInterface(const SpAIBinder& binder);
    SpAIBinder asBinder() override;
    bool isRemote() override;
};

using parcelable_stability_t = int32_t;
enum : parcelable_stability_t { STABILITY_LOCAL, STABILITY_VINTF };

namespace internal {
template <typename Enum>
constexpr inline std::array<Enum, 0> enum_values = {};
}  // namespace internal

template <typename Enum>
struct enum_range {
    constexpr auto begin() const { return internal::enum_values<Enum>.begin(); }
    constexpr auto end() const { return internal::enum_values<Enum>.end(); }
};

}  // namespace ndk

namespace android::internal {
template <typename T>
std::string ToString(const T& value);
}  // namespace android::internal
