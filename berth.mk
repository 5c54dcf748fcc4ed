# Copyright (C) 2026 The Berth Authors
# SPDX-License-Identifier: Apache-2.0

# Puts the HAL on a device: one line in the product's makefile,
#
#     $(call inherit-product, <path of this folder>/berth.mk)
#
# Not for BoardConfig.mk: PRODUCT_* variables are read-only there.

# With BERTH_LAZY_SERVICE the service is only there while somebody uses it, with BERTH_APEX it comes
# in a vendor APEX; without either it is on the vendor partition and always there. It is one of them.
ifdef BERTH_APEX
PRODUCT_PACKAGES += com.berth.allocator berth_data.rc
else ifdef BERTH_LAZY_SERVICE
PRODUCT_PACKAGES += vendor.berth.allocator-service-lazy
else
PRODUCT_PACKAGES += vendor.berth.allocator-service
endif

# What the service is told of the device's heaps and limits; init/allocator.policy explains it. For a
# file of its own a device sets BERTH_DEVICE_POLICY to its path from the root of the tree.
ifdef BERTH_DEVICE_POLICY
PRODUCT_COPY_FILES += $(BERTH_DEVICE_POLICY):$(TARGET_COPY_OUT_VENDOR)/etc/berth/allocator.policy
else
PRODUCT_PACKAGES += berth_allocator.policy
endif

# Modes of /dev/udmabuf and of the contiguous heaps. ueventd reads it if the device's own ueventd.rc
# imports it; the file says how.
PRODUCT_PACKAGES += berth_ueventd.rc

# Tools that a shell on a development build uses.
PRODUCT_PACKAGES_DEBUG += \
    berth-demo \
    berthctl

# The two lines below set variables of the board. They hold because product makefiles are read
# before BoardConfig.mk and the build adds nothing of its own to them. A BoardConfig.mk that assigns
# them with `:=` instead of `+=` discards these values and repeats them itself.
BOARD_VENDOR_SEPOLICY_DIRS += $(LOCAL_PATH)/sepolicy

# The product's matrix rather than the system's (DEVICE_FRAMEWORK_COMPATIBILITY_MATRIX_FILE): the
# system image stays generic. Where a device must use the other variable, it is one or the other.
DEVICE_PRODUCT_COMPATIBILITY_MATRIX_FILE += \
    $(LOCAL_PATH)/vintf/vendor.berth.allocator.compatibility_matrix.xml
