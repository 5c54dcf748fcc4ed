// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Denials, in the kernel's log. A test that expects some says so in that log, and whoever reads it
//! afterwards complains of all others.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure, Context, Result};

const LOG: &str = "/dev/kmsg";

/// What a denial's line has in it, whoever wrote it.
const DENIED: &str = "avc:  denied";

/// How the line begins that says which denial was expected.
const EXPECTED: &str = "berth: expected the denial ";

/// A file that nobody may look at, and its type.
pub const BARRIER: &str = "/etc/selinux/barrier";
const BARRIER_TYPE: &str = "lane_barrier";

/// How long the kernel may take to write down what it denied.
const PATIENCE: Duration = Duration::from_secs(30);

/// A line of the log that says that something was denied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// What no other denial has: the kernel's `audit(TIME:SERIAL)`, or the service manager's.
    pub id: String,
    /// The permissions, in the log's order.
    pub permissions: Vec<String>,
    /// The type of who was denied.
    pub subject: String,
    /// The type of what it was denied.
    pub object: String,
    /// The class of that.
    pub class: String,
    /// Whether it was let through nevertheless.
    pub permissive: bool,
}

impl Denial {
    /// Reads a line of the log; `None` if it is no denial's.
    pub fn parse(line: &str) -> Option<Self> {
        let (head, rest) = line.split_once(DENIED)?;
        let id = head.trim_end().trim_end_matches(':').split_whitespace().last()?.to_owned();
        let permissions = rest.split_once('{')?.1.split_once('}')?.0;
        let value = |key: &str| {
            rest.split_whitespace().find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
        };
        // user:role:type:level
        let type_of = |key| value(key)?.split(':').nth(2).map(str::to_owned);
        Some(Self {
            id,
            permissions: permissions.split_whitespace().map(str::to_owned).collect(),
            subject: type_of("scontext")?,
            object: type_of("tcontext")?,
            class: value("tclass")?.to_owned(),
            permissive: value("permissive") != Some("0"),
        })
    }
}

impl Denial {
    fn was_expected(&self) -> Result<()> {
        log(&format!("{EXPECTED}{}", self.id))
    }
}

/// As a rule that would have allowed it.
impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let permissions = self.permissions.join(" ");
        write!(f, "{} {}:{} {{ {permissions} }}", self.subject, self.object, self.class)
    }
}

/// The denials of a log that nobody expected, as lines.
pub fn unexpected<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut expected: Vec<&str> = Vec::new();
    let mut found: Vec<(Option<Denial>, &str)> = Vec::new();
    for line in lines {
        if let Some((_, id)) = line.split_once(EXPECTED) {
            expected.push(id.trim());
        } else if line.contains(DENIED) {
            found.push((Denial::parse(line), line));
        }
    }
    found.retain(|(denial, _)| match denial {
        Some(denial) => denial.permissive || !expected.contains(&denial.id.as_str()),
        None => true,
    });
    found.into_iter().map(|(_, line)| line).collect()
}

/// Writes a line into the kernel's log.
pub fn log(line: &str) -> Result<()> {
    let mut file = OpenOptions::new().write(true).open(LOG).context("cannot open /dev/kmsg")?;
    // The level of the kernel's own denials.
    file.write_all(format!("<5>{line}\n").as_bytes()).context("cannot write to /dev/kmsg")
}

/// The denials since some moment.
#[derive(Debug)]
pub struct Watch {
    log: File,
    seen: Vec<Denial>,
}

impl Watch {
    /// From now on.
    pub fn begin() -> Result<Self> {
        // The end of the log is an error and no wait.
        const O_NONBLOCK: i32 = 0o4000;
        let mut options = OpenOptions::new();
        let log = options.read(true).custom_flags(O_NONBLOCK).open(LOG);
        let mut log = log.context("cannot open /dev/kmsg")?;
        log.seek(SeekFrom::End(0)).context("cannot go to the end of /dev/kmsg")?;
        let mut watch = Self { log, seen: Vec::new() };
        watch.read_all()?;
        watch.seen.clear();
        Ok(watch)
    }

    /// Whether anything is known to have been denied; what was denied this moment may not be yet.
    pub fn any(&mut self) -> Result<bool> {
        self.read()?;
        Ok(!self.seen.is_empty())
    }

    /// What was denied since this was last asked; it counts as expected.
    pub fn expect(&mut self) -> Result<Vec<Denial>> {
        self.read_all()?;
        let denials = std::mem::take(&mut self.seen);
        denials.iter().try_for_each(Denial::was_expected)?;
        Ok(denials)
    }

    /// Reads all that was denied until now. The kernel writes denials down in their order, and
    /// some time later: one of our own is the end.
    fn read_all(&mut self) -> Result<()> {
        let denied = fs::symlink_metadata(BARRIER);
        let denied = denied.is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied);
        ensure!(denied, "we may look at {BARRIER}, or it is not there");
        let began = Instant::now();
        loop {
            self.read()?;
            if let Some(end) = self.seen.iter().position(|denial| denial.object == BARRIER_TYPE) {
                return self.seen.remove(end).was_expected();
            }
            ensure!(began.elapsed() < PATIENCE, "our own denial is not in the log");
            std::thread::yield_now();
        }
    }

    /// Reads to the end of the log.
    fn read(&mut self) -> Result<()> {
        // One record a read (Documentation/ABI/testing/dev-kmsg).
        let mut record = vec![0; 8192];
        loop {
            match self.log.read(&mut record) {
                Ok(length) => {
                    let text = String::from_utf8_lossy(&record[..length]).into_owned();
                    self.seen.extend(Denial::parse(text.lines().next().unwrap_or_default()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Records were overwritten while nobody read them.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                    bail!("the kernel's log ran over")
                }
                Err(error) => return Err(error).context("cannot read /dev/kmsg"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALL: &str =
        "[   12.3] audit: type=1400 audit(1700000000.123:45): avc:  denied  { call } \
                        for  pid=77 comm=\"berth-peer\" scontext=u:r:shell:s0 \
                        tcontext=u:r:hal_berth_allocator_default:s0 tclass=binder permissive=0";

    #[test]
    fn a_denial_is_read_as_the_rule_that_lacks() {
        let denial = Denial::parse(CALL).unwrap();
        assert_eq!(denial.to_string(), "shell hal_berth_allocator_default:binder { call }");
        assert_eq!(denial.id, "audit(1700000000.123:45)");
        assert!(!denial.permissive);
        assert!(Denial::parse(&CALL.replace("permissive=0", "permissive=1")).unwrap().permissive);
        assert_eq!(Denial::parse("audit: type=1403 audit(1.2:3): policy loaded"), None);
    }

    #[test]
    fn only_the_denial_that_was_expected_is_left_out() {
        let other = CALL.replace(":45)", ":46)");
        let expected = format!("[1] {EXPECTED}audit(1700000000.123:45)");
        let log = [CALL, &other, &expected, "[2] something else"];
        assert_eq!(unexpected(log.into_iter()), [other.as_str()]);
        assert_eq!(unexpected([CALL].into_iter()), [CALL]);
        let permissive = CALL.replace("permissive=0", "permissive=1");
        assert_eq!(unexpected([permissive.as_str(), &expected].into_iter()).len(), 1);
        // What cannot be read is not lost.
        assert_eq!(unexpected(["avc:  denied  ???"].into_iter()).len(), 1);
    }
}
