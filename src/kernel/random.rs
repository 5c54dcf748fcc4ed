// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Random bits that nobody can guess (random(4)).

use std::fs::File;
use std::io::Read;

use crate::KernelError;

const PATH: &str = "/dev/urandom";

/// The kernel's random number generator.
#[derive(Debug)]
pub struct Random(File);

impl Random {
    /// Opens the generator, once for many draws.
    pub fn open() -> Result<Random, KernelError> {
        File::open(PATH).map(Random).map_err(KernelError::io(|| format!("open {PATH}")))
    }

    /// Draws a 64-bit number.
    pub fn draw(&self) -> Result<u64, KernelError> {
        let mut bytes = [0; 8];
        (&self.0).read_exact(&mut bytes).map_err(KernelError::io(|| format!("read {PATH}")))?;
        Ok(u64::from_ne_bytes(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn draws_differ() {
        let random = Random::open().unwrap();
        let drawn: HashSet<u64> = (0..1000).map(|_| random.draw().unwrap()).collect();
        assert_eq!(drawn.len(), 1000);
    }
}
