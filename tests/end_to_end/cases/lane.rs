// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! The kernel under the tests.

use berth_end_to_end::facilities::{Facility, Promise, Report};

#[test]
fn the_kernel_has_what_the_lane_promises() {
    let promise = Promise::of_this_lane();
    let mut broken = Vec::new();
    for facility in Facility::ALL {
        let here = facility.is_here();
        Report::Has(facility, here).tell();
        broken.extend(promise.check(facility, here).err());
    }
    assert!(broken.is_empty(), "{broken:#?}");
}
