// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! The allocator service's process.

#![forbid(unsafe_code)]

use anyhow::{Context, Result};
use berth_service::policy::{self, Policy};
use berth_service::{allocator, Service, SERVICE_NAME};
use hal_binder::ProcessState;

/// Threads that Binder may add: calls are short, and none waits for another.
const BINDER_THREADS: u32 = 8;

fn main() {
    init_log();
    std::panic::set_hook(Box::new(|panic| log::error!("{panic}")));
    if let Err(error) = try_main() {
        log::error!("{error:#}");
        std::process::exit(1);
    }
    // The service's thread only returns here if Binder itself failed.
    log::error!("the Binder thread pool ended");
    std::process::exit(1);
}

fn try_main() -> Result<()> {
    ProcessState::set_thread_pool_max_thread_count(BINDER_THREADS);
    let policy = Policy::load(&policy::path()).context("the allocator has no policy")?;
    let service = Service::new(policy).context("the allocator cannot start")?;
    let object = allocator::new_binder(service);
    ProcessState::start_thread_pool();
    allocator::register(&object).with_context(|| format!("{SERVICE_NAME} cannot be registered"))?;
    log::info!("{SERVICE_NAME} is registered");
    ProcessState::join_thread_pool();
    Ok(())
}

#[cfg(target_os = "android")]
fn init_log() {
    android_logger::init_once(
        android_logger::Config::default()
            .with_tag("berth.allocator")
            .with_log_buffer(android_logger::LogId::System)
            .with_max_level(log::LevelFilter::Info),
    );
}

/// What rsbinder says of peers that go and of a service manager that is not up yet is no news.
#[cfg(not(target_os = "android"))]
const HOST_LOG_FILTER: &str = "info,rsbinder=error,rsbinder::hub=off";

#[cfg(not(target_os = "android"))]
fn init_log() {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or(HOST_LOG_FILTER))
        .init();
}
