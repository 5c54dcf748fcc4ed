// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! The allocator service's process.
//!
//! Exit codes: 1 the service failed, or the policy file that was checked is wrong; 2 wrong usage;
//! 0 the file that was checked is right.

#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use berth_service::policy::{self, Policy};
use berth_service::{allocator, Service, SERVICE_NAME};
use clap::Parser;
use hal_binder::ProcessState;

/// Threads that Binder may add: calls are short, and none waits for another.
const BINDER_THREADS: u32 = 8;

/// The allocator HAL. init starts it without any flag, or with --lazy.
#[derive(Debug, Parser)]
#[command(name = "vendor.berth.allocator-service")]
struct Arguments {
    /// End when nobody uses it, to be started again on demand.
    #[arg(long)]
    lazy: bool,
    /// Say `ok`, or what is wrong with this policy file, and end.
    #[arg(long, value_name = "FILE")]
    check_policy: Option<PathBuf>,
}

fn main() {
    let arguments = Arguments::parse();
    if let Some(path) = &arguments.check_policy {
        check_policy(path);
    }
    init_log();
    std::panic::set_hook(Box::new(|panic| log::error!("{panic}")));
    if let Err(error) = try_main(arguments.lazy) {
        log::error!("{error:#}");
        std::process::exit(1);
    }
    // The service's thread only returns here if Binder itself failed.
    log::error!("the Binder thread pool ended");
    std::process::exit(1);
}

/// For people who write the file: what a line says against the machine, its memory and its
/// descriptors, is only known to the service that starts there.
fn check_policy(path: &Path) -> ! {
    match Policy::read(path) {
        Ok(_) => {
            println!("ok");
            std::process::exit(0)
        }
        Err(error) => {
            eprintln!("{error}");
            std::process::exit(1)
        }
    }
}

fn try_main(lazy: bool) -> Result<()> {
    ProcessState::set_thread_pool_max_thread_count(BINDER_THREADS);
    let policy = Policy::load(&policy::path()).context("the allocator has no policy")?;
    let service = Service::new(policy).context("the allocator cannot start")?;
    if lazy {
        service.end_when_unused().context("the allocator cannot start")?;
    }
    let object = allocator::new_binder(service);
    ProcessState::start_thread_pool();
    let register = if lazy { allocator::register_lazy } else { allocator::register };
    register(&object).with_context(|| format!("{SERVICE_NAME} cannot be registered"))?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn init_needs_no_flag_and_a_lazy_service_one() {
        let program = "vendor.berth.allocator-service";
        let parsed = Arguments::try_parse_from([program]).unwrap();
        assert_eq!((parsed.check_policy, parsed.lazy), (None, false));
        assert!(Arguments::try_parse_from([program, "--lazy"]).unwrap().lazy);
        assert!(Arguments::try_parse_from([program, "allocator.policy"]).is_err());
    }
}
