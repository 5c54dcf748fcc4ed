// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

// The VTS suite of vendor.berth.allocator.IAllocator in C++, over the NDK back end: a second language
// and a second Binder library. The suite in Rust (../rust) asks for all that the interface promises;
// this one sees that the contract does not depend on Rust, at each kind of call: what parcels carry,
// descriptors, unions, callbacks, tokens and errors.

#include <aidl/Gtest.h>
#include <aidl/Vintf.h>
#include <aidl/vendor/berth/allocator/AllocationFlag.h>
#include <aidl/vendor/berth/allocator/AllocatorError.h>
#include <aidl/vendor/berth/allocator/BnAllocatorCallback.h>
#include <aidl/vendor/berth/allocator/BufferUsage.h>
#include <aidl/vendor/berth/allocator/IAllocator.h>
#include <android/binder_manager.h>
#include <android/binder_process.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/dma-buf.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace aidl::vendor::berth::allocator {
namespace {

// What news may take. They are waited for, not measured.
constexpr std::chrono::seconds kPatience{60};

constexpr int64_t kCpu = static_cast<int64_t>(BufferUsage::CPU_READ_OFTEN) |
                         static_cast<int64_t>(BufferUsage::CPU_WRITE_OFTEN);

// Unmapped when it goes out of scope.
class Mapping {
  public:
    Mapping(int fd, size_t bytes, int protection)
        : fd_(fd), bytes_(bytes), at_(mmap(nullptr, bytes, protection, MAP_SHARED, fd, 0)) {}
    Mapping(const Mapping&) = delete;
    Mapping& operator=(const Mapping&) = delete;
    ~Mapping() {
        if (isMapped()) munmap(at_, bytes_);
    }

    bool isMapped() const { return at_ != MAP_FAILED; }
    volatile uint8_t* bytes() const { return static_cast<volatile uint8_t*>(at_); }

    // Tells the exporter of a dma-buf that the CPU begins or ends; does nothing for other memory.
    void sync(uint64_t flags, bool isDmaBuf) const {
        if (!isDmaBuf) return;
        dma_buf_sync argument = {};
        argument.flags = flags | DMA_BUF_SYNC_RW;
        int result;
        do {
            result = ioctl(fd_, DMA_BUF_IOCTL_SYNC, &argument);
        } while (result < 0 && (errno == EINTR || errno == EAGAIN));
        ASSERT_EQ(result, 0) << "DMA_BUF_IOCTL_SYNC";
    }

  private:
    const int fd_;
    const size_t bytes_;
    void* const at_;
};

// A client's end of a session.
class Notices : public BnAllocatorCallback {
  public:
    ndk::ScopedAStatus onSharedBufferGone(const std::vector<int64_t>& ids) override {
        std::lock_guard lock(mutex_);
        gone_.insert(ids.begin(), ids.end());
        changed_.notify_all();
        return ndk::ScopedAStatus::ok();
    }

    ndk::ScopedAStatus onPressure(PressureLevel) override { return ndk::ScopedAStatus::ok(); }

    bool awaitGone(int64_t id) {
        std::unique_lock lock(mutex_);
        return changed_.wait_for(lock, kPatience, [&] { return gone_.count(id) > 0; });
    }

  private:
    std::mutex mutex_;
    std::condition_variable changed_;
    std::set<int64_t> gone_;
};

struct Client {
    std::shared_ptr<Notices> notices = ndk::SharedRefBase::make<Notices>();
    std::shared_ptr<IAllocatorSession> session;
};

BufferDescriptor linear(int64_t bytes) {
    BufferDescriptor descriptor;
    descriptor.name = "vts-ndk";
    descriptor.shape = BufferShape::make<BufferShape::Tag::linearBytes>(bytes);
    descriptor.usage = kCpu;
    return descriptor;
}

BufferDescriptor region(int64_t bytes) {
    BufferDescriptor descriptor = linear(1);
    descriptor.shape = BufferShape::make<BufferShape::Tag::regionBytes>(bytes);
    return descriptor;
}

testing::AssertionResult isRefused(const ndk::ScopedAStatus& status, AllocatorError due) {
    if (status.isOk()) return testing::AssertionFailure() << "was not refused";
    if (status.getExceptionCode() != EX_SERVICE_SPECIFIC) {
        return testing::AssertionFailure() << status.getDescription();
    }
    if (status.getServiceSpecificError() != static_cast<int32_t>(due)) {
        return testing::AssertionFailure()
               << status.getDescription() << " and not " << toString(due);
    }
    if (std::string(status.getMessage()).empty()) {
        return testing::AssertionFailure() << toString(due) << " without a message";
    }
    return testing::AssertionSuccess();
}

class AllocatorNdk : public testing::TestWithParam<std::string> {
  protected:
    void SetUp() override {
        allocator_ = IAllocator::fromBinder(
                ndk::SpAIBinder(AServiceManager_waitForService(GetParam().c_str())));
        ASSERT_NE(allocator_, nullptr) << GetParam();
        ASSERT_TRUE(allocator_->getCapabilities(&capabilities_).isOk());
        client_ = open();
    }

    Client open() {
        Client client;
        SessionConfig config;
        config.name = "vts-ndk";
        const auto status = allocator_->openSession(config, client.notices, &client.session);
        EXPECT_TRUE(status.isOk()) << status.getDescription();
        return client;
    }

    // Asserts that nobody was charged for what was refused.
    void expectNothingCharged() {
        SessionStats stats;
        ASSERT_TRUE(client_.session->getStats(&stats).isOk());
        EXPECT_EQ(stats.buffers, 0);
        EXPECT_EQ(stats.bytes, 0);
    }

    std::shared_ptr<IAllocator> allocator_;
    AllocatorCapabilities capabilities_;
    Client client_;
};

TEST_P(AllocatorNdk, tellsItsVersionAndHash) {
    int32_t version = 0;
    std::string hash;
    ASSERT_TRUE(allocator_->getInterfaceVersion(&version).isOk());
    ASSERT_TRUE(allocator_->getInterfaceHash(&hash).isOk());
    EXPECT_GE(version, 1);
    EXPECT_FALSE(hash.empty());
    if (version == IAllocator::version) {
        EXPECT_EQ(hash, IAllocator::hash);
    }
}

TEST_P(AllocatorNdk, everyHeapThatIsListedAllocates) {
    ASSERT_FALSE(capabilities_.heaps.empty());
    for (const HeapInfo& heap : capabilities_.heaps) {
        BufferDescriptor descriptor = linear(1);
        descriptor.heap = heap.name;
        descriptor.flags = static_cast<int32_t>(AllocationFlag::STRICT_HEAP);
        if (heap.heapClass == HeapClass::SECURE) {
            descriptor.usage = static_cast<int64_t>(BufferUsage::PROTECTED);
        }
        bool supported = false;
        ASSERT_TRUE(allocator_->isSupported(descriptor, &supported).isOk());
        EXPECT_TRUE(supported) << heap.name;
        Allocation allocation;
        const auto status = client_.session->allocate(descriptor, 1, &allocation);
        ASSERT_TRUE(status.isOk()) << heap.name << ": " << status.getDescription();
        EXPECT_EQ(allocation.layout.heap, heap.name);
        EXPECT_EQ(allocation.layout.dmaBuf, heap.dmaBuf);
    }
}

TEST_P(AllocatorNdk, memoryReadsZeroAndKeepsWhatIsWritten) {
    for (const BufferDescriptor& descriptor : {linear(10000), region(10000)}) {
        Allocation allocation;
        ASSERT_TRUE(client_.session->allocate(descriptor, 2, &allocation).isOk());
        const AllocatedBuffers& buffers = allocation.buffers;
        ASSERT_EQ(buffers.fds.size(), 2u);
        ASSERT_EQ(buffers.flags.size(), 2u);
        EXPECT_EQ(buffers.receipts.size(), 2u);
        EXPECT_TRUE(buffers.secondFds.empty());
        const int64_t page = capabilities_.pageSizeBytes;
        EXPECT_EQ(allocation.layout.sizeBytes, 10000);
        EXPECT_EQ(allocation.layout.allocationBytes % page, 0);
        const size_t bytes = static_cast<size_t>(allocation.layout.allocationBytes);
        for (size_t number = 0; number < 2; ++number) {
            const int fd = buffers.fds[number].get();
            EXPECT_NE(fcntl(fd, F_GETFD) & FD_CLOEXEC, 0);
            const Mapping mapping(fd, bytes, PROT_READ | PROT_WRITE);
            ASSERT_TRUE(mapping.isMapped());
            if ((buffers.flags[number] & BufferInfo::FLAG_ZEROED) == 0) continue;
            mapping.sync(DMA_BUF_SYNC_START, allocation.layout.dmaBuf);
            size_t other = 0;
            for (size_t at = 0; at < bytes; ++at) other += mapping.bytes()[at] != 0;
            EXPECT_EQ(other, 0u) << "bytes are not zero";
            mapping.bytes()[bytes - 1] = 7;
            EXPECT_EQ(mapping.bytes()[bytes - 1], 7);
            mapping.sync(DMA_BUF_SYNC_END, allocation.layout.dmaBuf);
        }
    }
}

TEST_P(AllocatorNdk, anImageHasItsPlanesWithinItsAllocation) {
    for (const PixelFormat format : capabilities_.formats) {
        if (format == PixelFormat::BLOB) continue;
        ImageDescriptor image;
        image.width = 64;
        image.height = 32;
        image.format = format;
        BufferDescriptor descriptor = linear(1);
        descriptor.shape = BufferShape::make<BufferShape::Tag::image>(image);
        Allocation allocation;
        const auto status = client_.session->allocate(descriptor, 1, &allocation);
        ASSERT_TRUE(status.isOk()) << toString(format) << ": " << status.getDescription();
        ASSERT_TRUE(allocation.layout.image.has_value()) << toString(format);
        EXPECT_FALSE(allocation.layout.image->planes.empty()) << toString(format);
        for (const PlaneLayout& plane : allocation.layout.image->planes) {
            EXPECT_LE(plane.offsetInBytes + plane.totalSizeInBytes, allocation.layout.sizeBytes);
            EXPECT_LE(plane.heightInSamples * plane.strideInBytes, plane.totalSizeInBytes);
        }
        EXPECT_TRUE(client_.session->free({allocation.buffers.firstId}).isOk());
    }
}

TEST_P(AllocatorNdk, refusalsHaveTheirErrors) {
    BufferDescriptor unknownUsage = linear(1);
    unknownUsage.usage = INT64_MIN;
    BufferDescriptor unknownFlag = linear(1);
    unknownFlag.flags = INT32_MIN;
    BufferDescriptor unknownHeap = linear(1);
    unknownHeap.heap = "vts-no-heap-of-any-kernel";
    BufferDescriptor longName = linear(1);
    longName.name = std::string(IAllocator::MAX_NAME_BYTES + 1, 'x');
    const std::vector<std::pair<BufferDescriptor, AllocatorError>> wrong = {
            {linear(0), AllocatorError::BAD_DESCRIPTOR},
            {region(-1), AllocatorError::BAD_DESCRIPTOR},
            {longName, AllocatorError::BAD_DESCRIPTOR},
            {linear(INT64_MAX), AllocatorError::TOO_LARGE},
            {unknownUsage, AllocatorError::UNSUPPORTED},
            {unknownFlag, AllocatorError::UNSUPPORTED},
            {unknownHeap, AllocatorError::HEAP_UNKNOWN},
    };
    for (const auto& [descriptor, due] : wrong) {
        Allocation allocation;
        EXPECT_TRUE(isRefused(client_.session->allocate(descriptor, 1, &allocation), due));
        bool supported = true;
        ASSERT_TRUE(allocator_->isSupported(descriptor, &supported).isOk());
        EXPECT_FALSE(supported) << toString(due);
    }
    for (const int32_t count : {0, -1, IAllocator::MAX_BATCH + 1}) {
        Allocation allocation;
        EXPECT_TRUE(isRefused(client_.session->allocate(linear(1), count, &allocation),
                              AllocatorError::BAD_ARGUMENT));
    }
    EXPECT_TRUE(isRefused(client_.session->free({INT64_MAX}), AllocatorError::NOT_FOUND));
    expectNothingCharged();
}

TEST_P(AllocatorNdk, aTokenLetsInWhomItIsForAndItsEndIsTold) {
    Client taker = open();
    Allocation allocation;
    ASSERT_TRUE(client_.session->allocate(region(4096), 1, &allocation).isOk());
    const int64_t id = allocation.buffers.firstId;
    ShareOptions options;
    options.recipientUid = static_cast<int32_t>(getuid()) + 1;
    options.lifetimeMillis = ShareOptions::MAX_LIFETIME_MILLIS;
    ShareToken token;
    Buffer taken;
    ASSERT_TRUE(client_.session->share(id, options, &token).isOk());
    EXPECT_TRUE(isRefused(taker.session->acquire(token, &taken), AllocatorError::BAD_TOKEN));
    options.recipientUid = static_cast<int32_t>(getuid());
    ASSERT_TRUE(client_.session->share(id, options, &token).isOk());
    ASSERT_TRUE(taker.session->acquire(token, &taken).isOk());
    EXPECT_TRUE(isRefused(taker.session->acquire(token, &taken), AllocatorError::BAD_TOKEN));
    EXPECT_EQ(taken.info.ownerId, id);
    EXPECT_NE(taken.info.flags & BufferInfo::FLAG_ACQUIRED, 0);

    const Mapping mine(allocation.buffers.fds[0].get(), 4096, PROT_READ | PROT_WRITE);
    const Mapping theirs(taken.fd.get(), 4096, PROT_READ | PROT_WRITE);
    ASSERT_TRUE(mine.isMapped() && theirs.isMapped());
    theirs.bytes()[100] = 42;
    EXPECT_EQ(mine.bytes()[100], 42);

    ASSERT_TRUE(client_.session->close().isOk());
    EXPECT_TRUE(taker.notices->awaitGone(taken.info.id));
    EXPECT_EQ(mine.bytes()[100], 42) << "memory stays with those who hold it";
}

TEST_P(AllocatorNdk, anEndedSessionSaysSo) {
    ASSERT_TRUE(client_.session->close().isOk());
    EXPECT_TRUE(client_.session->close().isOk()) << "closing it twice is no error";
    Allocation allocation;
    EXPECT_TRUE(isRefused(client_.session->allocate(linear(1), 1, &allocation),
                          AllocatorError::SESSION_CLOSED));
    std::vector<BufferInfo> listed;
    EXPECT_TRUE(isRefused(client_.session->list(0, &listed), AllocatorError::SESSION_CLOSED));
}

GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(AllocatorNdk);
INSTANTIATE_TEST_SUITE_P(
        Instances, AllocatorNdk,
        testing::ValuesIn(android::getAidlHalInstanceNames(IAllocator::descriptor)),
        android::PrintInstanceNameToString);

}  // namespace
}  // namespace aidl::vendor::berth::allocator

int main(int argc, char** argv) {
    testing::InitGoogleTest(&argc, argv);
    ABinderProcess_setThreadPoolMaxThreadCount(1);
    ABinderProcess_startThreadPool();
    return RUN_ALL_TESTS();
}
