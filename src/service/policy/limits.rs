// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! The `limit` and `uid` lines, and what becomes of them on a machine.
//!
//! Limits lie within each other: a buffer's in a session's, a session's in its uid's, a uid's in the
//! service's, the service's in what the machine has. A line that breaks this is refused by name. A
//! limit that no line states gives way: it follows the one that contains it down.

use std::collections::BTreeMap;
use std::fmt;

use super::amount::Amount;
use super::error::{PolicyError, PolicyProblem};
use crate::accounts::Limits;

/// A value and the line that states it. Two are equal if they say the same, wherever they stand.
#[derive(Debug, Clone, Copy)]
pub struct Stated<T> {
    /// What it says.
    pub value: T,
    /// The line of the file, from 1.
    pub line: usize,
}

impl<T: PartialEq> PartialEq for Stated<T> {
    fn eq(&self, other: &Stated<T>) -> bool {
        self.value == other.value
    }
}

impl<T: Eq> Eq for Stated<T> {}

/// A field of [`Limits`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LimitKey {
    /// [`Limits::buffer_bytes`].
    BufferBytes,
    /// [`Limits::session_bytes`].
    SessionBytes,
    /// [`Limits::session_buffers`].
    SessionBuffers,
    /// [`Limits::session_descriptors`].
    SessionDescriptors,
    /// [`Limits::session_tokens`].
    SessionTokens,
    /// [`Limits::uid_bytes`].
    UidBytes,
    /// [`Limits::uid_buffers`].
    UidBuffers,
    /// [`Limits::uid_descriptors`].
    UidDescriptors,
    /// [`Limits::uid_sessions`].
    UidSessions,
    /// [`Limits::service_bytes`].
    ServiceBytes,
    /// [`Limits::service_descriptors`].
    ServiceDescriptors,
    /// [`Limits::service_sessions`].
    ServiceSessions,
    /// [`Limits::reserve_bytes`].
    ReserveBytes,
    /// [`Limits::idle_bytes`].
    IdleBytes,
    /// [`Limits::idle_buffers`].
    IdleBuffers,
    /// [`Limits::idle_seconds`].
    IdleSeconds,
}

use LimitKey::*;

/// Limits that lie within each other, the widest first.
const NESTED: [&[LimitKey]; 6] = [
    &[ServiceBytes, UidBytes, SessionBytes, BufferBytes],
    &[ServiceDescriptors, UidBuffers, SessionBuffers],
    &[ServiceDescriptors, UidDescriptors, SessionDescriptors],
    &[ServiceSessions, UidSessions],
    &[ServiceBytes, IdleBytes],
    &[ServiceDescriptors, IdleBuffers],
];

impl LimitKey {
    /// All of them, in the order of [`Limits`].
    pub const ALL: [LimitKey; 16] = [
        BufferBytes,
        SessionBytes,
        SessionBuffers,
        SessionDescriptors,
        SessionTokens,
        UidBytes,
        UidBuffers,
        UidDescriptors,
        UidSessions,
        ServiceBytes,
        ServiceDescriptors,
        ServiceSessions,
        ReserveBytes,
        IdleBytes,
        IdleBuffers,
        IdleSeconds,
    ];

    /// What the file calls it.
    pub fn name(self) -> &'static str {
        match self {
            BufferBytes => "buffer-bytes",
            SessionBytes => "session-bytes",
            SessionBuffers => "session-buffers",
            SessionDescriptors => "session-descriptors",
            SessionTokens => "session-tokens",
            UidBytes => "uid-bytes",
            UidBuffers => "uid-buffers",
            UidDescriptors => "uid-descriptors",
            UidSessions => "uid-sessions",
            ServiceBytes => "service-bytes",
            ServiceDescriptors => "service-descriptors",
            ServiceSessions => "service-sessions",
            ReserveBytes => "reserve-bytes",
            IdleBytes => "idle-bytes",
            IdleBuffers => "idle-buffers",
            IdleSeconds => "idle-seconds",
        }
    }

    /// Whether it counts bytes.
    pub(super) fn is_bytes(self) -> bool {
        matches!(
            self,
            BufferBytes | SessionBytes | UidBytes | ServiceBytes | ReserveBytes | IdleBytes
        )
    }

    fn of(self, limits: &Limits) -> u64 {
        let mut limits = *limits;
        *self.of_mut(&mut limits)
    }

    fn of_mut(self, limits: &mut Limits) -> &mut u64 {
        match self {
            BufferBytes => &mut limits.buffer_bytes,
            SessionBytes => &mut limits.session_bytes,
            SessionBuffers => &mut limits.session_buffers,
            SessionDescriptors => &mut limits.session_descriptors,
            SessionTokens => &mut limits.session_tokens,
            UidBytes => &mut limits.uid_bytes,
            UidBuffers => &mut limits.uid_buffers,
            UidDescriptors => &mut limits.uid_descriptors,
            UidSessions => &mut limits.uid_sessions,
            ServiceBytes => &mut limits.service_bytes,
            ServiceDescriptors => &mut limits.service_descriptors,
            ServiceSessions => &mut limits.service_sessions,
            ReserveBytes => &mut limits.reserve_bytes,
            IdleBytes => &mut limits.idle_bytes,
            IdleBuffers => &mut limits.idle_buffers,
            IdleSeconds => &mut limits.idle_seconds,
        }
    }
}

/// The `limit` lines: what differs from the machine's own limits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LimitOverrides(BTreeMap<LimitKey, Stated<Amount>>);

impl LimitOverrides {
    /// What the file says of a limit, if anything.
    pub fn get(&self, key: LimitKey) -> Option<Stated<Amount>> {
        self.0.get(&key).copied()
    }

    /// Notes what a line says.
    pub(super) fn state(&mut self, key: LimitKey, stated: Stated<Amount>) {
        self.0.insert(key, stated);
    }

    /// The limits of a machine of `total_memory` bytes after the policy. `machine` has those that it
    /// would have without one: a line raises or lowers them, but never the service's buffers above
    /// what its descriptors allow, nor its bytes above what the reserve leaves of the memory.
    ///
    /// What no line states is lowered where it would pass the limit that contains it; a uid's, that
    /// nobody can have everything unless a line says so, to half of the service's where it would
    /// reach that. The buffers that a line gives a uid or a session come with a descriptor each, unless
    /// a line says how many of those there are.
    ///
    /// # Errors
    ///
    /// [`PolicyProblem::Above`] for a line that asks for more than what contains it has.
    pub fn apply(&self, machine: Limits, total_memory: u64) -> Result<Limits, PolicyError> {
        let mut limits = machine;
        for (key, stated) in &self.0 {
            *key.of_mut(&mut limits) = stated.value.on(total_memory);
        }
        let most = total_memory.saturating_sub(1);
        self.fit(&mut limits, ReserveBytes, most, "what the machine has")?;
        let left = total_memory.saturating_sub(limits.reserve_bytes);
        self.fit(&mut limits, ServiceBytes, left, "what reserve-bytes leaves of the memory")?;
        let descriptors = machine.service_descriptors;
        self.fit(&mut limits, ServiceDescriptors, descriptors, "what the descriptors allow")?;
        for nested in NESTED {
            for (wide, narrow) in nested.iter().zip(nested.iter().skip(1)) {
                let bound = wide.of(&limits);
                self.fit(&mut limits, *narrow, bound, wide.name())?;
            }
        }
        let states = |key| self.get(key).is_some();
        if states(UidBuffers) && !states(UidDescriptors) {
            limits.uid_descriptors = limits.uid_descriptors.max(limits.uid_buffers);
        }
        if states(SessionBuffers) && !states(SessionDescriptors) {
            let least = limits.session_buffers.min(limits.uid_descriptors);
            limits.session_descriptors = limits.session_descriptors.max(least);
        }
        Ok(limits)
    }

    /// Brings one limit within its bound, or says why not.
    fn fit(
        &self,
        limits: &mut Limits,
        key: LimitKey,
        bound: u64,
        bound_name: &str,
    ) -> Result<(), PolicyError> {
        let value = key.of_mut(limits);
        if let Some(stated) = self.get(key) {
            return within(stated, *value, bound, bound_name).map_err(|problem| {
                key_error(stated.line, format!("limit {}", key.name()), problem)
            });
        }
        let is_uids = matches!(key, UidBytes | UidBuffers | UidDescriptors | UidSessions);
        if is_uids && *value >= bound {
            *value = (bound / 2).max(1).min(bound);
        }
        *value = bound.min(*value);
        Ok(())
    }

    /// Looks for lines that contradict each other on every machine.
    pub(super) fn check(&self) -> Result<(), PolicyError> {
        for nested in NESTED {
            for (at, narrow) in nested.iter().enumerate() {
                let Some(stated) = self.get(*narrow) else { continue };
                for wide in nested.iter().take(at) {
                    self.check_within(stated, *wide).map_err(|problem| {
                        key_error(stated.line, format!("limit {}", narrow.name()), problem)
                    })?;
                }
            }
        }
        Ok(())
    }

    /// Whether an amount surely exceeds what a line says of a wider limit.
    fn check_within(&self, stated: Stated<Amount>, wide: LimitKey) -> Result<(), PolicyProblem> {
        match self.get(wide) {
            Some(bound) if stated.value.surely_exceeds(bound.value) => Err(PolicyProblem::Above {
                value: stated.value.to_string(),
                bound: format!("{}, {} in line {}", wide.name(), bound.value, bound.line),
            }),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for LimitOverrides {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|(key, stated)| writeln!(f, "limit {} {}", key.name(), stated.value))
    }
}

/// The `uid` lines of one uid.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UidOverrides {
    /// Instead of [`Limits::uid_bytes`].
    pub bytes: Option<Stated<Amount>>,
    /// Instead of [`Limits::uid_buffers`].
    pub buffers: Option<Stated<Amount>>,
    /// Instead of [`Limits::uid_descriptors`].
    pub descriptors: Option<Stated<Amount>>,
    /// Instead of [`Limits::uid_sessions`].
    pub sessions: Option<Stated<Amount>>,
}

/// What one uid may have in all its sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UidLimits {
    /// Bytes.
    pub bytes: u64,
    /// Buffers, acquired ones included.
    pub buffers: u64,
    /// Descriptors that the service keeps.
    pub descriptors: u64,
    /// Sessions.
    pub sessions: u64,
}

impl UidLimits {
    /// What a uid may have that no line speaks of.
    pub fn of(limits: &Limits) -> UidLimits {
        UidLimits {
            bytes: limits.uid_bytes,
            buffers: limits.uid_buffers,
            descriptors: limits.uid_descriptors,
            sessions: limits.uid_sessions,
        }
    }
}

impl UidOverrides {
    /// What this uid may have on a machine of `total_memory` bytes, where `limits` are everybody's,
    /// after the policy. It may be more or less than other uids have; each of its sessions stays
    /// within the limits of a session. Buffers come with descriptors as in [`LimitOverrides::apply`].
    ///
    /// # Errors
    ///
    /// [`PolicyProblem::Above`] for more than the service has.
    pub fn apply(
        &self,
        uid: u32,
        limits: &Limits,
        total_memory: u64,
    ) -> Result<UidLimits, PolicyError> {
        let mut own = UidLimits::of(limits);
        for (name, stated, wide, value) in [
            ("bytes", self.bytes, ServiceBytes, &mut own.bytes),
            ("buffers", self.buffers, ServiceDescriptors, &mut own.buffers),
            ("descriptors", self.descriptors, ServiceDescriptors, &mut own.descriptors),
            ("sessions", self.sessions, ServiceSessions, &mut own.sessions),
        ] {
            let Some(stated) = stated else { continue };
            *value = stated.value.on(total_memory);
            within(stated, *value, wide.of(limits), wide.name())
                .map_err(|problem| key_error(stated.line, uid_key(uid, name), problem))?;
        }
        if self.buffers.is_some() && self.descriptors.is_none() {
            own.descriptors = own.descriptors.max(own.buffers);
        }
        Ok(own)
    }

    /// Looks for lines that contradict a limit of the service on every machine.
    pub(super) fn check(&self, uid: u32, limits: &LimitOverrides) -> Result<(), PolicyError> {
        for (name, stated, wide) in [
            ("bytes", self.bytes, ServiceBytes),
            ("buffers", self.buffers, ServiceDescriptors),
            ("descriptors", self.descriptors, ServiceDescriptors),
            ("sessions", self.sessions, ServiceSessions),
        ] {
            let Some(stated) = stated else { continue };
            limits
                .check_within(stated, wide)
                .map_err(|problem| key_error(stated.line, uid_key(uid, name), problem))?;
        }
        Ok(())
    }
}

fn uid_key(uid: u32, name: &str) -> String {
    format!("uid {uid} {name}")
}

fn key_error(line: usize, key: String, problem: PolicyProblem) -> PolicyError {
    PolicyError { line, key, problem }
}

/// Whether what a line states, which is `value` here, stays within a bound.
fn within(
    stated: Stated<Amount>,
    value: u64,
    bound: u64,
    bound_name: &str,
) -> Result<(), PolicyProblem> {
    if value <= bound {
        return Ok(());
    }
    let value = match stated.value {
        Amount::Percent(_) => format!("{}, here {value},", stated.value),
        Amount::Count(_) | Amount::Bytes(_) => value.to_string(),
    };
    Err(PolicyProblem::Above { value, bound: format!("{bound_name}, here {bound}") })
}
