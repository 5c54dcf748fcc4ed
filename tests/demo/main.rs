// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! The demo: a service manager, the HAL and its clients, each a process with a uid of its own.
//!
//! `berth-demo run` is the director: it starts the others, which are this program with another
//! role, checks what they report, and tells it. `story` has the steps.

#![forbid(unsafe_code)]

mod actor;
mod audio;
mod cache;
mod camera;
mod consumer;
mod device;
mod fenced;
mod gallery;
mod glutton;
mod hoarder;
mod pattern;
mod player;
mod producer;
mod proof;
mod script;
mod speaker;
mod stage;
mod story;
#[cfg(not(target_os = "android"))]
mod vgem;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

#[derive(Debug, Parser)]
#[command(about = "Show what the Berth allocator does")]
struct Arguments {
    #[command(subcommand)]
    role: Role,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// Direct the whole demo; needs root, to give each process a uid.
    Run(Props),
    /// Direct camera, encoder and display over one pool; needs root, too.
    Camera(Props),
    /// Fill frames; started by `camera`.
    #[command(hide = true)]
    CameraSource,
    /// Work on frames; started by `camera`.
    #[command(hide = true)]
    CameraEncoder,
    /// Check frames; started by `camera`.
    #[command(hide = true)]
    CameraDisplay,
    /// Direct a player and an audio server, with a ring and a payload between them; needs root, too.
    Audio(Props),
    /// Play a track; started by `audio`.
    #[command(hide = true)]
    Player,
    /// Be the audio server; started by `audio`.
    #[command(hide = true)]
    Speaker,
    /// Direct a gallery whose pictures are in a cache that may lose them; needs root, too.
    Cache(Props),
    /// Show pictures; started by `cache`.
    #[command(hide = true)]
    Gallery,
    /// Take memory; started by `cache`.
    #[command(hide = true)]
    Glutton,
    /// Allocate, write and share; started by `run`.
    #[command(hide = true)]
    Producer,
    /// Acquire and read; started by `run`.
    #[command(hide = true)]
    Consumer,
    /// Hold many buffers until killed; started by `run`.
    #[command(hide = true)]
    Hoarder,
}

/// What the director needs. Without any of it the demo takes the HAL that runs, as on a device.
#[derive(Debug, clap::Args)]
struct Props {
    /// The HAL's program; without it the HAL is registered already, and nobody else uses it.
    #[arg(long, requires = "transport")]
    service: Option<PathBuf>,
    /// The service manager's program; none over RPC.
    #[arg(long, requires = "service", required_if_eq("transport", "kernel"))]
    service_manager: Option<PathBuf>,
    /// The folder of the service manager's policy.
    #[arg(long, requires = "service", required_if_eq("transport", "kernel"))]
    service_manager_policy: Option<PathBuf>,
    /// How calls cross processes.
    #[arg(long, requires = "service")]
    transport: Option<Transport>,
    /// Let the camera demo fail where devices without hardware, or their fences, are missing.
    #[arg(long)]
    fences: bool,
}

impl Props {
    /// Whether the machine is the demo's alone: a VM that started nothing before it.
    fn has_the_machine(&self) -> bool {
        self.transport == Some(Transport::Kernel)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Transport {
    /// Kernel Binder.
    Kernel,
    /// RPC Binder over Unix sockets.
    Rpc,
}

fn main() -> ExitCode {
    let result = match Arguments::parse().role {
        Role::Run(props) => story::tell(&props, story::steps),
        Role::Camera(props) => story::tell(&props, camera::steps),
        Role::CameraSource => camera::source(),
        Role::CameraEncoder => camera::encoder(),
        Role::CameraDisplay => camera::display(),
        Role::Audio(props) => story::tell(&props, audio::steps),
        Role::Player => player::play(),
        Role::Speaker => speaker::play(),
        Role::Cache(props) => story::tell(&props, cache::steps),
        Role::Gallery => gallery::play(),
        Role::Glutton => glutton::play(),
        Role::Producer => producer::play(),
        Role::Consumer => consumer::play(),
        Role::Hoarder => hoarder::play(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
