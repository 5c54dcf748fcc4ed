// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Terminals (ioctl_tty(2)).

use std::os::fd::{AsFd, AsRawFd};

use nix::libc;

mod ioctl {
    nix::ioctl_read_bad! {
        /// `TIOCGWINSZ`.
        window_size, nix::libc::TIOCGWINSZ, nix::libc::winsize
    }
}

/// How many rows a terminal shows; `None` of anything else, and of one that does not know.
pub fn rows(terminal: impl AsFd) -> Option<u16> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the descriptor is open for as long as it is borrowed, and the kernel writes one `winsize`
    // at most, which is there and ours.
    let told = unsafe { ioctl::window_size(terminal.as_fd().as_raw_fd(), &mut size) };
    told.ok().map(|_| size.ws_row).filter(|rows| *rows > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::pty::openpty;

    #[test]
    fn a_terminal_says_how_many_rows_it_shows_and_nothing_else_does() {
        let size = libc::winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        assert_eq!(rows(openpty(Some(&size), None).unwrap().slave), Some(24));
        assert_eq!(rows(openpty(None, None).unwrap().slave), None);
        assert_eq!(rows(std::fs::File::open("/dev/null").unwrap()), None);
    }
}
