// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! The service manager of the lane on which SELinux enforces. rsbinder's own decides by uid; this one
//! decides as Android's does (frameworks/native/cmds/servicemanager/Access.cpp): the context of the
//! caller, the context that `service_contexts` gives the name, and the kernel's word on the class
//! `service_manager`. A refusal is written into the kernel's log in the form of the kernel's own.
//!
//! It registers, finds and tells of registrations. What needs more, as lazy services, is answered
//! with an exception.

#![forbid(unsafe_code)]

mod access;
mod registry;

use anyhow::{anyhow, Context, Result};
use rsbinder::hub::android_16::{BnServiceManager, IServiceManager, DUMP_FLAG_PRIORITY_DEFAULT};
use rsbinder::{Interface as _, ProcessState};

use access::Access;
use registry::Registry;

const DEVICE: &str = "/dev/binderfs/binder";
const CONTEXTS: &str = "/etc/selinux/service_contexts";

fn main() -> Result<()> {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("warn")).init();
    let contexts =
        std::fs::read_to_string(CONTEXTS).with_context(|| format!("cannot read {CONTEXTS}"))?;
    let access = Access::new(&contexts)?;
    // One thread, as Android's.
    ProcessState::init(DEVICE, 0).map_err(|error| anyhow!("cannot use {DEVICE}: {error}"))?;
    let manager = BnServiceManager::new_binder(Registry::new(access));
    // Outside of a call, so nobody is asked.
    manager
        .addService("manager", &manager.as_binder(), false, DUMP_FLAG_PRIORITY_DEFAULT)
        .context("cannot register itself")?;
    ProcessState::as_self()
        .become_context_manager(manager.as_binder())
        .map_err(|error| anyhow!("cannot become the service manager: {error}"))?;
    ProcessState::join_thread_pool().context("the thread that serves calls ended")
}
