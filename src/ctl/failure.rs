// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! What can go wrong, and the exit code that says so.

use std::io;
use std::path::PathBuf;

use berth_client::Error;

/// Why a command failed.
#[derive(Debug)]
pub enum Failure {
    /// What the client library says.
    Client(Error),
    /// Standard output could not be written.
    Output(io::Error),
    /// A file that was named.
    File(PathBuf, io::Error),
    /// The arguments contradict what is there.
    Usage(String),
    /// Something else.
    Other(String),
}

impl Failure {
    /// The exit code, as `berthctl --help` lists them.
    pub fn exit_code(&self) -> u8 {
        match self {
            Failure::Client(Error::Refused { .. } | Error::MayNotDump) => 1,
            Failure::Client(Error::BadDumpArguments) | Failure::Usage(_) => 2,
            Failure::Client(Error::NotFound { .. } | Error::ServiceDied(_)) => 3,
            Failure::Client(_) | Failure::Output(_) | Failure::File(..) | Failure::Other(_) => 4,
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Failure::Client(error) => error.fmt(f),
            Failure::Output(error) => write!(f, "standard output: {error}"),
            Failure::File(path, error) => write!(f, "{}: {error}", path.display()),
            Failure::Usage(message) | Failure::Other(message) => f.write_str(message),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Client(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::Output(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use berth_client::RefusalCode;
    use std::time::Duration;

    #[test]
    fn the_exit_code_tells_refusal_usage_and_absence_apart() {
        let (name, last) = (String::new(), String::new());
        let refused = Error::Refused { code: RefusalCode::BAD_TOKEN, message: String::new() };
        let not_found = Error::NotFound { name, within: Duration::ZERO, last };
        for (failure, code) in [
            (Failure::Client(refused), 1),
            (Failure::Client(Error::MayNotDump), 1),
            (Failure::Client(Error::BadDumpArguments), 2),
            (Failure::Usage(String::new()), 2),
            (Failure::Client(not_found), 3),
            (Failure::Client(Error::ServiceDied(String::new())), 3),
            (Failure::Client(Error::Transport(String::new())), 4),
            (Failure::Other(String::new()), 4),
        ] {
            assert_eq!(failure.exit_code(), code, "{failure:?}");
        }
    }
}
