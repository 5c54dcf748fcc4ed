// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! A process on the stage, and the director's line to it.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{channel, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use anyhow::{bail, Context, Result};

/// How long an actor may take for its next word.
const PATIENCE: Duration = Duration::from_secs(90);

/// An actor; killed when it goes out of scope.
pub struct Actor {
    name: &'static str,
    child: Child,
    cues: ChildStdin,
    lines: Receiver<String>,
}

impl Actor {
    /// Starts a process under a uid.
    pub fn enter(name: &'static str, command: &mut Command, uid: u32) -> Result<Actor> {
        let mut child = command
            .uid(uid)
            .gid(uid)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("{name} cannot be started: {command:?}"))?;
        let cues = child.stdin.take().context("no way to give cues")?;
        let output = child.stdout.take().context("no way to listen")?;
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Actor { name, child, cues, lines })
    }

    /// The actor's process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Gives a cue.
    pub fn cue(&mut self, line: impl std::fmt::Display) -> Result<()> {
        writeln!(self.cues, "{line}").with_context(|| format!("{} is gone", self.name))
    }

    /// Lets the actor speak until it states this fact, and returns it.
    pub fn fact(&mut self, key: &str) -> Result<String> {
        loop {
            let line = match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => line,
                Err(RecvTimeoutError::Timeout) => {
                    bail!("{} did not say {key:?} within {PATIENCE:?}", self.name)
                }
                Err(RecvTimeoutError::Disconnected) => {
                    let status = self.child.wait()?;
                    bail!("{} ended ({status}) before it said {key:?}", self.name)
                }
            };
            if let Some(text) = line.strip_prefix("say ") {
                println!("  {} {text}", self.name);
            } else if let Some(value) = fact_value(&line, key) {
                return Ok(value.to_owned());
            } else {
                bail!("{} said {line:?} where {key:?} was due", self.name);
            }
        }
    }

    /// Waits for the end of an actor that has said all it had to say.
    pub fn leave(mut self) -> Result<()> {
        self.fact("finished")?;
        let status = self.child.wait()?;
        if !status.success() {
            bail!("{} ended with {status}", self.name);
        }
        Ok(())
    }

    /// Kills the process as nobody can prevent, and waits until it is gone.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill().with_context(|| format!("{} cannot be killed", self.name))?;
        self.child.wait().map(|_| ()).with_context(|| format!("{} does not end", self.name))
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        // Already gone, in most cases.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn fact_value<'line>(line: &'line str, key: &str) -> Option<&'line str> {
    line.strip_prefix("fact ")?.strip_prefix(key)?.strip_prefix(' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fact_has_its_whole_key() {
        assert_eq!(fact_value("fact inode 12", "inode"), Some("12"));
        assert_eq!(fact_value("fact inodes 12", "inode"), None);
        assert_eq!(fact_value("say inode 12", "inode"), None);
    }
}
