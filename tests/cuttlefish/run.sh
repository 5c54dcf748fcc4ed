#!/bin/sh
# Copyright (C) 2026 The Berth Authors
# SPDX-License-Identifier: Apache-2.0
#
# Launches a Cuttlefish device from a tree that has Berth in its product, and shows the HAL on it:
# registered, in its domain, the VTS suites, the demos, buffers by hand, the dump. README.md explains
# each command.
#
# Run it in the root of the tree, after `source build/envsetup.sh`, `lunch` and `m`.
# NOT RUN on Cuttlefish by Berth's own tests: those have no tree. They run it in a VM, where
# stand_in/adb is the device.
#
#     run.sh [--keep]       --keep leaves the device running

set -eu

INSTANCE=vendor.berth.allocator.IAllocator/default
DOMAIN=hal_berth_allocator_default
TESTS="VtsHalBerthAllocatorTargetTest VtsHalBerthAllocatorNdkTargetTest"
PROGRAMS="berthctl berth-demo"
DEMOS="run camera audio cache"

step() { echo; echo "== $1"; }
fail() { echo "FAILED: $1" >&2; exit 1; }
# Runs a line on the device, as root's shell there, and shows it.
device() { echo "\$ adb shell $1"; adb shell "$1" || fail "$1"; }

keep=
[ "${1-}" = --keep ] && keep=yes
[ -n "${ANDROID_PRODUCT_OUT-}" ] || fail "no product is chosen: source build/envsetup.sh and lunch"
for tool in adb launch_cvd stop_cvd; do
    command -v "$tool" >/dev/null || fail "$tool is not in the PATH: build the product with m"
done

step "launch"
launch_cvd --daemon --report_anonymous_usage_stats=n
[ -n "$keep" ] || trap 'stop_cvd >/dev/null 2>&1' EXIT
adb wait-for-device
# shellcheck disable=SC2016 # The device's shell substitutes.
adb shell 'while [ "$(getprop sys.boot_completed)" != 1 ]; do sleep 1; done'
adb root
adb wait-for-device

step "the service is registered, under its uid and in its domain, and the device enforces"
[ "$(adb shell getenforce)" = Enforcing ] || fail "SELinux does not enforce"
adb shell service check "$INSTANCE" | grep ': found' || fail "$INSTANCE is not registered"
adb shell ps -A -o LABEL,USER,NAME | grep "$DOMAIN" || fail "no process is in $DOMAIN"
for program in $PROGRAMS; do
    adb shell "test -x /vendor/bin/$program" || fail "$program is not installed: a user build?"
done

step "the demos: clients under uids of their own"
for demo in $DEMOS; do
    device "berth-demo $demo"
done

step "VTS"
for test in $TESTS; do
    program=$(find "$ANDROID_PRODUCT_OUT/testcases/$test" -type f -name "$test" | head -n 1)
    [ -n "$program" ] || fail "$test is not built: m $test"
    adb push "$program" "/data/local/tmp/$test" >/dev/null
    case $test in
        *Ndk*) device "/data/local/tmp/$test" ;;
        *) device "/data/local/tmp/$test --test-threads=1" ;;
    esac
done

step "heaps, a buffer, and the books, as people see them"
device "berthctl heaps"
device "berthctl alloc --image 1920x1080 --format YCBCR_420_888 --count 3"
device "dumpsys $INSTANCE"

step "nothing of all that was denied to the HAL"
if adb shell dmesg | grep 'avc: *denied' | grep -e "$DOMAIN" -e hal_berth_allocator; then
    fail "the lines above"
fi

echo
echo "cuttlefish: ok"
