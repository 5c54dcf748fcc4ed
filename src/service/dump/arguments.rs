// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! What a dump is asked for.

/// The dump's help.
pub(super) const HELP: &str = "\
Arguments of the dump:
  (none)      figures, limits, heaps, refusals and uids; sessions, each with its buffers
  --sessions  sessions without their buffers
  --buffers   all buffers of all sessions, the largest first; with --sessions, after them
  --uid N     only this uid and its sessions; figures, limits and heaps are the service's still
  --json      one line of JSON
  -a          nothing more (dumpsys says it when it asks every service)
  --help      this text

A buffer that others acquired is one of theirs too, with the role \"taker\"; its memory counts once.
The slots of a pool are buffers of the session that made it, with the role \"slot\" and the pool's id
there; who takes part in the pool are their takers.

Keys of the JSON; later versions only add some. Sizes are bytes, ages milliseconds.
  totals       sessions, buffers, bytes, tokens (that can be used), pools, pool_slots,
               pool_participants, pool_pages_bytes (beside the slots, and in no heap), and since the
               start:
               allocated_buffers, recycled_buffers, refusals, abandoned_sessions (without close),
               abandoned_buffers (closed by their clients, never freed), purged_bytes; now:
               purgeable_bytes (of such regions), unpinned_bytes (of their chunks), lingering_buffers,
               lingering_bytes (given up, still held), idle_buffers, idle_bytes, cleared_buffers (of
               the idle ones), pressure (0 normal, 1 moderate, 2 critical)
  limits       buffer_bytes, session_bytes, session_buffers, session_descriptors, uid_bytes,
               uid_buffers, uid_descriptors, service_bytes, service_descriptors, reserve_bytes
  heaps        [name, class, dma_buf, present, max_buffer_bytes, buffers, bytes (in use)]
  refusals_by_cause  how often, by the name in AllocatorError
  latencies    by operation: count, p50_us, p90_us, p99_us, max_us, in microseconds
  lingering    [name, heap, bytes, charged_uid, device, inode, takers]: given up and still held
  notices      sent and refused (calls to clients since the start), waiting (sessions whose news wait),
               held_up (threads that wait for a client to read)
  pressure     source of what is known beside MemAvailable (\"trigger\" with window_ms, \"readings\", or
               \"available\" if there is none), changes: [level, age_ms], the latest first
  uids         [uid, sessions, buffers, acquired (others pay for them), bytes, descriptors (of the
               service)], the largest first
  sessions     [id, name, uid, pid, age_ms, owned, acquired, descriptors (of the service), bytes,
               buffers]
  buffers      of a session, or of all: [id, name, kind, heap, bytes, descriptors (of the service),
               device, inode, sealed, age_ms, role, pool (or 0), charged_uid, takers (how often it is acquired), taken_by (the
               sessions that did, at most 32; none with the role \"taker\") and taken_by_more (how
               many besides), tokens]; of all with session, session_name, uid, pid
";

/// What a dump shows, and how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Arguments {
    /// The sessions.
    pub(super) sessions: bool,
    /// Under each session, what it holds.
    pub(super) buffers_of_sessions: bool,
    /// The buffers of all sessions in one list.
    pub(super) buffers: bool,
    /// Of this uid only.
    pub(super) uid: Option<u32>,
    /// For programs.
    pub(super) json: bool,
    /// Only what there is to ask for.
    pub(super) help: bool,
}

impl Arguments {
    /// Reads them. The error is one line that says what is wrong.
    pub(super) fn parse(args: &[&str]) -> Result<Arguments, String> {
        let mut asked = Arguments::default();
        let mut args = args.iter().copied();
        while let Some(arg) = args.next() {
            match arg {
                "--sessions" => asked.sessions = true,
                "--buffers" => asked.buffers = true,
                "--json" => asked.json = true,
                "--help" | "-h" => asked.help = true,
                "-a" => {}
                "--uid" => asked.uid = Some(uid(args.next().unwrap_or_default())?),
                other => match other.strip_prefix("--uid=") {
                    Some(value) => asked.uid = Some(uid(value)?),
                    None => return Err(format!("unknown argument {other:?}")),
                },
            }
        }
        if !asked.sessions && !asked.buffers {
            (asked.sessions, asked.buffers_of_sessions) = (true, true);
        }
        Ok(asked)
    }
}

fn uid(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| format!("--uid takes a number, not {text:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_arguments_sessions_are_shown_with_their_buffers() {
        let everything =
            Arguments { sessions: true, buffers_of_sessions: true, ..Arguments::default() };
        assert_eq!(Arguments::parse(&[]), Ok(everything));
        assert_eq!(Arguments::parse(&["-a"]), Ok(everything));
        let json = Arguments { json: true, uid: Some(7), ..everything };
        assert_eq!(Arguments::parse(&["--json", "--uid", "7"]), Ok(json));
        assert_eq!(Arguments::parse(&["--uid=7", "--json"]), Ok(json));
    }

    #[test]
    fn sessions_and_buffers_choose_and_combine() {
        let none = Arguments::default();
        let sessions = Arguments { sessions: true, ..none };
        assert_eq!(Arguments::parse(&["--sessions"]), Ok(sessions));
        assert_eq!(Arguments::parse(&["--buffers"]), Ok(Arguments { buffers: true, ..none }));
        let both = Arguments { buffers: true, ..sessions };
        assert_eq!(Arguments::parse(&["--buffers", "--sessions"]), Ok(both));
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for (args, named) in [
            (&["--jsno"][..], "--jsno"),
            (&["--json", "everything"], "everything"),
            (&["--uid"], "number"),
            (&["--uid", "-1"], "-1"),
            (&["--uid=system"], "system"),
        ] {
            let error = Arguments::parse(args).unwrap_err();
            assert!(error.contains(named), "{args:?}: {error}");
        }
    }

    #[test]
    fn the_help_has_every_argument() {
        for argument in ["--sessions", "--buffers", "--uid N", "--json", "-a", "--help"] {
            assert!(HELP.contains(&format!("\n  {argument} ")), "{argument}");
        }
    }
}
