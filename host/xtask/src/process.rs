// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Running other programs: with their output kept for the error message, or taken as the answer.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, Sender};
use std::time::Duration;

use anyhow::{bail, Context, Result};

use crate::progress::Step;

/// How many of a program's last lines an error shows.
const TAIL: usize = 60;

/// The command line as a user could type it, for messages.
pub fn shown(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|argument| quoted(&argument.to_string_lossy())));
    words.join(" ")
}

/// A word quoted for a POSIX shell, only where it is needed.
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:=,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// Runs a program under `step`. Its output is shown only if it fails.
pub fn run(step: &Step, command: &mut Command) -> Result<()> {
    run_noting(step, command, str::to_owned)
}

/// The same, and the step shows what `note` makes of each line of the program's output.
pub fn run_noting(
    step: &Step,
    command: &mut Command,
    mut note: impl FnMut(&str) -> String,
) -> Result<()> {
    let line = shown(command);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start `{line}`: is it installed?"))?;
    let (sender, receiver) = mpsc::channel();
    forward(child.stdout.take(), sender.clone());
    forward(child.stderr.take(), sender);
    let mut tail = VecDeque::new();
    for text in receiver {
        step.note(&note(&text));
        if tail.len() == TAIL {
            tail.pop_front();
        }
        tail.push_back(text);
    }
    let status = child.wait().with_context(|| format!("cannot wait for `{line}`"))?;
    if !status.success() {
        let output: Vec<String> = tail.into();
        bail!("`{line}` failed ({status}); it said:\n{}", output.join("\n"));
    }
    Ok(())
}

/// Runs a program and answers what it printed on standard output.
pub fn output(command: &mut Command) -> Result<String> {
    let bytes = output_bytes(command)?;
    String::from_utf8(bytes).with_context(|| format!("`{}` printed no text", shown(command)))
}

/// Runs a program and answers the bytes that it printed on standard output.
pub fn output_bytes(command: &mut Command) -> Result<Vec<u8>> {
    let line = shown(command);
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start `{line}`: is it installed?"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("`{line}` failed ({}); it said:\n{}", output.status, said.trim_end());
    }
    Ok(output.stdout)
}

/// Runs a program whose output is both shown as it comes and wanted: answers what it printed on
/// standard output, and whether it succeeded. Its errors go to standard error.
pub fn watched(command: &mut Command) -> Result<(String, bool)> {
    let line = shown(command);
    eprintln!("xtask: {line}");
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start `{line}`: is it installed?"))?;
    let mut text = Vec::new();
    if let Some(mut source) = child.stdout.take() {
        let mut buffer = vec![0; 16 * 1024];
        while let count @ 1.. =
            source.read(&mut buffer).context("cannot read a program's output")?
        {
            text.extend_from_slice(&buffer[..count]);
            let mut out = std::io::stdout();
            // That nobody reads along any more is no reason to stop.
            let _ = out.write_all(&buffer[..count]).and_then(|()| out.flush());
        }
    }
    let status = child.wait().with_context(|| format!("cannot wait for `{line}`"))?;
    Ok((String::from_utf8_lossy(&text).into_owned(), status.success()))
}

/// Whether a program can be started and succeeds; its output is of no interest.
pub fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Does something that needs the network, and once more if it fails: mirrors have their moments.
pub fn with_retry(step: &Step, mut action: impl FnMut() -> Result<()>) -> Result<()> {
    let Err(first) = action() else { return Ok(()) };
    step.note("failed, trying once more");
    std::thread::sleep(Duration::from_secs(3));
    action().with_context(|| format!("failed twice; the first time: {first:#}"))
}

fn forward(source: Option<impl Read + Send + 'static>, sender: Sender<String>) {
    let Some(source) = source else { return };
    std::thread::spawn(move || {
        let mut reader = BufReader::new(source);
        let mut line = Vec::new();
        while matches!(reader.read_until(b'\n', &mut line), Ok(1..)) {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            line.clear();
            if sender.send(text).is_err() {
                break;
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_where_needed() {
        assert_eq!(quoted("--lane=modern"), "--lane=modern");
        assert_eq!(quoted("a b"), "'a b'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted(""), "''");
        assert_eq!(quoted("$HOME"), "'$HOME'");
    }

    #[test]
    fn output_and_failure_are_told() {
        let echo = output(Command::new("sh").args(["-c", "echo hello"])).unwrap();
        assert_eq!(echo, "hello\n");
        let error = output(Command::new("sh").args(["-c", "echo why >&2; exit 3"])).unwrap_err();
        assert!(format!("{error:#}").contains("why"));
        assert!(!succeeds(&mut Command::new("false")));
    }

    #[test]
    fn a_failing_program_is_shown_with_what_it_said() {
        let step = Step::start("test");
        let error = run(&step, Command::new("sh").args(["-c", "echo out; echo err >&2; exit 1"]));
        let text = format!("{:#}", error.unwrap_err());
        assert!(text.contains("out") && text.contains("err"), "{text}");
        step.done();
    }

    #[test]
    fn only_one_retry() {
        let step = Step::start("test");
        let mut calls = 0;
        let result = with_retry(&step, || {
            calls += 1;
            if calls < 2 {
                bail!("no")
            }
            Ok(())
        });
        assert!(result.is_ok());
        assert_eq!(calls, 2);
        step.done();
    }
}
