// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! A client that does many things by chance, and keeps books of its own.

use anyhow::{Context, Result};
use berth_client::{Access, Allocator, Buffer, Error, RefusalCode, Session, SharePermit, Token};
use berth_end_to_end::chance::Chance;
use berth_end_to_end::protocol::{Descriptor, Shape, Storm, StormBuffer, StormSession, Stormed};
use std::time::Duration;

use crate::wire;

/// Buffers of one client: of fifty together less than any limit of any machine.
const MOST_BUFFERS: usize = 24;
const MOST_SESSIONS: usize = 3;
/// Longer than any storm.
const LIFETIME: Duration = Duration::from_secs(600);
/// `PixelFormat::RGBA_8888`.
const RGBA_8888: i32 = 1;
/// How much of each end of a buffer is written and looked at.
const WINDOW: usize = 256;

/// The client's own books.
#[derive(Default)]
pub struct Stormer {
    sessions: Vec<Open>,
    opened: usize,
    made: u64,
    inbox: Vec<[u8; 16]>,
    redeemed: Vec<[u8; 16]>,
    allocated: u64,
    refused: u64,
    perhaps_refused: u64,
    wrong: Vec<String>,
}

struct Open {
    name: String,
    session: Session,
    buffers: Vec<Kept>,
}

struct Kept {
    buffer: Buffer,
    acquired: Option<[u8; 16]>,
    tokens: Vec<([u8; 16], u32)>,
}

impl Stormer {
    /// Does what chance says, and answers what the client holds then.
    pub fn storm(&mut self, allocator: &Allocator, ask: Storm) -> Result<Stormed> {
        let mut chance = Chance::new(ask.seed);
        // What was not used in the storm before is forgotten: the test knows what this one may use.
        self.inbox = ask.tokens.clone();
        self.redeemed.clear();
        for _ in 0..ask.steps {
            match self.step(allocator, &mut chance, &ask) {
                Err(error) if ask.restarts && is_death(&error) => {}
                step => step.context("a step of the storm")?,
            }
        }
        for open in &self.sessions {
            self.wrong.extend(open.disagreement()?);
            if ask.restarts {
                self.wrong.extend(open.differences()?);
            }
        }
        Ok(self.books())
    }

    fn step(&mut self, allocator: &Allocator, chance: &mut Chance, ask: &Storm) -> Result<()> {
        if self.sessions.is_empty() {
            return self.open(allocator);
        }
        let at = chance.below(self.sessions.len());
        match chance.below(100) {
            0..=34 if self.held() < MOST_BUFFERS => self.allocate(at, chance),
            0..=54 => self.free(at, chance),
            55..=64 => self.get(at, chance),
            65..=74 => self.look(at, chance),
            75..=82 => self.share(at, chance, &ask.friends),
            83..=91 => self.acquire(at),
            92..=94 if self.sessions.len() < MOST_SESSIONS => self.open(allocator),
            92..=96 => self.close(at, chance),
            _ if ask.mischief => self.ask_for_nonsense(at, chance),
            _ => Ok(()),
        }
    }

    fn held(&self) -> usize {
        self.sessions.iter().map(|open| open.buffers.len()).sum()
    }

    fn open(&mut self, allocator: &Allocator) -> Result<()> {
        self.opened += 1;
        let name = format!("storm {} {}", std::process::id(), self.opened);
        let session = allocator.open_session(&name)?;
        self.sessions.push(Open { name, session, buffers: Vec::new() });
        Ok(())
    }

    fn allocate(&mut self, at: usize, chance: &mut Chance) -> Result<()> {
        self.made += 1;
        // What is written into it follows from its name, so that whoever acquires it knows it too.
        let name = format!("storm {:016x}", chance.draw() ^ self.made);
        let asked = shape(chance).named(name);
        let count = 1 + chance.below(4);
        let open = &mut self.sessions[at];
        let batch = open.session.allocate_descriptor(wire::descriptor(&asked), count as i32)?;
        if batch.len() != count {
            self.wrong.push(format!("{} buffers instead of {count}", batch.len()));
        }
        for buffer in batch {
            self.allocated += buffer.layout().allocationBytes.unsigned_abs();
            if !ends(&buffer)?.iter().all(|byte| *byte == 0) {
                self.wrong.push(format!("{} was not zero", buffer.id()));
            }
            write_ends(&buffer)?;
            open.buffers.push(Kept { buffer, acquired: None, tokens: Vec::new() });
        }
        Ok(())
    }

    fn free(&mut self, at: usize, chance: &mut Chance) -> Result<()> {
        let open = &mut self.sessions[at];
        let mut freed = Vec::new();
        for _ in 0..(1 + chance.below(3)).min(open.buffers.len()) {
            freed.push(open.buffers.swap_remove(chance.below(open.buffers.len())));
        }
        if chance.below(2) == 0 {
            // One by one, each by its drop.
            return Ok(());
        }
        let freed: Vec<Buffer> = freed.into_iter().map(|kept| kept.buffer).collect();
        Ok(open.session.free(freed)?)
    }

    fn get(&mut self, at: usize, chance: &mut Chance) -> Result<()> {
        let open = &self.sessions[at];
        let Some(kept) = chance.pick(&open.buffers) else { return Ok(()) };
        let again = open.session.get(kept.buffer.id(), Access::READ_WRITE)?;
        if again.identity()? != kept.buffer.identity()? {
            self.wrong.push(format!("another memory for {}", kept.buffer.id()));
        }
        Ok(())
    }

    fn look(&mut self, at: usize, chance: &mut Chance) -> Result<()> {
        let Some(kept) = chance.pick(&self.sessions[at].buffers) else { return Ok(()) };
        if ends(&kept.buffer)? != pattern(&kept.buffer) {
            self.wrong.push(format!("other bytes in {}", kept.buffer.id()));
        }
        Ok(())
    }

    fn share(&mut self, at: usize, chance: &mut Chance, friends: &[u32]) -> Result<()> {
        let open = &mut self.sessions[at];
        let Some(&recipient_uid) = chance.pick(friends) else { return Ok(()) };
        let mut own: Vec<_> =
            open.buffers.iter_mut().filter(|kept| kept.acquired.is_none()).collect();
        if own.is_empty() {
            return Ok(());
        }
        let which = chance.below(own.len());
        let kept = &mut own[which];
        let permit = SharePermit { lifetime: LIFETIME, ..SharePermit::once(recipient_uid) };
        let token = open.session.share(&kept.buffer, permit)?;
        kept.tokens.push((token.0, recipient_uid));
        Ok(())
    }

    fn acquire(&mut self, at: usize) -> Result<()> {
        let Some(token) = self.inbox.pop() else { return Ok(()) };
        match self.sessions[at].session.acquire(Token(token)) {
            Ok(buffer) => {
                self.redeemed.push(token);
                if ends(&buffer)? != pattern(&buffer) {
                    self.wrong.push(format!("other bytes in {}, acquired", buffer.id()));
                }
                let kept = Kept { buffer, acquired: Some(token), tokens: Vec::new() };
                self.sessions[at].buffers.push(kept);
                Ok(())
            }
            // Its owner gave it up meanwhile.
            Err(Error::Refused { code: RefusalCode::BAD_TOKEN, .. }) => {
                self.refused += 1;
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    fn close(&mut self, at: usize, chance: &mut Chance) -> Result<()> {
        let Open { session, buffers, .. } = self.sessions.swap_remove(at);
        if chance.below(2) == 0 {
            session.close()?;
            self.perhaps_refused += buffers.len() as u64;
        }
        // Buffers and session are dropped here.
        Ok(())
    }

    fn ask_for_nonsense(&mut self, at: usize, chance: &mut Chance) -> Result<()> {
        let session = &self.sessions[at].session;
        let mut token = [0; 16];
        token[..8].copy_from_slice(&chance.draw().to_ne_bytes());
        token[8..].copy_from_slice(&chance.draw().to_ne_bytes());
        let refused = match chance.below(3) {
            0 => session.free_ids(&[i64::MAX]).err(),
            1 => session.acquire(Token(token)).err(),
            _ => {
                let nothing = wire::descriptor(&Descriptor::linear(0));
                session.allocate_descriptor(nothing, 1).err()
            }
        };
        match refused {
            Some(Error::Refused { .. }) => self.refused += 1,
            other => self.wrong.push(format!("nonsense was answered with {other:?}")),
        }
        Ok(())
    }

    fn books(&self) -> Stormed {
        let session = |open: &Open| StormSession {
            name: open.name.clone(),
            buffers: open.buffers.iter().map(Kept::told).collect(),
        };
        Stormed {
            sessions: self.sessions.iter().map(session).collect(),
            redeemed: self.redeemed.clone(),
            allocated: self.allocated,
            refused: self.refused,
            perhaps_refused: self.perhaps_refused,
            wrong: self.wrong.clone(),
        }
    }
}

impl Open {
    /// Where the service's own list and figures of the session are not what is kept here.
    fn disagreement(&self) -> Result<Option<String>> {
        let (own, acquired): (Vec<&Kept>, Vec<&Kept>) =
            self.buffers.iter().partition(|kept| kept.acquired.is_none());
        let bytes: i64 = own.iter().map(|kept| kept.buffer.layout().allocationBytes).sum();
        let kept = (own.len() as i32, bytes, acquired.len() as i32);
        let stats = self.session.stats()?;
        let told = (stats.buffers, stats.bytes, stats.acquired);
        let mut ids: Vec<i64> = self.buffers.iter().map(|kept| kept.buffer.id()).collect();
        ids.sort_unstable();
        let listed: Vec<i64> = self.session.list()?.iter().map(|info| info.id).collect();
        let name = &self.name;
        Ok(((kept, &ids) != (told, &listed))
            .then(|| format!("{name} has {told:?} {listed:?}, not {kept:?} {ids:?}")))
    }
}

/// Whether a call was one that is not made again when the service dies.
fn is_death(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref::<Error>(), Some(Error::ServiceDied(_)))
}

impl Open {
    /// Where the memory is not what it was.
    fn differences(&self) -> Result<Vec<String>> {
        let mut differences = Vec::new();
        for Kept { buffer, .. } in &self.buffers {
            let (info, identity) = (buffer.info(), buffer.identity()?);
            let told = (info.device.unsigned_abs(), info.inode.unsigned_abs());
            if told != (identity.device, identity.inode) || ends(buffer)? != pattern(buffer) {
                differences.push(format!("buffer {} is another", buffer.id()));
            }
        }
        Ok(differences)
    }
}

impl Kept {
    fn told(&self) -> StormBuffer {
        let info = self.buffer.info();
        StormBuffer {
            id: info.id,
            name: info.request.name,
            identity: (info.device.unsigned_abs(), info.inode.unsigned_abs()),
            bytes: info.layout.allocationBytes.unsigned_abs(),
            acquired: self.acquired,
            tokens: self.tokens.clone(),
        }
    }
}

/// Each kind, from less than a page to 256 KiB, small ones more often.
fn shape(chance: &mut Chance) -> Descriptor {
    let (pages, sides) = (chance.below(7), chance.below(3));
    let bytes = 1 + chance.below(4096 << pages);
    let side = 1 + chance.below(64 << sides) as i32;
    match chance.below(4) {
        0 | 1 => Descriptor::linear(bytes as i64),
        2 => Descriptor::region(bytes as i64),
        _ => Descriptor { shape: Shape::Image(side, side, 1, RGBA_8888), ..Descriptor::linear(1) },
    }
}

/// The first and the last bytes of a buffer.
fn ends(buffer: &Buffer) -> Result<Vec<u8>> {
    let mapped = buffer.map_read_only()?;
    let window = WINDOW.min(mapped.size());
    let mut bytes = vec![0xff; 2 * window];
    let (first, last) = bytes.split_at_mut(window);
    let access = mapped.begin_read()?;
    access.read(0, first)?;
    access.read(mapped.size() - window, last)?;
    access.end()?;
    Ok(bytes)
}

fn write_ends(buffer: &Buffer) -> Result<()> {
    let mapped = buffer.map()?;
    let window = WINDOW.min(mapped.size());
    let bytes = bytes_after(&buffer.descriptor().name, window);
    let access = mapped.begin_write()?;
    access.write(0, &bytes)?;
    access.write(mapped.size() - window, &bytes)?;
    Ok(access.end()?)
}

/// What `ends` finds after `write_ends`, by anybody.
fn pattern(buffer: &Buffer) -> Vec<u8> {
    let size = buffer.size() as usize;
    let window = WINDOW.min(size);
    let bytes = bytes_after(&buffer.descriptor().name, window);
    let mut whole = vec![0; size.min(2 * window)];
    let last = whole.len() - window;
    whole[..window].copy_from_slice(&bytes);
    // Where the ends overlap, what was written last is there.
    whole[last..].copy_from_slice(&bytes);
    [&whole[..window], &whole[last..]].concat()
}

fn bytes_after(name: &str, length: usize) -> Vec<u8> {
    let seed = name.bytes().fold(0u64, |seed, byte| seed.rotate_left(5) ^ u64::from(byte));
    let mut chance = Chance::new(seed);
    // No byte is zero, as fresh memory's are.
    (0..length).map(|_| chance.draw() as u8 | 1).collect()
}
