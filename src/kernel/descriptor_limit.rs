// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! How many descriptors this process may have open (`RLIMIT_NOFILE`, getrlimit(2)). AOSP builds
//! nix without its `resource` feature, so these are libc's calls.

use nix::errno::Errno;
use nix::libc::{getrlimit, rlimit, setrlimit, RLIMIT_NOFILE};

use crate::KernelError;

/// Raises the limit as far as the process may and returns it.
pub fn raise() -> Result<u64, KernelError> {
    let context = || "raise the limit of open descriptors".to_owned();
    let mut limit = rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a live, exclusive `struct rlimit`, which is what the call writes.
    let read = unsafe { getrlimit(RLIMIT_NOFILE, &mut limit) };
    Errno::result(read).map_err(KernelError::context(context))?;
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: the call only reads `limit`.
    let raised = unsafe { setrlimit(RLIMIT_NOFILE, &limit) };
    Errno::result(raised).map_err(KernelError::context(context))?;
    // 32 bits wide on some architectures.
    #[allow(clippy::useless_conversion)]
    Ok(u64::from(limit.rlim_max))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_limit_is_raised_to_what_is_allowed() {
        let limit = super::raise().unwrap();
        assert_eq!(super::raise().unwrap(), limit);
        assert!(limit >= 256);
    }
}
