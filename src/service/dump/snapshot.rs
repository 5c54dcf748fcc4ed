// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Copies of what the service holds, in pieces. Between two pieces nothing is locked, and only weak
//! references are kept: what a client gives up meanwhile is gone, and is not shown.

use std::cmp::Reverse;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use serde::Serialize;

use crate::accounts::Used;
use crate::heap::Heap;
use crate::latency::Quantiles;
use crate::memory::{Memory, TakenBy};
use crate::notices;
use crate::pools::PoolView;
use crate::pressure::{Level, Source};
use crate::request::Shape;
use crate::service::Service;
use crate::session::{Holding, Role, Session};
use crate::tokens::Tokens;

/// How many buffers are copied under one lock of their session.
pub(super) const PIECE: usize = 128;

/// How many sessions are named that take part in a buffer.
pub(super) const NAMED_TAKERS: usize = 32;

/// Everything but sessions and buffers.
#[derive(Debug)]
pub(super) struct Overview {
    pub(super) totals: Totals,
    pub(super) limits: ShownLimits,
    pub(super) heaps: Vec<ShownHeap>,
    pub(super) refusals_by_cause: BTreeMap<&'static str, u64>,
    /// The largest first.
    pub(super) uids: Vec<ShownUid>,
    /// By operation.
    pub(super) latencies: BTreeMap<&'static str, ShownLatency>,
    /// What was given up and is held by somebody.
    pub(super) lingering: Vec<ShownLingering>,
    pub(super) notices: notices::Figures,
    pub(super) pressure: ShownPressure,
}

/// How long calls took in the service, in microseconds.
#[derive(Debug, Serialize)]
pub(super) struct ShownLatency {
    pub(super) count: u64,
    pub(super) p50_us: u64,
    pub(super) p90_us: u64,
    pub(super) p99_us: u64,
    pub(super) max_us: u64,
}

/// How short memory is and was.
#[derive(Debug, Serialize)]
pub(super) struct ShownPressure {
    /// "trigger", "readings" or "available".
    pub(super) source: &'static str,
    /// The trigger's window; 0 without one.
    pub(super) window_ms: u64,
    /// The same for people.
    #[serde(skip)]
    pub(super) told_by: String,
    /// The latest first.
    pub(super) changes: Vec<ShownChange>,
}

#[derive(Debug, Serialize)]
pub(super) struct ShownChange {
    pub(super) level: &'static str,
    pub(super) age_ms: u64,
}

impl ShownPressure {
    fn take(service: &Service) -> ShownPressure {
        let source = service.pressure_history.source();
        let (name, window) = match source {
            Source::Trigger(window) => ("trigger", window),
            Source::Readings => ("readings", Duration::ZERO),
            Source::Nothing => ("available", Duration::ZERO),
        };
        let whole = |age: Duration| u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        let changes = service.pressure_history.changes();
        let shown = |(age, level)| ShownChange { level: level_name(level), age_ms: whole(age) };
        ShownPressure {
            source: name,
            window_ms: whole(window),
            told_by: source.to_string(),
            changes: changes.into_iter().map(shown).collect(),
        }
    }
}

fn level_name(level: Level) -> &'static str {
    match level {
        Level::Normal => "normal",
        Level::Moderate => "moderate",
        Level::Critical => "critical",
    }
}

/// Memory that was given up and is not gone.
#[derive(Debug, Serialize)]
pub(super) struct ShownLingering {
    pub(super) name: String,
    pub(super) heap: String,
    pub(super) bytes: u64,
    pub(super) charged_uid: u32,
    pub(super) device: u64,
    pub(super) inode: u64,
    /// How often sessions acquired it and hold it; others do by descriptors and mappings.
    pub(super) takers: usize,
}

#[derive(Debug, Serialize)]
pub(super) struct Totals {
    pub(super) sessions: u64,
    pub(super) buffers: u64,
    pub(super) bytes: u64,
    pub(super) tokens: u64,
    pub(super) pools: u64,
    /// Of all pools together.
    pub(super) pool_slots: u64,
    pub(super) pool_participants: u64,
    /// What participants share beside the slots.
    pub(super) pool_pages_bytes: u64,
    pub(super) allocated_buffers: u64,
    pub(super) refusals: u64,
    pub(super) abandoned_sessions: u64,
    pub(super) lingering_buffers: u64,
    pub(super) lingering_bytes: u64,
    pub(super) idle_buffers: u64,
    pub(super) cleared_buffers: u64,
    pub(super) idle_bytes: u64,
    pub(super) recycled_buffers: u64,
    /// Of purgeable regions, whatever is in them.
    pub(super) purgeable_bytes: u64,
    /// Of them, chunks that nobody pins.
    pub(super) unpinned_bytes: u64,
    pub(super) purged_bytes: u64,
    pub(super) abandoned_buffers: u64,
    /// 0 normal, 1 moderate, 2 critical.
    pub(super) pressure: u32,
}

#[derive(Debug, Serialize)]
pub(super) struct ShownLimits {
    pub(super) buffer_bytes: u64,
    pub(super) session_bytes: u64,
    pub(super) session_buffers: u64,
    pub(super) session_descriptors: u64,
    pub(super) uid_bytes: u64,
    pub(super) uid_buffers: u64,
    pub(super) uid_descriptors: u64,
    pub(super) service_bytes: u64,
    pub(super) service_descriptors: u64,
    pub(super) reserve_bytes: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct ShownHeap {
    pub(super) name: String,
    pub(super) class: String,
    pub(super) dma_buf: bool,
    /// Whether buffers can be had from it; memory of a heap that went away stays.
    pub(super) present: bool,
    pub(super) max_buffer_bytes: u64,
    pub(super) buffers: u64,
    pub(super) bytes: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct ShownUid {
    pub(super) uid: u32,
    pub(super) sessions: u64,
    pub(super) buffers: u64,
    /// Buffers that its sessions acquired, which others pay for.
    pub(super) acquired: u64,
    pub(super) bytes: u64,
    /// Of the service, kept for its buffers.
    pub(super) descriptors: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct ShownSession {
    pub(super) id: i64,
    pub(super) name: String,
    pub(super) uid: u32,
    pub(super) pid: i32,
    pub(super) age_ms: u64,
    pub(super) owned: u64,
    pub(super) acquired: u64,
    /// Of the service, kept for its buffers and pools.
    pub(super) descriptors: u64,
    /// Of those that it owns.
    pub(super) bytes: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct ShownBuffer {
    pub(super) id: i64,
    pub(super) name: String,
    pub(super) kind: &'static str,
    pub(super) heap: String,
    pub(super) bytes: u64,
    /// That the service keeps of it.
    pub(super) descriptors: u64,
    pub(super) device: u64,
    pub(super) inode: u64,
    pub(super) sealed: bool,
    pub(super) age_ms: u64,
    pub(super) role: &'static str,
    /// Of whose slots it is one; 0 of any other buffer.
    pub(super) pool: i64,
    pub(super) charged_uid: u32,
    /// How often it is acquired.
    pub(super) takers: usize,
    /// The sessions that acquired it, with the owner's entry only and no more than [`NAMED_TAKERS`]; of
    /// a slot those of the other participants.
    pub(super) taken_by: Vec<i64>,
    /// How many sessions those are not.
    pub(super) taken_by_more: usize,
    pub(super) tokens: usize,
}

/// A buffer with the session that holds it.
#[derive(Debug, Serialize)]
pub(super) struct ShownAlone {
    pub(super) session: i64,
    pub(super) session_name: String,
    pub(super) uid: u32,
    pub(super) pid: i32,
    #[serde(flatten)]
    pub(super) buffer: ShownBuffer,
}

fn milliseconds(since: std::time::Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

impl Overview {
    /// Takes it; with a uid, the uids are only that one.
    pub(super) fn take(service: &Service, uid: Option<u32>) -> Overview {
        let stats = super::stats(service);
        let (pools, in_pools) = service.pools.figures();
        let limits = service.accounts.limits();
        let count = |value: i32| u64::from(value.unsigned_abs());
        let mut uids: Vec<_> = service
            .accounts
            .uids()
            .into_iter()
            .filter(|(each, _)| uid.map_or(true, |uid| uid == *each))
            .map(|(uid, Used { sessions, buffers, taken, bytes, descriptors })| ShownUid {
                uid,
                sessions,
                buffers,
                acquired: taken,
                bytes,
                descriptors,
            })
            .collect();
        uids.sort_by_key(|shown| Reverse(shown.bytes));
        Overview {
            totals: Totals {
                sessions: count(stats.sessions),
                buffers: count(stats.buffers),
                bytes: stats.bytes.unsigned_abs(),
                tokens: count(stats.tokens),
                allocated_buffers: stats.allocatedBuffers.unsigned_abs(),
                refusals: stats.refusals.unsigned_abs(),
                abandoned_sessions: stats.abandonedSessions.unsigned_abs(),
                lingering_buffers: count(stats.lingeringBuffers),
                lingering_bytes: stats.lingeringBytes.unsigned_abs(),
                idle_buffers: count(stats.idleBuffers),
                cleared_buffers: count(stats.clearedBuffers),
                idle_bytes: stats.idleBytes.unsigned_abs(),
                purgeable_bytes: stats.purgeableBytes.unsigned_abs(),
                unpinned_bytes: service.purger.unpinned_bytes(),
                purged_bytes: stats.purgedBytes.unsigned_abs(),
                recycled_buffers: stats.recycledBuffers.unsigned_abs(),
                pools: pools as u64,
                pool_slots: in_pools.slots.into(),
                pool_participants: in_pools.participants.into(),
                pool_pages_bytes: in_pools.pages_bytes,
                abandoned_buffers: stats.abandonedBuffers.unsigned_abs(),
                pressure: service.pressure.load(Ordering::Relaxed),
            },
            limits: ShownLimits {
                buffer_bytes: limits.buffer_bytes,
                session_bytes: limits.session_bytes,
                session_buffers: limits.session_buffers,
                session_descriptors: limits.session_descriptors,
                uid_bytes: limits.uid_bytes,
                uid_buffers: limits.uid_buffers,
                uid_descriptors: limits.uid_descriptors,
                service_bytes: limits.service_bytes,
                service_descriptors: limits.service_descriptors,
                reserve_bytes: limits.reserve_bytes,
            },
            heaps: heaps(service),
            refusals_by_cause: service.counters.refusals.by_cause().collect(),
            uids,
            latencies: latencies(service),
            lingering: lingering(service, uid),
            notices: service.notices.figures(),
            pressure: ShownPressure::take(service),
        }
    }
}

fn latencies(service: &Service) -> BTreeMap<&'static str, ShownLatency> {
    let microseconds = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    let shown = |(name, seen): (&'static str, Quantiles)| {
        let latency = ShownLatency {
            count: seen.count,
            p50_us: microseconds(seen.p50),
            p90_us: microseconds(seen.p90),
            p99_us: microseconds(seen.p99),
            max_us: microseconds(seen.max),
        };
        (name, latency)
    };
    service.operations.seen().map(shown).collect()
}

fn lingering(service: &Service, uid: Option<u32>) -> Vec<ShownLingering> {
    let all = service.reclaimer.lingering().flatten();
    all.filter(|memory| uid.map_or(true, |uid| uid == memory.uid()))
        .map(|memory| ShownLingering {
            name: memory.request.name.clone(),
            heap: memory.heap.name.clone(),
            bytes: memory.bytes,
            charged_uid: memory.uid(),
            device: memory.identity.map_or(0, |identity| identity.device),
            inode: memory.identity.map_or(0, |identity| identity.inode),
            takers: memory.takers(),
        })
        .collect()
}

/// The heaps in their order of preference, with what is in use of each; after them, those that went
/// away and left memory behind.
fn heaps(service: &Service) -> Vec<ShownHeap> {
    let shown = |heap: &Heap, present| ShownHeap {
        name: heap.name.clone(),
        class: heap.class.to_string(),
        dma_buf: heap.gives_dma_bufs(),
        present,
        max_buffer_bytes: heap.max_bytes,
        buffers: 0,
        bytes: 0,
    };
    let mut heaps: Vec<_> = service.heaps().iter().map(|heap| shown(heap, true)).collect();
    for (name, InUse { heap, buffers, bytes }) in in_use(service) {
        let place = heaps.iter().position(|heap| heap.name == name).unwrap_or_else(|| {
            heaps.push(shown(&heap, false));
            heaps.len().saturating_sub(1)
        });
        if let Some(heap) = heaps.get_mut(place) {
            (heap.buffers, heap.bytes) = (buffers, bytes);
        }
    }
    heaps
}

struct InUse {
    heap: Arc<Heap>,
    buffers: u64,
    bytes: u64,
}

/// What is in use, by the name of the heap; memory that several sessions hold counts once.
fn in_use(service: &Service) -> BTreeMap<String, InUse> {
    let mut heaps: BTreeMap<String, InUse> = BTreeMap::new();
    let mut without_owner: HashMap<*const Memory, Weak<Memory>> = HashMap::new();
    for session in sessions(service, None) {
        let in_pools = session.slots().map(|(_, slot)| slot);
        for (_, Holding { memory, role }) in in_pools.chain(session.pieces().flatten()) {
            // It is its owner's, as long as the owner has it.
            let counts = match role {
                Role::Owner(_) => true,
                Role::Taker(_) if !memory.is_given_up() => false,
                // The weak reference keeps the address from being used again.
                Role::Taker(_) => {
                    without_owner.insert(Arc::as_ptr(&memory), Arc::downgrade(&memory)).is_none()
                }
            };
            if !counts {
                continue;
            }
            let entry = match heaps.entry(memory.heap.name.clone()) {
                Entry::Occupied(entry) => entry.into_mut(),
                Entry::Vacant(entry) => {
                    entry.insert(InUse { heap: memory.heap.clone(), buffers: 0, bytes: 0 })
                }
            };
            entry.buffers = entry.buffers.saturating_add(1);
            entry.bytes = entry.bytes.saturating_add(memory.bytes);
        }
    }
    heaps
}

/// The sessions, of one uid or all, by id.
pub(super) fn sessions(service: &Service, uid: Option<u32>) -> impl Iterator<Item = View> {
    let sessions = service.sessions();
    let chosen = sessions.iter().filter(|session| uid.map_or(true, |uid| uid == session.uid));
    let weak: Vec<_> = chosen.map(|session| (session.id, Arc::downgrade(session))).collect();
    let mut pools: BTreeMap<i64, Vec<Arc<PoolView>>> = BTreeMap::new();
    for pool in service.pools.views() {
        pools.entry(pool.owner).or_default().push(Arc::new(pool));
    }
    weak.into_iter().map(move |(id, session)| {
        let pools = pools.remove(&id).unwrap_or_default();
        View { session, pools }
    })
}

/// A session that may end while it is looked at.
#[derive(Debug)]
pub(super) struct View {
    session: Weak<Session>,
    /// Those that it made.
    pools: Vec<Arc<PoolView>>,
}

impl View {
    /// The session itself; `None` if it has ended.
    pub(super) fn shown(&self) -> Option<ShownSession> {
        let session = self.session.upgrade()?;
        let held = session.held().ok()?;
        Some(ShownSession {
            id: session.id,
            name: session.name.clone(),
            uid: session.uid,
            pid: session.pid,
            age_ms: milliseconds(session.since),
            owned: held.owned,
            acquired: held.taken,
            descriptors: held.descriptors,
            bytes: held.bytes,
        })
    }

    /// The slots of its pools. They are to be seen before what it holds by itself: a buffer becomes a
    /// slot, and no slot becomes anything else, so none is seen twice.
    fn slots(&self) -> impl Iterator<Item = (&Arc<PoolView>, (i64, Holding))> {
        self.pools.iter().flat_map(|pool| pool.buffers().into_iter().map(move |slot| (pool, slot)))
    }

    /// What it holds by itself, by id, in pieces that each keep what is in them alive.
    fn pieces(&self) -> impl Iterator<Item = Vec<(i64, Holding)>> + '_ {
        let mut after = 0;
        std::iter::from_fn(move || {
            let piece = self.session.upgrade()?.list(after, PIECE).ok()?;
            after = piece.last()?.0;
            Some(piece)
        })
    }

    /// What it holds: the slots of its pools, then the others, by id.
    pub(super) fn buffers<'a>(
        &'a self,
        tokens: &'a Tokens,
    ) -> impl Iterator<Item = ShownBuffer> + 'a {
        let shown = move |pool: Option<&PoolView>, (id, holding): &(i64, Holding)| {
            ShownBuffer::of(*id, &holding.memory, &holding.role, tokens).in_pool(pool)
        };
        // A piece is dropped before its first buffer is written, and so is a pool's.
        let of_pool = move |pool: &PoolView| -> Vec<ShownBuffer> {
            pool.buffers().iter().map(|slot| shown(Some(pool), slot)).collect()
        };
        let slots = self.pools.iter().flat_map(move |pool| of_pool(pool));
        let alone = self
            .pieces()
            .flat_map(move |piece| piece.iter().map(|one| shown(None, one)).collect::<Vec<_>>());
        slots.chain(alone)
    }
}

impl ShownBuffer {
    fn of(id: i64, memory: &Memory, role: &Role, tokens: &Tokens) -> ShownBuffer {
        // Once, or what is shown would grow with the square of what is in the books.
        let taken_by = match role {
            Role::Owner(_) => memory.taken_by(NAMED_TAKERS),
            Role::Taker(_) => TakenBy::default(),
        };
        ShownBuffer {
            id,
            name: memory.request.name.clone(),
            kind: match memory.request.shape {
                Shape::Linear(_) => "buffer",
                Shape::Image(..) => "image",
                Shape::Region(_) => "region",
            },
            heap: memory.heap.name.clone(),
            bytes: memory.bytes,
            descriptors: memory.descriptors(),
            device: memory.identity.map_or(0, |identity| identity.device),
            inode: memory.identity.map_or(0, |identity| identity.inode),
            sealed: memory.is_sealed(),
            age_ms: milliseconds(memory.since),
            role: if matches!(role, Role::Owner(_)) { "owner" } else { "taker" },
            pool: 0,
            charged_uid: memory.uid(),
            takers: memory.takers(),
            taken_by: taken_by.some,
            taken_by_more: taken_by.more,
            tokens: match role {
                Role::Owner(given) if !given.is_empty() => {
                    let mut usable = given.clone();
                    tokens.sweep(&mut usable);
                    usable.len()
                }
                _ => 0,
            },
        }
    }

    /// The same as a slot, if it is one: others take part in the pool, not in the buffer.
    fn in_pool(self, pool: Option<&PoolView>) -> ShownBuffer {
        let Some(pool) = pool else { return self };
        let (takers, taken_by) = (pool.others.len(), pool.others.clone());
        ShownBuffer { role: "slot", pool: pool.id, takers, taken_by, ..self }
    }
}

/// The place of a buffer in the list of all, and what it takes to show it.
struct Ranked {
    bytes: u64,
    id: i64,
    /// Which of the sessions that were seen.
    session: usize,
    pool: Option<Arc<PoolView>>,
    role: Role,
    memory: Weak<Memory>,
}

/// The buffers of all sessions, of one uid or all, the largest first.
pub(super) fn largest_first<'a>(
    service: &'a Service,
    uid: Option<u32>,
) -> impl Iterator<Item = ShownAlone> + 'a {
    let mut seen: Vec<ShownSession> = Vec::new();
    let mut ranked: Vec<Ranked> = Vec::new();
    for view in sessions(service, uid) {
        let Some(shown) = view.shown() else { continue };
        let session = seen.len();
        seen.push(shown);
        let slots = view.slots().map(|(pool, slot)| (Some(pool.clone()), slot));
        let alone = view.pieces().flatten().map(|one| (None, one));
        ranked.extend(slots.chain(alone).map(|(pool, (id, Holding { memory, role }))| Ranked {
            bytes: memory.bytes,
            id,
            session,
            pool,
            role,
            memory: Arc::downgrade(&memory),
        }));
    }
    ranked.sort_unstable_by_key(|ranked| (Reverse(ranked.bytes), ranked.id));
    ranked.into_iter().filter_map(move |Ranked { id, session, pool, role, memory, .. }| {
        let memory = memory.upgrade()?;
        let session = seen.get(session)?;
        Some(ShownAlone {
            session: session.id,
            session_name: session.name.clone(),
            uid: session.uid,
            pid: session.pid,
            buffer: ShownBuffer::of(id, &memory, &role, &service.tokens).in_pool(pool.as_deref()),
        })
    })
}
